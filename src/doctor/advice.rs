//! What an operator should know about settings that are allowed, but may not do what was meant.
//!
//! Nothing here is an error; those are the configuration's. What has to be asked for, of other programs or over the
//! network, is for the other modules here. Main items: [`findings`], [`advice`], [`Surroundings`].

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use super::Finding;
use crate::auth::{Credential, User};
use crate::config::{Challenge, Listener, PasswordAlgorithm, Settings, Transport, Validity};
use crate::net::addresses::{self, RelayAddress};
use crate::policy::{PeerFilter, PeerRules, SpecialRange, special_ranges};

/// A shared secret with less than this many bytes can be found out from a single credential.
const SHORT_SECRET: usize = 16;

/// A certificate that ends within this many seconds should have been renewed: 14 days.
const SOON: i64 = 14 * 24 * 3600;

/// What matters of the machine the server is to run on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Where relay sockets are bound.
    pub relays: Vec<RelayAddress>,
    /// Largest receive buffer the kernel grants, in bytes, if known.
    pub receive_limit: Option<usize>,
    /// Largest send buffer the kernel grants, in bytes, if known.
    pub send_limit: Option<usize>,
    /// What listeners were granted as a receive buffer, in bytes, if they are open. Relays get theirs later and without
    /// rights.
    pub listener_receive: Option<usize>,
}

impl Surroundings {
    /// This machine, with the relay addresses found on it.
    pub fn of_this_machine(relays: Vec<RelayAddress>) -> Self {
        let limit = |name: &str| {
            fs::read_to_string(format!("/proc/sys/net/core/{name}"))
                .ok()?
                .trim()
                .parse()
                .ok()
        };
        Self {
            relays,
            receive_limit: limit("rmem_max"),
            send_limit: limit("wmem_max"),
            listener_receive: None,
        }
    }
}

/// One sentence for each thing worth knowing, the most important first.
pub fn advice(settings: &Settings, surroundings: &Surroundings) -> Vec<String> {
    let findings = findings(settings, surroundings);
    findings.iter().map(Finding::sentence).collect()
}

/// One sentence for each certificate in force that clients refuse, or soon will; `now` is in seconds since 1970.
pub fn certificate_advice(settings: &Settings, now: i64) -> Vec<String> {
    let mut found = Vec::new();
    certificate_ends(settings, now, &mut found);
    found.iter().map(Finding::sentence).collect()
}

/// What is worth knowing, the most important first; nothing that is as it should be.
pub fn findings(settings: &Settings, surroundings: &Surroundings) -> Vec<Finding> {
    let mut found = Vec::new();
    credentials(settings, &mut found);
    reach(settings, surroundings, &mut found);
    certificates(settings, now(), &mut found);
    peers(settings, &mut found);
    buffers(settings, surroundings, &mut found);
    found
}

