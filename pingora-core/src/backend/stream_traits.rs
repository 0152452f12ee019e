//! What a TLS stream passes on to the stream below it, written once for all libraries.

/// Implements the small traits of a stream for `$stream`, a TLS stream over `$inner` (the name of
/// its type parameter) with the methods `transport`, `transport_mut`, `digest_ref` and
/// `timing_ref`.
macro_rules! stream_traits {
    ($stream:ident<$inner:ident> $(where $($bounds:tt)+)?) => {
        impl<$inner> $crate::protocols::UniqueID for $stream<$inner>
        where
            $inner: $crate::protocols::UniqueID $($($bounds)+)?
        {
            fn id(&self) -> $crate::protocols::UniqueIDType {
                self.transport().id()
            }
        }

        impl<$inner> $crate::protocols::GetTimingDigest for $stream<$inner>
        where
            $inner: $crate::protocols::GetTimingDigest $($($bounds)+)?
        {
            fn get_timing_digest(&self) -> Vec<Option<$crate::protocols::TimingDigest>> {
                let mut timing = self.transport().get_timing_digest();
                timing.push(Some(self.timing_ref().clone()));
                timing
            }

            fn get_read_pending_time(&self) -> std::time::Duration {
                self.transport().get_read_pending_time()
            }

            fn get_write_pending_time(&self) -> std::time::Duration {
                self.transport().get_write_pending_time()
            }
        }

        impl<$inner> $crate::protocols::GetProxyDigest for $stream<$inner>
        where
            $inner: $crate::protocols::GetProxyDigest $($($bounds)+)?
        {
            fn get_proxy_digest(
                &self,
            ) -> Option<std::sync::Arc<$crate::protocols::raw_connect::ProxyDigest>> {
                self.transport().get_proxy_digest()
            }

            fn set_proxy_digest(&mut self, digest: $crate::protocols::raw_connect::ProxyDigest) {
                self.transport_mut().set_proxy_digest(digest);
            }
        }

        impl<$inner> $crate::protocols::GetSocketDigest for $stream<$inner>
        where
            $inner: $crate::protocols::GetSocketDigest $($($bounds)+)?
        {
            fn get_socket_digest(&self) -> Option<std::sync::Arc<$crate::protocols::SocketDigest>> {
                self.transport().get_socket_digest()
            }

            fn set_socket_digest(&mut self, socket_digest: $crate::protocols::SocketDigest) {
                self.transport_mut().set_socket_digest(socket_digest);
            }
        }
    };
}

pub(super) use stream_traits;
