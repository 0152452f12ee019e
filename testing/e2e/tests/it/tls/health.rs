//! Health checks of backends that speak TLS.

use pingora::lb::Backend;
use pingora::lb::health_check::{HealthCheck, HttpHealthCheck, TcpHealthCheck};
use pingora_e2e::harness;

use super::*;

/// Whether each kind of check, under this name and authority, finds the server well.
async fn checks(addr: SocketAddr, name: &str, ca: &str) -> [Result<()>; 2] {
    let ca = Some(load_ca(&file(ca)).unwrap());
    let backend = Backend::new(&addr.to_string()).unwrap();
    let mut tcp = TcpHealthCheck::new_tls(name);
    tcp.peer_template.options.ca = ca.clone();
    let mut http = HttpHealthCheck::new(name, true);
    http.peer_template.options.ca = ca;
    [
        within("a check", tcp.check(&backend)).await,
        within("a check", http.check(&backend)).await,
    ]
}

#[test]
fn a_check_is_a_handshake_and_more() {
    harness::run(async {
        let server = serve(settings("a")).await;
        for (name, ca, is_well) in [
            ("a.example", "ca.pem", true),
            ("b.example", "ca.pem", false),
            ("a.example", "other-ca.pem", false),
        ] {
            for result in checks(server.addr(), name, ca).await {
                match result {
                    Ok(()) => assert!(is_well, "{name} {ca}"),
                    Err(e) => {
                        assert!(!is_well, "{name} {ca}: {e}");
                        assert_eq!(e.etype(), &InvalidCert, "{name} {ca}: {e}");
                    }
                }
            }
        }
    });
}

#[test]
fn a_backend_that_speaks_no_tls_is_not_well() {
    harness::run(async {
        let plain = harness::app(HttpServer::new_app(Facts)).await;
        for result in checks(plain.addr(), "a.example", "ca.pem").await {
            assert_eq!(result.unwrap_err().etype(), &TLSHandshakeFailure);
        }
    });
}

/// A connection that is kept is asked again.
#[test]
fn a_check_may_keep_its_connection() {
    harness::run(async {
        let server = serve(settings("a")).await;
        let backend = Backend::new(&server.addr().to_string()).unwrap();
        let mut check = HttpHealthCheck::new("a.example", true);
        check.peer_template.options.ca = Some(load_ca(&file("ca.pem")).unwrap());
        check.reuse_connection = true;
        for _ in 0..3 {
            within("a check", check.check(&backend)).await.unwrap();
        }
    });
}
