//! Targets in all forms, and the request's own setters.

use super::*;
use crate::head::tests::request;

fn built(method: &str, path: &[u8]) -> RequestHeader {
    RequestHeader::build(method, path, None).expect("a valid request")
}

#[test]
fn targets_keep_their_bytes_and_have_a_uri() {
    // method, target, uri path, uri query, uri authority
    type Case = (
        &'static str,
        &'static [u8],
        &'static str,
        Option<&'static str>,
        Option<&'static str>,
    );
    let cases: &[Case] = &[
        ("GET", b"/", "/", None, None),
        ("GET", b"/a/b?c=d", "/a/b", Some("c=d"), None),
        ("GET", b"//evil.example/a", "//evil.example/a", None, None),
        ("OPTIONS", b"*", "*", None, None),
        (
            "GET",
            b"http://h.example:8/p?q",
            "/p",
            Some("q"),
            Some("h.example:8"),
        ),
        ("GET", b"https://h", "/", None, Some("h")),
        ("GET", b"http://h?q", "/", Some("q"), Some("h")),
        ("CONNECT", b"h.example:443", "", None, Some("h.example:443")),
        ("CONNECT", b"/a", "/a", None, None),
        ("GET", b"h.example:443", "/h.example:443", None, None),
        ("GET", b"http://u@h/p", "/http://u@h/p", None, None),
        ("GET", b"relative/path", "/relative/path", None, None),
        ("GET", b"/a#b?c", "/a%23b", Some("c"), None),
        ("GET", b"/a?b#c", "/a", Some("b%23c"), None),
        ("GET", b"/a<b>", "/a%3Cb%3E", None, None),
        ("GET", b"http://h/a<b", "/a%3Cb", None, Some("h")),
        ("GET", b"/\xff\xfe/\xe9", "/%FF%FE/%E9", None, None),
        ("GET", b"/?\xff", "/", Some("%FF"), None),
        ("GET", b"/100%", "/100%", None, None),
        ("GET", "/caf\u{e9}".as_bytes(), "/caf\u{e9}", None, None),
    ];
    for &(method, target, path, query, authority) in cases {
        let label = target.escape_ascii();
        let head = [method.as_bytes(), b" ", target, b" HTTP/1.1\r\n\r\n"].concat();
        let span = (method.len() as u32 + 1, target.len() as u32);
        let verb = Method::from_bytes(method.as_bytes()).expect("a method");
        let none = std::iter::empty();
        let received =
            RequestHeader::from_received(verb, span, Version::HTTP_11, head.into(), none);
        for req in [received.clone(), received, built(method, target)] {
            assert_eq!(req.raw_path(), target, "{label}");
            assert_eq!(req.uri.path(), path, "{label}");
            assert_eq!(req.uri.query(), query, "{label}");
            assert_eq!(
                req.uri.authority().map(|a| a.as_str()),
                authority,
                "{label}"
            );
            assert_eq!(
                req.raw_path_is_utf8(),
                std::str::from_utf8(target).is_ok(),
                "{label}"
            );
        }
    }
}

#[test]
fn every_byte_of_a_target_makes_a_uri() {
    for byte in 0..=255u8 {
        let target = [b'/', b'a', byte, b'b', b'?', byte, b'c'];
        let valid = byte > b' ' && byte != 0x7f;
        assert_eq!(
            RequestHeader::build("GET", &target, None).is_ok(),
            valid,
            "byte {byte}"
        );
        let head = bytes::Bytes::copy_from_slice(&target);
        let none = std::iter::empty();
        let req = RequestHeader::from_received(Method::GET, (0, 7), Version::HTTP_11, head, none);
        assert!(req.uri.path().starts_with("/a"), "byte {byte}");
        let shown = req.uri.to_string();
        assert!(shown.ends_with('c') || byte == b'?', "byte {byte}: {shown}");
        let accepted = http::uri::PathAndQuery::try_from(&target[..]).is_ok() && byte != b'#';
        assert_eq!(shown.as_bytes() == target, accepted, "byte {byte}: {shown}");
    }
}

