//! Tests of system calls on real sockets, and that wrong descriptors are errors.

use std::os::fd::AsRawFd;
use std::time::Duration;

use super::*;
use crate::protocols::l4::ext::TcpKeepalive;

fn keepalive() -> TcpKeepalive {
    TcpKeepalive {
        idle: Duration::from_secs(61),
        interval: Duration::from_secs(7),
        count: 4,
        #[cfg(target_os = "linux")]
        user_timeout: Duration::from_secs(85),
    }
}

#[test]
fn wrong_descriptors_are_errors() {
    for fd in [-1, i32::MIN, i32::MAX] {
        assert!(set_recv_buf(fd, 1).is_err());
        assert!(snd_buf(fd).is_err());
        assert!(set_nodelay(fd).is_err());
        assert!(set_keepalive(fd, &keepalive()).is_err());
        assert!(address(fd, true).is_err());
        assert!(tcp_info(fd).is_err());
        assert!(set_dscp(fd, 1).is_err());
        assert!(original_dst(fd).is_err());
        assert!(socket_cookie(fd).is_err());
        assert!(enable_rx_timestamp(fd).is_err());
    }
}

#[test]
fn errors_of_accept_are_told_apart() {
    let cases = [
        (libc::EMFILE, true, false),
        (libc::ENFILE, true, false),
        (libc::ECONNABORTED, false, true),
        (libc::EPROTO, false, true),
        // About the listening socket: trying on at once would spin.
        (libc::EINVAL, false, false),
        (libc::EOPNOTSUPP, false, false),
    ];
    for (code, exhausted, one) in cases {
        let e = std::io::Error::from_raw_os_error(code);
        assert_eq!(
            (is_exhausted(&e), is_of_one_connection(&e)),
            (exhausted, one),
            "{e}"
        );
    }
}

#[test]
fn options_are_set() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let fd = socket.as_raw_fd();
    set_recv_buf(fd, 100_000).unwrap();
    assert!(recv_buf(fd).unwrap() >= 100_000);
    set_snd_buf(fd, 100_000).unwrap();
    assert!(snd_buf(fd).unwrap() >= 100_000);
    set_nodelay(fd).unwrap();
    set_keepalive(fd, &keepalive()).unwrap();
    let view = borrow(fd).unwrap();
    assert!(view.tcp_nodelay().unwrap());
    assert_eq!(view.tcp_keepalive_time().unwrap(), Duration::from_secs(61));
}

#[cfg(target_os = "linux")]
#[test]
fn linux_options_are_set() {
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        // A machine without IPv6 has nothing to test for it.
        let Ok(socket) = std::net::TcpListener::bind(bind) else {
            continue;
        };
        let fd = socket.as_raw_fd();
        set_dscp(fd, 46).unwrap();
        assert!(set_dscp(fd, 64).is_err());
        let view = borrow(fd).unwrap();
        assert_eq!(is_ipv6(&view).unwrap(), bind.starts_with('['));
        if !is_ipv6(&view).unwrap() {
            assert_eq!(view.tos_v4().unwrap(), 46 << 2);
        }
        assert!(tcp_info(fd).is_ok());
    }
}

#[test]
fn private_files_are_for_their_owner_only() {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secrets");
    for line in ["a", "b"] {
        let mut file = append_to_private(&path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"ab");
}

/// A connection born after the filter was set inherits it, and still gets its bytes.
#[cfg(target_os = "linux")]
#[test]
fn a_handshake_that_has_begun_goes_on_when_arrivals_are_dropped() {
    use std::io::{Read as _, Write as _};

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // The connection is born with the first byte the client sends, not when it connects.
    let socket = borrow(listener.as_raw_fd()).unwrap();
    linux::set_int(&socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 60).unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = std::net::TcpStream::connect(address).unwrap();
    drop_arriving(listener.as_raw_fd()).unwrap();
    let late = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(50));
    assert_eq!(late.unwrap_err().kind(), std::io::ErrorKind::TimedOut);

    client.write_all(b"a").unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    drop(listener);
    let patience = Some(Duration::from_secs(30));
    accepted.set_read_timeout(patience).unwrap();
    for byte in [b"a", b"b"] {
        let mut read = [0];
        accepted.read_exact(&mut read).unwrap();
        assert_eq!(&read, byte);
        client.write_all(b"b").unwrap();
    }
}
