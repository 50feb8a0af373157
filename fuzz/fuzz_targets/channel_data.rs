#![no_main]

#[path = "../bodies/channel_data.rs"]
mod channel_data;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| channel_data::check(bytes));
