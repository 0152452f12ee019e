use http::Request;

use super::super::engine::hpack::Decoder;
use super::*;

/// Returns the parts of a request as `h2` hands them over.
fn parts(method: &str, uri: &str, fields: &[(&'static str, &str)]) -> request::Parts {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        // As `h2` reads names, which is not quite as others are read.
        let name = HeaderName::from_lowercase(name.as_bytes()).unwrap();
        request = request.header(name, HeaderValue::from_str(value).unwrap());
    }
    request.body(()).unwrap().into_parts().0
}

fn accept(parts: request::Parts) -> Result<Accepted, Refusal> {
    accept_parts(parts, &HttpLimits::default())
}

#[test]
fn malformed_requests() {
    let uri = "https://a/";
    for (method, uri, fields) in [
        ("GET", "/", &[][..]),
        ("GET", uri, &[("host", "b")]),
        ("GET", uri, &[("host", "a"), ("host", "a")]),
        ("GET", "/", &[("host", "a@b")]),
        ("GET", "https://u@a/", &[]),
        ("GET", uri, &[("x", " y")]),
        ("GET", uri, &[("x", "y\t")]),
        ("GET", uri, &[("x", "y"), ("\"", "z")]),
        (
            "GET",
            uri,
            &[("content-length", "1"), ("content-length", "1")],
        ),
        ("GET", uri, &[("content-length", "007")]),
        ("GET", uri, &[("content-length", "+1")]),
        ("GET", uri, &[("content-length", "")]),
        ("CONNECT", "https://a/", &[]),
        ("CONNECT", "a", &[]),
        ("CONNECT", "a:80", &[("content-length", "5")]),
        ("GET", "a:80", &[]),
    ] {
        let refused = accept(parts(method, uri, fields));
        assert!(
            matches!(refused, Err(Refusal::Malformed(_))),
            "{method} {uri} {fields:?}: {refused:?}"
        );
    }
    let mut tunnel = parts("CONNECT", uri, &[("content-length", "5")]);
    tunnel.extensions.insert(Protocol::from_static("websocket"));
    let refused = accept(tunnel);
    assert!(matches!(refused, Err(Refusal::Malformed(_))), "{refused:?}");
}

#[test]
fn refused_requests() {
    let long = format!("https://a/{}", "x".repeat(16 * 1024));
    let status = |parts| match accept(parts) {
        Err(Refusal::Status(status)) => status.as_u16(),
        other => panic!("{other:?}"),
    };
    assert_eq!(status(parts("GET", &long, &[])), 414);
    assert_eq!(status(parts("GET", "https://a/", &[("expect", "x")])), 417);
    assert_eq!(status(parts("GET", "https://a/", &[("x", "y"); 101])), 431);
    assert_eq!(
        status(parts("GET", "https://a/", &[("cookie", "y"); 257])),
        431
    );
    let large = "x".repeat(65 * 1024);
    assert_eq!(status(parts("GET", "https://a/", &[("x", &large)])), 431);
}

#[test]
fn valid_requests() {
    for (method, uri, fields) in [
        ("GET", "https://a/", &[][..]),
        ("GET", "https://a/", &[("host", "A")]),
        ("GET", "/x?y", &[("host", "a:80")]),
        ("GET", "https://[::1]:8/", &[("x", ""), ("te", "trailers")]),
        ("CONNECT", "a:80", &[]),
        ("GET", "https://a/", &[("x", "y"); 100]),
        ("GET", "https://a/", &[("expect", "100-continue")]),
    ] {
        let accepted = accept(parts(method, uri, fields)).unwrap();
        assert_eq!(accepted.head.method(), method);
        assert_eq!(accepted.head.version(), Version::HTTP_2);
        assert!(!accepted.is_extended_connect);
    }
}

#[test]
fn cookies_are_joined() {
    for (crumbs, expected) in [
        (&["a=1", "b=2"][..], "a=1; b=2"),
        (&["a=1", "", "b=2", ""], "a=1; b=2"),
        (&["", ""], ""),
        (&["a=1"], "a=1"),
    ] {
        let mut fields = vec![("x", "y")];
        fields.extend(crumbs.iter().map(|crumb| ("cookie", *crumb)));
        let accepted = accept(parts("GET", "https://a/", &fields)).unwrap();
        let cookies: Vec<_> = accepted.head.headers.get_all("cookie").iter().collect();
        assert_eq!(cookies, [expected]);
    }
}

#[test]
fn extended_connect_is_an_upgrade() {
    let mut parts = parts(
        "CONNECT",
        "https://a/chat",
        &[("sec-websocket-version", "13")],
    );
    parts.extensions.insert(Protocol::from_static("websocket"));
    let accepted = accept(parts).unwrap();
    assert!(accepted.is_extended_connect);
    let head = accepted.head;
    assert_eq!(
        (head.method(), head.raw_path()),
        (&Method::GET, &b"/chat"[..])
    );
    assert_eq!(head.headers[UPGRADE], "websocket");
    assert_eq!(head.headers[CONNECTION], "Upgrade");
    assert_eq!(head.headers["sec-websocket-key"].len(), 24);
    assert!(crate::protocols::http::v1::common::is_upgrade_req(&head));
}

#[test]
fn responses_lose_what_belongs_to_http1() {
    let mut head = ResponseHeader::build(200, None).unwrap();
    for (name, value) in [
        ("Connection", "X-Private, content-length"),
        ("Keep-Alive", "5"),
        ("Transfer-Encoding", "chunked"),
        ("Proxy-Connection", "close"),
        ("Upgrade", "x"),
        ("X-Private", "1"),
        ("X-Public", "2"),
        ("Content-Length", "5"),
    ] {
        head.insert_header(name, value).unwrap();
    }
    assert_eq!(names_sent(&head), ["content-length", "x-public"]);
    head.append_header("Te", "trailers").unwrap();
    assert_eq!(names_sent(&head), ["content-length", "te", "x-public"]);
    for status in [204, 304] {
        head.set_status(status).unwrap();
        assert_eq!(names_sent(&head), ["te", "x-public"]);
    }
}

/// Returns the names of the fields that are sent, which are the same whoever frames them.
fn names_sent(head: &ResponseHeader) -> Vec<String> {
    let by_h2 = response_to_h2(&mut head.clone());
    let by_h2 = by_h2.headers().keys().map(|name| name.as_str().to_owned());
    let (mut block, mut by_us) = (BytesMut::new(), Vec::new());
    encode_response(head, &mut Encoder::new(), &mut block);
    let mut decoder = Decoder::new(4096);
    let decoded = decoder.decode(&block, usize::MAX, |field| {
        by_us.push(String::from_utf8(field.name.to_vec()).unwrap());
    });
    decoded.unwrap();
    assert_eq!(by_us.remove(0), ":status");
    let mut by_h2: Vec<String> = by_h2.collect();
    by_h2.sort_unstable();
    by_us.sort_unstable();
    assert_eq!(by_us, by_h2);
    by_us
}

#[test]
fn trailers_are_cleaned() {
    let mut trailers = HeaderMap::new();
    for name in [
        "grpc-status",
        "host",
        "content-length",
        "authorization",
        "x",
    ] {
        trailers.insert(name, HeaderValue::from_static("1"));
    }
    let quoted = HeaderName::from_lowercase(b"a\"b").unwrap();
    trailers.insert(quoted, HeaderValue::from_static("1"));
    clean_trailers(&mut trailers);
    let mut names: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["grpc-status", "x"]);
}

