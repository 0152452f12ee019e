//! Tests of `../pool.rs`.
