//! Protocols on top of HTTP, translated.

pub mod grpc_web;
