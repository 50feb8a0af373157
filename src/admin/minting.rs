//! How many credentials each application has had made and revoked, and whether it may have another by now.
//!
//! What is counted here is what was asked over HTTP, by this process; how many allocations come of it the quotas count, as
//! a credential may be made elsewhere. Main type: [`Minting`].

use crate::config::CredentialKey;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many users a key may have revoked each second, and at once: each makes all workers look at their sessions.
const REVOKED_PER_SECOND: u32 = 10;
const REVOKED_AT_ONCE: u32 = 100;

/// What the keys had, by their names.
#[derive(Default)]
pub(super) struct Minting(Mutex<HashMap<String, OfKey>>);

/// What a key had since the process began.
#[derive(Clone, Copy, Default)]
pub(super) struct OfKey {
    pub made: u64,
    pub refused: u64,
    /// When all that it had is paid for by the time that passed.
    paid: Option<Instant>,
    /// The same for what it had revoked.
    revoked: Option<Instant>,
}

impl Minting {
    /// Counts one more credential of a key, or says for how long it may have none.
    ///
    /// # Errors
    /// The time until it may have the next.
    pub fn take(&self, key: &CredentialKey, now: Instant) -> Result<(), Duration> {
        let mut keys = self.keys();
        let of_key = keys.entry(key.name.clone()).or_default();
        if let Some(rate) = key.credentials_per_second
            && let Err(wait) = pay(&mut of_key.paid, rate, key.credentials_burst, now)
        {
            of_key.refused += 1;
            return Err(wait);
        }
        of_key.made += 1;
        Ok(())
    }

    /// Counts one more user that a key has revoked, or says for how long it may have none revoked.
    ///
    /// # Errors
    /// The time until it may have the next.
    pub fn take_revocation(&self, key: &CredentialKey, now: Instant) -> Result<(), Duration> {
        let mut keys = self.keys();
        let of_key = keys.entry(key.name.clone()).or_default();
        pay(
            &mut of_key.revoked,
            REVOKED_PER_SECOND,
            REVOKED_AT_ONCE,
            now,
        )
    }

    /// What a key had so far.
    pub fn of(&self, key: &str) -> OfKey {
        self.keys().get(key).copied().unwrap_or_default()
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<String, OfKey>> {
        // Each change leaves good counts.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pays for one by the time that passed, at a rate a second and so many ahead; else for how long that is not possible.
fn pay(paid: &mut Option<Instant>, rate: u32, burst: u32, now: Instant) -> Result<(), Duration> {
    let each = Duration::from_secs(1) / rate.max(1);
    let until = paid.map_or(now, |paid| paid.max(now)) + each;
    let ahead = (until - now).saturating_sub(each * burst.max(1));
    if !ahead.is_zero() {
        return Err(ahead);
    }
    *paid = Some(until);
    Ok(())
}
