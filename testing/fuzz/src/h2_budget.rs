//! What a client of HTTP/2 may waste: never more than a burst and what a span of time gives back.

use arbitrary::Arbitrary;
use pingora_core::protocols::http::v2::fuzzing::charge_resets;

/// What is given at once, and the milliseconds until there is one more.
const BURST: u64 = 200;
const REFILL_MS: u64 = 50;

/// How many resets, and how many milliseconds after those before.
#[derive(Arbitrary, Debug)]
pub struct Resets(Vec<(u32, u16)>);

/// Looks at every span of time.
pub fn h2_budget(input: &Resets) {
    let charges = &input.0[..input.0.len().min(100)];
    let allowed = charge_resets(charges);
    for from in 0..charges.len() {
        let (mut sum, mut span) = (0, 0);
        for at in from..charges.len() {
            if at > from {
                span += u64::from(charges[at].1);
            }
            if allowed[at] {
                sum += u64::from(charges[at].0);
            }
            assert!(
                sum <= BURST + span / REFILL_MS + 1,
                "{from}..={at}: {charges:?}"
            );
        }
    }
    // A client that resets one stream a refill, or fewer, is never refused.
    let calm = |&(count, later): &(u32, u16)| count <= 1 && u64::from(later) >= REFILL_MS;
    if charges.iter().all(calm) {
        assert!(allowed.iter().all(|allowed| *allowed), "{charges:?}");
    }
}
