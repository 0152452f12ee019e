//! Heads as HTTP/1 text: what Pingora 0.9 stores, and what samples to train on are.
//! Read next: `dict.rs`.

use bytes::Bytes;
use http::{StatusCode, Version};
use httparse::{EMPTY_HEADER, Response, Status};
use pingora_error::Result;
use pingora_http::ResponseHeader;
use pingora_http::fields::FieldSpan;

use crate::{MAX_HEAD_BYTES, invalid};

/// The most fields of a head in text; more than any limit of a server that stored one.
const MAX_TEXT_FIELDS: usize = 4_096;

/// The fields tried first, which fit on the stack.
const USUAL_FIELDS: usize = 64;

/// Returns the head at the front of `text`.
pub(crate) fn parse(text: Bytes) -> Result<ResponseHeader> {
    if text.len() > MAX_HEAD_BYTES {
        return invalid("a stored head is too large");
    }
    let mut fields = [EMPTY_HEADER; USUAL_FIELDS];
    let mut response = Response::new(&mut fields);
    match response.parse(&text) {
        Err(httparse::Error::TooManyHeaders) => {}
        parsed => return head(parsed, &response, &text),
    }
    let mut fields = vec![EMPTY_HEADER; MAX_TEXT_FIELDS];
    let mut response = Response::new(&mut fields);
    let parsed = response.parse(&text);
    head(parsed, &response, &text)
}

fn head(
    parsed: httparse::Result<usize>,
    response: &Response<'_, '_>,
    text: &Bytes,
) -> Result<ResponseHeader> {
    let Ok(Status::Complete(_)) = parsed else {
        return invalid("a stored head is not HTTP/1 text");
    };
    let Some(status) = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok())
    else {
        return invalid("a stored head has an invalid status");
    };
    let version = match response.version {
        Some(0) => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    let span = |part: &[u8]| {
        let start = part.as_ptr() as usize - text.as_ptr() as usize;
        (start as u32, part.len() as u32)
    };
    let reason = response.reason.filter(|reason| !reason.is_empty());
    let reason = reason.map(|reason| span(reason.as_bytes()));
    let names_fit = |field: &httparse::Header<'_>| field.name.len() <= usize::from(u16::MAX);
    if !response.headers.iter().all(names_fit) {
        return invalid("a stored head has an invalid field name");
    }
    let spans = response.headers.iter().map(|field| FieldSpan {
        name: span(field.name.as_bytes()),
        value: span(field.value),
    });
    Ok(ResponseHeader::from_received(
        status,
        reason,
        version,
        text.clone(),
        spans,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_a_head() {
        let many: String = (0..100).map(|i| format!("x-{i}: {i}\r\n")).collect();
        let long = "a".repeat(70_000);
        for (text, status, fields) in [
            ("HTTP/1.1 200 OK\r\nA: b\r\nA:\r\n\r\n", Some(200), 2),
            ("HTTP/1.0 404 Not here\r\n\r\n", Some(404), 0),
            ("HTTP/1.1 599\r\n\r\nbody", Some(599), 0),
            (&format!("HTTP/1.1 200 OK\r\n{many}\r\n"), Some(200), 100),
            ("HTTP/1.1 200 OK\r\nA: b\r\n", None, 0),
            ("HTTP/1.1 099 OK\r\n\r\n", None, 0),
            ("HTTP/1.1 200 OK\r\nA b\r\n\r\n", None, 0),
            ("HTTP/1.1 200 OK\r\nA: b\x01\r\n\r\n", None, 0),
            (&format!("HTTP/1.1 200 OK\r\n{long}: b\r\n\r\n"), None, 0),
            ("", None, 0),
        ] {
            let head = parse(Bytes::copy_from_slice(text.as_bytes()));
            assert_eq!(
                head.as_ref().ok().map(|head| head.status().as_u16()),
                status,
                "{text}"
            );
            assert_eq!(head.map_or(0, |head| head.fields().len()), fields);
        }
        let reason = parse(Bytes::from_static(b"HTTP/1.0 404 Not here\r\n\r\n"));
        assert_eq!(
            reason.expect("a head").get_reason_phrase(),
            Some("Not here")
        );
    }
}
