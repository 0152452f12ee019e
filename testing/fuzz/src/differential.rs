//! Our parser and framing against the reference: the same messages taken, and read alike.
//!
//! Only taking is compared: where a message is refused, the reasons and the moment may differ, but
//! a head that has ended is never called incomplete. Read next: `reference/mod.rs`, which lists
//! what we tolerate beyond the RFCs and what we refuse although they allow it.

use bytes::BytesMut;
use http::{Method, Version};
use pingora_core::protocols::http::HttpLimits;
use pingora_core::protocols::http::v1::fuzzing::{
    BodyLength, parse_request, parse_response, request_framing, response_framing,
};
use pingora_http::fields::Fields;

use crate::reference::{self, Length, Message, Stop};

/// Checks `data` as a request and as a response.
pub fn h1_differential(data: &[u8]) {
    compare(data, our_request(data), reference::request(data));
    for method in ["GET", "HEAD", "CONNECT"] {
        compare(
            data,
            our_response(data, method),
            reference::response(data, method),
        );
    }
}

fn compare(data: &[u8], ours: Result<Message, Stop>, theirs: Result<Message, Stop>) {
    match (&ours, &theirs) {
        (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs, "read differently"),
        (Ok(ours), Err(theirs)) => panic!("the reference says {theirs:?}, we take {ours:?}"),
        (Err(ours), Ok(theirs)) => panic!("we say {ours:?}, the reference takes {theirs:?}"),
        (Err(Stop::Incomplete), Err(_)) => {
            let message = data.strip_prefix(b"\r\n").unwrap_or(data);
            let ended = message.windows(4).any(|bytes| bytes == b"\r\n\r\n");
            assert!(!ended, "a head that has ended is not incomplete");
        }
        (Err(Stop::Refused(_)), Err(_)) => (),
    }
}

fn our_request(data: &[u8]) -> Result<Message, Stop> {
    let mut input = BytesMut::from(data);
    let head = parse_request(&mut input, &mut 0, &HttpLimits::default())
        .map_err(|e| Stop::Refused(e.why))?
        .ok_or(Stop::Incomplete)?;
    let framing = request_framing(&head).map_err(|e| Stop::Refused(e.why))?;
    Ok(Message {
        start: vec![
            head.method().as_str().as_bytes().to_vec(),
            head.raw_path().to_vec(),
        ],
        minor_version: minor(head.version()),
        fields: fields(head.fields()),
        length: length(framing.length),
        keep_alive: framing.keep_alive,
        rest: input.to_vec(),
    })
}

fn our_response(data: &[u8], method: &str) -> Result<Message, Stop> {
    let mut input = BytesMut::from(data);
    let head = parse_response(&mut input, &mut 0, &HttpLimits::default())
        .map_err(|e| Stop::Refused(e.why))?
        .ok_or(Stop::Incomplete)?;
    let method = Method::from_bytes(method.as_bytes()).expect("a token");
    let framing = response_framing(&head, &method, false).map_err(|e| Stop::Refused(e.why))?;
    Ok(Message {
        start: vec![head.status().as_str().as_bytes().to_vec()],
        minor_version: minor(head.version()),
        fields: fields(head.fields()),
        length: length(framing.length),
        keep_alive: framing.keep_alive,
        rest: input.to_vec(),
    })
}

fn minor(version: Version) -> u8 {
    match version {
        Version::HTTP_10 => 0,
        Version::HTTP_11 => 1,
        other => panic!("{other:?} out of an HTTP/1 parser"),
    }
}

fn fields(fields: &Fields) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields
        .iter()
        .map(|field| (field.name.to_vec(), field.value.to_vec()))
        .collect()
}

fn length(length: BodyLength) -> Length {
    match length {
        BodyLength::None => Length::Bytes(0),
        BodyLength::Fixed(bytes) => Length::Bytes(bytes),
        BodyLength::Chunked => Length::Chunked,
        BodyLength::UntilClose => Length::UntilClose,
    }
}
