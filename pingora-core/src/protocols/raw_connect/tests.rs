use std::collections::BTreeMap;

use super::*;
use crate::upstreams::peer::BasicPeer;

fn request() -> Box<http::request::Parts> {
    let none: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    generate_connect_header("192.0.2.1", 443, none.iter()).unwrap()
}

/// Has a proxy answer `response`; returns the result and what is left in the stream.
async fn answer(response: &[u8]) -> (Result<ProxyDigest>, Vec<u8>) {
    // room for everything, so that neither side waits for the other
    let (ours, mut proxy) = tokio::io::duplex(256 * 1024);
    proxy.write_all(response).await.unwrap();
    proxy.shutdown().await.unwrap();
    match connect(Box::new(ours), &request(), &BasicPeer::new("192.0.2.1:443")).await {
        Ok((mut stream, digest)) => {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.unwrap();
            (Ok(digest), rest)
        }
        Err(e) => (Err(e), vec![]),
    }
}

#[test]
fn request_heads() {
    let none: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let check = |host: &str, port, expected: Option<&str>| {
        let request = generate_connect_header(host, port, none.iter());
        let wire = request
            .ok()
            .map(|r| String::from_utf8(to_wire(&r)).unwrap());
        let expected = expected.map(|a| format!("CONNECT {a} HTTP/1.1\r\nhost: {a}\r\n\r\n"));
        assert_eq!(wire, expected, "{host:?}");
    };
    check("192.0.2.1", 80, Some("192.0.2.1:80"));
    check("2001:db8::1", 80, Some("[2001:db8::1]:80"));
    check("example.com", 443, Some("example.com:443"));
    check("", 80, None);
    check("/path", 80, None);
    check("a b", 80, None);
    check("a\r\nX: y", 80, None);
    check("http://example.com/", 80, None);

    for (name, value) in [("a b", "x"), ("a", "x\r\ny: z"), ("", "x")] {
        let headers = BTreeMap::from([(name.to_string(), value.as_bytes().to_vec())]);
        let e = generate_connect_header("example.com", 80, headers.iter()).unwrap_err();
        assert_eq!(
            e.etype(),
            &ErrorType::InvalidHTTPHeader,
            "{name:?}: {value:?}"
        );
    }
}

#[tokio::test]
async fn connected() {
    let check = async |response: &str, status: u16, rest: &str| {
        let (digest, left) = answer(response.as_bytes()).await;
        assert_eq!(digest.unwrap().response.status, status, "{response:?}");
        assert_eq!(String::from_utf8(left).unwrap(), rest);
    };
    check("HTTP/1.1 200 OK\r\n\r\n", 200, "").await;
    check("HTTP/1.0 200 Connection established\r\n\r\n", 200, "").await;
    check("HTTP/1.1 200 OK\r\nA: b\r\n\r\nhello", 200, "hello").await;
    // RFC 9110, section 9.3.6: the length of a body is to be ignored
    check(
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        200,
        "hello",
    )
    .await;
    check("HTTP/1.1 204 No Content\r\n\r\n", 204, "").await;
    check(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nx",
        200,
        "x",
    )
    .await;
}

#[tokio::test]
async fn refused() {
    let (result, _) = answer(b"HTTP/1.1 403 Forbidden\r\nX-Why: policy\r\n\r\nno").await;
    let e = result.unwrap_err();
    assert_eq!(e.etype(), &ErrorType::ConnectProxyFailure);
    let cause = e
        .cause
        .as_ref()
        .unwrap()
        .downcast_ref::<ConnectProxyError>();
    let response = &cause.expect("the answer is the cause").response;
    assert_eq!(response.status, 403);
    assert_eq!(response.headers["x-why"], "policy");
}

#[tokio::test]
async fn answers_that_are_none() {
    let too_long = format!(
        "HTTP/1.1 200 OK\r\nA: {}\r\n\r\n",
        "x".repeat(MAX_RESPONSE_HEAD)
    );
    let too_many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(129));
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(4000);
    for response in [
        "nonsense\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\nA: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        "HTTP/1.1 99 Low\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        &too_long,
        &too_many,
        &interim,
    ] {
        let (result, _) = answer(response.as_bytes()).await;
        let shown = &response[..response.len().min(40)];
        let e = result.expect_err(shown);
        assert_eq!(e.etype(), &ErrorType::ConnectProxyFailure, "{shown:?}");
    }

    for response in ["", "HTTP/1.1 200 OK\r\n"] {
        let (result, _) = answer(response.as_bytes()).await;
        assert_eq!(
            result.unwrap_err().etype(),
            &ErrorType::ConnectionClosed,
            "{response:?}"
        );
    }
}

#[tokio::test]
async fn user_data_is_made_from_the_answer() {
    let mut peer = BasicPeer::new("192.0.2.1:443");
    peer.options.proxy_digest_user_data_hook = Some(std::sync::Arc::new(|request, response| {
        Some(Box::new(format!(
            "{} {}",
            request.uri,
            response.status.as_u16()
        )))
    }));
    let (ours, mut proxy) = tokio::io::duplex(1024);
    proxy.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    let (_, digest) = connect(Box::new(ours), &request(), &peer).await.unwrap();
    let data = digest.user_data.as_ref().unwrap().downcast_ref::<String>();
    assert_eq!(data.map(String::as_str), Some("192.0.2.1:443 200"));
}
