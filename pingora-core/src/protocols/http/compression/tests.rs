use std::io::Read;

use super::*;
use http::HeaderMap;
use pingora_http::{RequestHeader, ResponseHeader};
use proptest::prelude::*;

use crate::protocols::http::HttpTask;

const ALL: [Algorithm; 7] = [
    Algorithm::Any,
    Algorithm::Gzip,
    Algorithm::Brotli,
    Algorithm::Zstd,
    Algorithm::Dcb,
    Algorithm::Dcz,
    Algorithm::Other,
];
const CODINGS: [Algorithm; 3] = [Algorithm::Gzip, Algorithm::Brotli, Algorithm::Zstd];

fn pack(algorithm: Algorithm, level: u32, body: &[u8]) -> Vec<u8> {
    let mut codec = algorithm.compressor(level).unwrap();
    codec.encode(body, true).unwrap().to_vec()
}

fn unpack(algorithm: Algorithm, packed: &[u8], piece: usize) -> Result<Vec<u8>> {
    let mut codec = algorithm.decompressor(true).unwrap();
    let mut body = Vec::new();
    for piece in packed.chunks(piece) {
        body.extend(codec.encode(piece, false)?);
    }
    body.extend(codec.encode(b"", true)?);
    Ok(body)
}

fn words(length: usize) -> Vec<u8> {
    let words =
        (0u32..).flat_map(|i| format!("word{} ", i.wrapping_mul(2_654_435_761) % 997).into_bytes());
    words.take(length).collect()
}

// === codings ===

#[test]
fn names_and_places() {
    for (at, algorithm) in ALL.into_iter().enumerate() {
        assert_eq!(algorithm.index(), at);
        if algorithm != Algorithm::Other {
            assert_eq!(Algorithm::from(algorithm.as_str()), algorithm);
        }
        let codes = CODINGS.contains(&algorithm);
        assert_eq!(algorithm.compressor(1).is_some(), codes);
        assert!(algorithm.compressor(0).is_none());
        assert_eq!(algorithm.can_decompress(), codes);
        assert_eq!(algorithm.decompressor(true).is_some(), codes);
        assert!(algorithm.decompressor(false).is_none());
    }
    assert_eq!(ALL.len(), Algorithm::COUNT);
    for (name, algorithm) in [
        ("GZip", Algorithm::Gzip),
        ("x-gzip", Algorithm::Gzip),
        ("", Algorithm::Any),
        ("deflate", Algorithm::Other),
    ] {
        assert_eq!(Algorithm::from(name), algorithm);
    }
}

#[test]
fn bodies_come_back_at_every_level() {
    let body = words(100_000);
    for algorithm in CODINGS {
        for level in [1, 2, 5, 6, 9, 11, 12, 99] {
            let packed = pack(algorithm, level, &body);
            assert!(packed.len() < body.len() / 2, "{algorithm:?} {level}");
            for piece in [1000, usize::MAX] {
                assert!(
                    unpack(algorithm, &packed, piece).unwrap() == body,
                    "{algorithm:?} {level}"
                );
            }
        }
        assert_eq!(unpack(algorithm, &pack(algorithm, 3, b""), 1).unwrap(), b"");
        assert_eq!(
            unpack(algorithm, b"", 1).unwrap(),
            b"",
            "no bytes are no body"
        );
    }
}

#[test]
fn every_piece_can_be_read_at_once() {
    for algorithm in CODINGS {
        let mut packing = algorithm.compressor(4).unwrap();
        let mut unpacking = algorithm.decompressor(true).unwrap();
        for piece in ["event: one\n\n", "event: two\n\n", "x"] {
            let packed = packing.encode(piece.as_bytes(), false).unwrap();
            assert_eq!(
                unpacking.encode(&packed, false).unwrap(),
                piece,
                "{algorithm:?}"
            );
        }
        let end = packing.encode(b"", true).unwrap();
        assert_eq!(unpacking.encode(&end, true).unwrap(), "");
        assert!(packing.encode(b"after the end", true).unwrap().is_empty());
    }
}

