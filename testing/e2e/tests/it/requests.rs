//! Requests a proxy must refuse, and their neighbours it must not: RFC 9112 sections 2 to 7.
//!
//! Every refusal is the named status and a closed connection, and no origin sees the request.

use std::fmt::Write as _;

use pingora_e2e::harness::{self, Running, ask};
use pingora_test_support::check::show;
use pingora_test_support::client::{self, Client};
use pingora_test_support::origin::{Origin, Reply, Request};

/// A request, and the statuses that are right for it.
struct Bad {
    name: String,
    bytes: Vec<u8>,
    statuses: &'static [u16],
}

fn bad(name: &str, bytes: impl AsRef<[u8]>, statuses: &'static [u16]) -> Bad {
    Bad {
        name: name.to_string(),
        bytes: bytes.as_ref().to_vec(),
        statuses,
    }
}

const BAD: &[u16] = &[400];

/// Sends every row, whole and byte by byte, and reports all rows that are answered wrongly.
fn refused(rows: Vec<Bad>) {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("reached")).await;
        let proxy = harness::forward(origin.addr()).await;
        let mut wrong = String::new();
        for row in &rows {
            for piece in [usize::MAX, 1] {
                if piece == 1 && row.bytes.len() > 1024 {
                    continue;
                }
                if let Some(problem) = refuse(&proxy, &origin, row, piece).await {
                    let _ = writeln!(wrong, "{} (in pieces of {piece}): {problem}", row.name);
                }
            }
        }
        // The table means nothing if the proxy answers everything like that.
        assert_eq!(client::get(proxy.addr(), "/").await.text(), "reached");
        assert!(wrong.is_empty(), "answered wrongly:\n{wrong}");
    });
}

async fn refuse(proxy: &Running, origin: &Origin, row: &Bad, piece: usize) -> Option<String> {
    let seen = origin.requests().len();
    let answer = ask(proxy.addr(), &row.bytes, piece).await;
    let status = answer.status();
    let mut problems = vec![];
    if !status.is_some_and(|status| row.statuses.contains(&status)) {
        problems.push(format!("not one of {:?}", row.statuses));
    }
    if answer.responses() > 1 {
        problems.push("more than one response".to_string());
    }
    if !answer.closed {
        problems.push("connection left open".to_string());
    }
    if let Some(request) = origin.requests().get(seen) {
        problems.push(format!("the origin saw {}", show(&request.raw_head)));
    }
    let got = show(&answer.bytes[..answer.bytes.len().min(60)]);
    (!problems.is_empty()).then(|| format!("{}; got {got}", problems.join(", ")))
}

/// A POST with these framing fields and this body.
fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}")
}

/// A GET with one more line in its head.
fn line(line: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
    bytes.extend_from_slice(line.as_ref());
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes
}

/// RFC 9112 section 6.3: two framings are an attack.
#[test]
fn length_and_encoding_together() {
    let both = "Content-Length: 13\r\nTransfer-Encoding: chunked";
    let turned = "Transfer-Encoding: chunked\r\nContent-Length: 13";
    let smuggled = "0\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    refused(vec![
        bad("length first", post(both, "0\r\n\r\nSMUGGLED"), BAD),
        bad("encoding first", post(turned, smuggled), BAD),
        bad(
            "length of zero",
            post("Content-Length: 0\r\nTransfer-Encoding: chunked", smuggled),
            BAD,
        ),
    ]);
}

