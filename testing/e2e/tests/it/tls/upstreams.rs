//! What connectors check of servers, offer to them, and share.

use pingora::connectors::ConnectorOptions;
use pingora::upstreams::peer::Peer;
use pingora_e2e::harness;

use super::*;

#[test]
fn certificates_are_checked() {
    harness::run(async {
        let a = serve(settings("a")).await;
        let wild = serve(settings("wild")).await;
        let expired = serve(settings("expired")).await;
        type Change = fn(&mut HttpPeer);
        let nothing: Change = |_| ();
        let cases: &[(&str, &Running, &str, Change, bool)] = &[
            ("valid", &a, "a.example", nothing, true),
            ("upper case", &a, "A.EXAMPLE", nothing, true),
            ("wrong name", &a, "b.example", nothing, false),
            ("no name, but the address", &a, "", nothing, true),
            ("the address as name", &a, "127.0.0.1", nothing, true),
            ("neither name nor address", &wild, "", nothing, false),
            ("wildcard", &wild, "x.wild.example", nothing, true),
            (
                "wildcard and underscores",
                &wild,
                "x_y_z.wild.example",
                nothing,
                true,
            ),
            (
                "wildcards have one label",
                &wild,
                "x.y.wild.example",
                nothing,
                false,
            ),
            ("expired", &expired, "a.example", nothing, false),
            (
                "alternative",
                &a,
                "b.example",
                |p| p.options.alternative_cn = Some("a.example".into()),
                true,
            ),
            (
                "wrong alternative",
                &a,
                "b.example",
                |p| p.options.alternative_cn = Some("c.example".into()),
                false,
            ),
            (
                "name not checked",
                &a,
                "b.example",
                |p| p.options.verify_hostname = false,
                true,
            ),
            (
                "expired, name not checked",
                &expired,
                "a.example",
                |p| p.options.verify_hostname = false,
                false,
            ),
            (
                "nothing checked",
                &expired,
                "b.example",
                |p| p.options.verify_cert = false,
                true,
            ),
            (
                "unknown authority",
                &a,
                "a.example",
                |p| p.options.ca = None,
                false,
            ),
            (
                "other authority",
                &a,
                "a.example",
                |p| p.options.ca = Some(load_ca(&file("other-ca.pem")).unwrap()),
                false,
            ),
        ];
        for (name, server, sni, change, expected) in cases {
            let mut peer = peer(server.addr(), sni);
            change(&mut peer);
            match get_once(&peer).await {
                Ok(_) => assert!(expected, "{name}"),
                Err(e) => {
                    assert!(!expected, "{name}: {e}");
                    assert_eq!(e.etype(), &InvalidCert, "{name}: {e}");
                    assert_eq!(e.esource(), &pingora::ErrorSource::Upstream, "{name}");
                    assert!(!e.to_string().contains('\n'), "{name}: {e}");
                }
            }
        }
    });
}

#[test]
fn a_server_that_speaks_no_tls() {
    harness::run(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
            client.write_all(answer).await.unwrap();
            let _ = client.read_to_end(&mut vec![]).await;
        });
        let e = get_once(&peer(addr, "a.example")).await.unwrap_err();
        assert_eq!(e.etype(), &TLSHandshakeFailure, "{e}");
    });
}

#[test]
fn a_silent_server_is_given_up() {
    harness::run(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = peer(listener.local_addr().unwrap(), "a.example");
        peer.options.connection_timeout = Some(std::time::Duration::from_millis(50));
        let e = get_once(&peer).await.unwrap_err();
        assert_eq!(e.etype(), &TLSHandshakeTimedout, "{e}");

        peer.options.connection_timeout = None;
        peer.options.total_connection_timeout = Some(std::time::Duration::from_millis(50));
        let e = get_once(&peer).await.unwrap_err();
        assert_eq!(e.etype(), &ConnectTimedout, "{e}");
    });
}