#[test]
fn what_is_counted() {
    for (algorithm, name) in CODINGS.into_iter().zip(["gzip", "brotli", "zstd"]) {
        let mut codec = algorithm.compressor(1).unwrap();
        let out = codec.encode(&words(5000), false).unwrap().len();
        let out = out + codec.encode(&words(5000), true).unwrap().len();
        let (counted, bytes_in, bytes_out, time) = codec.stat();
        assert_eq!((counted, bytes_in, bytes_out), (name, 10_000, out));
        assert!(!time.is_zero());
    }
}

#[test]
fn damage_is_an_error() {
    let body = words(3000);
    for algorithm in CODINGS {
        let packed = pack(algorithm, 5, &body);
        for cut in [1, 5, packed.len() / 2, packed.len() - 1] {
            let error = unpack(algorithm, &packed[..cut], 100).unwrap_err();
            assert_eq!(error.etype(), &COMPRESSION_ERROR, "{algorithm:?} {cut}");
        }
        assert!(unpack(algorithm, b"this is not compressed", 7).is_err());
        let mut broken = algorithm.decompressor(true).unwrap();
        assert!(
            broken
                .encode(b"this is not compressed, not at all", true)
                .is_err()
        );
        assert!(
            broken.encode(&packed, true).unwrap().is_empty(),
            "nothing follows a failure"
        );
    }
}

#[test]
fn bombs_are_stopped() {
    for algorithm in CODINGS {
        let mut packing = algorithm.compressor(5).unwrap();
        let zeros = vec![0; 1 << 20];
        let mut bomb = Vec::new();
        for _ in 0..6 {
            bomb.extend(packing.encode(&zeros, false).unwrap());
        }
        bomb.extend(packing.encode(b"", true).unwrap());
        for piece in [bomb.len(), 1000, 20] {
            let mut codec = algorithm.decompressor(true).unwrap();
            let mut out = 0;
            let failed = bomb
                .chunks(piece)
                .any(|piece| match codec.encode(piece, false) {
                    Ok(body) => {
                        out += body.len();
                        false
                    }
                    Err(_) => true,
                });
            assert!(failed, "{algorithm:?} {piece}");
            let allowed = DecompressionLimits::FREE_BYTES as usize + 256 * bomb.len();
            assert!(out <= allowed, "{algorithm:?}: {out} of {allowed}");
        }
    }
}

#[test]
fn windows_are_limited() {
    // A frame that asks for a window of 128 MiB, and a stream of large-window Brotli.
    let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3, 0x01, 0x00, 0x00];
    assert!(unpack(Algorithm::Zstd, &zstd, 100).is_err());
    let brotli = [0x11, 30, 0x3, 0x0, 0x0];
    assert!(unpack(Algorithm::Brotli, &brotli, 100).is_err());
}

#[test]
fn limits_can_be_set() {
    let body = words(10_000);
    let packed = pack(Algorithm::Gzip, 6, &body);
    for (max_bytes, fits) in [(10_000, true), (9_999, false)] {
        let limits = DecompressionLimits {
            max_bytes,
            ..Default::default()
        };
        let mut codec = Algorithm::Gzip.decompressor_within(limits).unwrap();
        assert_eq!(codec.encode(&packed, true).is_ok(), fits);
    }
}

fn dictionary(bytes: Vec<u8>) -> DictionaryData {
    let (bytes, hash) = (Bytes::from(bytes), [7; 32]);
    DictionaryData { bytes, hash }
}

fn with_dictionary(
    algorithm: Algorithm,
    level: u32,
    dictionary: &DictionaryData,
    body: &[u8],
) -> Vec<u8> {
    let mut codec = algorithm
        .maybe_compressor_with_dictionary(level, dictionary)
        .unwrap();
    let mut packed = Vec::new();
    for piece in body.chunks(10_000) {
        packed.extend(codec.encode(piece, false).unwrap());
    }
    packed.extend(codec.encode(b"", true).unwrap());
    packed
}

