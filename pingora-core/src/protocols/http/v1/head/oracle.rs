//! The head parser compared with an independent tokeniser, httparse, on random heads.

use httparse::{EMPTY_HEADER, Status};
use proptest::prelude::*;

use super::super::tokens;

/// What the oracle says of a head.
#[derive(Debug, PartialEq)]
enum Verdict {
    Incomplete,
    Malformed,
    /// The words of the start line, the fields, and the length.
    Whole(Vec<Vec<u8>>, Vec<(Vec<u8>, Vec<u8>)>, usize),
}

const MAX_FIELDS: usize = 8;

fn fields_of(headers: &[httparse::Header<'_>]) -> Vec<(Vec<u8>, Vec<u8>)> {
    headers
        .iter()
        .map(|header| (header.name.as_bytes().to_vec(), header.value.to_vec()))
        .collect()
}

/// The tokeniser takes a bare LF for the end of a line; we never do.
fn has_bare_lf(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).any(|at| at == 0 || head[at - 1] != b'\r')
}

fn oracle_request(input: &[u8]) -> Verdict {
    let mut headers = [EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(input) {
        Err(_) => Verdict::Malformed,
        Ok(Status::Partial) => Verdict::Incomplete,
        Ok(Status::Complete(len)) if has_bare_lf(&input[..len]) => Verdict::Malformed,
        Ok(Status::Complete(len)) => {
            let words = vec![
                request.method.unwrap().as_bytes().to_vec(),
                request.path.unwrap().as_bytes().to_vec(),
                vec![request.version.unwrap()],
            ];
            Verdict::Whole(words, fields_of(request.headers), len)
        }
    }
}

fn oracle_response(input: &[u8]) -> Verdict {
    let mut headers = [EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(input) {
        Err(_) => Verdict::Malformed,
        Ok(Status::Partial) => Verdict::Incomplete,
        Ok(Status::Complete(len)) if has_bare_lf(&input[..len]) => Verdict::Malformed,
        Ok(Status::Complete(len)) => {
            let words = vec![
                response.code.unwrap().to_string().into_bytes(),
                response.reason.unwrap().as_bytes().to_vec(),
                vec![response.version.unwrap()],
            ];
            Verdict::Whole(words, fields_of(response.headers), len)
        }
    }
}

fn whole(
    input: &[u8],
    words: Vec<Vec<u8>>,
    fields: pingora_http::fields::ParsedFields,
    len: usize,
) -> Verdict {
    let head = bytes::Bytes::copy_from_slice(&input[..len]);
    let head = pingora_http::RequestHeader::from_parsed(
        http::Method::GET,
        (0, 1),
        http::Version::HTTP_11,
        head,
        fields,
    );
    // As it is written, and as it is read: both come from the same table.
    let mut lines = Vec::new();
    head.header_to_h1_wire(&mut lines);
    let read: Vec<_> = head
        .fields()
        .iter()
        .map(|field| (field.name.to_vec(), field.value.to_vec()))
        .collect();
    let expected: Vec<u8> = read
        .iter()
        .flat_map(|(name, value)| [name, &b": "[..], value, b"\r\n"].concat())
        .collect();
    assert_eq!(lines, expected);
    Verdict::Whole(words, read, len)
}

fn our_request(input: &[u8]) -> Verdict {
    match tokens::request(input, MAX_FIELDS) {
        Err(_) => Verdict::Malformed,
        Ok(None) => Verdict::Incomplete,
        Ok(Some(found)) => {
            let part = |(start, len): (u32, u32)| input[start as usize..][..len as usize].to_vec();
            let words = vec![part(found.method), part(found.target), vec![found.minor]];
            whole(input, words, found.fields, found.head_len)
        }
    }
}

fn our_response(input: &[u8]) -> Verdict {
    match tokens::response(input, MAX_FIELDS) {
        Err(_) => Verdict::Malformed,
        Ok(None) => Verdict::Incomplete,
        Ok(Some(found)) => {
            let reason = found.reason.map_or(Vec::new(), |(start, len)| {
                input[start as usize..][..len as usize].to_vec()
            });
            let words = vec![
                found.status.to_string().into_bytes(),
                reason,
                vec![found.minor],
            ];
            whole(input, words, found.fields, found.head_len)
        }
    }
}

/// The same verdict on each beginning of `input`; ours may refuse a bare LF earlier.
fn compare(input: &[u8], ours: fn(&[u8]) -> Verdict, oracle: fn(&[u8]) -> Verdict) {
    for end in 0..=input.len() {
        let input = &input[..end];
        // Empty lines before a request are looked at before the tokens are.
        if input.first().is_some_and(|first| b"\r\n".contains(first)) {
            continue;
        }
        let (ours, theirs) = (ours(input), oracle(input));
        let early = ours == Verdict::Malformed && has_bare_lf(input);
        assert!(
            early || ours == theirs,
            "{}: {ours:?}, the oracle {theirs:?}",
            input.escape_ascii()
        );
    }
}

/// A head of plausible pieces, with some that no head has.
fn head(start: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let names = prop::sample::select(vec![
        "Host",
        "content-length",
        "X-A",
        "Accept-Encoding",
        "x",
        "",
        " ",
        "na me",
        "a:b",
        "é",
        "Connection\t",
        "TE",
        "!#$%&'*+-.^_`|~0",
    ]);
    let gaps = prop::sample::select(vec![": ", ":", ":  ", ":\t", " : ", "", ":\r\n "]);
    let values = prop::sample::select(vec![
        "a",
        "",
        "text/html; charset=utf-8",
        "a b\tc",
        "\u{e9}t\u{e9}",
        "a\u{7f}",
        "a\0",
        "  ",
        "exactly8",
        "a\rb",
        "a value of more than sixteen bytes \t ",
        "\t",
    ]);
    let ends = prop::sample::select(vec!["\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", ""]);
    let field = (names, gaps, values, ends.clone());
    let start = prop::sample::select(start);
    (
        start,
        ends,
        prop::collection::vec(field, 0..10),
        any::<bool>(),
    )
        .prop_map(|(start, end, fields, ended)| {
            let mut head = [start, end].concat();
            for (name, gap, value, end) in fields {
                head.extend([name, gap, value, end]);
            }
            head.push_str(if ended { "\r\n" } else { "" });
            head.into_bytes()
        })
}

/// Changes one byte, or none.
fn damaged(heads: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (heads, any::<prop::sample::Index>(), any::<u8>(), 0..3u8).prop_map(
        |(mut head, at, byte, how)| {
            if how == 0 && !head.is_empty() {
                let at = at.index(head.len());
                head[at] = byte;
            }
            head
        },
    )
}

const REQUEST_LINES: &[&str] = &[
    "GET / HTTP/1.1",
    "POST /a?b=%20 HTTP/1.0",
    "OPTIONS * HTTP/1.1",
    "GET  / HTTP/1.1",
    "GET /é HTTP/1.1",
    "G(T / HTTP/1.1",
    "GET / HTTP/1.2",
    "GET / HTTP/2.0",
    "GET /",
    "GET",
    "GET / http/1.1",
    "GET / HTTP/1.1 ",
    "get http://a.example/b HTTP/1.1",
    " GET / HTTP/1.1",
];

const STATUS_LINES: &[&str] = &[
    "HTTP/1.1 200 OK",
    "HTTP/1.0 404 Not Found",
    "HTTP/1.1 200",
    "HTTP/1.1 200 ",
    "HTTP/1.1 20 OK",
    "HTTP/1.1 2000 OK",
    "HTTP/1.1 204 Ünusual",
    "HTTP/1.1  200 OK",
    "HTTP/2.0 200 OK",
    "HTTP/1.1",
    "HTTP/1.1 200 a\tb c",
    "HTTP/1.1 2x0 OK",
    "HTTP/1.1 099 Low",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn requests_are_read_as_the_oracle_reads_them(head in damaged(head(REQUEST_LINES))) {
        compare(&head, our_request, oracle_request);
    }

    #[test]
    fn responses_are_read_as_the_oracle_reads_them(head in damaged(head(STATUS_LINES))) {
        compare(&head, our_response, oracle_response);
    }
}
