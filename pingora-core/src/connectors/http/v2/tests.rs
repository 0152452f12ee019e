use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::{self, Connection};
use http::Response;
use pingora_error::ErrorType;
use pingora_http::RequestHeader;
use pingora_test_support::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::protocols::http::v2::client::PING_TIMEDOUT;
use crate::upstreams::peer::HttpPeer;

/// Tells an origin what to do with its connections.
#[derive(Clone, Copy)]
enum Command {
    GoAway,
    Close,
}

/// Starts an origin that answers 200 to everything.
async fn origin(options: server::Builder) -> (SocketAddr, mpsc::Sender<Command>) {
    let (addr, commands, _) = counting_origin(options).await;
    (addr, commands)
}

/// Starts an origin that counts the connections that have ended.
async fn counting_origin(
    options: server::Builder,
) -> (SocketAddr, mpsc::Sender<Command>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (commands, mut orders) = mpsc::channel(1);
    let ended = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ended);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut connection: Connection<TcpStream, Bytes> =
                options.handshake(stream).await.unwrap();
            loop {
                tokio::select! {
                    // Cancel-safe: accepting keeps its state in the connection.
                    accepted = connection.accept() => match accepted {
                        Some(Ok((_, mut respond))) => {
                            let _ = respond.send_response(Response::new(()), true);
                        }
                        _ => break,
                    },
                    // Cancel-safe by its documentation.
                    Some(order) = orders.recv() => match order {
                        Command::GoAway => connection.graceful_shutdown(),
                        Command::Close => break,
                    },
                }
            }
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    (addr, commands, ended)
}

fn peer(addr: SocketAddr, max_streams: usize) -> HttpPeer {
    let mut peer = HttpPeer::new(addr, false, String::new());
    peer.options.set_http_version(2, 2);
    peer.options.max_h2_streams = max_streams;
    peer
}

async fn session(connector: &Connector, peer: &HttpPeer) -> (Http2Session, bool) {
    match connector.get_http_session::<_, ()>(peer).await.unwrap() {
        (HttpSession::H2(session), reused) => (session, reused),
        _ => panic!("HTTP/2 was asked for"),
    }
}

/// Sends a request and reads the answer to its end.
async fn exchange(session: &mut Http2Session) -> Result<()> {
    let mut request = RequestHeader::build("GET", b"/", None)?;
    request.insert_header("Host", "a")?;
    session.write_request_header(Box::new(request), true)?;
    within("a head", session.read_response_header()).await?;
    assert_eq!(session.response_header().unwrap().status, 200);
    assert_eq!(within("the end", session.read_response_body()).await?, None);
    assert!(session.response_finished());
    Ok(())
}

/// Waits until `reached`; other tasks run meanwhile.
async fn until(what: &str, reached: impl Fn() -> bool) {
    within(what, async {
        while !reached() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn streams_share_a_connection() {
    let (addr, _commands) = origin(server::Builder::new()).await;
    let (connector, peer) = (Connector::new(None), peer(addr, 3));
    let (mut a, reused) = session(&connector, &peer).await;
    assert!(!reused);
    let (mut b, reused) = session(&connector, &peer).await;
    assert!(reused && a.fd() == b.fd());
    assert_eq!(a.conn.free_stream_slots(), 1);
    assert!(a.conn.can_accept_streams(1) && !a.conn.can_accept_streams(2));
    exchange(&mut a).await.unwrap();
    exchange(&mut b).await.unwrap();

    // Whether a session is released or dropped: its stream is given back.
    connector.release_http_session(a, &peer, None);
    assert_eq!(connector.in_use_pool().len(), 1);
    drop(b);
    assert_eq!(connector.in_use_pool().len(), 0);
    let (mut c, reused) = session(&connector, &peer).await;
    assert!(reused && connector.idle_pool().get(&peer.reuse_hash()).is_none());
    exchange(&mut c).await.unwrap();
}

#[tokio::test]
async fn a_cold_start_opens_one_connection() {
    let (addr, _commands) = origin(server::Builder::new()).await;
    let (connector, peer) = (Connector::new(None), peer(addr, 10));
    let sessions = futures_util::future::join_all((0..10).map(|_| session(&connector, &peer)));
    let sessions = within("all sessions", sessions).await;
    let fresh = sessions.iter().filter(|(_, reused)| !reused).count();
    assert_eq!(fresh, 1);
    assert_eq!(connector.in_use_pool().len(), 1);
}

#[tokio::test]
async fn the_limit_of_the_server_counts() {
    let mut options = server::Builder::new();
    options.max_concurrent_streams(1);
    let (addr, _commands) = origin(options).await;
    let (connector, peer) = (Connector::new(None), peer(addr, 10));
    let (mut a, _) = session(&connector, &peer).await;
    assert_eq!(a.conn.free_stream_slots(), 0);
    assert!(
        connector
            .reused_http_session(&peer)
            .await
            .unwrap()
            .is_none()
    );
    exchange(&mut a).await.unwrap();
    drop(a);
    assert!(session(&connector, &peer).await.1);
}

#[tokio::test]
async fn connections_that_end_are_forgotten() {
    for command in [Command::GoAway, Command::Close] {
        for in_use in [true, false] {
            let (addr, commands) = origin(server::Builder::new()).await;
            let (connector, peer) = (Connector::new(None), peer(addr, 10));
            let (mut a, _) = session(&connector, &peer).await;
            exchange(&mut a).await.unwrap();
            let conn = a.conn.clone();
            let held = in_use.then_some(a);
            commands.send(command).await.unwrap();
            until("the connection ends", || {
                conn.is_closed() || conn.is_shutting_down() || !conn.more_streams_allowed()
            })
            .await;
            let reused = connector.reused_http_session(&peer).await.unwrap();
            assert!(reused.is_none());
            drop(held);
            drop(conn);
            until("nothing is left", || {
                connector.in_use_pool().len() == 0
                    && connector.idle_pool().get(&peer.reuse_hash()).is_none()
            })
            .await;
        }
    }
}

#[tokio::test]
async fn idle_connections_expire() {
    let (addr, _commands, ended) = counting_origin(server::Builder::new()).await;
    let (connector, mut peer) = (Connector::new(None), peer(addr, 10));
    peer.options.idle_timeout = Some(Duration::from_millis(30));
    let (mut a, _) = session(&connector, &peer).await;
    exchange(&mut a).await.unwrap();
    // In use it is not idle, however long that lasts.
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(connector.in_use_pool().len(), 1);
    connector.release_http_session(a, &peer, peer.idle_timeout());
    until("it expires", || ended.load(Ordering::Relaxed) == 1).await;
    assert!(connector.idle_pool().get(&peer.reuse_hash()).is_none());
}

/// Reads the client's preface and SETTINGS and sends ours; says nothing more.
async fn silent_origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let mut sink = [0; 1024];
        while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
    });
    addr
}

