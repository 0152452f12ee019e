//! Application-layer protocol negotiation (RFC 7301): what is offered and what was chosen.

use std::fmt;

use super::ALPN;

/// A protocol of your own for ALPN, one to 255 bytes long (RFC 7301 3.1).
///
/// ```
/// use pingora_core::protocols::tls::CustomALPN;
///
/// let alpn = CustomALPN::new(b"my/1".to_vec());
/// assert_eq!(alpn.protocol(), b"my/1");
/// assert_eq!(alpn.as_wire(), b"\x04my/1");
/// ```
#[derive(Clone, Debug, Hash, PartialEq, PartialOrd)]
pub struct CustomALPN {
    /// The length byte and the name.
    wire: Vec<u8>,
}

impl CustomALPN {
    /// Returns the protocol named `proto`.
    ///
    /// # Panics
    /// If the name is empty or longer than 255 bytes.
    pub fn new(proto: Vec<u8>) -> Self {
        assert!(!proto.is_empty(), "an ALPN protocol name must not be empty");
        let length = u8::try_from(proto.len()).expect("ALPN protocol names are at most 255 bytes");
        let mut wire = Vec::with_capacity(proto.len() + 1);
        wire.push(length);
        wire.extend_from_slice(&proto);
        CustomALPN { wire }
    }

    /// Returns the name.
    pub fn protocol(&self) -> &[u8] {
        &self.wire[1..]
    }

    /// Returns the length byte and the name, as sent in the handshake.
    pub fn as_wire(&self) -> &[u8] {
        &self.wire
    }
}

impl fmt::Display for ALPN {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ALPN::H1 => f.write_str("H1"),
            ALPN::H2 => f.write_str("H2"),
            ALPN::H2H1 => f.write_str("H2H1"),
            ALPN::Custom(custom) => write!(f, "Custom({})", custom.protocol().escape_ascii()),
        }
    }
}

impl ALPN {
    /// Returns what offers the HTTP versions from `max` down to `min`.
    pub fn new(max: u8, min: u8) -> Self {
        match (max, min) {
            (..=1, _) => ALPN::H1,
            (_, 2..) => ALPN::H2,
            _ => ALPN::H2H1,
        }
    }

    /// Returns the highest HTTP version offered; 0 for a protocol of your own.
    pub fn get_max_http_version(&self) -> u8 {
        match self {
            ALPN::H1 => 1,
            ALPN::H2 | ALPN::H2H1 => 2,
            ALPN::Custom(_) => 0,
        }
    }

    /// Returns the lowest HTTP version offered; 0 for a protocol of your own.
    pub fn get_min_http_version(&self) -> u8 {
        match self {
            ALPN::H1 | ALPN::H2H1 => 1,
            ALPN::H2 => 2,
            ALPN::Custom(_) => 0,
        }
    }
}

/// The forms the TLS libraries want.
// Each library uses some of them, and without a library nobody does.
#[allow(dead_code)]
impl ALPN {
    /// Returns the protocols in order of preference, each with its length byte (RFC 7301 3.1).
    pub(crate) fn to_wire_preference(&self) -> &[u8] {
        match self {
            ALPN::H1 => b"\x08http/1.1",
            ALPN::H2 => b"\x02h2",
            ALPN::H2H1 => b"\x02h2\x08http/1.1",
            ALPN::Custom(custom) => custom.as_wire(),
        }
    }

    /// Returns the protocols in order of preference, each by its bare name.
    pub(crate) fn to_wire_protocols(&self) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            ALPN::H1 => &[b"http/1.1"],
            ALPN::H2 => &[b"h2"],
            ALPN::H2H1 => &[b"h2", b"http/1.1"],
            ALPN::Custom(custom) => &[custom.protocol()],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }

    /// Returns the protocol with the name that was chosen, `None` for no or an impossible name.
    pub(crate) fn from_wire_selected(raw: &[u8]) -> Option<ALPN> {
        match raw {
            b"http/1.1" => Some(ALPN::H1),
            b"h2" => Some(ALPN::H2),
            other if (1..=255).contains(&other.len()) => {
                Some(ALPN::Custom(CustomALPN::new(other.to_vec())))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let cases = [
            (1, 1, ALPN::H1),
            (2, 1, ALPN::H2H1),
            (2, 2, ALPN::H2),
            (1, 2, ALPN::H1),
            (3, 2, ALPN::H2),
            (0, 0, ALPN::H1),
        ];
        for (max, min, expected) in cases {
            assert_eq!(ALPN::new(max, min), expected, "{max} {min}");
        }
    }

    #[test]
    fn wire_forms_agree() {
        let custom = ALPN::Custom(CustomALPN::new(b"x/2".to_vec()));
        for alpn in [ALPN::H1, ALPN::H2, ALPN::H2H1, custom] {
            let mut joined = vec![];
            for name in alpn.to_wire_protocols() {
                joined.push(u8::try_from(name.len()).unwrap());
                joined.extend(&name);
            }
            assert_eq!(joined, alpn.to_wire_preference(), "{alpn}");
        }
    }

    #[test]
    fn selected_names() {
        assert_eq!(ALPN::from_wire_selected(b"h2"), Some(ALPN::H2));
        assert_eq!(ALPN::from_wire_selected(b"http/1.1"), Some(ALPN::H1));
        assert_eq!(ALPN::from_wire_selected(b""), None);
        assert_eq!(ALPN::from_wire_selected(&[b'a'; 256]), None);
        let custom = ALPN::from_wire_selected(b"dot").unwrap();
        assert_eq!(custom.to_string(), "Custom(dot)");
        assert_eq!(
            (custom.get_max_http_version(), custom.get_min_http_version()),
            (0, 0)
        );
    }

    #[test]
    #[should_panic(expected = "must not be empty")]
    fn an_empty_name_is_refused() {
        CustomALPN::new(vec![]);
    }
}
