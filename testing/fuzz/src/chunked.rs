//! The chunked coding: any split gives the same body, the decoder agrees with the reference, and
//! both undo what the encoder did. Read next: `reference/chunked.rs`.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_core::protocols::http::HttpLimits;
use pingora_core::protocols::http::v1::fuzzing::{
    BodyDecoder, BodyLength, Decoded, encode_chunked,
};

use crate::reference::chunked::{self as reference, Body, End};
use crate::split::{Random, cuttings};

/// Checks `data` as a chunked body from a peer, and as a body to be sent.
pub fn chunked(data: &[u8]) {
    let default = HttpLimits::default();
    let mut tight = HttpLimits::default();
    tight.max_trailer_bytes = 24;
    tight.max_chunk_extension_bytes = 8;
    for limits in [default, tight] {
        let whole = decode(&[data], &limits);
        compare(&whole, &reference::decode(data, &limits));
        for pieces in cuttings(data) {
            let split = decode(&pieces, &limits);
            let sizes = pieces.iter().map(|piece| piece.len()).collect::<Vec<_>>();
            assert_eq!(whole, split, "cut into {sizes:?}");
        }
    }
    check_encoder(data);
}

/// What the decoder made of an input; `None` if it refused it.
type Received = Option<(Vec<u8>, Option<Ended>)>;

/// The end of a body.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    /// What follows the body.
    rest: Vec<u8>,
    /// By name; those of one name in order.
    trailers: Vec<(String, Vec<u8>)>,
}

fn decode(pieces: &[&[u8]], limits: &HttpLimits) -> Received {
    let mut decoder = BodyDecoder::new(BodyLength::Chunked);
    let mut input = BytesMut::new();
    let mut body = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        while let Decoded::Data(data) = decoder.decode(&mut input, limits).ok()? {
            assert!(!data.is_empty());
            body.extend_from_slice(&data);
        }
    }
    assert_eq!(decoder.bytes(), body.len());
    assert_eq!(decoder.close().is_ok(), decoder.is_done());
    if !decoder.is_done() {
        return Some((body, None));
    }
    let trailers = decoder
        .take_trailers()
        .map(|trailers| *trailers)
        .unwrap_or_default();
    let trailers = sorted(
        trailers
            .iter()
            .map(|(n, v)| (n.as_str().to_owned(), v.as_bytes())),
    );
    Some((
        body,
        Some(Ended {
            rest: input.to_vec(),
            trailers,
        }),
    ))
}

fn compare(ours: &Received, theirs: &Body) {
    match (ours, &theirs.end) {
        (None, End::Refused(_)) => (),
        (Some((body, None)), End::Incomplete) => assert_eq!(*body, theirs.body),
        (Some((body, Some(ended))), End::Complete { rest, trailers }) => {
            assert_eq!(*body, theirs.body);
            assert_eq!(ended.rest, *rest);
            let trailers = trailers
                .iter()
                .map(|(name, value)| (name.clone(), &value[..]));
            assert_eq!(ended.trailers, sorted(trailers));
        }
        (ours, theirs) => panic!("we say {ours:?}, the reference {theirs:?}"),
    }
}

fn sorted<'v>(trailers: impl Iterator<Item = (String, &'v [u8])>) -> Vec<(String, Vec<u8>)> {
    let mut trailers: Vec<_> = trailers
        .map(|(name, value)| (name, value.to_vec()))
        .collect();
    trailers.sort_by(|a, b| a.0.cmp(&b.0));
    trailers
}

/// Checks that both decoders undo the encoder.
fn check_encoder(data: &[u8]) {
    let mut random = Random::of(data);
    let pieces = random.pieces(data);
    let mut trailers = HeaderMap::new();
    for number in 0..random.below(4) {
        let name = HeaderName::from_bytes(format!("x-{}", number % 2).as_bytes());
        trailers.append(
            name.expect("a token"),
            HeaderValue::from(random.below(1000)),
        );
    }
    let wire = encode_chunked(&pieces, Some(&trailers));
    let limits = HttpLimits::default();
    let received = decode(&[&wire], &limits);
    let Some((body, Some(ended))) = &received else {
        panic!("our own coding is not understood: {}", wire.escape_ascii());
    };
    assert_eq!(body, data);
    assert!(ended.rest.is_empty(), "one end, and nothing after it");
    let sent = trailers
        .iter()
        .map(|(n, v)| (n.as_str().to_owned(), v.as_bytes()));
    assert_eq!(ended.trailers, sorted(sent));
    compare(&received, &reference::decode(&wire, &limits));
}
