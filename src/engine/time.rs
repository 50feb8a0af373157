//! The engine's notion of time, which is always handed in.

use std::time::Duration;

/// A point on a monotonic clock, in milliseconds since an origin the caller chose. Every engine of a process and
/// everything they share use the same origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// A point so many milliseconds after the origin.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Instant(millis)
    }

    /// Milliseconds since the origin.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The point `duration` later; the far end of time where that overflows.
    #[must_use]
    pub const fn after(self, duration: Duration) -> Self {
        // A Duration's milliseconds exceed u64 only after half a billion years.
        Instant(
            self.0
                .saturating_add(duration.as_secs().saturating_mul(1000))
                .saturating_add(duration.subsec_millis() as u64),
        )
    }

    /// The point so many seconds later.
    #[must_use]
    pub const fn after_seconds(self, seconds: u32) -> Self {
        Instant(self.0.saturating_add(seconds as u64 * 1000))
    }

    /// The time from `earlier` to here; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The same in seconds, rounded up, as LIFETIME tells it: what is not over yet has more than none left.
    #[must_use]
    pub fn seconds_since(self, earlier: Instant) -> u32 {
        let seconds = self.0.saturating_sub(earlier.0).div_ceil(1000);
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }

    /// This point, or the limit where that is earlier.
    #[must_use]
    pub fn at_most(self, limit: Option<Instant>) -> Self {
        limit.map_or(self, |limit| self.min(limit))
    }
}

/// Both clocks at once: protocol timers run on the monotonic one, so that setting the wall clock neither ends nor
/// extends an allocation; expiry dates inside credentials are compared with the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time.
    pub instant: Instant,
    /// Wall clock, seconds since 1970.
    pub unix: u64,
}
