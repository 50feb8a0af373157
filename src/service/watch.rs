//! Files that change by themselves: renewed certificates, and configurations where that is wanted.
//!
//! Files are looked at every few seconds. That a file was replaced, written in place, or reached by another link is all
//! the same to it, and it works where the kernel tells of nothing, as on network file systems. A file counts as changed
//! once it has stood still between two looks, so that one that is being written is left alone.

use super::{ReloadError, Reloaded, Service};
use crate::config::Watch;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use tokio::time::sleep;
use tracing::{error, info};

/// What shows that a file is another: device, inode, length and time of change; `None` where it is not there.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| {
        let data = fs::metadata(file).ok()?;
        Some((
            data.dev(),
            data.ino(),
            data.size(),
            data.mtime(),
            data.mtime_nsec(),
        ))
    };
    files.iter().map(stamp).collect()
}

impl Service {
    /// Looks after the files for as long as it is polled.
    pub async fn watch(&self) {
        let mut known = Vec::new();
        let mut pending = None;
        loop {
            let settings = self.settings();
            let files = self.watched(settings.reload.watch);
            let seen: Vec<_> = files.iter().cloned().zip(stamps(&files)).collect();
            let is_first = known.is_empty() && pending.is_none();
            let names = |list: &[(PathBuf, Stamp)]| -> Vec<PathBuf> {
                list.iter().map(|(file, _)| file.clone()).collect()
            };
            if is_first {
                known = seen;
            } else if names(&known) != names(&seen) {
                // What else is different is found at the next two looks.
                let old = |file: &PathBuf| known.iter().find(|(other, _)| other == file);
                known = seen
                    .iter()
                    .map(|new| old(&new.0).unwrap_or(new).clone())
                    .collect();
                pending = None;
            } else if seen == known {
                pending = None;
            } else if pending.as_ref() == Some(&seen) {
                known = seen;
                pending = None;
                self.changed(settings.reload.watch).await;
            } else {
                pending = Some(seen);
            }
            sleep(settings.reload.interval).await;
        }
    }

    fn watched(&self, watch: Watch) -> Vec<PathBuf> {
        match watch {
            Watch::Nothing => Vec::new(),
            Watch::Certificates => {
                let settings = self.settings();
                let certificates = settings.tls.certificates.iter();
                certificates
                    .flat_map(|of| [of.file().to_owned(), of.key_file().to_owned()])
                    .collect()
            }
            Watch::Everything => Vec::clone(&self.files.load()),
        }
    }

    async fn changed(&self, watch: Watch) {
        if watch == Watch::Everything {
            // The log has been told.
            let _ = self.reload_and_tell().await;
            return;
        }
        match self.renew_certificates().await {
            Ok(()) => {
                for certificate in &self.settings().tls.certificates {
                    info!(
                        file = %certificate.file().display(),
                        names = certificate.names().join(" "),
                        not_after = certificate.not_after_date(),
                        "certificate read anew"
                    );
                }
            }
            Err(error) => error!(%error, "certificates are not read anew: the former ones stay"),
        }
    }

    /// Reloads, and tells the log how that went.
    ///
    /// # Errors
    /// As [`Service::reload`].
    pub async fn reload_and_tell(&self) -> Result<Reloaded, ReloadError> {
        let reloaded = self.reload().await;
        match &reloaded {
            Ok(reloaded) => {
                for change in &reloaded.changed {
                    info!(%change, "reloaded");
                }
                for change in &reloaded.needs_restart {
                    tracing::warn!(%change, "this will hold after a restart only");
                }
                let (changed, waiting) = (reloaded.changed.len(), reloaded.needs_restart.len());
                info!(changed, needs_restart = waiting, "configuration read anew");
            }
            Err(error) => {
                self.failed_reloads.fetch_add(1, Ordering::Relaxed);
                for report in error.reports() {
                    error!("the configuration stays as it was: {report}");
                }
            }
        }
        reloaded
    }
}
