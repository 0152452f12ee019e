//! [`as_its_stream`]: what a layer over a connection says of itself is what the connection says.

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

pub(crate) use as_its_stream;
