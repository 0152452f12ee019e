//! Certificates and keys of the TLS library compiled in.

pub use crate::backend::cert::*;
