//! Random changes of both heads against a naive twin, and heads for the tests of other files.

use http::{HeaderMap, Method, StatusCode, Version};
use proptest::prelude::*;

use crate::case_header_name::push_titled;
use crate::fields::{FieldSpan, KnownName};
use crate::{HeaderNameVariant, RequestHeader, ResponseHeader};

/// Returns the spans of the lines after the first: a parser for tests, which trusts its input.
pub(crate) fn spans(head: &[u8]) -> Vec<FieldSpan> {
    let text = std::str::from_utf8(head).expect("tests use text");
    let mut at = text.find('\n').expect("a start line") + 1;
    let mut spans = Vec::new();
    for line in text[at..].split_inclusive('\n') {
        let Some(colon) = line.find(':') else { break };
        let value = line[colon + 1..].trim();
        let lead = line[colon + 1..].len() - line[colon + 1..].trim_start().len();
        let value_at = if value.is_empty() {
            at + colon + 1
        } else {
            at + colon + 1 + lead
        };
        let span = |at: usize, len: usize| (at as u32, len as u32);
        spans.push(FieldSpan {
            name: span(at, colon),
            value: span(value_at, value.len()),
        });
        at += line.len();
    }
    spans
}

/// Returns the request of a head as it would be received.
pub(crate) fn request(head: &str) -> RequestHeader {
    let mut words = head.split(' ');
    let method = Method::from_bytes(words.next().expect("a method").as_bytes()).expect("a method");
    let target = words.next().expect("a target");
    let target = (method.as_str().len() as u32 + 1, target.len() as u32);
    let fields = spans(head.as_bytes()).into_iter();
    let head = head.as_bytes().to_vec().into();
    RequestHeader::from_received(method, target, Version::HTTP_11, head, fields)
}

/// Returns the response of a head as it would be received.
pub(crate) fn response(head: &str) -> ResponseHeader {
    let line = head.lines().next().expect("a status line");
    let status = StatusCode::from_bytes(&line.as_bytes()[9..12]).expect("a status");
    let reason = (line.len() > 12).then(|| (13, line.len() as u32 - 13));
    let fields = spans(head.as_bytes()).into_iter();
    let head = head.as_bytes().to_vec().into();
    ResponseHeader::from_received(status, reason, Version::HTTP_11, head, fields)
}

/// The obvious store of fields.
#[derive(Clone, Debug)]
struct Twin {
    keeps_case: bool,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Twin {
    fn spelling(&self, name: &str) -> Vec<u8> {
        if self.keeps_case {
            return name.into();
        }
        let mut titled = Vec::new();
        push_titled(name.as_bytes(), &mut titled);
        titled
    }

    fn append(&mut self, name: &str, value: &[u8]) -> bool {
        let existed = self
            .fields
            .iter()
            .any(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()));
        self.fields.push((self.spelling(name), value.to_vec()));
        existed
    }

    fn insert(&mut self, name: &str, value: &[u8]) {
        let new = (self.spelling(name), value.to_vec());
        let is = |n: &[u8]| n.eq_ignore_ascii_case(name.as_bytes());
        let Some(first) = self.fields.iter().position(|(n, _)| is(n)) else {
            self.fields.push(new);
            return;
        };
        self.fields[first] = new;
        let rest = self.fields.split_off(first + 1);
        self.fields.extend(rest.into_iter().filter(|(n, _)| !is(n)));
    }

    fn remove(&mut self, name: &str) -> Option<Vec<u8>> {
        let is = |n: &[u8]| n.eq_ignore_ascii_case(name.as_bytes());
        let first = self
            .fields
            .iter()
            .find(|(n, _)| is(n))
            .map(|(_, v)| v.clone());
        self.fields.retain(|(n, _)| !is(n));
        first
    }

    fn wire(&self) -> Vec<u8> {
        let lines = self
            .fields
            .iter()
            .map(|(n, v)| [n, &b": "[..], v, b"\r\n"].concat());
        lines.collect::<Vec<_>>().concat()
    }

    fn map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in &self.fields {
            let name = http::HeaderName::from_bytes(name).expect("a name");
            map.append(name, http::HeaderValue::from_bytes(value).expect("a value"));
        }
        map
    }
}