/// Anything but one `chunked` alone; 501 is right for a coding nobody knows.
#[test]
fn odd_transfer_encodings() {
    let values: [(&str, &str); 19] = [
        ("not last", "chunked, identity"),
        ("leading comma", ",chunked"),
        ("trailing comma", "chunked,"),
        ("unknown", "xchunked"),
        ("cut", "chunke"),
        ("parameter", "chunked;q=1"),
        ("twice in a list", "chunked, chunked"),
        ("with gzip", "gzip, chunked"),
        ("gzip alone", "gzip"),
        ("identity", "identity"),
        ("empty", ""),
        ("quoted", "\"chunked\""),
        ("two words", "chunked chunked"),
        ("vertical tab before", "\x0bchunked"),
        ("form feed after", "chunked\x0c"),
        ("NUL after", "chunked\0"),
        ("folded", "\r\n chunked"),
        ("folded after", "chunked\r\n "),
        ("bare CR after", "chunked\r"),
    ];
    let row = |(name, value)| {
        let fields = format!("Transfer-Encoding: {value}");
        bad(name, post(&fields, "0\r\n\r\n"), &[400, 501])
    };
    let mut rows: Vec<Bad> = values.into_iter().map(row).collect();
    for second in ["chunked", "identity", "gzip", "cow"] {
        let fields = format!("Transfer-Encoding: chunked\r\nTransfer-Encoding: {second}");
        let name = format!("second line {second}");
        rows.push(bad(&name, post(&fields, "0\r\n\r\n"), &[400, 501]));
    }
    for space in [b'\x85', b'\xa0'] {
        let mut bytes = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ".to_vec();
        bytes.push(space);
        bytes.extend_from_slice(b"chunked\r\n\r\n0\r\n\r\n");
        let name = format!("byte {space:#x} before");
        rows.push(bad(&name, bytes, &[400, 501]));
    }
    refused(rows);
}

/// RFC 9112 section 6.1: HTTP/1.0 has no transfer codings.
#[test]
fn chunked_in_http_1_0() {
    let head = "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n";
    refused(vec![
        bad("plain", format!("{head}\r\n0\r\n\r\n"), BAD),
        bad(
            "kept alive",
            format!("{head}Connection: keep-alive\r\n\r\n0\r\n\r\n"),
            BAD,
        ),
        bad(
            "with a length",
            format!("{head}Content-Length: 5\r\n\r\n0\r\n\r\n"),
            BAD,
        ),
    ]);
}

/// A length is digits, once.
#[test]
fn odd_lengths() {
    let values = [
        "",
        "+5",
        "-5",
        "-0",
        "0x10",
        "0x5",
        "1_0",
        "010",
        "005",
        "5, 6",
        "5 5",
        "5,",
        ",5",
        "5;",
        "5.0",
        "1e1",
        "five",
        "\"5\"",
        "\x0b5",
        "5\x0c",
        "5\0",
        "٥",
        "18446744073709551616",
        "18446744073709551621",
        "99999999999999999999999999999999",
    ];
    let row = |value: &str| {
        let fields = format!("Content-Length: {value}");
        bad(&fields, post(&fields, "hello"), BAD)
    };
    let mut rows: Vec<Bad> = values.into_iter().map(row).collect();
    for second in ["6", "0", "+5", ""] {
        let fields = format!("Content-Length: 5\r\nContent-Length: {second}");
        rows.push(bad(&fields, post(&fields, "hello"), BAD));
    }
    rows.push(bad(
        "a GET too",
        line("Content-Length: 5\r\nContent-Length: 0"),
        BAD,
    ));
    refused(rows);
}

/// RFC 9112 section 7.1: a chunk size is hexadecimal digits that fit into 64 bits.
#[test]
fn odd_chunk_sizes() {
    let chunks = [
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "-0\r\n\r\n",
        "5_0\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "\t5\r\nhello\r\n0\r\n\r\n",
        "5 junk\r\nhello\r\n0\r\n\r\n",
        "5 6\r\nhello\r\n0\r\n\r\n",
        "5h\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        ";a=b\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5\0\r\nhello\r\n0\r\n\r\n",
        "5\x0b\r\nhello\r\n0\r\n\r\n",
    ];
    refused(chunks.map(chunked).into());
}

fn chunked(body: &str) -> Bad {
    bad(&show(body), post("Transfer-Encoding: chunked", body), BAD)
}

