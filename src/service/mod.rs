//! The running service: a server with its settings.
//!
//! What there is to a server beyond its workers: the settings it runs with, how they become what the workers go by
//! ([`assembly`]), and what operators change while it runs. The command line starts one, the HTTP side shows it. Sockets
//! are the `net` room's, and who may ask for what is the `admin` room's. Main type: [`Service`].

pub mod assembly;

use crate::config::Settings;
use crate::engine::Shared;
use crate::net::Server;
use crate::net::addresses::RelayAddress;
use crate::net::control::Control;
use arc_swap::ArcSwap;
use assembly::Seeds;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Mutex;

/// Settings that cannot be served with, although they are consistent: what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CannotServe(String);

impl CannotServe {
    /// With this reason.
    pub fn new(reason: impl ToString) -> Self {
        CannotServe(reason.to_string())
    }
}

/// A running server and its settings. Shared by all that serve operators.
pub struct Service {
    control: Control,
    shared: Shared,
    relays: Vec<RelayAddress>,
    seeds: Seeds,
    settings: ArcSwap<Settings>,
    is_draining: AtomicBool,
    /// Held while something is changed, so that two changes do not mix.
    changes: Mutex<()>,
}

impl Service {
    /// The service that a server makes with these settings.
    #[must_use]
    pub fn new(
        server: &Server,
        shared: Shared,
        settings: Settings,
        relays: Vec<RelayAddress>,
        seeds: Seeds,
    ) -> Self {
        Service {
            control: server.control(),
            shared,
            relays,
            seeds,
            settings: ArcSwap::from_pointee(settings),
            is_draining: AtomicBool::new(false),
            changes: Mutex::new(()),
        }
    }

    /// What the workers can be asked.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Where it relays from.
    #[must_use]
    pub fn relays(&self) -> &[RelayAddress] {
        &self.relays
    }

    /// What the workers share.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Lets these settings hold from now on, as far as they can while the server runs.
    ///
    /// # Errors
    /// Where they cannot be served with; then nothing changes.
    pub async fn apply(&self, settings: Settings) -> Result<(), CannotServe> {
        let _one = self.changes.lock().await;
        let mut rules = assembly::rules(&settings, &self.relays, &self.seeds)?;
        rules.draining = self.is_draining();
        let limits = assembly::limits(&settings, self.relays.len());
        self.shared.quotas.set_limits(limits);
        self.control.set_rules(rules).await;
        self.settings.store(Arc::new(settings));
        Ok(())
    }

    /// Whether new allocations are refused.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Refuses new allocations from now on, or takes them again; those there are go on.
    ///
    /// # Errors
    /// Where the settings in force cannot be served with any more, as when an address is gone; then nothing changes.
    pub async fn set_draining(&self, draining: bool) -> Result<(), CannotServe> {
        let _one = self.changes.lock().await;
        let mut rules = assembly::rules(&self.settings(), &self.relays, &self.seeds)?;
        rules.draining = draining;
        self.control.set_rules(rules).await;
        self.is_draining.store(draining, Ordering::Relaxed);
        Ok(())
    }
}
