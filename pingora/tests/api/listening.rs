//! What looks at a connection before it is served.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::listeners::connection_filter::AcceptAllFilter;
use pingora::listeners::{
    ConnectionFilter, ListenerConfig, Listeners, PreTlsCallback, PreTlsProcess, ServerAddress,
    TlsAccept, TlsAcceptCallbacks,
};
use pingora::prelude::*;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::tls::TlsRef;

#[derive(Debug)]
struct OnlyLoopback;

#[async_trait]
impl ConnectionFilter for OnlyLoopback {
    async fn should_accept(&self, addr: Option<&SocketAddr>) -> bool {
        addr.is_some_and(|addr| addr.ip().is_loopback())
    }
}

struct Nothing;

#[async_trait]
impl PreTlsProcess for Nothing {
    async fn process(&self, _stream: &mut Stream) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl TlsAccept for Nothing {
    async fn certificate_callback(&self, _ssl: &mut TlsRef) {}

    async fn handshake_complete_callback(
        &self,
        _ssl: &TlsRef,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }
}

#[tokio::test]
async fn filters_are_set() {
    let filter: Arc<dyn ConnectionFilter> = Arc::new(OnlyLoopback);
    assert!(
        filter
            .should_accept(Some(&"127.0.0.1:1".parse().expect("an address")))
            .await
    );
    assert!(
        !filter
            .should_accept(Some(&"192.0.2.1:1".parse().expect("an address")))
            .await
    );
    assert!(AcceptAllFilter.should_accept(None).await);

    let mut listeners = Listeners::new();
    listeners.set_connection_filter(filter);
    listeners.add_listener(ListenerConfig::tcp("127.0.0.1:0"));
    listeners.add_address(ServerAddress::Tcp("127.0.0.1:0".to_string(), None));
    let callback: PreTlsCallback = Arc::new(Nothing);
    listeners.set_pre_tls_callback(callback);
    let _callbacks: TlsAcceptCallbacks = Box::new(Nothing);
}
