//! Timeouts and sleeps on a coarse timer wheel: cheap to make, cheaper to drop.
