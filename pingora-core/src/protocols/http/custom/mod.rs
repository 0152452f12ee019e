//! HTTP sessions of a protocol of your own.
//!
//! [`client::Session`] is the upstream side, made by a
//! [`custom::Connector`](crate::connectors::http::custom::Connector); [`server::Session`] is the
//! downstream side, made by an application. Besides requests and responses such a protocol may
//! carry messages, read and written apart from the body. The implementations for `()` in
//! `unit.rs` stand for "no custom protocol".

pub mod client;
pub mod server;

mod unit;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use futures_util::StreamExt;
use pingora_error::Result;

/// How many custom messages are queued between the two sides of a proxy before the sender waits.
pub const CUSTOM_MESSAGE_QUEUE_SIZE: usize = 128;

/// The messages of one direction of a custom session.
type MessageReader = Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

/// Writes the custom messages of a session.
#[async_trait]
pub trait CustomMessageWrite: Send + Sync + Unpin + 'static {
    /// Sets how long one write may take; `None` for no limit.
    fn set_write_timeout(&mut self, timeout: Option<Duration>);

    /// Sends one message.
    async fn write_custom_message(&mut self, msg: Bytes) -> Result<()>;

    /// Sends the end of the messages.
    async fn finish_custom(&mut self) -> Result<()>;
}

/// Writes the request body of a client session.
#[async_trait]
pub trait BodyWrite: Send + Sync + Unpin + 'static {
    /// Sends all of `data`, taking what was sent out of it.
    async fn write_all_buf(&mut self, data: &mut Bytes) -> Result<()>;

    /// Sends the end of the body.
    async fn finish(&mut self) -> Result<()>;

    /// Gives the body up before its end.
    async fn cleanup(&mut self) -> Result<()>;

    /// Goes on as a tunnel: what is written from now on is not part of the body.
    fn upgrade_body_writer(&mut self);
}

/// No protocol: a message goes nowhere.
#[doc(hidden)]
#[async_trait]
impl CustomMessageWrite for () {
    fn set_write_timeout(&mut self, _timeout: Option<Duration>) {}

    async fn write_custom_message(&mut self, _msg: Bytes) -> Result<()> {
        Ok(())
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Reads and drops the messages of `reader` until they end; an error among them ends this.
///
/// There is no limit to how long that takes: call it under a timeout.
pub async fn drain_custom_messages(
    reader: Option<Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>>,
) -> Result<()> {
    let Some(mut reader) = reader else {
        return Ok(());
    };
    while let Some(message) = reader.next().await {
        message?;
    }
    Ok(())
}

/// Returns whether `code` is that of an interim response, 100 to 199, but not 101, which is final
/// (RFC 9110, section 15.2).
///
/// ```
/// use pingora_core::protocols::http::custom::is_informational_except_101;
///
/// assert!(is_informational_except_101(103_u32));
/// assert!(!is_informational_except_101(101_u32));
/// assert!(!is_informational_except_101(200_u32));
/// ```
pub fn is_informational_except_101<T: PartialOrd<u32>>(code: T) -> bool {
    code > 99 && code < 200 && code != 101
}

/// Calls a method of the custom session of `$session`, if it has one.
///
/// `$session` is an HTTP session with `as_custom_mut`; anything but a custom session is left
/// alone. `?`, `.await` and the like may follow the call.
///
/// ```
/// use pingora_core::custom_session;
/// use pingora_core::protocols::http::client::HttpSession;
/// use pingora_core::protocols::http::custom::client::Session;
///
/// async fn drain<S: Session>(mut session: HttpSession<S>) -> pingora_core::Result<()> {
///     custom_session!(session.drain_custom_messages().await?);
///     Ok(())
/// }
/// ```
#[macro_export]
macro_rules! custom_session {
    ($session:ident . $($call:tt)+) => {
        if let Some(custom) = $session.as_custom_mut() {
            custom.$($call)+;
        }
    };
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use pingora_error::{Error, ErrorType};

    use super::*;

    #[test]
    fn informational() {
        for code in 0..1000_u32 {
            let expected = (100..200).contains(&code) && code != 101;
            assert_eq!(is_informational_except_101(code), expected, "{code}");
        }
    }

    #[tokio::test]
    async fn draining() {
        drain_custom_messages(None).await.unwrap();

        let messages: Vec<Result<Bytes>> = vec![Ok("a".into()), Ok("b".into())];
        drain_custom_messages(Some(Box::new(stream::iter(messages))))
            .await
            .unwrap();

        let messages = vec![Ok("a".into()), Err(Error::new(ErrorType::ReadError))];
        let e = drain_custom_messages(Some(Box::new(stream::iter(messages))))
            .await
            .unwrap_err();
        assert_eq!(e.etype(), &ErrorType::ReadError);
    }
}
