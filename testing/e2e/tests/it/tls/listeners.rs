//! What listeners offer and demand.

use std::any::Any;

use pingora::listeners::TlsAccept;
use pingora::listeners::tls::ClientAuth;
use pingora::protocols::tls::TlsRef;
use pingora_e2e::harness;

use super::*;

#[test]
fn the_digest_tells_the_handshake() {
    harness::run(async {
        let server = serve(settings("a")).await;
        let body = get_once(&peer(server.addr(), "a.example")).await.unwrap();
        assert_eq!(body, "TLSv1.3 a.example - full - -");
    });
}

#[test]
fn alpn_is_chosen_by_the_server() {
    harness::run(async {
        let custom = || ALPN::Custom(pingora::protocols::tls::CustomALPN::new(b"x/1".to_vec()));
        let cases = [
            (ALPN::H2H1, ALPN::H2H1, Some(ALPN::H2)),
            (ALPN::H2H1, ALPN::H1, Some(ALPN::H1)),
            (ALPN::H1, ALPN::H2H1, Some(ALPN::H1)),
            (custom(), custom(), Some(custom())),
            (ALPN::H1, ALPN::H2, None),
        ];
        for (accepted, offered, expected) in cases {
            let mut tls = settings("a");
            tls.set_alpn(accepted.clone());
            let server = serve(tls).await;
            let mut peer = peer(server.addr(), "a.example");
            peer.options.alpn = offered.clone();
            let connector = TransportConnector::new(None);
            let stream = within("a connection", connector.new_stream(&peer)).await;
            match expected {
                Some(_) => {
                    assert_eq!(
                        stream.unwrap().selected_alpn_proto(),
                        expected,
                        "{accepted} {offered}"
                    );
                }
                None => {
                    let e = stream.unwrap_err();
                    assert_eq!(e.etype(), &TLSHandshakeFailure, "{accepted} {offered}: {e}");
                }
            }
        }
    });
}

#[test]
fn client_certificates() {
    harness::run(async {
        for auth in [ClientAuth::Optional, ClientAuth::Required] {
            let mut tls = settings("a");
            tls.set_client_auth(&file("ca.pem"), auth).unwrap();
            let server = serve(tls).await;
            for (cert, served) in [
                (None, (auth == ClientAuth::Optional).then_some("-")),
                (Some("client"), Some("Client")),
                (Some("stranger"), None),
            ] {
                let mut peer = peer(server.addr(), "a.example");
                peer.client_cert_key = cert.map(client_cert);
                // In TLS 1.3 a client hears of the refusal after its handshake.
                let answer = answer_of(&peer).await;
                match served {
                    Some(organization) => {
                        let expected = format!("TLSv1.3 a.example - full {organization} -");
                        assert_eq!(answer.as_deref(), Some(&*expected), "{auth:?} {cert:?}");
                    }
                    None => assert_eq!(answer, None, "{auth:?} {cert:?}"),
                }
            }
        }
    });
}

/// Asks for `host` in a connection to `peer` and returns the status.
async fn status_for(peer: &HttpPeer, host: &str) -> u16 {
    let connector = pingora::connectors::http::Connector::<()>::new(None);
    let connected = within("a connection", connector.get_http_session(peer)).await;
    let (mut session, _) = connected.unwrap();
    let mut request = pingora::http::RequestHeader::build("GET", b"/", None).unwrap();
    request.insert_header("Host", host).unwrap();
    session
        .write_request_header(Box::new(request))
        .await
        .unwrap();
    // A refusal may be there before that.
    let _ = session.finish_request_body().await;
    within("a response", session.read_response_header())
        .await
        .unwrap();
    session.response_header().unwrap().status.as_u16()
}