#[test]
fn dictionaries_are_used_with_zstd() {
    let dictionary = dictionary(words(30_000));
    for level in [1, 3, 9, 19] {
        let body = [
            &dictionary.bytes[5000..25_000],
            b"and something new",
            &words(100),
        ]
        .concat();
        let packed = with_dictionary(Algorithm::Dcz, level, &dictionary, &body);
        assert_eq!(packed[..8], DCZ_MAGIC);
        assert_eq!(packed[8..DCZ_HEADER_SIZE], [7; 32]);
        assert!(packed.len() < 600, "{level}: {}", packed.len());
        let mut context = zstd_safe::DCtx::create();
        let mut unpacked = Vec::with_capacity(body.len());
        // What comes before the frame is a frame to skip.
        context
            .decompress_using_dict(&mut unpacked, &packed, &dictionary.bytes)
            .unwrap();
        assert!(unpacked == body);
    }
}

#[test]
fn dictionaries_are_used_with_brotli() {
    for (size, length) in [(2, 50_000), (30_000, 20_000), (30_000, 3_000_000)] {
        let dictionary = dictionary(words(size));
        for level in [1, 5, 9] {
            let mut body = dictionary.bytes[size / 4..].to_vec();
            body.extend(words(length).iter().rev());
            let packed = with_dictionary(Algorithm::Dcb, level, &dictionary, &body);
            assert_eq!(packed[..4], [0xff, 0x44, 0x43, 0x42]);
            assert_eq!(packed[4..36], [7; 32]);
            let alone = pack(Algorithm::Brotli, level.max(2), &body);
            assert!(
                length != 20_000 || packed.len() < alone.len(),
                "{size} {level}"
            );
            let mut reader = ::brotli::Decompressor::new_with_custom_dict(
                &packed[36..],
                4096,
                dictionary.bytes.to_vec().into(),
            );
            let mut unpacked = Vec::new();
            reader.read_to_end(&mut unpacked).unwrap();
            assert!(unpacked == body, "{size} {length} {level}");
        }
    }
}

#[test]
fn some_dictionaries_cannot_serve() {
    let magic = [0x37, 0xa4, 0x30, 0xec, 1, 2, 3, 4, 5, 6, 7, 8].to_vec();
    for (algorithm, bytes) in [
        (Algorithm::Dcz, magic),
        (Algorithm::Dcz, vec![]),
        (Algorithm::Dcb, vec![1]),
        (Algorithm::Dcb, vec![1; 9 << 20]),
        (Algorithm::Gzip, words(100)),
    ] {
        assert!(
            algorithm
                .maybe_compressor_with_dictionary(3, &dictionary(bytes))
                .is_none()
        );
    }
    assert!(
        Algorithm::Dcz
            .maybe_compressor_with_dictionary(0, &dictionary(words(9)))
            .is_none()
    );
}

// === responses ===

type Fields<'a> = &'a [(&'static str, &'a str)];

fn request(method: &str, fields: Fields) -> RequestHeader {
    let mut req = RequestHeader::build(method, b"/", None).unwrap();
    for (name, value) in fields {
        req.append_header(*name, *value).unwrap();
    }
    req
}

fn response(status: u16, fields: Fields) -> ResponseHeader {
    let mut resp = ResponseHeader::build(status, None).unwrap();
    for (name, value) in fields {
        resp.append_header(*name, *value).unwrap();
    }
    resp
}

fn text(head: &ResponseHeader) -> String {
    let mut wire = Vec::new();
    head.header_to_h1_wire(&mut wire);
    String::from_utf8(wire)
        .unwrap()
        .to_ascii_lowercase()
        .replace("\r\n", "|")
}

const HTML: Fields = &[
    ("content-type", "text/html"),
    ("content-length", "500"),
    ("etag", "\"a\""),
];
const AS_IT_WAS: &str = "content-type: text/html|content-length: 500|etag: \"a\"|";
const VARIES: &str =
    "content-type: text/html|content-length: 500|etag: \"a\"|vary: accept-encoding|";

