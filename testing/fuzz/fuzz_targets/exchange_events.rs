//! The state of an exchange against its history. Read next: `exchange_events` in `../src/exchange_events.rs`.
#![no_main]

use pingora_fuzz::Events;

libfuzzer_sys::fuzz_target!(|input: Events| pingora_fuzz::exchange_events(&input));
