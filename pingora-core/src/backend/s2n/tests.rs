//! What only this library has: pre-shared keys, policies, and what it does not take.

use std::sync::Arc;

use async_trait::async_trait;
use pingora_error::{ErrorType, Result};
use tokio::net::UnixStream;

use super::connector::{Connector, connect};
use super::listener::TlsSettings;
use super::protocol::{Psk, PskConfig, TlsRef, TlsStream};
use crate::backend::library::{PskHmac, S2NPolicy};
use crate::connectors::ConnectorOptions;
use crate::listeners::TlsAccept;
use crate::protocols::Ssl;
use crate::protocols::l4::stream::Stream;
use crate::upstreams::peer::HttpPeer;
use crate::utils::tls::{CertKey, load_ca};

fn file(name: &str) -> String {
    let certs = concat!(env!("CARGO_MANIFEST_DIR"), "/../testing/fixtures/certs");
    format!("{certs}/{name}")
}

fn intermediate() -> TlsSettings {
    TlsSettings::intermediate(&file("a.pem"), &file("a.key")).unwrap()
}

fn peer() -> HttpPeer {
    let mut peer = HttpPeer::new("127.0.0.1:1", true, "a.example".to_string());
    peer.options.ca = Some(load_ca(&file("ca.pem")).unwrap());
    peer
}

fn keys(name: &str, secret: u8) -> PskConfig {
    let secret = vec![secret; 32];
    PskConfig::new(vec![Psk::new(name.to_string(), secret, PskHmac::SHA256)])
}

/// Returns both ends of a handshake.
async fn handshake(settings: TlsSettings, peer: &HttpPeer) -> [Result<TlsStream<Stream>>; 2] {
    let acceptor = settings.try_build().unwrap();
    let connector = Connector::new(None);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let client = connect(Stream::from(ours), peer, None, &connector.ctx);
    let server = acceptor.tls_handshake(Stream::from(theirs));
    let (client, server) = tokio::join!(client, server);
    [client, server]
}

#[tokio::test]
async fn keys_in_place_of_certificates() {
    for (name, secret, is_accepted) in [("peer", 7, true), ("peer", 8, false), ("other", 7, false)]
    {
        let mut settings = TlsSettings::new();
        settings.set_psk_config(keys("peer", 7));
        let mut peer = peer();
        peer.options.psk = Some(Arc::new(keys(name, secret)));
        let [client, server] = handshake(settings, &peer).await;
        assert_eq!(client.is_ok(), is_accepted, "{name} {secret}: {client:?}");
        assert_eq!(server.is_ok(), is_accepted, "{name} {secret}: {server:?}");
        if let Ok(client) = client {
            let tls = client.get_ssl().unwrap();
            assert_eq!(tls.version(), Some("TLSv1.3"));
            assert_eq!(tls.peer_certificate_der(), None);
        }
    }
    let text = format!("{:?}", keys("peer", 7));
    assert!(text.contains("peer") && !text.contains('7'), "{text}");
}

#[tokio::test]
async fn policies() {
    let old = || S2NPolicy::from_version("20240501").unwrap();
    let modern = || TlsSettings::modern(&file("a.pem"), &file("a.key")).unwrap();
    type Make = fn() -> TlsSettings;
    let cases: [(Make, bool, Option<&str>); 4] = [
        (intermediate, false, Some("TLSv1.3")),
        (intermediate, true, Some("TLSv1.2")),
        (modern, false, Some("TLSv1.3")),
        (modern, true, None),
    ];
    for (settings, is_old, expected) in cases {
        let mut peer = peer();
        peer.options.s2n_security_policy = is_old.then(old);
        peer.options.max_blinding_delay = Some(0);
        let [client, server] = handshake(settings(), &peer).await;
        if let Ok(client) = &client {
            let group = client.as_ref().selected_key_exchange_group();
            assert_eq!(group == Some("X25519MLKEM768"), !is_old, "{group:?}");
        }
        let version = client.ok().map(|client| client.tls().version().unwrap());
        assert_eq!(version, expected);
        assert_eq!(server.is_ok(), expected.is_some());
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_checked_is_not_shown() {
    let mut peer = peer();
    peer.options.ca = None;
    peer.options.verify_cert = false;
    let [client, server] = handshake(intermediate(), &peer).await;
    let client = client.unwrap();
    assert!(server.is_ok());
    // The library shows what it has checked only.
    assert_eq!(client.tls().peer_certificate_der(), None);
    assert_eq!(client.ssl_digest().unwrap().organization, None);
}

#[tokio::test]
async fn groups_come_with_the_policy() {
    let mut peer = peer();
    peer.options.curves = Some("X25519".into());
    let connector = Connector::new(None);
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let e = connect(Stream::from(ours), &peer, None, &connector.ctx).await;
    let e = e.unwrap_err();
    assert_eq!(e.etype(), &ErrorType::Custom("TLSConfigError"), "{e}");
}

#[tokio::test]
async fn configurations_of_peers_are_bounded() {
    let mut options = ConnectorOptions::new(8);
    options.s2n_config_cache_size = Some(0);
    let connector = Connector::new(Some(options));
    let acceptor = intermediate().try_build().unwrap();
    // Without a place for its sessions, a peer has none.
    for _ in 0..2 {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let peer = peer();
        let client = connect(Stream::from(ours), &peer, None, &connector.ctx);
        let server = acceptor.tls_handshake(Stream::from(theirs));
        let (client, server) = tokio::join!(client, server);
        assert!(client.is_ok());
        assert!(!server.unwrap().ssl_digest().unwrap().is_resumed());
    }
}

#[test]
fn settings_need_something_to_show() {
    let e = TlsSettings::new().try_build().err().unwrap();
    assert!(e.to_string().contains("no certificate"), "{e}");
    let mut settings = TlsSettings::new();
    settings.set_cert("missing.pem", "missing.key");
    let e = settings.try_build().err().unwrap();
    assert!(e.to_string().contains("missing.pem"), "{e}");
}

/// Chooses the certificate, after a while.
struct Chooses;

#[async_trait]
impl TlsAccept for Chooses {
    async fn certificate_callback(&self, tls: &mut TlsRef) {
        tokio::task::yield_now().await;
        assert_eq!(tls.server_name(), Some("a.example"));
        let chosen = CertKey::from_files(&file("a.pem"), &file("a.key")).unwrap();
        tls.set_certificate(&chosen).unwrap();
    }
}

#[tokio::test]
async fn a_callback_chooses_the_certificate() {
    let settings = TlsSettings::with_callbacks(Box::new(Chooses)).unwrap();
    let [client, server] = handshake(settings, &peer()).await;
    assert!(client.is_ok() && server.is_ok(), "{client:?} {server:?}");
}