#[test]
fn sessions_are_resumed_for_the_same_peer_only() {
    harness::run(async {
        let server = serve(settings("a")).await;
        let connector = TransportConnector::new(None);
        let same = peer(server.addr(), "a.example");
        let first = get(&connector, &same).await.unwrap();
        assert!(first.contains(" full "), "{first}");
        for _ in 0..3 {
            let next = get(&connector, &same).await.unwrap();
            assert!(next.contains(" resumed "), "{next}");
        }
        let mut others = vec![same.clone(), same.clone(), same.clone(), same.clone()];
        others[0].sni = "localhost".into();
        others[1].options.verify_hostname = false;
        others[2].client_cert_key = Some(client_cert("client"));
        others[3].group_key = 7;
        for other in &others {
            assert_ne!(other.reuse_hash(), same.reuse_hash());
            let body = get(&connector, other).await.unwrap();
            assert!(body.contains(" full "), "{other}: {body}");
        }
        // Another connector has sessions of its own.
        let body = get_once(&same).await.unwrap();
        assert!(body.contains(" full "), "{body}");
    });
}

#[test]
fn a_session_verified_with_one_authority_is_none_of_another() {
    harness::run(async {
        let server = serve(settings("a")).await;
        let connector = TransportConnector::new(None);
        let mut peer = peer(server.addr(), "a.example");
        get(&connector, &peer).await.unwrap();
        peer.options.ca = Some(load_ca(&file("other-ca.pem")).unwrap());
        let e = get(&connector, &peer).await.unwrap_err();
        assert_eq!(e.etype(), &InvalidCert, "{e}");
        // The same certificates in another place are the same authority.
        peer.options.ca = Some(load_ca(&file("ca.pem")).unwrap());
        let body = get(&connector, &peer).await.unwrap();
        assert!(body.contains(" resumed "), "{body}");
    });
}

#[test]
fn files_of_the_connector() {
    harness::run(async {
        let mut tls = settings("a");
        tls.set_client_auth(
            &file("ca.pem"),
            pingora::listeners::tls::ClientAuth::Required,
        )
        .unwrap();
        let server = serve(tls).await;
        let mut peer = peer(server.addr(), "a.example");
        peer.options.ca = None;
        let mut options = ConnectorOptions::new(8);
        options.ca_file = Some(file("ca.pem"));
        options.cert_key_file = Some((file("client.pem"), file("client.key")));
        let connector = TransportConnector::new(Some(options.clone()));
        let body = get(&connector, &peer).await.unwrap();
        assert_eq!(body, "TLSv1.3 a.example - full Client -");

        options.ca_file = Some(file("missing.pem"));
        let connector = TransportConnector::new(Some(options));
        let e = get(&connector, &peer).await.unwrap_err();
        assert!(e.to_string().contains("missing.pem"), "{e}");
        assert_eq!(e.esource(), &pingora::ErrorSource::Internal);
    });
}

#[test]
fn the_hook_of_a_peer_keeps_something() {
    harness::run(async {
        let server = serve(settings("a")).await;
        let mut peer = peer(server.addr(), "a.example");
        peer.options.upstream_tls_handshake_complete_hook =
            Some(Arc::new(|_| Some(Arc::new(5_u32))));
        let stream = TransportConnector::new(None)
            .new_stream(&peer)
            .await
            .unwrap();
        let digest = stream.get_ssl_digest().unwrap();
        assert_eq!(digest.extension.get::<u32>(), Some(&5));
        assert_eq!(digest.organization.as_deref(), Some("Server"));
        assert_eq!(digest.cert_digest.len(), 32);
        assert!(digest.serial_number.as_ref().unwrap().len() > 8);
        assert!(stream.get_ssl().is_some());
        let timing = stream.get_timing_digest();
        assert_eq!(timing.len(), 2);
        assert!(timing[1].as_ref().unwrap().establishment_duration.is_some());
        assert!(stream.get_socket_digest().unwrap().peer_addr().is_some());
    });
}

#[test]
fn connecting_on_threads_of_their_own() {
    harness::run(async {
        let server = serve(settings("a")).await;
        let mut options = ConnectorOptions::new(8);
        options.offload_threadpool = Some((1, 1));
        let connector = TransportConnector::new(Some(options));
        let body = get(&connector, &peer(server.addr(), "a.example"))
            .await
            .unwrap();
        assert!(body.contains(" full "), "{body}");
    });
}

/// Who shows another certificate, or none, has connections of its own.
#[test]
fn client_certificates_keep_peers_apart() {
    let addr = ([127, 0, 0, 1], 443).into();
    let with = |cert: Option<&str>| {
        let mut peer = peer(addr, "a.example");
        peer.client_cert_key = cert.map(client_cert);
        peer.reuse_hash()
    };
    let hashes = [with(None), with(Some("client")), with(Some("stranger"))];
    assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2] && hashes[0] != hashes[2]);
    assert_eq!(with(Some("client")), hashes[1]);
}