/// Everything but CRLF as a line end is refused, and extensions have a limit.
#[test]
fn odd_chunk_lines() {
    let chunks = [
        "5\nhello\r\n0\r\n\r\n",
        "5;\nhello\r\n0\r\n\r\n",
        "5;a=b\nhello\r\n0\r\n\r\n",
        "5\r\r;a\r\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;a\0b\r\nhello\r\n0\r\n\r\n",
        "5;a\x01b\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhello\r\nXX\r\n\r\n",
        "5\r\nhelloXX\r\n0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
        "5\r\nhello\r\n0\r\nX : y\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\r\n folded\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: \0\r\n\r\n",
    ];
    let mut rows: Vec<Bad> = chunks.map(chunked).into();
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(2 << 20));
    let many = format!("1;{}\r\na\r\n", "b".repeat(1000)).repeat(2000) + "0\r\n\r\n";
    let trailer = format!("0\r\nX: {}\r\n\r\n", "c".repeat(1 << 20));
    for (name, body) in [
        ("one extension of 2 MB", long),
        ("2 MB of extensions", many),
        ("a trailer of 1 MB", trailer),
    ] {
        rows.push(bad(
            name,
            post("Transfer-Encoding: chunked", &body),
            &[400, 431],
        ));
    }
    refused(rows);
}

/// RFC 9112 section 5: `name ":" OWS value OWS`, and a name is a token.
#[test]
fn odd_fields() {
    let mut rows = vec![];
    let lines: [(&str, &[u8]); 22] = [
        ("space before the colon", b"X : y"),
        ("tab before the colon", b"X\t: y"),
        ("length with a space", b"Content-Length : 5"),
        ("empty name", b": y"),
        ("no colon", b"X y"),
        ("no colon, one word", b"X"),
        ("space in the name", b"X Y: z"),
        ("NUL in the name", b"X\0: y"),
        ("control in the name", b"X\x01: y"),
        ("DEL in the name", b"X\x7f: y"),
        ("0x85 in the name", b"X\x85: y"),
        ("0xA0 in the name", b"X\xa0: y"),
        ("UTF-8 in the name", "Ü: y".as_bytes()),
        ("quote in the name", b"\"X\": y"),
        ("parenthesis in the name", b"X(: y"),
        ("slash in the name", b"X/Y: z"),
        ("NUL in the value", b"X: a\0b"),
        ("bare CR in the value", b"Visible: a\rSmuggled: b"),
        ("CR at the end", b"X: a\r"),
        ("bell in the value", b"X: a\x07b"),
        ("DEL in the value", b"X: a\x7fb"),
        ("ESC in the value", b"X: \x1b[2J"),
    ];
    for (name, text) in lines {
        rows.push(bad(name, line(text), BAD));
    }
    let first: [(&str, &[u8]); 3] = [
        ("space first", b"GET / HTTP/1.1\r\n Host: a\r\nX: y\r\n\r\n"),
        ("tab first", b"GET / HTTP/1.1\r\n\tX: y\r\nHost: a\r\n\r\n"),
        ("blank first", b"GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n"),
    ];
    for (name, bytes) in first {
        rows.push(bad(name, bytes, BAD));
    }
    refused(rows);
}

/// RFC 9112 section 5.2: a folded line is refused, or its fold becomes spaces.
#[test]
fn folded_lines() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("")).await;
        let proxy = harness::forward(origin.addr()).await;
        for fold in ["X: a\r\n b", "X: a\r\n\tb", "X:\r\n b"] {
            let answer = ask(proxy.addr(), &line(fold), usize::MAX).await;
            assert!(answer.closed || answer.status() == Some(200), "{fold:?}");
            for request in origin.requests() {
                let value = request.header("x").unwrap_or_default();
                assert!(!value.contains(['\r', '\n']), "{}", show(&request.raw_head));
            }
            assert!(matches!(answer.status(), Some(200 | 400)), "{answer:?}");
        }
    });
}

