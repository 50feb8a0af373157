//! A relay port between the pool and an allocation.
//!
//! It goes back by itself when nothing comes of it, be it by an error or by a panic half-way. Main type: [`TakenPort`].

use super::relays::{PortWish, RelayPool, RelayedAddress};
use super::time::Instant;
use std::fmt;
use std::sync::Arc;

/// A port that was taken out of the pool and is no allocation's yet, perhaps with the next one.
pub(super) struct TakenPort {
    pool: Arc<RelayPool>,
    relayed: RelayedAddress,
    at: Instant,
    holds: Holds,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Nothing,
    One,
    /// The next one as well, which never had a socket.
    Both,
}

impl TakenPort {
    pub fn new(
        pool: &Arc<RelayPool>,
        relayed: RelayedAddress,
        wish: PortWish,
        now: Instant,
    ) -> Self {
        TakenPort {
            pool: pool.clone(),
            relayed,
            at: now,
            holds: match wish {
                PortWish::EvenAndNext => Holds::Both,
                PortWish::Any | PortWish::Even => Holds::One,
            },
        }
    }

    pub const fn relayed(&self) -> RelayedAddress {
        self.relayed
    }

    /// The next port is reserved for somebody.
    pub fn next_is_reserved(&mut self) {
        self.holds = Holds::One;
    }

    /// An allocation has it.
    pub fn keep(mut self) {
        self.holds = Holds::Nothing;
    }

    /// It never had a socket, here or elsewhere: it can be given out again at once.
    pub fn give_back(mut self) {
        if self.holds != Holds::Nothing {
            self.pool.give_back(self.relayed);
        }
        self.give_back_next();
        self.holds = Holds::Nothing;
    }

    fn give_back_next(&self) {
        if self.holds == Holds::Both {
            self.pool.give_back(self.relayed.next_port());
        }
    }
}

impl Drop for TakenPort {
    /// Its socket may have been open for a moment, or another program's, so the port rests.
    fn drop(&mut self) {
        if self.holds != Holds::Nothing {
            self.pool.release(self.relayed, self.at);
        }
        self.give_back_next();
    }
}

impl fmt::Debug for TakenPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.relayed.fmt(f)
    }
}
