//! Handshakes that go wrong, or slowly.

use std::time::Duration;

use pingora::listeners::Listeners;
use pingora::listeners::tls::ClientHello;
use pingora::services::listening::Service;
use pingora_e2e::harness;
use tokio::net::{TcpListener, TcpStream};

use super::raw::{self, hello, records};
use super::*;

/// Starts a server whose handshakes may take 50 ms.
async fn impatient() -> Running {
    let mut listeners = Listeners::new();
    listeners.add_tls_with_settings("127.0.0.1:0", None, settings("a"));
    listeners.set_handshake_timeout(Some(Duration::from_millis(50)));
    let app = HttpServer::new_app(Facts);
    let service = Service::with_listeners("tls".to_string(), listeners, app);
    harness::run_with(
        Server::new_with_opt_and_conf(None, Default::default()),
        service,
    )
    .await
}

#[test]
fn silent_clients_are_closed() {
    harness::run(async {
        let server = impatient().await;
        let hello = [0x16, 3, 1, 2, 0, 1];
        for said in [&b""[..], &hello[..1], &hello[..]] {
            let mut silent = TcpStream::connect(server.addr()).await.unwrap();
            silent.write_all(said).await.unwrap();
            let mut rest = vec![];
            // A reset is as good as an end.
            let _ = within("the server closes", silent.read_to_end(&mut rest)).await;
        }
    });
}

/// As many as the descriptors of a test process allow, several times.
#[test]
fn a_thousand_silent_clients_are_closed() {
    harness::run(async {
        let server = impatient().await;
        for _ in 0..5 {
            let mut silent = vec![];
            for _ in 0..200 {
                silent.push(TcpStream::connect(server.addr()).await.unwrap());
            }
            for mut client in silent {
                let _ = within("the server closes", client.read_to_end(&mut vec![])).await;
            }
        }
    });
}

#[test]
fn what_is_no_tls_is_closed() {
    harness::run(async {
        let server = serve(settings("a")).await;
        for said in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            &[0; 64],
            &[0x16, 3, 1, 0xff, 0xff, 0],
        ] {
            let mut client = TcpStream::connect(server.addr()).await.unwrap();
            client.write_all(said).await.unwrap();
            let _ = client.shutdown().await;
            let mut rest = vec![];
            let _ = within("the server closes", client.read_to_end(&mut rest)).await;
            assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
        }
        // Others are served.
        get_once(&peer(server.addr(), "a.example")).await.unwrap();
    });
}

/// Passes bytes on one at a time, from the client to the server.
async fn fragmenting(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let upstream = TcpStream::connect(server).await.unwrap();
        upstream.set_nodelay(true).unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = upstream.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        let mut byte = [0];
        while from_client.read_exact(&mut byte).await.is_ok() {
            if to_server.write_all(&byte).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    addr
}

#[test]
fn a_client_hello_in_single_bytes() {
    harness::run(async {
        let server = serve(settings("a")).await;
        let between = fragmenting(server.addr()).await;
        let body = get_once(&peer(between, "a.example")).await.unwrap();
        assert_eq!(body, "TLSv1.3 a.example - full - -");
    });
}

/// A message may be cut into records, and a record into packets, anywhere (RFC 8446, section 5.1).
#[test]
fn a_client_hello_in_pieces() {
    harness::run(async {
        for has_hook in [false, true] {
            let mut tls = settings("a");
            if has_hook {
                tls.set_client_hello_hook(Arc::new(|hello: &ClientHello| {
                    assert_eq!(hello.server_name.as_deref(), Some("a.example"));
                    assert!(hello.ja4().starts_with("t12d020600_"), "{}", hello.ja4());
                    Ok(())
                }));
            }
            let server = serve(tls).await;
            for record in [1, 3, 50, 999] {
                for piece in [1, 7, 9_999] {
                    let sent = records(&hello("a.example", false), record);
                    let flight = raw::ask(server.addr(), &sent, piece).await;
                    assert!(flight.is_whole(), "{record} {piece}");
                }
            }
        }
    });
}