#[derive(Clone, Debug)]
enum Change {
    Insert(&'static str, Vec<u8>),
    Append(&'static str, Vec<u8>),
    Remove(&'static str),
    SetKnown(KnownName, Vec<u8>),
    RemoveKnown(KnownName),
    Retain(u8),
    /// Builds `Parts`, which later changes have to keep right.
    Look,
    Clone,
    ThroughParts,
}

const NAMES: [&str; 14] = [
    "host",
    "Host",
    "HOST",
    "x-a",
    "X-A",
    "x-B",
    "X-b",
    "content-length",
    "Content-Length",
    "cookie",
    "a",
    "A",
    "Via",
    "x-a-b-c-d-e-f-g-h-i-j-k-l-m-n-o-p-q-r-s-t-u-v-w-x-y-z",
];

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => proptest::collection::vec(prop_oneof![b'a'..=b'e', 0x80..=0xffu8], 0..12),
        1 => (1000usize..3000).prop_map(|len| vec![b'v'; len]),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let name = || proptest::sample::select(&NAMES[..]);
    let known = || {
        use KnownName::*;
        proptest::sample::select(&[Host, ContentLength, Cookie, Via, Te][..])
    };
    prop_oneof![
        4 => (name(), value()).prop_map(|(n, v)| Change::Insert(n, v)),
        4 => (name(), value()).prop_map(|(n, v)| Change::Append(n, v)),
        3 => name().prop_map(Change::Remove),
        2 => (known(), value()).prop_map(|(n, v)| Change::SetKnown(n, v)),
        1 => known().prop_map(Change::RemoveKnown),
        1 => (0..4u8).prop_map(Change::Retain),
        1 => Just(Change::Look),
        1 => Just(Change::Clone),
        1 => Just(Change::ThroughParts),
    ]
}

/// Writes `changes(head, twin, changes)` for a head type: the same for both.
macro_rules! follow {
    ($name:ident, $Head:ty, $Parts:ty) => {
        fn $name(mut head: $Head, mut twin: Twin, changes: Vec<Change>) {
            for change in changes {
                let label = format!("{change:?}");
                match change {
                    Change::Insert(name, value) => {
                        head.insert_header(name, &value[..]).expect("valid");
                        twin.insert(name, &value);
                    }
                    Change::Append(name, value) => {
                        let existed = head.append_header(name, &value[..]).expect("valid");
                        assert_eq!(existed, twin.append(name, &value));
                    }
                    Change::Remove(name) => {
                        let removed = head.remove_header(name);
                        let removed = removed.as_ref().map(|value| value.as_bytes());
                        assert_eq!(removed, twin.remove(name).as_deref());
                    }
                    Change::SetKnown(name, value) => {
                        head.set_known(name, &value);
                        twin.insert(name.titled(), &value);
                    }
                    Change::RemoveKnown(name) => {
                        let removed = head.remove_known(name);
                        assert_eq!(removed, twin.remove(name.as_str()).is_some());
                    }
                    Change::Retain(seed) => {
                        let keep = |name: &[u8], value: &[u8]| {
                            !(name.len() + value.len()).is_multiple_of(2 + usize::from(seed))
                        };
                        head.retain_fields(|field| keep(field.name, field.value));
                        twin.fields.retain(|(name, value)| keep(name, value));
                    }
                    Change::Look => assert_eq!(head.headers.len(), twin.fields.len()),
                    Change::Clone => head = head.clone(),
                    Change::ThroughParts => {
                        let map = <$Parts>::from(head.clone()).headers;
                        assert_same_fields(&map, &twin);
                    }
                }
                let mut wire = Vec::new();
                head.header_to_h1_wire(&mut wire);
                let (got, want) = (wire.escape_ascii(), twin.wire());
                assert_eq!(
                    got.to_string(),
                    want.escape_ascii().to_string(),
                    "after {label}"
                );
                assert_eq!(head.fields().len(), twin.fields.len());
                assert_eq!(head.fields().is_empty(), twin.fields.is_empty());
                for &known in KnownName::ALL {
                    let name = known.as_str().as_bytes();
                    let of_name = twin
                        .fields
                        .iter()
                        .filter(|(n, _)| n.eq_ignore_ascii_case(name));
                    let values = of_name.map(|(_, value)| &value[..]).collect::<Vec<_>>();
                    assert_eq!(
                        head.fields().has(known),
                        !values.is_empty(),
                        "after {label}"
                    );
                    assert_eq!(head.fields().get(known), values.first().copied());
                    assert_eq!(head.fields().get_by_name(name), values.first().copied());
                    assert_eq!(head.fields().get_all(known).collect::<Vec<_>>(), values);
                }
                let built = head.as_owned_parts().headers;
                assert_same_fields(&built, &twin);
                let cased = head
                    .case_header_iter()
                    .map(|(n, v)| (n.as_slice(), v.as_bytes()));
                assert!(
                    cased.eq(twin.fields.iter().map(|(n, v)| (&n[..], &v[..]))),
                    "{label}"
                );
                let mut seen = Vec::new();
                let taken = head.map(|name, value| {
                    let name = match name {
                        HeaderNameVariant::Case(name) if head.has_case() => name.as_slice(),
                        HeaderNameVariant::Titled(name) if !head.has_case() => name.as_bytes(),
                        other => panic!("{other:?} of the other kind of head"),
                    };
                    seen.push((name.to_vec(), value.as_bytes().to_vec()));
                    Ok(())
                });
                taken.expect("the function never fails");
                assert_eq!(seen, twin.fields);
            }
            assert_same_fields(&head.headers, &twin);
        }
    };
}

follow!(follow_request, RequestHeader, http::request::Parts);
follow!(follow_response, ResponseHeader, http::response::Parts);

fn assert_same_fields(map: &HeaderMap, twin: &Twin) {
    let want = twin.map();
    assert_eq!(map.len(), want.len());
    for name in want.keys() {
        assert!(
            map.get_all(name).iter().eq(want.get_all(name).iter()),
            "{name}"
        );
    }
}

fn twin_of(keeps_case: bool, fields: &[(&str, &str)]) -> Twin {
    let fields = fields
        .iter()
        .map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec()));
    Twin {
        keeps_case,
        fields: fields.collect(),
    }
}

