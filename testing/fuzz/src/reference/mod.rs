//! HTTP/1 written from RFC 9110 and RFC 9112, one byte after the other: the judge of the fuzz
//! targets. It shares no code and no crate with what it judges, and is never fast.
//!
//! ```text
//! cursor.rs   bytes, one at a time         request.rs   request heads and their framing
//! fields.rs   field lines and lists        response.rs  response heads and their framing
//! host.rs     hosts, ports, authorities    chunked.rs   the chunked coding and trailers
//! ```
//!
//! # Where we are more tolerant than the grammar
//!
//! * One empty line before a request line is skipped (RFC 9112 section 2.2 asks for it).
//! * A target may hold the printable ASCII a URI must encode (`"<>\^{|}` and the backquote) and
//!   UTF-8: browsers send both, and the same bytes are matched and forwarded.
//! * The space after the status may be missing together with the reason phrase.
//! * Statuses above 599 are taken (RFC 9110 section 15: treat them as 5xx).
//! * A reason phrase may be anything a field value may be; it is dropped if it is not ASCII.
//! * Chunk extensions may hold any byte but control bytes: they are skipped, never forwarded.
//!
//! # Where we are stricter
//!
//! * Lines end in CRLF, never in a bare LF (section 2.2 lets us choose). No obs-fold (section 5.2).
//! * `Content-Length` and `Transfer-Encoding` occur once, not both, and hold one number or one
//!   `chunked`. No list, no other coding, no `Transfer-Encoding` in HTTP/1.0 (section 6.1). The
//!   number has no leading zeros, which some take for octal, and at most 19 digits.
//! * `Host` is never empty, and has neither `'` nor `,`. An IP literal is an IPv6 address: no zone,
//!   no future version. In absolute-form nothing is percent-encoded in the authority.
//! * Targets are of the schemes http, https, ws and wss; `*` is for `OPTIONS`, authority-form for
//!   `CONNECT`, with a port, and neither is for others. `CONNECT` has no content.
//! * `Expect` is one `100-continue` (RFC 9110 section 10.1.1); HTTP/1.0 has none.
//! * No space before `;` or the end of a chunk size line; at most 15 digits of size.
//! * Methods, heads, targets, fields, extensions and trailers are bounded.

use std::fmt;

pub mod chunked;
mod cursor;
mod fields;
mod host;
mod request;
mod response;

pub use self::cursor::{Stop, is_token_byte, is_value_byte};
pub use self::fields::trimmed;
pub use self::request::request;
pub use self::response::response;

/// The most bytes of a head.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// The most fields of a head.
const MAX_FIELDS: usize = 100;

/// The most bytes of a method; the longest registered one has 17.
const MAX_METHOD_BYTES: usize = 32;

/// The most bytes of a request target.
const MAX_TARGET_BYTES: usize = 16 * 1024;

/// A head that was taken.
#[derive(PartialEq, Eq)]
pub struct Message {
    /// Method and target, or the status.
    pub start: Vec<Vec<u8>>,
    /// The version after the dot.
    pub minor_version: u8,
    /// Names as received and values without white space around them.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// The length of the body.
    pub length: Length,
    /// Another message may follow on this connection.
    pub keep_alive: bool,
    /// What follows the head.
    pub rest: Vec<u8>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.start {
            write!(f, "{} ", part.escape_ascii())?;
        }
        writeln!(f, "1.{}", self.minor_version)?;
        for (name, value) in &self.fields {
            writeln!(f, "{}: {}", name.escape_ascii(), value.escape_ascii())?;
        }
        let Message {
            length,
            keep_alive,
            rest,
            ..
        } = self;
        write!(
            f,
            "{length:?}, keep_alive={keep_alive}, then {}",
            rest.escape_ascii()
        )
    }
}

/// How long a body is (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many bytes, possibly none.
    Bytes(u64),
    /// It says itself.
    Chunked,
    /// Until the connection ends.
    UntilClose,
}
