//! The pure parts of HTTP/2, reachable for fuzzing; compiled with `--cfg fuzzing` only.
//! Read next: `head.rs`, `server/budget.rs`.

use std::time::{Duration, Instant};

use http::{Request, request, uri};
use pingora_http::RequestHeader;

use super::head::accept_request;
use super::server::Budget;
use crate::protocols::http::HttpLimits;
use crate::protocols::http::v1::common::is_upgrade_req;

/// Returns a request as the server takes it, and whether it asks for a tunnel; `None` when it is
/// refused.
pub fn accept(parts: request::Parts, limits: &HttpLimits) -> Option<(RequestHeader, bool)> {
    let accepted = accept_request(parts, limits).ok()?;
    Some((accepted.head, accepted.is_extended_connect))
}

/// Returns a request as the client sends it; `None` when HTTP/2 cannot express it.
pub fn send(req: &RequestHeader) -> Option<Request<()>> {
    super::client::request_to_h2(&mut req.clone(), uri::Scheme::HTTPS, is_upgrade_req(req)).ok()
}

/// Charges the budget of resets: how many, after how many milliseconds more; returns which were
/// allowed.
pub fn charge_resets(charges: &[(u32, u16)]) -> Vec<bool> {
    let mut now = Instant::now();
    let mut budget = Budget::of_resets(now);
    let mut charge = |&(count, later): &(u32, u16)| {
        now += Duration::from_millis(u64::from(later));
        budget.charge(count, now)
    };
    charges.iter().map(&mut charge).collect()
}
