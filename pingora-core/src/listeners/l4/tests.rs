//! Tests of binding: real sockets on port 0, and Unix sockets in temporary directories.

use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use super::*;
use crate::protocols::l4::ext::TcpKeepalive;

async fn listen(address: ServerAddress) -> Result<BoundSocket> {
    Plan::new(&address, None).listen(false).await
}

async fn listen_tcp(addr: &str, options: TcpSocketOptions) -> Result<BoundSocket> {
    listen(ServerAddress::Tcp(addr.to_string(), Some(options))).await
}

fn one_line(e: &Error) -> String {
    crate::server::report::describe(e)
}

#[tokio::test]
async fn wrong_addresses_are_named_with_the_reason() {
    let held = listen_tcp("127.0.0.1:0", TcpSocketOptions::default())
        .await
        .unwrap();
    let taken = held.address();
    let cases = [
        (
            "127.0.0.1:80x",
            "cannot listen on 127.0.0.1:80x: invalid port",
        ),
        (
            "127.0.0.1:65536",
            "cannot listen on 127.0.0.1:65536: invalid port",
        ),
        (
            "127.0.0.1",
            "cannot listen on 127.0.0.1: no port, expected host:port",
        ),
        (
            "::1:80",
            "cannot listen on ::1:80: invalid IPv6 address, expected [address]:port",
        ),
        ("", "cannot listen on : no port, expected host:port"),
        // 192.0.2.1 (RFC 5737) is no address of this machine.
        (
            "192.0.2.1:80",
            "cannot listen on 192.0.2.1:80: cannot assign requested address",
        ),
    ];
    for (address, expected) in cases {
        let e = listen_tcp(address, TcpSocketOptions::default())
            .await
            .err()
            .unwrap();
        assert_eq!(one_line(&e), expected);
        assert_eq!(e.etype, ErrorType::BindError);
    }
    let e = listen_tcp(&taken, TcpSocketOptions::default())
        .await
        .err()
        .unwrap();
    assert_eq!(
        one_line(&e),
        format!("cannot listen on {taken}: address already in use")
    );
    drop(held);
}

#[tokio::test]
async fn connections_have_the_options_of_their_listener() {
    let keepalive = TcpKeepalive {
        idle: Duration::from_secs(61),
        interval: Duration::from_secs(7),
        count: 4,
        #[cfg(target_os = "linux")]
        user_timeout: Duration::from_secs(85),
    };
    let options = TcpSocketOptions {
        tcp_keepalive: Some(keepalive),
        tcp_recv_buf: Some(100_000),
        tcp_snd_buf: Some(100_000),
        dscp: cfg!(target_os = "linux").then_some(46),
        ..Default::default()
    };
    let socket = listen_tcp("127.0.0.1:0", options).await.unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(socket.address()), socket.accept());
    let accepted = accepted.unwrap();
    let view = sys::borrow(accepted.as_raw_fd()).unwrap();
    assert!(view.tcp_nodelay().unwrap());
    assert!(view.keepalive().unwrap());
    assert_eq!(view.tcp_keepalive_time().unwrap(), Duration::from_secs(61));
    assert!(view.recv_buffer_size().unwrap() >= 100_000);
    assert!(view.send_buffer_size().unwrap() >= 100_000);
    if cfg!(target_os = "linux") {
        assert_eq!(view.tos_v4().unwrap(), 46 << 2);
    }
    let local = client.unwrap().local_addr().unwrap();
    assert_eq!(accepted.accepted_from(), Some(&local));
}

