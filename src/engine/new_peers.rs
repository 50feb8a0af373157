//! How fast an allocation meets peers it did not know: who meets too many is looking for something.
//!
//! What is asked for counts, whether it is granted or not, so that asking faster does not help. Main type: [`NewPeers`].

use super::time::Instant;

/// How many seconds' worth of new peers may come at once: a call with many candidates.
const BURST_SECONDS: u64 = 8;

/// How many seconds' worth end the allocation.
const END_SECONDS: u64 = 60;

/// What to do with a request for new peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    Fine,
    /// It is refused.
    TooFast,
    /// It is refused, and the allocation ends.
    Scanning,
}

/// A leaky bucket of peers, counted in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NewPeers {
    level: u64,
    at: Instant,
}

impl NewPeers {
    /// Counts peers that are new, of which there may be `rate` a second; 0 for any number.
    pub fn meet(&mut self, count: usize, rate: u32, now: Instant) -> Pace {
        let rate = u64::from(rate);
        if rate == 0 || count == 0 {
            return Pace::Fine;
        }
        let elapsed = now.since(self.at).as_millis() as u64;
        self.at = now;
        self.level = self.level.saturating_sub(elapsed.saturating_mul(rate));
        self.level = self.level.saturating_add(count as u64 * 1000);
        if self.level > END_SECONDS * rate * 1000 {
            Pace::Scanning
        } else if self.level > BURST_SECONDS * rate * 1000 {
            Pace::TooFast
        } else {
            Pace::Fine
        }
    }
}
