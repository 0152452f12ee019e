//! Request and response heads: no panic, any split gives the same head, what is written is read
//! back. The cuts come from `split.rs`.
//!
//! One difference between splits is allowed: a head that is refused whole may only be refused
//! later when it comes in pieces, or for another reason. It must never be taken.

use bytes::BytesMut;
use http::Method;
use pingora_core::protocols::http::HttpLimits;
use pingora_core::protocols::http::authority::validate_request_authority;
use pingora_core::protocols::http::v1::fuzzing::{
    HeadError, parse_request, parse_response, request_framing, response_framing,
};
use pingora_http::fields::{Field, Fields};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::split::cuttings;

/// Checks the request head at the front of `data`.
pub fn h1_request(data: &[u8]) {
    for limits in [HttpLimits::default(), tight()] {
        if let Outcome::Head(req, _) = check_splits::<RequestHeader>(data, &limits) {
            read_back(&*req);
            let _ = validate_request_authority(&req);
            let _ = request_framing(&req);
            let _ = (
                req.uri_file_extension(),
                req.raw_path_is_utf8(),
                req.uri.path(),
            );
            let again = RequestHeader::from(req.as_owned_parts());
            assert_eq!(again.fields().len(), req.fields().len());
        }
    }
}

/// Checks the response head at the front of `data`.
pub fn h1_response(data: &[u8]) {
    for limits in [HttpLimits::default(), tight()] {
        if let Outcome::Head(resp, _) = check_splits::<ResponseHeader>(data, &limits) {
            read_back(&*resp);
            for method in [Method::GET, Method::HEAD, Method::CONNECT] {
                let strict = response_framing(&resp, &method, false);
                let lenient = response_framing(&resp, &method, true);
                assert!(strict.is_err() || strict == lenient);
            }
            let again = ResponseHeader::from(resp.as_owned_parts());
            assert_eq!(again.fields().len(), resp.fields().len());
        }
    }
}

/// Limits a fuzzer reaches.
fn tight() -> HttpLimits {
    let mut limits = HttpLimits::default();
    limits.max_head_bytes = 160;
    limits.max_fields = 4;
    limits.max_target_bytes = 32;
    limits
}

/// What both kinds of head can do.
trait Head: Sized {
    fn parse(
        input: &mut BytesMut,
        scanned: &mut usize,
        limits: &HttpLimits,
    ) -> Result<Option<Box<Self>>, HeadError>;
    fn write(&self) -> Vec<u8>;
    fn received(&self) -> &[u8];
    /// Everything that tells heads apart, but for the bytes between the fields.
    fn describe(&self) -> String;
    fn in_step(&self) -> bool;
}

impl Head for RequestHeader {
    fn parse(
        input: &mut BytesMut,
        scanned: &mut usize,
        limits: &HttpLimits,
    ) -> Result<Option<Box<Self>>, HeadError> {
        parse_request(input, scanned, limits)
    }

    fn write(&self) -> Vec<u8> {
        let mut out = self.method().as_str().as_bytes().to_vec();
        out.push(b' ');
        out.extend_from_slice(self.raw_path());
        out.extend_from_slice(format!(" {:?}\r\n", self.version()).as_bytes());
        self.header_to_h1_wire(&mut out);
        out.extend_from_slice(b"\r\n");
        out
    }

    fn received(&self) -> &[u8] {
        self.received_head().expect("the head was received")
    }

    fn describe(&self) -> String {
        let text = format!(
            "{} {} {:?}\n",
            self.method(),
            self.raw_path().escape_ascii(),
            self.version()
        );
        text + &describe_fields(self.fields())
    }

    fn in_step(&self) -> bool {
        self.headers.len() == self.fields().len()
    }
}

impl Head for ResponseHeader {
    fn parse(
        input: &mut BytesMut,
        scanned: &mut usize,
        limits: &HttpLimits,
    ) -> Result<Option<Box<Self>>, HeadError> {
        parse_response(input, scanned, limits)
    }

    fn write(&self) -> Vec<u8> {
        let mut out = format!("{:?} {} ", self.version(), self.status().as_u16()).into_bytes();
        out.extend_from_slice(self.get_reason_phrase().unwrap_or_default().as_bytes());
        out.extend_from_slice(b"\r\n");
        self.header_to_h1_wire(&mut out);
        out.extend_from_slice(b"\r\n");
        out
    }

    fn received(&self) -> &[u8] {
        self.received_head().expect("the head was received")
    }

    fn describe(&self) -> String {
        let reason = self.get_reason_phrase();
        let text = format!("{:?} {} {reason:?}\n", self.version(), self.status());
        text + &describe_fields(self.fields())
    }

