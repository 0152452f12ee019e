//! The request target: exact bytes for the wire, and the `Uri` made of them for `Parts`.
//! Read next: `../authority.rs` for what the bytes may be.

use std::sync::Arc;

use bytes::Bytes;
use http::Uri;
use http::uri::{Authority, Parts, PathAndQuery, Scheme};

use super::H2Target;
use crate::authority::{RawTargetAuthority, raw_target_authority};

/// The most bytes of a target that `build` and `set_raw_path` take: what an [`http::Uri`] can hold.
pub(crate) const MAX_TARGET_BYTES: usize = 65_534;

/// Where the target of a request is.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// In the received head, as (start, length).
    Received(u32, u32),
    /// Bytes given by a user.
    Raw(Bytes),
    /// A `Uri` given by a user; what is written is its path and query, or its authority if it has
    /// nothing else.
    Uri(Arc<Uri>),
    /// The pseudo-header fields of a request of HTTP/2, in the received bytes.
    H2(H2Target),
}

impl Target {
    /// Returns the bytes to write.
    pub(super) fn bytes<'a>(&'a self, received: &'a [u8]) -> &'a [u8] {
        match self {
            Target::Received(start, len) => {
                let start = *start as usize;
                &received[start..start + *len as usize]
            }
            Target::Raw(bytes) => bytes,
            Target::Uri(uri) => match (uri.path_and_query(), uri.authority()) {
                (Some(path), _) => path.as_str().as_bytes(),
                (None, Some(authority)) => authority.as_str().as_bytes(),
                (None, None) => b"/",
            },
            Target::H2(H2Target {
                path, authority, ..
            }) => path
                .or(*authority)
                .map_or(b"/", |span| part(received, span)),
        }
    }

    /// Returns the authority, unless the target has none or it is ambiguous.
    pub(super) fn authority<'a>(&'a self, received: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Target::Uri(uri) => {
                return uri
                    .authority()
                    .map(|authority| authority.as_str().as_bytes());
            }
            Target::H2(target) => return target.authority.map(|span| part(received, span)),
            Target::Received(..) | Target::Raw(_) => (),
        }
        match raw_target_authority(self.bytes(received)) {
            RawTargetAuthority::Absolute { authority, .. } => Some(authority),
            RawTargetAuthority::None | RawTargetAuthority::AmbiguousAuthority => None,
        }
    }

    /// Returns the `Uri` of the target; `connect` tells that it is in authority-form.
    pub(super) fn uri(&self, received: &Bytes, connect: bool) -> Uri {
        match self {
            Target::Received(start, len) => {
                let start = *start as usize;
                lenient_uri(received.slice(start..start + *len as usize), connect)
            }
            Target::Raw(bytes) => lenient_uri(bytes.clone(), connect),
            Target::Uri(uri) => (**uri).clone(),
            Target::H2(target) => h2_uri(target, received, connect),
        }
    }
}

fn part(received: &[u8], (start, len): (u32, u32)) -> &[u8] {
    &received[start as usize..start as usize + len as usize]
}

/// Returns the parts of the target as one: without an authority the path alone, which has no scheme.
fn h2_uri(target: &H2Target, received: &[u8], connect: bool) -> Uri {
    let of = |span: Option<(u32, u32)>| span.map_or(&b""[..], |span| part(received, span));
    let (authority, path) = (of(target.authority), of(target.path));
    let scheme = of(target.scheme).to_ascii_lowercase();
    let scheme = if scheme.is_empty() {
        &b"http"[..]
    } else {
        &scheme
    };
    // RFC 9113 section 8.3.1: of the whole server, not of a resource.
    if path == b"*"
        && let Ok(authority) = Authority::try_from(authority)
    {
        let mut parts = Parts::default();
        parts.scheme = Scheme::try_from(scheme).ok();
        parts.authority = Some(authority);
        parts.path_and_query = Some(PathAndQuery::from_static("*"));
        return Uri::from_parts(parts).unwrap_or_default();
    }
    let whole = match (target.path, target.authority) {
        (Some(_), Some(_)) => [scheme, b"://", authority, path].concat(),
        (None, Some(_)) => authority.to_vec(),
        (_, None) => path.to_vec(),
    };
    if !path.contains(&b'#')
        && let Ok(uri) = Uri::from_maybe_shared(Bytes::from(whole))
    {
        return uri;
    }
    // What a Uri cannot hold is percent-encoded there.
    let mut parts = lenient_uri(Bytes::copy_from_slice(path), connect).into_parts();
    if parts.authority.is_none()
        && let Ok(authority) = Authority::try_from(authority)
    {
        parts.authority = Some(authority);
        parts.scheme = Scheme::try_from(scheme).ok();
    }
    Uri::from_parts(parts).unwrap_or_default()
}

