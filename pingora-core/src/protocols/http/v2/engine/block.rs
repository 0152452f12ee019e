//! Heads and trailers out of header blocks: decodes, bounds, and checks what a head of HTTP/2 may
//! have (RFC 9113 section 8). Pure. What a request means is judged in `../head.rs`.

use pingora_http::fields::{H2Fields, KnownName};

use super::hpack::{Decoder, FIELD_OVERHEAD, Field, Kind, Malformed, Pseudo};
use crate::protocols::http::v1::parse_length;

/// How many times as long as allowed a list may be that is only refused.
const MAX_REFUSED: usize = 4;

/// The longest scheme: as `http::Uri` has it.
const MAX_SCHEME: usize = 64;

/// The longest name of a field.
const MAX_NAME: usize = u16::MAX as usize;

/// Where a value is in the fields, as (start, length).
type Span = (u32, u32);

/// What a block says.
#[derive(Default)]
pub(crate) struct RawHead {
    pub(crate) fields: H2Fields,
    pub(crate) method: Option<Span>,
    pub(crate) scheme: Option<Span>,
    pub(crate) authority: Option<Span>,
    pub(crate) path: Option<Span>,
    pub(crate) protocol: Option<Span>,
    pub(crate) status: Option<u16>,
    /// The first Content-Length.
    pub(crate) length: Option<u64>,
}

/// Why a block is no head, which concerns its stream alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    Malformed(&'static str),
    /// It is longer than we have said we take.
    TooLarge,
}

/// What a block is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Request,
    Response,
    Trailers,
}

/// Decodes a block, of which no more than `max_list` bytes are kept; `announced` is what we have said
/// we take.
///
/// # Errors
/// Outer: the connection must end, as the tables no longer agree.
pub(super) fn decode(
    decoder: &mut Decoder,
    block: &[u8],
    role: Role,
    from_server: bool,
    (max_list, announced): (usize, usize),
) -> Result<Result<RawHead, Unfit>, Malformed> {
    let mut head = RawHead::default();
    let mut reading = Reading {
        left: max_list,
        role,
        from_server,
        unfit: None,
        fields_began: false,
    };
    let refused = announced.saturating_mul(MAX_REFUSED);
    decoder.decode(block, refused, |field| reading.take(&mut head, &field))?;
    Ok(match reading.unfit {
        Some(unfit) => Err(unfit),
        None => head.checked(role),
    })
}

struct Reading {
    /// Bytes the list may still have.
    left: usize,
    role: Role,
    from_server: bool,
    unfit: Option<Unfit>,
    /// A field came that is none of the pseudo-header fields.
    fields_began: bool,
}

impl Reading {
    #[inline]
    fn take(&mut self, head: &mut RawHead, field: &Field<'_>) {
        if self.unfit.is_some() {
            return;
        }
        let size = field.name.len() + field.value.len() + FIELD_OVERHEAD;
        match self.left.checked_sub(size) {
            Some(left) => self.left = left,
            None => {
                // What is kept so far is not needed any more.
                head.fields = H2Fields::new();
                self.unfit = Some(Unfit::TooLarge);
                return;
            }
        }
        let taken = match field.kind {
            Kind::Pseudo(pseudo) => self.pseudo(head, pseudo, field.value),
            Kind::Known(name) => self.known(head, name, field),
            Kind::Other => self.other(head, field),
            Kind::Invalid => self.invalid(head, field),
        };
        if let Err(why) = taken {
            self.unfit = Some(Unfit::Malformed(why));
        }
    }

