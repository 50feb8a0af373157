//! The folder of `[tls.acme]`: can the server keep there what it gets, and can nobody else take it?
//!
//! Nothing is written to find out, since whoever asks may be another user than the server.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::Finding;
use crate::config::Settings;
use crate::sandbox::NOBODY;

/// Looks at the folder, where there is to be one.
pub(super) fn examine(settings: &Settings) -> Option<Finding> {
    let state = &settings.tls.acme.as_ref()?.state;
    let (name, user) = (state.display(), &settings.server.user);
    let make = [format!("install -d -m 0700 -o USER {name}")];
    Some(match fs::metadata(state) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Finding::note("acme.no-state", format!("{name}, where the certificate is to be kept, is not there yet"))
                .why("the server makes it at its start, where it may")
                .mend("the unit of systemd makes it in any case; elsewhere make it for the user that hairpin runs as")
                .lines(make)
        }
        Err(error) => Finding::note(
            "acme.state-not-checked",
            format!("whether {name} can be written is not known: {error}"),
        ),
        Ok(folder) if folder.permissions().mode() & 0o007 != 0 => {
            Finding::problem("acme.state-open", format!("every user of this machine can reach into {name}"))
                .why("the private key is to be kept there, and the server does not start")
                .mend("take the right from them")
                .lines([format!("chmod 0700 {name}")])
        }
        // Whoever starts it as root has it become somebody else.
        Ok(folder) if folder.uid() == 0 && !["root", "0"].contains(&user.as_str()) => {
            let finding = Finding::problem(
                "acme.state-owner",
                format!("{name} belongs to root, and the server becomes {user:?}"),
            )
            .why("it could not keep its certificate, and does not start");
            if user == NOBODY {
                return Some(
                    finding
                        .mend("give hairpin a user of its own, `user` under [server], and the folder to it: others are nobody too")
                        .lines(make),
                );
            }
            let is_empty = fs::read_dir(state).map(|mut entries| entries.next().is_none());
            match is_empty {
                Ok(true) => Finding::note(
                    "acme.state-empty",
                    format!("{name} is empty and belongs to root, which gives it to {user:?} when it starts the server"),
                )
                .why("a server that is started as that user cannot keep its certificate there, and does not start")
                .mend("where systemd starts it with User=, give the folder to that user")
                .lines([format!("chown {user} {name}")]),
                Ok(false) => finding
                    .mend("give the folder to that user, with all that is in it")
                    .lines([format!("chown -R {user} {name}")]),
                Err(error) => Finding::note(
                    "acme.state-not-checked",
                    format!("{name} belongs to root, and whether anything is in it is not known: {error}"),
                ),
            }
        }
        Ok(_) => Finding::ok("acme.state", format!("{name} is there for the certificate, and for nobody else")),
    })
}
