//! Clients of either version, asked the same.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;

use ::h2::RecvStream;
use ::h2::SendStream;
use ::h2::client::SendRequest;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use pingora_e2e::h2;
use pingora_test_support::client;
use pingora_test_support::raw;
use pingora_test_support::within;

use super::Version;

#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) body: Body,
    pub(super) trailers: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    None,
    /// With its length in the head.
    Fixed(&'static str),
    /// Without.
    Pieces(&'static [&'static str]),
    /// More is announced than is ever sent.
    Unended(&'static str),
}

impl Body {
    pub(super) fn text(&self) -> String {
        match self {
            Body::None => String::new(),
            Body::Fixed(text) | Body::Unended(text) => (*text).to_string(),
            Body::Pieces(pieces) => pieces.concat(),
        }
    }

    fn length(&self) -> Option<usize> {
        match self {
            Body::None | Body::Pieces(_) => None,
            Body::Fixed(text) => Some(text.len()),
            Body::Unended(text) => Some(text.len() + 1),
        }
    }
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: Result<String, String>,
    pub(super) trailers: Vec<(String, String)>,
    pub(super) informational: Vec<u16>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        fields
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn sees_hints(&self) -> bool {
        self.informational == [103]
    }

    fn failed(why: impl ToString) -> Self {
        Answer {
            status: 0,
            fields: Vec::new(),
            body: Err(why.to_string()),
            trailers: Vec::new(),
            informational: Vec::new(),
        }
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = self
            .body
            .as_ref()
            .map(|body| body.chars().take(99).collect::<String>());
        write!(
            f,
            "{} {:?} {body:?} {:?} after {:?}",
            self.status, self.fields, self.trailers, self.informational
        )
    }
}

pub(super) enum Client {
    H1(client::Client),
    H2(SendRequest<Bytes>, SocketAddr),
}

impl Client {
    pub(super) async fn connect(version: Version, addr: SocketAddr) -> Self {
        match version {
            Version::H1 => Client::H1(client::Client::connect(addr).await),
            Version::H2 => Client::H2(h2::connect(addr).await, addr),
        }
    }

    pub(super) async fn ask(&mut self, ask: &Ask) -> Answer {
        match self {
            Client::H1(client) => {
                // An early answer may come with a close.
                let _ = client.try_send(h1_request(ask)).await;
                match client.try_response().await {
                    Ok(response) => h1_answer(response),
                    Err(why) => Answer::failed(why),
                }
            }
            Client::H2(requests, addr) => match ask_h2(requests, *addr, ask).await {
                Ok(answer) => answer,
                Err(e) => Answer::failed(e),
            },
        }
    }

    /// Asks and goes away once `seen`.
    pub(super) async fn ask_and_go(self, ask: &Ask, seen: impl Future<Output = ()>) {
        match self {
            Client::H1(mut client) => {
                client.send(h1_request(ask)).await;
                seen.await;
                client.reset();
            }
            Client::H2(mut requests, addr) => {
                let end = matches!(ask.body, Body::None);
                let (response, mut stream) =
                    requests.send_request(h2_request(ask, addr), end).unwrap();
                if !end {
                    stream.send_data(ask.body.text().into(), false).unwrap();
                }
                seen.await;
                stream.send_reset(::h2::Reason::CANCEL);
                drop(response);
                // The connection lives on.
                std::mem::forget(requests);
            }
        }
    }

