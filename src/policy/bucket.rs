//! A leaky bucket in one atomic word: any number of threads share it without a lock.
//!
//! It knows how full it is and when that was; what is too full is its user's to say. Times are milliseconds of a
//! monotonic clock. Main type: [`Bucket`].

use std::sync::atomic::{AtomicU64, Ordering};

/// The level in the upper half, in units its user chose; the time it is of in the lower, in milliseconds that wrap
/// after 49 days.
#[derive(Debug, Default)]
pub(super) struct Bucket(AtomicU64);

impl Bucket {
    /// Lets out what leaked at `rate` a second since the last call, and changes what is left by `change`; the level
    /// that `change` was given.
    pub fn update(&self, now: u64, rate: u64, change: impl Fn(u64) -> u64) -> u64 {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let (level, time) = leak(word, now, rate);
            let changed = change(level).min(u64::from(u32::MAX));
            let new = changed << 32 | u64::from(time);
            let swapped =
                self.0
                    .compare_exchange_weak(word, new, Ordering::Relaxed, Ordering::Relaxed);
            match swapped {
                Ok(_) => return level,
                Err(other) => word = other,
            }
        }
    }

    /// How full it is.
    pub fn level(&self, now: u64, rate: u64) -> u64 {
        leak(self.0.load(Ordering::Relaxed), now, rate).0
    }
}

fn leak(word: u64, now: u64, rate: u64) -> (u64, u32) {
    let (level, time) = (word >> 32, word as u32);
    let elapsed = (now as u32).wrapping_sub(time);
    // Clocks of two threads differ by a batch; a time a little behind the last one is the same time.
    let elapsed = if elapsed > u32::MAX - 60_000 {
        0
    } else {
        elapsed
    };
    let leaked = rate.saturating_mul(u64::from(elapsed)) / 1000;
    if leaked >= level {
        return (0, now as u32);
    }
    // What is not a whole unit yet leaks later, or not at all: less than a unit for each call.
    let used = (leaked * 1000).div_ceil(rate.max(1));
    (level - leaked, time.wrapping_add(used as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_leaks_at_its_rate_however_often_it_is_looked_at() {
        for step in [1, 3, 7, 100, 1000] {
            let bucket = Bucket::default();
            bucket.update(5000, 4100, |level| level + 41_000);
            let mut now = 5000;
            while now + step <= 10_000 {
                now += step;
                bucket.update(now, 4100, |level| level);
            }
            let left = bucket.level(10_000, 4100);
            assert!(
                (20_500..=21_000).contains(&left),
                "{left} with steps of {step}"
            );
        }
    }

    #[test]
    fn time_that_runs_back_or_wraps_does_no_harm() {
        let bucket = Bucket::default();
        let wrap = 1 << 32;
        bucket.update(wrap - 100, 1000, |_| 5000);
        assert_eq!(bucket.level(wrap - 200, 1000), 5000);
        assert_eq!(bucket.level(wrap + 900, 1000), 4000);
        assert_eq!(bucket.update(wrap + 9000, 1000, |level| level), 0);
        let month = 30 * 24 * 3600 * 1000;
        bucket.update(month, 1000, |_| 5000);
        assert_eq!(bucket.level(month + 1000, 1000), 4000);
        assert_eq!(bucket.level(2 * month, 1000), 0);
    }
}
