//! A whole connection of a client of HTTP/2. Read next: `h2_session` in `../src/h2_session.rs`.
#![no_main]

use pingora_fuzz::Session;

libfuzzer_sys::fuzz_target!(|input: Session| pingora_fuzz::h2_session(&input));