proptest::proptest! {
    /// What is accepted says the same when it is written as HTTP/1: one request, the same fields.
    #[test]
    fn accepted_requests_survive_http1(
        method in "GET|POST|X|OPTIONS",
        path in "/[!-~]{0,20}",
        host in "[a-z0-9.:@\\[\\]-]{1,12}",
        fields in proptest::collection::vec(
            ("host|cookie|content-length|expect|te|x-[a-z]{1,3}", "[ -~\t\u{e9}]{0,8}"),
            0..6,
        ),
    ) {
        let mut request = Request::builder().method(&*method).uri(format!("http://{host}{path}"));
        for (name, value) in &fields {
            request = request.header(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let Ok(request) = request.body(()) else {
            return Ok(());
        };
        let Ok(accepted) = accept(request.into_parts().0) else {
            return Ok(());
        };
        let head = accepted.head;
        let mut wire = bytes::BytesMut::new();
        wire.extend_from_slice(head.method().as_str().as_bytes());
        wire.extend_from_slice(b" ");
        wire.extend_from_slice(head.raw_path());
        wire.extend_from_slice(b" HTTP/1.1\r\n");
        head.header_to_h1_wire(&mut wire);
        wire.extend_from_slice(b"\r\nrest");
        let limits = HttpLimits::default();
        let parsed = crate::protocols::http::v1::parse_request(&mut wire, &mut 0, &limits);
        let parsed = parsed.expect("it is valid").expect("it is complete");
        assert_eq!(&wire[..], b"rest");
        assert_eq!(parsed.raw_path(), head.raw_path());
        let of = |head: &RequestHeader| -> Vec<(Vec<u8>, Vec<u8>)> {
            let fields = head.fields().iter();
            let lower = |name: &[u8]| name.to_ascii_lowercase();
            fields.map(|field| (lower(field.name), field.value.to_vec())).collect()
        };
        assert_eq!(of(&parsed), of(&head));
    }
}
