//! Tests of `../idle_pool.rs`.
