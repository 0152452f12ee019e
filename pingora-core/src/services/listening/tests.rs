//! Tests of a service over real sockets on ports the system chose.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;
use crate::listeners::TransportStack;
use crate::services::Service as _;

/// Answers each byte with the next one; keeps the connection after `a`, ends it after others.
#[derive(Default)]
struct Next {
    cleaned: AtomicBool,
    /// Told of every answer.
    served: Notify,
}

#[async_trait]
impl ServerApp for Next {
    async fn process_new(
        self: &Arc<Self>,
        mut stream: Stream,
        _shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let byte = stream.read_u8().await.ok()?;
        stream.write_u8(byte + 1).await.ok()?;
        stream.flush().await.ok()?;
        self.served.notify_one();
        (byte == b'a').then_some(stream)
    }

    async fn cleanup(&self) {
        self.cleaned.store(true, Ordering::Relaxed);
    }
}

struct Running {
    task: JoinHandle<()>,
    address: String,
    shutdown: watch::Sender<bool>,
    app: Arc<Next>,
    addresses: watch::Receiver<Vec<String>>,
}

/// Runs a service on a free port with two accepting tasks.
async fn run(mut service: Service<Next>) -> Running {
    service.add_tcp("127.0.0.1:0");
    let app = service.app_logic.clone().unwrap();
    let mut addresses = service.address_watch();
    let (shutdown, watch) = watch::channel(false);
    let task = tokio::spawn(async move { service.start_service(None, watch, 2).await });
    let address = addresses.wait_for(|bound| !bound.is_empty()).await.unwrap()[0].clone();
    Running {
        task,
        address,
        shutdown,
        app,
        addresses,
    }
}

fn service() -> Service<Next> {
    Service::new("test".to_string(), Next::default())
}

async fn exchange(client: &mut TcpStream, byte: u8) -> u8 {
    client.write_u8(byte).await.unwrap();
    client.read_u8().await.unwrap()
}

#[tokio::test]
async fn a_connection_is_served_until_the_application_ends_it() {
    let running = run(service()).await;
    let mut client = TcpStream::connect(&running.address).await.unwrap();
    assert_eq!(exchange(&mut client, b'a').await, b'b');
    assert_eq!(exchange(&mut client, b'a').await, b'b');
    assert_eq!(exchange(&mut client, b'x').await, b'y');
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn shutdown_closes_the_socket_and_waits_for_connections() {
    let mut running = run(service()).await;
    let mut client = TcpStream::connect(&running.address).await.unwrap();
    assert_eq!(exchange(&mut client, b'a').await, b'b');
    running.shutdown.send_replace(true);
    // Empty again once the sockets are closed.
    running.addresses.wait_for(Vec::is_empty).await.unwrap();
    assert!(TcpStream::connect(&running.address).await.is_err());
    assert!(!running.task.is_finished());
    assert_eq!(exchange(&mut client, b'x').await, b'y');
    running.task.await.unwrap();
    assert!(running.app.cleaned.load(Ordering::Relaxed));
}

#[tokio::test]
async fn shutdown_serves_the_connections_in_the_backlog() {
    let running = run(service()).await;
    // Blocks the only thread, so that nothing is accepted before the shutdown.
    let mut clients: Vec<_> = (0..20)
        .map(|_| std::net::TcpStream::connect(&running.address).unwrap())
        .collect();
    for client in &mut clients {
        client.write_all(b"x").unwrap();
    }
    running.shutdown.send_replace(true);
    running.task.await.unwrap();
    for mut client in clients {
        let mut answer = [0];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, *b"y");
    }
}

/// Whoever was told that it is connected is served, however close to the end it came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_resets_no_connection_that_arrives_meanwhile() {
    // One run hits the instant between the last look at the backlog and the close in one of a
    // few dozen.
    for _ in 0..20 {
        let running = run(service()).await;
        let address = running.address.parse().unwrap();
        let clients: Vec<_> = (0..3)
            .map(|_| std::thread::spawn(move || connect_until_refused(address)))
            .collect();
        running.app.served.notified().await;
        running.shutdown.send_replace(true);
        running.task.await.unwrap();
        for client in clients {
            client.join().unwrap().unwrap();
        }
    }
}

