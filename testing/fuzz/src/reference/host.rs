//! Hosts and ports (RFC 3986 section 3.2), with the restrictions listed in `mod.rs`.

use std::net::Ipv6Addr;

/// Whether this is `uri-host [ ":" port ]`, as in a `Host` field.
pub fn is_host(authority: &[u8]) -> bool {
    let Some((host, port)) = host_and_port(authority) else {
        return false;
    };
    (is_ip_literal(host) || is_name(host, true)) && port.is_none_or(is_port)
}

/// Whether this is the authority of an absolute-form: no percent encoding.
pub fn is_authority(authority: &[u8]) -> bool {
    is_host(authority) && !authority.contains(&b'%')
}

/// Whether this is the authority-form of `CONNECT`: host and port.
pub fn is_host_with_port(authority: &[u8]) -> bool {
    let port = host_and_port(authority).and_then(|(_, port)| port);
    is_host(authority) && port.is_some_and(|port| !port.is_empty())
}

fn host_and_port(authority: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let host_end = match authority.first()? {
        b'[' => authority.iter().position(|byte| *byte == b']')? + 1,
        _ => authority
            .iter()
            .position(|byte| *byte == b':')
            .unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(host_end);
    match port {
        [] => Some((host, None)),
        [b':', port @ ..] => Some((host, Some(port))),
        _ => None,
    }
}

fn is_ip_literal(host: &[u8]) -> bool {
    let [b'[', address @ .., b']'] = host else {
        return false;
    };
    std::str::from_utf8(address).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// `reg-name`, which includes IPv4 addresses, but not empty.
fn is_name(mut name: &[u8], percent: bool) -> bool {
    if name.is_empty() {
        return false;
    }
    loop {
        name = match name {
            [] => return true,
            [b'%', a, b, rest @ ..]
                if percent && a.is_ascii_hexdigit() && b.is_ascii_hexdigit() =>
            {
                rest
            }
            // unreserved and sub-delims
            [byte, rest @ ..]
                if byte.is_ascii_alphanumeric() || b"-._~!$&()*+;=".contains(byte) =>
            {
                rest
            }
            _ => return false,
        }
    }
}

fn is_port(port: &[u8]) -> bool {
    let text = std::str::from_utf8(port).unwrap_or("x");
    text.is_empty()
        || (text.len() <= 5
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && text.parse::<u16>().is_ok())
}
