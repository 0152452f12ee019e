//! The heads that go upstream, for fuzzing.

use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::Result;
use pingora_http::RequestHeader;

/// Makes a client's head fit for an upstream of HTTP/1.
pub fn prepare_h1(req: &mut RequestHeader, has_body: bool, peer: &HttpPeer) -> Result<()> {
    super::prepare_h1(req, has_body, peer)
}

/// Makes a client's head fit for an upstream of HTTP/2.
pub fn prepare_h2(req: &mut RequestHeader, peer: &HttpPeer) -> Result<()> {
    super::prepare_h2(req, peer)
}