/// RFC 9112 section 2.2: lines end in CRLF; others disagree about what bare ones mean.
#[test]
fn bare_line_ends() {
    refused(vec![
        bad("LF only", "GET / HTTP/1.1\nHost: a\n\n", BAD),
        bad(
            "LF after the request line",
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            BAD,
        ),
        bad(
            "LF after a field",
            "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
            BAD,
        ),
        bad("LF at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n", BAD),
        bad("CR only", "GET / HTTP/1.1\rHost: a\r\r\r\n\r\n", BAD),
        bad(
            "CR in the request line",
            "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
            BAD,
        ),
        bad("CR CR LF", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", BAD),
        bad("LF CR", "GET / HTTP/1.1\n\rHost: a\n\r\n\r\r\n\r\n", BAD),
    ]);
}

/// RFC 9112 section 3.2: exactly one Host, and it is `uri-host [ ":" port ]`.
#[test]
fn odd_hosts() {
    let values: [&[u8]; 24] = [
        b"",
        b"a,b",
        b"a, b",
        b"a b",
        b"a@b",
        b"user:pw@b",
        b"a/b",
        b"a/",
        b"/a",
        b"a?b",
        b"a#b",
        b"a\\b",
        b"\"a\"",
        b"<a>",
        b"a^b",
        b"a{b}",
        b"a|b",
        b"\xc3\xbc",
        b"a\x80",
        b"a:b",
        b"a:-1",
        b"a:80:80",
        b"[::1",
        b"http://a",
    ];
    let mut rows = vec![
        bad("none", "GET / HTTP/1.1\r\nX: y\r\n\r\n", BAD),
        bad("no field at all", "GET / HTTP/1.1\r\n\r\n", BAD),
        bad("two that differ", line("Host: b"), BAD),
        bad("two that agree", line("Host: a"), BAD),
        bad("two, in other case", line("hOST: a"), BAD),
        bad(
            "a list of ports",
            "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n",
            BAD,
        ),
        bad(
            "absolute form, invalid Host",
            "GET http://a/ HTTP/1.1\r\nHost: b@c,d/e\r\n\r\n",
            BAD,
        ),
        bad("none, absolute form", "GET http://a/ HTTP/1.1\r\n\r\n", BAD),
        bad(
            "absolute form with a user",
            "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            BAD,
        ),
        bad(
            "absolute form, bad port",
            "GET http://a:x/ HTTP/1.1\r\nHost: a\r\n\r\n",
            BAD,
        ),
        bad(
            "absolute form, empty",
            "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
            BAD,
        ),
        bad(
            "two, HTTP/1.0",
            "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
            BAD,
        ),
    ];
    for value in values {
        let mut bytes = b"GET / HTTP/1.1\r\nHost: ".to_vec();
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n\r\n");
        rows.push(bad(&format!("Host: {}", show(value)), bytes, BAD));
    }
    refused(rows);
}

/// RFC 9112 section 3.2: the four forms of a target, each where it belongs.
#[test]
fn odd_targets() {
    let lines: [&[u8]; 24] = [
        b"GET foo HTTP/1.1",
        b"GET * HTTP/1.1",
        b"GET ! HTTP/1.1",
        b"GET a:80 HTTP/1.1",
        b"GET ftp://a/ HTTP/1.1",
        b"GET ftp: HTTP/1.1",
        b"GET http: HTTP/1.1",
        b"GET ?q HTTP/1.1",
        b"GET #f HTTP/1.1",
        b"GET /a#b HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET\t/\tHTTP/1.1",
        b"GET\x0b/ HTTP/1.1",
        b"GET /\x00 HTTP/1.1",
        b"GET /\x01 HTTP/1.1",
        b"GET /\x0c HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"GET /\ta HTTP/1.1",
        b"GET /? b HTTP/1.1",
        b"POST * HTTP/1.1",
        b"OPTIONS ** HTTP/1.1",
    ];
    refused(lines.map(|line| request_line(line, BAD)).into());
}

fn request_line(line: &[u8], statuses: &'static [u16]) -> Bad {
    let mut bytes = line.to_vec();
    bytes.extend_from_slice(b"\r\nHost: a\r\n\r\n");
    bad(&show(line), bytes, statuses)
}

/// RFC 9112 section 2.3: `HTTP/1.1` and `HTTP/1.0`, in these letters.
#[test]
fn odd_versions_and_methods() {
    const VERSION: &[u16] = &[400, 505];
    let versions: [&[u8]; 18] = [
        b"GET / HTTP/1.32",
        b"GET / HTTP/4294967295.255",
        b"GET / http/1.1",
        b"GET / Http/1.1",
        b"GET / HTTP/0.9",
        b"GET / HTTP/2.0",
        b"GET / HTTP/3",
        b"GET / HTTP/1",
        b"GET / HTTP/1.",
        b"GET / HTTP/.1",
        b"GET / HTTP/1.1.1",
        b"GET / HTTP/1,1",
        b"GET / HTTP/11",
        b"GET / HTTP/ 1.1",
        b"GET / HTTP/+1.1",
        b"GET / HTTP/1.\xb1",
        b"GET / HTTPS/1.1",
        b"GET / ICY/1.1",
    ];
    let methods: [&[u8]; 12] = [
        b" / HTTP/1.1",
        b" GET / HTTP/1.1",
        b"\tGET / HTTP/1.1",
        b"G{T / HTTP/1.1",
        b"G@T / HTTP/1.1",
        b"G/T / HTTP/1.1",
        b"G\x00T / HTTP/1.1",
        b"G\x80T / HTTP/1.1",
        b"\"GET\" / HTTP/1.1",
        b"GET: / HTTP/1.1",
        b"GET",
        b"GET HTTP/1.1",
    ];
    let mut rows: Vec<Bad> = versions.map(|line| request_line(line, VERSION)).into();
    rows.extend(methods.map(|line| request_line(line, BAD)));
    rows.push(bad("HTTP/0.9", "GET /\r\n\r\n", VERSION));
    rows.push(bad(
        "HTTP/2 preface",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        VERSION,
    ));
    rows.push(bad(
        "TLS",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        BAD,
    ));
    refused(rows);
}

/// CONNECT is not for reverse proxies.
#[test]
fn connect_is_not_allowed() {
    refused(vec![bad(
        "CONNECT",
        "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
        &[405],
    )]);
}

/// Heads have a size, fields a number, targets a length.
#[test]
fn too_much() {
    let many = |count: usize| {
        let mut head = "GET / HTTP/1.1\r\nHost: a\r\n".to_string();
        for index in 1..count {
            let _ = write!(head, "X-{index}: y\r\n");
        }
        head + "\r\n"
    };
    let value = |length: usize| line(format!("X: {}", "y".repeat(length)));
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "z".repeat(length));
    let unfinished = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(1 << 20));
    refused(vec![
        bad("101 fields", many(101), &[431]),
        bad("300 fields", many(300), &[431]),
        bad("a value of 64 KiB", value(64 * 1024), &[431]),
        bad("a value of 1 MiB", value(1 << 20), &[431]),
        bad("a head without an end", unfinished, &[431]),
        bad("a name of 1 MiB", line("n".repeat(1 << 20) + ": y"), &[431]),
        bad("a target of 17 KiB", target(17 * 1024), &[414]),
        bad("a target of 1 MiB", target(1 << 20), &[414]),
        bad(
            "a method of 1 MiB",
            "M".repeat(1 << 20),
            &[400, 414, 431, 501],
        ),
    ]);
}

