//! TLS through a CONNECT proxy: the proxy sees where to, and then only TLS.

use std::collections::BTreeMap;

use pingora_e2e::harness;
use tokio::net::{TcpStream, UnixListener};

use super::*;

/// Grants each CONNECT, to wherever it is asked for, on a socket in `folder`; the answer has `early`
/// behind it.
fn proxy(folder: &std::path::Path, early: &'static [u8]) -> String {
    let path = folder.join("proxy");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut head = vec![];
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let target = head
                .strip_prefix("CONNECT ")
                .and_then(|rest| rest.split_once(' '));
            let mut server = TcpStream::connect(target.unwrap().0).await.unwrap();
            let granted = [b"HTTP/1.1 200 OK\r\nX-Via: a\r\n\r\n", early].concat();
            client.write_all(&granted).await.unwrap();
            tokio::spawn(async move {
                // However it ends.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    path.display().to_string()
}

fn through(proxy: &str, server: &Running, sni: &str) -> HttpPeer {
    let addr = server.addr();
    let headers = BTreeMap::new();
    let mut peer = HttpPeer::new_proxy(proxy, addr.ip(), addr.port(), true, sni, headers);
    peer.options.ca = Some(load_ca(&file("ca.pem")).unwrap());
    peer
}

#[test]
fn tls_to_the_target() {
    harness::run(async {
        let folder = harness::temporary_folder("tunnels");
        let proxy = proxy(&folder, b"");
        let mut tls = settings("a");
        tls.enable_h2();
        let server = serve(tls).await;
        let connector = TransportConnector::new(None);
        let mut peer = through(&proxy, &server, "a.example");
        peer.options.alpn = ALPN::H1;
        for expected in [" full ", " resumed "] {
            let body = get(&connector, &peer).await.unwrap();
            assert!(body.contains(expected), "{body}");
        }
        let stream = connector.new_stream(&peer).await.unwrap();
        let digest = stream.get_proxy_digest().unwrap();
        assert_eq!(digest.response.headers["x-via"], "a");
        assert!(stream.get_ssl_digest().is_some());
        // Proxy and TLS, each with the time it took.
        assert_eq!(stream.get_timing_digest().len(), 2);

        // The certificate is that of the target.
        let other = through(&proxy, &server, "b.example");
        let e = get(&connector, &other).await.unwrap_err();
        assert_eq!(e.etype(), &InvalidCert, "{e}");
        std::fs::remove_dir_all(folder).unwrap();
    });
}

/// What the proxy, or somebody between, says before the handshake is no part of it.
#[test]
fn early_words_are_no_part_of_the_connection() {
    harness::run(async {
        let folder = harness::temporary_folder("early");
        let proxy = proxy(&folder, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        let server = serve(settings("a")).await;
        let peer = through(&proxy, &server, "a.example");
        let e = get_once(&peer).await.unwrap_err();
        assert_eq!(e.etype(), &TLSHandshakeFailure, "{e}");
        std::fs::remove_dir_all(folder).unwrap();
    });
}
