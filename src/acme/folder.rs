//! The folder in which account and certificate outlive the process: for its user alone, and never half written.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Makes the folder if it is not there, for `owner` if that is given: the user and the group that the process is about to
/// become.
pub(super) fn prepare(folder: &Path, owner: Option<(u32, u32)>) -> Result<(), String> {
    let name = folder.display();
    let make = || -> io::Result<u32> {
        if let Some(around) = folder.parent() {
            fs::create_dir_all(around)?;
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        Ok(fs::metadata(folder)?.permissions().mode())
    };
    let mode = make()
        .map_err(|error| format!("`state` under [tls.acme], {name}, cannot be made: {error}"))?;
    if mode & 0o007 != 0 {
        return Err(format!(
            "every user of this machine can reach into `state` under [tls.acme], {name}, where a private key is to be: \
             chmod 0700 {name}"
        ));
    }
    let is_empty = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    if let Some((user, group)) = owner.filter(|_| is_empty) {
        std::os::unix::fs::chown(folder, Some(user), Some(group)).map_err(|error| {
            format!("{name} cannot be given to the user of the server: {error}")
        })?;
    }
    Ok(())
}

/// Whether a file can be written: the one it is written to first is opened, and stays for the next time.
pub(super) fn check(file: &Path) -> Result<(), String> {
    open(&in_the_making(file))
        .map(drop)
        .map_err(|error| cannot_keep(file, &error))
}

/// A sentence on a file that cannot be written.
pub(super) fn cannot_keep(file: &Path, error: &io::Error) -> String {
    let folder = file.parent().unwrap_or(file).display();
    let mend = match error.kind() {
        ErrorKind::PermissionDenied => {
            "; it has to belong to the user that hairpin runs as (`user` under [server], or User= of the unit), who has to \
             be one of its own and not nobody"
        }
        _ => "",
    };
    format!("`state` under [tls.acme], {folder}, cannot be written: {error}{mend}")
}

/// Puts a text in a file's place, whole or not at all, readable by its owner alone. `fit` looks at it beforehand, in the
/// file it is written to first.
pub(super) fn replace<E>(
    file: &Path,
    text: &str,
    fit: impl FnOnce(&Path) -> Result<(), E>,
) -> io::Result<Result<(), E>> {
    let new = in_the_making(file);
    let mut writer = open(&new)?;
    writer.write_all(text.as_bytes())?;
    writer.sync_all()?;
    if let Err(why) = fit(&new) {
        return Ok(Err(why));
    }
    fs::rename(&new, file)?;
    if let Some(folder) = file.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(Ok(()))
}

fn open(file: &Path) -> io::Result<File> {
    let open = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)?;
    // It may have been there before, and have been made readable for a group since.
    if open.metadata()?.permissions().mode() & 0o077 != 0 {
        let own = fs::Permissions::from_mode(0o600);
        open.set_permissions(own).map_err(|error| {
            let name = file.display();
            io::Error::other(format!(
                "{name} can be read by others than its owner, and chmod 0600 fails: {error}"
            ))
        })?;
    }
    Ok(open)
}

fn in_the_making(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    name.into()
}
