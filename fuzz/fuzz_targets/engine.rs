#![no_main]

#[path = "../../tests/engine/checks.rs"]
mod checks;
#[path = "../../tests/engine/client.rs"]
mod client;
#[path = "../bodies/engine.rs"]
mod engine;
#[path = "../../tests/engine/registry.rs"]
mod registry;
#[path = "../../tests/engine/setup.rs"]
mod setup;
#[path = "../../tests/engine/world.rs"]
mod world;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| engine::check(bytes));
