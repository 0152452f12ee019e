use std::net::Ipv4Addr;

use pingora_error::ErrorSource;

use super::*;
use crate::upstreams::peer::{HttpPeer, PeerOptions};

#[test]
fn whom_a_certificate_must_be_valid_for() {
    let address = || Ok(Identity::Address(Ipv4Addr::new(192, 0, 2, 1).into()));
    let names = |names: &[&'static str]| {
        Ok(Identity::Names(
            names.iter().map(|name| Cow::from(*name)).collect(),
        ))
    };
    let cases = [
        ("192.0.2.1:443", "a.example", None, names(&["a.example"])),
        (
            "192.0.2.1:443",
            "my_app.example.com",
            Some("b.example"),
            names(&["my_app.example.com", "my-app.example.com", "b.example"]),
        ),
        ("192.0.2.1:443", "", None, address()),
        ("192.0.2.9:443", "192.0.2.1", None, address()),
        (
            "192.0.2.9:443",
            "192.0.2.1",
            Some("b.example"),
            names(&["b.example"]),
        ),
        ("host.example:443", "", None, names(&["host.example"])),
        ("host.example:443", "a.example", None, names(&["a.example"])),
        ("/run/x.sock", "", None, Err(ErrorType::InvalidCert)),
        ("/run/x.sock", "", Some("b.example"), names(&["b.example"])),
    ];
    for (place, sni, alternative, expected) in cases {
        let mut peer = match place.starts_with('/') {
            true => HttpPeer::new_uds(place, true, sni.into()).unwrap(),
            false => HttpPeer::new(place, true, sni.into()),
        };
        peer.options.alternative_cn = alternative.map(str::to_owned);
        let found = identity_of(&peer).map_err(|e| e.etype().clone());
        assert_eq!(found, expected, "{place} {sni} {alternative:?}");

        peer.options.verify_hostname = false;
        assert_eq!(identity_of(&peer).unwrap(), Identity::Anybody);
    }
}

/// The name that is connected to is checked, not one in options made for another peer.
#[test]
fn names_of_replaced_options() {
    let other = HttpPeer::new("other.example:443", true, String::new());
    let mut peer = HttpPeer::new("host.example:443", true, String::new());
    for options in [PeerOptions::new(), other.options] {
        peer.options = options;
        let expected = Identity::Names(vec!["host.example".into()]);
        assert_eq!(identity_of(&peer).unwrap(), expected);
    }
}

#[test]
fn names_that_are_none_are_refused() {
    for (place, sni, alternative) in [
        ("192.0.2.1:443", ".example.com", None),
        ("192.0.2.1:443", ".", None),
        ("192.0.2.1:443", "a.example\0.b.example", None),
        ("192.0.2.1:443", "\0", None),
        ("192.0.2.1:443", "a.example", Some(".example.com")),
        ("192.0.2.1:443", "a.example", Some("b.example\0")),
        ("192.0.2.1:443", "", Some(".example.com")),
        (".example.com:443", "", None),
    ] {
        let mut peer = HttpPeer::new(place, true, sni.into());
        peer.options.alternative_cn = alternative.map(str::to_owned);
        // Unchecked names are sent all the same.
        for verify in [true, false] {
            peer.options.verify_cert = verify;
            let supported = crate::backend::connector::ensure_supported(&peer);
            for refused in [identity_of(&peer).map(|_| ()), supported] {
                let e = refused.unwrap_err();
                assert_eq!(
                    (e.etype(), e.esource()),
                    (&TLS_CONF_ERR, &ErrorSource::Upstream),
                    "{place} {sni:?} {alternative:?}"
                );
            }
        }
    }
}

#[test]
fn names_that_are_sent() {
    for (sni, expected) in [
        ("a.example", Some("a.example")),
        ("", None),
        ("192.0.2.1", None),
        ("2001:db8::1", None),
    ] {
        let peer = HttpPeer::new("192.0.2.1:443", true, sni.into());
        assert_eq!(server_name(&peer), expected, "{sni}");
    }
}

#[test]
fn underscores_of_the_leftmost_label() {
    for (name, expected) in [
        ("a_b_c.d_e.example", Some("a-b-c.d_e.example")),
        ("ab.d_e.example", None),
        ("a_b", None),
        ("", None),
    ] {
        assert_eq!(without_underscores(name).as_deref(), expected, "{name}");
    }
}
