#![no_main]

#[path = "../bodies/codec.rs"]
mod codec;
#[path = "../../tests/wire_oracle/comparison.rs"]
mod comparison;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| codec::check(bytes));