    pub(super) async fn upgrade(version: Version, addr: SocketAddr) -> Tunnel {
        match version {
            Version::H1 => {
                let mut client = raw::connect(addr).await;
                client
                    .send(
                        "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                    )
                    .await;
                let head = client.read_head().await;
                let text = String::from_utf8(head.to_vec()).unwrap().to_lowercase();
                assert!(text.starts_with("http/1.1 101 "), "{text}");
                assert!(text.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{text}");
                Tunnel::H1(client)
            }
            Version::H2 => {
                let mut requests = h2::connect(addr).await;
                // Its SETTINGS say whether it may be asked.
                let first = Request::get(format!("http://{addr}/204")).body(()).unwrap();
                requests.send_request(first, true).unwrap().0.await.unwrap();
                assert!(requests.is_extended_connect_protocol_enabled());
                let request = Request::connect(format!("http://{addr}/upgrade"))
                    .header("sec-websocket-version", "13")
                    .extension(::h2::ext::Protocol::from_static("websocket"));
                let request = request.body(()).unwrap();
                let (response, send) = requests.send_request(request, false).unwrap();
                let response = within("the tunnel", response).await.unwrap();
                assert_eq!(response.status(), 200);
                assert!(!response.headers().contains_key("sec-websocket-accept"));
                Tunnel::H2(send, response.into_body(), requests)
            }
        }
    }
}

pub(super) enum Tunnel {
    H1(raw::Raw),
    H2(SendStream<Bytes>, RecvStream, SendRequest<Bytes>),
}

impl Tunnel {
    /// Sends a message and expects it back.
    pub(super) async fn echo(&mut self, message: &str) {
        match self {
            Tunnel::H1(client) => {
                client.send(message).await;
                client.expect(message).await;
            }
            Tunnel::H2(send, receive, _) => {
                let sending = h2::write(send, Bytes::copy_from_slice(message.as_bytes()));
                let receiving = async {
                    let mut got = Vec::new();
                    while got.len() < message.len() {
                        let piece = within("an echo", receive.data()).await.unwrap().unwrap();
                        receive
                            .flow_control()
                            .release_capacity(piece.len())
                            .unwrap();
                        got.extend_from_slice(&piece);
                    }
                    assert_eq!(got, message.as_bytes());
                };
                tokio::join!(async { sending.await.unwrap() }, receiving);
            }
        }
    }

    /// Ends this side and expects the other to end.
    pub(super) async fn end(self) {
        match self {
            Tunnel::H1(mut client) => {
                client.half_close().await;
                client.expect_end().await;
            }
            Tunnel::H2(mut send, receive, _requests) => {
                send.send_data(Bytes::new(), true).unwrap();
                let (rest, _) = h2::read(receive).await.unwrap();
                assert_eq!(rest, "");
            }
        }
    }
}

fn h1_request(ask: &Ask) -> Vec<u8> {
    let mut fields = vec![("TE", "trailers")];
    let length = ask.body.length().map(|length| length.to_string());
    if let Some(length) = &length {
        fields.push(("Content-Length", length));
    }
    if matches!(ask.body, Body::Pieces(_)) {
        fields.push(("Transfer-Encoding", "chunked"));
    }
    fields.push(("Connection", "TE"));
    let mut bytes = client::request(ask.method, ask.path, &fields, "");
    match &ask.body {
        Body::Pieces(pieces) => {
            for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
                bytes.extend_from_slice(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes());
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        }
        other => bytes.extend_from_slice(other.text().as_bytes()),
    }
    bytes
}

fn h1_answer(response: client::Response) -> Answer {
    let pairs = |fields: &pingora_test_support::message::Fields| {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        fields
            .0
            .iter()
            .map(|(name, value)| (name.to_lowercase(), text(value)))
            .collect()
    };
    Answer {
        status: response.status,
        fields: pairs(&response.fields),
        body: Ok(response.text().to_string()),
        trailers: pairs(&response.trailers),
        informational: response.informational.iter().map(|i| i.status).collect(),
    }
}

fn h2_request(ask: &Ask, addr: SocketAddr) -> Request<()> {
    let mut request = Request::builder()
        .method(ask.method)
        .uri(format!("http://{addr}{}", ask.path))
        .header("te", "trailers");
    if let Some(length) = ask.body.length() {
        request = request.header("content-length", length);
    }
    request.body(()).unwrap()
}

async fn ask_h2(
    requests: &mut SendRequest<Bytes>,
    addr: SocketAddr,
    ask: &Ask,
) -> Result<Answer, ::h2::Error> {
    let end = matches!(ask.body, Body::None);
    let (mut response, mut stream) = requests.send_request(h2_request(ask, addr), end)?;
    let body = ask.body.clone();
    let trailers = ask.trailers;
    let sending = async move {
        match body {
            Body::None => return Ok(()),
            Body::Pieces(pieces) => {
                for piece in pieces {
                    h2::write(&mut stream, Bytes::from_static(piece.as_bytes())).await?;
                }
            }
            other => h2::write(&mut stream, other.text().into()).await?,
        }
        if trailers {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-asked", HeaderValue::from_static("1"));
            return stream.send_trailers(trailers);
        }
        stream.send_data(Bytes::new(), true)
    };
    let sending = tokio::spawn(sending);
    let mut informational = Vec::new();
    loop {
        let next = poll_fn(|cx| response.poll_informational(cx));
        let Some(head) = within("a response", next).await else {
            break;
        };
        informational.push(head?.status().as_u16());
    }
    let response = within("a response", response).await?;
    let (head, body) = response.into_parts();
    let pairs = |fields: &HeaderMap| {
        fields
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_string()))
            .collect()
    };
    let (body, trailers) = match h2::read(body).await {
        Ok((body, trailers)) => (Ok(String::from_utf8(body.to_vec()).unwrap()), trailers),
        Err(e) => (Err(e.to_string()), HeaderMap::new()),
    };
    sending.abort();
    Ok(Answer {
        status: head.status.as_u16(),
        fields: pairs(&head.headers),
        body,
        trailers: pairs(&trailers),
        informational,
    })
}
