//! Replays what fuzzing found interesting, so that `cargo test` runs the fuzz targets without a fuzzer.
//!
//! `cargo +nightly fuzz run <target>` goes on from the same folders; a crash it finds is copied into them, with a
//! name that says what broke, and stays.

#![allow(clippy::unwrap_used)]

#[path = "../fuzz/bodies/access_token.rs"]
mod access_token;
#[path = "../fuzz/bodies/channel_data.rs"]
mod channel_data;
#[path = "../fuzz/bodies/client_hello.rs"]
mod client_hello;
#[path = "../fuzz/bodies/codec.rs"]
mod codec;
#[path = "../fuzz/bodies/engine.rs"]
mod engine;
#[path = "../fuzz/bodies/message.rs"]
mod message;
#[path = "../fuzz/bodies/mobility_ticket.rs"]
mod mobility_ticket;
#[path = "../fuzz/mutation.rs"]
mod mutation;
#[path = "../fuzz/bodies/proxy_protocol.rs"]
mod proxy_protocol;
#[path = "../fuzz/bodies/stream_framing.rs"]
mod stream_framing;

// The differences known between the codec and another one.
#[path = "wire_oracle/comparison.rs"]
mod comparison;

// The simulated network that the engine's target runs in.
#[allow(dead_code)]
#[path = "engine/checks.rs"]
mod checks;
#[allow(dead_code)]
#[path = "engine/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "engine/registry.rs"]
mod registry;
#[allow(dead_code)]
#[path = "engine/setup.rs"]
mod setup;
#[allow(dead_code, unused_imports)]
#[path = "engine/world.rs"]
mod world;

use std::path::{Path, PathBuf};
use std::time::Duration;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn replay(target: &str, check: fn(&[u8])) {
    let folder = fuzz().join("corpus").join(target);
    let entries = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("no corpus for {target}: {error}"));
    let mut replayed = 0;
    for entry in entries {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        if std::panic::catch_unwind(|| check(&bytes)).is_err() {
            panic!("{target} fails on {}", path.display());
        }
        replayed += 1;
    }
    assert!(replayed > 0, "the corpus of {target} is empty");
}

#[test]
fn the_corpus_of_the_message_target_holds() {
    replay("message", message::check);
}

#[test]
fn the_corpus_of_the_channel_data_target_holds() {
    replay("channel_data", channel_data::check);
}

#[test]
fn the_corpus_of_the_codec_target_holds() {
    replay("codec", codec::check);
}

#[test]
fn the_corpus_of_the_engine_target_holds() {
    replay("engine", engine::check);
}

/// Goes on from the corpus of the engine's target, always the same way. With HAIRPIN_FUZZ_SECONDS it takes so long and
/// another way each time.
#[test]
fn changed_inputs_of_the_engine_target_hold() {
    let seconds: Option<u64> = std::env::var("HAIRPIN_FUZZ_SECONDS")
        .ok()
        .map(|text| text.parse().unwrap());
    let corpus = std::fs::read_dir(fuzz().join("corpus/engine")).unwrap();
    let mut corpus: Vec<_> = corpus.map(|entry| entry.unwrap().path()).collect();
    corpus.sort();
    let corpus = corpus.into_iter().map(|path| std::fs::read(path).unwrap());
    let time = Duration::from_secs(seconds.unwrap_or(0));
    let seed = seconds.map_or(1, |_| rand::random());
    let fuzzed = mutation::fuzz(corpus.collect(), engine::reached, (time, 100), seed);
    if let Some(input) = fuzzed.failed {
        let place = std::env::temp_dir().join(format!("hairpin-engine-{seed:x}"));
        std::fs::write(&place, &input).unwrap();
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("the engine fails on {}: {hex}", place.display());
    }
    println!(
        "fuzzed: {} sequences, {} of them new, {} results, seed {seed}",
        fuzzed.runs, fuzzed.kept, fuzzed.reached
    );
}

#[test]
fn the_corpus_of_the_stream_framing_target_holds() {
    replay("stream_framing", stream_framing::check);
}

#[test]
fn the_corpus_of_the_mobility_ticket_target_holds() {
    replay("mobility_ticket", mobility_ticket::check);
}

#[test]
fn the_corpus_of_the_proxy_protocol_target_holds() {
    replay("proxy_protocol", proxy_protocol::check);
}

#[test]
fn the_corpus_of_the_access_token_target_holds() {
    replay("access_token", access_token::check);
}

#[test]
fn the_corpus_of_the_client_hello_target_holds() {
    replay("client_hello", client_hello::check);
}

#[test]
fn each_fuzz_target_is_replayed_and_shares_its_body() {
    let mut targets: Vec<String> = std::fs::read_dir(fuzz().join("fuzz_targets"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    targets.sort();
    let this = include_str!("fuzz_corpora.rs");
    for target in &targets {
        let source = fuzz().join("fuzz_targets").join(format!("{target}.rs"));
        let body = format!("../bodies/{target}.rs");
        assert!(
            std::fs::read_to_string(source).unwrap().contains(&body),
            "{target}"
        );
        assert!(
            this.contains(&format!("replay(\"{target}\"")),
            "{target} is not replayed"
        );
    }
    assert!(!targets.is_empty());
}
