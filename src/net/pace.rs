//! Waiting for company: a busy worker rests for a moment before it asks the system what has come in.
//!
//! To sleep and be woken costs a worker about as much as to relay a packet. At a high rate of single packets each would
//! bear that cost alone; after a short rest there are several to share it, and they leave together too. A worker rests
//! only where the rate it saw lately promises company, so a lone packet never waits, and for so short a time that nobody
//! hears it. Main type: [`Pace`].

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the rate is counted before it is judged.
const WINDOW: Duration = Duration::from_millis(2);

/// How many messages a rest has to be expected to gather. A rest is a timer, which costs about as much as being woken.
const COMPANY: u128 = 3;

/// So many datagrams at one time are company enough: a worker that found them goes on without a rest, which would only
/// hold up a client that waits for its packets to arrive before it sends more.
const ENOUGH: u32 = 32;

/// Of one worker. Its tasks say what they took, its runtime asks whether to rest; both are one thread.
#[derive(Debug)]
pub(super) struct Pace {
    lately: Mutex<Lately>,
}

#[derive(Debug)]
struct Lately {
    rest: Duration,
    since: Instant,
    taken: u32,
    /// How many datagrams since it was last asked whether to rest.
    just_taken: u32,
    is_busy: bool,
}

impl Pace {
    /// A worker that rests for so long; never, where that is zero.
    pub fn new(rest: Duration) -> Self {
        Pace {
            lately: Mutex::new(Lately {
                rest,
                since: Instant::now(),
                taken: 0,
                just_taken: 0,
                is_busy: false,
            }),
        }
    }

    /// Rests for so long from now on.
    pub fn set_rest(&self, rest: Duration) {
        self.lately().rest = rest;
    }

    /// Counts messages that were read, and the datagrams in them: several where the system coalesced a burst.
    pub fn took(&self, messages: usize, datagrams: usize) {
        let mut lately = self.lately();
        lately.taken = lately.taken.saturating_add(messages as u32);
        lately.just_taken = lately.just_taken.saturating_add(datagrams as u32);
    }

    /// How long to rest before asking for more, if at all.
    pub fn rest(&self, now: Instant) -> Option<Duration> {
        let mut lately = self.lately();
        let rest = lately.rest;
        if rest.is_zero() {
            return None;
        }
        let elapsed = now.saturating_duration_since(lately.since);
        if elapsed >= WINDOW {
            let promised = u128::from(lately.taken) * rest.as_nanos() / elapsed.as_nanos();
            *lately = Lately {
                since: now,
                taken: 0,
                is_busy: promised >= COMPANY,
                ..*lately
            };
        }
        let had_enough = std::mem::take(&mut lately.just_taken) >= ENOUGH;
        (lately.is_busy && !had_enough).then_some(rest)
    }

    fn lately(&self) -> MutexGuard<'_, Lately> {
        // Only counts, which are right after each step.
        self.lately.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const REST: Duration = Duration::from_micros(200);

    /// Runs at a rate for a time; whether the worker rests at the end of it.
    fn rests(pace: &Pace, now: &mut Instant, a_second: u32, time: Duration) -> bool {
        let end = *now + time;
        let mut rests = false;
        while *now < end {
            *now += Duration::from_secs(1) / a_second;
            pace.took(1, 1);
            rests = pace.rest(*now).is_some();
        }
        rests
    }

    #[test]
    fn only_a_rate_that_promises_company_makes_a_worker_rest() {
        let pace = Pace::new(REST);
        let mut now = Instant::now();
        let time = Duration::from_millis(20);
        assert!(!rests(&pace, &mut now, 1_000, time));
        assert!(!rests(&pace, &mut now, 10_000, time));
        assert!(rests(&pace, &mut now, 50_000, time));
        assert_eq!(pace.rest(now), Some(REST));
        assert!(!rests(&pace, &mut now, 10_000, time));
    }

    #[test]
    fn a_packet_after_a_pause_does_not_wait() {
        let pace = Pace::new(REST);
        let mut now = Instant::now();
        assert!(rests(&pace, &mut now, 100_000, Duration::from_millis(20)));
        // Nothing comes: the worker stops resting within one window, and sleeps until it is woken.
        now += WINDOW;
        let _ = pace.rest(now);
        now += WINDOW;
        assert_eq!(pace.rest(now), None);
        now += Duration::from_secs(1);
        pace.took(1, 1);
        assert_eq!(pace.rest(now), None);
    }

    #[test]
    fn a_worker_that_finds_many_at_once_goes_on() {
        let pace = Pace::new(REST);
        let mut now = Instant::now();
        assert!(rests(&pace, &mut now, 100_000, Duration::from_millis(20)));
        pace.took(100, 100);
        assert_eq!(pace.rest(now), None);
        pace.took(1, 1);
        assert_eq!(pace.rest(now), Some(REST));
    }

    #[test]
    fn a_worker_that_may_not_rest_never_does() {
        let pace = Pace::new(Duration::ZERO);
        let mut now = Instant::now();
        assert!(!rests(
            &pace,
            &mut now,
            1_000_000,
            Duration::from_millis(20)
        ));
    }
}
