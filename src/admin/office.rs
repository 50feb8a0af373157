//! What answers are made from. Main types: [`Office`], [`Offered`].

use super::examination::Examination;
use super::history::History;
use super::minting::Minting;
use super::ready::Readiness;
use super::sampler::Sampler;
use super::tester::Tests;
use crate::doctor::Machine;
use crate::engine::Counters;
use crate::service::Service;
use crate::telemetry::Metrics;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// What of a running server is offered over HTTP.
pub struct Offered {
    /// What Prometheus scrapes.
    pub metrics: Metrics,
    /// The server with its settings.
    pub service: Arc<Service>,
    /// What its workers count.
    pub counters: Vec<Arc<Counters>>,
    /// What of the machine it may look at.
    pub machine: Machine,
}

/// The same, with what is remembered from one request to the next.
pub(super) struct Office {
    pub metrics: Metrics,
    pub service: Arc<Service>,
    pub counters: Vec<Arc<Counters>>,
    pub started: std::time::Instant,
    pub sampler: Sampler,
    pub history: History,
    pub readiness: Readiness,
    pub examination: Examination,
    pub minting: Minting,
    /// Connections over HTTP that found no place, or lost it.
    pub closed_connections: Arc<AtomicU64>,
    pub tests: Tests,
}

impl Office {
    pub fn new(offered: Offered) -> Office {
        Office {
            metrics: offered.metrics,
            service: offered.service,
            counters: offered.counters,
            started: std::time::Instant::now(),
            sampler: Sampler::default(),
            history: History::default(),
            readiness: Readiness::default(),
            examination: Examination::of(offered.machine),
            minting: Minting::default(),
            closed_connections: Arc::default(),
            tests: Tests::default(),
        }
    }

    /// A sum over all workers.
    pub fn sum(&self, value: impl Fn(&Counters) -> u64) -> u64 {
        self.counters.iter().map(|counters| value(counters)).sum()
    }

    /// How many allocations there are.
    pub fn sessions(&self) -> u64 {
        let opened = self.sum(|c| c.allocations_opened.get());
        opened.saturating_sub(self.sum(|c| c.allocations_closed.get()))
    }
}

/// Seconds since 1970.
pub(super) fn unix_now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}
