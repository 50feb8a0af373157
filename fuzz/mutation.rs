//! Fuzzing without a fuzzer: changed inputs of a corpus, of which those are kept and changed further that led to
//! something new. It needs no other toolchain and no other build than the tests, and finds less an hour than a fuzzer
//! that sees the branches taken.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// What became of it.
#[derive(Debug)]
pub struct Fuzzed {
    pub runs: u64,
    /// How many inputs led to something new.
    pub kept: usize,
    /// How much there was to reach.
    pub reached: usize,
    /// An input that made `run` panic.
    pub failed: Option<Vec<u8>>,
}

/// Runs changed inputs until one fails or the time is over, `least` of them at any rate.
pub fn fuzz<T: std::hash::Hash + Eq>(
    mut corpus: Vec<Vec<u8>>,
    run: fn(&[u8]) -> HashSet<T>,
    (time, least): (Duration, u64),
    seed: u64,
) -> Fuzzed {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut known: HashSet<T> = corpus.iter().flat_map(|input| run(input)).collect();
    let (start, first) = (Instant::now(), corpus.len());
    let mut runs = 0;
    let mut failed = None;
    while failed.is_none() && (runs < least || start.elapsed() < time) {
        let input = changed(&corpus, &mut rng);
        runs += 1;
        match std::panic::catch_unwind(|| run(&input)) {
            Ok(reached) => {
                let before = known.len();
                known.extend(reached);
                if known.len() > before {
                    corpus.push(input);
                }
            }
            Err(_) => failed = Some(input),
        }
    }
    Fuzzed {
        runs,
        kept: corpus.len() - first,
        reached: known.len(),
        failed,
    }
}

/// An input of the corpus with a few changes.
fn changed(corpus: &[Vec<u8>], rng: &mut StdRng) -> Vec<u8> {
    let mut input = corpus[rng.random_range(0..corpus.len())].clone();
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..=input.len());
        let end = input.len().min(at + rng.random_range(1..24));
        match rng.random_range(0..6) {
            0 | 1 if at < input.len() => input[at] = rng.random(),
            2 => {
                let new = (0..rng.random_range(1..9)).map(|_| rng.random());
                let new: Vec<u8> = new.collect();
                input.splice(at..at, new);
            }
            3 => {
                input.drain(at..end);
            }
            4 => {
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
            _ => {
                // A part of another one.
                let other = &corpus[rng.random_range(0..corpus.len())];
                let from = rng.random_range(0..=other.len());
                let part = &other[from..other.len().min(from + 64)];
                input.splice(at..at, part.iter().copied());
            }
        }
    }
    input.truncate(1024);
    input
}
