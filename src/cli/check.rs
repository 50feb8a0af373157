//! `hairpin check`: is a configuration right, and what would clients see?
//!
//! Opens no listener, so that it can be asked beside a running server.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::auth::Credential;
use crate::config::{Acme, Certificate, Challenge, Discovery, Listener, Loaded, Settings};
use crate::doctor::advice::{Surroundings, advice};
use crate::net::addresses::{self, RelayAddress};
use crate::service::assembly;
use crate::service::ice_servers::all_urls;
use crate::wire::PasswordAlgorithm;

/// What `hairpin check` is given.
#[derive(Args)]
pub(super) struct CheckArgs {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", env = "HAIRPIN_CONFIG")]
    config: PathBuf,
}

pub(super) fn main(args: &CheckArgs) -> Result<(), Failure> {
    let loaded = super::load(&args.config)?;
    let relays = addresses::relays(&loaded.settings.relay)
        .map_err(|error| Failure::new(format!("{}: {error}", args.config.display())))?;
    super::print(&report(&loaded, relays))
}

fn report(loaded: &Loaded, relays: Vec<RelayAddress>) -> String {
    let settings = &loaded.settings;
    let surroundings = Surroundings::of_this_machine(relays);
    let mut sections = vec![
        (
            "listeners",
            settings.sockets().iter().map(show_listener).collect(),
        ),
        (
            "certificates",
            settings
                .tls
                .certificates
                .iter()
                .map(show_certificate)
                .collect(),
        ),
        (
            "certificate of an authority",
            settings
                .tls
                .acme
                .as_ref()
                .map(show_acme)
                .unwrap_or_default(),
        ),
        (
            "relay addresses",
            surroundings
                .relays
                .iter()
                .map(|relay| show_relay(relay, settings))
                .collect(),
        ),
        (
            "NAT behaviour discovery",
            match settings.discovery.as_slice() {
                [] => vec!["off".to_owned()],
                sites => sites
                    .iter()
                    .map(|site| show_discovery(site, &surroundings.relays))
                    .collect(),
            },
        ),
        ("credentials", credentials(settings)),
        (
            "clients use",
            all_urls(
                &settings.listeners,
                &[],
                &surroundings.relays,
                &settings.tls,
            ),
        ),
        (
            "metrics",
            vec![
                settings
                    .metrics
                    .address
                    .map_or("off".to_owned(), |at| format!("http://{at}/metrics")),
            ],
        ),
    ];
    let mut warnings = advice(settings, &surroundings);
    if loaded.readable_secrets {
        warnings.insert(
            0,
            format!(
                "every user of this machine can read the secrets in {}: chmod o-r",
                loaded.path.display()
            ),
        );
    }
    if !warnings.is_empty() {
        sections.push(("warnings", warnings));
    }
    let mut text = format!("{}: no mistakes found\n", loaded.path.display());
    sections.retain(|(_, lines): &(_, Vec<String>)| !lines.is_empty());
    for (title, lines) in sections {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n{title}");
        for line in lines {
            let _ = writeln!(text, "  {line}");
        }
    }
    text
}

fn show_discovery(site: &Discovery, relays: &[RelayAddress]) -> String {
    let [primary, alternate] = addresses::discovery(site, relays);
    let port = |socket: SocketAddr, ip| SocketAddr::new(ip, socket.port());
    format!(
        "{} and {}",
        port(site.primary, primary),
        port(site.alternate, alternate)
    )
}

fn show_listener(listener: &Listener) -> String {
    let Listener {
        transport,
        address,
        proxy_protocol_from: proxies,
    } = listener;
    if proxies.is_empty() {
        return format!("{transport} {address}");
    }
    let proxies: Vec<_> = proxies.iter().map(ToString::to_string).collect();
    format!(
        "{transport} {address}, by the PROXY protocol from {} only",
        proxies.join(", ")
    )
}

/// What it is for and until when; nothing of its key but the place.
fn show_certificate(certificate: &Certificate) -> String {
    let names = certificate.names().iter().cloned();
    let addresses = certificate.addresses().iter().map(ToString::to_string);
    let mut whom: Vec<_> = names.chain(addresses).collect();
    if whom.is_empty() {
        whom.push("nobody".to_owned());
    }
    format!(
        "{}: for {}; until {} UTC; key {}",
        certificate.file().display(),
        whom.join(", "),
        certificate.not_after_date(),
        certificate.key_file().display()
    )
}

/// Whom it is asked of, how it is proved, and what there is already.
fn show_acme(acme: &Acme) -> Vec<String> {
    let names = acme.domains.join(", ");
    let challenge = match acme.challenge {
        Challenge::TlsAlpn01 => "tls-alpn-01, by the listeners that speak TLS".to_owned(),
        Challenge::Http01 => {
            let at: Vec<_> = acme
                .http_addresses
                .iter()
                .map(ToString::to_string)
                .collect();
            format!("http-01, on {}", at.join(" and "))
        }
    };
    vec![
        format!("for {names}, asked of {}", acme.directory),
        format!("proved by {challenge}"),
        format!("kept in {}", acme.state.display()),
        match &acme.certificate {
            Some(certificate) => format!("there is one until {} UTC", certificate.not_after_date()),
            None => "none is there yet that can be read from here".to_owned(),
        },
    ]
}

fn show_relay(relay: &RelayAddress, settings: &Settings) -> String {
    let ports = settings.relay.ports;
    let bound = match relay.external {
        Some(external) if external != relay.address => format!(", here bound to {}", relay.address),
        _ => String::new(),
    };
    format!(
        "{}, ports {ports} ({} of them){bound}",
        relay.public(),
        ports.count()
    )
}

/// What clients of RFC 8489 are offered.
fn offered(settings: &Settings) -> String {
    let Ok(authenticator) = assembly::authenticator(settings) else {
        return "none".to_owned();
    };
    let offer = authenticator.offer();
    let names: Vec<_> = offer
        .algorithms()
        .iter()
        .map(|algorithm| match algorithm {
            PasswordAlgorithm::Md5 => "md5",
            PasswordAlgorithm::Sha256 => "sha256",
        })
        .collect();
    let names = if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    };
    format!(
        "{names}; user names {} be sent hashed",
        if offer.anonymity() { "can" } else { "cannot" }
    )
}

/// How many credentials of each kind, and none of them.
fn credentials(settings: &Settings) -> Vec<String> {
    let auth = &settings.auth;
    let with_password = |credential: &Credential| matches!(credential, Credential::Password(_));
    let passwords = auth
        .users
        .iter()
        .filter(|user| with_password(&user.credential))
        .count();
    vec![
        format!("realm {}", auth.realm),
        format!("shared secrets: {}", auth.secrets.len()),
        format!(
            "users: {} with a password, {} with keys",
            passwords,
            auth.users.len() - passwords
        ),
        format!("offered algorithms: {}", offered(settings)),
        match settings.oauth.keys.len() {
            0 => "access tokens: off".to_owned(),
            keys => format!(
                "access tokens: for {}, keys: {keys}",
                settings.oauth.server_name
            ),
        },
    ]
}
