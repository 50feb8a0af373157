//! Settings that change while the server runs.
//!
//! A configuration is read and checked whole before any of it holds; one that is wrong changes nothing. What only a
//! restart can bring about, above all the sockets, stays as it was, and is named. Sessions go on: the workers take the
//! new rules between two packets, see [`crate::engine::Engine::set_rules`]. Main items: [`Service::reload`],
//! [`Service::renew_certificates`], [`Reloaded`].

use super::{CannotServe, Service, assembly};
use crate::config::{self, Certificate, Change, ConfigError, Settings};
use crate::engine;
use crate::net::addresses::{self, RelayAddress};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a reload brought about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// What holds now.
    pub changed: Vec<Change>,
    /// What will hold after a restart.
    pub needs_restart: Vec<Change>,
}

/// Why everything is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The server runs without a configuration file.
    #[error("there is no configuration file to read")]
    NoFile,
    /// The file cannot be read, or makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It makes sense, but not on this machine.
    #[error(transparent)]
    CannotServe(#[from] CannotServe),
}

impl ReloadError {
    /// The error in full, a paragraph for each problem.
    #[must_use]
    pub fn reports(&self) -> Vec<String> {
        match self {
            ReloadError::Config(error) => error.reports(),
            other => vec![other.to_string()],
        }
    }
}

impl Service {
    /// Reads the configuration anew, with all files it names, and goes by it.
    ///
    /// # Errors
    /// A [`ReloadError`] that says why everything stays as it was.
    pub async fn reload(&self) -> Result<Reloaded, ReloadError> {
        let _one = self.changes.lock().await;
        let file = self.file.as_deref().ok_or(ReloadError::NoFile)?;
        let loaded = config::load(file)?;
        let (now, mut wanted) = (self.settings(), loaded.settings);
        if let (Some(now), Some(wanted)) = (&now.tls.acme, &mut wanted.tls.acme)
            && wanted.certificate.is_none()
        {
            // What is in force stays so until there is another.
            wanted.certificate.clone_from(&now.certificate);
        }
        let next = within_reach(&now, &wanted);
        let reloaded = Reloaded {
            changed: config::changes(&now, &next),
            needs_restart: config::changes(&next, &wanted),
        };
        self.apply(next).await?;
        self.loaded
            .store(self.control.clock().now().unix, Ordering::Relaxed);
        self.files.store(Arc::new(loaded.files));
        self.readable_secrets
            .store(loaded.readable_secrets, Ordering::Relaxed);
        self.asking.reloaded.notify_one();
        Ok(reloaded)
    }

    /// Lets these settings hold from now on. The caller keeps other changes away.
    async fn apply(&self, settings: Settings) -> Result<(), CannotServe> {
        let relays = addresses::relays(&settings.relay).map_err(CannotServe::new)?;
        // An address that is found by itself may be another by now, but the sockets are where they were.
        let relays: Vec<RelayAddress> = self
            .relays()
            .iter()
            .map(|old| {
                let same = relays.iter().find(|new| new.address == old.address);
                same.copied().unwrap_or(*old)
            })
            .collect();
        let rules = self.rules(&settings, &relays, self.is_draining())?;
        // What can fail comes before the first change.
        self.show(&settings.tls)?;
        if let Some(levels) = &self.levels {
            levels.set(&settings.log.level).map_err(CannotServe::new)?;
        }
        if let Some(dtls) = &self.dtls {
            dtls.set_limits(assembly::dtls_settings(&settings));
        }
        self.shared
            .quotas
            .set_limits(assembly::limits(&settings, relays.len()));
        self.shared
            .bandwidth
            .set_limits(assembly::bandwidth_limits(&settings.bandwidth));
        let keys = assembly::allocations_of_keys(&settings);
        self.shared.quotas.set_groups(keys);
        let keys = assembly::bandwidth_of_keys(&settings);
        self.shared.bandwidth.set_groups(keys);
        self.shared
            .strangers
            .set_limits(assembly::stranger_limits(&settings));
        let mut net = assembly::net_settings(&settings, self.tls.clone(), self.dtls.clone());
        net.ledger.clone_from(&self.control.settings().ledger);
        self.control.set_settings(net);
        let external: Vec<_> = relays
            .iter()
            .map(|relay| engine::RelayAddress {
                local: relay.address,
                external: relay.public(),
            })
            .collect();
        self.control.set_external(&external).await;
        self.control.set_rules(rules).await;
        self.relays.store(Arc::new(relays));
        self.settings.store(Arc::new(settings));
        Ok(())
    }

