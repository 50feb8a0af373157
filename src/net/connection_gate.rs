//! How many connections there may be of clients that have not proved a credential, in all and from one network, and how
//! many of one network at all. Shared by all workers; asked when a connection begins, proves itself or ends.
//!
//! Where there are too many that have proved nothing, the one that has had most time for it makes room for the next. So
//! whoever opens connections and says nothing cannot keep others out, who prove themselves as soon as they can.
//!
//! The bound on all connections stands elsewhere, since it is asked before it is known whose a connection is. Main types:
//! [`ConnectionGate`] and [`Place`].

use super::StreamSettings;
use crate::engine::counters::ConnectionRefusal;
use crate::policy::{Prefix, Prefixes};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Connections of one network, of which some have proved nothing yet: their numbers.
#[derive(Debug, Default)]
struct Network {
    all: usize,
    unproved: BTreeSet<u64>,
}

/// A connection that has proved nothing yet.
#[derive(Debug)]
struct Unproved {
    prefix: Prefix,
    leave: Arc<Notify>,
}

#[derive(Debug)]
struct Counts {
    settings: StreamSettings,
    prefixes: Prefixes,
    next: u64,
    /// By number, and so by age.
    unproved: BTreeMap<u64, Unproved>,
    by_prefix: HashMap<Prefix, Network>,
}

impl Counts {
    /// Takes a connection out of those that have proved nothing.
    fn remove_unproved(&mut self, number: u64) -> Option<Unproved> {
        let unproved = self.unproved.remove(&number)?;
        if let Some(network) = self.by_prefix.get_mut(&unproved.prefix) {
            network.unproved.remove(&number);
        }
        Some(unproved)
    }
}

#[derive(Debug)]
pub(super) struct ConnectionGate {
    counts: Mutex<Counts>,
}

impl ConnectionGate {
    pub fn new(settings: StreamSettings, prefixes: Prefixes) -> Self {
        ConnectionGate {
            counts: Mutex::new(Counts {
                settings,
                prefixes,
                next: 0,
                unproved: BTreeMap::new(),
                by_prefix: HashMap::new(),
            }),
        }
    }

    /// Judges connections that begin by other limits from now on.
    pub fn set_limits(&self, settings: StreamSettings, prefixes: Prefixes) {
        let mut counts = self.counts();
        counts.settings = settings;
        counts.prefixes = prefixes;
    }

    /// A place for a connection that begins, and the limit by which another had to leave for it.
    ///
    /// # Errors
    /// The limit by which there is none.
    pub fn enter(
        self: &Arc<Self>,
        client: IpAddr,
    ) -> Result<(Place, Option<ConnectionRefusal>), ConnectionRefusal> {
        let mut guard = self.counts();
        let counts = &mut *guard;
        let prefix = counts.prefixes.of(client);
        let network = counts.by_prefix.entry(prefix).or_default();
        if network.all >= counts.settings.max_connections_per_prefix {
            return Err(ConnectionRefusal::Prefix);
        }
        let mut full = None;
        if network.unproved.len() >= counts.settings.max_unproved_per_prefix {
            let oldest = network.unproved.first().copied();
            full = oldest.map(|oldest| (oldest, ConnectionRefusal::UnprovedOfPrefix));
        } else if counts.unproved.len() >= counts.settings.max_unproved {
            let oldest = counts.unproved.keys().next().copied();
            full = oldest.map(|oldest| (oldest, ConnectionRefusal::Unproved));
        }
        let number = counts.next;
        counts.next += 1;
        network.all += 1;
        network.unproved.insert(number);
        let leave = Arc::new(Notify::new());
        let unproved = Unproved {
            prefix,
            leave: leave.clone(),
        };
        counts.unproved.insert(number, unproved);
        if let Some(gone) = full.and_then(|(oldest, _)| counts.remove_unproved(oldest)) {
            gone.leave.notify_one();
        }
        drop(guard);
        let place = Place {
            gate: self.clone(),
            prefix,
            number,
            leave,
        };
        Ok((place, full.map(|(_, limit)| limit)))
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Nothing panics while it is held.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    gate: Arc<ConnectionGate>,
    prefix: Prefix,
    number: u64,
    leave: Arc<Notify>,
}

impl Place {
    /// The client has proved a credential.
    pub fn prove(&mut self) {
        self.gate.counts().remove_unproved(self.number);
    }

    /// Tells the connection to make room for another, unless it has proved a credential by then.
    pub fn leave(&self) -> Arc<Notify> {
        self.leave.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.gate.counts();
        counts.remove_unproved(self.number);
        if let Some(network) = counts.by_prefix.get_mut(&self.prefix) {
            network.all = network.all.saturating_sub(1);
            if network.all == 0 {
                counts.by_prefix.remove(&self.prefix);
            }
        }
    }
}
