//! [`CustomExchange`]: the exchange with a custom upstream, which most proxies have no use for.
//!
//! A proxy that is made for a custom protocol is given it. Any other would have to be compiled with
//! all of it, for upstreams that it never has.

use futures_core::future::BoxFuture;
use pingora_core::connectors::http::custom;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::Result;

use super::custom::CustomLeg;
use super::duplex::Exchange;
use crate::{ProxyHttp, Session};

/// Passes requests to upstreams of a custom protocol.
pub(crate) trait CustomExchange<SV, C: custom::Connector>: Send + Sync {
    /// Passes a request to `upstream` and the response back; returns whether the upstream may be
    /// left to the connector.
    fn run<'a>(
        &self,
        proxy: &'a SV,
        session: &'a mut Session,
        ctx: &'a mut SV::CTX,
        upstream: &'a mut C::Session,
        peer: &'a HttpPeer,
    ) -> BoxFuture<'a, Result<bool>>
    where
        SV: ProxyHttp + Send + Sync,
        SV::CTX: Send + Sync;
}

/// What there is of it: a [`CustomLeg`].
pub(crate) struct ByCustomLeg;

impl<SV, C: custom::Connector> CustomExchange<SV, C> for ByCustomLeg {
    fn run<'a>(
        &self,
        proxy: &'a SV,
        session: &'a mut Session,
        ctx: &'a mut SV::CTX,
        upstream: &'a mut C::Session,
        peer: &'a HttpPeer,
    ) -> BoxFuture<'a, Result<bool>>
    where
        SV: ProxyHttp + Send + Sync,
        SV::CTX: Send + Sync,
    {
        Box::pin(async move {
            let leg = CustomLeg::new(upstream, peer);
            let mut exchange = Exchange::new(proxy, session, ctx, leg);
            exchange.run(peer).await?;
            Ok(exchange.into_leg().close().await)
        })
    }
}
