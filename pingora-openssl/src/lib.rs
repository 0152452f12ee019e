#![doc = include_str!("../README.md")]
//!
//! ```
//! use pingora_openssl::ssl::{SslConnector, SslMethod};
//!
//! let connector = SslConnector::builder(SslMethod::tls())?.build();
//! # Ok::<(), pingora_openssl::error::ErrorStack>(())
//! ```

// The calls the openssl crate lacks.
pub mod ext;

use openssl as ssl_lib;

pub use openssl_sys as ssl_sys;
pub use ssl_lib::{asn1, dh, error, ex_data, hash, nid, pkey, ssl, x509};
pub use tokio_openssl as tokio_ssl;
