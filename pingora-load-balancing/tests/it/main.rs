//! Health checks and services over loopback sockets; what a selection allocates.

mod allocations;
mod http;
mod service;
mod tcp;

use std::net::SocketAddr;

use pingora_load_balancing::Backend;

/// Returns the backend at `addr`.
fn at(addr: SocketAddr) -> Backend {
    Backend::new(&addr.to_string()).expect("an address is one")
}