const RECEIVED: [(&str, &str); 6] = [
    ("HoSt", "a.example"),
    ("x-a", "1"),
    ("Cookie", "c=1"),
    ("X-A", "2"),
    ("cookie", "d=2"),
    ("x-B", ""),
];

proptest! {
    #[test]
    fn received_heads_follow_the_twin(changes in proptest::collection::vec(change(), 1..40)) {
        let twin = twin_of(true, &RECEIVED);
        let fields = "HoSt: a.example\r\nx-a:1\r\nCookie: c=1\r\nX-A: 2\ncookie: \td=2\r\nx-B:\r\n\r\n";
        follow_request(request(&format!("GET / HTTP/1.1\r\n{fields}")), twin.clone(), changes.clone());
        follow_response(response(&format!("HTTP/1.1 200 OK\r\n{fields}")), twin, changes);
    }

    #[test]
    fn built_heads_follow_the_twin(
        changes in proptest::collection::vec(change(), 1..40),
        keeps_case: bool,
    ) {
        let (req, resp) = match keeps_case {
            true => (RequestHeader::build("GET", b"/", None), ResponseHeader::build(200, Some(2))),
            false => (
                RequestHeader::build_no_case("GET", b"/", Some(0)),
                ResponseHeader::build_no_case(200, None),
            ),
        };
        let twin = twin_of(keeps_case, &[]);
        follow_request(req.expect("valid"), twin.clone(), changes.clone());
        follow_response(resp.expect("valid"), twin, changes);
    }

    #[test]
    fn heads_of_parts_follow_the_twin(changes in proptest::collection::vec(change(), 1..40)) {
        let fields = [("Host", "a"), ("X-A", "1"), ("X-A", "2"), ("Via", "v")];
        let twin = twin_of(false, &fields);
        let (mut req, ()) = http::Request::new(()).into_parts();
        req.headers = twin.map();
        let (mut resp, ()) = http::Response::new(()).into_parts();
        resp.headers = twin.map();
        follow_request(req.into(), twin.clone(), changes.clone());
        follow_response(resp.into(), twin, changes);
    }
}

