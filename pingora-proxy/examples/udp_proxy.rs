//! A protocol of questions and answers over UDP, as DNS is, balanced over resolvers.
//!
//! `cargo run --release --example udp_proxy`
//!
//! ```text
//! dig @127.0.0.1 -p 6198 example.com      # from one of the resolvers named below
//! ```
//!
//! The resolvers are the command line's (`-- 192.0.2.1:53 192.0.2.2:53`), or one in the same
//! process that answers everything with REFUSED.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::listeners::udp::UdpListener;
use pingora_core::prelude::*;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::{BackgroundService, background_service};
use pingora_core::services::datagram::{self, DatagramApp};
use pingora_load_balancing::prelude::*;
use pingora_proxy::udp::{ProxyUdp, UdpPeer, UdpSession, UdpStats, udp_proxy_service};

/// The head of every DNS message (RFC 1035, section 4.1.1).
const DNS_HEAD_BYTES: usize = 12;

struct Resolvers(LoadBalancer<RoundRobin>);

#[async_trait]
impl ProxyUdp for Resolvers {
    type CTX = ();
    fn new_ctx(&self) {}

    /// Questions only: an answer that nobody asked for begins no session.
    fn datagram_filter(&self, _client: &SocketAddr, datagram: &[u8]) -> bool {
        datagram.len() >= DNS_HEAD_BYTES && datagram[2] & 0x80 == 0
    }

    async fn upstream_peer(&self, session: &mut UdpSession, _ctx: &mut ()) -> Result<UdpPeer> {
        let key = session.client_addr().to_string();
        let backend = self.0.select(key.as_bytes(), 256);
        let address = backend.and_then(|backend| backend.addr.as_inet().copied());
        Ok(UdpPeer::new(address.or_err(ConnectError, "no resolver")?))
    }

    async fn logging(&self, session: &mut UdpSession, e: Option<&Error>, _ctx: &mut ()) {
        println!(
            "client={} resolver={:?} asked={} answered={} error={:?}",
            session.client_addr(),
            session.upstream_addr(),
            session.datagrams_received(),
            session.datagrams_sent(),
            e.map(|e| e.etype()),
        );
    }
}

/// Prints what passed, and what did not.
struct Report(Arc<UdpStats>);

#[async_trait]
impl BackgroundService for Report {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut interval = tokio::time::interval(Duration::from_secs(10));
        loop {
            tokio::select! {
                // cancel-safe
                _ = shutdown.changed() => return,
                // cancel-safe
                _ = interval.tick() => {}
            }
            let (sessions, dropped) = (self.0.sessions(), self.0.dropped_in_total());
            println!("sessions={sessions} dropped={dropped}");
        }
    }
}

/// A resolver that answers everything with REFUSED.
struct Refusing;

#[async_trait]
impl DatagramApp for Refusing {
    async fn serve(self: &Arc<Self>, listener: Arc<UdpListener>, mut shutdown: ShutdownWatch) {
        let mut message = [0; 4096];
        loop {
            let received = tokio::select! {
                // cancel-safe
                _ = shutdown.changed() => return,
                // cancel-safe
                received = listener.socket().recv_from(&mut message) => received,
            };
            let Ok((bytes, from)) = received else {
                continue;
            };
            if bytes >= DNS_HEAD_BYTES {
                message[2] |= 0x80;
                message[3] = (message[3] & 0xf0) | 5;
                let _ = listener.socket().send_to(&message[..bytes], from).await;
            }
        }
    }
}

fn main() -> Result<()> {
    let mut server = Server::new(None)?;
    server.bootstrap();
    let mut resolvers: Vec<String> = std::env::args().skip(1).collect();
    if resolvers.is_empty() {
        let mut demo = datagram::Service::new("demo resolver".to_string(), Refusing);
        demo.add_udp("127.0.0.1:6199");
        server.add_service(demo);
        resolvers.push("127.0.0.1:6199".to_string());
    }
    let resolvers = LoadBalancer::try_from_iter(resolvers).or_fail()?;

    let mut proxy = udp_proxy_service(&server.configuration, Resolvers(resolvers));
    proxy.add_udp("127.0.0.1:6198");
    if let Some(app) = proxy.app_logic_mut() {
        // A session ends with its answer.
        app.options.replies_per_datagram = Some(1);
        app.options.max_datagram_bytes = 4096;
        server.add_service(background_service("report", Report(app.stats())));
    }
    server.add_service(proxy);
    server.run_forever()
}