/// Just below every limit all is well.
#[test]
fn just_enough() {
    harness::run(async {
        let origin = Origin::start(|request| Reply::ok(request.fields.0.len().to_string())).await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        let mut head = "GET / HTTP/1.1\r\nHost: a\r\n".to_string();
        for index in 1..100 {
            let _ = write!(head, "X-{index}: y\r\n");
        }
        client.send(head + "\r\n").await;
        assert_eq!(client.response().await.text(), "100");
        client
            .send(line(format!("X: {}", "y".repeat(60 * 1024))))
            .await;
        assert_eq!(client.response().await.status, 200);
        let target = format!("/{}", "z".repeat(16 * 1024 - 1));
        assert_eq!(client.get(&target).await.status, 200);
        assert_eq!(origin.requests()[2].target, target);
    });
}

/// Limits are options.
#[test]
fn limits_are_options() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("")).await;
        let proxy = harness::proxy_with(harness::Forward(origin.addr()), |_, options| {
            options.limits.max_fields = 3;
            options.limits.max_head_bytes = 200;
            options.limits.max_target_bytes = 20;
        })
        .await;
        let cases = [
            (line("X: y\r\nY: z"), 200),
            (line("X: y\r\nY: z\r\nZ: a"), 431),
            (line(format!("X: {}", "y".repeat(200))), 431),
            (
                format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "z".repeat(19)).into(),
                200,
            ),
            (
                format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "z".repeat(20)).into(),
                414,
            ),
        ];
        for (bytes, status) in cases {
            let mut client = Client::connect(proxy.addr()).await;
            client.send(&bytes).await;
            assert_eq!(client.response().await.status, status, "{}", show(&bytes));
        }
    });
}