#[test]
fn requests_with_client_certificates_are_for_the_name_of_the_handshake() {
    harness::run(async {
        for (asks, allows) in [(true, false), (true, true), (false, false)] {
            let mut tls = settings("a");
            tls.enable_h2();
            if asks {
                tls.set_client_auth(&file("ca.pem"), ClientAuth::Optional)
                    .unwrap();
            }
            let mut app = HttpServer::new_app(Facts);
            let mut options = pingora::apps::HttpServerOptions::default();
            options.limits.allow_misdirected = allows;
            app.server_options = Some(options);
            let server = harness::start_tls(app, tls).await;
            let other = if asks && !allows { 421 } else { 200 };
            for (sni, host, expected) in [
                ("a.example", "a.example", 200),
                ("a.example", "A.EXAMPLE:443", 200),
                ("a.example", "b.example", other),
                // An address is no server name: none was sent.
                ("", "b.example", 200),
            ] {
                for alpn in [ALPN::H1, ALPN::H2] {
                    let mut peer = peer(server.addr(), sni);
                    peer.options.alpn = alpn;
                    peer.client_cert_key = Some(client_cert("client"));
                    let status = status_for(&peer, host).await;
                    assert_eq!(status, expected, "{asks} {allows} {peer} {host}");
                }
            }
        }
    });
}

/// Returns the answer, `None` when the handshake fails or the connection is closed without one.
async fn answer_of(peer: &HttpPeer) -> Option<String> {
    let connector = TransportConnector::new(None);
    let mut stream = within("a connection", connector.new_stream(peer))
        .await
        .ok()?;
    let _ = stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
        .await;
    let _ = stream.flush().await;
    let mut received = vec![];
    let _ = within("an answer", stream.read_to_end(&mut received)).await;
    let text = String::from_utf8(received).unwrap();
    Some(text.split_once("\r\n\r\n")?.1.to_string())
}

/// Keeps a value with each connection.
struct Keeper;

#[async_trait]
impl TlsAccept for Keeper {
    async fn handshake_complete_callback(&self, _: &TlsRef) -> Option<Arc<dyn Any + Send + Sync>> {
        // It may wait.
        tokio::task::yield_now().await;
        Some(Arc::new("kept".to_string()))
    }
}

#[test]
fn a_callback_may_keep_something() {
    harness::run(async {
        let mut tls = settings("a");
        tls.set_callbacks(Box::new(Keeper));
        let server = serve(tls).await;
        let body = get_once(&peer(server.addr(), "a.example")).await.unwrap();
        assert_eq!(body, "TLSv1.3 a.example - full - kept");
    });
}

#[test]
fn handshakes_on_threads_of_their_own() {
    harness::run(async {
        let mut tls = settings("a");
        tls.set_offload_threadpool(2, 1);
        let server = serve(tls).await;
        for _ in 0..4 {
            let body = get_once(&peer(server.addr(), "a.example")).await.unwrap();
            assert_eq!(body, "TLSv1.3 a.example - full - -");
        }
    });
}

#[test]
fn bodies_of_all_sizes() {
    harness::run(async {
        let server = serve(settings("a")).await;
        let connector = TransportConnector::new(None);
        let peer = peer(server.addr(), "a.example");
        let mut stream = connector.new_stream(&peer).await.unwrap();
        for size in [1, 16_383, 16_384, 16_385, 300_000] {
            let head = format!(
                "POST / HTTP/1.1\r\nHost: a\r\nX-Size: {size}\r\nContent-Length: {size}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&vec![b'y'; size]).await.unwrap();
            stream.flush().await.unwrap();
            let mut received = vec![];
            while received.iter().filter(|byte| **byte == b'x').count() < size {
                let read = within("the body", stream.read_buf(&mut received))
                    .await
                    .unwrap();
                assert!(read > 0);
            }
            let text = String::from_utf8(received).unwrap().to_ascii_lowercase();
            assert!(
                text.contains(&format!("x-received: {size}\r\n")),
                "{text:.300}"
            );
        }
    });
}

#[test]
fn files_that_cannot_be_used() {
    let cases = [
        (
            "a.pem",
            "missing.key",
            "cannot read key file",
            "missing.key",
        ),
        (
            "missing.pem",
            "a.key",
            "cannot read certificate file",
            "missing.pem",
        ),
        ("a.pem", "b.key", "cannot use key file", "b.key"),
        ("a.key", "a.key", "cannot use certificate file", "a.key"),
        ("a.pem", "a.pem", "cannot use key file", "a.pem"),
    ];
    for (cert, key, what, name) in cases {
        let Err(e) = TlsSettings::intermediate(&file(cert), &file(key)) else {
            panic!("{cert} with {key}");
        };
        let text = e.to_string();
        assert!(
            text.contains(what) && text.contains(name),
            "{cert} with {key}: {text}"
        );
        assert!(!text.contains('\n'), "{text}");
        assert_eq!(e.etype().as_str(), "TLSConfigError");
    }
}
