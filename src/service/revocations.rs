//! Users whom an operator has revoked while the server runs.
//!
//! They are refused like those of `revoked` under [auth], and their sessions end at once. A reload does not bring them
//! back; a restart does, since nothing is written. Whole ephemeral names are forgotten once nobody could use them any more.

use super::{CannotServe, Service, assembly};
use crate::config::Settings;
use crate::engine::Rules;
use crate::net::addresses::RelayAddress;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// More are not remembered for operators, nor for each application: who revokes so many should change a secret instead.
const MOST: usize = 10_000;

/// The users.
#[derive(Default)]
pub(super) struct Revocations(Mutex<BTreeMap<String, Revoked>>);

/// When and by whom a user was revoked.
struct Revoked {
    /// In seconds since 1970.
    since: u64,
    /// The key of the application that did; none for operators.
    key: Option<String>,
}

impl Revocations {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Revoked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

/// When a name stops to be good by itself; `None` where it does not.
fn expiry(user: &str) -> Option<u64> {
    let digits = user.split_once(':').map_or(user, |(digits, _)| digits);
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

impl Service {
    /// The users revoked here, with the time when they were, in seconds since 1970.
    #[must_use]
    pub fn revocations(&self) -> BTreeMap<String, u64> {
        let revoked = self.revoked.lock();
        let all = revoked.iter();
        all.map(|(user, revoked)| (user.clone(), revoked.since))
            .collect()
    }

    /// Refuses a user from now on, by the whole name or, of ephemeral ones, by the user in it, and ends what sessions
    /// there are. `key` is that of the application which wants it, if it is none of the operators'.
    ///
    /// # Errors
    /// Where too many are revoked by operators or that application; then nothing changes.
    pub async fn revoke(&self, user: &str, key: Option<&str>) -> Result<(), CannotServe> {
        let _one = self.changes.lock().await;
        if self.revoked.lock().contains_key(user) {
            return Ok(());
        }
        let longest = self.settings().allocation.max_lifetime.as_secs();
        {
            let mut revoked = self.revoked.lock();
            // A session outlives its credential until its next Refresh.
            let is_over = |end: u64| end.saturating_add(longest) < now();
            revoked.retain(|user, Revoked { since, .. }| {
                // A number that was past when it was revoked is a user's name and no expiry.
                let end = expiry(user).filter(|end| end.saturating_add(longest) >= *since);
                !end.is_some_and(is_over)
            });
            let by_same = revoked.values().filter(|one| one.key.as_deref() == key);
            if by_same.count() >= MOST {
                return Err(CannotServe::new(format!(
                    "{MOST} users are revoked here, and more are not remembered: add them to `revoked` under [auth], \
                     or change the secret"
                )));
            }
            let one = Revoked {
                since: now(),
                key: key.map(str::to_owned),
            };
            revoked.insert(user.to_owned(), one);
        }
        self.enforce().await;
        Ok(())
    }

    /// Lets a user in again; whether it was revoked here.
    pub async fn unrevoke(&self, user: &str) -> bool {
        let _one = self.changes.lock().await;
        let was_revoked = self.revoked.lock().remove(user).is_some();
        if was_revoked {
            self.enforce().await;
        }
        was_revoked
    }

    /// Lets the workers go by who is revoked now.
    async fn enforce(&self) {
        let former = self.control.rules();
        let authenticator = former
            .authenticator
            .with_revoked(self.all_revoked(&self.settings()));
        let rules = Rules {
            authenticator,
            ..Rules::clone(&former)
        };
        self.control.set_rules(rules).await;
    }

    /// Whom the settings revoke, and whom an operator has.
    fn all_revoked(&self, settings: &Settings) -> Vec<String> {
        let mut all = settings.auth.revoked.clone();
        all.extend(self.revoked.lock().keys().cloned());
        all
    }

    /// The rules of settings, with whom an operator has revoked besides.
    pub(super) fn rules(
        &self,
        settings: &Settings,
        relays: &[RelayAddress],
        draining: bool,
    ) -> Result<Rules, CannotServe> {
        let rules = assembly::rules(settings, relays, &self.seeds)?;
        Ok(Rules {
            authenticator: rules.authenticator.with_revoked(self.all_revoked(settings)),
            draining,
            ..rules
        })
    }
}