/// Legal requests reach the origin as they were sent.
#[test]
fn targets_are_passed_on_byte_for_byte() {
    harness::run(async {
        let origin = Origin::start(|request| Reply::ok(&request.target)).await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        for target in [
            "/",
            "//",
            "//a//b",
            "/a/../b",
            "/./a",
            "/a;b=c",
            "/%00",
            "/%0d%0a",
            "/%2e%2e/",
            "/%2F",
            "/%2f",
            "/a%20b",
            "/?",
            "/??",
            "/?a=b&c=d?e",
            "/a:b@c",
            "/!$&'()*+,",
            "/~_-.",
        ] {
            let response = client.get(target).await;
            assert_eq!((response.status, response.text()), (200, target));
        }
    });
}

/// What is no URI but often seen is refused or passed on, never changed.
#[test]
fn unusual_targets_are_not_rewritten() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("")).await;
        let proxy = harness::forward(origin.addr()).await;
        for target in [
            "/a\\b", "/<a>", "/\"", "/{a}", "/a|b", "/^", "/`", "/[a]", "/%", "/%zz", "/ü",
        ] {
            let seen = origin.requests().len();
            let answer = ask(
                proxy.addr(),
                format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes(),
                usize::MAX,
            )
            .await;
            match origin.requests().get(seen) {
                Some(request) => assert_eq!(request.target, target),
                None => assert_eq!(answer.status(), Some(400), "{target}"),
            }
        }
    });
}

async fn seen(bytes: &str) -> Request {
    let origin = Origin::start(|_| Reply::ok("")).await;
    let proxy = harness::forward(origin.addr()).await;
    let mut client = Client::connect(proxy.addr()).await;
    client.send(bytes).await;
    assert_eq!(client.response().await.status, 200, "{bytes}");
    assert_eq!(origin.errors(), Vec::<String>::new());
    origin.requests()[0].clone()
}

/// RFC 9112 section 3.2.2: in the absolute form the target says the host, whatever Host says.
#[test]
fn absolute_form() {
    harness::run(async {
        for (target, host, path) in [
            ("http://real/x?y", "real", "/x?y"),
            ("http://real:8080/x", "real:8080", "/x"),
            ("http://real", "real", "/"),
            ("http://real?q", "real", "/?q"),
            ("HTTP://real/x", "real", "/x"),
        ] {
            let request = seen(&format!("GET {target} HTTP/1.1\r\nHost: fake\r\n\r\n")).await;
            assert_eq!(request.fields.all("host"), [host], "{target}");
            assert_eq!(request.target, path, "{target}");
        }
        // HTTP/1.0 needs no Host: the target has it.
        let request = seen("GET http://real/x HTTP/1.0\r\n\r\n").await;
        assert_eq!(request.fields.all("host"), ["real"]);
    });
}

