use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pingora_error::ErrorType;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::protocols::Stream;
use crate::upstreams::peer::{ALPN, BasicPeer, HttpPeer, Peer};

/// A server whose connections the test holds.
struct Server {
    listener: TcpListener,
    peer: HttpPeer,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = HttpPeer::new(listener.local_addr().unwrap(), false, String::new());
        Server { listener, peer }
    }

    /// A new connection and its other end.
    async fn connect(&self, connector: &TransportConnector) -> (Stream, TcpStream) {
        let stream = connector.new_stream(&self.peer).await.unwrap();
        (stream, self.listener.accept().await.unwrap().0)
    }

    /// Whether the next connection is one of the pool.
    async fn is_reused(&self, connector: &TransportConnector) -> bool {
        connector.get_stream(&self.peer).await.unwrap().1
    }
}

/// Waits until `stream` has something to read, without reading.
async fn readable(stream: &mut Stream) {
    let mut byte = [0];
    // an error or the end of the stream is something too
    let _ = stream.try_peek(&mut byte).await;
}

#[tokio::test]
async fn connections_are_reused() {
    let idled = std::sync::Arc::new(Mutex::new(vec![]));
    let seen = idled.clone();
    let mut options = ConnectorOptions::new(8);
    options.keepalive_pool_callback = Some(std::sync::Arc::new(move |idled| {
        seen.lock().unwrap().push(idled)
    }));
    let connector = TransportConnector::new(Some(options));
    let server = Server::start().await;
    let (stream, mut other_end) = server.connect(&connector).await;
    let id = stream.id();
    connector.release_stream(stream, server.peer.reuse_hash(), None);
    assert_eq!(connector.idle_count(), 1);

    let mut different = server.peer.clone();
    different.group_key = 1;
    assert!(connector.reused_stream(&different).await.is_none());

    let (mut stream, reused) = connector.get_stream(&server.peer).await.unwrap();
    assert!(reused && stream.id() == id);
    assert_eq!(idled.lock().unwrap().len(), 1);
    other_end.write_all(b"x").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
    assert!(connector.reused_stream(&server.peer).await.is_none());
    assert_eq!(connector.unexpected_data_connection_count(), 0);
}

#[tokio::test]
async fn closed_connections_are_not_reused() {
    let connector = TransportConnector::new(None);
    let server = Server::start().await;
    let (mut stream, other_end) = server.connect(&connector).await;
    drop(other_end);
    readable(&mut stream).await;
    connector.release_stream(stream, server.peer.reuse_hash(), None);
    assert!(!server.is_reused(&connector).await);
    assert_eq!(connector.idle_count(), 0);
    assert_eq!(connector.unexpected_data_connection_count(), 0);
}

#[tokio::test]
async fn connections_with_unexpected_data_are_not_reused() {
    let connector = TransportConnector::new(None);
    let counter = connector.unexpected_data_connection_counter();
    let server = Server::start().await;
    for count in 1..=2 {
        let (mut stream, mut other_end) = server.connect(&connector).await;
        other_end.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        readable(&mut stream).await;
        connector.release_stream(stream, server.peer.reuse_hash(), None);
        assert!(connector.reused_stream(&server.peer).await.is_none());
        assert_eq!(connector.unexpected_data_connection_count(), count);
        assert_eq!(counter.load(Ordering::Relaxed), count);
    }
}

#[tokio::test]
async fn dead_connections_are_passed_over() {
    let connector = TransportConnector::new(None);
    let server = Server::start().await;
    let (alive, _other_end) = server.connect(&connector).await;
    let id = alive.id();
    let mut dead = vec![];
    for _ in 0..3 {
        let (mut stream, other_end) = server.connect(&connector).await;
        drop(other_end);
        readable(&mut stream).await;
        dead.push(stream);
    }
    connector.release_stream(alive, server.peer.reuse_hash(), None);
    for stream in dead {
        connector.release_stream(stream, server.peer.reuse_hash(), None);
    }
    let stream = connector.reused_stream(&server.peer).await.unwrap();
    assert_eq!(stream.id(), id);
    assert_eq!(connector.idle_count(), 0);
}

#[tokio::test]
async fn pool_is_bounded() {
    let connector = TransportConnector::new(Some(ConnectorOptions::new(2)));
    let server = Server::start().await;
    let mut others = vec![];
    for _ in 0..4 {
        let (stream, other_end) = server.connect(&connector).await;
        others.push(other_end);
        connector.release_stream(stream, server.peer.reuse_hash(), None);
    }
    assert_eq!(connector.idle_count(), 2);
    // the two oldest were closed
    for other_end in &mut others[..2] {
        assert_eq!(other_end.read(&mut [0]).await.unwrap(), 0);
    }

    let none = TransportConnector::new(Some(ConnectorOptions::new(0)));
    let (stream, _other_end) = server.connect(&none).await;
    none.release_stream(stream, server.peer.reuse_hash(), None);
    assert!(none.reused_stream(&server.peer).await.is_none());
}

#[tokio::test]
async fn expired_connections_are_not_reused() {
    let connector = TransportConnector::new(None);
    let server = Server::start().await;
    let (stream, _other_end) = server.connect(&connector).await;
    connector.release_stream(stream, server.peer.reuse_hash(), Some(Duration::ZERO));
    assert!(!server.is_reused(&connector).await);
}