#[tokio::test]
async fn an_address_is_shared_only_with_reuseport() {
    let shared = TcpSocketOptions {
        so_reuseport: Some(true),
        ..Default::default()
    };
    let first = listen_tcp("127.0.0.1:0", shared.clone()).await.unwrap();
    let second = listen_tcp(&first.address(), shared).await.unwrap();
    assert_eq!(first.address(), second.address());
    assert!(
        listen_tcp(&first.address(), TcpSocketOptions::default())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn names_are_resolved() {
    let socket = listen_tcp("localhost:0", TcpSocketOptions::default())
        .await
        .unwrap();
    assert!(
        socket
            .address()
            .parse::<SocketAddr>()
            .unwrap()
            .ip()
            .is_loopback()
    );
}

#[tokio::test]
async fn unix_sockets_have_their_permissions_and_replace_stale_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let name = path.to_str().unwrap().to_string();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;

    let open = listen(ServerAddress::Uds(name.clone(), None))
        .await
        .unwrap();
    assert_eq!(mode(&path), 0o666);
    assert_eq!(open.address(), name);
    let e = listen(ServerAddress::Uds(name.clone(), None))
        .await
        .err()
        .unwrap();
    assert_eq!(
        one_line(&e),
        format!("cannot listen on {name}: address already in use")
    );

    // The file stays behind and nobody listens: it is stale.
    drop(open);
    assert!(path.exists());
    let private = Some(Permissions::from_mode(0o600));
    let private = listen(ServerAddress::Uds(name.clone(), private))
        .await
        .unwrap();
    assert_eq!(mode(&path), 0o600);
    let (client, accepted) = tokio::join!(UnixStream::connect(&path), private.accept());
    assert!(client.is_ok() && accepted.unwrap().accepted_from().is_none());
}

#[tokio::test]
async fn files_that_are_no_sockets_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    fs::write(&path, "precious").unwrap();
    let name = path.to_str().unwrap().to_string();
    let e = listen(ServerAddress::Uds(name, None)).await.err().unwrap();
    assert!(
        one_line(&e).ends_with("the file exists and is not a socket"),
        "{e}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    let long = format!("{}/{}", dir.path().display(), "a".repeat(200));
    assert!(listen(ServerAddress::Uds(long, None)).await.is_err());
}

#[tokio::test]
async fn sockets_are_left_and_taken_over_once() {
    use std::os::fd::IntoRawFd;

    let address = ServerAddress::Tcp("127.0.0.1:0".to_string(), None);
    let fds = ListenFds::default();
    let first = Plan::new(&address, Some(fds.clone()))
        .listen(false)
        .await
        .unwrap();
    let second = Plan::new(&address, Some(fds.clone()))
        .listen(false)
        .await
        .unwrap();
    assert_ne!(first.address(), second.address());
    assert_eq!(fds.lock().serialize().1.len(), 2);

    // The next process gets copies of both, under the same name.
    let copy = |socket: &BoundSocket| {
        sys::borrow(socket.listener.as_raw_fd())
            .unwrap()
            .try_clone()
            .unwrap()
            .into_raw_fd()
    };
    let inherited = ListenFds::default();
    let binds = vec!["127.0.0.1:0".to_string(); 2];
    inherited
        .lock()
        .deserialize(binds, vec![copy(&first), copy(&second)]);
    let plans = [0, 1, 2].map(|_| Plan::new(&address, Some(inherited.clone())));
    assert_eq!(
        plans.each_ref().map(Plan::is_inherited),
        [true, true, false]
    );
    let mut addresses = vec![];
    for plan in plans {
        addresses.push(plan.listen(true).await.unwrap().address());
    }
    assert_eq!(addresses[..2], [first.address(), second.address()]);
    assert!(!addresses[..2].contains(&addresses[2]));
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_waits_for_the_old_process() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = ServerAddress::Tcp(held.local_addr().unwrap().to_string(), None);
    let e = Plan::new(&address, None).listen(true).await.err().unwrap();
    assert!(e.to_string().contains("in use"), "{e}");
    let (bound, ()) = tokio::join!(Plan::new(&address, None).listen(true), async {
        tokio::time::sleep(UPGRADE_BIND_PAUSE * 3 / 2).await;
        drop(held);
    });
    assert_eq!(bound.unwrap().address(), address.as_ref());
}
