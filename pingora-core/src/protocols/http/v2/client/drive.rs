//! The I/O of a connection, and the PINGs that tell whether it is alive.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use h2::client::Connection;
use h2::{Ping, PingPong};
use log::debug;
use pingora_timeout::fast_timeout::Deadline;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::super::turn::Turn;
use crate::protocols::UniqueIDType;

/// How long a server has to answer a PING.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Does the I/O of a connection until it ends, then sets `closed`.
///
/// With a `ping_interval` it sends a PING that often; a server that does not answer one within 5 s
/// is given up, and `ping_timeout_occurred` says so.
pub async fn drive_connection<S>(
    c: Connection<S>,
    id: UniqueIDType,
    closed: watch::Sender<bool>,
    ping_interval: Option<Duration>,
    ping_timeout_occurred: Arc<AtomicBool>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let turn = Turn::default();
    drive(turn, c, id, closed, ping_interval, ping_timeout_occurred).await;
}

/// Does what [`drive_connection`] does, in the turns by which the writes of the connection are gathered.
pub(crate) async fn drive<S>(
    mut turn: Turn,
    mut c: Connection<S>,
    id: UniqueIDType,
    closed: watch::Sender<bool>,
    ping_interval: Option<Duration>,
    ping_timeout_occurred: Arc<AtomicBool>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let mut pinger = ping_interval.and_then(|interval| Some(Pinger::new(c.ping_pong()?, interval)));
    // Cancel-safe: the state is in the connection and the pinger.
    let ended = poll_fn(|cx| {
        turn.poll_last(cx, |cx| {
            if let Poll::Ready(ended) = Pin::new(&mut c).poll(cx) {
                return Poll::Ready(Some(ended));
            }
            match &mut pinger {
                Some(pinger) => pinger.poll_given_up(cx).map(|()| None),
                None => Poll::Pending,
            }
        })
    })
    .await;
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

struct Pinger {
    pings: PingPong,
    interval: Duration,
    timer: Deadline,
    awaits_pong: bool,
}

impl Pinger {
    fn new(pings: PingPong, interval: Duration) -> Self {
        Pinger {
            pings,
            interval,
            timer: Deadline::new(interval),
            awaits_pong: false,
        }
    }

    /// Polls for a PING that stays unanswered.
    fn poll_given_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.awaits_pong {
                match self.pings.poll_pong(cx) {
                    Poll::Ready(Ok(_)) => {
                        self.awaits_pong = false;
                        self.timer.reset(self.interval);
                    }
                    // The connection tells.
                    Poll::Ready(Err(_)) => return Poll::Pending,
                    Poll::Pending => return self.timer.poll_elapsed(cx),
                }
            }
            if self.timer.poll_elapsed(cx).is_pending() {
                return Poll::Pending;
            }
            if self.pings.send_ping(Ping::opaque()).is_err() {
                return Poll::Pending;
            }
            self.awaits_pong = true;
            self.timer.reset(PING_TIMEOUT);
        }
    }
}
