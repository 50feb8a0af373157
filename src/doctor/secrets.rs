//! Who may read what nobody else should know.
//!
//! How good the secrets are is for the configuration's check, which refuses those that anybody could guess.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::Finding;
use crate::config::{Loaded, others_may_read};

/// Looks at the files that secrets are in.
pub(super) fn examine(loaded: &Loaded) -> Vec<Finding> {
    let certificates: Vec<_> = loaded.settings.tls.shown().collect();
    let keys = certificates
        .iter()
        .map(|one| (one.key_file(), "the private key in"));
    // Of the files that were read, what is neither the configuration nor a certificate's holds a secret.
    let is_secret = |file: &&PathBuf| {
        **file != loaded.path
            && !certificates
                .iter()
                .any(|one| [one.file(), one.key_file()].contains(&file.as_path()))
    };
    let files = loaded.files.iter().filter(is_secret);
    let files = files.map(|file| (file.as_path(), "the secret in"));
    let config = loaded
        .readable_secrets
        .then_some((loaded.path.as_path(), "the secrets in"));
    let mut found = Vec::new();
    let mut looked_at = 0;
    for (file, what) in config.into_iter().chain(files).chain(keys) {
        looked_at += 1;
        if File::open(file).is_ok_and(|open| others_may_read(&open)) {
            found.push(readable(file, what));
        }
    }
    if found.is_empty() && looked_at > 0 {
        found.push(Finding::ok(
            "secret.files",
            "the files that secrets and keys are in cannot be read by other users",
        ));
    }
    found
}

fn readable(file: &Path, what: &str) -> Finding {
    let file = file.display();
    Finding::warning(
        "secret.readable",
        format!("every user of this machine can read {what} {file}"),
    )
    .why("whoever has it can relay through this server, or pass for it")
    .mend("take the right from them; the user that hairpin runs as needs it, by its group for instance")
    .lines([format!("chmod o-rwx {file}")])
}
