//! Refusals worth telling an operator: those of proved users, with what stood in their way.
//!
//! Every refusal is counted elsewhere. Here a few of them a second become events, so that somebody can be told why one
//! client's request was refused, and a client that asks without end costs no more than it did. What has to do with
//! credentials is told as [`super::Event::AuthenticationFailed`]. Main types: [`Refused`], [`Why`], [`Telling`].

use super::counters::{Counters, RefusalReason};
use super::{Engine, Event, FiveTuple, Now};
use crate::policy::DenyReason;
use crate::wire::{ErrorCode, Method};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;

/// How many are told of in a second.
const A_SECOND: u32 = 64;

/// A request of a proved user that was refused.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The client.
    pub client: FiveTuple,
    /// The user name of the credential.
    pub user: Arc<str>,
    /// What it asked for.
    pub method: Method,
    /// What it was told.
    pub code: ErrorCode,
    /// What stood in its way.
    pub why: Why,
}

/// What stood in the way of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// What the code says.
    Request,
    /// Want of room.
    Room(RefusalReason),
    /// The peer it named may not be reached.
    Peer {
        /// The peer.
        peer: SocketAddr,
        /// The rule; `None` where it is a port that relays for TCP do not connect to.
        rule: Option<DenyReason>,
    },
}

/// What is known of the request that is being served.
#[derive(Debug, Default)]
pub(super) struct Telling {
    code: Cell<Option<ErrorCode>>,
    why: Cell<Option<Why>>,
    second: u64,
    told: u32,
}

impl Telling {
    /// Another request is served.
    pub fn begin(&self) {
        self.code.set(None);
        self.why.set(None);
    }

    /// It is answered with an error.
    pub fn answered(&self, code: ErrorCode) {
        self.code.set(Some(code));
    }

    /// It is refused for want of room.
    pub fn refused(&self, counters: &Counters, reason: RefusalReason) {
        counters.refused(reason);
        self.why.set(Some(Why::Room(reason)));
    }

    /// It names a peer that is denied.
    pub fn denied(&self, peer: SocketAddr, rule: Option<DenyReason>) {
        self.why.set(Some(Why::Peer { peer, rule }));
    }

    /// Whether there is room for one more in this second.
    fn may_tell(&mut self, now: Now) -> bool {
        let second = now.instant.as_millis() / 1000;
        if self.second != second {
            (self.second, self.told) = (second, 0);
        }
        self.told = self.told.saturating_add(1);
        self.told <= A_SECOND
    }
}

impl Engine {
    /// Tells of the request that was just served, if it was refused.
    pub(super) fn tell_refusal(
        &mut self,
        now: Now,
        client: FiveTuple,
        user: &Arc<str>,
        method: Method,
    ) {
        let Some(code) = self.telling.code.take() else {
            return;
        };
        let is_told_elsewhere = matches!(
            code,
            ErrorCode::Unauthenticated
                | ErrorCode::StaleNonce
                | ErrorCode::WrongCredentials
                | ErrorCode::TryAlternate
        );
        if is_told_elsewhere || !self.telling.may_tell(now) {
            return;
        }
        self.events.push_back(Event::Refused(Box::new(Refused {
            client,
            user: user.clone(),
            method,
            code,
            why: self.telling.why.take().unwrap_or(Why::Request),
        })));
    }
}
