//! The TLS stream that cannot exist, with the traits it would have.

use std::convert::Infallible;
use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::protocols::raw_connect::ProxyDigest;
use crate::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};

/// A TLS connection over `S`; there is none without a TLS library.
#[derive(Debug)]
pub struct SslStream<S> {
    never: Infallible,
    over: PhantomData<S>,
}

impl<S> AsyncRead for SslStream<S>
where
    S: AsyncRead + AsyncWrite,
{
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.never {}
    }
}

impl<S> AsyncWrite for SslStream<S>
where
    S: AsyncRead + AsyncWrite,
{
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        match self.never {}
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.never {}
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.never {}
    }
}

#[async_trait]
impl<S: Send> Shutdown for SslStream<S> {
    async fn shutdown(&mut self) {
        match self.never {}
    }
}

impl<S> UniqueID for SslStream<S> {
    fn id(&self) -> UniqueIDType {
        match self.never {}
    }
}

impl<S> Ssl for SslStream<S> {}

impl<S> Peek for SslStream<S> {}

impl<S> GetTimingDigest for SslStream<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        match self.never {}
    }
}

impl<S> GetProxyDigest for SslStream<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        match self.never {}
    }
}

impl<S> GetSocketDigest for SslStream<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        match self.never {}
    }
}
