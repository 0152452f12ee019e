//! Every head comes back as it was.

use http::{HeaderValue, StatusCode, Version};
use pingora_header_serde::{HeaderSerde, MAX_HEAD_BYTES, dict};
use pingora_http::ResponseHeader;
use proptest::prelude::*;

fn lines(head: &ResponseHeader) -> Vec<u8> {
    let mut lines = Vec::new();
    head.header_to_h1_wire(&mut lines);
    lines
}

fn check(serde: &HeaderSerde, head: &ResponseHeader) -> usize {
    let stored = serde.serialize(head).expect("a head of usual size");
    let restored = serde.deserialize(&stored).expect("what was stored");
    assert_eq!(restored.status(), head.status());
    assert_eq!(restored.version(), head.version());
    assert_eq!(restored.get_reason_phrase(), head.get_reason_phrase());
    assert_eq!(
        lines(&restored).escape_ascii().to_string(),
        lines(head).escape_ascii().to_string()
    );
    assert_eq!(restored.headers, head.headers);
    stored.len()
}

fn serdes() -> Vec<HeaderSerde> {
    let folder = tempfile::tempdir().expect("a folder");
    for i in 0..200 {
        let head = format!(
            "HTTP/1.1 200 OK\r\nX-Site: shop-{i}.internal.example.com\r\nX-Number: {i}\r\n\r\n"
        );
        std::fs::write(folder.path().join(i.to_string()), head).expect("a file");
    }
    vec![
        HeaderSerde::new(None),
        HeaderSerde::new(Some(dict::train(folder.path()))),
        HeaderSerde::new(Some(
            b"any text serves as a dictionary: Cache-Control".to_vec(),
        )),
        HeaderSerde::new(Some(Vec::new())),
    ]
}

#[test]
fn every_status_version_and_reason() {
    let serde = HeaderSerde::new(None);
    for code in 100..=999u16 {
        let status = StatusCode::from_u16(code).expect("a valid status");
        for version in [
            Version::HTTP_09,
            Version::HTTP_10,
            Version::HTTP_11,
            Version::HTTP_2,
            Version::HTTP_3,
        ] {
            for reason in [
                None,
                Some(""),
                Some("Fine"),
                Some("n\u{e4}chste"),
                Some("OK"),
            ] {
                let mut head = ResponseHeader::build(status, None).expect("a valid status");
                head.set_version(version);
                head.set_reason_phrase(reason).expect("a valid phrase");
                check(&serde, &head);
            }
        }
    }
}

#[test]
fn case_order_duplicates_and_any_byte() {
    for serde in &serdes() {
        let mut head = ResponseHeader::build(200, None).expect("a valid status");
        for (name, value) in [
            ("Set-Cookie", &b"a=1"[..]),
            ("set-cookie", b"b=2"),
            ("SET-COOKIE", b""),
            ("X-Empty", b""),
            ("x-bytes", b"\xff\xfe caf\xe9 \t"),
            ("x-space", b"  around  "),
            ("ETag", b"W/\"abc\""),
            ("etag", b"\"0123-4567\""),
            ("Date", b"Sunday, 06-Nov-94 08:49:37 GMT"),
            ("date", b"Sun, 06 Nov 1994 08:49:37 GMT"),
            ("cOnTeNt-TyPe", b"text/html"),
            ("Content-Type", b"text/html"),
            ("x-id", b"0123456789ABCDEF"),
            ("x-id", b"0123456789abcdef"),
        ] {
            let value = HeaderValue::from_bytes(value).expect("a valid value");
            head.append_header(name, value).expect("a valid field");
        }
        check(serde, &head);
        let mut titled = ResponseHeader::build_no_case(204, None).expect("a valid status");
        titled
            .append_header("content-type", "text/html")
            .expect("a valid field");
        titled.append_header("x-other", "1").expect("a valid field");
        check(serde, &titled);
        check(
            serde,
            &ResponseHeader::build(200, None).expect("a valid status"),
        );
    }
}

#[test]
fn a_dictionary_makes_what_it_knows_short() {
    let [built_in, trained] = &serdes()[..2] else {
        unreachable!("there are four");
    };
    let mut head = ResponseHeader::build(200, None).expect("a valid status");
    for i in 0..4 {
        let site = format!("shop-7{i}.internal.example.com");
        head.append_header("X-Site", site).expect("a valid field");
    }
    let (without, with) = (check(built_in, &head), check(trained, &head));
    assert!(with < without, "{with} against {without}");
}

#[test]
fn large_heads_fit_up_to_the_limit() {
    let serde = HeaderSerde::new(None);
    let mut head = ResponseHeader::build(200, None).expect("a valid status");
    for i in 0..9 {
        head.append_header("x-long", format!("{i}").repeat(100_000))
            .expect("a valid field");
    }
    assert!(check(&serde, &head) < 2_000);
    head.append_header("x-long", "v".repeat(MAX_HEAD_BYTES - 900_000))
        .expect("a valid field");
    assert!(serde.serialize(&head).is_err());
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}",
        prop::sample::select(vec![
            "Content-Type",
            "content-type",
            "ETag",
            "Etag",
            "Vary",
            "Date",
            "Set-Cookie",
            "x-a"
        ])
        .prop_map(str::to_owned),
    ]
}

fn values() -> impl Strategy<Value = Vec<u8>> {
    let any_value = prop::collection::vec(
        prop_oneof![0x20..=0x7eu8, Just(b'\t'), 0x80..=0xffu8],
        0..300,
    );
    let usual = prop::sample::select(vec![
        "text/html",
        "gzip",
        "Accept-Encoding",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "\"12ab-3\"",
        "deadbeef",
        "max-age=600",
    ]);
    prop_oneof![
        any_value,
        usual.prop_map(|value| value.as_bytes().to_vec()),
        "[0-9a-f-]{0,40}".prop_map(String::into_bytes)
    ]
}

proptest! {
    #[test]
    fn any_head_comes_back(
        code in 100..=999u16,
        fields in prop::collection::vec((names(), values()), 0..24),
        keeps_case: bool,
    ) {
        let build = if keeps_case { ResponseHeader::build } else { ResponseHeader::build_no_case };
        let mut head = build(StatusCode::from_u16(code).expect("a valid status"), None).expect("a valid status");
        for (name, value) in fields {
            head.append_header(name, HeaderValue::from_bytes(&value).expect("a valid value")).expect("a valid field");
        }
        check(&HeaderSerde::new(None), &head);
    }
}
