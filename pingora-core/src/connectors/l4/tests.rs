use std::future::pending;
use std::io;
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use pingora_error::ErrorSource;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::*;
use crate::connectors::TransportConnector;
use crate::upstreams::peer::{BasicPeer, HttpPeer, PeerOptions, Tracer, Tracing};

/// Answers every name with the same addresses, on the port asked for.
#[derive(Debug)]
struct Fixed(Vec<&'static str>);

#[async_trait]
impl Resolve for Fixed {
    async fn resolve(&self, _host: &str, port: u16) -> io::Result<Vec<InetAddr>> {
        Ok(self
            .0
            .iter()
            .map(|ip| InetAddr::new(ip.parse().unwrap(), port))
            .collect())
    }
}

/// A name server that never answers.
#[derive(Debug)]
struct Silent;

#[async_trait]
impl Resolve for Silent {
    async fn resolve(&self, _host: &str, _port: u16) -> io::Result<Vec<InetAddr>> {
        pending().await
    }
}

fn resolving(ips: &[&'static str]) -> TransportConnector {
    TransportConnector::with_resolver(None, Arc::new(Fixed(ips.to_vec())))
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port nobody listens on: bound, so that nobody else gets it.
fn closed_port() -> (TcpSocket, InetAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test]
async fn names_are_looked_up_when_connecting() {
    let (listener, port) = listener().await;
    let peer = HttpPeer::new(("localhost", port), false, String::new());
    let stream = TransportConnector::new(None)
        .new_stream(&peer)
        .await
        .unwrap();
    let (_, remote) = listener.accept().await.unwrap();
    let digest = stream.get_socket_digest().unwrap();
    assert_eq!(digest.local_addr().and_then(|a| a.as_inet()), Some(&remote));
    let peer_addr = digest.peer_addr().and_then(|a| a.as_inet()).copied();
    assert_eq!(peer_addr, Some(listener.local_addr().unwrap()));
}

#[tokio::test]
async fn unknown_names_are_errors() {
    let connector = TransportConnector::new(None);
    let peer = HttpPeer::new("name.invalid:80", false, String::new());
    let e = connector.new_stream(&peer).await.unwrap_err();
    assert_eq!(e.etype(), &ErrorType::ConnectNoRoute);
    assert_eq!(e.esource(), &ErrorSource::Upstream);
    assert!(e.to_string().contains("Peer: addr: name.invalid:80"), "{e}");

    let e = connector
        .new_stream(&BasicPeer::new("nonsense"))
        .await
        .unwrap_err();
    assert_eq!(e.etype(), &ErrorType::ConnectNoRoute);
    assert!(e.to_string().contains("\"nonsense\" has no port"), "{e}");

    let mut peer = BasicPeer::new("nonsense");
    peer.options = PeerOptions::new();
    let e = connector.new_stream(&peer).await.unwrap_err();
    assert!(
        e.to_string().contains("options of the peer were replaced"),
        "{e}"
    );
}

/// Notes the names that are asked for.
#[derive(Debug, Default)]
struct Noting(StdMutex<Vec<String>>);

#[async_trait]
impl Resolve for Noting {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<InetAddr>> {
        self.0.lock().unwrap().push(host.to_string());
        Ok(vec![InetAddr::from(([127, 0, 0, 1], port))])
    }
}

/// Programs replace all options at once, or use those of one peer for another.
#[tokio::test]
async fn a_name_outlives_its_options() {
    let (_listener, port) = listener().await;
    let names = Arc::new(Noting::default());
    let connector = TransportConnector::with_resolver(None, names.clone());

    let other = HttpPeer::new(("b.example", port), false, String::new());
    let mut peer = HttpPeer::new(("a.example", port), false, String::new());
    let (text, key) = (peer.to_string(), peer.reuse_hash());
    for options in [PeerOptions::new(), other.options.clone()] {
        peer.options = options;
        connector.new_stream(&peer).await.unwrap();
        assert_eq!((peer.to_string(), peer.reuse_hash()), (text.clone(), key));
        assert_ne!(peer.reuse_hash(), other.reuse_hash());
    }
    let mut basic = BasicPeer::new(&format!("c.example:{port}"));
    basic.options = other.options;
    connector.new_stream(&basic).await.unwrap();
    let asked = names.0.lock().unwrap();
    assert_eq!(*asked, ["a.example", "a.example", "c.example"]);
}

#[tokio::test]
async fn an_address_set_later_wins_over_the_name() {
    let (_listener, port) = listener().await;
    let mut peer = HttpPeer::new("name.invalid:80", false, String::new());
    peer._address = SocketAddr::Inet(InetAddr::from(([127, 0, 0, 1], port)));
    TransportConnector::new(None)
        .new_stream(&peer)
        .await
        .unwrap();
}

#[tokio::test]
async fn dead_addresses_are_passed_over() {
    let (listener, port) = listener().await;
    let peer = HttpPeer::new(("a.example", port), false, String::new());
    // nobody listens on the other loopback addresses
    let connector = resolving(&["127.0.0.2", "::1", "127.0.0.1"]);
    let stream = connector.new_stream(&peer).await.unwrap();
    let digest = stream.get_socket_digest().unwrap();
    let peer_addr = digest.peer_addr().and_then(|a| a.as_inet()).copied();
    assert_eq!(peer_addr, Some(listener.local_addr().unwrap()));

    let e = resolving(&["127.0.0.2", "127.0.0.3"])
        .new_stream(&peer)
        .await
        .unwrap_err();
    assert_eq!(e.etype(), &ErrorType::ConnectRefused);
    assert!(e.to_string().contains("127.0.0.2"), "{e}");

    let e = resolving(&[]).new_stream(&peer).await.unwrap_err();
    assert_eq!(e.etype(), &ErrorType::ConnectNoRoute);
}

#[tokio::test]
async fn bound_family_decides_which_addresses_are_tried() {
    let (_listener, port) = listener().await;
    let mut peer = HttpPeer::new(("a.example", port), false, String::new());
    peer.options.bind_to = Some(BindTo {
        addr: Some("127.0.0.1:0".parse().unwrap()),
        ..BindTo::default()
    });
    resolving(&["::1", "127.0.0.1"])
        .new_stream(&peer)
        .await
        .unwrap();
    let e = resolving(&["::1"]).new_stream(&peer).await.unwrap_err();
    assert_eq!(e.etype(), &ErrorType::ConnectNoRoute);
}

#[tokio::test]
async fn timeouts_cover_the_lookup() {
    let connector = TransportConnector::with_resolver(None, Arc::new(Silent));
    let mut peer = HttpPeer::new("a.example:80", false, String::new());
    peer.options.connection_timeout = Some(Duration::from_millis(1));
    let e = connector.new_stream(&peer).await.unwrap_err();
    assert_eq!(e.etype(), &ErrorType::ConnectTimedout);

    peer.options.connection_timeout = None;
    peer.options.total_connection_timeout = Some(Duration::from_millis(1));
    let e = connector.new_stream(&peer).await.unwrap_err();
    assert_eq!(e.etype(), &ErrorType::ConnectTimedout);
    assert!(e.to_string().contains("in total"), "{e}");
}

#[tokio::test]
async fn refusal_tells_the_local_address_it_was_bound_to() {
    let (_held, closed) = closed_port();
    let mut peer = BasicPeer::new(&closed.to_string());
    let connector = TransportConnector::new(None);

    let e = connector.new_stream(&peer).await.unwrap_err();
    assert_eq!(e.etype(), &ErrorType::ConnectRefused);
    assert_eq!(e.connect_local_addr(), None);

    peer.options.bind_to = Some(BindTo {
        addr: Some("127.0.0.9:0".parse().unwrap()),
        ..BindTo::default()
    });
    let e = connector.new_stream(&peer).await.unwrap_err();
    assert_eq!(e.etype(), &ErrorType::ConnectRefused);
    assert_eq!(
        e.connect_local_addr().unwrap().ip().to_string(),
        "127.0.0.9"
    );
    let outer = Error::because(ErrorType::InternalError, "outer", e);
    assert!(outer.connect_local_addr().is_some());
}

#[tokio::test]
async fn connects_from_the_address_it_is_told() {
    let (listener, port) = listener().await;
    let from = async |connector: &TransportConnector, peer: &BasicPeer| {
        let _stream = connector.new_stream(peer).await.unwrap();
        listener.accept().await.unwrap().1.ip().to_string()
    };
    let mut peer = BasicPeer::new(&format!("127.0.0.1:{port}"));
    let mut options = crate::connectors::ConnectorOptions::new(1);
    options.bind_to_v4.push("127.0.0.7:0".parse().unwrap());
    let bound = TransportConnector::new(Some(options));
    assert_eq!(
        from(&TransportConnector::new(None), &peer).await,
        "127.0.0.1"
    );
    assert_eq!(from(&bound, &peer).await, "127.0.0.7");

    peer.options.bind_to = Some(BindTo {
        addr: Some("127.0.0.8:0".parse().unwrap()),
        ..BindTo::default()
    });
    assert_eq!(from(&bound, &peer).await, "127.0.0.8");
}

#[test]
fn port_ranges() {
    let mut bind = BindTo::default();
    for bad in [(0, 0), (0, 10), (10, 9)] {
        assert!(bind.set_port_range(Some(bad)).is_err(), "{bad:?}");
        assert_eq!(bind.port_range(), None);
    }
    bind.set_port_range(Some((10, 10))).unwrap();
    assert_eq!(bind.port_range(), Some((10, 10)));
    bind.set_port_range(None).unwrap();
    assert_eq!(bind.port_range(), None);
}

#[tokio::test]
async fn socket_is_tweaked_before_it_connects() {
    let (_listener, port) = listener().await;
    let mut peer = BasicPeer::new(&format!("127.0.0.1:{port}"));
    peer.options.tcp_recv_buf = Some(100_000);
    peer.options.dscp = Some(10);
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    peer.options.upstream_tcp_sock_tweak_hook = Some(Arc::new(move |socket: &TcpSocket| {
        count.store(
            socket.recv_buffer_size().unwrap() as usize,
            Ordering::Relaxed,
        );
        Ok(())
    }));
    let connector = TransportConnector::new(None);
    connector.new_stream(&peer).await.unwrap();
    assert!(seen.load(Ordering::Relaxed) >= 100_000);

    peer.options.upstream_tcp_sock_tweak_hook = Some(Arc::new(|_: &TcpSocket| {
        Error::e_explain(ErrorType::Custom("Refused"), "no")
    }));
    let e = connector.new_stream(&peer).await.unwrap_err();
    assert_eq!(e.etype(), &ErrorType::Custom("Refused"));
}

/// Writes down what it is told.
#[derive(Clone, Debug, Default)]
struct Diary(Arc<StdMutex<Vec<&'static str>>>);

impl Tracing for Diary {
    fn on_connected(&self) {
        self.0.lock().unwrap().push("connected");
    }

    fn on_disconnected(&self) {
        self.0.lock().unwrap().push("disconnected");
    }

    fn boxed_clone(&self) -> Box<dyn Tracing> {
        Box::new(self.clone())
    }
}

#[tokio::test]
async fn tracer_sees_the_connection_open_and_close() {
    let (_held, closed) = closed_port();
    let (_listener, port) = listener().await;
    let diary = Diary::default();
    let mut peer = HttpPeer::new(closed, false, String::new());
    peer.options.tracer = Some(Tracer(Box::new(diary.clone())));
    let connector = TransportConnector::new(None);

    connector.new_stream(&peer).await.unwrap_err();
    assert!(diary.0.lock().unwrap().is_empty());
    peer._address = SocketAddr::Inet(InetAddr::from(([127, 0, 0, 1], port)));
    let stream = connector.new_stream(&peer).await.unwrap();
    assert_eq!(*diary.0.lock().unwrap(), ["connected"]);
    drop(stream);
    assert_eq!(*diary.0.lock().unwrap(), ["connected", "disconnected"]);
}

/// Connects to one port, whatever it is asked for.
#[derive(Debug)]
struct Redirect(u16, StdMutex<Vec<String>>);

#[async_trait]
impl Connect for Redirect {
    async fn connect(&self, addr: &SocketAddr) -> Result<L4Stream> {
        self.1.lock().unwrap().push(addr.to_string());
        Ok(
            ext::connect(&InetAddr::from(([127, 0, 0, 1], self.0)), None)
                .await?
                .into(),
        )
    }
}

#[tokio::test]
async fn custom_transport_is_given_the_address() {
    let (_listener, port) = listener().await;
    let redirect = Arc::new(Redirect(port, StdMutex::default()));
    let connector = resolving(&["192.0.2.1"]);
    let mut peer = HttpPeer::new("192.0.2.9:80", false, String::new());
    peer.options.custom_l4 = Some(redirect.clone());
    connector.new_stream(&peer).await.unwrap();
    let mut peer = HttpPeer::new("a.example:80", false, String::new());
    peer.options.custom_l4 = Some(redirect.clone());
    connector.new_stream(&peer).await.unwrap();
    let mut peer = HttpPeer::new_uds("/nowhere", false, String::new()).unwrap();
    peer.options.custom_l4 = Some(redirect.clone());
    connector.new_stream(&peer).await.unwrap();
    assert_eq!(
        *redirect.1.lock().unwrap(),
        ["192.0.2.9:80", "192.0.2.1:80", "/nowhere"]
    );
}

#[tokio::test]
async fn unix_sockets() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let connector = TransportConnector::new(None);
    let peer = BasicPeer::new_uds(&path).unwrap();
    assert!(connector.new_stream(&peer).await.is_err());

    let listener = UnixListener::bind(&path).unwrap();
    let mut stream = connector.new_stream(&peer).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    server.write_all(b"hello").await.unwrap();
    let mut text = [0; 5];
    stream.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"hello");
}

#[tokio::test]
async fn proxy_is_asked_to_connect() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("proxy.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let headers = [("X-Team".to_string(), b"search".to_vec())].into();
    let path = path.to_str().unwrap();
    let mut peer = HttpPeer::new_proxy(path, [192, 0, 2, 1].into(), 443, false, "", headers);
    peer.options.extra_proxy_headers = [("X-Trace".to_string(), b"1".to_vec())].into();

    let proxy = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(socket.read_u8().await.unwrap());
        }
        socket
            .write_all(b"HTTP/1.1 200 OK\r\nX-Via: egress\r\n\r\nhello")
            .await
            .unwrap();
        String::from_utf8(request).unwrap()
    });
    let mut stream = TransportConnector::new(None)
        .new_stream(&peer)
        .await
        .unwrap();
    let mut text = [0; 5];
    stream.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"hello");
    let digest = stream.get_proxy_digest().unwrap();
    assert_eq!(digest.response.headers["x-via"], "egress");
    assert_eq!(
        proxy.await.unwrap(),
        "CONNECT 192.0.2.1:443 HTTP/1.1\r\nhost: 192.0.2.1:443\r\nx-team: search\r\n\
         x-trace: 1\r\n\r\n"
    );
}
