//! HTTP request and response heads that keep header case, raw paths and the received bytes.
