//! The configuration: from a TOML file to typed, checked [`Settings`].
//!
//! A file that does not make sense is refused as a whole, with every problem found and its place. This room does not
//! open sockets and does not look for addresses; it reads the file and the secrets it names. Main items: [`load`],
//! [`parse`], [`Settings`], [`ConfigError`].

mod acme;
mod address;
mod certificate;
mod check;
mod document;
mod error;
mod host;
mod reading;
mod redact;
mod secrets;
mod settings;
pub mod units;
mod view;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

pub use acme::{ACME_STATE, Acme, Challenge, ExternalAccount, LETS_ENCRYPT};
pub use certificate::{Certificate, Validity};
pub use check::level as check_level;
pub use error::{ConfigError, Invalid, Problem};
pub use host::Host;
pub use secrets::read_file as read_secret_file;
pub use settings::{
    ADMIN_SOCKET, Accounting, Admin, AdminToken, Allocation, Alternate, Auth, Bandwidth,
    CredentialKey, Credentials, Discovery, Dtls, Family, Limits, Listener, Log, LogFormat, Metrics,
    PORT, PasswordAlgorithm, Peers, PortRange, Relay, RelayAddress, RelayHost, Reload, Scope,
    Server, Settings, Sockets, Strangers, Stun, TLS_PORT, Tcp, Tester, Tls, Transport, Watch,
    Webhook,
};
pub use view::{Change, changes};

/// A longer file is not a configuration.
const LONGEST: u64 = 1 << 20;

/// A configuration read from a file.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The file.
    pub path: PathBuf,
    /// What it says.
    pub settings: Settings,
    /// Whether secrets are written in the file itself, and every user of this machine may read it.
    pub readable_secrets: bool,
    /// All files it was read from: its own, and those of secrets and certificates.
    pub files: Vec<PathBuf>,
}

/// Reads a configuration file. Secret files it names are looked up relative to its own directory.
///
/// # Errors
/// [`ConfigError::Unreadable`] where the file cannot be read, [`ConfigError::Invalid`] with all problems found where
/// its content cannot be used.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    let readable = others_may_read(&file);
    let mut bytes = Vec::new();
    file.take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let origin = path.display().to_string();
    if bytes.len() as u64 > LONGEST {
        return Err(unreadable(io::Error::other(
            "longer than 1 MiB; is it a configuration at all?",
        )));
    }
    let text = String::from_utf8(bytes).map_err(|error| reading::not_text(&error, &origin))?;
    let base = path.parent().unwrap_or(Path::new(""));
    let reading = reading::read(&text, &origin, base)?;
    let mut files = vec![path.to_owned()];
    files.extend(reading.files);
    Ok(Loaded {
        files,
        path: path.to_owned(),
        settings: reading.settings,
        readable_secrets: readable && reading.inline_secrets,
    })
}

/// Reads a configuration from its text; `origin` names it in messages. Secret files it names are looked up relative to
/// the current directory.
///
/// # Errors
/// [`Invalid`] with all problems found.
pub fn parse(text: &str, origin: &str) -> Result<Settings, Invalid> {
    reading::read(text, origin, Path::new("")).map(|reading| reading.settings)
}

/// Whether every user of this machine may read a file.
#[cfg(unix)]
pub(crate) fn others_may_read(file: &File) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
pub(crate) fn others_may_read(_: &File) -> bool {
    false
}
