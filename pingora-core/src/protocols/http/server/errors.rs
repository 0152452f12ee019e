//! What a client is answered instead of a response.

use std::future::poll_fn;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use pingora_error::{
    Error,
    ErrorType::{HTTPStatus, InvalidHTTPHeader, ReadTimedout},
    Result,
};
use pingora_http::ResponseHeader;

use super::{HttpTask, Session};
use crate::protocols::http::error_resp;

impl Session {
    /// Returns the head of an answer of this status without a body.
    pub fn generate_error(error: u16) -> ResponseHeader {
        error_resp::gen_error_response(error)
    }

    /// Answers with this status and no body; the connection is closed afterwards.
    pub async fn respond_error(&mut self, error: u16) -> Result<()> {
        self.respond_error_with_body(error, Bytes::new()).await
    }

    /// Answers with this status and body; the connection is closed afterwards.
    ///
    /// Does nothing but end the response when a head was already sent.
    pub async fn respond_error_with_body(&mut self, error: u16, body: Bytes) -> Result<()> {
        self.answer_error(Self::error_with_body(error, &body), body)
            .await
    }

    fn error_with_body(error: u16, body: &Bytes) -> Result<ResponseHeader> {
        let mut resp = Self::generate_error(error);
        if !body.is_empty() {
            resp.set_content_length(body.len())?;
        }
        Ok(resp)
    }

    /// Answers with this head and body; the connection is closed afterwards.
    pub async fn write_error_response(&mut self, resp: ResponseHeader, body: Bytes) -> Result<()> {
        self.answer_error(Ok(resp), body).await
    }

    /// Boxed, as what else is rare here: it is compiled once, not in each program.
    fn answer_error(
        &mut self,
        resp: Result<ResponseHeader>,
        body: Bytes,
    ) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let resp = resp?;
            self.set_keepalive(None);
            if self.response_written().is_some() {
                return Ok(());
            }
            match self {
                Session::H1(_) | Session::H2(_) | Session::Subrequest(_) => {
                    self.queue_task(HttpTask::Header(Box::new(resp), body.is_empty()))?;
                    if !body.is_empty() {
                        self.queue_task(HttpTask::Body(Some(body), true))?;
                    }
                    poll_fn(|cx| self.poll_flush(cx)).await
                }
                Session::Custom(session) => {
                    session
                        .write_response_header(Box::new(resp), body.is_empty())
                        .await?;
                    if !body.is_empty() {
                        session.write_body(body, true).await?;
                    }
                    Ok(())
                }
            }
        })
    }

    /// Answers a request that [`read_request`](Self::read_request) refused, and closes.
    ///
    /// Malformed requests get the status the error names, slow ones 408; when the connection
    /// broke there is nobody to answer.
    pub async fn refuse_request(self, e: &Error) {
        let status = match e.etype() {
            InvalidHTTPHeader => Some(400),
            HTTPStatus(status) => Some(*status),
            ReadTimedout => Some(408),
            _ => None,
        };
        self.refuse(status).await
    }

    /// Answers with a status, if any, and closes.
    fn refuse(mut self, status: Option<u16>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Some(status) = status else {
                return self.shutdown().await;
            };
            match self.respond_error(status).await {
                Ok(()) => drop(self.finish().await),
                Err(_) => self.shutdown().await,
            }
        })
    }
}
