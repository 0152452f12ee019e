//! The request head that goes upstream: what was meant for this hop alone stays here.
//!
//! RFC 9110 section 7.6.1 has the rules, the peer's
//! [`HttpUpstreamRequestPolicy`] says which of them apply.

use http::{Method, StatusCode, Version};
use pingora_core::protocols::http::authority::{RawTargetAuthority, raw_target_authority};
use pingora_core::upstreams::peer::{H1UpgradePolicy, HttpPeer, HttpUpstreamRequestPolicy};
use pingora_error::{Error, ErrorType::InvalidHTTPHeader, Result};
use pingora_http::fields::{Fields, KnownName};
use pingora_http::{RequestHeader, ResponseHeader};

/// Fields a `Connection` header must not remove: without them the request means something else.
const PROTECTED: [&[u8]; 14] = [
    b"host",
    b"content-length",
    b"content-type",
    b"content-encoding",
    b"transfer-encoding",
    b"authorization",
    b"cookie",
    b"range",
    b"cache-control",
    b"forwarded",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-real-ip",
];

/// Names the peers of a `Connection` header use for options, which are no fields.
const OPTIONS: [&[u8]; 2] = [b"close", b"keep-alive"];

/// Makes a client's request head fit for an HTTP/1 upstream.
pub(crate) fn prepare_h1(req: &mut RequestHeader, has_body: bool, peer: &HttpPeer) -> Result<()> {
    let policy = &peer.options.http_upstream_request_policy;
    if req.version() == Version::HTTP_2 {
        from_h2(req, has_body);
    }
    to_origin_form(req)?;
    ensure_host(req, peer)?;
    // Before the version is ours: HTTP/1.0 has no upgrades (RFC 9110 section 7.8).
    let upgrade = passes_upgrade(req, policy.h1_upgrade);
    if req.version() != Version::HTTP_11 {
        req.set_version(Version::HTTP_11);
        if upgrade.is_none() {
            req.remove_known(KnownName::Upgrade);
        }
    }
    let trailers = accepts_trailers(req.fields());
    strip_nominated(req, policy)?;
    if policy.strip_hop_by_hop {
        strip_hop_by_hop(req);
    } else if upgrade.is_none() && policy.h1_upgrade != H1UpgradePolicy::Preserve {
        req.remove_known(KnownName::Upgrade);
    }
    if !policy.strip_hop_by_hop {
        return Ok(());
    }
    match upgrade {
        Some(protocol) => {
            req.set_known(KnownName::Connection, b"Upgrade");
            req.set_known(KnownName::Upgrade, &protocol);
        }
        None if trailers => {
            req.set_known(KnownName::Connection, b"TE");
            req.set_known(KnownName::Te, b"trailers");
        }
        None => (),
    }
    Ok(())
}

/// Makes a client's request head fit for an HTTP/2 upstream.
///
/// HTTP/2 has no hop-by-hop fields: they go whatever the policy says. An upgrade that may pass
/// stays as HTTP/1 has it; the session makes an extended CONNECT of it (RFC 8441).
pub(crate) fn prepare_h2(req: &mut RequestHeader, peer: &HttpPeer) -> Result<()> {
    let policy = &peer.options.http_upstream_request_policy;
    if req.version() != Version::HTTP_2 {
        to_origin_form(req)?;
    }
    if req.target_authority().is_none() {
        ensure_host(req, peer)?;
    }
    let upgrade = passes_upgrade(req, policy.h1_upgrade);
    let trailers = accepts_trailers(req.fields());
    strip_nominated(req, policy)?;
    strip_hop_by_hop(req);
    req.remove_known(KnownName::TransferEncoding);
    req.set_version(Version::HTTP_2);
    match upgrade {
        Some(protocol) => {
            req.set_known(KnownName::Connection, b"Upgrade");
            req.set_known(KnownName::Upgrade, &protocol);
        }
        None if trailers => req.set_known(KnownName::Te, b"trailers"),
        None => (),
    }
    Ok(())
}

/// A request without a host is for the one the peer has.
fn ensure_host(req: &mut RequestHeader, peer: &HttpPeer) -> Result<()> {
    if req.fields().has(KnownName::Host) {
        return Ok(());
    }
    let host = if peer.sni.is_empty() {
        peer._address.to_string()
    } else {
        peer.sni.clone()
    };
    req.insert_header("Host", host)
}

/// Says in fields what HTTP/2 says otherwise: which host, and where the body ends.
fn from_h2(req: &mut RequestHeader, has_body: bool) {
    if !req.fields().has(KnownName::Host)
        && let Some(authority) = req.target_authority().map(<[u8]>::to_vec)
    {
        req.set_known(KnownName::Host, &authority);
    }
    if has_body {
        if !req.fields().has(KnownName::ContentLength) && !is_tunnel(req) {
            req.set_known(KnownName::TransferEncoding, b"chunked");
        }
    } else if matches!(*req.method(), Method::POST | Method::PUT | Method::PATCH) {
        // Servers may insist on a length where a body is expected (RFC 9110 section 8.6).
        req.set_known(KnownName::ContentLength, b"0");
    }
}

