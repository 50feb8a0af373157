//! What the last hour was like, for charts: a sample of the counters every five seconds, in a ring.
//!
//! The ring takes as much memory after a year as after an hour. It is of this process: a restart begins a new one. Main type:
//! [`History`].

use super::answer::{Answer, Refusal, ok};
use super::office::{Office, unix_now};
use super::sampler::Sums;
use super::status::{Ports, Rate};
use crate::engine::Counters;
use crate::telemetry::process::thread_cpu;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;

/// How often a sample is taken.
const INTERVAL: Duration = Duration::from_secs(5);

/// How many are kept: those of an hour.
const KEPT: usize = 720;

/// Names of reasons, each with what was counted.
#[derive(Clone)]
struct Reasons(Box<[(&'static str, &'static str, u64)]>);

impl Serialize for Reasons {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(kind, name, count)| {
            let key = match *kind {
                "" => (*name).to_owned(),
                kind => format!("{kind}/{name}"),
            };
            (key, count)
        }))
    }
}

impl Reasons {
    /// Those of all workers, which have them in one order.
    fn sum(
        office: &Office,
        of: impl Fn(&Counters) -> Vec<(&'static str, &'static str, u64)>,
    ) -> Reasons {
        let mut sums: Vec<(&str, &str, u64)> = Vec::new();
        for counters in &office.counters {
            for (place, (kind, name, count)) in of(counters).into_iter().enumerate() {
                match sums.get_mut(place) {
                    Some((_, _, sum)) => *sum += count,
                    None => sums.push((kind, name, count)),
                }
            }
        }
        Reasons(sums.into())
    }

    /// What was counted since then; reasons of which there were none are not kept.
    fn since(&self, before: &Reasons) -> Reasons {
        let pairs = self.0.iter().zip(&before.0);
        let grown = |(now, before): (&(_, _, u64), &(_, _, u64))| {
            (now.0, now.1, now.2.saturating_sub(before.2))
        };
        let grown = pairs.map(grown).filter(|(_, _, count)| *count > 0);
        Reasons(grown.collect())
    }
}

fn drops(counters: &Counters) -> Vec<(&'static str, &'static str, u64)> {
    let all = counters.drops();
    all.map(|(reason, count)| ("", reason.name(), count))
        .collect()
}

/// Packets that were to be relayed and did not get through: those dropped for want of room, and what the kernel dropped
/// before it was read, which is media for the most part where there is so much.
fn lost(office: &Office) -> u64 {
    let of_worker = |counters: &Counters| {
        let losses = counters.drops().filter(|(reason, _)| reason.is_loss());
        losses.map(|(_, count)| count).sum()
    };
    office.sum(of_worker) + office.metrics.kernel_drops()
}

fn refusals(counters: &Counters) -> Vec<(&'static str, &'static str, u64)> {
    let credentials = counters.auth_failures();
    let credentials = credentials.map(|(why, count)| ("credentials", why.name(), count));
    let limits = counters.refusals();
    let limits = limits.map(|(why, count)| ("limit", why.name(), count));
    let connections = counters.connection_refusals();
    let connections = connections.map(|(why, count)| ("connection", why.name(), count));
    let unanswered = counters.suppressed_answers();
    let unanswered = unanswered.map(|(why, count)| ("unanswered", why.name(), count));
    let all = credentials.chain(limits).chain(connections);
    all.chain(unanswered).collect()
}

/// What a worker has counted.
#[derive(Clone)]
struct WorkerSums {
    sessions: u64,
    packets: u64,
    busy: Duration,
}

impl WorkerSums {
    fn of(counters: &Counters) -> WorkerSums {
        let closed = counters.allocations_closed.get();
        let thread = i32::try_from(counters.thread.get()).ok();
        let busy = thread.filter(|thread| *thread > 0).and_then(thread_cpu);
        WorkerSums {
            sessions: counters.allocations_opened.get().saturating_sub(closed),
            packets: counters.to_peers.packets() + counters.to_clients.packets(),
            busy: busy.unwrap_or_default(),
        }
    }
}

/// All that was counted by a time.
struct Counted {
    at: Instant,
    sums: Sums,
    dropped: Reasons,
    lost: u64,
    refused: Reasons,
    workers: Vec<WorkerSums>,
    ports: Ports,
}

impl Counted {
    fn now(office: &Office) -> Counted {
        let workers = office.counters.iter();
        Counted {
            at: Instant::now(),
            sums: Sums::of(office),
            dropped: Reasons::sum(office, drops),
            lost: lost(office),
            refused: Reasons::sum(office, refusals),
            workers: workers.map(|counters| WorkerSums::of(counters)).collect(),
            ports: Ports::of(office),
        }
    }
}

/// What happened between two times.
#[derive(Clone, Serialize)]
struct Sample {
    time: u64,
    sessions: u64,
    to_peers: Rate,
    to_clients: Rate,
    dropped: Reasons,
    lost: u64,
    refused: Reasons,
    workers: Box<[Worker]>,
    ports: Ports,
}