/// Well-formed hosts are passed on as they are.
#[test]
fn hosts() {
    harness::run(async {
        for host in [
            "a",
            "a.b.example",
            "a:80",
            "127.0.0.1",
            "[::1]",
            "[::1]:8080",
            "a_b",
            "a-b.",
            "A.Example",
        ] {
            let request = seen(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            assert_eq!(request.fields.all("host"), [host]);
        }
    });
}

/// Methods are case-sensitive and may be any token; OPTIONS may ask about the whole server.
#[test]
fn methods() {
    harness::run(async {
        for (method, target) in [
            ("GET", "/"),
            ("get", "/"),
            ("PROPFIND", "/"),
            ("M-SEARCH", "/"),
            ("X!#$%&'*+-.^_`|~1", "/"),
            ("OPTIONS", "*"),
            ("DELETE", "/x"),
        ] {
            let request = seen(&format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
            assert_eq!(
                (request.method.as_str(), request.target.as_str()),
                (method, target)
            );
        }
    });
}

/// RFC 9112 section 2.2: an empty line before a request is skipped.
#[test]
fn an_empty_line_first() {
    harness::run(async {
        let request = seen("\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(request.target, "/x");
    });
}

/// Field names keep their letters, values their bytes, and both their order.
#[test]
fn fields_are_passed_on_as_they_are() {
    harness::run(async {
        let request = seen(
            "GET / HTTP/1.1\r\nHost: a\r\nx-FIRST: 1\r\nX-Second:\t two  words \r\nx-first: 3\r\n\
             X-Empty:\r\nX-Latin: \u{fc}\r\n\r\n",
        )
        .await;
        let head = String::from_utf8(request.raw_head.to_vec()).unwrap();
        assert!(head.contains("\r\nx-FIRST: 1\r\n"), "{head}");
        assert_eq!(request.fields.all("x-first"), ["1", "3"]);
        assert_eq!(request.header("x-second"), Some("two  words"));
        assert_eq!(request.header("x-empty"), Some(""));
        assert_eq!(request.header("x-latin"), Some("ü"));
    });
}

/// A length that is a list of one value is that value, once, or refused.
#[test]
fn a_list_of_equal_lengths() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("")).await;
        let proxy = harness::forward(origin.addr()).await;
        for fields in [
            "Content-Length: 5, 5",
            "Content-Length: 5,5,5",
            "Content-Length: 5\r\nContent-Length: 5",
        ] {
            let seen = origin.requests().len();
            let answer = ask(proxy.addr(), post(fields, "hello").as_bytes(), usize::MAX).await;
            match origin.requests().get(seen) {
                Some(request) => {
                    assert_eq!(request.fields.all("content-length"), ["5"], "{fields}");
                    assert_eq!(&request.body[..], b"hello");
                }
                None => assert_eq!(
                    (answer.status(), answer.closed),
                    (Some(400), true),
                    "{fields}"
                ),
            }
        }
        assert_eq!(origin.errors(), Vec::<String>::new());
    });
}

/// RFC 9112 section 6.3: without a length, a request of HTTP/1.0 has no body.
#[test]
fn http_1_0_without_a_length() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("reached")).await;
        let proxy = harness::forward(origin.addr()).await;
        let bytes = b"POST / HTTP/1.0\r\nHost: a\r\n\r\nhello";
        let answer = ask(proxy.addr(), bytes, usize::MAX).await;
        assert!(answer.closed, "{answer:?}");
        assert_eq!(answer.status(), Some(200), "{answer:?}");
        assert_eq!(answer.responses(), 1);
        assert_eq!(origin.requests().len(), 1);
        assert_eq!(origin.requests()[0].body, "");
        assert_eq!(origin.errors(), Vec::<String>::new());
    });
}

/// HTTP/1.0 needs no Host.
#[test]
fn http_1_0_without_a_host() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("reached")).await;
        let proxy = harness::forward(origin.addr()).await;
        let answer = ask(proxy.addr(), b"GET / HTTP/1.0\r\n\r\n", usize::MAX).await;
        assert_eq!(
            (answer.status(), answer.closed),
            (Some(200), true),
            "{answer:?}"
        );
        assert_eq!(origin.errors(), Vec::<String>::new());
    });
}
