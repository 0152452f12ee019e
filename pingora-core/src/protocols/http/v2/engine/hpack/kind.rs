//! What a field of HTTP/2 is: found once for each literal, then kept with its entry of a table.
//! It does not know which fields a message may have. Read next: `../../head.rs`.

use pingora_http::fields::KnownName;

use crate::protocols::http::byte_set::alphanumeric_and;

/// A pseudo-header field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pseudo {
    Authority,
    Method,
    Path,
    Protocol,
    Scheme,
    Status,
}

/// What a field name is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Pseudo(Pseudo),
    Known(KnownName),
    /// A valid name that is none of them: a token (RFC 9110 5.6.2) in lower case.
    Other,
    /// No field of HTTP/2: the name is no token in lower case and no pseudo-header, or the value has controls or
    /// white space at an end (RFC 9113 8.2.1).
    Invalid,
}

/// A field of a header block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) kind: Kind,
    /// It came as a literal that nobody may put into a table (RFC 7541 6.2.3).
    pub(crate) is_sensitive: bool,
}

impl Pseudo {
    /// Returns the pseudo-header that `name` spells.
    fn of(name: &[u8]) -> Option<Pseudo> {
        Some(match name {
            b":authority" => Pseudo::Authority,
            b":method" => Pseudo::Method,
            b":path" => Pseudo::Path,
            b":protocol" => Pseudo::Protocol,
            b":scheme" => Pseudo::Scheme,
            b":status" => Pseudo::Status,
            _ => return None,
        })
    }

    /// Returns the name, with its colon.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Pseudo::Authority => ":authority",
            Pseudo::Method => ":method",
            Pseudo::Path => ":path",
            Pseudo::Protocol => ":protocol",
            Pseudo::Scheme => ":scheme",
            Pseudo::Status => ":status",
        }
    }
}

impl Kind {
    /// Returns the kind of a field with this name and a valid value.
    pub(super) fn of_name(name: &[u8]) -> Kind {
        if name.first() == Some(&b':') {
            return Pseudo::of(name).map_or(Kind::Invalid, Kind::Pseudo);
        }
        match KnownName::of(name) {
            // Known names are found in any case.
            Some(known) if known.as_str().as_bytes() == name => Kind::Known(known),
            None if is_lower_token(name) => Kind::Other,
            _ => Kind::Invalid,
        }
    }

    /// Returns the kind of a field.
    pub(crate) fn of(name: &[u8], value: &[u8]) -> Kind {
        Judged::new(Kind::of_name(name), value).kind()
    }
}

/// What is known of a field, and kept with it: a peer that uses a long name again and again has it judged once.
#[derive(Clone, Copy)]
pub(super) struct Judged {
    /// The kind of its name.
    pub(super) name: Kind,
    has_value: bool,
}

impl Judged {
    #[inline]
    pub(super) fn new(name: Kind, value: &[u8]) -> Self {
        let has_value = is_value(value);
        Judged { name, has_value }
    }

    #[inline]
    pub(super) fn kind(self) -> Kind {
        if self.has_value {
            self.name
        } else {
            Kind::Invalid
        }
    }
}

fn is_lower_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&byte| IN_LOWER_TOKEN[usize::from(byte)])
}

/// Returns whether `value` is one: no controls but tabs, no white space at its ends (RFC 9113 8.2.1).
fn is_value(value: &[u8]) -> bool {
    let ([first, ..], [.., last]) = (value, value) else {
        return true;
    };
    let is_space = |byte: u8| byte == b' ' || byte == b'\t';
    if is_space(*first) || is_space(*last) {
        return false;
    }
    let Some(end) = value.last_chunk::<8>() else {
        return value.iter().all(|&byte| !is_control(byte));
    };
    // The last word may overlap the one before.
    let (words, _) = value.as_chunks::<8>();
    let suspicious = words
        .iter()
        .chain([end])
        .any(|word| may_have_control(*word));
    !suspicious || value.iter().all(|&byte| !is_control(byte))
}

const fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

/// Returns whether one of the bytes is below a space or is a delete, with the tricks of subtracting from all bytes
/// at once: right about the word, not about which byte.
#[inline]
const fn may_have_control(word: [u8; 8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    let word = u64::from_le_bytes(word);
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    let deletes = word ^ (ONES * 0x7f);
    let is_delete = deletes.wrapping_sub(ONES) & !deletes;
    (below_space | is_delete) & (ONES * 0x80) != 0
}

static IN_LOWER_TOKEN: [bool; 256] = {
    let mut set = alphanumeric_and(b"!#$%&'*+-.^_`|~");
    let mut upper = b'A';
    while upper <= b'Z' {
        set[upper as usize] = false;
        upper += 1;
    }
    set
};
