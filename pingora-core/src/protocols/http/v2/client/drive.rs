//! The I/O of a connection, and the PINGs that tell whether it is alive.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::client::Connection;
use h2::{Ping, PingPong};
use log::debug;
use pingora_timeout::fast_timeout::Deadline;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::super::engine::Driver;
use super::super::error::StreamError;
use super::super::turn::Turn;
use crate::protocols::UniqueIDType;

/// How long a server has to answer a PING.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Does the I/O of a connection of the `h2` crate until it ends, then sets `closed`.
///
/// With a `ping_interval` it sends a PING that often; a server that does not answer one within 5 s
/// is given up, and `ping_timeout_occurred` says so.
pub async fn drive_connection<S>(
    mut c: Connection<S>,
    id: UniqueIDType,
    closed: watch::Sender<bool>,
    ping_interval: Option<Duration>,
    ping_timeout_occurred: Arc<AtomicBool>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let mut pings = c.ping_pong();
    let mut pinger = ping_interval.map(Pinger::new);
    // Cancel-safe: the state is in the connection and the pinger.
    let ended = poll_fn(|cx| {
        if let Poll::Ready(ended) = Pin::new(&mut c).poll(cx) {
            return Poll::Ready(Some(ended.map_err(StreamError::from)));
        }
        match (&mut pinger, &mut pings) {
            (Some(pinger), Some(pings)) => pinger.poll_given_up(pings, cx).map(|()| None),
            _ => Poll::Pending,
        }
    })
    .await;
    report(ended, id, &closed, &ping_timeout_occurred);
}

/// Does what [`drive_connection`] does, for a connection we frame.
pub(crate) async fn drive(
    mut driver: Driver,
    id: UniqueIDType,
    closed: watch::Sender<bool>,
    ping_interval: Option<Duration>,
    ping_timeout_occurred: Arc<AtomicBool>,
) {
    let mut turn = Turn::default();
    let mut pinger = ping_interval.map(Pinger::new);
    // Cancel-safe: the state is in the connection and the pinger.
    let ended = poll_fn(|cx| {
        ready!(turn.poll_wait(cx));
        if let Poll::Ready(ended) = driver.poll_work(cx) {
            return Poll::Ready(Some(ended.map_err(StreamError::from)));
        }
        match &mut pinger {
            Some(pinger) => pinger.poll_given_up(&mut driver, cx).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await;
    report(ended, id, &closed, &ping_timeout_occurred);
}

fn report(
    ended: Option<Result<(), StreamError>>,
    id: UniqueIDType,
    closed: &watch::Sender<bool>,
    ping_timeout_occurred: &AtomicBool,
) {
    match ended {
        Some(Ok(())) => debug!("HTTP/2 connection ended, id: {id}"),
        Some(Err(e)) => debug!("HTTP/2 connection failed: {e}, id: {id}"),
        None => {
            // Release: pairs with the Acquire of whoever asks why its stream failed.
            ping_timeout_occurred.store(true, Ordering::Release);
            debug!("HTTP/2 server does not answer PING, id: {id}");
        }
    }
    let _ = closed.send(true);
}

/// What sends PINGs on a connection.
trait Pings {
    /// Sends one; an error when the connection tells its end anyway.
    fn send(&mut self) -> Result<(), ()>;

    /// Polls for the answer, or that error.
    fn poll_pong(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>>;
}

impl Pings for PingPong {
    fn send(&mut self) -> Result<(), ()> {
        self.send_ping(Ping::opaque()).map_err(|_| ())
    }

    fn poll_pong(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        PingPong::poll_pong(self, cx).map(|pong| pong.map(|_| ()).map_err(|_| ()))
    }
}

impl Pings for Driver {
    fn send(&mut self) -> Result<(), ()> {
        self.send_ping();
        Ok(())
    }

    fn poll_pong(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
        // Its own work wakes the task.
        match self.has_pong() {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }
}

struct Pinger {
    interval: Duration,
    timer: Deadline,
    awaits_pong: bool,
}

impl Pinger {
    fn new(interval: Duration) -> Self {
        Pinger {
            interval,
            timer: Deadline::new(interval),
            awaits_pong: false,
        }
    }

    /// Polls for a PING that stays unanswered.
    fn poll_given_up(&mut self, pings: &mut impl Pings, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.awaits_pong {
                match pings.poll_pong(cx) {
                    Poll::Ready(Ok(())) => {
                        self.awaits_pong = false;
                        self.timer.reset(self.interval);
                    }
                    // The connection tells.
                    Poll::Ready(Err(())) => return Poll::Pending,
                    Poll::Pending => return self.timer.poll_elapsed(cx),
                }
            }
            if self.timer.poll_elapsed(cx).is_pending() || pings.send().is_err() {
                return Poll::Pending;
            }
            self.awaits_pong = true;
            self.timer.reset(PING_TIMEOUT);
        }
    }
}