    fn in_step(&self) -> bool {
        self.headers.len() == self.fields().len()
    }
}

fn describe_fields(fields: &Fields) -> String {
    let line = |field: Field<'_>| {
        format!(
            "{}={}\n",
            field.name.escape_ascii(),
            field.value.escape_ascii()
        )
    };
    fields.iter().map(line).collect()
}

/// What came of an input.
enum Outcome<H> {
    /// A head, and what follows it.
    Head(Box<H>, Vec<u8>),
    Refused(HeadError),
    Incomplete,
}

/// A parser and what it has not consumed yet.
struct Feed<'l> {
    input: BytesMut,
    scanned: usize,
    limits: &'l HttpLimits,
}

impl<'l> Feed<'l> {
    fn new(limits: &'l HttpLimits) -> Self {
        Feed {
            input: BytesMut::new(),
            scanned: 0,
            limits,
        }
    }

    /// Receives pieces until there is a head or a refusal; the rest follows the head.
    fn receive<H: Head>(&mut self, pieces: &[&[u8]]) -> Outcome<H> {
        for (at, piece) in pieces.iter().enumerate() {
            self.input.extend_from_slice(piece);
            match H::parse(&mut self.input, &mut self.scanned, self.limits) {
                Ok(None) => (),
                Err(e) => return Outcome::Refused(e),
                Ok(Some(head)) => {
                    let rest = [&self.input[..], &pieces[at + 1..].concat()].concat();
                    return Outcome::Head(head, rest);
                }
            }
        }
        Outcome::Incomplete
    }
}

/// Returns what comes of the whole input, having checked that it does in pieces, too.
fn check_splits<H: Head>(data: &[u8], limits: &HttpLimits) -> Outcome<H> {
    let whole = Feed::new(limits).receive::<H>(&[data]);
    for pieces in cuttings(data) {
        let mut feed = Feed::new(limits);
        let split = feed.receive::<H>(&pieces);
        let sizes = || pieces.iter().map(|piece| piece.len()).collect::<Vec<_>>();
        match (&whole, &split) {
            (Outcome::Head(head, rest), Outcome::Head(other, other_rest)) => {
                assert_eq!(head.describe(), other.describe(), "cut into {:?}", sizes());
                assert_eq!(rest, other_rest, "cut into {:?}", sizes());
            }
            (Outcome::Head(..), Outcome::Refused(e)) => {
                panic!("taken whole, refused ({}) cut into {:?}", e.why, sizes())
            }
            (Outcome::Head(..), Outcome::Incomplete) => {
                panic!("taken whole, incomplete cut into {:?}", sizes())
            }
            (Outcome::Refused(e), Outcome::Head(..)) => {
                panic!("refused ({}) whole, taken cut into {:?}", e.why, sizes())
            }
            (Outcome::Incomplete, Outcome::Head(..)) => {
                panic!("incomplete whole, taken cut into {:?}", sizes())
            }
            (Outcome::Refused(e), Outcome::Incomplete) => {
                let end = feed.receive::<H>(&[b"\r\n\r\n"]);
                assert!(
                    matches!(end, Outcome::Refused(_)),
                    "refused ({}) whole, not even at its end cut into {:?}",
                    e.why,
                    sizes()
                );
            }
            (Outcome::Incomplete, Outcome::Refused(e)) => {
                let completed = [data, b"\r\n\r\n"].concat();
                let end = Feed::new(limits).receive::<H>(&[&completed]);
                assert!(
                    !matches!(end, Outcome::Head(..)),
                    "taken if it went on, refused ({}) cut into {:?}",
                    e.why,
                    sizes()
                );
            }
            (Outcome::Refused(e), Outcome::Refused(_)) => {
                assert!(matches!(e.status, 400 | 414 | 431 | 501 | 502 | 505));
            }
            (Outcome::Incomplete, Outcome::Incomplete) => (),
        }
    }
    whole
}

/// Checks that a head that is written and read again is the same.
fn read_back<H: Head>(head: &H) {
    assert!(head.in_step(), "the map has as many fields as the table");
    assert!(head.received().ends_with(b"\r\n\r\n"));
    // Limits are for what peers send: a space after each colon may exceed them.
    let mut limits = HttpLimits::default();
    limits.max_head_bytes *= 2;
    let written = head.write();
    let Outcome::Head(again, rest) = Feed::new(&limits).receive::<H>(&[&written]) else {
        panic!("what was written is not taken: {}", written.escape_ascii());
    };
    assert!(rest.is_empty());
    assert_eq!(head.describe(), again.describe());
    assert_eq!(written, again.write());
}