/// Connects and exchanges a byte again and again. An error is one after a connect that succeeded.
fn connect_until_refused(address: SocketAddr) -> io::Result<()> {
    let patience = Duration::from_millis(50);
    while let Ok(mut client) = std::net::TcpStream::connect_timeout(&address, patience) {
        if client.local_addr()? == address {
            // The system gave this client the port that was just freed: it talks to itself.
            break;
        }
        let mut answer = [0];
        client.set_read_timeout(Some(Duration::from_secs(30)))?;
        client.write_all(b"x")?;
        client.read_exact(&mut answer)?;
        assert_eq!(answer, *b"y");
    }
    Ok(())
}

#[tokio::test]
async fn an_idle_service_ends_at_once_when_the_server_is_gone() {
    let running = run(service()).await;
    drop(running.shutdown);
    running.task.await.unwrap();
    assert!(running.app.cleaned.load(Ordering::Relaxed));
}

#[derive(Debug)]
struct Nobody;

#[async_trait]
impl ConnectionFilter for Nobody {
    async fn should_accept(&self, _addr: Option<&std::net::SocketAddr>) -> bool {
        false
    }
}

#[tokio::test]
async fn refused_connections_are_closed() {
    let mut filtered = service();
    filtered.set_connection_filter(Arc::new(Nobody));
    let running = run(filtered).await;
    let mut client = TcpStream::connect(&running.address).await.unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn an_address_in_use_ends_the_service() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut failing = service();
    failing.add_tcp(&held.local_addr().unwrap().to_string());
    let (_keep, watch) = watch::channel(false);
    failing.start_service(None, watch, 1).await;
    assert!(failing.bound_addresses().is_empty());
}

#[test]
fn settings_are_kept() {
    let mut service = service();
    *service.app_logic_mut().unwrap().cleaned.get_mut() = true;
    assert!(service.app_logic().unwrap().cleaned.load(Ordering::Relaxed));
    service.add_uds("/run/a.sock", None);
    service.add_listener(ListenerConfig::tcp("a:1"));
    assert_eq!(service.listen_addresses().unwrap(), ["/run/a.sock", "a:1"]);
    assert_eq!((service.name(), service.threads()), ("test", None));
    assert!(
        service
            .add_tls("a:2", "/no/cert.pem", "/no/key.pem")
            .is_err()
    );
}

async fn stack() -> TransportStack {
    let mut built = Listeners::tcp("127.0.0.1:0").build(None).await.unwrap();
    built.pop().unwrap()
}

#[tokio::test]
async fn trouble_is_paused_ever_longer() {
    let stack = stack().await;
    let mut trouble = AcceptTrouble::default();
    let pauses: Vec<_> = (0..6)
        .map(|_| {
            trouble
                .next_pause(io::Error::other("x"), &stack)
                .as_millis()
        })
        .collect();
    assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
    trouble.is_over(&stack);
    assert_eq!(
        trouble.next_pause(io::Error::other("x"), &stack),
        ACCEPT_PAUSE
    );
}

#[tokio::test]
async fn the_task_of_a_connection_is_small() {
    let stack = stack().await;
    let (address, home) = (stack.local_addr_string(), current_handle());
    let (client, accepted) = tokio::join!(TcpStream::connect(address), stack.accept(&home));
    let (alive, _all_done) = oneshot::channel();
    let shared = Arc::new(Shared {
        app: Arc::new(Arc::new(Next::default())),
        preparation: stack.preparation().clone(),
        _alive: Arc::new(alive),
    });
    let (_keep, shutdown) = watch::channel(false);
    let future = serve(accepted.unwrap(), shared, shutdown);
    assert!(size_of_val(&future) <= 200, "{}", size_of_val(&future));
    drop(client);
}
