//! The engine's deadlines: one live entry for each allocation, in a heap.
//!
//! Refreshing an allocation does not touch the heap: its entry fires at the old time, is found to be early, and is
//! put back. So keeping 20,000 allocations alive costs a few heap operations a second, not a few a packet.

use super::time::Instant;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// An allocation's place in the engine's table.
pub(super) type Slot = u32;

#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Slot)>>,
}

impl Timers {
    pub fn arm(&mut self, at: Instant, slot: Slot) {
        self.heap.push(Reverse((at, slot)));
    }

    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the next entry that is due.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, Slot)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}
