//! The pure parts of HTTP/2, reachable for fuzzing; compiled with `--cfg fuzzing` only.
//! Read next: `head.rs`, `engine/mod.rs`.

use std::time::{Duration, Instant};

use http::{Request, request};
use pingora_http::RequestHeader;
use pingora_http::fields::KnownName;

use super::engine::Budget;
use super::engine::decode_request;
use super::engine::hpack::{Decoder, Encoder, Kind, Pseudo};
use super::head::{accept_parts, accept_request};
use crate::protocols::http::HttpLimits;
use crate::protocols::http::v1::common::is_upgrade_req;

/// Returns a request as the server takes it, and whether it asks for a tunnel; `None` when it is
/// refused.
pub fn accept(parts: request::Parts, limits: &HttpLimits) -> Option<(RequestHeader, bool)> {
    let accepted = accept_parts(parts, limits).ok()?;
    Some((accepted.head, accepted.is_extended_connect))
}

/// Returns the same request as the server takes it when it has framed it itself.
///
/// # Panics
/// If what is encoded cannot be decoded.
pub fn accept_framed(parts: &request::Parts, limits: &HttpLimits) -> Option<(RequestHeader, bool)> {
    let (mut encoder, mut block) = (Encoder::new(), bytes::BytesMut::new());
    let mut pseudo = |name, value: Option<&str>| {
        if let Some(value) = value {
            encoder.pseudo(name, value.as_bytes(), &mut block);
        }
    };
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    pseudo(Pseudo::Method, Some(parts.method.as_str()));
    pseudo(
        Pseudo::Authority,
        parts.uri.authority().map(|name| name.as_str()),
    );
    if parts.method != http::Method::CONNECT || protocol.is_some() {
        pseudo(
            Pseudo::Scheme,
            Some(parts.uri.scheme_str().unwrap_or("http")),
        );
    }
    pseudo(
        Pseudo::Path,
        parts.uri.path_and_query().map(|path| path.as_str()),
    );
    pseudo(Pseudo::Protocol, protocol.map(|protocol| protocol.as_str()));
    for (name, value) in &parts.headers {
        let name = name.as_str().as_bytes();
        let known = KnownName::of(name);
        encoder.field(name, known, value.as_bytes(), false, &mut block);
    }
    let raw = decode_request(&block).expect("what the encoder writes can be decoded")?;
    let accepted = accept_request(raw, limits).ok()?;
    Some((accepted.head, accepted.is_extended_connect))
}

/// Returns a request as the client sends it; `None` when HTTP/2 cannot express it.
pub fn send(req: &RequestHeader) -> Option<Request<()>> {
    super::client::request_to_h2(req, is_upgrade_req(req)).ok()
}

/// Charges the budget of resets: how many, after how many milliseconds more; returns which were
/// allowed.
pub fn charge_resets(charges: &[(u32, u16)]) -> Vec<bool> {
    let mut now = Instant::now();
    let mut budget = Budget::of_resets(now);
    let mut charge = |&(count, later): &(u32, u16)| {
        now += Duration::from_millis(u64::from(later));
        budget.charge(count, now)
    };
    charges.iter().map(&mut charge).collect()
}

/// Decodes the header blocks of a connection, until one is refused, and checks that valid fields are.
pub fn decode_hpack(max_table_size: usize, blocks: &[Vec<u8>]) {
    let mut decoder = Decoder::new(max_table_size);
    for block in blocks {
        let decoded = decoder.decode(block, 1 << 20, |field| {
            if let Kind::Known(known) = field.kind {
                assert_eq!(field.name, known.as_str().as_bytes());
            }
            if field.kind != Kind::Invalid {
                assert!(http::HeaderValue::from_bytes(field.value).is_ok());
            }
        });
        if decoded.is_err() {
            return;
        }
    }
}

/// Both sides of a connection, as far as they compress fields.
pub struct Hpack {
    encoder: Encoder,
    decoder: Decoder,
}

impl Hpack {
    /// Returns both sides of a new connection.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Hpack {
            encoder: Encoder::new(),
            decoder: Decoder::new(4096),
        }
    }

    /// The receiver sets the size of the table.
    pub fn set_max_table_size(&mut self, size: usize) {
        self.encoder.set_max_table_size(size);
    }

    /// Encodes and decodes fields: name, value, whether nobody may keep it.
    pub fn send(&mut self, fields: &[(&[u8], &[u8], bool)]) -> Vec<(Vec<u8>, Vec<u8>, bool)> {
        let mut block = bytes::BytesMut::new();
        self.encoder.begin(&mut block);
        for (name, value, is_sensitive) in fields {
            let known = KnownName::of(name);
            let out = &mut block;
            self.encoder.field(name, known, value, *is_sensitive, out);
        }
        let mut received = Vec::new();
        self.decoder
            .decode(&block, usize::MAX, |field| {
                received.push((
                    field.name.to_vec(),
                    field.value.to_vec(),
                    field.is_sensitive,
                ));
            })
            .expect("what the encoder writes can be decoded");
        received
    }
}
