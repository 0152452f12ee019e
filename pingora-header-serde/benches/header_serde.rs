//! Storing and restoring a head of fourteen fields.
//!
//! `cargo bench -p pingora-header-serde`

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pingora_header_serde::HeaderSerde;
use pingora_http::ResponseHeader;

const FIELDS: &[(&str, &str)] = &[
    ("Date", "Sun, 29 Nov 2026 17:56:48 GMT"),
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Length", "48213"),
    ("Connection", "keep-alive"),
    ("Server", "nginx/1.26.3"),
    ("Last-Modified", "Tue, 10 Nov 2026 08:12:31 GMT"),
    ("ETag", "\"6731b2ef-bc55\""),
    ("Cache-Control", "public, max-age=3600"),
    ("Vary", "Accept-Encoding"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("X-Content-Type-Options", "nosniff"),
    (
        "Strict-Transport-Security",
        "max-age=31536000; includeSubDomains; preload",
    ),
    ("X-Request-Id", "0f8fad5b-d9cb-469f-a165-70867728950e"),
    ("Accept-Ranges", "bytes"),
];

/// A field no table knows, so that the dictionary is used.
const POLICY: &str =
    "default-src 'self'; img-src 'self' data: https:; script-src 'self' 'unsafe-inline'";

fn stores(c: &mut Criterion) {
    let serde = HeaderSerde::new(None);
    let mut head = ResponseHeader::build(200, None).expect("a valid status");
    for (name, value) in FIELDS {
        head.append_header(*name, *value).expect("a valid field");
    }
    let mut with_policy = head.clone();
    with_policy
        .append_header("Content-Security-Policy", POLICY)
        .expect("a valid field");
    for (name, head) in [("known fields", head), ("with a policy", with_policy)] {
        let mut text = Vec::new();
        head.header_to_h1_wire(&mut text);
        let stored = serde.serialize(&head).expect("a head of usual size");
        println!(
            "{name}: {} bytes of text, {} stored",
            text.len(),
            stored.len()
        );
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function("serialize", |b| {
            b.iter(|| serde.serialize(black_box(&head)))
        });
        group.bench_function("deserialize", |b| {
            b.iter(|| serde.deserialize(black_box(&stored)))
        });
        group.finish();
    }
}

criterion_group!(benches, stores);
criterion_main!(benches);