fn credentials(settings: &Settings, found: &mut Vec<Finding>) {
    let oauth = &settings.oauth;
    if settings.auth.users.is_empty() && settings.auth.secrets.is_empty() && oauth.keys.is_empty() {
        found.push(
            Finding::problem(
                "auth.nobody",
                "nobody can relay: there is no shared secret and no user under [auth]; clients only learn their address",
            )
            .lines(["[auth]", "secrets = [{ file = \"/etc/hairpin/secret\" }]"]),
        );
    }
    let now = u64::try_from(now()).unwrap_or(0);
    for key in &oauth.keys {
        if key.not_after.is_some_and(|end| end < now) {
            found.push(Finding::warning(
                "oauth.key-over",
                format!(
                    "key {:?} under [oauth] is over its `not_after`: no token of it is accepted",
                    key.id
                ),
            ));
        }
    }
    let lacks = |user: &User, sha256: bool| match &user.credential {
        Credential::Password(_) => false,
        Credential::Keys { sha256: key, .. } if sha256 => key.is_none(),
        Credential::Keys { md5: key, .. } => key.is_none(),
    };
    let offers = |algorithm| settings.auth.password_algorithms.contains(&algorithm);
    let users = &settings.auth.users;
    if let Some(user) = users.iter().find(|user| lacks(user, true))
        && offers(PasswordAlgorithm::Sha256)
        && !users.iter().any(|user| lacks(user, false))
    {
        found.push(Finding::note(
            "auth.no-sha256-key",
            format!(
                "user {:?} has no `sha256_key`, so SHA-256 is offered to nobody",
                user.name
            ),
        ));
    }
    if let Some(user) = users.iter().find(|user| lacks(user, false)) {
        found.push(
            Finding::warning(
                "auth.no-md5-key",
                format!("user {:?} has no `md5_key`", user.name),
            )
            .why("browsers and other clients of RFC 5389 cannot use that name"),
        );
    }
    if !offers(PasswordAlgorithm::Md5) && !settings.auth.password_algorithms.is_empty() {
        found.push(
            Finding::problem(
                "auth.no-md5",
                "browsers and other clients of RFC 5389 cannot relay: `password_algorithms` has no \"md5\"",
            )
            .lines(["[auth]", "password_algorithms = [\"sha256\", \"md5\"]"]),
        );
    }
    if settings.auth.allow_weak {
        found.push(Finding::warning(
            "auth.allow-weak",
            "secrets that anybody could guess are taken: `allow_weak` is for tests",
        ));
    }
    let short = settings
        .auth
        .secrets
        .iter()
        .filter(|secret| secret.expose().len() < SHORT_SECRET)
        .count();
    if short > 0 {
        let are = if short == 1 { "is" } else { "are" };
        found.push(
            Finding::warning(
                "auth.short-secret",
                format!(
                    "{short} of the shared secrets {are} shorter than {SHORT_SECRET} bytes and can be guessed from a credential"
                ),
            )
            .mend("`openssl rand -base64 32` makes a good one"),
        );
    }
}

fn reach(settings: &Settings, surroundings: &Surroundings, found: &mut Vec<Finding>) {
    if settings
        .listeners
        .iter()
        .all(|listener| listener.address.ip().is_loopback())
    {
        found.push(Finding::problem(
            "listener.loopback",
            "only this machine can reach the server: all listeners are on loopback addresses",
        ));
    }
    found.extend(surroundings.relays.iter().filter_map(relay));
    for site in &settings.discovery {
        for public in addresses::discovery(site, &surroundings.relays) {
            if let Some(kind) = confined(public) {
                found.push(
                    Finding::warning(
                        "discovery.private-address",
                        format!("discovery tells clients of {public}, which is {kind}"),
                    )
                    .why("clients elsewhere cannot reach it")
                    .mend("behind 1:1 NAT, set `primary_external` and `alternate_external` under [[discovery]]"),
                );
            }
        }
    }
    if !settings.alternates.is_empty() && settings.auth.nonce_key.is_none() {
        found.push(Finding::warning(
            "auth.no-nonce-key",
            "browsers that are redirected give up, unless this server and the alternates have the same `nonce_key`",
        ));
    }
    let ports = settings.relay.ports;
    for listener in settings
        .sockets()
        .iter()
        .filter(|listener| !listener.transport.is_stream())
    {
        let port = listener.address.port();
        if ports.contains(port) {
            found.push(Finding::warning(
                "listener.relay-port",
                format!(
                    "the {} listener on {} is among the relay ports {ports}",
                    listener.transport, listener.address
                ),
            ));
        }
    }
    if let Some(address) = settings
        .metrics
        .address
        .filter(|address| !address.ip().is_loopback())
    {
        found.push(Finding::warning(
            "metrics.public",
            format!("metrics on {address} can be read by everyone who reaches that address"),
        ));
    }
    let (admin, credentials) = (&settings.admin, &settings.credentials);
    let plain = |address: Option<SocketAddr>, has_tls: bool| {
        address.filter(|address| !has_tls && !address.ip().is_loopback())
    };
    if let Some(address) = plain(admin.address, admin.tls) {
        found.push(over_plain_http(
            "admin.plain",
            format!("operators' tokens go over plain HTTP on {address}"),
            "whoever sees them on the way may do what their operators may",
            "admin",
        ));
    }
    if let Some(address) = plain(credentials.address, credentials.tls) {
        found.push(over_plain_http(
            "credentials.plain",
            format!(
                "applications' tokens and the credentials they get go over plain HTTP on {address}"
            ),
            "whoever sees them on the way can relay",
            "credentials",
        ));
    }
}

