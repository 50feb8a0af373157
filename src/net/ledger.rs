//! Where workers note what allocations there were, for accounting.
//!
//! A worker puts an entry into a queue of bounded length and goes on; what does not fit is lost and counted. Main types:
//! [`Ledger`], [`Entry`].

use crate::engine::{Closed, Moved, Opened};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// What happened to an allocation.
#[derive(Clone, Debug)]
pub enum Entry {
    /// It was made.
    Opened(Box<Opened>),
    /// It went with its client to another address.
    Moved(Box<Moved>),
    /// It ended.
    Closed(Box<Closed>),
}

/// The workers' end of the queue. Clones are of the same queue.
#[derive(Clone, Debug)]
pub struct Ledger {
    entries: Sender<Entry>,
    lost: Arc<AtomicU64>,
}

impl Ledger {
    /// A queue for so many entries, and its other end.
    #[must_use]
    pub fn new(capacity: usize) -> (Ledger, Receiver<Entry>) {
        let (entries, taken) = channel(capacity.max(1));
        let lost = Arc::default();
        (Ledger { entries, lost }, taken)
    }

    /// Notes something.
    pub(super) fn put(&self, entry: Entry) {
        if self.entries.try_send(entry).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many entries were lost, since the queue was full.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}
