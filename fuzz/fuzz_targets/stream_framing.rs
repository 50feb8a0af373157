#![no_main]

#[path = "../bodies/stream_framing.rs"]
mod stream_framing;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stream_framing::check(bytes));
