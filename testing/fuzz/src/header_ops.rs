//! Changes of a head against the obvious store: a list of names and values.

use arbitrary::Arbitrary;
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_core::protocols::http::HttpLimits;
use pingora_core::protocols::http::v1::fuzzing::parse_request;
use pingora_http::RequestHeader;
use pingora_http::fields::KnownName;

use crate::reference::{is_token_byte, is_value_byte};

/// Names that meet each other: known and unknown ones, in several spellings.
const NAMES: &[&str] = &[
    "host",
    "Host",
    "HOST",
    "content-length",
    "Content-Length",
    "cookie",
    "Cookie",
    "Via",
    "vIA",
    "x-a",
    "X-A",
    "x-b",
    "X-B",
    "x-forwarded-for",
    "connection",
    "Te",
    "t",
    "x-a-",
    "accept",
];

/// Longer names and values are cut: the limits of a head have tests of their own.
const MAX_BYTES: usize = 80;

/// A head and what is done to it.
#[derive(Arbitrary, Debug)]
pub struct HeaderOps {
    start: Start,
    changes: Vec<Change>,
}

#[derive(Arbitrary, Debug)]
enum Start {
    Build,
    BuildNoCase,
    Received(Vec<(Name, Value, Spacing)>),
}

#[derive(Arbitrary, Debug)]
enum Change {
    Insert(Name, Value),
    Append(Name, Value),
    InsertName(u8, Value),
    Remove(Name),
    RemoveKnown(u8),
    SetKnown(u8, Value),
    /// Keep the fields whose place has its bit set.
    Retain(u64),
    BuildParts,
    Clone,
    ThroughParts,
}

#[derive(Arbitrary, Debug)]
enum Name {
    Common(u8),
    Any(Vec<u8>),
}

type Value = Vec<u8>;

/// What is around the colon and the value of a received line.
#[derive(Arbitrary, Debug)]
enum Spacing {
    Usual,
    None,
    Much,
}

/// Checks that a head and its twin stay alike.
pub fn header_ops(input: &HeaderOps) {
    let (mut head, mut twin) = start(&input.start);
    let mut built = false;
    check(&head, &twin, built);
    for change in &input.changes {
        match change {
            Change::BuildParts => {
                assert_eq!(head.headers.len(), twin.fields.len());
                built = true;
            }
            Change::Clone => {
                head = head.clone();
                built = false;
            }
            Change::ThroughParts => {
                let parts = Parts::from(head);
                assert_map(&parts.headers, &twin);
                twin = Twin::of_map(&parts.headers);
                head = RequestHeader::from(parts);
                built = true;
            }
            change => apply(change, &mut head, &mut twin),
        }
        check(&head, &twin, built);
    }
}

fn start(start: &Start) -> (RequestHeader, Twin) {
    let build = |keeps_case| Twin {
        keeps_case,
        fields: Vec::new(),
    };
    match start {
        Start::Build => (
            RequestHeader::build("GET", b"/", None).expect("valid"),
            build(true),
        ),
        Start::BuildNoCase => (
            RequestHeader::build_no_case("GET", b"/", None).expect("valid"),
            build(false),
        ),
        Start::Received(lines) => received(lines),
    }
}

fn received(lines: &[(Name, Value, Spacing)]) -> (RequestHeader, Twin) {
    let mut twin = Twin {
        keeps_case: true,
        fields: Vec::new(),
    };
    let mut wire = b"GET / HTTP/1.1\r\n".to_vec();
    for (name, value, spacing) in lines.iter().take(HttpLimits::default().max_fields) {
        let (name, value) = (name.bytes(), bytes(value));
        if !is_name(&name) || !is_value(&value) {
            continue;
        }
        let (before, after): (&[u8], &[u8]) = match spacing {
            Spacing::Usual => (b": ", b""),
            Spacing::None => (b":", b""),
            Spacing::Much => (b":\t ", b" \t"),
        };
        wire.extend_from_slice(&[&name[..], before, &value, after, b"\r\n"].concat());
        twin.fields.push((name, trimmed(&value)));
    }
    wire.extend_from_slice(b"\r\n");
    let mut input = BytesMut::from(&wire[..]);
    let parsed = parse_request(&mut input, &mut 0, &HttpLimits::default());
    let head = parsed.expect("a valid head").expect("a whole head");
    (*head, twin)
}

