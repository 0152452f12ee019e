//! What TLS adds to a connection: facts of the handshake, ALPN, and the library's own types.
//!
//! [`ALPN`] and [`SslDigest`] are the same whatever library is compiled in; the rest comes from
//! the private module `backend`.

mod alpn;
pub mod client_hello;
pub mod digest;

use std::any::Any;
use std::sync::Arc;

pub use self::alpn::CustomALPN;
pub use self::digest::*;
pub use crate::backend::protocol::*;

/// Is called with the session when an upstream handshake is complete; what it returns is kept as
/// the [`SslDigestExtension`] of the connection.
pub type HandshakeCompleteHook =
    Arc<dyn Fn(&TlsRef) -> Option<Arc<dyn Any + Send + Sync>> + Send + Sync>;

/// Which protocols are offered, or which one was chosen.
///
/// ```
/// use pingora_core::protocols::ALPN;
///
/// assert_eq!(ALPN::new(2, 1), ALPN::H2H1);
/// assert_eq!(ALPN::H2H1.get_max_http_version(), 2);
/// ```
#[derive(Clone, Debug, Hash, PartialEq, PartialOrd)]
pub enum ALPN {
    /// HTTP/1.1 only.
    H1,
    /// HTTP/2 only.
    H2,
    /// HTTP/2 if the other side can, else HTTP/1.1.
    H2H1,
    /// A protocol of your own.
    Custom(CustomALPN),
}
