//! Whole-server tests: a real listener, a real client, a real origin. One file a topic.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod apps;
mod attacks;
mod bodies;
mod clients;
mod compression;
mod connect;
mod dns;
mod graceful;
mod grpc;
mod grpc_web;
mod http2;
mod http2_flow;
mod http2_frames;
mod http2_frames_upstream;
mod keepalive;
mod lb;
mod logs;
mod matrix;
mod peers;
mod phases;
mod process;
mod proxy_protocol;
mod rate_limits;
mod requests;
mod responses;
mod retry;
mod sessions;
mod subrequest;
mod tcp;
mod timeouts;
#[cfg(feature = "any_tls")]
mod tls;
mod udp;
mod upgrade;
mod upstream_modules;