#[tokio::test]
async fn a_server_that_does_not_answer_pings_is_given_up() {
    let addr = silent_origin().await;
    let (connector, mut peer) = (Connector::new(None), peer(addr, 1));
    peer.options.h2_ping_interval = Some(Duration::from_millis(30));
    let (mut a, _) = session(&connector, &peer).await;
    let e = exchange(&mut a).await.unwrap_err();
    assert_eq!(*e.etype(), PING_TIMEDOUT);
    assert!(!e.retry());
    assert!(a.conn.ping_timedout());
}

#[tokio::test]
async fn a_late_answer_gives_up_the_stream_and_the_connection() {
    let addr = silent_origin().await;
    let (connector, mut peer) = (Connector::new(None), peer(addr, 10));
    peer.options.read_timeout = Some(Duration::from_millis(30));
    let (mut a, _) = session(&connector, &peer).await;
    let e = exchange(&mut a).await.unwrap_err();
    assert_eq!(*e.etype(), ErrorType::ReadTimedout);
    assert!(a.conn.is_shutting_down());
}

#[tokio::test]
async fn a_server_of_http1_is_no_server_of_http2() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let refused = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(refused).await.unwrap();
        let mut sink = [0; 1024];
        while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
    });
    let connector = Connector::new(None);
    let refused = connector.new_http_session::<_, ()>(&peer(addr, 1)).await;
    let e = refused.err().expect("it does not speak HTTP/2");
    assert_eq!(*e.etype(), ErrorType::HandshakeError);
    assert_eq!(*e.esource(), pingora_error::ErrorSource::Upstream);
}

/// Windows grow with the streams that share them, so that none can stop another.
#[test]
fn windows() {
    let mut settings = H2HandshakeSettings::new();
    for (streams, stream, connection) in [
        (1, 1 << 20, 8 << 20),
        (8, 1 << 20, 8 << 20),
        (100, 83_886, 8_388_600),
        (1000, 64 << 10, 65_536_000),
        (usize::MAX, 64 << 10, (1 << 31) - 1),
    ] {
        settings.max_streams = streams;
        let (of_stream, of_connection) = settings.windows();
        assert_eq!(of_stream, stream, "{streams}");
        assert_eq!(of_connection, connection.max(8 << 20), "{streams}");
    }
    settings.stream_window_size = Some(u32::MAX);
    settings.connection_window_size = Some(70_000);
    assert_eq!(settings.windows(), ((1 << 31) - 1, 70_000));
}

#[tokio::test]
async fn an_answer_to_nothing_is_not_waited_for() {
    let (addr, _commands) = origin(server::Builder::new()).await;
    let (connector, peer) = (Connector::new(None), peer(addr, 1));
    let (mut session, _) = session(&connector, &peer).await;
    let read = within("an error", session.read_response_header()).await;
    assert!(!read.unwrap_err().retry());
}

/// A server that allows one stream on a connection: those who wait do not queue up for connections.
#[tokio::test]
async fn few_streams_mean_many_connections_at_once() {
    const CLIENTS: usize = 6;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = peer(listener.local_addr().unwrap(), 10);
    let serve = |stream| async {
        let mut options = server::Builder::new();
        options.max_concurrent_streams(1);
        let shaken: Result<Connection<TcpStream, Bytes>, _> = options.handshake(stream).await;
        let mut connection = shaken.unwrap();
        tokio::spawn(async move { while connection.accept().await.is_some() {} });
    };
    let origin = async {
        serve(listener.accept().await.unwrap().0).await;
        // All others come before one of them hears anything.
        let mut streams = Vec::new();
        for _ in 1..CLIENTS {
            streams.push(listener.accept().await.unwrap().0);
        }
        for stream in streams {
            serve(stream).await;
        }
    };
    let connector = Connector::new(None);
    let sessions = (0..CLIENTS).map(|_| session(&connector, &peer));
    let sessions = futures_util::future::join_all(sessions);
    let both = async { tokio::join!(sessions, origin) };
    let (sessions, ()) = within("all sessions", both).await;
    assert!(sessions.iter().all(|(_, reused)| !reused));
    assert_eq!(connector.in_use_pool().len(), CLIENTS);
}
