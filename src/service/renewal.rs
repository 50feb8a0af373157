//! The certificate of `[tls.acme]`: asked for when it is due, shown when it is there.
//!
//! The server runs meanwhile: with the former certificate, or none, so that handshakes fail until there is one. When it is
//! due is decided by [`schedule`]; how one is asked for is the `acme` room's. Main item:
//! [`Service::keep_certificate`].

use super::{CannotServe, Service};
use crate::acme::schedule::{self, Hold};
use crate::acme::{Failure, Office, Outcome};
use crate::config::{self, Certificate, Settings};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{error, info, warn};

/// How long is slept at most before the clock is looked at again: it may be set, and machines may sleep.
const LOOK: Duration = Duration::from_secs(60);

/// What is known of the asking.
#[derive(Default)]
pub(super) struct Asking {
    orders: [AtomicU64; Outcome::ALL.len()],
    /// When the next order is due, Unix time; 0 where none is.
    next: AtomicU64,
    /// Told when settings have been read anew.
    pub reloaded: Notify,
}

impl Asking {
    fn count(&self, outcome: Outcome) {
        if let Some(counter) = self.orders.get(outcome as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Orders by their outcome, and when the next is due, for metrics.
    pub fn facts(&self) -> (Vec<(&'static str, u64)>, u64) {
        let counts = self
            .orders
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        let orders = Outcome::ALL
            .iter()
            .map(|outcome| outcome.name())
            .zip(counts);
        (orders.collect(), self.next.load(Ordering::Relaxed))
    }
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(now.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

impl Service {
    /// Has a certificate of the authority in force, as long as it is polled.
    pub async fn keep_certificate(&self, office: &Office) {
        let (mut hold, mut spread) = (Hold::default(), rand::random());
        let mut asked_for = None;
        if let Some(acme) = &self.settings().tls.acme
            && let Err(why) = acme.saved()
        {
            warn!("the certificate that was kept is not used, and another is asked for: {why}");
        }
        loop {
            let settings = self.settings();
            let Some(acme) = &settings.tls.acme else {
                self.asking.next.store(0, Ordering::Relaxed);
                self.asking.reloaded.notified().await;
                continue;
            };
            let wanted = Some((acme.certificate_file(), acme.domains.clone()));
            if asked_for != wanted {
                let file =
                    |of: &Option<(PathBuf, Vec<String>)>| of.as_ref().map(|(file, _)| file.clone());
                hold = if file(&asked_for) == file(&wanted) {
                    hold.for_another()
                } else {
                    Hold::default()
                };
            }
            let due = due(acme, spread).max(hold.until());
            let shown = u64::try_from(due.max(now())).unwrap_or(0);
            self.asking.next.store(shown, Ordering::Relaxed);
            if due > now() {
                let left = Duration::from_secs(due.abs_diff(now())).min(LOOK);
                tokio::select! {
                    () = sleep(left) => {}
                    // Whoever reloads may have mended something.
                    () = self.asking.reloaded.notified() => hold = hold.reloaded(),
                }
                continue;
            }
            asked_for = wanted;
            let names = acme.domains.join(" ");
            info!(
                directory = acme.directory,
                names, "asking for a certificate"
            );
            let asked = office.ask(acme).await;
            let asked = match asked {
                Ok(certificate) => {
                    let taken = self.take_certificate(acme, &certificate).await;
                    taken.map(|is_in_force| (certificate, is_in_force))
                }
                Err(failure) => Err(failure),
            };
            let outcome = asked
                .as_ref()
                .map_or_else(|failure| failure.outcome, |_| Outcome::Issued);
            self.asking.count(outcome);
            spread = rand::random();
            hold = match asked {
                Ok((certificate, is_in_force)) => {
                    info!(
                        names = certificate.names().join(" "),
                        not_after = certificate.not_after_date(),
                        "certificate from the authority is {}",
                        if is_in_force {
                            "in force"
                        } else {
                            "kept, not in use: [tls.acme] is another since it was asked for"
                        }
                    );
                    Hold::succeeded(now(), certificate.not_before(), certificate.not_after())
                }
                Err(failure) => {
                    let now = now();
                    let next = hold.failed(now, failure.wait, spread);
                    let again = Duration::from_secs(next.until().abs_diff(now));
                    tell(&failure, acme, &self.settings().tls, again);
                    next
                }
            };
        }
    }

    /// Shows clients a certificate from the next handshake on, if it still is what the settings ask for; whether it is.
    async fn take_certificate(
        &self,
        asked: &config::Acme,
        certificate: &Certificate,
    ) -> Result<bool, Failure> {
        let _one = self.changes.lock().await;
        let mut settings = Settings::clone(&self.settings());
        let Some(acme) = &mut settings.tls.acme else {
            return Ok(false);
        };
        if acme.certificate_file() != asked.certificate_file() {
            return Ok(false);
        }
        acme.certificate = Some(certificate.clone());
        let unfit = |CannotServe(why)| Failure {
            outcome: Outcome::Failed,
            why,
            wait: None,
        };
        self.show(&settings.tls).map_err(unfit)?;
        self.settings.store(settings.into());
        Ok(true)
    }
}

/// When a certificate is to be asked for, Unix time: at once where there is none for these names.
fn due(acme: &config::Acme, spread: f64) -> i64 {
    let fits = |certificate: &&Certificate| {
        let has = |name: &String| certificate.names().contains(name);
        certificate.file() == acme.certificate_file() && acme.domains.iter().all(has)
    };
    let in_force = acme.certificate.as_ref().filter(fits);
    in_force.map_or(0, |certificate| {
        schedule::renewal(certificate.not_before(), certificate.not_after(), spread)
    })
}

/// Tells the log that there is no certificate, what clients are shown meanwhile, and when the next order is made.
fn tell(failure: &Failure, acme: &config::Acme, shown: &config::Tls, again: Duration) {
    let former = acme.certificate.as_ref();
    let meanwhile = match former {
        Some(_) => "no new certificate, the former one stays",
        None if shown.shown().next().is_some() => {
            "no certificate, and clients are shown those of files until there is one"
        }
        None => "no certificate, and TLS handshakes fail until there is one",
    };
    error!(
        names = acme.domains.join(" "),
        outcome = failure.outcome.name(),
        again_in = ?again,
        not_after = former.map(Certificate::not_after_date),
        "{meanwhile}: {failure}"
    );
}
