//! [`as_its_stream`]: what a layer over a connection says of itself is what the connection says.
//! [`pass_reads`] and [`pass_writes`]: what it passes on to it.

/// The method of `AsyncRead`, passed on to a field; within its `impl`.
#[allow(unused_macros, reason = "it is for TLS")]
macro_rules! pass_reads {
    ($($field:ident).+) => {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            buf: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::pin::Pin::new(&mut self.$($field).+).poll_read(cx, buf)
        }
    };
}

/// The methods of `AsyncWrite` but those for several parts, passed on to a field; within its `impl`.
macro_rules! pass_writes {
    ($($field:ident).+) => {
        fn poll_write(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            buf: &[u8],
        ) -> std::task::Poll<std::io::Result<usize>> {
            std::pin::Pin::new(&mut self.$($field).+).poll_write(cx, buf)
        }

        fn poll_flush(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::pin::Pin::new(&mut self.$($field).+).poll_flush(cx)
        }

        fn poll_shutdown(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::pin::Pin::new(&mut self.$($field).+).poll_shutdown(cx)
        }
    };
}

/// The methods of `AsyncWrite` for several parts, passed on to a field; within its `impl`.
macro_rules! pass_vectored_writes {
    ($($field:ident).+) => {
        fn poll_write_vectored(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            bufs: &[std::io::IoSlice<'_>],
        ) -> std::task::Poll<std::io::Result<usize>> {
            std::pin::Pin::new(&mut self.$($field).+).poll_write_vectored(cx, bufs)
        }

        fn is_write_vectored(&self) -> bool {
            self.$($field).+.is_write_vectored()
        }
    };
}

/// Implements, for a type with a field `stream`, all that [`IO`](super::IO) wants beside reading and writing.
macro_rules! as_its_stream {
    ($layer:ty) => {
        #[async_trait::async_trait]
        impl $crate::protocols::Shutdown for $layer {
            async fn shutdown(&mut self) {
                self.stream.shutdown().await;
            }
        }

        impl $crate::protocols::UniqueID for $layer {
            fn id(&self) -> $crate::protocols::UniqueIDType {
                self.stream.id()
            }
        }

        impl $crate::protocols::Ssl for $layer {
            fn get_ssl(&self) -> Option<&$crate::protocols::tls::TlsRef> {
                self.stream.get_ssl()
            }

            fn get_ssl_digest(&self) -> Option<std::sync::Arc<$crate::protocols::tls::SslDigest>> {
                self.stream.get_ssl_digest()
            }

            fn selected_alpn_proto(&self) -> Option<$crate::protocols::ALPN> {
                self.stream.selected_alpn_proto()
            }
        }

        #[async_trait::async_trait]
        impl $crate::protocols::Peek for $layer {}

        impl $crate::protocols::GetTimingDigest for $layer {
            fn get_timing_digest(&self) -> Vec<Option<$crate::protocols::TimingDigest>> {
                self.stream.get_timing_digest()
            }

            fn get_read_pending_time(&self) -> std::time::Duration {
                self.stream.get_read_pending_time()
            }

            fn get_write_pending_time(&self) -> std::time::Duration {
                self.stream.get_write_pending_time()
            }
        }

        impl $crate::protocols::GetProxyDigest for $layer {
            fn get_proxy_digest(
                &self,
            ) -> Option<std::sync::Arc<$crate::protocols::raw_connect::ProxyDigest>> {
                self.stream.get_proxy_digest()
            }

            fn set_proxy_digest(&mut self, digest: $crate::protocols::raw_connect::ProxyDigest) {
                self.stream.set_proxy_digest(digest);
            }
        }

        impl $crate::protocols::GetSocketDigest for $layer {
            fn get_socket_digest(&self) -> Option<std::sync::Arc<$crate::protocols::SocketDigest>> {
                self.stream.get_socket_digest()
            }

            fn set_socket_digest(&mut self, digest: $crate::protocols::SocketDigest) {
                self.stream.set_socket_digest(digest);
            }
        }
    };
}

#[allow(unused_imports, reason = "some are for TLS")]
pub(crate) use {as_its_stream, pass_reads, pass_vectored_writes, pass_writes};