#[tokio::test]
async fn sweeping_closes_what_nobody_asks_for() {
    let connector = TransportConnector::new(None);
    let server = Server::start().await;
    let (expired, mut expired_end) = server.connect(&connector).await;
    let (mut closed, closed_end) = server.connect(&connector).await;
    let (kept, _kept_end) = server.connect(&connector).await;
    drop(closed_end);
    readable(&mut closed).await;
    let key = server.peer.reuse_hash();
    connector.release_stream(expired, key, Some(Duration::ZERO));
    connector.release_stream(closed, key, None);
    connector.release_stream(kept, key, None);

    // ends when the task has closed it
    assert_eq!(expired_end.read(&mut [0]).await.unwrap(), 0);
    while connector.idle_count() > 1 {
        tokio::task::yield_now().await;
    }
    assert!(server.is_reused(&connector).await);
}

#[tokio::test(start_paused = true)]
async fn sweeping_ends_with_the_connections() {
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let connector = TransportConnector::new(None);
    let (end, _other_end) = tokio::io::duplex(1);
    let before = tasks();
    connector.release_stream(Box::new(end), 7, None);
    assert_eq!(tasks(), before + 1);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!((tasks(), connector.idle_count()), (before + 1, 1));

    drop(connector.idle_stream(7));
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(tasks(), before);

    // and begins again
    let (end, other_end) = tokio::io::duplex(1);
    connector.release_stream(Box::new(end), 7, None);
    assert_eq!(tasks(), before + 1);
    drop(other_end);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(connector.idle_count(), 0);

    drop(connector);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(tasks(), before);
}

#[test]
fn releasing_outside_of_a_runtime() {
    let connector = TransportConnector::new(None);
    let (end, _other_end) = tokio::io::duplex(1);
    connector.release_stream(Box::new(end), 7, None);
    assert_eq!(connector.idle_count(), 1);
}

#[test]
fn connections_outlive_the_runtime_of_the_sweeper() {
    let connector = TransportConnector::new(None);
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    for round in 1..=2 {
        runtime().block_on(async {
            let (end, _other_end) = tokio::io::duplex(1);
            connector.release_stream(Box::new(end), round, None);
            let tasks = tokio::runtime::Handle::current()
                .metrics()
                .num_alive_tasks();
            assert_eq!(tasks, 1, "round {round}");
        });
    }
}

#[cfg(not(feature = "any_tls"))]
#[tokio::test]
async fn tls_without_a_library_is_refused_before_connecting() {
    let server = Server::start().await;
    let mut peer = server.peer.clone();
    peer.scheme = crate::upstreams::peer::Scheme::HTTPS;
    let e = TransportConnector::new(None)
        .get_stream(&peer)
        .await
        .unwrap_err();
    assert_eq!(e.etype(), &ErrorType::TLSHandshakeFailure);
    for text in [
        "127.0.0.1",
        "wants TLS",
        "openssl, boringssl, rustls or s2n",
    ] {
        assert!(e.to_string().contains(text), "{e}");
    }
    // the first connection the server sees is the next one
    let (stream, other_end) = server.connect(&TransportConnector::new(None)).await;
    let local = stream
        .get_socket_digest()
        .unwrap()
        .local_addr()
        .unwrap()
        .clone();
    assert_eq!(local.as_inet(), Some(&other_end.peer_addr().unwrap()));
}

#[tokio::test]
async fn connecting_on_other_threads() {
    let mut options = ConnectorOptions::new(8);
    options.offload_threadpool = Some((2, 1));
    let connector = TransportConnector::new(Some(options));
    let server = Server::start().await;
    let (mut stream, mut other_end) = server.connect(&connector).await;
    other_end.write_all(b"x").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');

    let e = connector
        .new_stream(&BasicPeer::new("nonsense"))
        .await
        .unwrap_err();
    assert_eq!(e.etype(), &ErrorType::ConnectNoRoute);
    // dropping the threads in a task must not panic
    drop(connector);
}

#[test]
fn options_of_a_configuration() {
    let conf = crate::server::configuration::ServerConf {
        threads: 3,
        upstream_keepalive_pool_size: 77,
        client_bind_to_ipv4: vec!["127.0.0.1".into(), "::1".into(), "nonsense".into()],
        client_bind_to_ipv6: vec!["::1".into(), "127.0.0.1".into()],
        ..Default::default()
    };
    let options = ConnectorOptions::from_server_conf(&conf);
    assert_eq!(options.keepalive_pool_size, 3 * 77);
    assert_eq!(options.bind_to_v4, ["127.0.0.1:0".parse().unwrap()]);
    assert_eq!(options.bind_to_v6, ["[::1]:0".parse().unwrap()]);
}

#[tokio::test]
async fn http_sessions_by_alpn() {
    let connector = http::Connector::new(None);
    let server = Server::start().await;
    let mut peer = server.peer.clone();
    let (session, reused) = connector.get_http_session(&peer).await.unwrap();
    assert!(!reused);
    assert!(matches!(
        session,
        crate::protocols::http::client::HttpSession::H1(_)
    ));

    peer.options.alpn = ALPN::H2H1;
    assert!(connector.get_http_session(&peer).await.is_ok());

    peer.options.alpn = ALPN::H2;
    assert!(connector.get_http_session(&peer).await.is_err());
    connector.prefer_h1(&peer);
    assert!(connector.get_http_session(&peer).await.is_ok());

    let alpn = crate::protocols::tls::CustomALPN::new(b"mine".to_vec());
    peer.options.alpn = ALPN::Custom(alpn);
    assert!(connector.get_http_session(&peer).await.is_err());
}