/// What follows such a head belongs to no message.
fn is_tunnel(req: &RequestHeader) -> bool {
    *req.method() == Method::CONNECT || req.fields().has(KnownName::Upgrade)
}

/// Removes from a response what was meant for this hop alone; a 101 is of the tunnel it begins.
pub(crate) fn strip_response(resp: &mut ResponseHeader) {
    if resp.status() == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    let fields = resp.fields();
    if fields.has(KnownName::Connection) {
        // Empty in all but odd cases, and then it does not allocate.
        let nominated: Vec<Vec<u8>> = nominations(fields)
            .filter(|name| !is_option(name) && !is_protected(name))
            .map(<[u8]>::to_vec)
            .collect();
        if !nominated.is_empty() {
            resp.retain_fields(|field| {
                !nominated
                    .iter()
                    .any(|name| name.eq_ignore_ascii_case(field.name))
            });
        }
        resp.remove_known(KnownName::Connection);
    }
    for name in [
        KnownName::KeepAlive,
        KnownName::ProxyConnection,
        KnownName::Te,
        KnownName::Upgrade,
    ] {
        if resp.fields().has(name) {
            resp.remove_known(name);
        }
    }
}

/// A server is asked for a path; only proxies are asked for a whole URI (RFC 9112 section 3.2.1).
fn to_origin_form(req: &mut RequestHeader) -> Result<()> {
    if req.raw_path().first() == Some(&b'/') {
        return Ok(());
    }
    let RawTargetAuthority::Absolute { path_and_query, .. } = raw_target_authority(req.raw_path())
    else {
        return Ok(());
    };
    let path = match path_and_query {
        [b'/', ..] => path_and_query.to_vec(),
        rest => [b"/", rest].concat(),
    };
    req.set_raw_path(&path)
}

/// Returns the protocol of an upgrade that the policy lets pass.
fn passes_upgrade(req: &RequestHeader, policy: H1UpgradePolicy) -> Option<Vec<u8>> {
    if !pingora_core::protocols::http::v1::common::is_upgrade_req(req) {
        return None;
    }
    let protocol = req.fields().get(KnownName::Upgrade)?;
    let passes = match policy {
        H1UpgradePolicy::Preserve => true,
        H1UpgradePolicy::WebSocketOnly => protocol.eq_ignore_ascii_case(b"websocket"),
        H1UpgradePolicy::Deny => false,
    };
    passes.then(|| protocol.to_vec())
}

fn strip_nominated(req: &mut RequestHeader, policy: &HttpUpstreamRequestPolicy) -> Result<()> {
    if !req.fields().has(KnownName::Connection) {
        return Ok(());
    }
    let mut nominated: Vec<Vec<u8>> = Vec::new();
    for name in nominations(req.fields()) {
        if is_option(name) {
            continue;
        }
        let valid = is_token(name) && !is_protected(name);
        if !valid && policy.reject_malformed_connection_nominations {
            return Error::e_explain(InvalidHTTPHeader, "Connection names what it must not")
                .map_err(Error::into_down);
        }
        if valid && !is_hop_by_hop(name) {
            nominated.push(name.to_vec());
        }
    }
    if policy.strip_connection_nominated && !nominated.is_empty() {
        let was_received = req.received_head().is_some();
        req.retain_fields(|field| {
            // What a hook has put in is not the client's to take out.
            let is_ours = was_received && !field.is_received;
            let is_nominated = |name: &Vec<u8>| name.eq_ignore_ascii_case(field.name);
            is_ours || !nominated.iter().any(is_nominated)
        });
    }
    Ok(())
}

fn strip_hop_by_hop(req: &mut RequestHeader) {
    const HOP_BY_HOP: [KnownName; 6] = [
        KnownName::Connection,
        KnownName::KeepAlive,
        KnownName::ProxyConnection,
        KnownName::Te,
        KnownName::Upgrade,
        KnownName::Http2Settings,
    ];
    for name in HOP_BY_HOP {
        if req.fields().has(name) {
            req.remove_known(name);
        }
    }
}

fn nominations(fields: &Fields) -> impl Iterator<Item = &[u8]> {
    fields
        .get_all(KnownName::Connection)
        .flat_map(|value| value.split(|&b| b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty())
}

fn is_option(name: &[u8]) -> bool {
    OPTIONS
        .iter()
        .any(|option| name.eq_ignore_ascii_case(option))
}

fn is_hop_by_hop(name: &[u8]) -> bool {
    let names: [&[u8]; 6] = [
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
        b"http2-settings",
    ];
    names.iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn is_protected(name: &[u8]) -> bool {
    PROTECTED
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

fn is_token(name: &[u8]) -> bool {
    name.iter()
        .all(|&b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn accepts_trailers(fields: &Fields) -> bool {
    fields.has(KnownName::Te)
        && fields.get_all(KnownName::Te).any(|value| {
            value
                .split(|&b| b == b',')
                .any(|t| t.trim_ascii().eq_ignore_ascii_case(b"trailers"))
        })
}

#[cfg(fuzzing)]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
