//! Waiting for company: a busy worker rests for a moment before it asks the system what has come in.
//!
//! To sleep and be woken costs a worker about as much as to relay a packet. At a high rate of single packets each would
//! bear that cost alone; after a short rest there are several to share it, and they leave together too. A worker rests
//! only where the rate it saw lately promises company, so a lone packet never waits, and for so short a time that nobody
//! hears it.
//!
//! What clients on streams send and get gains more by a longer rest: several frames of one connection are one read, and
//! leave as one segmented send. So a worker whose media is nearly all theirs rests longer. Main type: [`Pace`].

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the rate is counted before it is judged.
const WINDOW: Duration = Duration::from_millis(2);

/// How many messages a rest has to be expected to gather. A rest is a timer, which costs about as much as being woken.
const COMPANY: u128 = 3;

/// So many datagrams at one time are company enough: a worker that found them goes on without a rest, which would only
/// hold up a client that waits for its packets to arrive before it sends more.
const ENOUGH: u32 = 32;

/// The same where streams make the pace.
const ENOUGH_OF_STREAMS: u32 = 128;

/// One message of so many may be a datagram client's without that streams make the pace.
const NEARLY_ALL: u32 = 16;

/// Of one worker. Its tasks say what they took, its runtime asks whether to rest; both are one thread.
#[derive(Debug)]
pub(super) struct Pace {
    lately: Mutex<Lately>,
}

#[derive(Debug)]
struct Lately {
    rest: Duration,
    rest_of_streams: Duration,
    since: Instant,
    taken: u32,
    /// How many of those were from or for clients on streams.
    of_streams: u32,
    /// How many datagrams since it was last asked whether to rest.
    just_taken: u32,
    /// How long a busy worker rests, and how many datagrams are enough not to.
    busy: Option<(Duration, u32)>,
}

impl Pace {
    /// A worker that rests for so long, or at least as long as that where streams make the pace; never, where `rest` is
    /// zero.
    pub fn new(rest: Duration, rest_of_streams: Duration) -> Self {
        Pace {
            lately: Mutex::new(Lately {
                rest,
                rest_of_streams,
                since: Instant::now(),
                taken: 0,
                of_streams: 0,
                just_taken: 0,
                busy: None,
            }),
        }
    }

    /// Rests for so long from now on, as [`Pace::new`] has it.
    pub fn set_rests(&self, rest: Duration, rest_of_streams: Duration) {
        let mut lately = self.lately();
        (lately.rest, lately.rest_of_streams) = (rest, rest_of_streams);
    }

    /// Counts messages that were read, and the datagrams in them: several where the system coalesced a burst.
    pub fn took(&self, messages: usize, datagrams: usize) {
        let mut lately = self.lately();
        lately.taken = lately.taken.saturating_add(messages as u32);
        lately.just_taken = lately.just_taken.saturating_add(datagrams as u32);
    }

    /// Says that so many of what was taken was from or for clients on streams.
    pub fn were_of_streams(&self, frames: usize) {
        let mut lately = self.lately();
        lately.of_streams = lately.of_streams.saturating_add(frames as u32);
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
            let of_others = lately.taken.saturating_sub(lately.of_streams);
            let way = if of_others.saturating_mul(NEARLY_ALL) <= lately.taken {
                (rest.max(lately.rest_of_streams), ENOUGH_OF_STREAMS)
            } else {
                (rest, ENOUGH)
            };
            *lately = Lately {
                since: now,
                taken: 0,
                of_streams: 0,
                busy: (promised >= COMPANY).then_some(way),
                ..*lately
            };
        }
        let just_taken = std::mem::take(&mut lately.just_taken);
        let (rest, enough) = lately.busy?;
        (just_taken < enough).then_some(rest)
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
    const REST_OF_STREAMS: Duration = Duration::from_millis(1);

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
        let pace = Pace::new(REST, REST_OF_STREAMS);
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
        let pace = Pace::new(REST, REST_OF_STREAMS);
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
        let pace = Pace::new(REST, REST_OF_STREAMS);
        let mut now = Instant::now();
        assert!(rests(&pace, &mut now, 100_000, Duration::from_millis(20)));
        pace.took(100, 100);
        assert_eq!(pace.rest(now), None);
        pace.took(1, 1);
        assert_eq!(pace.rest(now), Some(REST));
    }

    #[test]
    fn a_worker_whose_media_is_that_of_streams_rests_longer() {
        let pace = Pace::new(REST, REST_OF_STREAMS);
        let mut now = Instant::now();
        let mut take = |frames: usize, datagrams: usize| {
            let mut rest = None;
            for _ in 0..10 {
                now += WINDOW / 2;
                pace.took(frames + datagrams, frames + datagrams);
                pace.were_of_streams(frames);
                rest = pace.rest(now);
            }
            rest
        };
        assert_eq!(take(30, 0), Some(REST_OF_STREAMS));
        assert_eq!(take(30, 2), Some(REST_OF_STREAMS));
        assert_eq!(take(20, 10), Some(REST));
        assert_eq!(take(0, 30), Some(REST));
        assert_eq!(take(5, 0), None);
        // Many at once are enough, but of streams more than of others.
        assert_eq!(take(100, 0), Some(REST_OF_STREAMS));
        assert_eq!(take(130, 0), None);
    }

    #[test]
    fn a_worker_that_may_not_rest_never_does() {
        let pace = Pace::new(Duration::ZERO, REST_OF_STREAMS);
        let mut now = Instant::now();
        assert!(!rests(
            &pace,
            &mut now,
            1_000_000,
            Duration::from_millis(20)
        ));
    }
}
