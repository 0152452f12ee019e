//! Connecting as a health check.

use pingora_load_balancing::health_check::{HealthCheck, TcpHealthCheck};
use pingora_test_support::raw;

use crate::at;

#[tokio::test]
async fn accepts_or_refuses() {
    let check = TcpHealthCheck::new();
    let listener = raw::Listener::bind().await;
    check.check(&at(listener.addr())).await.unwrap();
    // The connection is closed, not kept.
    listener.accept().await.expect_end().await;
    check
        .check(&at(raw::refused_addr().await))
        .await
        .unwrap_err();
    // Accepting is up to the kernel: nobody needs to read.
    for _ in 0..3 {
        check.check(&at(listener.addr())).await.unwrap();
    }
}

#[cfg(unix)]
#[tokio::test]
async fn unix_sockets() {
    use pingora_load_balancing::Backend;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let backend = Backend::new(&format!("unix:{}", path.display())).unwrap();
    let check = TcpHealthCheck::new();
    check.check(&backend).await.unwrap_err();
    let _listener = tokio::net::UnixListener::bind(&path).unwrap();
    check.check(&backend).await.unwrap();
}

#[test]
fn thresholds_and_names() {
    let mut check = TcpHealthCheck::default();
    assert_eq!(
        [true, false].map(|success| check.health_threshold(success)),
        [1, 1]
    );
    (check.consecutive_success, check.consecutive_failure) = (2, 3);
    assert_eq!(
        [true, false].map(|success| check.health_threshold(success)),
        [2, 3]
    );
    let backend = at("10.0.0.1:80".parse().unwrap());
    assert!(check.backend_summary(&backend).contains("10.0.0.1:80"));
    let tls = TcpHealthCheck::new_tls("app.example");
    assert_eq!(tls.peer_template.sni, "app.example");
    let options = &tls.peer_template.options;
    assert_eq!(
        options.connection_timeout,
        Some(std::time::Duration::from_secs(1))
    );
    assert_eq!(
        options.total_connection_timeout,
        Some(std::time::Duration::from_secs(1))
    );
}
