//! What the service manager is told: that the server is ready, reads its configuration anew, stops, and lives.
//!
//! Where none asked for it (`Type=notify-reload`, `WatchdogSec=`), nothing is told.

use crate::service::Service;
use sd_notify::NotifyState;
use std::time::Duration;
use tokio::time::sleep;
use tracing::{error, warn};

pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Until [`ready`] is told again.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "the service manager cannot be told of the reload"),
    }
}

/// Tells the service manager again and again that the server lives, as long as every worker does what it is asked. A
/// worker that is stuck has the server started again.
pub(super) async fn keep_watchdog(service: &Service) {
    let Some(time) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    let mut was_silent = false;
    loop {
        let silent = service.control().silent_workers().await;
        if silent.is_empty() {
            tell(&[NotifyState::Watchdog]);
        } else if !was_silent {
            error!(workers = ?silent, "workers do not answer: the service manager is not told that the server lives");
        }
        was_silent = !silent.is_empty();
        sleep((time / 3).max(Duration::from_millis(10))).await;
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "the service manager cannot be told");
    }
}
