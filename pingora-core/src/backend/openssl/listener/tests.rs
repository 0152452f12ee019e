//! Handshakes of a client that the server has try again, and choices of protocol.

use std::net::{TcpListener, TcpStream};

use super::*;
use crate::backend::library::ssl::{
    HandshakeError, NameType, SslConnector, SslStream as LibraryStream,
};
use crate::backend::openssl::differences::testing::{
    REFUSES_ANOTHER_NAME, set_client_hello_callback,
};

const CERTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testing/fixtures/certs");

/// Returns settings with a chain of two certificates, which answer X25519 with a
/// HelloRetryRequest.
fn settings() -> TlsSettings {
    let (chain, key) = (format!("{CERTS}/a.pem"), format!("{CERTS}/a.key"));
    let set = CertificateSet::new(&chain, &key).unwrap();
    let mut settings = TlsSettings::with_certificates(set).unwrap();
    set_groups(&mut settings, "P-256").unwrap();
    settings
}

/// Returns both ends of a handshake by a client that asks for `first`, and for `second` when it
/// is told to try again.
fn handshake(
    settings: TlsSettings,
    first: Option<&str>,
    second: Option<&str>,
) -> [Option<LibraryStream<TcpStream>>; 2] {
    handshake_with("X25519:P-256", settings, first, second)
}

/// As [`handshake`], by a client with these key exchange groups.
fn handshake_with(
    groups: &str,
    settings: TlsSettings,
    first: Option<&str>,
    second: Option<&str>,
) -> [Option<LibraryStream<TcpStream>>; 2] {
    let acceptor = settings.try_build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    socket.set_nonblocking(true).unwrap();

    let mut builder = SslConnector::builder(SslMethod::tls()).unwrap();
    builder.set_verify(SslVerifyMode::NONE);
    set_groups(&mut builder, groups).unwrap();
    let mut config = builder.build().configure().unwrap();
    config.set_verify_hostname(false);
    config.set_use_server_name_indication(first.is_some());
    // Nobody answers yet: the client waits after its first ClientHello.
    let Err(HandshakeError::WouldBlock(client)) = config.connect(first.unwrap_or_default(), socket)
    else {
        panic!("a handshake without a server");
    };
    client.get_ref().set_nonblocking(false).unwrap();
    if let Some(name) = second {
        // SAFETY: the stream is owned here and not used during the call.
        unsafe { ext::ssl_mut(client.ssl()) }
            .set_hostname(name)
            .unwrap();
    }
    let client = std::thread::spawn(move || client.handshake().ok());
    let accepted = listener.accept().unwrap().0;
    let server = acceptor.shared.acceptor.accept(accepted).ok();
    [client.join().unwrap(), server]
}

#[test]
fn a_client_that_tries_again_asks_for_the_same_name() {
    for (first, second) in [
        (Some("a.example"), Some("a.example")),
        (None, None),
        (Some("a.example"), Some("b.example")),
        (Some("a.example"), Some("A.example")),
        (None, Some("b.example")),
    ] {
        let is_accepted = first == second || !REFUSES_ANOTHER_NAME;
        let [client, server] = handshake(settings(), first, second);
        assert_eq!(server.is_some(), is_accepted, "{first:?} {second:?}");
        assert_eq!(client.is_some(), is_accepted, "{first:?} {second:?}");
        if let Some(server) = server {
            assert_eq!(server.ssl().servername(NameType::HOST_NAME), first);
        }
        // The chain is sent once, though there were two ClientHellos.
        if let Some(client) = client {
            assert_eq!(client.ssl().peer_cert_chain().unwrap().len(), 2);
        }
    }
}

#[test]
fn a_callback_on_the_builder_does_not_undo_what_depends_on_the_name() {
    let mut settings = settings();
    set_client_hello_callback(&mut settings);
    let [client, _] = handshake(settings, Some("a.example"), Some("a.example"));
    let client = client.expect("the set has a certificate");
    assert_eq!(client.ssl().peer_cert_chain().unwrap().len(), 2);
}

#[test]
fn the_preferred_protocol_is_chosen() {
    let h2h1 = ALPN::H2H1.to_wire_preference();
    for (offered, expected) in [
        (&b"\x08http/1.1\x02h2"[..], Some(&b"h2"[..])),
        (b"\x08http/1.1", Some(b"http/1.1")),
        (b"\x03foo", None),
        (b"", None),
        (b"\x09h2", None),
        (b"\x02h2\xff", Some(b"h2")),
    ] {
        assert_eq!(choose_protocol(h2h1, offered), expected, "{offered:?}");
    }
}

#[test]
fn key_exchange_is_by_the_groups_of_the_profile() {
    let (chain, key) = (format!("{CERTS}/a.pem"), format!("{CERTS}/a.key"));
    for profile in [TlsSettings::intermediate, TlsSettings::modern] {
        for (groups, is_accepted) in [
            ("X25519", true),
            ("P-256", true),
            ("P-384", true),
            ("P-521", false),
            ("P-521:P-384", true),
        ] {
            let settings = profile(&chain, &key).unwrap();
            let [client, _] = handshake_with(groups, settings, Some("a.example"), None);
            assert_eq!(client.is_some(), is_accepted, "{groups}");
        }
    }
    let mut settings = TlsSettings::intermediate(&chain, &key).unwrap();
    set_groups(&mut settings, "P-521").unwrap();
    let [client, _] = handshake_with("P-521", settings, Some("a.example"), None);
    assert!(client.is_some(), "who sets groups has them");
}
