//! `hairpin credentials`: an ephemeral credential, as an application would make it.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{ArgGroup, Args, ValueEnum};

use super::Failure;
use super::ice_servers::{Host, IceServers, urls};
use crate::auth::{SigningAlgorithm, mint_ephemeral_with};
use crate::config::{self, Settings, units};
use crate::net::addresses;

/// RFC 8489, section 14.3: USERNAME is shorter than 509 bytes.
const LONGEST_NAME: usize = 508;

/// What `hairpin credentials` is given.
#[derive(Args)]
#[command(group(ArgGroup::new("source").required(true).multiple(true).args(["config", "secret_file"])))]
pub(super) struct CredentialsArgs {
    /// Configuration file, for its first shared secret and its listeners
    #[arg(short, long, value_name = "FILE", env = "HAIRPIN_CONFIG")]
    config: Option<PathBuf>,
    /// File with the shared secret, in place of the configuration's
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// User the credential is for: logs show it, and limits count by it
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// How long it is good for, from "1s" to "366d"
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = ttl)]
    ttl: Duration,
    /// How the user name is signed; HMAC-SHA1 is what every server understands
    #[arg(long, value_name = "ALGORITHM", default_value = "sha1")]
    algorithm: Algorithm,
    /// Name or IP address by which clients reach the server; may be repeated. Without it, the addresses of the
    /// configuration's listeners, or of this machine
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<Host>,
    /// Print nothing but the JSON, on one line
    #[arg(long)]
    json: bool,
}

/// The hash function of the signature's HMAC.
#[derive(Clone, Copy, ValueEnum)]
enum Algorithm {
    Sha1,
    Sha256,
}

fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = units::duration(text)?;
    if ttl < Duration::from_secs(1) || ttl > Duration::from_secs(366 * 24 * 3600) {
        return Err("expected \"1s\" to \"366d\"".to_owned());
    }
    Ok(ttl)
}

pub(super) fn main(args: &CredentialsArgs) -> Result<(), Failure> {
    let settings = match &args.config {
        Some(path) => super::load(path)?.settings,
        None => Settings::default(),
    };
    let secret = match &args.secret_file {
        Some(path) => config::read_secret_file(path).map_err(Failure::usage)?,
        None => settings.auth.secrets.first().cloned().ok_or_else(|| {
            Failure::new("this configuration has no shared secret; set `secrets` under [auth], or give --secret-file")
        })?,
    };
    let relays = if args.hosts.is_empty() {
        addresses::relays(&settings.relay)
            .map_err(|error| Failure::new(format!("{error}; or give --host")))?
    } else {
        Vec::new()
    };
    let urls = urls(&settings.listeners, &args.hosts, &relays, &settings.tls);
    if urls.is_empty() {
        return Err(Failure::new(
            "no listener can be reached by these hosts: they are of another IP version",
        ));
    }
    let expiry = SystemTime::now() + args.ttl;
    let expiry = expiry
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let user = args.user.as_deref().filter(|user| !user.is_empty());
    let signing = match args.algorithm {
        Algorithm::Sha1 => SigningAlgorithm::Sha1,
        Algorithm::Sha256 => SigningAlgorithm::Sha256,
    };
    let (username, password) =
        mint_ephemeral_with(signing, secret.expose().as_bytes(), user, expiry);
    if username.len() > LONGEST_NAME {
        return Err(Failure::usage(format!(
            "`{username}` is longer than {LONGEST_NAME} bytes, the most a message takes"
        )));
    }
    let servers = IceServers::new(urls, username.as_str(), password.as_str());
    super::print(&if args.json {
        format!("{}\n", servers.to_json())
    } else {
        format!(
            "username  {username}\npassword  {password}\ngood for  {}\n\n{}\n",
            units::show_duration(args.ttl),
            servers.to_json_pretty()
        )
    })
}
