//! How a protocol of your own takes part as an upstream protocol.
//!
//! Peers whose ALPN is [`ALPN::Custom`](crate::protocols::ALPN::Custom) are left to a
//! [`Connector`]; its sessions implement
//! [`custom::client::Session`](crate::protocols::http::custom::client::Session).

use std::time::Duration;

use async_trait::async_trait;
use pingora_error::{Error, ErrorType, Result};

use crate::protocols::Stream;
use crate::protocols::http::custom::client::Session;
use crate::upstreams::peer::Peer;

/// What a custom connector connected.
pub enum Connection<S: Session> {
    /// A session of the custom protocol.
    Session(S),
    /// A connection on which the server chose HTTP/1 instead.
    Stream(Stream),
}

/// Makes sessions of a custom protocol.
#[doc(hidden)]
#[async_trait]
pub trait Connector: Send + Sync + Unpin + 'static {
    /// The session of the protocol.
    type Session: Session;

    /// Returns a session to `peer` and whether its connection was used before.
    async fn get_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<(Connection<Self::Session>, bool)>;

    /// Returns a session on an idle connection to `peer`, `None` when there is none.
    async fn reused_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Option<Self::Session>;

    /// Keeps the connection of `session` for `peer`, no longer than `idle_timeout`, if possible.
    async fn release_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        session: Self::Session,
        peer: &P,
        idle_timeout: Option<Duration>,
    );
}

/// No custom protocol: peers that want one are refused.
#[doc(hidden)]
#[async_trait]
impl Connector for () {
    type Session = ();

    async fn get_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<(Connection<Self::Session>, bool)> {
        let context = format!("the peer wants a custom protocol and there is none, Peer: {peer}");
        Err(Error::explain(ErrorType::InternalError, context).into_in())
    }

    async fn reused_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        _peer: &P,
    ) -> Option<Self::Session> {
        None
    }

    async fn release_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        _session: Self::Session,
        _peer: &P,
        _idle_timeout: Option<Duration>,
    ) {
        // a unit session has no connection to keep
    }
}
