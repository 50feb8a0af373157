#![no_main]

#[path = "../bodies/mobility_ticket.rs"]
mod mobility_ticket;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mobility_ticket::check(bytes));
