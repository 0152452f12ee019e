//! [`IO`](super::IO) for in-memory streams and bare Unix sockets.
//!
//! They carry no digest; tests and tools hand them to a session as if they were connections.

use std::io::Cursor;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio_test::io::Mock;

use super::raw_connect::ProxyDigest;
use super::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};

/// Implements the descriptive traits with nothing to tell.
macro_rules! without_digest {
    ($([$($generics:tt)*] $stream:ty),* $(,)?) => {$(
        impl<$($generics)*> UniqueID for $stream {
            fn id(&self) -> UniqueIDType {
                0
            }
        }

        impl<$($generics)*> Ssl for $stream {}

        impl<$($generics)*> Peek for $stream {}

        impl<$($generics)*> GetTimingDigest for $stream {
            fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
                vec![]
            }
        }

        impl<$($generics)*> GetProxyDigest for $stream {
            fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
                None
            }
        }

        impl<$($generics)*> GetSocketDigest for $stream {
            fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
                None
            }
        }
    )*};
}

without_digest!([] Mock, [] DuplexStream, [T] Cursor<T>);

#[cfg(unix)]
without_digest!([] tokio::net::UnixStream);

#[async_trait]
impl Shutdown for Mock {
    async fn shutdown(&mut self) {}
}

#[async_trait]
impl Shutdown for DuplexStream {
    async fn shutdown(&mut self) {
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

#[async_trait]
impl<T: Send> Shutdown for Cursor<T> {
    async fn shutdown(&mut self) {}
}

#[cfg(unix)]
#[async_trait]
impl Shutdown for tokio::net::UnixStream {
    async fn shutdown(&mut self) {
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}