    /// Reads the certificates and keys in force anew from their files.
    ///
    /// # Errors
    /// Where one cannot be used; then all stay.
    pub async fn renew_certificates(&self) -> Result<(), CannotServe> {
        let _one = self.changes.lock().await;
        let mut settings = Settings::clone(&self.settings());
        for certificate in &mut settings.tls.certificates {
            *certificate = certificate.read_anew().map_err(CannotServe::new)?;
        }
        self.show(&settings.tls)?;
        self.settings.store(Arc::new(settings));
        Ok(())
    }

    /// Shows clients these certificates from the next handshake on.
    pub(super) fn show(&self, wanted: &config::Tls) -> Result<(), CannotServe> {
        if let Some(dtls) = &self.dtls {
            match wanted.shown().find_map(Certificate::for_dtls) {
                Some((certificate, key)) => {
                    dtls.replace(certificate, key).map_err(CannotServe::new)?;
                }
                // It is asked for.
                None if wanted.acme.is_some() => {}
                None => {
                    return Err(CannotServe::new(
                        "DTLS listeners have no certificate of a kind they can show",
                    ));
                }
            }
        }
        if let Some(tls) = &self.tls {
            let certificates: Vec<_> = wanted.shown().cloned().collect();
            tls.replace(&certificates).map_err(CannotServe::new)?;
        }
        Ok(())
    }
}

/// The wanted settings, but those as they are that only a restart can change.
fn within_reach(now: &Settings, wanted: &Settings) -> Settings {
    let mut next = wanted.clone();
    next.listeners.clone_from(&now.listeners);
    next.discovery.clone_from(&now.discovery);
    next.server.workers = now.server.workers;
    next.server.user.clone_from(&now.server.user);
    next.server.group.clone_from(&now.server.group);
    next.server.sandbox = now.server.sandbox;
    next.sockets.receive_buffer = now.sockets.receive_buffer;
    next.sockets.send_buffer = now.sockets.send_buffer;
    next.relay.ports = now.relay.ports;
    next.relay.quarantine = now.relay.quarantine;
    let hosts = |settings: &Settings| -> Vec<_> {
        let addresses = settings.relay.addresses.iter();
        addresses.map(|address| address.host).collect()
    };
    if hosts(now) != hosts(wanted) {
        next.relay.addresses.clone_from(&now.relay.addresses);
    }
    next.dtls.handshake_timeout = now.dtls.handshake_timeout;
    // The sandbox has closed the way to TCP peers, or has not.
    if now.server.sandbox && !now.tcp_relay.enabled {
        next.tcp_relay.enabled = false;
    }
    next.tls = certificates_within_reach(&now.tls, &wanted.tls);
    next.log.format = now.log.format;
    next.metrics.clone_from(&now.metrics);
    next.accounting.clone_from(&now.accounting);
    // Who may ask there is looked up each time.
    next.admin.socket.clone_from(&now.admin.socket);
    (next.admin.address, next.admin.tls) = (now.admin.address, now.admin.tls);
    let (tester, kept) = (&mut next.admin.tester, &now.admin.tester);
    (tester.address, tester.tls) = (kept.address, kept.tls);
    (next.credentials.address, next.credentials.tls) =
        (now.credentials.address, now.credentials.tls);
    next
}

/// The wanted certificates. What an authority is asked with is opened at the start: its folder, the way to it, and where it
/// looks.
fn certificates_within_reach(now: &config::Tls, wanted: &config::Tls) -> config::Tls {
    match (&now.acme, &wanted.acme) {
        (_, None) => wanted.clone(),
        // Without the certificate that cannot be asked for there may be none at all.
        (None, Some(_)) => now.clone(),
        (Some(now), Some(_)) => {
            let mut next = wanted.clone();
            if let Some(next) = &mut next.acme {
                let asked_for = next.certificate_file();
                if next.directory_port() != now.directory_port() {
                    next.directory.clone_from(&now.directory);
                }
                next.directory_ca.clone_from(&now.directory_ca);
                next.state.clone_from(&now.state);
                next.challenge = now.challenge;
                next.http_addresses.clone_from(&now.http_addresses);
                if next.certificate_file() != asked_for {
                    next.certificate.clone_from(&now.certificate);
                }
            }
            next
        }
    }
}
