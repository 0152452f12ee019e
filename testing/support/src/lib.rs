//! Fakes and helpers for tests; depends on no crate of the stack.
