//! Whole-server tests over real sockets: the harness. The tests are in `tests/it`.

#[cfg(doctest)]
mod snippets;
