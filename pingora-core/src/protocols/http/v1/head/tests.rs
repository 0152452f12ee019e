use super::*;
use crate::protocols::http::v1::framing::{BodyLength, request_framing, response_framing};

fn request(bytes: &[u8]) -> Result<Option<Box<RequestHeader>>, HeadError> {
    parse_request(&mut BytesMut::from(bytes), &mut 0, &HttpLimits::default())
}

/// The status a request is refused with; 0 when it is taken, 1 when it is incomplete.
fn status(bytes: &[u8]) -> u16 {
    match request(bytes) {
        Ok(None) => 1,
        Ok(Some(req)) => request_framing(&req).map_or_else(|e| e.status, |_| 0),
        Err(e) => e.status,
    }
}

fn check(table: &[(&[u8], u16)]) {
    for (bytes, expected) in table {
        assert_eq!(status(bytes), *expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn takes_what_is_well_formed() {
    check(&[
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0),
        (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 0),
        (
            b"GET /a?b=c%20d HTTP/1.1\r\nHost: a:80\r\nX:\r\nY: \t z \r\n\r\n",
            0,
        ),
        (b"GET / HTTP/1.0\r\n\r\n", 0),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 0),
        (b"GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n", 0),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 0),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            0,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: Chunked\r\n\r\n0\r\n\r\n",
            0,
        ),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nX-Name: caf\xc3\xa9\r\n\r\n",
            0,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n",
            0,
        ),
        (b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 0),
    ]);
}

#[test]
fn waits_for_the_rest() {
    let whole = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for end in 0..whole.len() {
        assert_eq!(status(&whole[..end]), 1, "{}", whole[..end].escape_ascii());
    }
}

#[test]
fn a_head_in_pieces_is_the_same_head() {
    let whole = b"\r\nGET /a HTTP/1.1\r\nHost: a\r\nX-Y: z\r\n\r\nrest";
    let mut input = BytesMut::new();
    let mut scanned = 0;
    let mut found = None;
    for byte in whole {
        input.extend_from_slice(&[*byte]);
        if found.is_none() {
            found = parse_request(&mut input, &mut scanned, &HttpLimits::default()).unwrap();
        }
    }
    let req = found.unwrap();
    assert_eq!(req.raw_path(), b"/a");
    assert_eq!(req.headers.get("x-y").unwrap(), "z");
    assert_eq!(input, "rest");
}

