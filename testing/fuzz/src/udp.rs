//! The sessions of a UDP proxy against a list: who is let in, who is forgotten.

use arbitrary::Arbitrary;
use pingora_proxy::udp::fuzzing;

/// Limits, and whose sessions begin and end.
#[derive(Arbitrary, Debug)]
pub struct Sessions {
    sessions: u8,
    per_client: u8,
    ops: Vec<(u8, bool)>,
}

/// Panics where table and list differ.
pub fn udp(input: &Sessions) {
    let limit = |limit: u8| usize::from(limit % 64);
    fuzzing::table(limit(input.sessions), limit(input.per_client), &input.ops);
}