#[test]
fn targets_nobody_can_write_are_refused() {
    for path in [
        &b"/a b"[..],
        b"/a\r\nB: c",
        b"/\0",
        b"/\x7f",
        b"/\t",
        &[b'a'; 65_535],
    ] {
        let label = path.escape_ascii();
        let err = RequestHeader::build("GET", path, None).expect_err("invalid");
        assert_eq!(
            err.etype(),
            &pingora_error::ErrorType::InvalidHTTPHeader,
            "{label}"
        );
        RequestHeader::build_no_case("GET", path, None).expect_err("invalid");
        let mut req = built("GET", b"/kept");
        req.set_raw_path(path).expect_err("invalid");
        assert_eq!(req.raw_path(), b"/kept", "{label}");
    }
    RequestHeader::build("G T", b"/", None).expect_err("no token");
    RequestHeader::build("", b"/", None).expect_err("no token");
    assert_eq!(built("GET", b"").raw_path(), b"/");
}

#[test]
fn endless_targets_are_cut_in_the_uri_only() {
    for byte in [b'a', b'<', 0xff] {
        let target = [&b"/"[..], &[byte; 70_000]].concat();
        let span = (0, target.len() as u32);
        let none = std::iter::empty();
        let head = bytes::Bytes::from(target.clone());
        let req = RequestHeader::from_received(Method::GET, span, Version::HTTP_11, head, none);
        assert_eq!(req.raw_path(), target);
        assert!(req.uri.path().len() > 60_000);
    }
    let longest = [b'/'; 65_534];
    assert_eq!(built("GET", &longest).uri.path().len(), longest.len());
}

#[test]
fn the_extension_is_that_of_the_last_segment() {
    let cases: [(&str, Option<&str>); 15] = [
        ("/a/b.css?x", Some("css")),
        ("/a.tar.gz", Some("gz")),
        ("/.htaccess", Some("htaccess")),
        ("/a.b/c", None),
        ("/a.", None),
        ("/a", None),
        ("/", None),
        ("/a?b.css", None),
        ("/a.js#b.css", Some("js")),
        ("http://h.example/a.png?b", Some("png")),
        ("http://h.example", None),
        ("http://h.example?a/b.c", None),
        ("h.example:443", None),
        ("*", None),
        ("/caf\u{e9}.\u{e9}t\u{e9}", Some("\u{e9}t\u{e9}")),
    ];
    for (target, want) in cases {
        assert_eq!(
            built("GET", target.as_bytes()).uri_file_extension(),
            want,
            "{target}"
        );
    }
    assert_eq!(built("GET", b"/a.\xff").uri_file_extension(), None);
}

#[test]
fn setters_reach_built_parts() {
    for look_first in [false, true] {
        let mut req = request("GET /old HTTP/1.1\r\nHost: a\r\n\r\n");
        if look_first {
            assert_eq!(req.uri, "/old");
        }
        req.set_method(Method::POST);
        req.set_version(Version::HTTP_2);
        req.set_raw_path(b"/new?\xff").expect("valid");
        assert_eq!(req.method(), Method::POST);
        assert_eq!(req.version(), Version::HTTP_2);
        assert_eq!(req.method, Method::POST);
        assert_eq!(req.version, Version::HTTP_2);
        assert_eq!(req.uri, "/new?%FF");
        assert_eq!(req.raw_path(), b"/new?\xff");
        req.set_uri("http://b.example/p?q".parse().expect("a uri"));
        assert_eq!(req.raw_path(), b"/p?q");
        assert_eq!(req.uri.host(), Some("b.example"));
        assert_eq!(req.clone().uri.host(), Some("b.example"));
        req.set_raw_path(b"c.example:443").expect("valid");
        req.set_method(Method::CONNECT);
        assert_eq!(req.uri.port_u16(), Some(443));
        assert_eq!(req.received_head().map(|head| head.len()), Some(30));
    }
    assert!(built("GET", b"/").received_head().is_none());
}

#[test]
fn parts_go_in_and_out() {
    let uri = "https://a.example/p?q";
    let request = http::Request::builder()
        .method("PUT")
        .uri(uri)
        .version(Version::HTTP_2);
    let (parts, ()) = request
        .header("x-a", "1")
        .body(())
        .expect("valid")
        .into_parts();
    let req = RequestHeader::from(parts);
    assert!(!req.has_case());
    assert_eq!(req.raw_path(), b"/p?q");
    assert_eq!(req.fields().get_by_name(b"x-a"), Some(&b"1"[..]));
    let parts: http::request::Parts = req.clone().into();
    assert_eq!(
        (parts.method, parts.version),
        (Method::PUT, Version::HTTP_2)
    );
    assert_eq!(parts.uri, uri);
    assert_eq!(req.as_ref().headers["x-a"], "1");

    let connect = http::Request::connect("a.example:443")
        .body(())
        .expect("valid");
    assert_eq!(
        RequestHeader::from(connect.into_parts().0).raw_path(),
        b"a.example:443"
    );
}