#[test]
fn refuses_bad_lines() {
    check(&[
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
        (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nVisible: a\rSmuggled: b\r\n\r\n",
            400,
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nnocolon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX\x80: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", 400),
        (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    ]);
}

#[test]
fn refuses_bad_targets() {
    check(&[
        (b"GET foo HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET ftp://a/b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET ! HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /a\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n", 400),
        (b"GET http:///b HTTP/1.1\r\nHost: b\r\n\r\n", 400),
    ]);
}

#[test]
fn refuses_bad_versions() {
    check(&[
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/1.32\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/4294967295.255\r\nHost: a\r\n\r\n", 400),
        (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\r\nHost: a\r\n\r\n", 400),
    ]);
}

#[test]
fn refuses_bad_hosts() {
    check(&[
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: \"a\"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n", 400),
    ]);
}

#[test]
fn refuses_ambiguous_lengths() {
    let bad_lengths: [&[u8]; 14] = [
        b"",
        b"+5",
        b"-0",
        b"0x10",
        b"1_0",
        b"5, 5",
        b"5, 6",
        b"5 5",
        b"5;",
        b"5.0",
        b"a",
        b"99999999999999999999",
        b"18446744073709551616",
        b"\x0b5",
    ];
    for length in bad_lengths {
        let head = [
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ",
            length,
            b"\r\n\r\n",
        ]
        .concat();
        assert_eq!(status(&head), 400, "{}", length.escape_ascii());
    }
    let bad_codings: [(&[u8], u16); 16] = [
        (b"chunked, identity", 400),
        (b",chunked", 400),
        (b"xchunked", 400),
        (b"chunkedx", 400),
        (b"chunked;q=1", 400),
        (b"chunked, chunked", 400),
        (b"gzip, chunked", 400),
        (b"\"chunked\"", 400),
        (b"chunked,", 400),
        (b"", 400),
        (b"chun ked", 400),
        (b"\x85chunked", 400),
        (b"chunked\xa0", 400),
        (b"gzip", 501),
        (b"identity", 501),
        (b"x-unknown", 501),
    ];
    for (coding, expected) in bad_codings {
        let head = [
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ",
            coding,
            b"\r\n\r\n",
        ]
        .concat();
        assert_eq!(status(&head), expected, "{}", coding.escape_ascii());
    }
    check(&[
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 13\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-maybe\r\nContent-Length: 1\r\n\r\n", 417),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: y 100-continue\r\n\r\n", 417),
    ]);
}

#[test]
fn limits_have_their_statuses() {
    let limits = HttpLimits::default();
    let mut many = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
    for _ in 0..limits.max_fields {
        many.extend_from_slice(b"X: y\r\n");
    }
    many.extend_from_slice(b"\r\n");
    assert_eq!(status(&many), 431);

    let long_value = vec![b'x'; limits.max_head_bytes];
    let large = [
        b"GET / HTTP/1.1\r\nHost: a\r\nX: ",
        &long_value[..],
        b"\r\n\r\n",
    ]
    .concat();
    assert_eq!(status(&large), 431);
    assert_eq!(
        status(&large[..large.len() - 4]),
        431,
        "without waiting for the end"
    );

    let content = vec![b'x'; limits.max_head_bytes];
    let malformed = [b"GET / HTTP/1.1\r\nHo st: a\r\n\r\n", &content[..]].concat();
    assert_eq!(
        status(&malformed),
        400,
        "what follows the head is not of it"
    );

    let long_target = vec![b'a'; limits.max_target_bytes + 1];
    let uri = [b"GET /", &long_target[..], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    assert_eq!(status(&uri), 414);
    let huge = [b"GET /", &vec![b'a'; 1 << 20][..]].concat();
    assert_eq!(status(&huge), 414);

    let mut limits = limits;
    limits.max_fields = 300;
    let mut input = BytesMut::from(&many[..]);
    assert!(
        parse_request(&mut input, &mut 0, &limits)
            .unwrap()
            .is_some()
    );
}

#[test]
fn a_bare_lf_in_a_later_piece_is_refused_at_once() {
    let mut input = BytesMut::from(&b"GET / HTTP/1.1\r\nHost"[..]);
    let mut scanned = 0;
    let limits = HttpLimits::default();
    assert!(
        parse_request(&mut input, &mut scanned, &limits)
            .unwrap()
            .is_none()
    );
    input.extend_from_slice(b": a\nX: y");
    assert_eq!(
        parse_request(&mut input, &mut scanned, &limits)
            .unwrap_err()
            .status,
        400
    );
}

fn response(bytes: &[u8], method: Method) -> Result<(BodyLength, bool), u16> {
    let parsed = parse_response(&mut BytesMut::from(bytes), &mut 0, &HttpLimits::default());
    let resp = parsed.map_err(|e| e.status)?.ok_or(1u16)?;
    let framing = response_framing(&resp, &method, false).map_err(|e| e.status)?;
    Ok((framing.length, framing.keep_alive))
}

#[test]
fn responses_tell_their_length() {
    use BodyLength::{Chunked, Fixed, None, UntilClose};
    let table: &[(&[u8], Method, Result<(BodyLength, bool), u16>)] = &[
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            Method::GET,
            Ok((Fixed(5), true)),
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            Method::GET,
            Ok((None, true)),
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            Method::HEAD,
            Ok((None, true)),
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Method::GET,
            Ok((Chunked, true)),
        ),
        (
            b"HTTP/1.1 200 OK\r\n\r\n",
            Method::GET,
            Ok((UntilClose, false)),
        ),
        (
            b"HTTP/1.1 200\r\n\r\n",
            Method::GET,
            Ok((UntilClose, false)),
        ),
        (
            b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n",
            Method::GET,
            Ok((Fixed(1), false)),
        ),
        (
            b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n",
            Method::GET,
            Ok((Fixed(1), true)),
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive, close\r\n\r\n",
            Method::GET,
            Ok((Fixed(1), false)),
        ),
        (
            b"HTTP/1.1 204 No Content\r\n\r\n",
            Method::GET,
            Ok((None, true)),
        ),
        (
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            Method::GET,
            Ok((None, true)),
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            Method::GET,
            Err(502),
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            Method::GET,
            Err(502),
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            Method::GET,
            Err(502),
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            Method::GET,
            Err(502),
        ),
        (
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Method::GET,
            Err(502),
        ),
        (
            b"HTTP/1.1 200 OK\nContent-Length: 5\n\n",
            Method::GET,
            Err(502),
        ),
        (b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", Method::GET, Err(502)),
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", Method::GET, Err(502)),
        (b"HTTP/2.0 200 OK\r\n\r\n", Method::GET, Err(502)),
        (b"garbage\r\n\r\n", Method::GET, Err(502)),
    ];
    for (bytes, method, expected) in table {
        assert_eq!(
            response(bytes, method.clone()),
            *expected,
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn one_empty_line_is_skipped_however_it_comes() {
    let limits = HttpLimits::default();
    for cut in 1..4 {
        let whole = b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let (mut input, mut scanned) = (BytesMut::from(&whole[..cut]), 0);
        let first = parse_request(&mut input, &mut scanned, &limits);
        let refused = first.is_err() || {
            input.extend_from_slice(&whole[cut..]);
            parse_request(&mut input, &mut scanned, &limits).is_err()
        };
        assert!(refused, "cut at {cut}");
    }
}

#[test]
fn names_are_bounded_whatever_the_limits() {
    let limits = HttpLimits {
        max_head_bytes: 1 << 20,
        ..Default::default()
    };
    let mut head = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
    head.resize(head.len() + 70_000, b'x');
    head.extend_from_slice(b": y\r\n\r\n");
    let parsed = parse_request(&mut BytesMut::from(&head[..]), &mut 0, &limits);
    assert_eq!(parsed.unwrap_err().status, 431);
}
