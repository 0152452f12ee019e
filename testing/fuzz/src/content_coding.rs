//! Bodies in a content coding: no bytes panic, none grow past the limits, and what was coded for a client that
//! asks for it is decoded as what it was.
//!
//! The first line of an input is what the client sends as `Accept-Encoding`, the rest a body.

use bytes::Bytes;
use http::HeaderValue;
use pingora_core::protocols::http::compression::{
    Algorithm, DecompressionLimits, ResponseCompressionCtx,
};
use pingora_http::{RequestHeader, ResponseHeader};

const CODINGS: [Algorithm; 3] = [Algorithm::Gzip, Algorithm::Brotli, Algorithm::Zstd];

/// Decodes the body in each coding, and codes it as the client likes.
pub fn content_coding(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (accept, body) = data.split_at(end.unwrap_or(0));
    let body = body.strip_prefix(b"\n").unwrap_or(body);
    for coding in CODINGS {
        decode(coding, body, 1 + data.len() % 7);
    }
    if let Ok(accept) = HeaderValue::from_bytes(accept) {
        code(accept, body);
    }
}

fn decode(coding: Algorithm, body: &[u8], piece: usize) {
    let mut codec = coding.decompressor(true).expect("it decodes");
    for piece in body.chunks(piece) {
        if codec.encode(piece, false).is_err() {
            break;
        }
    }
    let _ = codec.encode(b"", true);
    let (_, bytes_in, bytes_out, _) = codec.stat();
    let ratio = DecompressionLimits::default().max_ratio;
    let most = bytes_in as u64 * ratio + DecompressionLimits::FREE_BYTES;
    assert!(bytes_out as u64 <= most, "{bytes_out} out of {bytes_in}");
}

fn code(accept: HeaderValue, body: &[u8]) {
    let mut req = RequestHeader::build("GET", b"/", None).expect("a valid request");
    req.insert_header("accept-encoding", accept)
        .expect("a valid field");
    let mut resp = ResponseHeader::build(200, None).expect("a valid status");
    resp.insert_header("content-type", "text/plain")
        .expect("a valid field");
    let mut ctx = ResponseCompressionCtx::new(1, false, false);
    ctx.request_filter(&req);
    ctx.response_header_filter(&mut resp, false);
    let coded = ctx.response_body_filter(Some(&Bytes::copy_from_slice(body)), true);
    let name = resp
        .headers
        .get("content-encoding")
        .map(|name| name.to_str().expect("a name"));
    assert_eq!(coded.is_some(), name.is_some());
    if let (Some(coded), Some(name)) = (coded, name) {
        let mut codec = Algorithm::from(name)
            .decompressor(true)
            .expect("it decodes");
        assert_eq!(codec.encode(&coded, true).expect("it was coded here"), body);
    }
}
