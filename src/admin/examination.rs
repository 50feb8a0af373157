//! What `hairpin doctor` finds, from inside the running server.
//!
//! It may take seconds, where a listener does not answer, so that it is done on a thread of its own; what was found holds
//! for a while, however many ask. What cannot be seen from inside the sandbox is among the findings as a note. Main type:
//! [`Examination`].

use super::answer::{Answer, Refusal, ok};
use super::office::{Office, unix_now};
use crate::doctor::{Machine, Questions, Report, examine};
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long findings hold.
const FRESH: Duration = Duration::from_secs(10);

/// What was found lately.
pub(super) struct Examination {
    machine: Machine,
    latest: Mutex<Option<Arc<Found>>>,
}

struct Found {
    since: Instant,
    told: Told,
}

#[derive(Serialize)]
struct Told {
    /// When, in seconds since 1970.
    looked: u64,
    #[serde(flatten)]
    report: Report,
}

impl Examination {
    pub fn of(machine: Machine) -> Examination {
        Examination {
            machine,
            latest: Mutex::default(),
        }
    }

    /// What was found no longer than some seconds ago, or is found now. Whoever asks meanwhile waits for the same; `None`
    /// where looking failed.
    async fn lately(&self, office: &Office) -> Option<Arc<Found>> {
        let mut latest = self.latest.lock().await;
        if let Some(found) = latest.as_ref()
            && found.since.elapsed() < FRESH
        {
            return Some(found.clone());
        }
        let (loaded, machine) = (office.service.loaded(), self.machine.clone());
        let questions = Questions {
            relays: Some(office.service.relays().to_vec()),
            ..Questions::default()
        };
        let examined = tokio::task::spawn_blocking(move || examine(&loaded, &machine, &questions));
        let found = Arc::new(Found {
            told: Told {
                report: Report::of(examined.await.ok()?),
                looked: unix_now(),
            },
            since: Instant::now(),
        });
        *latest = Some(found.clone());
        Some(found)
    }
}

/// GET /v1/doctor
pub(super) async fn show(State(office): State<Arc<Office>>) -> Answer {
    // A task of its own goes on when whoever asked has gone, so that there is never more than one at work.
    let found = tokio::spawn(async move { office.examination.lately(&office).await }).await;
    match found.ok().flatten() {
        Some(found) => ok(&found.told),
        None => Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "looking failed; the log says why",
        )),
    }
}