fn over_plain_http(id: &'static str, what: String, why: &str, section: &str) -> Finding {
    Finding::warning(id, what)
        .why(why)
        .mend(format!(
            "`tls = true` under [{section}], or a loopback address behind a proxy that has TLS"
        ))
        .lines([format!("[{section}]"), "tls = true".to_owned()])
}

/// What is wrong with an address to relay from, if anything is.
fn relay(relay: &RelayAddress) -> Option<Finding> {
    let (address, public) = (relay.address, relay.public());
    let kind = confined(public)?;
    let finding = if relay.external.is_some() {
        Finding::problem(
            "relay.private-external",
            format!("external address {public} is {kind}"),
        )
        .why("peers elsewhere cannot reach it")
    } else if address.is_loopback() {
        Finding::problem(
            "relay.loopback-address",
            format!("relay address {address} is a loopback address"),
        )
        .why("only peers on this machine can reach it")
    } else {
        Finding::problem(
            "relay.private-address",
            format!("relay address {address} is {kind} and has no `external`"),
        )
        .why("peers elsewhere cannot reach it")
        .mend("behind 1:1 NAT, set `external` under [[relay.address]] to the public address")
        .lines([
            "[[relay.address]]".to_owned(),
            format!("address = \"{address}\""),
            "external = \"…\"    # the address that the world sees".to_owned(),
        ])
    };
    Some(finding)
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

fn certificates(settings: &Settings, now: i64, found: &mut Vec<Finding>) {
    certificate_ends(settings, now, found);
    let has_tls = settings
        .listeners
        .iter()
        .any(|at| at.transport.has_tls() || at.transport == Transport::Dtls);
    let on_443 = |at: &Listener| at.transport.has_tls() && at.address.port() == 443;
    if let Some(acme) = &settings.tls.acme
        && acme.challenge == Challenge::TlsAlpn01
        && !settings.listeners.iter().any(on_443)
    {
        found.push(
            Finding::warning(
                "acme.not-on-443",
                "challenge \"tls-alpn-01\" is looked for on port 443, and no listener speaks TLS there",
            )
            .why("no certificate is given out, unless something in front passes port 443 on to a listener that speaks TLS")
            .mend("listen on port 443 too, or set challenge = \"http-01\" under [tls.acme]")
            .lines([
                "[[listener]]",
                "transport = \"tls\"",
                "address = \"0.0.0.0:443\"",
            ]),
        );
    }
    if settings.tls.shown().next().is_some() && !has_tls {
        found.push(Finding::warning(
            "certificate.unused",
            "there is a certificate, but no listener with transport \"tls\", \"auto\" or \"dtls\" to show it",
        ));
    }
}

fn certificate_ends(settings: &Settings, now: i64, found: &mut Vec<Finding>) {
    for certificate in settings.tls.shown() {
        let file = certificate.file().display();
        let is_asked_for = settings
            .tls
            .certificates
            .iter()
            .all(|one| one != certificate);
        let soon = if is_asked_for {
            // Some last a few days only. Renewed is with a third of their life left.
            SOON.min((certificate.not_after() - certificate.not_before()) / 4)
        } else {
            SOON
        };
        match certificate.validity(now) {
            Validity::Expired => found.push(
                Finding::problem(
                    "certificate.expired",
                    format!(
                        "the certificate in {file} expired on {} UTC",
                        certificate.not_after_date()
                    ),
                )
                .why("clients will refuse it"),
            ),
            Validity::NotYet => found.push(
                Finding::problem(
                    "certificate.not-yet",
                    format!(
                        "the certificate in {file} is only good from {} UTC on",
                        certificate.not_before_date()
                    ),
                )
                .why("clients will refuse it"),
            ),
            Validity::Valid if certificate.not_after() - now < soon => {
                found.push(Finding::warning(
                    "certificate.ends-soon",
                    format!(
                        "the certificate in {file} expires on {} UTC",
                        certificate.not_after_date()
                    ),
                ));
            }
            Validity::Valid => {}
        }
    }
}

/// What keeps an address from being reached from elsewhere.
pub(super) fn confined(address: IpAddr) -> Option<&'static str> {
    if address.is_loopback() {
        return Some("a loopback address");
    }
    match address {
        IpAddr::V4(ip) if ip.is_private() => Some("private"),
        IpAddr::V4(ip) if ip.is_link_local() => Some("link-local"),
        // RFC 6598: shared by the customers of a provider.
        IpAddr::V4(ip) if matches!(ip.octets(), [100, 64..=127, ..]) => {
            Some("a provider's shared address")
        }
        IpAddr::V6(ip) if ip.is_unique_local() => Some("private"),
        _ => None,
    }
}

