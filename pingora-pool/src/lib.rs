//! Keyed pools of idle connections with one global bound.
