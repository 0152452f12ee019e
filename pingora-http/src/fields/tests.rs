//! What only the inside of the table shows: line records, compaction, values that are shared.

use bytes::Bytes;
use http::HeaderValue;

use super::*;
use crate::head::tests::{request, spans};

fn fields(head: &'static str) -> Fields {
    let spans = spans(head.as_bytes()).into_iter();
    Fields::from_received(Bytes::from_static(head.as_bytes()), spans)
}

#[test]
fn only_clean_lines_are_copied_whole() {
    let cases = [
        ("a: b\r\n\r\n", true),
        ("a: b\n\n", false),
        ("a:b\r\n\r\n", false),
        ("a:  b\r\n\r\n", false),
        ("a: b \r\n\r\n", false),
        ("a:\tb\r\n\r\n", false),
        ("a:\r\n\r\n", false),
        ("a: b", false),
    ];
    for (line, is_line) in cases {
        let head = format!("GET / HTTP/1.1\r\n{line}");
        let spans = spans(head.as_bytes()).into_iter();
        let fields = Fields::from_received(Bytes::from(head), spans);
        assert_eq!(fields.records[0].is(LINE), is_line, "{line:?}");
        let mut wire = Vec::new();
        fields.write_lines(&mut wire);
        let want = if line == "a:\r\n\r\n" {
            "a: \r\n"
        } else {
            "a: b\r\n"
        };
        assert_eq!(wire, want.as_bytes(), "{line:?}");
    }
}

#[test]
fn received_values_are_shared() {
    let fields = fields("GET / HTTP/1.1\r\nA: 1\r\nX-Long: value\r\n\r\n");
    let map = fields.to_map();
    let received = fields.received.as_ptr_range();
    assert!(received.contains(&map["x-long"].as_bytes().as_ptr()));
}

#[test]
fn fields_a_map_cannot_hold_are_bent_or_left_out() {
    let fields = fields("GET / HTTP/1.1\r\na\u{1}b: 1\r\nc: 2\u{1}3\r\n\r\n");
    let map = fields.to_map();
    assert_eq!(map.len(), 1);
    assert_eq!(map["c"], "2 3");
    assert_eq!(fields.len(), 2);
}

#[test]
fn replaced_lines_are_collected() {
    let mut fields = fields("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let value = |i: usize| HeaderValue::from_str(&format!("{i:0>100}")).expect("a value");
    for i in 0..10_000 {
        fields.insert(b"x-a", &value(i)).expect("room");
        fields.set_known(KnownName::Via, value(i).as_bytes());
        fields.append(b"x-b", &value(i)).expect("room");
        if i % 2 == 0 {
            fields.remove("x-b");
        }
        assert!(fields.dead <= fields.added.len());
        assert!(
            fields.added.len() < 16_384,
            "added grew to {} bytes",
            fields.added.len()
        );
    }
    assert_eq!(fields.get_by_name(b"X-A"), Some(value(9_999).as_bytes()));
    assert_eq!(fields.get(KnownName::Via), Some(value(9_999).as_bytes()));
    assert_eq!(fields.get(KnownName::Host), Some(&b"a"[..]));
}

#[test]
fn many_fields_fit_the_table_but_not_the_map() {
    let lines = (0..30_000)
        .map(|i| format!("x-{i}: {i}\r\n"))
        .collect::<String>();
    let mut req = request(&format!("GET / HTTP/1.1\r\n{lines}\r\n"));
    assert_eq!(req.fields().len(), 30_000);
    assert!(req.headers.len() < 30_000);
    req.set_known(KnownName::Host, b"a");
    req.insert_header("x-new", "1").expect_err("past the limit");
    let mut wire = Vec::new();
    req.header_to_h1_wire(&mut wire);
    assert_eq!(wire, format!("{lines}Host: a\r\n").as_bytes());
    assert_eq!(req.remove_header("x-7").expect("there"), "7");
    assert_eq!(req.fields().len(), 30_000);
}

#[test]
fn fields_are_shown_escaped() {
    let mut fields = fields("GET / HTTP/1.1\r\nA: 1\r\nCookie: c\r\n\r\n");
    fields.set_known(KnownName::Via, b"\xff");
    assert_eq!(
        format!("{fields:?}"),
        r#"{A: "1", Cookie: "(sensitive)", Via: "\xff"}"#
    );
    let shown = fields
        .iter()
        .map(|field| format!("{field:?}"))
        .collect::<Vec<_>>();
    assert_eq!(shown, ["A: 1", "Cookie: (sensitive)", r"Via: \xff"]);
}
