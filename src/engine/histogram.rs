//! Durations counted by size, for what operators see. One thread writes, any thread reads.
//!
//! The bounds of the buckets are part of the type, so that who counts and who reads mean the same. Main types:
//! [`Histogram`], [`Scale`].

use super::counters::Counter;
use std::marker::PhantomData;
use std::time::Duration;

/// How many bounds the buckets have.
pub const BOUNDS: usize = 10;

/// The upper bounds of the buckets, which grow.
pub trait Scale {
    /// Each belongs to the bucket below it.
    const BOUNDS: [Duration; BOUNDS];
}

/// For how long allocations lived: from a second to a day.
#[derive(Debug, Default)]
pub struct Lifetimes;

impl Scale for Lifetimes {
    const BOUNDS: [Duration; BOUNDS] = [
        Duration::from_secs(1),
        Duration::from_secs(5),
        Duration::from_secs(30),
        Duration::from_secs(60),
        Duration::from_secs(300),
        Duration::from_secs(900),
        Duration::from_secs(1800),
        Duration::from_secs(3600),
        Duration::from_secs(4 * 3600),
        Duration::from_secs(24 * 3600),
    ];
}

/// For how long allocations took to be made: from 25 us to a second.
#[derive(Debug, Default)]
pub struct SetUps;

impl Scale for SetUps {
    const BOUNDS: [Duration; BOUNDS] = [
        Duration::from_micros(25),
        Duration::from_micros(50),
        Duration::from_micros(100),
        Duration::from_micros(250),
        Duration::from_micros(500),
        Duration::from_millis(1),
        Duration::from_millis(5),
        Duration::from_millis(25),
        Duration::from_millis(100),
        Duration::from_secs(1),
    ];
}

/// Durations by size.
#[derive(Debug, Default)]
pub struct Histogram<S> {
    /// One for each bound, and what is above the last.
    buckets: [Counter; BOUNDS + 1],
    micros: Counter,
    scale: PhantomData<S>,
}

impl<S: Scale> Histogram<S> {
    /// Counts a duration. Only the owning worker may call this.
    pub fn record(&self, value: Duration) {
        let place = S::BOUNDS.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.add(1);
        }
        self.micros
            .add(u64::try_from(value.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many fell into each bucket, not counting those below it.
    pub fn counts(&self) -> impl Iterator<Item = u64> + '_ {
        self.buckets.iter().map(Counter::get)
    }

    /// The sum of all, in microseconds.
    #[must_use]
    pub fn micros(&self) -> u64 {
        self.micros.get()
    }
}