#[test]
fn heads_say_what_is_done() {
    for (method, accept, status, fields, end, coded, expected) in [
        (
            "GET",
            "gzip",
            200,
            HTML,
            false,
            Some("gzip"),
            "content-type: text/html|etag: w/\"a\"|vary: accept-encoding|content-encoding: gzip|",
        ),
        (
            "GET",
            "br, gzip;q=0.5",
            404,
            HTML,
            false,
            Some("brotli"),
            "content-type: text/html|etag: w/\"a\"|vary: accept-encoding|content-encoding: br|",
        ),
        (
            "GET",
            "zstd",
            200,
            &[
                ("content-type", "text/css"),
                ("content-encoding", "identity"),
            ],
            false,
            Some("zstd"),
            "content-type: text/css|content-encoding: zstd|vary: accept-encoding|",
        ),
        ("GET", "deflate", 200, HTML, false, None, VARIES),
        ("GET", "", 200, HTML, false, None, VARIES),
        (
            "HEAD",
            "gzip",
            200,
            HTML,
            true,
            None,
            "content-type: text/html|etag: w/\"a\"|vary: accept-encoding|content-encoding: gzip|",
        ),
        ("GET", "gzip", 200, HTML, true, None, AS_IT_WAS),
        ("GET", "gzip", 206, HTML, false, None, AS_IT_WAS),
        ("GET", "gzip", 304, HTML, false, None, AS_IT_WAS),
        ("GET", "gzip", 204, HTML, false, None, AS_IT_WAS),
        ("GET", "gzip", 101, HTML, false, None, AS_IT_WAS),
        ("CONNECT", "gzip", 200, HTML, false, None, AS_IT_WAS),
        (
            "CONNECT",
            "gzip",
            403,
            HTML,
            false,
            Some("gzip"),
            "content-type: text/html|etag: w/\"a\"|vary: accept-encoding|content-encoding: gzip|",
        ),
        (
            "GET",
            "gzip",
            200,
            &[("content-type", "image/png")],
            false,
            None,
            "content-type: image/png|",
        ),
        (
            "GET",
            "gzip",
            200,
            &[
                ("content-type", "text/html"),
                ("cache-control", "no-transform"),
            ],
            false,
            None,
            "content-type: text/html|cache-control: no-transform|",
        ),
        (
            "GET",
            "gzip",
            200,
            &[("content-type", "text/html"), ("content-length", "63")],
            false,
            None,
            "content-type: text/html|content-length: 63|",
        ),
        (
            "GET",
            "gzip",
            200,
            &[("content-type", "text/html"), ("content-encoding", "br")],
            false,
            None,
            "content-type: text/html|content-encoding: br|",
        ),
    ] {
        let mut ctx = ResponseCompressionCtx::new(3, false, false);
        ctx.request_filter(&request(method, &[("accept-encoding", accept)]));
        let mut resp = response(status, fields);
        ctx.response_header_filter(&mut resp, end);
        let case = format!("{method} {accept} {status} {fields:?}");
        assert!(!ctx.is_header_phase());
        assert_eq!(ctx.is_enabled(), coded.is_some(), "{case}");
        assert_eq!(ctx.get_info().map(|info| info.0), coded, "{case}");
        assert_eq!(text(&resp), expected, "{case}");
        let body = Bytes::from(words(500));
        let piece = ctx.response_body_filter(Some(&body), true);
        assert_eq!(
            piece.is_some_and(|piece| piece.len() < 500),
            coded.is_some(),
            "{case}"
        );
    }
}

#[test]
fn what_a_client_does_not_take_is_decompressed() {
    let body = words(2000);
    for algorithm in CODINGS {
        let coded: Fields = &[
            ("content-type", "text/html"),
            ("content-encoding", algorithm.as_str()),
            ("etag", "\"a\""),
        ];
        for (accept, decoded) in [
            ("", true),
            ("deflate", true),
            (algorithm.as_str(), false),
            ("*", false),
            ("*;q=0", true),
        ] {
            let mut ctx = ResponseCompressionCtx::new(0, true, false);
            ctx.request_filter(&request("GET", &[("accept-encoding", accept)]));
            let mut resp = response(200, coded);
            assert_eq!(
                ctx.will_decompress(&resp),
                decoded,
                "{algorithm:?} {accept}"
            );
            ctx.response_header_filter(&mut resp, false);
            assert!(!ctx.will_decompress(&resp));
            assert_eq!(resp.headers.contains_key("content-encoding"), !decoded);
            assert_eq!(resp.headers["vary"], "Accept-Encoding");
            assert_eq!(
                resp.headers["etag"],
                if decoded { "W/\"a\"" } else { "\"a\"" }
            );
            let packed = Bytes::from(pack(algorithm, 5, &body));
            let piece = ctx.try_response_body_filter(Some(&packed), true).unwrap();
            assert_eq!(piece.is_some_and(|piece| piece == body), decoded);
        }
    }
}