fn apply(change: &Change, head: &mut RequestHeader, twin: &mut Twin) {
    match change {
        Change::Insert(name, value) => {
            let (name, value) = (name.bytes(), bytes(value));
            let done = head.insert_header(Bytes::copy_from_slice(&name), &value[..]);
            assert_eq!(done.is_ok(), is_name(&name) && is_value(&value));
            if done.is_ok() {
                twin.insert(&name, &value);
            }
        }
        Change::Append(name, value) => {
            let (name, value) = (name.bytes(), bytes(value));
            let done = head.append_header(Bytes::copy_from_slice(&name), &value[..]);
            assert_eq!(done.is_ok(), is_name(&name) && is_value(&value));
            if let Ok(existed) = done {
                assert_eq!(existed, twin.append(&name, &value));
            }
        }
        Change::InsertName(name, value) => {
            let value = bytes(value);
            let name = HeaderName::from_bytes(common(*name).as_bytes()).expect("a token");
            if head.insert_header(&name, &value[..]).is_ok() {
                twin.insert(&titled(name.as_str().as_bytes()), &value);
            }
        }
        Change::Remove(name) => {
            let name = name.bytes();
            let Ok(name) = std::str::from_utf8(&name) else {
                return;
            };
            let removed = head
                .remove_header(name)
                .map(|value| value.as_bytes().to_vec());
            assert_eq!(removed, twin.remove(name.as_bytes()));
        }
        Change::RemoveKnown(name) => {
            let Some(known) = KnownName::of(common(*name).as_bytes()) else {
                return;
            };
            let removed = twin.remove(known.as_str().as_bytes());
            assert_eq!(head.remove_known(known), removed.is_some());
        }
        Change::SetKnown(name, value) => {
            let value = bytes(value);
            let Some(known) = KnownName::of(common(*name).as_bytes()) else {
                return;
            };
            if is_value(&value) {
                head.set_known(known, &value);
                twin.insert(known.titled().as_bytes(), &value);
            }
        }
        Change::Retain(kept) => {
            let keep = |place: usize| kept >> (place % 64) & 1 == 1;
            let mut places = 0..;
            head.retain_fields(|_| places.next().is_some_and(keep));
            let mut places = 0..;
            twin.fields.retain(|_| places.next().is_some_and(keep));
        }
        Change::BuildParts | Change::Clone | Change::ThroughParts => {}
    }
}

/// Compares every view of the head with the twin.
fn check(head: &RequestHeader, twin: &Twin, built: bool) {
    let fields: Vec<_> = head
        .fields()
        .iter()
        .map(|field| (field.name.to_vec(), field.value.to_vec()))
        .collect();
    assert_eq!(fields, twin.fields);
    assert_eq!(head.has_case(), twin.keeps_case);
    let mut wire = Vec::new();
    head.header_to_h1_wire(&mut wire);
    assert_eq!(wire, twin.wire());
    for name in NAMES {
        let first = twin.first(name.as_bytes());
        assert_eq!(head.fields().get_by_name(name.as_bytes()), first);
        if let Some(known) = KnownName::of(name.as_bytes()) {
            assert_eq!(head.fields().has(known), first.is_some());
            assert_eq!(head.fields().get(known), first);
        }
    }
    let cased: Vec<_> = head
        .case_header_iter()
        .map(|(name, value)| (name.as_slice().to_vec(), value.as_bytes().to_vec()))
        .collect();
    assert_eq!(cased, twin.fields);
    if built {
        assert_map(&head.headers, twin);
    }
}

/// A map has no order but that of the values of one name.
fn assert_map(map: &HeaderMap, twin: &Twin) {
    assert_eq!(map.len(), twin.fields.len());
    for name in map.keys() {
        let values: Vec<_> = map
            .get_all(name)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        assert_eq!(values, twin.all(name.as_str().as_bytes()));
    }
}

/// The obvious store of fields.
struct Twin {
    keeps_case: bool,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Twin {
    fn of_map(map: &HeaderMap) -> Self {
        let field = |(name, value): (&HeaderName, &HeaderValue)| {
            (titled(name.as_str().as_bytes()), value.as_bytes().to_vec())
        };
        Twin {
            keeps_case: false,
            fields: map.iter().map(field).collect(),
        }
    }

    fn insert(&mut self, name: &[u8], value: &[u8]) {
        let mut new = Some((self.spelling(name), value.to_vec()));
        let old = std::mem::take(&mut self.fields);
        for field in old {
            if !field.0.eq_ignore_ascii_case(name) {
                self.fields.push(field);
            } else {
                self.fields.extend(new.take());
            }
        }
        self.fields.extend(new);
    }

    fn append(&mut self, name: &[u8], value: &[u8]) -> bool {
        let existed = self.first(name).is_some();
        self.fields.push((self.spelling(name), value.to_vec()));
        existed
    }

    fn remove(&mut self, name: &[u8]) -> Option<Vec<u8>> {
        let first = self.first(name).map(<[u8]>::to_vec);
        self.fields
            .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        first
    }

    fn first(&self, name: &[u8]) -> Option<&[u8]> {
        self.all(name).first().copied()
    }

    fn all(&self, name: &[u8]) -> Vec<&[u8]> {
        let named = self
            .fields
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| &value[..]).collect()
    }

    fn wire(&self) -> Vec<u8> {
        let lines = self
            .fields
            .iter()
            .map(|(n, v)| [n, &b": "[..], v, b"\r\n"].concat());
        lines.collect::<Vec<_>>().concat()
    }

    fn spelling(&self, name: &[u8]) -> Vec<u8> {
        if self.keeps_case {
            name.to_vec()
        } else {
            titled(name)
        }
    }
}

impl Name {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Name::Common(number) => common(*number).into(),
            Name::Any(name) => bytes(name),
        }
    }
}

fn common(number: u8) -> &'static str {
    NAMES[usize::from(number) % NAMES.len()]
}

fn bytes(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len().min(MAX_BYTES)].to_vec()
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| is_token_byte(*byte))
}

fn is_value(value: &[u8]) -> bool {
    value.iter().all(|byte| is_value_byte(*byte))
}

fn trimmed(value: &[u8]) -> Vec<u8> {
    crate::reference::trimmed(value).to_vec()
}

fn titled(name: &[u8]) -> Vec<u8> {
    let mut titled = name.to_ascii_lowercase();
    for at in 0..titled.len() {
        if at == 0 || titled[at - 1] == b'-' {
            titled[at].make_ascii_uppercase();
        }
    }
    titled
}
