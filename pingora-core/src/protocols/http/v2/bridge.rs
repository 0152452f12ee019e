//! A stream of ours as the `h2` crate has it, for programs that take the writer of a session: what is
//! written there goes through a connection inside of the process and on to the stream.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::Request;
use log::debug;

use super::engine::StreamRef;
use super::error::StreamError;
use super::stream::Sink;

/// Bytes on their way between the two ends.
const IN_FLIGHT: usize = 64 * 1024;

/// Returns what writes to `stream`; `None` outside of a runtime, which the way there needs.
pub(super) fn writer(stream: StreamRef) -> Option<SendStream<Bytes>> {
    let runtime = tokio::runtime::Handle::try_current().ok()?;
    let (near, far) = tokio::io::duplex(IN_FLIGHT);
    // It only writes the preface, for which there is room.
    let mut shaking = pin!(tokio::task::unconstrained(h2::client::handshake(near)));
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok((mut requests, connection))) = shaking.as_mut().poll(&mut cx) else {
        return None;
    };
    let (response, writer) = requests.send_request(Request::new(()), false).ok()?;
    runtime.spawn(async move {
        let _ = connection.await;
    });
    runtime.spawn(async move {
        if let Err(e) = pass_on(far, stream).await {
            debug!("a body written by way of h2 broke off: {e}");
        }
        // Until then the stream must not be given up, whatever became of the writer.
        drop((requests, response));
    });
    Some(writer)
}

async fn pass_on(far: tokio::io::DuplexStream, mut stream: StreamRef) -> Result<(), StreamError> {
    let mut connection = h2::server::handshake(far).await?;
    let Some(accepted) = connection.accept().await else {
        return Ok(());
    };
    let (request, mut respond) = accepted?;
    let mut body = request.into_body();
    let passed = {
        let mut reset = stream.share();
        let mut passing = pin!(pass_body(&mut body, &mut stream));
        // Cancel-safe: all of them keep their state.
        poll_fn(|cx| {
            if let Poll::Ready(passed) = passing.as_mut().poll(cx) {
                return Poll::Ready(passed);
            }
            if let Poll::Ready(failure) = reset.poll_writer_failure(cx) {
                return Poll::Ready(Err(failure.into()));
            }
            // The connection moves only while somebody waits for it. It does not end: there is no
            // other stream, and its client waits for us.
            let _ = connection.poll_accept(cx);
            Poll::Pending
        })
        .await
    };
    if let Err(e) = &passed {
        let reason = e.reason().unwrap_or(Reason::CANCEL);
        stream.reset(reason);
        // The writer learns of it.
        respond.send_reset(reason);
    }
    // What is left to say to the writer.
    let _ = poll_fn(|cx| Poll::Ready(connection.poll_closed(cx))).await;
    passed
}

async fn pass_body(body: &mut RecvStream, stream: &mut StreamRef) -> Result<(), StreamError> {
    while let Some(data) = body.data().await {
        let mut data = data?;
        let len = data.len();
        while !data.is_empty() {
            let want = data.len();
            let room = poll_fn(|cx| Sink::poll_room(stream, want, cx)).await?;
            Sink::send_data(stream, data.split_to(room), false)?;
        }
        body.flow_control().release_capacity(len)?;
    }
    match body.trailers().await? {
        Some(trailers) => Sink::send_trailers(stream, trailers),
        None => Sink::send_data(stream, Bytes::new(), true),
    }
}
