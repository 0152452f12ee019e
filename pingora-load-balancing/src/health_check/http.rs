//! The check that a backend answers a request as it should.
//!
//! Connecting, pooling and the protocol are pingora-core's.

use std::time::Duration;

use async_trait::async_trait;
use pingora_core::connectors::http::{Connector as HttpConnector, custom};
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_error::{Error, ErrorType, OkOrErr, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::Backend;
use crate::health_check::{BackendSummary, HealthCheck, HealthObserveCallback};

/// How long connecting (with the handshake), and each read, may take by default.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The whole exchange after connecting may take this many read timeouts: a backend that sends a byte at a time must
/// not hold up the round.
const MAX_READ_TIMEOUTS: u32 = 10;

/// A check that fails on a reused connection is tried once more.
const MAX_ATTEMPTS: u32 = 2;

/// Up to this many bytes of a response's body are read so that its connection can be reused.
const MAX_DRAINED_BODY: usize = 64 * 1024;

/// Sends a backend a request and wants status 200, or what [`validator`](Self::validator) accepts.
///
/// Connecting and each read may take 1 s ([`peer_template`](Self::peer_template)); the exchange as a whole may take
/// ten times the read timeout, unless that is `None`. Of the body, up to 64 KiB are read and ignored.
///
/// ```
/// use pingora_error::{Error, ErrorType};
/// use pingora_load_balancing::health_check::HttpHealthCheck;
///
/// let mut check = HttpHealthCheck::new("app.example", false);
/// check.req.set_uri(http::Uri::from_static("/healthz"));
/// check.validator = Some(Box::new(|response| match response.status.as_u16() {
///     200 | 204 => Ok(()),
///     status => Error::e_explain(ErrorType::CustomCode("not healthy", status), "in health check"),
/// }));
/// ```
pub struct HttpHealthCheck<C = ()>
where
    C: custom::Connector,
{
    /// How many checks in a row must pass before an unhealthy backend is healthy. 1 by default.
    pub consecutive_success: usize,
    /// How many checks in a row must fail before a healthy backend is unhealthy. 1 by default.
    pub consecutive_failure: usize,
    /// How to connect; the address is replaced by the backend's.
    ///
    /// `connection_timeout`, `total_connection_timeout` and `read_timeout` are 1 s by default.
    pub peer_template: HttpPeer,
    /// Whether to keep the connection for the next check rather than to open one each time. False by default.
    ///
    /// A check that fails without an answer on a reused connection is tried once more.
    pub reuse_connection: bool,
    /// The request to send: `GET /` with a `Host` header by default. It must have no body.
    pub req: RequestHeader,
    /// Judges the response's head in place of the demand for status 200. None by default.
    pub validator: Option<Box<dyn Fn(&ResponseHeader) -> Result<()> + Send + Sync>>,
    /// The port to check in place of the backend's, for servers with a port for it. None by default.
    pub port_override: Option<u16>,
    /// Called when a backend becomes healthy or unhealthy. None by default.
    pub health_changed_callback: Option<HealthObserveCallback>,
    /// Says what a backend is called in logs; its debug form if `None`, the default.
    pub backend_summary_callback: Option<BackendSummary>,
    connector: HttpConnector<C>,
}

impl HttpHealthCheck<()> {
    /// Creates a check that asks for `/` at the virtual host `host`, over TLS (with `host` as the server name) if
    /// `tls`.
    ///
    /// # Panics
    ///
    /// If `host` is no valid header value.
    pub fn new(host: &str, tls: bool) -> Self {
        Self::new_custom(host, tls, HttpConnector::new(None))
    }
}

impl<C> HttpHealthCheck<C>
where
    C: custom::Connector,
{
    /// Creates a check as [`new`](HttpHealthCheck::new) does that connects through `custom`.
    ///
    /// # Panics
    ///
    /// If `host` is no valid header value.
    pub fn new_custom(host: &str, tls: bool, custom: HttpConnector<C>) -> Self {
        let mut req = RequestHeader::build("GET", b"/", None).expect("GET / is a valid request");
        req.append_header("Host", host)
            .expect("the host must be a valid header value");
        let sni = if tls { host.to_owned() } else { String::new() };
        // Any address: each check replaces it.
        let mut peer_template = HttpPeer::new("0.0.0.0:1", tls, sni);
        peer_template.options.connection_timeout = Some(TIMEOUT);
        peer_template.options.total_connection_timeout = Some(TIMEOUT);
        peer_template.options.read_timeout = Some(TIMEOUT);
        HttpHealthCheck {
            consecutive_success: 1,
            consecutive_failure: 1,
            peer_template,
            reuse_connection: false,
            req,
            validator: None,
            port_override: None,
            health_changed_callback: None,
            backend_summary_callback: None,
            connector: custom,
        }
    }

    /// Replaces the connector, to share one or to give it options.
    pub fn set_connector(&mut self, connector: HttpConnector<C>) {
        self.connector = connector;
    }

    /// Sets what a backend is called in logs.
    pub fn set_backend_summary<F>(&mut self, callback: F)
    where
        F: Fn(&Backend) -> String + Send + Sync + 'static,
    {
        self.backend_summary_callback = Some(Box::new(callback));
    }

    fn peer(&self, target: &Backend) -> HttpPeer {
        let mut peer = self.peer_template.clone();
        peer._address = target.addr.clone();
        if let Some(port) = self.port_override {
            peer._address.set_port(port);
        }
        peer
    }

    /// Sends the request and judges the response on `session`. Returns whether the connection may be reused.
    async fn exchange(&self, session: &mut HttpSession<C::Session>) -> Result<bool> {
        session.set_read_timeout(self.peer_template.options.read_timeout);
        session.set_write_timeout(self.peer_template.options.write_timeout);
        session
            .write_request_header(Box::new(self.req.clone()))
            .await?;
        session.finish_request_body().await?;
        session.read_response_header().await?;
        let response = session.response_header().or_err(
            ErrorType::InternalError,
            "no response header after reading it",
        )?;
        match &self.validator {
            Some(validator) => validator(response)?,
            None => want_ok(response)?,
        }
        drain(session).await
    }

    async fn exchange_in_time(&self, session: &mut HttpSession<C::Session>) -> Result<bool> {
        let Some(read_timeout) = self.peer_template.options.read_timeout else {
            return self.exchange(session).await;
        };
        let limit = read_timeout.saturating_mul(MAX_READ_TIMEOUTS);
        tokio::time::timeout(limit, self.exchange(session))
            .await
            .or_err(ErrorType::ReadTimedout, "in health check")?
    }
}

#[async_trait]
impl<C> HealthCheck for HttpHealthCheck<C>
where
    C: custom::Connector,
{
    /// Sends [`req`](Self::req) to `target` and judges the response.
    async fn check(&self, target: &Backend) -> Result<()> {
        let peer = self.peer(target);
        let mut attempts = MAX_ATTEMPTS;
        loop {
            attempts -= 1;
            let (mut session, reused) = self.connector.get_http_session(&peer).await?;
            let outcome = self.exchange_in_time(&mut session).await;
            let answered = session.response_header().is_some();
            if matches!(outcome, Ok(true)) && self.reuse_connection {
                let idle_timeout = peer.idle_timeout();
                self.connector
                    .release_http_session(session, &peer, idle_timeout)
                    .await;
            } else {
                session.shutdown().await;
            }
            match outcome {
                // The backend may have closed the idle connection: that says nothing about its health.
                Err(_) if reused && !answered && attempts > 0 => continue,
                outcome => return outcome.map(drop),
            }
        }
    }

    /// Calls [`health_changed_callback`](Self::health_changed_callback).
    async fn health_status_change(&self, target: &Backend, healthy: bool) {
        if let Some(callback) = &self.health_changed_callback {
            callback.observe(target, healthy).await;
        }
    }

    /// Returns what [`backend_summary_callback`](Self::backend_summary_callback) says, or the debug form.
    fn backend_summary(&self, target: &Backend) -> String {
        match &self.backend_summary_callback {
            Some(callback) => callback(target),
            None => format!("{target:?}"),
        }
    }

    /// Returns [`consecutive_success`](Self::consecutive_success) or
    /// [`consecutive_failure`](Self::consecutive_failure).
    fn health_threshold(&self, success: bool) -> usize {
        match success {
            true => self.consecutive_success,
            false => self.consecutive_failure,
        }
    }
}

fn want_ok(response: &ResponseHeader) -> Result<()> {
    match response.status.as_u16() {
        200 => Ok(()),
        status => Error::e_explain(
            ErrorType::CustomCode("non 200 code", status),
            "in health check",
        ),
    }
}

/// Reads and ignores the body. Returns whether all of it was read.
async fn drain<S>(session: &mut HttpSession<S>) -> Result<bool>
where
    S: pingora_core::protocols::http::custom::client::Session,
{
    let mut drained = 0usize;
    while let Some(chunk) = session.read_response_body().await? {
        drained = drained.saturating_add(chunk.len());
        if drained > MAX_DRAINED_BODY {
            return Ok(false);
        }
    }
    Ok(true)
}
