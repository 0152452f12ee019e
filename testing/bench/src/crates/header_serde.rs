//! pingora-header-serde beside the original, and beside zstd alone on the head as text.
//!
//! All dictionaries are trained on the same samples and have the same size.

use std::hint::black_box;

use pingora_header_serde as ours;
use pingora_header_serde_peer as original;
use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};

use super::report::{Candidate, OURS, Report};

/// Samples the dictionaries are trained on.
const SAMPLES: u32 = 2_000;

/// Bytes of each dictionary.
const DICTIONARY: usize = 32 << 10;

/// The level the original uses, by its sizes.
const LEVEL: i32 = 3;

/// More than any head here has.
const MAX_TEXT: usize = 4 << 10;

/// Fields with their values; `#` stands for a digit that differs from head to head.
const FIELDS: &[(&str, &str)] = &[
    ("Date", "Sun, 29 Nov 2026 1#:5#:4# GMT"),
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Length", "4####"),
    ("Connection", "keep-alive"),
    ("Server", "nginx/1.26.3"),
    ("Last-Modified", "Tue, 10 Nov 2026 0#:1#:3# GMT"),
    ("ETag", "\"67####ef-b###\""),
    ("Cache-Control", "public, max-age=3600"),
    ("Vary", "Accept-Encoding"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("X-Content-Type-Options", "nosniff"),
    (
        "Strict-Transport-Security",
        "max-age=31536000; includeSubDomains; preload",
    ),
    ("X-Request-Id", "0f8#ad5b-d9c#-4#9f-a1#5-7##6#728950e"),
    ("Accept-Ranges", "bytes"),
];

/// Fields nobody has a token for.
const OWN: &[(&str, &str)] = &[
    (
        "Content-Security-Policy",
        "default-src 'self'; img-src 'self' data: https:; script-src 'self' 'unsafe-inline'",
    ),
    ("X-Shop", "shop-##.eu-west-1.internal.example.com"),
    (
        "Set-Cookie",
        "session=####8a1f####; Path=/; HttpOnly; Secure",
    ),
];

type Fields = Vec<(&'static str, String)>;

/// Measures the crate.
pub fn run(report: &mut Report) {
    let seen: Vec<Fields> = (0..SAMPLES)
        .map(|seed| fields(seed, seed % 2 == 0))
        .collect();
    let text_dictionary = text_dictionary(&seen);
    let own_dictionary = own_dictionary(&seen);
    for (what, own) in [
        ("14 common fields", false),
        ("17 fields, 3 of them own", true),
    ] {
        let fields = fields(SAMPLES + 1, own);
        trained(report, what, &fields, &own_dictionary, &text_dictionary);
        untrained(report, what, &fields);
    }
}

fn trained(report: &mut Report, what: &str, fields: &Fields, own: &[u8], text: &[u8]) {
    let what = format!("{what}, dictionary");
    let ours = ours::HeaderSerde::new(Some(own.to_vec()));
    let original = original::HeaderSerde::new(Some(text.to_vec()));
    let (head, original_head) = (head(fields), original_head(fields));
    let stored = ours.serialize(&head).expect("a head of usual size");
    let original_stored = original
        .serialize(&original_head)
        .expect("a head of usual size");
    let encoding = EncoderDictionary::copy(text, LEVEL);
    let decoding = DecoderDictionary::copy(text);
    let mut compressor = Compressor::with_prepared_dictionary(&encoding).expect("a dictionary");
    let mut decompressor = Decompressor::with_prepared_dictionary(&decoding).expect("a dictionary");
    let plain = as_text(fields);
    let compressed = compressor.compress(&plain).expect("room for it");
    report.values(
        &format!("size of {what}"),
        "bytes",
        &[
            (OURS, stored.len() as f64),
            ("original", original_stored.len() as f64),
            ("zstd on text", compressed.len() as f64),
        ],
    );
    report.compare(
        &format!("serialize {what}"),
        vec![
            repeat(OURS, || ours.serialize(black_box(&head))),
            repeat("original", || original.serialize(black_box(&original_head))),
            repeat("zstd on text", || compressor.compress(black_box(&plain))),
        ],
    );
    report.compare(
        &format!("deserialize {what}"),
        vec![
            repeat(OURS, || ours.deserialize(black_box(&stored))),
            repeat("original", || {
                original.deserialize(black_box(&original_stored))
            }),
            repeat("zstd on text, not parsed", || {
                decompressor.decompress(black_box(&compressed), MAX_TEXT)
            })
            .floor(),
        ],
    );
}

fn untrained(report: &mut Report, what: &str, fields: &Fields) {
    let what = format!("{what}, no dictionary");
    let ours = ours::HeaderSerde::new(None);
    let original = original::HeaderSerde::new(None);
    let (head, original_head) = (head(fields), original_head(fields));
    let stored = ours.serialize(&head).expect("a head of usual size");
    let original_stored = original
        .serialize(&original_head)
        .expect("a head of usual size");
    report.values(
        &format!("size of {what}"),
        "bytes",
        &[
            (OURS, stored.len() as f64),
            ("original", original_stored.len() as f64),
        ],
    );
    report.compare(
        &format!("serialize {what}"),
        vec![
            repeat(OURS, || ours.serialize(black_box(&head))),
            repeat("original", || original.serialize(black_box(&original_head))),
        ],
    );
    report.compare(
        &format!("deserialize {what}"),
        vec![
            repeat(OURS, || ours.deserialize(black_box(&stored))),
            repeat("original", || {
                original.deserialize(black_box(&original_stored))
            }),
        ],
    );
}

fn repeat<'a, T>(name: &'a str, mut operation: impl FnMut() -> T + 'a) -> Candidate<'a> {
    Candidate::new(name, move |iterations| {
        for _ in 0..iterations {
            black_box(operation());
        }
    })
}

/// Returns the fields of one head, the same for the same seed.
fn fields(seed: u32, own: bool) -> Fields {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut digit = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        char::from_digit(state % 10, 10).expect("below ten")
    };
    let own = if own { OWN } else { &[] };
    let fields = FIELDS.iter().chain(own);
    let filled = fields.map(|(name, value)| {
        let value = value.chars().map(|c| if c == '#' { digit() } else { c });
        (*name, value.collect())
    });
    filled.collect()
}

fn as_text(fields: &Fields) -> Vec<u8> {
    let lines = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    format!("HTTP/1.1 200 OK\r\n{}\r\n", lines.collect::<String>()).into_bytes()
}

fn text_dictionary(seen: &[Fields]) -> Vec<u8> {
    let samples: Vec<_> = seen.iter().map(as_text).collect();
    zstd::dict::from_samples(&samples, DICTIONARY).expect("enough samples")
}

/// Trains as a user does: from files.
fn own_dictionary(seen: &[Fields]) -> Vec<u8> {
    let folder = std::env::temp_dir().join(format!("header-serde-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for samples");
    for (number, fields) in seen.iter().enumerate() {
        std::fs::write(folder.join(number.to_string()), as_text(fields)).expect("a sample");
    }
    let dictionary = ours::dict::train(&folder);
    // Left behind, it does no harm.
    let _ = std::fs::remove_dir_all(&folder);
    dictionary
}

fn head(fields: &Fields) -> pingora_http::ResponseHeader {
    let mut head = pingora_http::ResponseHeader::build(200, None).expect("a valid status");
    for (name, value) in fields {
        head.append_header(*name, value.as_str())
            .expect("a valid field");
    }
    head
}

fn original_head(fields: &Fields) -> pingora_http_peer::ResponseHeader {
    let mut head = pingora_http_peer::ResponseHeader::build(200, None).expect("a valid status");
    for (name, value) in fields {
        head.append_header(*name, value.as_str())
            .expect("a valid field");
    }
    head
}