/// Returns whether a request line can hold the target: no control byte, no space, not too long.
pub(super) fn is_valid_target(target: &[u8]) -> bool {
    target.len() <= MAX_TARGET_BYTES && !target.iter().any(|&b| b <= b' ' || b == 0x7f)
}

/// Returns the path of a target: without scheme, authority, query and fragment.
pub(super) fn path_of(target: &[u8]) -> &[u8] {
    let path_and_query = match raw_target_authority(target) {
        RawTargetAuthority::Absolute { path_and_query, .. } => path_and_query,
        RawTargetAuthority::None | RawTargetAuthority::AmbiguousAuthority => target,
    };
    let end = path_and_query
        .iter()
        .position(|byte| matches!(byte, b'?' | b'#'));
    &path_and_query[..end.unwrap_or(path_and_query.len())]
}

/// Returns the `Uri` of `target`: itself where [`http::Uri`] takes it, else with the bytes it
/// refuses percent-encoded, else with everything encoded and a slash in front.
///
/// A `#` is encoded too. There is no fragment in a request target (RFC 9112 section 3.2), and
/// `http::Uri` would hide what follows it from whoever decides by the path.
fn lenient_uri(target: Bytes, connect: bool) -> Uri {
    if !target.contains(&b'#')
        && let Some(uri) = strict_uri(target.clone(), connect)
    {
        return uri;
    }
    let encoded = encoded(&target);
    if let Some(uri) = strict_uri(encoded.clone(), connect) {
        return uri;
    }
    let mut path = Vec::with_capacity(encoded.len() + 1);
    if encoded.first() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(&encoded);
    path.truncate(MAX_TARGET_BYTES);
    PathAndQuery::from_maybe_shared(Bytes::from(path))
        .map(Uri::from)
        .unwrap_or_default()
}

/// Returns the `Uri` of `target` as it is, in the form its first bytes tell.
fn strict_uri(target: Bytes, connect: bool) -> Option<Uri> {
    if connect {
        // host:port; nothing else has an authority and no path.
        let uri = Uri::from_maybe_shared(target).ok()?;
        return Some(uri).filter(|uri| uri.path_and_query().is_none());
    }
    if matches!(
        raw_target_authority(&target),
        RawTargetAuthority::Absolute { .. }
    ) {
        return Uri::from_maybe_shared(target).ok();
    }
    PathAndQuery::from_maybe_shared(target).ok().map(Uri::from)
}

/// Returns `target` with every byte percent-encoded that a path or query may not hold.
fn encoded(target: &[u8]) -> Bytes {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(target.len() + 16);
    for &byte in target {
        // Past this the Uri is cut anyway; 3 times the longest target is not worth building.
        if out.len() >= MAX_TARGET_BYTES {
            break;
        }
        if is_uri_byte(byte) {
            out.push(byte);
        } else {
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            out.extend_from_slice(&[b'%', HEX[high], HEX[low]]);
        }
    }
    Bytes::from(out)
}

/// Returns whether `byte` may stand in a path or query as [`http::Uri`] has them.
const fn is_uri_byte(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~')
        && !matches!(byte, b'"' | b'#' | b'<' | b'>' | b'\\' | b'^' | b'`')
        && !matches!(byte, b'{' | b'|' | b'}')
}
