//! How many connections there may be of clients that have not proved a credential, in all and from one network, and how
//! many of one network at all. Shared by all workers; asked when a connection begins, proves itself or ends.
//!
//! The bound on all connections stands elsewhere, since it is asked before it is known whose a connection is. Main types:
//! [`ConnectionGate`] and [`Place`].

use super::StreamSettings;
use crate::engine::counters::ConnectionRefusal;
use crate::policy::{Prefix, Prefixes};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections of one network, of which some have proved nothing yet.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    all: usize,
    unproved: usize,
}

#[derive(Debug)]
struct Counts {
    settings: StreamSettings,
    prefixes: Prefixes,
    unproved: usize,
    by_prefix: HashMap<Prefix, Count>,
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
                unproved: 0,
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

    /// A place for a connection that begins.
    pub fn enter(self: &Arc<Self>, client: IpAddr) -> Result<Place, ConnectionRefusal> {
        let mut counts = self.counts();
        let prefix = counts.prefixes.of(client);
        let of_prefix = counts.by_prefix.get(&prefix).copied().unwrap_or_default();
        if of_prefix.all >= counts.settings.max_connections_per_prefix {
            return Err(ConnectionRefusal::Prefix);
        }
        if of_prefix.unproved >= counts.settings.max_unproved_per_prefix {
            return Err(ConnectionRefusal::UnprovedOfPrefix);
        }
        if counts.unproved >= counts.settings.max_unproved {
            return Err(ConnectionRefusal::Unproved);
        }
        counts.unproved += 1;
        let count = counts.by_prefix.entry(prefix).or_default();
        count.all += 1;
        count.unproved += 1;
        drop(counts);
        Ok(Place {
            gate: self.clone(),
            prefix,
            is_proved: false,
        })
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
    is_proved: bool,
}

impl Place {
    /// The client has proved a credential.
    pub fn prove(&mut self) {
        if !self.is_proved {
            self.is_proved = true;
            let mut counts = self.gate.counts();
            counts.unproved = counts.unproved.saturating_sub(1);
            if let Some(count) = counts.by_prefix.get_mut(&self.prefix) {
                count.unproved = count.unproved.saturating_sub(1);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.prove();
        let mut counts = self.gate.counts();
        if let Some(count) = counts.by_prefix.get_mut(&self.prefix) {
            count.all = count.all.saturating_sub(1);
            if count.all == 0 {
                counts.by_prefix.remove(&self.prefix);
            }
        }
    }
}
