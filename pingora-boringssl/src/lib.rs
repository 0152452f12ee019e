#![doc = include_str!("../README.md")]
//!
//! ```
//! use pingora_boringssl::ssl::{SslConnector, SslMethod};
//!
//! let connector = SslConnector::builder(SslMethod::tls())?.build();
//! # Ok::<(), pingora_boringssl::error::ErrorStack>(())
//! ```

// The library's stream over an asynchronous one.
pub mod boring_tokio;
// The calls the boring crate lacks.
pub mod ext;

use boring as ssl_lib;

pub use boring_sys as ssl_sys;
pub use ssl_lib::{asn1, error, ex_data, hash, nid, pkey, ssl, x509};

/// The asynchronous stream, under the name it has for OpenSSL.
pub mod tokio_ssl {
    pub use crate::boring_tokio::SslStream;
}
