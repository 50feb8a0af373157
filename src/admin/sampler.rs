//! How much passes a second: of each session between two looks at it, of the server over the last seconds.
//!
//! A look at all sessions holds for a second, however many ask, so that a busy page costs the workers no more than a calm
//! one. Nobody looks while nobody asks; the sums of the server are noted each second. Main types: [`Sampler`], [`Sampled`].

use super::office::Office;
use crate::engine::{AllocationId, Summary};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;

/// How long a look holds.
const FRESH: Duration = Duration::from_secs(1);

/// Over how many seconds the server's rates are taken.
const WINDOW: usize = 5;

/// All sessions at one time.
pub(super) struct Sampled {
    at: Instant,
    /// The engine's clock then.
    pub instant: crate::engine::Instant,
    /// In no order.
    pub rows: Vec<Row>,
    /// Bytes of each by then.
    bytes: HashMap<AllocationId, [u64; 2]>,
}

/// A session with what passes through it, in bytes a second: since the look before, or if it was not there then, since
/// it began.
pub(super) struct Row {
    pub session: Summary,
    pub to_peers: u64,
    pub to_client: u64,
}

impl Row {
    /// Both ways together.
    pub fn rate(&self) -> u64 {
        self.to_peers + self.to_client
    }

    /// All that passed so far, both ways.
    pub fn bytes(&self) -> u64 {
        self.session.usage.bytes_to_peers + self.session.usage.bytes_to_client
    }
}

/// What passed through the server so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sums {
    pub packets_to_peers: u64,
    pub bytes_to_peers: u64,
    pub packets_to_clients: u64,
    pub bytes_to_clients: u64,
    pub hairpin_bytes: u64,
}

impl Sums {
    pub fn of(office: &Office) -> Sums {
        let sum = |value: fn(&crate::engine::Counters) -> u64| office.sum(value);
        Sums {
            packets_to_peers: sum(|c| c.to_peers.packets()),
            bytes_to_peers: sum(|c| c.to_peers.bytes() + c.tcp_to_peers.get()),
            packets_to_clients: sum(|c| c.to_clients.packets()),
            bytes_to_clients: sum(|c| c.to_clients.bytes() + c.tcp_to_clients.get()),
            hairpin_bytes: sum(|c| c.hairpin.bytes.get()),
        }
    }
}

#[derive(Default)]
pub(super) struct Sampler {
    latest: tokio::sync::Mutex<Option<Arc<Sampled>>>,
    sums: Mutex<VecDeque<(Instant, Sums)>>,
}

impl Sampler {
    /// All sessions as they were no longer than a second ago.
    pub async fn sessions(&self, office: &Office) -> Arc<Sampled> {
        let mut latest = self.latest.lock().await;
        if let Some(sampled) = latest.as_ref()
            && sampled.at.elapsed() < FRESH
        {
            return sampled.clone();
        }
        let control = office.service.control();
        let sessions = control.sessions().await;
        let (at, instant) = (Instant::now(), control.clock().now().instant);
        let former = latest.take();
        let mut bytes = HashMap::with_capacity(sessions.len());
        let mut rows = Vec::with_capacity(sessions.len());
        for session in sessions {
            let now = [session.usage.bytes_to_peers, session.usage.bytes_to_client];
            bytes.insert(session.id, now);
            let former = former.as_ref();
            let before = former.and_then(|f| Some((f.bytes.get(&session.id)?, at - f.at)));
            let (before, time) = before.map_or_else(
                || ([0, 0], instant.since(session.created)),
                |(before, time)| (*before, time),
            );
            let millis = (time.as_millis() as u64).max(1);
            let rate = |way: usize| now[way].saturating_sub(before[way]) * 1000 / millis;
            rows.push(Row {
                to_peers: rate(0),
                to_client: rate(1),
                session,
            });
        }
        let sampled = Arc::new(Sampled {
            at,
            instant,
            rows,
            bytes,
        });
        *latest = Some(sampled.clone());
        sampled
    }

    /// Forgets the last look, since something was changed.
    pub async fn forget(&self) {
        if let Some(sampled) = self.latest.lock().await.as_mut()
            && let Some(sampled) = Arc::get_mut(sampled)
            && let Some(past) = sampled.at.checked_sub(FRESH)
        {
            sampled.at = past;
        }
    }

    /// Notes the sums each second, for ever.
    pub async fn watch(&self, office: &Office) {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
            sums.push_back((Instant::now(), Sums::of(office)));
            while sums.len() > WINDOW {
                sums.pop_front();
            }
        }
    }

    /// What passes a second, over the last seconds.
    pub fn rates(&self, office: &Office) -> Sums {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((since, before)) = sums.front() else {
            return Sums::default();
        };
        let millis = (since.elapsed().as_millis() as u64).max(1);
        let now = Sums::of(office);
        let rate = |now: u64, before: u64| now.saturating_sub(before) * 1000 / millis;
        Sums {
            packets_to_peers: rate(now.packets_to_peers, before.packets_to_peers),
            bytes_to_peers: rate(now.bytes_to_peers, before.bytes_to_peers),
            packets_to_clients: rate(now.packets_to_clients, before.packets_to_clients),
            bytes_to_clients: rate(now.bytes_to_clients, before.bytes_to_clients),
            hairpin_bytes: rate(now.hairpin_bytes, before.hairpin_bytes),
        }
    }
}
