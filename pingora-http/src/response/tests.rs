//! Status, reason phrase and content-length.

use super::*;
use crate::head::tests::response;

fn built(code: u16) -> ResponseHeader {
    ResponseHeader::build(code, None).expect("a valid response")
}

#[test]
fn reason_phrases_come_from_the_right_place() {
    assert_eq!(built(200).get_reason_phrase(), Some("OK"));
    assert_eq!(built(599).get_reason_phrase(), None);
    assert_eq!(
        response("HTTP/1.1 200 Fine\r\n\r\n").get_reason_phrase(),
        Some("Fine")
    );
    assert_eq!(
        response("HTTP/1.1 200\r\n\r\n").get_reason_phrase(),
        Some("OK")
    );
    assert_eq!(
        response("HTTP/1.1 200 \r\n\r\n").get_reason_phrase(),
        Some("")
    );
    let none = std::iter::empty();
    let head = Bytes::from_static(b"HTTP/1.1 404 \xe9\r\n\r\n");
    let latin1 = ResponseHeader::from_received(
        StatusCode::NOT_FOUND,
        Some((13, 1)),
        Version::HTTP_11,
        head,
        none,
    );
    assert_eq!(latin1.get_reason_phrase(), Some("Not Found"));
}

#[test]
fn reason_phrases_follow_the_status() {
    let mut resp = response("HTTP/1.1 200 Fine\r\n\r\n");
    resp.set_status(200).expect("valid");
    assert_eq!(resp.get_reason_phrase(), Some("Fine"));
    resp.set_status(StatusCode::BAD_GATEWAY).expect("valid");
    assert_eq!(resp.get_reason_phrase(), Some("Bad Gateway"));
    resp.set_reason_phrase(Some("Mine")).expect("valid");
    resp.set_status(503).expect("valid");
    assert_eq!(resp.clone().get_reason_phrase(), Some("Mine"));
    resp.set_reason_phrase(Some("a\r\nb"))
        .expect_err("control characters");
    assert_eq!(resp.get_reason_phrase(), Some("Mine"));
    resp.set_reason_phrase(None).expect("valid");
    assert_eq!(resp.get_reason_phrase(), Some("Service Unavailable"));
}

#[test]
fn setters_reach_built_parts() {
    for look_first in [false, true] {
        let mut resp = response("HTTP/1.1 200 OK\r\nAge: 1\r\n\r\n");
        if look_first {
            assert_eq!(resp.status, 200);
        }
        resp.set_status(404).expect("valid");
        resp.set_version(Version::HTTP_10);
        resp.set_content_length(7).expect("valid");
        assert_eq!(
            (resp.status, resp.version),
            (StatusCode::NOT_FOUND, Version::HTTP_10)
        );
        assert_eq!(
            (resp.status(), resp.version()),
            (StatusCode::NOT_FOUND, Version::HTTP_10)
        );
        assert_eq!(resp.headers["content-length"], "7");
        assert_eq!(resp.headers["age"], "1");
        assert!(resp.received_head().is_some());
    }
}

#[test]
fn statuses_are_checked() {
    for code in [0u16, 99, 1000, u16::MAX] {
        ResponseHeader::build(code, None).expect_err("no status");
        ResponseHeader::build_no_case(code, None).expect_err("no status");
        let mut resp = built(200);
        resp.set_status(code).expect_err("no status");
        assert_eq!(resp.status(), StatusCode::OK);
    }
    assert_eq!(built(999).status(), 999);
}

#[test]
fn lengths_are_decimal() {
    for len in [
        0,
        7,
        10,
        99,
        100,
        12_345,
        u32::MAX as usize,
        usize::MAX - 1,
        usize::MAX,
    ] {
        let mut resp = built(200);
        resp.insert_header("content-LENGTH", "old").expect("valid");
        resp.append_header("Content-Length", "older")
            .expect("valid");
        resp.set_content_length(len).expect("valid");
        let mut wire = Vec::new();
        resp.header_to_h1_wire(&mut wire);
        assert_eq!(wire, format!("Content-Length: {len}\r\n").as_bytes());
    }
}

#[test]
fn parts_go_in_and_out() {
    let response = http::Response::builder()
        .status(301)
        .version(Version::HTTP_2);
    let (parts, ()) = response
        .header("location", "/b")
        .body(())
        .expect("valid")
        .into_parts();
    let resp = ResponseHeader::from(parts);
    assert!(!resp.has_case());
    assert_eq!(resp.fields().get(KnownName::Location), Some(&b"/b"[..]));
    assert_eq!(resp.get_reason_phrase(), Some("Moved Permanently"));
    let mut wire = Vec::new();
    resp.header_to_h1_wire(&mut wire);
    assert_eq!(wire, b"Location: /b\r\n");
    let parts: http::response::Parts = resp.into();
    assert_eq!(
        (parts.status, parts.version),
        (StatusCode::MOVED_PERMANENTLY, Version::HTTP_2)
    );
}
