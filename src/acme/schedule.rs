//! When a certificate is renewed, and when an order that failed is tried again.
//!
//! Nothing but numbers: times are seconds since 1970, `spread` is a random number from 0 to 1 by which servers that
//! were started together do not ask together. Main type: [`Hold`].

use std::time::Duration;

/// How long is waited after a first failure. With what it grows by, an authority that allows five failed proofs of a name
/// in an hour sees no more than that.
const FIRST_REST: Duration = Duration::from_secs(120);

/// How long is waited at most after failures.
const LONGEST_REST: Duration = Duration::from_secs(6 * 3600);

/// How long is waited at most because the authority says so.
pub const LONGEST_TOLD: Duration = Duration::from_secs(7 * 24 * 3600);

/// When a certificate is renewed: when two thirds of its life are over, and up to a fiftieth of it later.
#[must_use]
pub fn renewal(not_before: i64, not_after: i64, spread: f64) -> i64 {
    let life = not_after.saturating_sub(not_before).max(0);
    let later = life as f64 / 50.0 * spread.clamp(0.0, 1.0);
    not_before
        .saturating_add(life / 3 * 2)
        .saturating_add(later as i64)
}

/// Before when no other is asked for after one was given out, whatever it says of its life: an authority with a wrong
/// clock is not asked without end.
#[must_use]
pub fn rest_after_success(now: i64, not_before: i64, not_after: i64) -> i64 {
    let life = not_after.saturating_sub(not_before).max(0);
    now.saturating_add((life / 10).clamp(1, LONGEST_TOLD.as_secs().cast_signed()))
}

/// How long is waited after so many failures in a row, of which there is at least one. `told` is what the authority asked
/// for.
#[must_use]
pub fn rest_after_failures(failures: u32, told: Option<Duration>, spread: f64) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(0);
    let rest = if doubled == 0 {
        LONGEST_REST
    } else {
        FIRST_REST.saturating_mul(doubled).min(LONGEST_REST)
    };
    let rest = rest.mul_f64(1.0 + spread.clamp(0.0, 1.0) / 4.0);
    rest.max(told.unwrap_or_default().min(LONGEST_TOLD))
}

/// Until when no order is made, and why. Without a reason, by default, there is nothing to wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    until: i64,
    /// Until when the authority wants to be left alone.
    told: i64,
    /// Orders that failed since the last that did not.
    failures: u32,
}

impl Hold {
    /// The time before which no order is made.
    #[must_use]
    pub const fn until(&self) -> i64 {
        self.until
    }

    /// After an order that failed. `told` is how long the authority wants to be left alone.
    #[must_use]
    pub fn failed(self, now: i64, told: Option<Duration>, spread: f64) -> Self {
        let failures = self.failures.saturating_add(1);
        let after = |rest: Duration| now.saturating_add(rest.as_secs().cast_signed());
        Hold {
            until: after(rest_after_failures(failures, told, spread)),
            told: told.map_or(0, |told| after(told.min(LONGEST_TOLD))),
            failures,
        }
    }

    /// After an order that brought a certificate of this life.
    #[must_use]
    pub fn succeeded(now: i64, not_before: i64, not_after: i64) -> Self {
        Hold {
            until: rest_after_success(now, not_before, not_after),
            ..Hold::default()
        }
    }

    /// After a reload, by which something may have been mended that an order failed for.
    #[must_use]
    pub const fn reloaded(self) -> Self {
        if self.failures == 0 {
            return self;
        }
        self.for_another()
    }

    /// For an order of something else, of the same authority: what came of others is nothing to it, but what the authority
    /// said holds.
    #[must_use]
    pub const fn for_another(self) -> Self {
        Hold {
            until: self.told,
            ..self
        }
    }
}