#[derive(Clone, Serialize)]
struct Worker {
    sessions: u64,
    packets_per_second: u64,
    busy_percent: u64,
}

impl Sample {
    fn between(before: &Counted, now: &Counted) -> Sample {
        let passed = now.at.duration_since(before.at);
        let millis = (passed.as_millis() as u64).max(1);
        let rate = |now: u64, before: u64| now.saturating_sub(before) * 1000 / millis;
        let workers = before.workers.iter().zip(&now.workers);
        Sample {
            time: unix_now(),
            sessions: now.workers.iter().map(|worker| worker.sessions).sum(),
            to_peers: Rate {
                packets_per_second: rate(now.sums.packets_to_peers, before.sums.packets_to_peers),
                bytes_per_second: rate(now.sums.bytes_to_peers, before.sums.bytes_to_peers),
            },
            to_clients: Rate {
                packets_per_second: rate(
                    now.sums.packets_to_clients,
                    before.sums.packets_to_clients,
                ),
                bytes_per_second: rate(now.sums.bytes_to_clients, before.sums.bytes_to_clients),
            },
            dropped: now.dropped.since(&before.dropped),
            lost: now.lost.saturating_sub(before.lost),
            refused: now.refused.since(&before.refused),
            ports: now.ports,
            workers: workers
                .map(|(before, now)| Worker {
                    sessions: now.sessions,
                    packets_per_second: rate(now.packets, before.packets),
                    // A worker that was started again is another thread, whose time began anew.
                    busy_percent: now.busy.saturating_sub(before.busy).as_millis() as u64 * 100
                        / millis,
                })
                .collect(),
        }
    }
}

/// The ring of samples.
pub(super) struct History(Mutex<VecDeque<Sample>>);

impl Default for History {
    fn default() -> History {
        History(Mutex::new(VecDeque::with_capacity(KEPT)))
    }
}

impl History {
    /// Takes a sample every five seconds, for ever.
    pub async fn watch(&self, office: &Office) {
        let mut before = Counted::now(office);
        let mut tick = tokio::time::interval(INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await;
        loop {
            tick.tick().await;
            let now = Counted::now(office);
            self.keep(Sample::between(&before, &now));
            before = now;
        }
    }

    fn keep(&self, sample: Sample) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while samples.len() >= KEPT {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// Those that were taken after a time, Unix time, oldest first.
    fn after(&self, time: u64) -> Vec<Sample> {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = samples.iter().filter(|sample| sample.time > time);
        wanted.cloned().collect()
    }
}

/// Which samples are wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    #[serde(default)]
    after: u64,
}

#[derive(Serialize)]
struct Shown {
    interval_seconds: u64,
    kept: usize,
    samples: Vec<Sample>,
}

/// GET /v1/history
pub(super) async fn show(
    State(office): State<Arc<Office>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Answer {
    let Query(wanted) = wanted.map_err(|error| Refusal::bad(error.body_text()))?;
    ok(&Shown {
        interval_seconds: INTERVAL.as_secs(),
        kept: KEPT,
        samples: office.history.after(wanted.after),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn counted(packets: u64, refused: u64, at: Instant) -> Counted {
        Counted {
            at,
            sums: Sums {
                packets_to_peers: packets,
                bytes_to_peers: packets * 100,
                ..Sums::default()
            },
            dropped: Reasons(Box::new([("", "malformed", 7)])),
            lost: packets / 500,
            refused: Reasons(Box::new([("limit", "ports", refused)])),
            ports: Ports {
                free: 90,
                used: 10,
                quarantined: 0,
                reserved: 0,
            },
            workers: vec![WorkerSums {
                sessions: 3,
                packets,
                busy: Duration::from_millis(packets),
            }],
        }
    }

    fn sample() -> Sample {
        let start = Instant::now();
        let before = counted(1000, 1, start);
        Sample::between(&before, &counted(2000, 5, start + INTERVAL))
    }

    #[test]
    fn a_sample_says_what_passed_a_second_and_what_was_refused_in_between() {
        let told = serde_json::to_value(sample()).unwrap();
        assert_eq!(told["to_peers"]["packets_per_second"], 200);
        assert_eq!(told["to_peers"]["bytes_per_second"], 20_000);
        assert_eq!(told["workers"][0]["busy_percent"], 20);
        assert_eq!(told["refused"], serde_json::json!({"limit/ports": 4}));
        assert_eq!(told["dropped"], serde_json::json!({}));
        assert_eq!(told["lost"], 2);
        assert_eq!(told["ports"]["used"], 10);
    }

    #[test]
    fn an_hour_of_samples_is_kept_and_no_more() {
        let history = History::default();
        for time in 1..=KEPT as u64 + 100 {
            history.keep(Sample { time, ..sample() });
        }
        let all = history.after(0);
        assert_eq!((all.len(), all.first().unwrap().time), (KEPT, 101));
        assert_eq!(history.after(KEPT as u64 + 98).len(), 2);
    }
}
