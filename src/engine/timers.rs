//! The engine's deadlines: one live entry for each allocation, in a heap.
//!
//! Refreshing an allocation does not touch the heap: its entry fires at the old time, is found to be early, and is
//! put back. So keeping 20,000 allocations alive costs a few heap operations a second, not a few a packet. Nor does
//! ending one: its entries stay until they are due or outnumber the others.

use super::time::Instant;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// An allocation's place in the engine's table.
pub(super) type Slot = u32;

/// Up to so many entries nobody looks for void ones.
const MIN_SWEPT: usize = 64;

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

    /// Forgets the entries that are void, but only once there are many more than the `live` allocations have, so that
    /// this costs O(1) for each allocation that ended. A client that allocates and releases over and over would
    /// otherwise leave an entry for each time, for as long as the lifetime it asked for.
    pub fn sweep(&mut self, live: usize, is_current: impl Fn(Instant, Slot) -> bool) {
        if self.heap.len() <= MIN_SWEPT.max(4 * live) {
            return;
        }
        let mut entries = std::mem::take(&mut self.heap).into_vec();
        entries.retain(|Reverse((at, slot))| is_current(*at, *slot));
        entries.sort_unstable();
        entries.dedup();
        self.heap = entries.into();
    }

    /// Takes the next entry that is due.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, Slot)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}