#[test]
fn settings_are_for_each_coding() {
    let both = request("GET", &[("accept-encoding", "gzip, br")]);
    let mut ctx = ResponseCompressionCtx::new(0, false, false);
    assert!(!ctx.is_enabled());
    ctx.adjust_algorithm_level(Algorithm::Gzip, 1);
    ctx.adjust_algorithm_preserve_etag(Algorithm::Gzip, true);
    ctx.request_filter(&both);
    let mut resp = response(200, HTML);
    ctx.response_header_filter(&mut resp, false);
    assert_eq!(resp.headers["content-encoding"], "gzip");
    assert_eq!(resp.headers["etag"], "\"a\"");
    ctx.adjust_level(0);
    assert!(ctx.is_enabled(), "too late");

    let mut ctx = ResponseCompressionCtx::new(0, false, false);
    ctx.adjust_algorithm_decompression(Algorithm::Brotli, true);
    ctx.request_filter(&request("GET", &[]));
    assert!(ctx.will_decompress(&response(200, &[("content-encoding", "br")])));
    assert!(!ctx.will_decompress(&response(200, &[("content-encoding", "gzip")])));
    assert!(!ctx.will_decompress(&response(206, &[("content-encoding", "br")])));
    ctx.adjust_decompression(false);
    assert!(!ctx.is_enabled());

    let mut ctx = ResponseCompressionCtx::new(9, true, false);
    ctx.adjust_preserve_etag(true);
    ctx.set_min_size(501);
    ctx.request_filter(&both);
    let mut resp = response(200, HTML);
    ctx.response_header_filter(&mut resp, false);
    assert_eq!(text(&resp), AS_IT_WAS);
}

#[test]
fn a_dictionary_serves_who_has_it() {
    let hash = [0x61; 32];
    let named = ":YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=:";
    let other = ":YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWI=:";
    for (accept, available, coding) in [
        ("gzip, br, zstd, dcb, dcz", Some(named), "dcz"),
        ("gzip, br, zstd, dcb", Some(named), "dcb"),
        ("gzip, dcz", Some(other), "gzip"),
        ("gzip, dcz", None, "gzip"),
        ("gzip", Some(named), "gzip"),
        ("gzip, *", Some(named), "zstd"),
    ] {
        let mut ctx = ResponseCompressionCtx::new(5, false, false);
        let mut req = request("GET", &[("accept-encoding", accept)]);
        if let Some(available) = available {
            req.insert_header("Available-Dictionary", available)
                .unwrap();
        }
        ctx.request_filter(&req);
        ctx.set_dictionary(Bytes::from(words(9000)), hash);
        assert!(ctx.has_dictionary());
        let mut resp = response(200, HTML);
        ctx.response_header_filter(&mut resp, false);
        assert_eq!(
            resp.headers["content-encoding"], coding,
            "{accept} {available:?}"
        );
        let vary: Vec<_> = resp.headers.get_all("vary").iter().collect();
        assert_eq!(vary, ["Accept-Encoding", "Available-Dictionary"]);
    }
    let mut ctx = ResponseCompressionCtx::new(5, false, false);
    ctx.set_dictionary(Bytes::from_static(b"abc"), hash);
    ctx.clear_dictionary();
    assert!(!ctx.has_dictionary());
}

