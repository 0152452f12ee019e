//! A whole connection to a server of HTTP/2. Read next: `h2_client_session` in `../src/h2_client_session.rs`.
#![no_main]

use pingora_fuzz::ClientSession;

libfuzzer_sys::fuzz_target!(|input: ClientSession| pingora_fuzz::h2_client_session(&input));
