//! Tests of `../shelf.rs`.
