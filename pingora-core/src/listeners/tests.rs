//! Tests of what happens between accepting a connection and serving it.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use pingora_error::{Error, ErrorType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// One stack on a free port.
async fn stack(listeners: &mut Listeners) -> TransportStack {
    listeners.add_tcp("127.0.0.1:0");
    listeners.build(None).await.unwrap().pop().unwrap()
}

async fn connected(stack: &TransportStack) -> (TcpStream, Box<L4Stream>) {
    let (address, home) = (stack.local_addr_string(), tokio::runtime::Handle::current());
    let (client, accepted) = tokio::join!(TcpStream::connect(address), stack.accept(&home));
    (client.unwrap(), accepted.unwrap())
}

#[derive(Debug)]
struct Refuse(AtomicBool);

#[async_trait]
impl ConnectionFilter for Refuse {
    async fn should_accept(&self, addr: Option<&SocketAddr>) -> bool {
        assert!(addr.is_some());
        self.0.store(true, Ordering::Relaxed);
        false
    }
}

struct ReadOne;

#[async_trait]
impl PreTlsProcess for ReadOne {
    async fn process(&self, stream: &mut L4Stream) -> Result<()> {
        let mut byte = [0];
        match stream.read_exact(&mut byte).await {
            Ok(_) if byte == *b"!" => Ok(()),
            _ => Error::e_explain(ErrorType::AcceptError, "not the right byte"),
        }
    }
}

#[test]
fn addresses_are_listed_as_configured() {
    let mut listeners = Listeners::uds("/run/a.sock", None);
    listeners.add_tcp("localhost:1");
    listeners.add_tcp_with_settings("[::]:2", TcpSocketOptions::default());
    assert_eq!(
        listeners.addresses(),
        ["/run/a.sock", "localhost:1", "[::]:2"]
    );
}

#[test]
#[should_panic(expected = "file permissions for the TCP address a:1")]
fn permissions_are_for_files() {
    use std::os::unix::fs::PermissionsExt;
    ListenerConfig::tcp("a:1").permissions(Permissions::from_mode(0o600));
}

#[test]
#[should_panic(expected = "TCP options for the Unix socket /a")]
fn tcp_options_are_for_tcp() {
    ListenerConfig::uds("/a").tcp_socket_options(TcpSocketOptions::default());
}

#[tokio::test]
async fn a_plain_connection_needs_no_preparation() {
    let mut listeners = Listeners::new();
    let stack = stack(&mut listeners).await;
    assert!(stack.preparation().is_empty());
    assert_eq!(stack.protocol(), "tcp");
    assert_eq!(listeners.addresses(), ["127.0.0.1:0"]);
    assert!(!stack.local_addr_string().ends_with(":0"));
    let (mut client, mut accepted) = connected(&stack).await;
    client.write_all(b"x").await.unwrap();
    assert_eq!(accepted.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn a_refused_connection_is_closed_before_anything_else() {
    let mut listeners = Listeners::new();
    let filter = Arc::new(Refuse(AtomicBool::new(false)));
    listeners.set_connection_filter(filter.clone());
    listeners.set_pre_tls_callback(Arc::new(ReadOne));
    let stack = stack(&mut listeners).await;
    let (mut client, accepted) = connected(&stack).await;
    assert!(!filter.0.load(Ordering::Relaxed));
    assert!(
        stack
            .preparation()
            .handshake(accepted)
            .await
            .unwrap()
            .is_none()
    );
    assert!(filter.0.load(Ordering::Relaxed));
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn the_callback_reads_before_the_application() {
    let mut listeners = Listeners::new();
    listeners.set_connection_filter(Arc::new(AcceptAllFilter));
    listeners.set_pre_tls_callback(Arc::new(ReadOne));
    let stack = stack(&mut listeners).await;
    let (mut client, accepted) = connected(&stack).await;
    client.write_all(b"!rest").await.unwrap();
    let mut stream = stack
        .preparation()
        .handshake(accepted)
        .await
        .unwrap()
        .unwrap();
    let mut rest = [0; 4];
    stream.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b"rest");

    let (mut client, accepted) = connected(&stack).await;
    client.write_all(b"?").await.unwrap();
    assert!(stack.preparation().handshake(accepted).await.is_err());
}

#[derive(Debug)]
struct Never;

#[async_trait]
impl ConnectionFilter for Never {
    async fn should_accept(&self, _addr: Option<&SocketAddr>) -> bool {
        pending().await
    }
}

#[tokio::test]
async fn what_takes_too_long_is_dropped() {
    let mut listeners = Listeners::new();
    assert_eq!(listeners.handshake_timeout, Some(DEFAULT_HANDSHAKE_TIMEOUT));
    listeners.set_handshake_timeout(Some(Duration::from_millis(1)));
    listeners.set_connection_filter(Arc::new(Never));
    let stack = stack(&mut listeners).await;
    let (mut client, accepted) = connected(&stack).await;
    let e = stack.preparation().handshake(accepted).await.err().unwrap();
    assert_eq!(e.etype, ErrorType::TLSHandshakeTimedout);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn tls_without_a_library_is_an_error() {
    // With a library these files do not exist, which is one too.
    assert!(Listeners::tls("127.0.0.1:0", "/no/cert.pem", "/no/key.pem").is_err());
}

#[test]
fn a_connection_belongs_to_the_runtime_that_serves_it() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
    };
    let (accepts, serves) = (runtime().unwrap(), runtime().unwrap());
    let home = serves.handle().clone();
    let (mut client, mut accepted) = accepts.block_on(async {
        let mut listeners = Listeners::new();
        let stack = stack(&mut listeners).await;
        let address = stack.local_addr_string();
        let (client, accepted) = tokio::join!(
            tokio::task::spawn_blocking(|| std::net::TcpStream::connect(address)),
            stack.accept(&home)
        );
        (client.unwrap().unwrap(), accepted.unwrap())
    });
    // Without its runtime a socket would never be ready.
    drop(accepts);
    let task = serves.spawn(async move { accepted.read_u8().await });
    std::io::Write::write_all(&mut client, b"x").unwrap();
    assert_eq!(serves.block_on(task).unwrap().unwrap(), b'x');
}
