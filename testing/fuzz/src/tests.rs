//! The corpora, replayed without a fuzzer, and the reference judged by hand-made inputs.

use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::{fs, str};

use arbitrary::{Arbitrary, Unstructured};

use crate::reference::{Length, Stop, request, response};
use crate::*;

/// Calls `check` with each input of the corpus of `target` and names all it fails for.
fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let inputs: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert!(!inputs.is_empty(), "{target} has a corpus");
    let fails = |path: &PathBuf| {
        let input = fs::read(path).unwrap();
        panic::catch_unwind(AssertUnwindSafe(|| check(&input))).is_err()
    };
    let failed: Vec<_> = inputs.into_iter().filter(fails).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

fn structured<T: for<'a> Arbitrary<'a>>(check: impl Fn(&T)) -> impl Fn(&[u8]) {
    move |data| check(&T::arbitrary_take_rest(Unstructured::new(data)).unwrap())
}

#[test]
fn h1_request_holds() {
    replay("h1_request", h1_request);
}

#[test]
fn h1_response_holds() {
    replay("h1_response", h1_response);
}

#[test]
fn chunked_holds() {
    replay("chunked", chunked);
}

#[test]
fn configuration_holds() {
    replay("configuration", configuration);
}

#[test]
fn content_coding_holds() {
    replay("content_coding", content_coding);
}

#[test]
fn header_ops_holds() {
    replay("header_ops", structured(header_ops));
}

#[test]
fn header_serde_holds() {
    replay("header_serde", header_serde);
}

#[test]
fn hpack_holds() {
    replay("hpack", structured(hpack));
}

#[test]
fn ketama_holds() {
    replay("ketama", structured(ketama));
}

#[test]
fn proxy_protocol_holds() {
    replay("proxy_protocol", proxy_protocol);
}

#[test]
fn h2_session_holds() {
    replay("h2_session", structured(h2_session));
}

#[test]
fn h2_client_session_holds() {
    replay("h2_client_session", structured(h2_client_session));
}

#[test]
fn client_hello_holds() {
    replay("client_hello", client_hello);
}

#[test]
fn range_holds() {
    replay("range", range);
}

#[test]
fn lru_ops_holds() {
    replay("lru_ops", structured(lru_ops));
}

#[test]
fn pool_ops_holds() {
    replay("pool_ops", structured(pool_ops));
}

#[test]
fn h2_heads_holds() {
    replay("h2_heads", h2_heads);
}

#[test]
fn h2_budget_holds() {
    replay("h2_budget", structured(h2_budget));
}

#[test]
fn udp_holds() {
    replay("udp", structured(udp));
}

#[test]
fn exchange_events_holds() {
    replay("exchange_events", structured(exchange_events));
}

#[test]
fn we_agree_with_the_reference_on_every_corpus() {
    for target in ["h1_request", "h1_response", "chunked"] {
        replay(target, h1_differential);
    }
}

/// File names tell what the reference must say: `ok-…` is taken, `bad-…` refused.
#[test]
fn the_reference_is_right() {
    for (target, judge) in [
        ("h1_request", request as fn(&[u8]) -> _),
        (
            "h1_response",
            (|data| response(data, "GET")) as fn(&[u8]) -> _,
        ),
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(target);
        for file in fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let verdict = judge(&fs::read(&path).unwrap());
            let name = path.file_name().unwrap().to_str().unwrap();
            match name.split('-').next().unwrap() {
                "ok" => assert!(verdict.is_ok(), "{name}: {verdict:?}"),
                "bad" => assert!(
                    matches!(verdict, Err(Stop::Refused(_))),
                    "{name}: {verdict:?}"
                ),
                "cut" => assert_eq!(verdict, Err(Stop::Incomplete), "{name}"),
                other => panic!("{other}-: name inputs ok-, bad- or cut-"),
            }
        }
    }
}

#[test]
fn the_reference_reads_what_is_there() {
    let post = request(b"POST /a HTTP/1.1\r\nHost: a\r\nX:\t b \r\nContent-Length: 5\r\n\r\nhello")
        .unwrap();
    assert_eq!(post.start, [&b"POST"[..], b"/a"]);
    assert_eq!(post.fields[1], (b"X".to_vec(), b"b".to_vec()));
    assert_eq!((post.length, post.keep_alive), (Length::Bytes(5), true));
    assert_eq!(str::from_utf8(&post.rest), Ok("hello"));
    let old = response(b"HTTP/1.0 200 OK\r\n\r\nbody", "GET").unwrap();
    assert_eq!((old.length, old.keep_alive), (Length::UntilClose, false));
}

#[test]
fn tinyufo_ops_holds() {
    replay("tinyufo_ops", structured(tinyufo_ops));
}
