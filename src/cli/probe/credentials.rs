//! Which user name and password `probe` and `bench` show to the server.
//!
//! Reads them from arguments, the environment or files, or mints an ephemeral pair from a shared secret. The main
//! type is [`Credential`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::wire::strings;

/// The variable the password is taken from when no argument gives one.
pub const PASSWORD_VARIABLE: &str = "HAIRPIN_PASSWORD";

/// How long a minted credential is good for.
const EPHEMERAL_LIFETIME: Duration = Duration::from_secs(600);

/// Arguments that say which credential is shown to a server.
#[derive(Clone, Debug, clap::Args)]
pub struct CredentialArgs {
    /// User name
    #[arg(
        short,
        long,
        value_name = "NAME",
        help = "User name (with --secret-file: the part behind the time of expiry, the command's name by default)"
    )]
    pub username: Option<String>,

    /// The password; `HAIRPIN_PASSWORD` is read when no argument gives one.
    #[arg(
        short,
        long,
        conflicts_with_all = ["password_file", "secret_file"],
        help = "Password [env: HAIRPIN_PASSWORD]"
    )]
    pub password: Option<String>,

    /// File that holds the password
    #[arg(long, value_name = "FILE", conflicts_with = "secret_file")]
    pub password_file: Option<PathBuf>,

    /// File that holds the server's shared secret, to make an ephemeral credential of
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
}

/// A user name with its password, prepared for the wire (RFC 8265 §4.2). Its `Debug` form hides the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// What goes into USERNAME.
    pub username: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({:?}, ***)", self.username)
    }
}

/// Gathers the credential the arguments ask for; `user` is the user where they name none beside a secret.
///
/// # Errors
/// A sentence for the user when something is missing, unreadable or empty.
pub fn gather(args: &CredentialArgs, user: &str) -> Result<Credential, String> {
    if let Some(path) = &args.secret_file {
        let secret = read(path, "secret")?;
        let user = args.username.as_deref().unwrap_or(user);
        return Ok(mint(secret.as_bytes(), user, SystemTime::now()));
    }
    let Some(username) = &args.username else {
        return Err(
            "turn: needs a credential: --username with a password, or --secret-file".to_owned(),
        );
    };
    let password = match (&args.password, &args.password_file) {
        (Some(password), _) => password.clone(),
        (None, Some(path)) => read(path, "password")?,
        (None, None) => std::env::var(PASSWORD_VARIABLE).map_err(|_| {
            format!("no password: set {PASSWORD_VARIABLE}, or use --password-file or --password")
        })?,
    };
    if username.is_empty() || password.is_empty() {
        return Err("the user name and the password cannot be empty".to_owned());
    }
    let prepare = |text: &str, what: &str| {
        strings::opaque(text)
            .map(|text| text.into_owned())
            .ok_or_else(|| {
                format!("the {what} has characters that are not allowed (RFC 8265 §4.2)")
            })
    };
    Ok(Credential {
        username: prepare(username, "user name")?,
        password: prepare(&password, "password")?,
    })
}

fn read(path: &Path, what: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read the {what} file {}: {error}", path.display()))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(format!("the {what} file {} is empty", path.display()));
    }
    Ok(text.to_owned())
}

/// An ephemeral credential as TURN REST services hand them out: the name is the time of expiry in seconds since 1970
/// and the user, the password the HMAC-SHA1 of that name under the shared secret.
fn mint(secret: &[u8], user: &str, now: SystemTime) -> Credential {
    let expiry = (now + EPHEMERAL_LIFETIME)
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let username = format!("{expiry}:{user}");
    let password = match Hmac::<Sha1>::new_from_slice(secret) {
        Ok(mut mac) => {
            mac.update(username.as_bytes());
            BASE64_STANDARD.encode(mac.finalize().into_bytes())
        }
        // HMAC takes keys of any length.
        Err(_) => String::new(),
    };
    Credential { username, password }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_credential_is_what_openssl_computes() {
        // printf 1700000600:probe | openssl dgst -sha1 -hmac north -binary | base64
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let credential = mint(b"north", "probe", now);
        assert_eq!(credential.username, "1700000600:probe");
        assert_eq!(credential.password, "oO2OulHelb0hYzOKF3Pni5+vRzc=");
    }

    #[test]
    fn the_debug_form_hides_the_password() {
        let credential = mint(b"north", "probe", SystemTime::UNIX_EPOCH);
        assert!(!format!("{credential:?}").contains(&credential.password));
    }
}
