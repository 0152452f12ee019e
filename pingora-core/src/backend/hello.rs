//! Waiting for the ClientHello, and showing it to a hook, before the library sees it: its bytes stay
//! on the connection. `protocols/tls/client_hello.rs` reads it.

use std::fmt;
use std::sync::Arc;

use pingora_error::{Error, Result};

use super::handshake::accept_error;
use crate::protocols::Peek;
pub use crate::protocols::tls::client_hello::ClientHello;
use crate::protocols::tls::client_hello::{self, Progress};

/// How many bytes say how long the first record is.
const FIRST_LOOK: usize = 5;

/// Looks at each ClientHello before a certificate is chosen; an error closes the connection.
///
/// ```
/// use std::sync::Arc;
/// use pingora_core::listeners::tls::{ClientHello, ClientHelloHook};
///
/// let hook: ClientHelloHook = Arc::new(|hello: &ClientHello| match &hello.server_name {
///     Some(_) => Ok(()),
///     None => pingora_core::Error::e_explain(pingora_core::TLSHandshakeFailure, "no name"),
/// });
/// ```
pub type ClientHelloHook = Arc<dyn Fn(&ClientHello) -> Result<()> + Send + Sync>;

/// Waits until the whole ClientHello is there, or what cannot become one, and leaves it there.
pub(super) async fn wait<S: Peek + Send>(stream: &mut S) {
    let mut received = vec![0; FIRST_LOOK];
    // An end or an error comes again in the handshake, where it is reported.
    while let Ok(true) = stream.try_peek(&mut received).await {
        match client_hello::read(&received) {
            Progress::Need(count) => received.resize(count, 0),
            Progress::Malformed(_) | Progress::Whole(_) => return,
        }
    }
}

/// Shows the ClientHello that waits on `stream` to `hook`, and leaves it there.
///
/// # Errors
/// That of the hook; `TLSHandshakeFailure` for what is no ClientHello.
pub(super) async fn show<S: Peek + Send>(stream: &mut S, hook: &ClientHelloHook) -> Result<()> {
    let mut received = vec![0; FIRST_LOOK];
    // Each turn asks for more bytes than the last, of which there is a limit.
    loop {
        let peeked = stream.try_peek(&mut received).await;
        if !peeked.map_err(|e| accept_error(e.to_string()))? {
            return Err(accept_error(
                "the connection was closed before the ClientHello",
            ));
        }
        match client_hello::read(&received) {
            Progress::Need(count) => received.resize(count, 0),
            Progress::Malformed(why) => return Err(accept_error(why)),
            Progress::Whole(hello) => return hook(&hello).map_err(|e| refused(&hello, e)),
        }
    }
}

#[cold]
fn refused(hello: &ClientHello, mut e: Box<Error>) -> Box<Error> {
    e.as_down();
    e.more_context(format!("the ClientHello for {} was refused", Name(hello)))
}

struct Name<'a>(&'a ClientHello);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.server_name {
            Some(name) => write!(f, "{name:?}"),
            None => f.write_str("no name"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::task::Poll;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::protocols::l4::stream::Stream;

    /// A ClientHello for `a.example`, in records of seven bytes.
    fn hello() -> Vec<u8> {
        let name = b"\0\0\0\x0e\0\x0c\0\0\x09a.example";
        let length = (name.len() as u16).to_be_bytes();
        let body = [
            &[3, 3][..],
            &[7; 32],
            b"\0\0\x02\x13\x01\x01\0",
            &length,
            name,
        ]
        .concat();
        let message = [&[1, 0, 0, body.len() as u8][..], &body].concat();
        let record = |part: &[u8]| [&[22, 3, 1, 0, part.len() as u8][..], part].concat();
        message.chunks(7).flat_map(record).collect()
    }

    #[tokio::test]
    async fn a_hook_sees_it_and_leaves_it() {
        let (ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
        let sent = hello();
        theirs.write_all(&sent).await.unwrap();
        let mut stream = Stream::from(ours);
        let hook: ClientHelloHook = Arc::new(|hello| {
            assert_eq!(hello.server_name.as_deref(), Some("a.example"));
            Ok(())
        });
        show(&mut stream, &hook).await.unwrap();
        let mut received = vec![0; sent.len()];
        stream.read_exact(&mut received).await.unwrap();
        assert_eq!(received, sent);

        let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
        drop(theirs);
        wait(&mut Stream::from(ours)).await;

        let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
        drop(theirs);
        assert!(show(&mut Stream::from(ours), &hook).await.is_err());
    }

    #[tokio::test]
    async fn half_of_one_is_waited_for_and_anything_else_is_not() {
        let (ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
        let mut stream = Stream::from(ours);
        let sent = hello();
        let (start, end) = sent.split_at(sent.len() - 1);
        theirs.write_all(start).await.unwrap();
        {
            let mut waiting = std::pin::pin!(wait(&mut stream));
            let pending = poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending()));
            assert!(pending.await);
            theirs.write_all(end).await.unwrap();
            waiting.await;
        }
        let mut received = vec![0; sent.len()];
        stream.read_exact(&mut received).await.unwrap();
        assert_eq!(received, sent);

        theirs.write_all(b"GET / HTTP/1.1").await.unwrap();
        wait(&mut stream).await;
    }
}