fn peers(settings: &Settings, found: &mut Vec<Finding>) {
    let peers = &settings.peers;
    let filter = PeerFilter::new(PeerRules {
        allow: peers.allow.clone(),
        ..PeerRules::default()
    });
    for opened in filter.opened_ranges() {
        found.push(Finding::note(
            "peers.opened",
            format!(
                "clients can reach {} through the relay ({}), because `allow` under [peers] says so",
                opened.entry, opened.range.title
            ),
        ));
    }
    for entry in &peers.allow {
        let within = |range: &&SpecialRange| !range.can_open && range.net.contains(entry);
        let around = |range: &&SpecialRange| {
            range.can_open && entry.contains(&range.net) && *entry != range.net
        };
        if let Some(range) = special_ranges().find(within) {
            found.push(Finding::warning(
                "peers.opens-nothing",
                format!(
                    "`allow` entry {entry} opens nothing: {} stays closed ({})",
                    range.net, range.title
                ),
            ));
        } else if let Some(range) = special_ranges().find(around) {
            found.push(Finding::warning(
                "peers.opens-less",
                format!(
                    "`allow` entry {entry} does not open the closed ranges in it, such as {} ({}): name each that is meant",
                    range.net, range.title
                ),
            ));
        }
    }
}

fn buffers(settings: &Settings, surroundings: &Surroundings, found: &mut Vec<Finding>) {
    let sockets = &settings.sockets;
    let has_all = surroundings
        .listener_receive
        .is_some_and(|granted| granted >= sockets.receive_buffer);
    let listener_receive = if has_all { 0 } else { sockets.receive_buffer };
    let asked = [
        (
            "kernel.receive-buffer",
            "receive",
            "rmem_max",
            listener_receive.max(sockets.relay_receive_buffer),
            surroundings.receive_limit,
        ),
        (
            "kernel.send-buffer",
            "send",
            "wmem_max",
            sockets.send_buffer.max(sockets.relay_send_buffer),
            surroundings.send_limit,
        ),
    ];
    for (id, what, name, asked, limit) in asked {
        if let Some(limit) = limit.filter(|limit| *limit < asked) {
            found.push(
                Finding::warning(
                    id,
                    format!("the kernel grants {what} buffers of {limit} bytes, {asked} are set"),
                )
                .why("bursts will be lost")
                .mend(format!(
                    "`sysctl -w net.core.{name}={asked}` lifts the limit"
                ))
                .lines([format!(
                    "echo net.core.{name}={asked} > /etc/sysctl.d/60-hairpin-{name}.conf && sysctl --system"
                )]),
            );
        }
    }
}
