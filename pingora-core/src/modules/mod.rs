//! Filters that plug into HTTP servers and proxies.

pub mod http;
