//! How much passes a second: of each session between two looks at it, of the server over the last seconds.
//!
//! A look at all sessions is shared by all who ask, so that a busy page costs the workers no more than a calm one. It holds
//! for a second, or, where sessions began or ended meanwhile, for many times what it took. Whoever goes through a list page
//! by page goes on in the look that the first page was of. Nobody looks while nobody asks; the sums of the server are noted
//! each second. Main types: [`Sampler`], [`Sampled`].

use super::office::Office;
use crate::engine::{AllocationId, Summary};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;

/// How long a look holds where no session began or ended, and from how far back rates are taken at least.
const FRESH: Duration = Duration::from_secs(1);

/// How long a look holds in any case: by so many times what it took, and for this long.
const WORTH: u32 = 20;
const SHORTEST: Duration = Duration::from_millis(50);

/// How many looks are kept for those who go through a list page by page; how long for somebody who has asked for one page,
/// and how long after the last page for somebody who went on.
const WALKS: usize = 6;
const BEGUN: Duration = Duration::from_secs(10);
const GOING: Duration = Duration::from_secs(60);

/// Over how many seconds the server's rates are taken.
const WINDOW: usize = 5;

/// All sessions at one time.
pub(super) struct Sampled {
    /// What pages that go on with it name it by.
    pub name: u64,
    /// The engine's clock then.
    pub instant: crate::engine::Instant,
    /// In no order.
    pub rows: Vec<Row>,
}

/// Bytes of each session at a time.
struct Bytes {
    at: Instant,
    of: HashMap<AllocationId, [u64; 2]>,
}

/// The last look, and what the next one needs.
struct Latest {
    sampled: Arc<Sampled>,
    at: Instant,
    took: Duration,
    /// How many sessions had begun, ended and moved before it.
    changes: u64,
    /// Something was changed since, by who asks.
    is_over: bool,
    bytes: Arc<Bytes>,
    /// Where its rates begin.
    before: Option<Arc<Bytes>>,
}

/// A look somebody goes through.
struct Walk {
    sampled: Arc<Sampled>,
    asked: Instant,
    goes_on: bool,
}

/// A session with what passes through it, in bytes a second: since a look at least a second before, or if it was not there then, since
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

impl Latest {
    /// Whether it is as good as another look, with so many changes by now.
    fn holds(&self, changes: u64) -> bool {
        let hold = if changes == self.changes {
            FRESH
        } else {
            (self.took * WORTH).clamp(SHORTEST, FRESH)
        };
        !self.is_over && self.at.elapsed() < hold
    }
}

#[derive(Default)]
pub(super) struct Sampler {
    latest: tokio::sync::Mutex<Option<Latest>>,
    walks: Mutex<Vec<Walk>>,
    sums: Mutex<VecDeque<(Instant, Sums)>>,
}

impl Sampler {
    /// All sessions, as they are or were no longer than a second ago.
    pub async fn sessions(&self, office: &Office) -> Arc<Sampled> {
        let mut latest = self.latest.lock().await;
        let changes = office.sum(|c| {
            let ended = c.allocations_closed.get() + c.allocations_moved.get();
            c.allocations_opened.get() + ended
        });
        if let Some(latest) = latest.as_ref()
            && latest.holds(changes)
        {
            return latest.sampled.clone();
        }
        let begun = Instant::now();
        let control = office.service.control();
        let sessions = control.sessions().await;
        let (at, instant) = (Instant::now(), control.clock().now().instant);
        // Bytes of a moment ago say nothing of a rate.
        let before = latest.take().and_then(|former| {
            if at - former.bytes.at >= FRESH {
                Some(former.bytes)
            } else {
                former.before
            }
        });
        let mut of = HashMap::with_capacity(sessions.len());
        let mut rows = Vec::with_capacity(sessions.len());
        for session in sessions {
            let now = [session.usage.bytes_to_peers, session.usage.bytes_to_client];
            of.insert(session.id, now);
            let before = before.as_ref();
            let before =
                before.and_then(|before| Some((before.of.get(&session.id)?, at - before.at)));
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
            name: rand::random(),
            instant,
            rows,
        });
        *latest = Some(Latest {
            sampled: sampled.clone(),
            at,
            took: at - begun,
            changes,
            is_over: false,
            bytes: Arc::new(Bytes { at, of }),
            before,
        });
        sampled
    }

    /// The look of this name, for the next page of who goes through it; `None` where it is forgotten.
    pub fn go_on(&self, name: u64) -> Option<Arc<Sampled>> {
        let mut walks = self.walks();
        let walk = walks.iter_mut().find(|walk| walk.sampled.name == name)?;
        (walk.asked, walk.goes_on) = (Instant::now(), true);
        Some(walk.sampled.clone())
    }

    /// Keeps a look for the next page.
    pub fn keep(&self, sampled: &Arc<Sampled>) {
        let mut walks = self.walks();
        if walks.iter().any(|walk| walk.sampled.name == sampled.name) {
            return;
        }
        if walks.len() >= WALKS {
            // Who has asked for one page may never ask for another.
            let oldest = walks.iter().enumerate();
            let oldest = oldest.min_by_key(|(_, walk)| (walk.goes_on, walk.asked));
            if let Some((place, _)) = oldest {
                walks.swap_remove(place);
            }
        }
        walks.push(Walk {
            sampled: sampled.clone(),
            asked: Instant::now(),
            goes_on: false,
        });
    }

    /// Those that nobody has left for long.
    fn walks(&self) -> MutexGuard<'_, Vec<Walk>> {
        let mut walks = self.walks.lock().unwrap_or_else(PoisonError::into_inner);
        walks.retain(|walk| walk.asked.elapsed() < if walk.goes_on { GOING } else { BEGUN });
        walks
    }

    /// Lets the last look hold no longer, since something was changed.
    pub async fn forget(&self) {
        if let Some(latest) = self.latest.lock().await.as_mut() {
            latest.is_over = true;
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
            drop(sums);
            drop(self.walks());
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
