//! The refusals of the last while, for an operator who asks why a client was refused.
//!
//! A fixed number, of each worker for itself. Strangers and proved users are kept apart, so that nobody without a
//! credential can push out what others may be asked about; the same again, from the same host, only raises a count; and
//! only so many new ones a second are taken in. Main types: [`Refusals`], [`Refusal`].

use crate::engine::counters::{AuthFailureReason, ConnectionRefusal};
use crate::engine::outcome::AuthenticationFailed;
use crate::engine::{Now, Refused, Why};
use crate::wire::{ErrorCode, Method};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

/// How many are kept of each kind.
const KEPT: usize = 256;

/// How many of the newest are looked at for the same again.
const LOOK_BACK: usize = 32;

/// How many new ones are taken in a second.
const A_SECOND: u32 = 32;

/// Something that was refused, once or several times.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// When the last time, in seconds since 1970.
    pub at: u64,
    /// How often in a row.
    pub count: u64,
    /// The client, the last time.
    pub client: SocketAddr,
    /// How it came in.
    pub transport: Option<&'static str>,
    /// The user name it gave, if it gave one.
    pub user: Option<Arc<str>>,
    /// What was refused, and why.
    pub reason: Reason,
}

/// What was refused, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A credential.
    Credential(AuthFailureReason),
    /// A request of a proved user.
    Request {
        /// What it asked for.
        method: Method,
        /// What it was told.
        code: ErrorCode,
        /// What stood in its way.
        why: Why,
    },
    /// A connection.
    Connection(ConnectionRefusal),
}

/// The refusals of one worker.
#[derive(Default)]
pub(super) struct Refusals {
    strangers: Ring,
    proved: Ring,
}

#[derive(Default)]
struct Ring {
    kept: VecDeque<Refusal>,
    second: u64,
    taken: u32,
}

impl Ring {
    fn add(&mut self, refusal: Refusal) {
        let newest = self.kept.len().saturating_sub(LOOK_BACK);
        let is_same = |other: &Refusal| {
            other.reason == refusal.reason
                && other.client.ip() == refusal.client.ip()
                && other.user == refusal.user
        };
        let same = self.kept.iter().skip(newest).position(is_same);
        if let Some(same) = same.and_then(|place| self.kept.remove(newest + place)) {
            self.kept.push_back(Refusal {
                count: same.count + 1,
                ..refusal
            });
            return;
        }
        if self.second != refusal.at {
            (self.second, self.taken) = (refusal.at, 0);
        }
        if self.taken == A_SECOND {
            return;
        }
        self.taken += 1;
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(refusal);
    }
}

impl Refusals {
    pub fn authentication(&mut self, now: Now, failed: &AuthenticationFailed) {
        self.strangers.add(Refusal {
            at: now.unix,
            count: 1,
            client: failed.client.client(),
            transport: Some(failed.client.transport().name()),
            user: Some(failed.user.as_str().into()),
            reason: Reason::Credential(failed.reason),
        });
    }

    pub fn request(&mut self, now: Now, refused: &Refused) {
        self.proved.add(Refusal {
            at: now.unix,
            count: 1,
            client: refused.client.client(),
            transport: Some(refused.client.transport().name()),
            user: Some(refused.user.clone()),
            reason: Reason::Request {
                method: refused.method,
                code: refused.code,
                why: refused.why,
            },
        });
    }

    pub fn connection(&mut self, now: Now, client: SocketAddr, refusal: ConnectionRefusal) {
        self.strangers.add(Refusal {
            at: now.unix,
            count: 1,
            client,
            transport: None,
            user: None,
            reason: Reason::Connection(refusal),
        });
    }

    /// All there are.
    pub fn list(&self) -> Vec<Refusal> {
        let all = self.strangers.kept.iter().chain(&self.proved.kept);
        all.cloned().collect()
    }
}
