//! The running service: a server with its settings.
//!
//! What there is to a server beyond its workers: the settings it runs with, how they become what the workers go by
//! ([`assembly`]), and how they change while it runs ([`reload`]). The command line starts one, the HTTP side shows it.
//! Sockets are the `net` room's, and who may ask for what is the `admin` room's. Main types: [`Service`], [`Parts`].

pub mod assembly;
pub mod decision;
pub mod ice_servers;
pub mod reload;
mod renewal;
mod revocations;
mod watch;

pub use reload::{ReloadError, Reloaded};

use crate::config::{CredentialKey, Loaded, Settings};
use crate::engine::{Rules, Shared};
use crate::net::addresses::RelayAddress;
use crate::net::control::Control;
use crate::net::dtls::Dtls;
use crate::net::tls::Tls;
use crate::telemetry::log::Levels;
use crate::telemetry::{Facts, KeyFacts};
use arc_swap::ArcSwap;
use assembly::Seeds;
use renewal::Asking;
use revocations::Revocations;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

/// How often is looked whether the last session has ended.
const LOOK: Duration = Duration::from_millis(200);

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

/// What a service is made of.
pub struct Parts {
    /// The workers.
    pub control: Control,
    /// What they share.
    pub shared: Shared,
    /// The settings they were started with.
    pub settings: Settings,
    /// The file those are from; `None` in a trial.
    pub file: Option<PathBuf>,
    /// All files those are from, secrets' and certificates' too.
    pub files: Vec<PathBuf>,
    /// Whether secrets stand in the file itself, and every user of this machine may read it.
    pub readable_secrets: bool,
    /// Where it relays from.
    pub relays: Vec<RelayAddress>,
    /// What was made up at the start.
    pub seeds: Seeds,
    /// What TLS clients are shown.
    pub tls: Option<Arc<Tls>>,
    /// What DTLS clients are shown.
    pub dtls: Option<Arc<Dtls>>,
    /// The log's level; `None` where there is no log.
    pub levels: Option<Levels>,
}

/// A running server and its settings. Shared by all that serve operators.
pub struct Service {
    control: Control,
    shared: Shared,
    file: Option<PathBuf>,
    files: ArcSwap<Vec<PathBuf>>,
    readable_secrets: AtomicBool,
    relays: ArcSwap<Vec<RelayAddress>>,
    seeds: Seeds,
    tls: Option<Arc<Tls>>,
    dtls: Option<Arc<Dtls>>,
    levels: Option<Levels>,
    settings: ArcSwap<Settings>,
    is_draining: AtomicBool,
    /// When the settings in force were read, Unix time.
    loaded: AtomicU64,
    failed_reloads: AtomicU64,
    revoked: Revocations,
    asking: Asking,
    /// Held while something is changed, so that two changes do not mix.
    changes: Mutex<()>,
}

