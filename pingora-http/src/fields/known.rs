//! The field names the engine itself asks for: recognised by length and one comparison.
//! Read next: `../fields.rs`, whose table marks each field with its [`KnownName`].

use http::HeaderName;

macro_rules! known_names {
    ($($variant:ident $len:literal $lower:literal $titled:literal,)*) => {
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

            /// Returns the known name that `name` spells, in any case.
            #[inline]
            pub fn of(name: &[u8]) -> Option<KnownName> {
                let first = name.first()? | 0x20;
                match (name.len(), first) {
                    $(($len, b) if b == $lower.as_bytes()[0] && is_lower::<$len>(name, $lower) => {
                        Some(KnownName::$variant)
                    })*
                    _ => None,
                }
            }

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
    AcceptEncoding 15 "accept-encoding" "Accept-Encoding",
    Authorization 13 "authorization" "Authorization",
    CacheControl 13 "cache-control" "Cache-Control",
    Connection 10 "connection" "Connection",
    ContentEncoding 16 "content-encoding" "Content-Encoding",
    ContentLength 14 "content-length" "Content-Length",
    ContentType 12 "content-type" "Content-Type",
    Cookie 6 "cookie" "Cookie",
    Date 4 "date" "Date",
    Etag 4 "etag" "Etag",
    Expect 6 "expect" "Expect",
    Host 4 "host" "Host",
    Http2Settings 14 "http2-settings" "Http2-Settings",
    KeepAlive 10 "keep-alive" "Keep-Alive",
    Location 8 "location" "Location",
    Pragma 6 "pragma" "Pragma",
    ProxyAuthenticate 18 "proxy-authenticate" "Proxy-Authenticate",
    ProxyAuthorization 19 "proxy-authorization" "Proxy-Authorization",
    ProxyConnection 16 "proxy-connection" "Proxy-Connection",
    Range 5 "range" "Range",
    SecWebsocketKey 17 "sec-websocket-key" "Sec-Websocket-Key",
    Server 6 "server" "Server",
    SetCookie 10 "set-cookie" "Set-Cookie",
    Te 2 "te" "Te",
    Trailer 7 "trailer" "Trailer",
    TransferEncoding 17 "transfer-encoding" "Transfer-Encoding",
    Upgrade 7 "upgrade" "Upgrade",
    UserAgent 10 "user-agent" "User-Agent",
    Vary 4 "vary" "Vary",
    Via 3 "via" "Via",
    XForwardedFor 15 "x-forwarded-for" "X-Forwarded-For",
}

impl KnownName {
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

/// Returns whether `name` is the N bytes of `lower`, in any case.
#[inline]
fn is_lower<const N: usize>(name: &[u8], lower: &'static str) -> bool {
    let (Ok(name), Ok(lower)) = (
        <&[u8; N]>::try_from(name),
        <&[u8; N]>::try_from(lower.as_bytes()),
    ) else {
        return false;
    };
    // No early return: the loop has a constant length and is vectorised.
    let differ = name
        .iter()
        .zip(lower)
        .fold(0, |acc, (n, l)| acc | (n.to_ascii_lowercase() ^ l));
    differ == 0
}

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
        assert_eq!(KnownName::of(b""), None);
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
