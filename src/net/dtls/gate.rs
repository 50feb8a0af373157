//! How many associations there may be: in all, in the middle of their handshake, and of one network in the middle of
//! theirs. Shared by all workers; asked only when a handshake begins or ends.

use super::DtlsSettings;
use crate::policy::Prefix;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
struct Counts {
    settings: DtlsSettings,
    associations: usize,
    half_open: usize,
    by_prefix: HashMap<Prefix, usize>,
}

#[derive(Debug)]
pub(super) struct Gate {
    counts: Mutex<Counts>,
}

impl Gate {
    pub fn new(settings: DtlsSettings) -> Self {
        Gate {
            counts: Mutex::new(Counts {
                settings,
                associations: 0,
                half_open: 0,
                by_prefix: HashMap::new(),
            }),
        }
    }

    /// The limits in force.
    pub fn settings(&self) -> DtlsSettings {
        self.counts().settings
    }

    /// Judges handshakes that begin by other limits from now on.
    pub fn set_settings(&self, settings: DtlsSettings) {
        self.counts().settings = settings;
    }

    /// A place for an association whose handshake begins; `None` where there are too many.
    pub fn enter(self: &Arc<Self>, client: IpAddr) -> Option<Place> {
        let mut counts = self.counts();
        let prefix = counts.settings.prefixes.of(client);
        let of_prefix = counts.by_prefix.get(&prefix).copied().unwrap_or(0);
        let is_full = counts.associations >= counts.settings.max_associations
            || counts.half_open >= counts.settings.max_half_open
            || of_prefix >= counts.settings.max_half_open_per_prefix;
        if is_full {
            return None;
        }
        counts.associations += 1;
        counts.half_open += 1;
        counts.by_prefix.insert(prefix, of_prefix + 1);
        Some(Place {
            gate: self.clone(),
            half_open: Some(prefix),
        })
    }

    pub fn associations(&self) -> usize {
        self.counts().associations
    }

    pub fn half_open(&self) -> usize {
        self.counts().half_open
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Nothing panics while it is held.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handshake_over(&self, prefix: Prefix) {
        let mut counts = self.counts();
        counts.half_open = counts.half_open.saturating_sub(1);
        if let Some(count) = counts.by_prefix.get_mut(&prefix) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.by_prefix.remove(&prefix);
            }
        }
    }
}

/// One association's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    gate: Arc<Gate>,
    half_open: Option<Prefix>,
}

impl Place {
    /// The handshake is done.
    pub fn establish(&mut self) {
        if let Some(prefix) = self.half_open.take() {
            self.gate.handshake_over(prefix);
        }
    }

    pub const fn is_half_open(&self) -> bool {
        self.half_open.is_some()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.establish();
        let mut counts = self.gate.counts();
        counts.associations = counts.associations.saturating_sub(1);
    }
}
