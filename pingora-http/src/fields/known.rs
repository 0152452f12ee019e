//! The field names the engine itself asks for: recognised by one look into a table without
//! collisions and at most three word comparisons, whatever the case.
//! Read next: `../fields.rs`, whose table marks each field with its [`KnownName`].

use http::HeaderName;

macro_rules! known_names {
    ($($variant:ident $lower:literal $titled:literal,)*) => {
        /// A field name the engine looks for, recognised once when a field enters the table.
        ///
        /// ```
        /// use pingora_http::fields::KnownName;
        ///
        /// assert_eq!(KnownName::of(b"content-LENGTH"), Some(KnownName::ContentLength));
        /// assert_eq!(KnownName::of(b"x-anything"), None);
        /// assert_eq!(KnownName::ContentLength.titled(), "Content-Length");
        /// ```
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum KnownName {
            $(#[doc = concat!("`", $lower, "`")] $variant,)*
        }

        impl KnownName {
            pub(crate) const ALL: &[KnownName] = &[$(KnownName::$variant),*];

            /// Returns the name in lower case, as HTTP/2 writes it.
            pub const fn as_str(self) -> &'static str {
                match self { $(KnownName::$variant => $lower,)* }
            }

            /// Returns the name in Title-Case, as HTTP/1 usually writes it.
            pub const fn titled(self) -> &'static str {
                match self { $(KnownName::$variant => $titled,)* }
            }
        }
    };
}

known_names! {
    AcceptEncoding "accept-encoding" "Accept-Encoding",
    Authorization "authorization" "Authorization",
    CacheControl "cache-control" "Cache-Control",
    Connection "connection" "Connection",
    ContentEncoding "content-encoding" "Content-Encoding",
    ContentLength "content-length" "Content-Length",
    ContentType "content-type" "Content-Type",
    Cookie "cookie" "Cookie",
    Date "date" "Date",
    Etag "etag" "Etag",
    Expect "expect" "Expect",
    Host "host" "Host",
    Http2Settings "http2-settings" "Http2-Settings",
    KeepAlive "keep-alive" "Keep-Alive",
    Location "location" "Location",
    Pragma "pragma" "Pragma",
    ProxyAuthenticate "proxy-authenticate" "Proxy-Authenticate",
    ProxyAuthorization "proxy-authorization" "Proxy-Authorization",
    ProxyConnection "proxy-connection" "Proxy-Connection",
    Range "range" "Range",
    SecWebsocketKey "sec-websocket-key" "Sec-Websocket-Key",
    Server "server" "Server",
    SetCookie "set-cookie" "Set-Cookie",
    Te "te" "Te",
    Trailer "trailer" "Trailer",
    TransferEncoding "transfer-encoding" "Transfer-Encoding",
    Upgrade "upgrade" "Upgrade",
    UserAgent "user-agent" "User-Agent",
    Vary "vary" "Vary",
    Via "via" "Via",
    XForwardedFor "x-forwarded-for" "X-Forwarded-For",
}

impl KnownName {
    /// Returns the known name that `name` spells, in any case.
    #[inline]
    pub fn of(name: &[u8]) -> Option<KnownName> {
        let (first, last) = (*name.first()?, *name.last()?);
        let spelled = &SPELLED[usize::from(SLOTS[slot(name.len(), first, last)])];
        if usize::from(spelled.len) != name.len() {
            return None;
        }
        let words = words(name);
        let differ = (0..WORDS).fold(0, |acc, i| {
            acc | ((words[i] | spelled.letters[i]) ^ spelled.words[i])
        });
        (differ == 0).then_some(spelled.name)
    }

    /// Returns the name as the `http` crate's type, without allocating.
    pub fn header_name(self) -> HeaderName {
        HeaderName::from_static(self.as_str())
    }

    /// Returns whether values of this field are credentials, which no log should show.
    pub(crate) const fn is_secret(self) -> bool {
        matches!(
            self,
            Self::Authorization | Self::ProxyAuthorization | Self::Cookie | Self::SetCookie
        )
    }

    /// Returns the bit of this name in the set of present names.
    pub(super) const fn bit(self) -> u64 {
        1 << self as u8
    }
}

const _: () = assert!(
    KnownName::ALL.len() <= u64::BITS as usize,
    "one bit for each name"
);

/// A known name the way [`KnownName::of`] compares it.
struct Spelled {
    name: KnownName,
    len: u8,
    /// The lower case name.
    words: [u64; WORDS],
    /// The bit that makes a letter small, at the letters only: `\r` must not become a dash.
    letters: [u64; WORDS],
}

/// Words that cover a known name: its first 8 bytes, its last 8, and those between.
const WORDS: usize = 3;

/// A power of two for which [`slot`] gives each known name a slot of its own.
const SLOT_COUNT: usize = 128;