    fn pseudo(
        &mut self,
        head: &mut RawHead,
        pseudo: Pseudo,
        value: &[u8],
    ) -> Result<(), &'static str> {
        if self.fields_began {
            return Err("a pseudo-header field behind others");
        }
        let belongs_to = match pseudo {
            Pseudo::Status => Role::Response,
            _ => Role::Request,
        };
        if belongs_to != self.role {
            return Err("a pseudo-header field in the wrong place");
        }
        let place = match pseudo {
            Pseudo::Method => &mut head.method,
            Pseudo::Scheme => &mut head.scheme,
            Pseudo::Authority => &mut head.authority,
            Pseudo::Path => &mut head.path,
            Pseudo::Protocol => &mut head.protocol,
            Pseudo::Status => {
                let status = status(value).ok_or("invalid :status")?;
                return match head.status.replace(status) {
                    None => Ok(()),
                    Some(_) => Err("a second :status"),
                };
            }
        };
        match place.replace(head.fields.put(value)) {
            None => Ok(()),
            Some(_) => Err("a pseudo-header field twice"),
        }
    }

    fn known(
        &mut self,
        head: &mut RawHead,
        name: KnownName,
        field: &Field<'_>,
    ) -> Result<(), &'static str> {
        self.fields_began = true;
        match name {
            // RFC 9113 section 8.2.2.
            KnownName::Connection
            | KnownName::KeepAlive
            | KnownName::ProxyConnection
            | KnownName::TransferEncoding
            | KnownName::Upgrade => return Err("a field of connections of HTTP/1"),
            KnownName::Te if field.value != b"trailers" => return Err("invalid TE"),
            KnownName::ContentLength => {
                let length = parse_length(field.value).ok_or("invalid Content-Length")?;
                if *head.length.get_or_insert(length) != length {
                    return Err("two values of Content-Length");
                }
            }
            _ => (),
        }
        let (value, sensitive) = (field.value, field.is_sensitive);
        head.fields.push(field.name, Some(name), value, sensitive);
        Ok(())
    }

    fn other(&mut self, head: &mut RawHead, field: &Field<'_>) -> Result<(), &'static str> {
        self.fields_began = true;
        if field.name.len() > MAX_NAME {
            return Err("a name too long");
        }
        let (name, value) = (field.name, field.value);
        head.fields.push(name, None, value, field.is_sensitive);
        Ok(())
    }

    /// White space around a value makes a request malformed; that of servers is as harmless as it
    /// is common, and left out.
    #[cold]
    fn invalid(&mut self, head: &mut RawHead, field: &Field<'_>) -> Result<(), &'static str> {
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
        let start = field.value.iter().position(|byte| !is_space(byte));
        let trimmed = match start {
            Some(start) => {
                let end = field.value.iter().rposition(|byte| !is_space(byte));
                &field.value[start..=end.unwrap_or(start)]
            }
            None => &b""[..],
        };
        if !self.from_server || trimmed.len() == field.value.len() {
            return Err("invalid field");
        }
        let trimmed = Field {
            name: field.name,
            value: trimmed,
            kind: Kind::of(field.name, trimmed),
            is_sensitive: field.is_sensitive,
        };
        match trimmed.kind {
            Kind::Known(name) => self.known(head, name, &trimmed),
            Kind::Other => self.other(head, &trimmed),
            Kind::Pseudo(_) | Kind::Invalid => Err("invalid field"),
        }
    }
}

impl RawHead {
    /// Returns the value of a pseudo-header field.
    pub(crate) fn value(&self, span: Option<Span>) -> Option<&[u8]> {
        Some(self.fields.value(span?))
    }

    fn checked(self, role: Role) -> Result<Self, Unfit> {
        let why = match role {
            Role::Trailers => None,
            Role::Response if self.status.is_none() => Some("no :status"),
            Role::Response => None,
            Role::Request if self.value(self.method).is_none_or(|m| !is_token(m)) => {
                Some("no valid :method")
            }
            Role::Request if self.protocol.is_some() && !self.is_connect() => {
                Some(":protocol without CONNECT")
            }
            // RFC 9113 section 8.5.
            Role::Request if self.is_connect() && self.protocol.is_none() => {
                let others = self.scheme.is_some() || self.path.is_some();
                (others || self.authority.is_none()).then_some("invalid CONNECT")
            }
            Role::Request if self.value(self.scheme).is_none_or(|s| !is_scheme(s)) => {
                Some("no valid :scheme")
            }
            Role::Request if self.value(self.path).is_none_or(|p| !is_target(p)) => {
                Some("no valid :path")
            }
            Role::Request => None,
        };
        match why {
            Some(why) => Err(Unfit::Malformed(why)),
            None => Ok(self),
        }
    }

    pub(crate) fn is_connect(&self) -> bool {
        self.value(self.method) == Some(b"CONNECT")
    }
}

fn status(value: &[u8]) -> Option<u16> {
    let [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] = *value else {
        return None;
    };
    Some(u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'))
}

fn is_token(value: &[u8]) -> bool {
    const TOKEN: [bool; 256] =
        crate::protocols::http::byte_set::alphanumeric_and(b"!#$%&'*+-.^_`|~");
    !value.is_empty() && value.iter().all(|&byte| TOKEN[usize::from(byte)])
}

/// RFC 3986 section 3.1.
fn is_scheme(value: &[u8]) -> bool {
    const SCHEME: [bool; 256] = crate::protocols::http::byte_set::alphanumeric_and(b"+-.");
    value.len() <= MAX_SCHEME
        && value.first().is_some_and(u8::is_ascii_alphabetic)
        && value.iter().all(|&byte| SCHEME[usize::from(byte)])
}

/// A path and query, or `*`, and nothing that would end a request line early. A fragment is none of
/// them, and servers do not agree on what it is in a target.
fn is_target(value: &[u8]) -> bool {
    let is_out_of_place = |byte: &u8| *byte <= b' ' || matches!(byte, 0x7f | b'#');
    !value.is_empty() && !value.iter().any(is_out_of_place)
}

/// Decodes the first request of a connection; `None` when it is no request.
#[cfg(fuzzing)]
pub(crate) fn decode_request(block: &[u8]) -> Result<Option<RawHead>, Malformed> {
    let limits = (1 << 20, 1 << 20);
    let decoded = decode(&mut Decoder::new(4096), block, Role::Request, false, limits);
    Ok(decoded?.ok())
}