#[test]
fn end_stream_is_told_for_http2_only() {
    let mut req = built("GET", b"/");
    assert_eq!(req.send_end_stream(), None);
    req.set_version(Version::HTTP_2);
    assert_eq!(req.send_end_stream(), Some(true));
    req.set_send_end_stream(false);
    assert_eq!(req.clone().send_end_stream(), Some(false));
}

/// Targets of HTTP/2: what others see of them, and what HTTP/1 would be sent.
#[test]
fn targets_of_h2() {
    for (scheme, authority, path, uri, raw) in [
        ("https", "a.example", "/", "https://a.example/", "/"),
        (
            "http",
            "a.example:81",
            "/x?y=z",
            "http://a.example:81/x?y=z",
            "/x?y=z",
        ),
        ("HTTPS", "A.example", "/x?", "https://a.example/x?", "/x?"),
        (
            "https",
            "[::1]:8",
            "//evil/x",
            "https://[::1]:8//evil/x",
            "//evil/x",
        ),
        ("https", "a", "/\u{e4}", "https://a/\u{e4}", "/\u{e4}"),
        ("https", "a", "/\"<x>", "https://a/%22%3Cx%3E", "/\"<x>"),
        ("foo", "a", "/x", "foo://a/x", "/x"),
        ("", "a:80", "", "a:80", "a:80"),
        ("https", "", "/x", "/x", "/x"),
    ] {
        let mut fields = H2Fields::new();
        let mut put = |part: &str| (!part.is_empty()).then(|| fields.put(part.as_bytes()));
        let target = H2Target {
            scheme: put(scheme),
            authority: put(authority),
            path: put(path),
        };
        let method = match path {
            "" => Method::CONNECT,
            _ => Method::GET,
        };
        let head = RequestHeader::from_h2(method, target, fields);
        for head in [&head, &head.clone()] {
            assert!(head.uri == uri, "{uri}: {:?}", head.uri);
            assert_eq!(head.raw_path(), raw.as_bytes(), "{uri}");
            let of_target = Some(authority.as_bytes()).filter(|name| !name.is_empty());
            assert_eq!(head.target_authority(), of_target, "{uri}");
            assert_eq!(head.version(), Version::HTTP_2);
            assert!(!head.has_case() && head.received_head().is_none());
        }
    }
}

#[test]
fn the_whole_server_of_h2() {
    let mut fields = H2Fields::new();
    let target = H2Target {
        scheme: Some(fields.put(b"https")),
        authority: Some(fields.put(b"a.example")),
        path: Some(fields.put(b"*")),
    };
    let head = RequestHeader::from_h2(Method::OPTIONS, target, fields);
    assert_eq!(head.raw_path(), b"*");
    assert_eq!(head.uri.path(), "*");
    assert_eq!(head.uri.host(), Some("a.example"));
}

/// What is changed in a head of HTTP/2 is changed everywhere.
#[test]
fn heads_of_h2_are_changed() {
    let mut fields = H2Fields::new();
    let target = H2Target {
        scheme: Some(fields.put(b"https")),
        authority: Some(fields.put(b"a.example")),
        path: Some(fields.put(b"/")),
    };
    fields.push(b"accept-language", None, b"de", false);
    fields.push(b"cookie", Some(KnownName::Cookie), b"secret", true);
    let mut head = RequestHeader::from_h2(Method::GET, target, fields);
    assert!(head.headers["cookie"].is_sensitive());
    assert!(!format!("{head:?}").contains("secret"));
    head.insert_header("X-Added", "1").unwrap();
    head.remove_header("cookie").unwrap();
    head.set_raw_path(b"/other").unwrap();
    let mut wire = Vec::new();
    head.header_to_h1_wire(&mut wire);
    assert_eq!(wire, b"Accept-Language: de\r\nX-Added: 1\r\n");
    assert_eq!(head.headers.len(), 2);
    assert_eq!(head.uri.path(), "/other");
    head.set_uri("https://b.example/x".parse().unwrap());
    assert_eq!(head.target_authority(), Some(&b"b.example"[..]));
}
