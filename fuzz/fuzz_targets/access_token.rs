#![no_main]

#[path = "../bodies/access_token.rs"]
mod access_token;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| access_token::check(bytes));
