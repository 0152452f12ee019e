//! The bounds an HTTP peer is held to.

use std::time::Duration;

/// Bounds on what a peer may send; the defaults protect a server that faces the internet.
///
/// ```
/// use pingora_core::protocols::http::HttpLimits;
///
/// let mut limits = HttpLimits::default();
/// assert_eq!(limits.max_head_bytes, 64 * 1024);
/// limits.max_fields = 200;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpLimits {
    /// Bytes of a head, start line and all fields together; beyond: 431. Default 64 KiB.
    pub max_head_bytes: usize,
    /// Fields of a head; beyond: 431. Default 100.
    pub max_fields: usize,
    /// Bytes of a request target; beyond: 414. Default 16 KiB.
    pub max_target_bytes: usize,
    /// Bytes of the trailer section of a chunked body; beyond: 400. Default 8 KiB.
    pub max_trailer_bytes: usize,
    /// Bytes of chunk extensions over a whole body; beyond: 400. Default 16 KiB.
    pub max_chunk_extension_bytes: usize,
    /// Bytes of an unread request body that are read to keep a connection; beyond, it is closed.
    /// Default 64 KiB.
    pub max_drain_bytes: usize,
    /// Bytes of a following request that are kept while one is being served. Default 64 KiB.
    pub max_pipelined_bytes: usize,
    /// Bytes per second a client must send of a request body, on average over the time it is
    /// waited for; 0 for no such bound. Default 100. A client that has been answered
    /// may wait for more of the answer meanwhile.
    pub min_body_rate: usize,
    /// Time a body may be waited for beyond what [`min_body_rate`](Self::min_body_rate) allows.
    /// Default 60 s.
    pub body_grace: Duration,
    /// Time from connecting to the first byte of a request, and from there to the last of its
    /// head. Default 60 s.
    pub head_timeout: Duration,
    /// Whether a client that was asked for a certificate may ask for another host than it named in
    /// its TLS handshake; if not: 421. Default false.
    pub allow_misdirected: bool,
}

impl HttpLimits {
    /// Returns the bounds on responses: as the defaults, with 256 fields and 1 MiB of a head, and
    /// 64 KiB of trailers.
    ///
    /// Servers are chosen and clients are not, and what a server sends is seldom an attack.
    pub fn for_responses() -> Self {
        HttpLimits {
            max_head_bytes: 1024 * 1024,
            max_fields: 256,
            max_trailer_bytes: 64 * 1024,
            ..Self::default()
        }
    }
}

impl Default for HttpLimits {
    fn default() -> Self {
        HttpLimits {
            max_head_bytes: 64 * 1024,
            max_fields: 100,
            max_target_bytes: 16 * 1024,
            max_trailer_bytes: 8 * 1024,
            max_chunk_extension_bytes: 16 * 1024,
            max_drain_bytes: 64 * 1024,
            max_pipelined_bytes: 64 * 1024,
            min_body_rate: 100,
            body_grace: Duration::from_secs(60),
            head_timeout: Duration::from_secs(60),
            allow_misdirected: false,
        }
    }
}