#[test]
fn bad_names_and_values_change_nothing() {
    let mut req = request("GET / HTTP/1.1\r\nA: 1\r\n\r\n");
    for name in ["", " ", "a b", "a:", "a\r\nb", "\u{e9}", ":path"] {
        req.insert_header(name, "v").expect_err(name);
        req.append_header(name, "v").expect_err(name);
    }
    for value in ["a\r\nB: c", "\0", "\n", "\u{7f}"] {
        let err = req.insert_header("a", value).expect_err(value);
        assert_eq!(err.etype(), &pingora_error::ErrorType::InvalidHTTPHeader);
        req.append_header("a", value).expect_err(value);
    }
    assert!(req.remove_header("a b").is_none());
    assert_eq!(req.fields().len(), 1);
    assert_eq!(req.headers["a"], "1");
}

#[test]
fn fields_have_a_limit() {
    let mut req = RequestHeader::build("GET", b"/", None).expect("valid");
    for _ in 0..crate::fields::MAX_FIELDS {
        req.append_header("a", "").expect("within the limit");
    }
    req.append_header("a", "").expect_err("past the limit");
    assert_eq!(req.headers.len(), crate::fields::MAX_FIELDS);
}

#[test]
fn names_come_in_every_type() {
    let mut resp = ResponseHeader::build(200, None).expect("valid");
    resp.insert_header(http::header::ETAG, "1").expect("valid");
    resp.insert_header(&http::header::SERVER, "2")
        .expect("valid");
    resp.insert_header(String::from("x-Y"), 3u64)
        .expect("valid");
    resp.insert_header(bytes::Bytes::from_static(b"Z"), "4")
        .expect("valid");
    let mut wire = Vec::new();
    resp.header_to_h1_wire(&mut wire);
    assert_eq!(wire, b"Etag: 1\r\nServer: 2\r\nx-Y: 3\r\nZ: 4\r\n");
    assert_eq!(resp.remove_header(&http::header::ETAG).expect("there"), "1");
    assert_eq!(
        resp.remove_header(&String::from("X-Y")).expect("there"),
        "3"
    );
    assert_eq!(resp.remove_header("z").expect("there"), "4");
    assert!(resp.remove_header("z").is_none());
}

#[test]
fn sensitive_values_stay_so_and_are_not_shown() {
    let mut value = http::HeaderValue::from_static("hush");
    value.set_sensitive(true);
    let mut req = RequestHeader::build("GET", b"/", None).expect("valid");
    req.insert_header("X-Key", value).expect("valid");
    req.insert_header("Authorization", "Basic secret")
        .expect("valid");
    req.insert_header("X-Open", "open").expect("valid");
    assert!(req.clone().headers["x-key"].is_sensitive());
    let shown = format!("{req:?}");
    assert!(
        !shown.contains("hush") && !shown.contains("secret"),
        "{shown}"
    );
    assert!(shown.contains("open") && shown.contains("X-Key"), "{shown}");
}

#[test]
fn extensions_survive_clones_and_parts() {
    #[derive(Clone, PartialEq, Debug)]
    struct Tag(u8);
    let mut req = request("GET / HTTP/1.1\r\nA: 1\r\n\r\n");
    req.extensions_mut().insert(Tag(1));
    assert_eq!(req.clone().extensions.get(), Some(&Tag(1)));
    assert_eq!(req.extensions.get(), Some(&Tag(1)));
    req.extensions_mut().insert(Tag(2));
    assert_eq!(req.extensions.get(), Some(&Tag(2)));
    let copy = req.clone();
    assert_eq!(copy.as_owned_parts().extensions.get(), Some(&Tag(2)));
    assert_eq!(
        http::request::Parts::from(copy).extensions.get(),
        Some(&Tag(2))
    );
}

#[test]
fn map_ends_at_the_first_error() {
    let req = request("GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\n\r\n");
    let mut calls = 0;
    let ended = req.map(|_, _| {
        calls += 1;
        super::invalid("enough")
    });
    ended.expect_err("the function fails");
    assert_eq!(calls, 1);
}

#[test]
fn heads_cross_threads() {
    fn check<T: Send + Sync + Clone + std::fmt::Debug>() {}
    check::<RequestHeader>();
    check::<ResponseHeader>();
}
