//! `hairpin credentials`: an ephemeral credential, as an application would make it, or an access token, as an authorization
//! server would.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::{ArgGroup, Args, ValueEnum};

use super::Failure;
use crate::auth::{
    AccessToken, SigningAlgorithm, ThirdPartySettings, TokenCipher, mint_ephemeral_with,
};
use crate::config::{self, Settings, units};
use crate::net::addresses;
use crate::service::ice_servers::{Host, IceServers, TokenCredential, urls};

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
    /// Make an access token (RFC 7635) with this key of [oauth], to try out clients that take such a thing; browsers do
    /// not. The lifetime is that of the token
    #[arg(long, value_name = "KID", requires = "config", conflicts_with_all = ["secret_file", "user", "algorithm"])]
    oauth: Option<String>,
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
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let lifetime = args.ttl.as_secs();
    if let Some(kid) = &args.oauth {
        let token = token(&settings.oauth, kid, now, lifetime)?;
        let (mac_key, access_token) = (token.mac_key.clone(), token.access_token.clone());
        let servers = IceServers::with_token(urls, kid.clone(), token);
        return super::print(&if args.json {
            format!("{}\n", servers.to_json())
        } else {
            format!(
                "kid           {kid}\nmac_key       {mac_key}\naccess_token  {access_token}\ngood for      {}\n\n\
                 For clients of RFC 7635, which send the kid as their user name. No browser takes this any more:\n\n{}\n",
                units::show_duration(args.ttl),
                servers.to_json_pretty()
            )
        });
    }
    let secret = match &args.secret_file {
        Some(path) => config::read_secret_file(path).map_err(Failure::usage)?,
        None => settings.auth.secrets.first().cloned().ok_or_else(|| {
            Failure::new("this configuration has no shared secret; set `secrets` under [auth], or give --secret-file")
        })?,
    };
    let user = args.user.as_deref().filter(|user| !user.is_empty());
    let signing = match args.algorithm {
        Algorithm::Sha1 => SigningAlgorithm::Sha1,
        Algorithm::Sha256 => SigningAlgorithm::Sha256,
    };
    let (username, password) =
        mint_ephemeral_with(signing, secret.expose().as_bytes(), user, now + lifetime);
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

/// What an authorization server would give to a client: a fresh `mac_key`, and the token that holds it.
fn token(
    oauth: &ThirdPartySettings,
    kid: &str,
    now: u64,
    lifetime: u64,
) -> Result<TokenCredential, Failure> {
    let Some(key) = oauth.keys.iter().find(|key| key.id == kid) else {
        let ids: Vec<_> = oauth
            .keys
            .iter()
            .map(|key| format!("`{}`", key.id))
            .collect();
        return Err(Failure::usage(if ids.is_empty() {
            "this configuration has no keys for access tokens; see [oauth]".to_owned()
        } else {
            format!(
                "there is no key `{kid}` under [oauth], but {}",
                ids.join(", ")
            )
        }));
    };
    let mac_key: [u8; 20] = rand::random();
    let cipher = TokenCipher::new(key.algorithm, key.secret.expose());
    let token = AccessToken::new(&mac_key, now, u32::try_from(lifetime).unwrap_or(u32::MAX));
    let sealed = cipher
        .zip(token)
        .and_then(|(cipher, token)| token.seal(&cipher, &oauth.server_name, rand::random()))
        .ok_or_else(|| Failure::new("the token cannot be made with this key"))?;
    Ok(TokenCredential {
        mac_key: BASE64_STANDARD.encode(mac_key),
        access_token: BASE64_STANDARD.encode(sealed),
    })
}
