//! Messages between custom sessions, and what becomes of them where one side has none.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::connectors::http::Connector as HttpConnector;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::tls::{ALPN, CustomALPN};
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::exchange::ByCustomLeg;
use crate::exchange::custom::tests::{Say, Servers, World};
use crate::exchange::custom_client::tests::{Client, Heard, answer_once, serve};
use crate::{HttpProxy, ProxyHttp, Session};

/// Goes to a port, or to the custom server; drops messages that say so, and says something itself.
#[derive(Default)]
struct Marks {
    port: Option<u16>,
    speaks: bool,
    /// Who said what, and whether it goes no further.
    seen: Arc<Mutex<Vec<(char, String, bool)>>>,
}

impl Marks {
    fn mark(&self, who: char, message: &Bytes, final_hop: bool) -> Option<Bytes> {
        let text = String::from_utf8(message.to_vec()).unwrap();
        self.seen
            .lock()
            .unwrap()
            .push((who, text.clone(), final_hop));
        (text != "drop").then(|| Bytes::from(format!("{who}:{text}")))
    }
}

#[async_trait]
impl ProxyHttp for Marks {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let Some(port) = self.port else {
            let mut peer = HttpPeer::new("127.0.0.1:1", true, "a".to_string());
            peer.options.alpn = ALPN::Custom(CustomALPN::new(b"test".to_vec()));
            return Ok(Box::new(peer));
        };
        let address = ("127.0.0.1", port);
        Ok(Box::new(HttpPeer::new(address, false, String::new())))
    }

    async fn custom_forwarding(
        &self,
        session: &mut Session,
        _: &mut (),
        up: Option<mpsc::Sender<Bytes>>,
        down: mpsc::Sender<Bytes>,
    ) -> Result<()> {
        assert_eq!(up.is_none(), self.port.is_some());
        assert_eq!(down.is_closed(), !session.is_custom());
        if !self.speaks {
            return Ok(());
        }
        if let Some(up) = up {
            up.send("own".into()).await.unwrap();
        }
        // The other task outlives the exchange, and finds its channel closed then.
        tokio::spawn(async move { while down.send("own".into()).await.is_ok() {} });
        Ok(())
    }

    async fn downstream_custom_message_proxy_filter(
        &self,
        _: &mut Session,
        message: Bytes,
        _: &mut (),
        final_hop: bool,
    ) -> Result<Option<Bytes>> {
        Ok(self.mark('c', &message, final_hop))
    }

    async fn upstream_custom_message_proxy_filter(
        &self,
        _: &mut Session,
        message: Bytes,
        _: &mut (),
        final_hop: bool,
    ) -> Result<Option<Bytes>> {
        Ok(self.mark('s', &message, final_hop))
    }
}

fn to_custom(marks: Marks, world: &Arc<World>, says: &[Say]) -> HttpProxy<Marks, Servers> {
    let connector = HttpConnector::new_custom(None, Servers::new(world, says.to_vec()));
    HttpProxy::with_connector(
        marks,
        &ServerConf::default(),
        connector,
        None,
        Some(Box::new(ByCustomLeg)),
    )
}

/// Returns what the client heard of an exchange with a custom server, and what the latter did.
async fn between(
    client_says: &'static [&'static str],
    server_says: &'static [&'static str],
    says: &[Say],
) -> (Arc<Mutex<Heard>>, Vec<String>) {
    let (mut client, heard) = Client::new(&[], false);
    client.messages = client_says;
    let world = World::with_messages(server_says);
    serve(to_custom(Marks::default(), &world, says), client).await;
    (heard, world.seen().messages)
}

#[tokio::test]
async fn messages_pass_the_filters_both_ways() {
    let says = [Say::Head(200), Say::Heard(3), Say::Body("ab")];
    let (heard, told) = between(&["1", "drop", "2"], &["3", "drop", "4"], &says).await;
    // The empty one is the end.
    assert_eq!(told, ["c:1", "c:2", ""]);
    let heard = heard.lock().unwrap();
    assert_eq!(heard.messages, ["s:3", "s:4", ""]);
    assert_eq!(
        (heard.statuses.as_slice(), heard.given_back),
        (&[200][..], 1)
    );
}

#[tokio::test]
async fn many_messages_do_not_hide_the_response() {
    static MANY: [&str; 1000] = ["m"; 1000];
    let says = [Say::Head(200), Say::Body("ab"), Say::Heard(1001)];
    let (heard, told) = between(&MANY, &MANY, &says).await;
    assert_eq!(
        (told.len(), heard.lock().unwrap().messages.len()),
        (1001, 1001)
    );
}

#[tokio::test]
async fn a_broken_message_ends_the_exchange() {
    let says = [Say::Hang];
    let (heard, _) = between(&[], &["1", "BROKEN"], &says).await;
    {
        let heard = heard.lock().unwrap();
        assert_eq!(heard.statuses, [502]);
        assert_eq!(heard.given_back, 1, "the writer, for what comes after");
    }
    // Nobody is there to answer to.
    let (heard, _) = between(&["BROKEN"], &[], &says).await;
    assert!(heard.lock().unwrap().statuses.is_empty());
}

#[tokio::test]
async fn the_proxy_speaks() {
    let (client, heard) = Client::new(&[], false);
    let world = Arc::new(World::default());
    let marks = Marks {
        speaks: true,
        ..Marks::default()
    };
    let says = [Say::Head(200), Say::Heard(2), Say::Body("ab")];
    serve(to_custom(marks, &world, &says), client).await;
    assert_eq!(world.seen().messages, ["own", ""]);
    let messages = &heard.lock().unwrap().messages;
    let (end, own) = messages.split_last().unwrap();
    assert_eq!(end, "");
    assert!(!own.is_empty() && own.iter().all(|text| text == "own"));
}

#[tokio::test]
async fn http1_servers_have_no_messages() {
    let (mut client, heard) = Client::new(&["body"], false);
    client.messages = &["1", "2"];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let marks = Marks {
        port: Some(listener.local_addr().unwrap().port()),
        speaks: true,
        ..Marks::default()
    };
    let seen = marks.seen.clone();
    let proxy = HttpProxy::new(marks, Arc::new(ServerConf::default()));
    let answer = answer_once(
        listener,
        "body",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    );
    let (_, ()) = tokio::join!(answer, serve(proxy, client));
    let expected = [("1", true), ("2", true)].map(|(text, last)| ('c', text.to_string(), last));
    assert_eq!(*seen.lock().unwrap(), expected);
    assert_eq!(heard.lock().unwrap().statuses, [200]);
}

#[tokio::test]
async fn http1_clients_have_no_messages() {
    let world = World::with_messages(&["1"]);
    let marks = Marks::default();
    let seen = marks.seen.clone();
    let proxy = Arc::new(to_custom(marks, &world, &[Say::Head(204)]));
    let (near, mut client) = tokio::io::duplex(64 * 1024);
    client
        .write_all(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let (_stop, shutdown) = tokio::sync::watch::channel(false);
    let session = ServerSession::new_http1(Box::new(near));
    use pingora_core::apps::HttpServerApp;
    drop(proxy.process_new_http(session, &shutdown).await);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert_eq!(*seen.lock().unwrap(), [('s', "1".to_string(), true)]);
    assert_eq!(world.seen().messages, [""]);
}