impl Service {
    /// A service of these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts {
            control,
            shared,
            settings,
            file,
            files,
            readable_secrets,
            relays,
            seeds,
            tls,
            dtls,
            levels,
        } = parts;
        Service {
            loaded: AtomicU64::new(control.clock().now().unix),
            control,
            shared,
            file,
            files: ArcSwap::from_pointee(files),
            readable_secrets: AtomicBool::new(readable_secrets),
            relays: ArcSwap::from_pointee(relays),
            seeds,
            tls,
            dtls,
            levels,
            settings: ArcSwap::from_pointee(settings),
            failed_reloads: AtomicU64::new(0),
            is_draining: AtomicBool::new(false),
            revoked: Revocations::default(),
            asking: Asking::default(),
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

    /// The settings in force as if they had just been read, with the ports that the listeners got.
    #[must_use]
    pub fn loaded(&self) -> Loaded {
        let mut settings = Settings::clone(&self.settings());
        let bound = &self.control.settings().listeners;
        for (listener, bound) in settings.listeners.iter_mut().zip(bound) {
            listener.address = bound.address;
        }
        Loaded {
            path: self.file.clone().unwrap_or_default(),
            settings,
            readable_secrets: self.readable_secrets.load(Ordering::Relaxed),
            files: Vec::clone(&self.files.load()),
        }
    }

    /// Where it relays from.
    #[must_use]
    pub fn relays(&self) -> Arc<Vec<RelayAddress>> {
        self.relays.load_full()
    }

    /// What the workers share.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The log's level; `None` where there is no log.
    #[must_use]
    pub fn levels(&self) -> Option<&Levels> {
        self.levels.as_ref()
    }

    /// What metrics tell beside what is counted.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let settings = self.settings();
        let is_asking = settings.tls.acme.is_some();
        Facts {
            certificates: settings
                .tls
                .shown()
                .map(|of| (of.file().display().to_string(), of.not_after()))
                .collect(),
            orders: is_asking.then(|| self.asking.facts()),
            limits: limits(&settings),
            keys: self.keys(&settings),
            closed_connections: 0,
            is_draining: self.is_draining(),
            loaded: self.loaded.load(Ordering::Relaxed),
            failed_reloads: self.failed_reloads.load(Ordering::Relaxed),
        }
    }

    fn keys(&self, settings: &Settings) -> Vec<KeyFacts> {
        let keys = settings.credentials.keys.iter();
        let facts = |key: &CredentialKey| KeyFacts {
            name: key.name.clone(),
            allocations: self.shared.quotas.in_use_by(&key.name).into(),
            limits: vec![
                ("allocations", key.allocations.unwrap_or(0).into()),
                ("bandwidth", key.bandwidth),
                (
                    "credentials_per_second",
                    key.credentials_per_second.unwrap_or(0).into(),
                ),
            ],
            made: 0,
            refused: 0,
        };
        keys.map(facts).collect()
    }

    /// Whether new allocations are refused.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Refuses new allocations from now on, or takes them again; those there are go on.
    pub async fn set_draining(&self, draining: bool) {
        let _one = self.changes.lock().await;
        let rules = Rules {
            draining,
            ..Rules::clone(&self.control.rules())
        };
        self.control.set_rules(rules).await;
        self.is_draining.store(draining, Ordering::Relaxed);
    }

    /// Refuses new allocations, and waits until those there are have ended, but no longer than the settings allow; how
    /// many are left.
    pub async fn drain(&self) -> u32 {
        let deadline = Instant::now() + self.settings().server.drain;
        self.set_draining(true).await;
        let quotas = &self.shared.quotas;
        loop {
            // Ports that are held for a second allocation count like one, and none will come for them.
            let now = self.control.clock().now().instant;
            self.shared.relays.end_reservations(now);
            if quotas.in_use() == 0 || Instant::now() >= deadline {
                break;
            }
            sleep(LOOK).await;
        }
        quotas.in_use()
    }
}

/// The limits that are in force, by their keys in the configuration.
fn limits(settings: &Settings) -> Vec<(&'static str, u64)> {
    let (limits, bandwidth, tcp, dtls) = (
        &settings.limits,
        &settings.bandwidth,
        &settings.tcp,
        &settings.dtls,
    );
    let all = [
        ("limits.allocations", limits.allocations.unwrap_or(0).into()),
        (
            "limits.allocations_per_user",
            limits.allocations_per_user.unwrap_or(0).into(),
        ),
        (
            "limits.allocations_per_source",
            limits.allocations_per_source.unwrap_or(0).into(),
        ),
        (
            "limits.permissions_per_allocation",
            limits.permissions_per_allocation.into(),
        ),
        (
            "limits.channels_per_allocation",
            limits.channels_per_allocation.into(),
        ),
        ("bandwidth.per_allocation", bandwidth.per_allocation),
        ("bandwidth.per_user", bandwidth.per_user),
        ("bandwidth.total", bandwidth.total),
        ("tcp.max_connections", tcp.max_connections as u64),
        ("tcp.max_unproved", tcp.max_unproved as u64),
        ("dtls.max_associations", dtls.max_associations as u64),
        ("dtls.max_half_open", dtls.max_half_open as u64),
    ];
    all.into_iter().filter(|(_, value)| *value > 0).collect()
}