#[test]
fn interim_heads_decide_nothing() {
    let mut ctx = ResponseCompressionCtx::new(5, false, false);
    ctx.request_filter(&request("GET", &[("accept-encoding", "gzip")]));
    let mut early = response(103, HTML);
    ctx.response_header_filter(&mut early, false);
    assert!(ctx.is_header_phase());
    assert_eq!(text(&early), AS_IT_WAS);
    ctx.response_header_filter(&mut response(200, HTML), false);
    assert_eq!(ctx.get_info().unwrap().0, "gzip");
}

#[test]
fn a_response_in_place_of_another_begins_anew() {
    let mut ctx = started("gzip", HTML);
    ctx.response_body_filter(Some(&Bytes::from_static(b"given up")), false);
    ctx.adjust_level(0);
    ctx.restart();
    assert!(ctx.is_header_phase() && ctx.is_enabled());
    assert_eq!(ctx.get_info(), None);
    let mut plain = response(200, &[("content-type", "image/png")]);
    ctx.response_header_filter(&mut plain, false);
    assert!(!ctx.is_enabled());
    ctx.restart();
    let mut resp = response(200, HTML);
    ctx.response_header_filter(&mut resp, false);
    assert_eq!(resp.headers["content-encoding"], "gzip");
    let coded = ctx.response_body_filter(Some(&Bytes::from_static(b"hello")), true);
    let mut decoder = Algorithm::Gzip.decompressor(true).unwrap();
    assert_eq!(decoder.encode(&coded.unwrap(), true).unwrap(), "hello");
}

fn started(accept: &str, fields: Fields) -> ResponseCompressionCtx {
    let mut ctx = ResponseCompressionCtx::new(5, true, false);
    ctx.request_filter(&request("GET", &[("accept-encoding", accept)]));
    let mut task = HttpTask::Header(Box::new(response(200, fields)), false);
    ctx.response_filter(&mut task);
    assert!(ctx.is_enabled());
    ctx
}

#[test]
fn tasks_pass_through() {
    for end in [
        HttpTask::Done,
        HttpTask::Trailer(Some(Box::new(HeaderMap::new()))),
        HttpTask::Body(None, true),
    ] {
        let mut ctx = started("gzip", HTML);
        let mut packed = Vec::new();
        for mut task in [
            HttpTask::Body(Some(Bytes::from_static(b"hello ")), false),
            end,
        ] {
            ctx.response_filter(&mut task);
            match task {
                HttpTask::Body(piece, _) => packed.extend(piece.unwrap_or_default()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(unpack(Algorithm::Gzip, &packed, 9).unwrap(), b"hello ");
        let mut after = HttpTask::Done;
        ctx.response_filter(&mut after);
        assert!(matches!(after, HttpTask::Done));
    }
}

#[test]
fn a_body_that_is_not_what_it_says_fails() {
    let fields: Fields = &[("content-encoding", "gzip")];
    let data = Bytes::from_static(b"not gzip at all, for sure");
    let mut task = HttpTask::Body(Some(data.clone()), false);
    let mut ctx = started("br", fields);
    ctx.response_filter(&mut task);
    assert!(matches!(&task, HttpTask::Failed(e) if e.etype() == &COMPRESSION_ERROR));
    assert_eq!(ctx.response_body_filter(Some(&data), true).unwrap(), "");

    let mut ctx = started("br", fields);
    assert_eq!(ctx.response_body_filter(Some(&data), false).unwrap(), "");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_pieces_come_back(
        pieces in prop::collection::vec(prop::collection::vec(0..4u8, 0..200), 0..12),
        level in 1..12u32,
        cut in 1..50usize,
        flush: bool,
    ) {
        for algorithm in CODINGS {
            let mut codec = algorithm.compressor_of(level, flush).unwrap();
            let mut packed = Vec::new();
            for piece in &pieces {
                packed.extend(codec.encode(piece, false).unwrap());
            }
            packed.extend(codec.encode(b"", true).unwrap());
            prop_assert!(unpack(algorithm, &packed, cut).unwrap() == pieces.concat());
        }
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, cut in 1..50usize) {
        for algorithm in CODINGS {
            let _ = unpack(algorithm, &bytes, cut);
        }
    }
}
