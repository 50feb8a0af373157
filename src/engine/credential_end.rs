//! Allocations whose user's credential has ended: it expired, or the user was revoked.
//!
//! With `strict_expiry` no relay is given a longer life than its user's credential has, and never a confined user's. Without,
//! the client is refused at its next Refresh. Time is measured from the moment the credential was shown, so that setting the
//! wall clock ends no session.

use super::authenticate::{Authorized, Challenge, Holder};
use super::counters::AuthFailureReason;
use super::requests::RefreshWish;
use super::timers::Slot;
use super::{ClientPath, CloseReason, Engine, Instant, Now, Outcome, Rules};
use crate::policy::Circle;
use crate::wire::ErrorCode;

impl Rules {
    /// When a user's allocations end at the latest, where they end with the credential.
    pub(super) fn ends_with(&self, holder: &Holder, circle: Circle) -> Option<Instant> {
        holder
            .credential_until
            .filter(|_| self.strict_expiry || circle.is_confined())
    }

    /// The lifetime given to a user, in seconds, whose allocations end then at the latest.
    pub(super) fn lifetime_until(
        &self,
        wanted: Option<u32>,
        now: Instant,
        until: Option<Instant>,
    ) -> u32 {
        let lifetime = self.lifetime(wanted);
        match until {
            Some(until) => {
                let left = until.since(now).as_secs();
                // 0 would mean that it was given back.
                lifetime.min(u32::try_from(left).unwrap_or(u32::MAX)).max(1)
            }
            None => lifetime,
        }
    }
}

/// When a credential is over whose last good second, Unix time, is `expiry`.
pub(super) fn end_of(expiry: u64, now: Now) -> Instant {
    let seconds = expiry.saturating_add(1).saturating_sub(now.unix);
    now.instant
        .after_seconds(u32::try_from(seconds).unwrap_or(u32::MAX))
}

impl Engine {
    /// Ends an allocation at the Refresh of a client whose credential has expired, which is answered 401 as any request
    /// with such a credential. The client may still give it back.
    pub(super) fn refuse_expired(
        &mut self,
        now: Now,
        client: &ClientPath,
        slot: Slot,
        wish: RefreshWish,
        request: &Authorized<'_>,
        reply: &mut [u8],
    ) -> Option<Outcome> {
        let allocation = self.allocations.get(slot as usize)?;
        let until = allocation.holder.credential_until?;
        if wish.lifetime == Some(0) || until > now.instant {
            return None;
        }
        self.report_failure(client, &request.holder.user, AuthFailureReason::Expired);
        self.close(slot, now.instant, CloseReason::CredentialExpired);
        let challenge = Challenge::Again(ErrorCode::Unauthenticated);
        Some(self.challenge(now, client, &request.message, &challenge, reply))
    }

    /// Ends an allocation whose time is over.
    pub(super) fn close_expired(&mut self, slot: Slot, now: Instant) {
        let allocation = self.allocations.get(slot as usize);
        let is_credential = allocation.is_some_and(|allocation| {
            let until = self
                .rules()
                .ends_with(&allocation.holder, allocation.circle);
            until.is_some_and(|until| until <= now)
        });
        let reason = if is_credential {
            CloseReason::CredentialExpired
        } else {
            CloseReason::Expired
        };
        self.close(slot, now, reason);
    }

    /// Ends the allocations of users who are revoked now, and shortens those that strict rules let live too long.
    pub(super) fn judge_users_again(&mut self, now: Instant) {
        let rules = self.shared.rules.clone();
        let mut revoked = Vec::new();
        let mut shorter = Vec::new();
        for (slot, allocation) in &mut self.allocations {
            let slot = slot as Slot;
            let holder = &allocation.holder;
            let part = holder.user_part.as_deref();
            if rules.authenticator.is_revoked(&holder.user, part) {
                revoked.push(slot);
            } else if let Some(until) = rules.ends_with(holder, allocation.circle) {
                for relay in allocation.relays.iter_mut() {
                    relay.expires = relay.expires.min(until);
                }
                if allocation.relays.expires() <= now {
                    shorter.push((slot, true));
                } else {
                    shorter.push((slot, false));
                }
            }
        }
        for slot in revoked {
            self.close(slot, now, CloseReason::Revoked);
        }
        for (slot, is_over) in shorter {
            if is_over {
                self.close_expired(slot, now);
            } else {
                self.rearm(slot, now);
            }
        }
    }
}
