//! Tests of `../idle.rs`.
