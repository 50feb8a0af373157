//! The clock of a process, read once a batch.

use crate::engine::{Instant, Now};
use std::time::SystemTime;

/// Reads the monotonic and the wall clock. Copies share their origin, so that instants of different workers compare.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: std::time::Instant,
    /// What the monotonic count starts from: the wall clock's milliseconds at start, so that the instants inside
    /// nonces say nothing about how long the server has been running.
    origin: u64,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Clock {
            started: std::time::Instant::now(),
            origin: wall_clock().as_millis().try_into().unwrap_or(0),
        }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Now {
        let elapsed = self.started.elapsed().as_millis();
        Now {
            instant: Instant::from_millis(
                self.origin
                    .saturating_add(elapsed.try_into().unwrap_or(u64::MAX)),
            ),
            unix: wall_clock().as_secs(),
        }
    }

    /// The system's form of an instant, for timers.
    #[must_use]
    pub fn system(&self, instant: Instant) -> std::time::Instant {
        self.started + instant.since(Instant::from_millis(self.origin))
    }
}

fn wall_clock() -> std::time::Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}
