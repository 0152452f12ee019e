//! TLS settings of the library compiled in.

pub use crate::backend::listener::*;
pub use crate::protocols::tls::ALPN;
