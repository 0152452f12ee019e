//! Tests of connecting and of the public option functions.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

async fn listener() -> (tokio::net::TcpListener, SocketAddr) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn local(range: Option<(u16, u16)>, fallback: bool) -> BindTo {
    let mut bind_to = BindTo::default();
    bind_to.addr = Some("127.0.0.1:0".parse().unwrap());
    bind_to.set_port_range(range).unwrap();
    bind_to.set_fallback(fallback);
    bind_to
}

#[tokio::test]
async fn connects_from_the_local_address() {
    let (_listener, address) = listener().await;
    let stream = connect(&address, Some(&local(None, false))).await.unwrap();
    assert_eq!(stream.local_addr().unwrap().ip().to_string(), "127.0.0.1");
    let stream = connect(&address, None).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), address);
}

#[tokio::test]
async fn refused_connections_say_so() {
    let (listener, address) = listener().await;
    drop(listener);
    let e = connect(&address, None).await.unwrap_err();
    assert_eq!(e.etype, ErrorType::ConnectRefused);
    assert!(e.to_string().contains(&address.to_string()), "{e}");
    // 192.0.2.1 (RFC 5737) is nobody's local address.
    let mut bind_to = BindTo::default();
    bind_to.addr = Some("192.0.2.1:0".parse().unwrap());
    let e = connect(&address, Some(&bind_to)).await.unwrap_err();
    assert_eq!(e.etype, ErrorType::BindError);
}

#[tokio::test]
async fn the_socket_is_prepared_for_each_attempt() {
    let (_listener, address) = listener().await;
    let prepared = AtomicUsize::new(0);
    connect_with(&address, None, |_| {
        prepared.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(prepared.load(Ordering::Relaxed), 1);
    let refuse = |_: &TcpSocket| Error::e_explain(ErrorType::SocketError, "no");
    assert!(connect_with(&address, None, refuse).await.is_err());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_exhausted_port_range_falls_back_if_allowed() {
    // The kernel option is newer than some systems: nothing to test there.
    let (_listener, address) = listener().await;
    let (_taker, taken) = listener_and_port().await;
    let range = Some((taken, taken));
    let first = connect(&address, Some(&local(range, false))).await;
    let fallback = connect(&address, Some(&local(range, true))).await;
    match first {
        Ok(stream) => assert_eq!(stream.local_addr().unwrap().port(), taken),
        Err(e) if is_port_shortage(&e) => {
            assert_ne!(fallback.unwrap().local_addr().unwrap().port(), taken);
        }
        Err(e) => assert_eq!(e.etype, ErrorType::BindError),
    }
}

#[cfg(target_os = "linux")]
async fn listener_and_port() -> (tokio::net::TcpListener, u16) {
    let (listener, address) = listener().await;
    (listener, address.port())
}

#[tokio::test]
async fn unix_sockets_connect_or_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    assert!(
        connect_uds(&path)
            .await
            .unwrap_err()
            .to_string()
            .contains("a.sock")
    );
    let _listener = tokio::net::UnixListener::bind(&path).unwrap();
    connect_uds(&path).await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn facts_of_a_connection() {
    let (_listener, address) = listener().await;
    let stream = connect(&address, None).await.unwrap();
    let fd = stream.as_raw_fd();
    // 1 is ESTABLISHED in the kernel's numbering.
    assert_eq!(get_tcp_info(fd).unwrap().tcpi_state, 1);
    assert!(get_recv_buf(fd).unwrap() > 0 && get_snd_buf(fd).unwrap() > 0);
    // Nobody redirected it: an error or no address, depending on the firewall modules loaded.
    let _ = get_original_dest(fd);
    set_recv_buf(fd, 65536).unwrap();
    set_snd_buf(fd, 65536).unwrap();
    set_dscp(fd, 10).unwrap();
}

#[test]
fn tcp_info_has_the_kernel_layout() {
    use std::mem::offset_of;
    assert_eq!(offset_of!(TCP_INFO, tcpi_rto), 8);
    assert_eq!(offset_of!(TCP_INFO, tcpi_pacing_rate), 104);
    assert_eq!(offset_of!(TCP_INFO, tcpi_delivery_rate), 160);
    assert_eq!(offset_of!(TCP_INFO, tcpi_bytes_sent), 200);
    assert_eq!(offset_of!(TCP_INFO, tcpi_rcv_wnd), 232);
    assert_eq!(TCP_INFO::len(), 240);
    // SAFETY: the function has no precondition.
    let zero = unsafe { TCP_INFO::new() };
    assert_eq!(zero.tcpi_snd_wnd, 0);
}
