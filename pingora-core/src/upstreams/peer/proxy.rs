//! The CONNECT proxy between us and a peer.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use pingora_http::ResponseHeader;

/// Makes the user data kept with a proxy's answer from the CONNECT request and that answer.
pub type ProxyDigestUserDataHook = Arc<
    dyn Fn(&http::request::Parts, &ResponseHeader) -> Option<Box<dyn Any + Send + Sync>>
        + Send
        + Sync
        + 'static,
>;

/// An HTTP proxy behind a Unix socket that is asked by CONNECT to open the connection
/// (RFC 9110, section 9.3.6).
///
/// ```
/// use std::{collections::BTreeMap, path::Path};
/// use pingora_core::upstreams::peer::Proxy;
///
/// let proxy = Proxy {
///     next_hop: Path::new("/run/egress.sock").into(),
///     host: "192.0.2.7".into(),
///     port: 443,
///     headers: BTreeMap::new(),
/// };
/// assert_eq!(proxy.to_string(), "next_hop: /run/egress.sock, host: 192.0.2.7, port: 443");
/// ```
#[derive(Clone, Debug, Hash)]
pub struct Proxy {
    /// The path of the proxy's Unix socket.
    pub next_hop: Box<Path>,
    /// The host the proxy connects to.
    pub host: String,
    /// The port the proxy connects to.
    pub port: u16,
    /// Headers of the CONNECT request. Connections made with other headers are not shared.
    pub headers: BTreeMap<String, Vec<u8>>,
}

impl fmt::Display for Proxy {
    /// Writes where the proxy is and where it connects to; headers may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hop = self.next_hop.display();
        write!(
            f,
            "next_hop: {hop}, host: {}, port: {}",
            self.host, self.port
        )
    }
}
