//! The static table (RFC 7541 appendix A), with the kind of each name, and what the encoder knows of the names in
//! it. Read next: `decoder.rs` and `encoder.rs`.

use pingora_http::fields::KnownName;

use super::kind::{Kind, Pseudo};

/// An entry of the static table.
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) value: &'static str,
    pub(super) kind: Kind,
}

/// What the encoder knows of a name.
#[derive(Clone, Copy)]
pub(super) struct Traits {
    /// Its first index in the static table, or 0.
    pub(super) index: u8,
    pub(super) worth: Worth,
}

/// Whether a field with a certain name is worth an entry of the dynamic table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Worth {
    Lasting,
    /// Most messages have another value.
    Changing,
    /// Neither side should keep it (RFC 7541 7.1.3).
    Secret,
    /// As secret as it is short: a short one could be guessed, a long one is worth an entry.
    SecretIfShort,
}

/// Returns the traits of a known name.
#[inline]
pub(super) fn of_known(known: KnownName) -> Traits {
    KNOWN[known as usize % KNOWN.len()]
}

/// Returns the traits of a name that is not a known one, in any case.
pub(super) fn of_other(name: &[u8]) -> Traits {
    let ([first, ..], [.., last]) = (name, name) else {
        return UNKNOWN;
    };
    let index = OTHERS[slot(name.len(), *first, *last)];
    let entry = &STATIC[usize::from(index.saturating_sub(1))];
    if index == 0 || !name.eq_ignore_ascii_case(entry.name.as_bytes()) {
        return UNKNOWN;
    }
    let worth = worth(entry);
    Traits { index, worth }
}

const fn worth(entry: &Entry) -> Worth {
    match entry.kind {
        Kind::Known(
            KnownName::ContentLength
            | KnownName::Date
            | KnownName::Etag
            | KnownName::Location
            | KnownName::Range,
        ) => Worth::Changing,
        Kind::Known(
            KnownName::Authorization | KnownName::ProxyAuthorization | KnownName::SetCookie,
        ) => Worth::Secret,
        Kind::Known(KnownName::Cookie) => Worth::SecretIfShort,
        // age, content-range, expires, if-*, last-modified
        Kind::Other => match entry.name.as_bytes() {
            [b'a', b'g', b'e']
            | [b'c', b'o', b'n', b't', b'e', b'n', b't', b'-', b'r', ..]
            | [b'e', ..]
            | [b'i', b'f', b'-', ..]
            | [b'l', b'a', ..] => Worth::Changing,
            _ => Worth::Lasting,
        },
        _ => Worth::Lasting,
    }
}

const UNKNOWN: Traits = Traits {
    index: 0,
    worth: Worth::Lasting,
};

/// Known names by their number.
static KNOWN: [Traits; 64] = {
    let mut known = [UNKNOWN; 64];
    let mut at = STATIC.len();
    while at > 0 {
        at -= 1;
        if let Kind::Known(name) = STATIC[at].kind {
            let index = at as u8 + 1;
            let worth = worth(&STATIC[at]);
            known[name as usize] = Traits { index, worth };
        }
    }
    known
};

/// The index of each name that is neither known nor a pseudo-header, by its [`slot`]; 0 where there is none.
static OTHERS: [u8; SLOTS] = {
    let mut others = [0; SLOTS];
    let mut at = 0;
    while at < STATIC.len() {
        if let Kind::Other = STATIC[at].kind {
            let name = STATIC[at].name.as_bytes();
            let slot = slot(name.len(), name[0], name[name.len() - 1]);
            assert!(
                others[slot] == 0,
                "two names share a slot: change the factors"
            );
            others[slot] = at as u8 + 1;
        }
        at += 1;
    }
    others
};

const SLOTS: usize = 64;

/// Returns the slot of a name; the factors were found by trying.
const fn slot(len: usize, first: u8, last: u8) -> usize {
    (len + (first | 0x20) as usize * 8 + (last | 0x20) as usize * 16) % SLOTS
}

/// The static table; index 1 is at 0.
pub(super) static STATIC: [Entry; 61] = [
    pseudo(Pseudo::Authority, ""),
    pseudo(Pseudo::Method, "GET"),
    pseudo(Pseudo::Method, "POST"),
    pseudo(Pseudo::Path, "/"),
    pseudo(Pseudo::Path, "/index.html"),
    pseudo(Pseudo::Scheme, "http"),
    pseudo(Pseudo::Scheme, "https"),
    pseudo(Pseudo::Status, "200"),
    pseudo(Pseudo::Status, "204"),
    pseudo(Pseudo::Status, "206"),
    pseudo(Pseudo::Status, "304"),
    pseudo(Pseudo::Status, "400"),
    pseudo(Pseudo::Status, "404"),
    pseudo(Pseudo::Status, "500"),
    other("accept-charset"),
    known_as(KnownName::AcceptEncoding, "gzip, deflate"),
    other("accept-language"),
    other("accept-ranges"),
    other("accept"),
    other("access-control-allow-origin"),
    other("age"),
    other("allow"),
    known(KnownName::Authorization),
    known(KnownName::CacheControl),
    other("content-disposition"),
    known(KnownName::ContentEncoding),
    other("content-language"),
    known(KnownName::ContentLength),
    other("content-location"),
    other("content-range"),
    known(KnownName::ContentType),
    known(KnownName::Cookie),
    known(KnownName::Date),
    known(KnownName::Etag),
    known(KnownName::Expect),
    other("expires"),
    other("from"),
    known(KnownName::Host),
    other("if-match"),
    other("if-modified-since"),
    other("if-none-match"),
    other("if-range"),
    other("if-unmodified-since"),
    other("last-modified"),
    other("link"),
    known(KnownName::Location),
    other("max-forwards"),
    known(KnownName::ProxyAuthenticate),
    known(KnownName::ProxyAuthorization),
    known(KnownName::Range),
    other("referer"),
    other("refresh"),
    other("retry-after"),
    known(KnownName::Server),
    known(KnownName::SetCookie),
    other("strict-transport-security"),
    known(KnownName::TransferEncoding),
    known(KnownName::UserAgent),
    known(KnownName::Vary),
    known(KnownName::Via),
    other("www-authenticate"),
];

const fn pseudo(pseudo: Pseudo, value: &'static str) -> Entry {
    let kind = Kind::Pseudo(pseudo);
    let name = pseudo.as_str();
    Entry { name, value, kind }
}

const fn known(known: KnownName) -> Entry {
    known_as(known, "")
}

const fn known_as(known: KnownName, value: &'static str) -> Entry {
    let kind = Kind::Known(known);
    let name = known.as_str();
    Entry { name, value, kind }
}

const fn other(name: &'static str) -> Entry {
    let (value, kind) = ("", Kind::Other);
    Entry { name, value, kind }
}
