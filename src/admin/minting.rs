//! How many credentials each application has had made, and whether it may have another by now.
//!
//! What is counted here is what was asked over HTTP, by this process; how many allocations come of it the quotas count, as
//! a credential may be made elsewhere. Main type: [`Minting`].

use crate::config::CredentialKey;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
}

impl Minting {
    /// Counts one more credential of a key, or says for how long it may have none.
    ///
    /// # Errors
    /// The time until it may have the next.
    pub fn take(&self, key: &CredentialKey, now: Instant) -> Result<(), Duration> {
        let mut keys = self.keys();
        let of_key = keys.entry(key.name.clone()).or_default();
        if let Some(rate) = key.credentials_per_second {
            let each = Duration::from_secs(1) / rate.max(1);
            let paid = of_key.paid.map_or(now, |paid| paid.max(now)) + each;
            let ahead = (paid - now).saturating_sub(each * key.credentials_burst.max(1));
            if !ahead.is_zero() {
                of_key.refused += 1;
                return Err(ahead);
            }
            of_key.paid = Some(paid);
        }
        of_key.made += 1;
        Ok(())
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
