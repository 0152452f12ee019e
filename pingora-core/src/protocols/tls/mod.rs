//! What TLS adds to a connection: facts of the handshake, ALPN, and the library's own types.
//!
//! [`ALPN`] and [`SslDigest`] are the same whatever library is compiled in; the rest comes from
//! the private module `backend`.

mod alpn;
pub mod digest;

use std::any::Any;
use std::sync::Arc;

pub use self::alpn::{ALPN, CustomALPN};
pub use self::digest::{SslDigest, SslDigestExtension};
pub use crate::backend::protocol::*;

/// Is called with the session when an upstream handshake is complete; what it returns is kept as
/// the [`SslDigestExtension`] of the connection.
pub type HandshakeCompleteHook =
    Arc<dyn Fn(&TlsRef) -> Option<Arc<dyn Any + Send + Sync>> + Send + Sync>;
