//! Says each day which certificates end soon. What is so at the start is said there.
//!
//! Main type: [`Reminder`].

use crate::config::Settings;
use crate::doctor::advice::certificate_advice;

/// How often it is said, in seconds.
const EACH: i64 = 24 * 3600;

/// Knows when it is said next. Times are seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Reminder {
    said: i64,
}

impl Reminder {
    /// It has just been said.
    #[must_use]
    pub const fn new(now: i64) -> Self {
        Reminder { said: now }
    }

    /// One sentence for each certificate in force that clients refuse, or soon will, if a day has passed since it was said.
    /// A clock that was set back is no reason to say nothing for longer than that.
    pub fn due(&mut self, settings: &Settings, now: i64) -> Vec<String> {
        if (self.said..self.said.saturating_add(EACH)).contains(&now) {
            return Vec::new();
        }
        let is_set_back = now < self.said;
        self.said = now;
        if is_set_back {
            return Vec::new();
        }
        certificate_advice(settings, now)
    }
}
