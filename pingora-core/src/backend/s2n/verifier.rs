//! For which names the certificate of a server is valid.
//!
//! The library checks the chain, and asks for each name in the certificate whether it is one of
//! those wanted. Names are compared whole, with a wildcard for the leftmost label (RFC 9525).

use std::net::IpAddr;

use crate::backend::handshake::Identity;
use crate::backend::library::VerifyHostNameCallback;

/// Whom a certificate must be valid for.
pub(super) enum Wanted {
    /// One of these names.
    Names(Vec<String>),
    /// This address.
    Address(IpAddr),
    /// Whoever has a certificate.
    Anybody,
}

impl From<&Identity<'_>> for Wanted {
    fn from(identity: &Identity<'_>) -> Self {
        match identity {
            Identity::Anybody => Wanted::Anybody,
            Identity::Address(address) => Wanted::Address(*address),
            Identity::Names(names) => {
                Wanted::Names(names.iter().map(|name| name.clone().into_owned()).collect())
            }
        }
    }
}

impl VerifyHostNameCallback for Wanted {
    fn verify_host_name(&self, host_name: &str) -> bool {
        match self {
            Wanted::Anybody => true,
            Wanted::Address(address) => host_name.parse() == Ok(*address),
            Wanted::Names(names) => names.iter().any(|name| is_for(host_name, name)),
        }
    }
}

/// Returns whether a certificate for `presented`, a name or a wildcard, is one for `name`.
fn is_for(presented: &str, name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    // An address in a certificate is no name, though the library shows it as one.
    if name.is_empty() || presented.parse::<IpAddr>().is_ok() {
        return false;
    }
    let Some(suffix) = presented.strip_prefix("*.") else {
        return presented.eq_ignore_ascii_case(name);
    };
    // A wildcard below a single label would be one for every site of a top-level domain.
    let Some((label, rest)) = name.split_once('.') else {
        return false;
    };
    !label.is_empty() && suffix.contains('.') && suffix.eq_ignore_ascii_case(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_whole() {
        for (presented, name, expected) in [
            ("a.example", "a.example", true),
            ("A.example", "a.EXAMPLE", true),
            ("a.example", "a.example.", true),
            ("a.example", "b.example", false),
            ("a.example", "a.example.org", false),
            ("a.example\0.org", "a.example", false),
            ("*.wild.example", "x.wild.example", true),
            ("*.WILD.example", "x.wild.example", true),
            ("*.wild.example", "wild.example", false),
            ("*.wild.example", ".wild.example", false),
            ("*.wild.example", "x.y.wild.example", false),
            ("*.example", "a.example", false),
            ("x*.wild.example", "xy.wild.example", false),
            ("x.*.example", "x.y.example", false),
            ("*", "localhost", false),
            ("", "", false),
            ("127.0.0.1", "127.0.0.1", false),
        ] {
            assert_eq!(is_for(presented, name), expected, "{presented:?} {name:?}");
        }
    }

    #[test]
    fn addresses_are_compared_as_such() {
        let wanted = Wanted::Address("::1".parse().unwrap());
        assert!(wanted.verify_host_name("0:0:0:0:0:0:0:1"));
        assert!(!wanted.verify_host_name("::2"));
        assert!(!wanted.verify_host_name("localhost"));
        assert!(Wanted::Anybody.verify_host_name("localhost"));
    }
}
