//! The PROXY protocol, versions 1 and 2: a proxy tells the next one who a connection is from.
//!
//! The header stands before the first byte of the connection. `parse.rs` and `encode.rs` turn it
//! into [`ProxyHeader`] and back: pure. [`AcceptProxyProtocol`] in `accept.rs` takes it from
//! connections of trusted proxies; to send one upstream, set
//! [`PeerOptions::proxy_protocol`](crate::upstreams::peer::PeerOptions).
//!
//! Source: "The PROXY protocol, versions 1 & 2", HAProxy Technologies, 2020/03/05.

mod accept;
mod encode;
mod network;
mod parse;

use std::net::SocketAddr;

use bytes::Bytes;
use pingora_error::{ErrorType::ConnectError, OrErr, Result};
use tokio::io::{AsyncWrite, AsyncWriteExt};

pub use self::accept::AcceptProxyProtocol;
pub use self::network::{Network, NetworkError};
pub use self::parse::ProxyHeaderError;

/// What stands at the start of every header of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest header of version 1, with its line end.
const MAX_V1_BYTES: usize = 107;

/// The longest header of version 2 that is read. The format allows 64 KiB; what is in use (a TLS
/// certificate's name, an endpoint of a cloud) takes a few hundred bytes.
const MAX_V2_BYTES: usize = 4096;

/// The type of the field with the checksum of a header (section 2.2.3).
const PP2_TYPE_CRC32C: u8 = 0x03;

/// The form a header has on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyProtocolVersion {
    /// A line of text. Carries addresses only.
    V1,
    /// Binary.
    V2,
}

/// Where in a connection with TLS a header stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProxyProtocolPlace {
    /// Before the handshake, in the clear: what most servers expect. The default.
    #[default]
    BeforeTls,
    /// Behind the handshake, as the first bytes inside.
    InsideTls,
}

/// A field of a header of version 2: what else is known of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProxyField {
    /// The type, as `0x02` for the name the client asked for.
    pub kind: u8,
    /// The value, at most 65,535 bytes.
    pub value: Bytes,
}

/// Who a connection is from, and where it went to.
///
/// ```
/// use pingora_core::protocols::proxy_protocol::{ProxyHeader, ProxyProtocolVersion};
///
/// let header = ProxyHeader::new("192.0.2.1:4000".parse().unwrap(), "192.0.2.2:443".parse().unwrap());
/// let wire = header.encode(ProxyProtocolVersion::V1);
/// assert_eq!(wire, "PROXY TCP4 192.0.2.1 192.0.2.2 4000 443\r\n");
///
/// let (read, length) = ProxyHeader::parse(&wire).unwrap().expect("it is whole");
/// assert_eq!((read, length), (header, wire.len()));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProxyHeader {
    addresses: Option<(SocketAddr, SocketAddr)>,
    fields: Vec<ProxyField>,
}

impl ProxyHeader {
    /// Returns the header of a connection from `source` to `destination`.
    pub fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        ProxyHeader {
            addresses: Some((source, destination)),
            fields: Vec::new(),
        }
    }

    /// Returns the header of a connection the proxy made for itself, as a health check is.
    pub fn local() -> Self {
        Self::default()
    }

    /// Adds a field, which version 1 does not carry.
    ///
    /// The checksum is not among them: it is made when a header is encoded that has one, whatever
    /// its value.
    pub fn with_field(mut self, kind: u8, value: impl Into<Bytes>) -> Self {
        self.fields.push(ProxyField {
            kind,
            value: value.into(),
        });
        self
    }

    /// Returns the address of the client; `None` when the proxy did not tell, or speaks for itself.
    pub fn source(&self) -> Option<SocketAddr> {
        self.addresses.map(|(source, _)| source)
    }

    /// Returns the address the client connected to.
    pub fn destination(&self) -> Option<SocketAddr> {
        self.addresses.map(|(_, destination)| destination)
    }

    /// Returns the fields, in the order received.
    pub fn fields(&self) -> &[ProxyField] {
        &self.fields
    }
}

/// A header for the connections to a peer:
/// [`PeerOptions::proxy_protocol`](crate::upstreams::peer::PeerOptions).
///
/// ```
/// use std::sync::Arc;
/// use pingora_core::protocols::proxy_protocol::{ProxyHeader, SendProxyHeader};
/// use pingora_core::upstreams::peer::HttpPeer;
///
/// # let (client, server) = ("192.0.2.1:4000".parse().unwrap(), "192.0.2.2:443".parse().unwrap());
/// let mut peer = HttpPeer::new("127.0.0.1:8080", false, String::new());
/// // In a hook: the addresses of `session.client_addr()` and `session.server_addr()`.
/// let header = SendProxyHeader::new(ProxyHeader::new(client, server));
/// peer.options.proxy_protocol = Some(Arc::new(header));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SendProxyHeader {
    /// What it says.
    pub header: ProxyHeader,
    /// Its form. Default: version 2.
    pub version: ProxyProtocolVersion,
    /// Where it stands when the peer speaks TLS. Default: before that.
    pub place: ProxyProtocolPlace,
}

impl SendProxyHeader {
    /// Returns `header` in version 2, before TLS.
    pub fn new(header: ProxyHeader) -> Self {
        SendProxyHeader {
            header,
            version: ProxyProtocolVersion::V2,
            place: ProxyProtocolPlace::default(),
        }
    }

    /// Sends the header. It is shorter than the buffer of a new socket, so this does not wait for
    /// the peer.
    pub(crate) async fn send(&self, stream: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
        let wire = self.header.encode(self.version);
        let sent = async {
            stream.write_all(&wire).await?;
            stream.flush().await
        };
        sent.await
            .or_err(ConnectError, "while sending a PROXY protocol header")
    }
}

/// Returns the CRC-32C (Castagnoli) of `bytes`, in which those from `hole` on count as four zeros.
fn crc32c(bytes: &[u8], hole: usize) -> u32 {
    let is_hole = |at: usize| (hole..hole + 4).contains(&at);
    let crc = bytes.iter().enumerate().fold(u32::MAX, |crc, (at, &byte)| {
        let byte = if is_hole(at) { 0 } else { byte };
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0x82F6_3B78 & 0u32.wrapping_sub(crc & 1))
        })
    });
    !crc
}

#[cfg(test)]
mod tests;