static SPELLED: [Spelled; KnownName::ALL.len()] = {
    let mut all = [const { spelled(KnownName::AcceptEncoding) }; KnownName::ALL.len()];
    let mut i = 0;
    while i < all.len() {
        all[i] = spelled(KnownName::ALL[i]);
        i += 1;
    }
    all
};

/// The index in [`SPELLED`] of the name to compare with. Empty slots hold 0: comparing tells.
static SLOTS: [u8; SLOT_COUNT] = {
    let mut slots = [u8::MAX; SLOT_COUNT];
    let mut i = 0;
    while i < KnownName::ALL.len() {
        let name = KnownName::ALL[i].as_str().as_bytes();
        let at = slot(name.len(), name[0], name[name.len() - 1]);
        assert!(
            slots[at] == u8::MAX,
            "two known names share a slot: change the factors"
        );
        slots[at] = i as u8;
        i += 1;
    }
    let mut at = 0;
    while at < SLOT_COUNT {
        if slots[at] == u8::MAX {
            slots[at] = 0;
        }
        at += 1;
    }
    slots
};

/// Returns the slot of a name; the factor was found by trying.
#[inline]
const fn slot(len: usize, first: u8, last: u8) -> usize {
    (len + (first | 0x20) as usize + (last | 0x20) as usize * 21) % SLOT_COUNT
}

const fn spelled(name: KnownName) -> Spelled {
    let lower = name.as_str().as_bytes();
    assert!(
        lower.len() >= 2 && lower.len() <= 8 * WORDS,
        "the words cover the name"
    );
    let mut letters = [0; 8 * WORDS];
    let mut i = 0;
    while i < lower.len() {
        letters[i] = if lower[i].is_ascii_lowercase() {
            0x20
        } else {
            0
        };
        i += 1;
    }
    let letters = words(letters.split_at(lower.len()).0);
    Spelled {
        name,
        len: lower.len() as u8,
        words: words(lower),
        letters,
    }
}

/// Returns words that together hold every byte of a name of 2 to 24 bytes; they may overlap.
#[inline]
const fn words(name: &[u8]) -> [u64; WORDS] {
    let len = name.len();
    if len > 16 {
        [word8(name, 0), word8(name, 8), word8(name, len - 8)]
    } else if len >= 8 {
        [word8(name, 0), 0, word8(name, len - 8)]
    } else if len >= 4 {
        [word4(name, 0), 0, word4(name, len - 4)]
    } else {
        [word2(name, 0), 0, word2(name, len - 2)]
    }
}

macro_rules! word {
    ($name:ident, $Word:ty) => {
        #[inline]
        const fn $name(bytes: &[u8], at: usize) -> u64 {
            match bytes.split_at(at).1.first_chunk() {
                Some(chunk) => <$Word>::from_le_bytes(*chunk) as u64,
                None => 0,
            }
        }
    };
}

word!(word8, u64);
word!(word4, u32);
word!(word2, u16);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case_header_name::push_titled;

    #[test]
    fn each_name_is_found_in_any_case() {
        for (i, &known) in KnownName::ALL.iter().enumerate() {
            assert_eq!(known as usize, i);
            for spelling in [
                known.as_str(),
                known.titled(),
                &known.as_str().to_uppercase(),
            ] {
                assert_eq!(
                    KnownName::of(spelling.as_bytes()),
                    Some(known),
                    "{spelling}"
                );
            }
            assert_eq!(known.header_name().as_str(), known.as_str());
            let mut titled = Vec::new();
            push_titled(known.as_str().as_bytes(), &mut titled);
            assert_eq!(titled, known.titled().as_bytes());
        }
    }

    #[test]
    fn near_misses_are_unknown() {
        for byte in 0..=255 {
            assert_eq!(KnownName::of(&[byte]), None);
        }
        assert_eq!(KnownName::of(b""), None);
        assert_eq!(KnownName::of(&[b'a'; 300]), None);
        assert_eq!(KnownName::of(b"content\rlength"), None);
        for &known in KnownName::ALL {
            let name = known.as_str().as_bytes();
            assert_eq!(KnownName::of(&name[1..]), None);
            assert_eq!(KnownName::of(&[name, b"x"].concat()), None);
            for at in 0..name.len() {
                for flip in [0x40, 0x01, 0x80, 0x20] {
                    let mut near = name.to_vec();
                    near[at] ^= flip;
                    let same = near.eq_ignore_ascii_case(name);
                    let others = KnownName::ALL.iter().copied();
                    let twin = others
                        .filter(|k| near.eq_ignore_ascii_case(k.as_str().as_bytes()))
                        .collect::<Vec<_>>();
                    assert_eq!(KnownName::of(&near), twin.first().copied());
                    assert_eq!(same, twin.first() == Some(&known));
                }
            }
        }
    }
}
