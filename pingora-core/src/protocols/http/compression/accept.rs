//! What a client takes: `Accept-Encoding` with its weights (RFC 9110 section 12.5.3) and
//! `Available-Dictionary` (RFC 9842 section 2.2). Pure. Read next: `headers.rs`.

use strum::EnumCount;

use super::Algorithm;
use crate::protocols::http::base64;

/// What one client takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    /// The weight of each coding in thousandths, if it is listed; that of `*` under `Any`.
    weights: [Option<u16>; Algorithm::COUNT],
    identity: Option<u16>,
}

/// The weight of what is listed without one.
const FULL: u16 = 1000;

/// The most members looked at; there are fewer than twenty codings in the registry.
const MAX_MEMBERS: usize = 64;

impl Accepted {
    /// Returns what a client takes that says nothing about it.
    pub(super) const NOTHING: Self = Self {
        weights: [None; Algorithm::COUNT],
        identity: None,
    };

    /// Returns what the values of `Accept-Encoding` list. Members that are not valid count as refused.
    pub(super) fn parse<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut accepted = Self::NOTHING;
        let members = values.flat_map(|value| value.split(|byte| *byte == b','));
        for member in members.take(MAX_MEMBERS) {
            let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            let weight = parts.next().map_or(Some(FULL), weight).unwrap_or(0);
            let name = std::str::from_utf8(name).unwrap_or_default();
            if name.eq_ignore_ascii_case("identity") {
                accepted.identity = Some(weight);
            } else if !name.is_empty() {
                accepted.weights[Algorithm::from(name).index()] = Some(weight);
            }
        }
        accepted
    }

    /// Returns whether the client takes this coding.
    pub(super) fn takes(&self, algorithm: Algorithm) -> bool {
        self.weight(algorithm) > 0
    }

    /// Returns the coding the client likes best of those `usable`, if it likes one at least as much as none.
    pub(super) fn best(&self, usable: impl Fn(Algorithm) -> bool) -> Option<Algorithm> {
        let candidates = Algorithm::PREFERRED.into_iter().rev();
        let usable = candidates.filter(|algorithm| usable(*algorithm) && self.takes(*algorithm));
        // Of several with the same weight `max_by_key` returns the last.
        let best = usable.max_by_key(|algorithm| self.weight(*algorithm))?;
        (self.weight(best) >= self.identity.unwrap_or(0)).then_some(best)
    }

    fn weight(&self, algorithm: Algorithm) -> u16 {
        let listed = self.weights[algorithm.index()];
        // `*` is every coding not listed; without a dictionary in common it can mean no dictionary coding.
        let any = self.weights[Algorithm::Any.index()].filter(|_| !algorithm.uses_dictionary());
        listed.or(any).unwrap_or(0)
    }
}

/// Returns the thousandths of `q=0.5`; `None` if it is no weight (RFC 9110 section 12.4.2).
fn weight(parameter: &[u8]) -> Option<u16> {
    let (b'q' | b'Q', value) = parameter.split_first()? else {
        return None;
    };
    let [b'=', whole @ (b'0' | b'1'), fraction @ ..] = value.trim_ascii() else {
        return None;
    };
    let digits = match fraction {
        [] => &[],
        [b'.', digits @ ..] if digits.len() <= 3 => digits,
        _ => return None,
    };
    let mut thousandths = u16::from(*whole - b'0') * FULL;
    for (digit, worth) in digits.iter().zip([100, 10, 1]) {
        thousandths += u16::from(digit.is_ascii_digit().then(|| digit - b'0')?) * worth;
    }
    (thousandths <= FULL).then_some(thousandths)
}

/// Returns the hash in an `Available-Dictionary` field: a byte sequence of RFC 9651.
pub(super) fn dictionary_hash(value: &[u8]) -> Option<[u8; 32]> {
    let encoded = value.trim_ascii().strip_prefix(b":")?.strip_suffix(b":")?;
    base64::decode(encoded)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(header: &str) -> Option<Algorithm> {
        Accepted::parse([header.as_bytes()].into_iter()).best(|_| true)
    }

    #[test]
    fn the_best_liked_is_chosen() {
        use Algorithm::*;
        for (header, chosen) in [
            ("", None),
            ("gzip", Some(Gzip)),
            ("GZip", Some(Gzip)),
            ("x-gzip", Some(Gzip)),
            ("gzip, deflate, br, zstd", Some(Zstd)),
            ("zstd, br, gzip", Some(Zstd)),
            ("gzip;q=0.9, br;q=0.8", Some(Gzip)),
            ("gzip ; Q=0.5 ,br; q=0.501", Some(Brotli)),
            ("gzip;q=0", None),
            ("gzip;q=0.000, br", Some(Brotli)),
            ("*", Some(Zstd)),
            ("*;q=0.5, gzip", Some(Gzip)),
            ("zstd;q=0, *", Some(Brotli)),
            ("*;q=0", None),
            ("*;q=0, gzip", Some(Gzip)),
            ("identity", None),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0.5, gzip;q=0.5", Some(Gzip)),
            ("identity;q=0, gzip", Some(Gzip)),
            ("deflate, compress", None),
            ("gzip;q=2", None),
            ("gzip;q=1.001", None),
            ("gzip;q=1.000", Some(Gzip)),
            ("gzip;q=0.1234", None),
            ("gzip;q=.5", None),
            ("gzip;q=a", None),
            ("gzip;level=9", None),
            (",,gzip,,", Some(Gzip)),
            ("dcz, dcb, br", Some(Dcz)),
            ("dcb, gzip;q=0.9", Some(Dcb)),
            ("\u{7f}\u{ff}, gzip", Some(Gzip)),
        ] {
            assert_eq!(best(header), chosen, "{header:?}");
        }
    }

    #[test]
    fn only_what_is_usable_is_chosen() {
        let accepted = Accepted::parse([&b"zstd"[..], b"br, gzip;q=0.1"].into_iter());
        assert_eq!(
            accepted.best(|a| a == Algorithm::Gzip),
            Some(Algorithm::Gzip)
        );
        assert_eq!(accepted.best(|a| a == Algorithm::Dcz), None);
        assert_eq!(Accepted::NOTHING.best(|_| true), None);
        let many = "x,".repeat(MAX_MEMBERS) + "gzip";
        assert_eq!(best(&many), None);
    }

    #[test]
    fn hashes_are_read() {
        // RFC 9842 section 2.2 shows this one.
        let shown = b":pZGm1Av0IEBKARczz7exkNYsZb8LzaMrV7J32a2fFG4=:";
        let hash = dictionary_hash(shown).expect("valid");
        assert_eq!((hash[0], hash[31]), (0xa5, 0x6e));
        for wrong in [
            &b""[..],
            b"::",
            b":pZGm:",
            b"pZGm1Av0IEBKARczz7exkNYsZb8LzaMrV7J32a2fFG4=",
            b":pZGm1Av0IEBKARczz7exkNYsZb8LzaMrV7J32a2fFG4?:",
        ] {
            assert_eq!(dictionary_hash(wrong), None);
        }
    }
}
