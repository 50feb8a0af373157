//! What an operator should know about settings that are allowed, but may not do what was meant.
//!
//! Nothing here is an error; those are the configuration's. Main items: [`advice`], [`Surroundings`].

use std::fs;
use std::net::IpAddr;
use std::time::SystemTime;

use crate::auth::{Credential, User};
use crate::config::{PasswordAlgorithm, Settings, Transport, Validity};
use crate::net::addresses::{self, RelayAddress};
use crate::policy::{PeerFilter, PeerRules, SpecialRange, special_ranges};

/// A shared secret with less than this many bytes can be found out from a single credential.
const SHORT_SECRET: usize = 16;

/// A certificate that ends within this many seconds should have been renewed: 7 days.
const SOON: i64 = 7 * 24 * 3600;

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
    let mut advice = Vec::new();
    credentials(settings, &mut advice);
    reach(settings, surroundings, &mut advice);
    certificates(settings, now(), &mut advice);
    peers(settings, &mut advice);
    buffers(settings, surroundings, &mut advice);
    advice
}

fn credentials(settings: &Settings, advice: &mut Vec<String>) {
    let oauth = &settings.oauth;
    if settings.auth.users.is_empty() && settings.auth.secrets.is_empty() && oauth.keys.is_empty() {
        advice.push(
            "nobody can relay: there is no shared secret and no user under [auth]; clients only learn their address"
                .to_owned(),
        );
    }
    let now = u64::try_from(now()).unwrap_or(0);
    for key in &oauth.keys {
        if key.not_after.is_some_and(|end| end < now) {
            advice.push(format!(
                "key {:?} under [oauth] is over its `not_after`: no token of it is accepted",
                key.id
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
        advice.push(format!(
            "user {:?} has no `sha256_key`, so SHA-256 is offered to nobody",
            user.name
        ));
    }
    if let Some(user) = users.iter().find(|user| lacks(user, false)) {
        advice.push(format!(
            "user {:?} has no `md5_key`: browsers and other clients of RFC 5389 cannot use that name",
            user.name
        ));
    }
    if !offers(PasswordAlgorithm::Md5) && !settings.auth.password_algorithms.is_empty() {
        advice.push(
            "browsers and other clients of RFC 5389 cannot relay: `password_algorithms` has no \"md5\"".to_owned(),
        );
    }
    if settings.auth.allow_weak {
        advice.push(
            "secrets that anybody could guess are taken: `allow_weak` is for tests".to_owned(),
        );
    }
    let short = settings
        .auth
        .secrets
        .iter()
        .filter(|secret| secret.expose().len() < SHORT_SECRET)
        .count();
    if short > 0 {
        advice.push(format!(
            "{short} of the shared secrets {} shorter than {SHORT_SECRET} bytes and can be guessed from a credential; \
             `openssl rand -base64 32` makes a good one",
            if short == 1 { "is" } else { "are" }
        ));
    }
}

fn reach(settings: &Settings, surroundings: &Surroundings, advice: &mut Vec<String>) {
    if settings
        .listeners
        .iter()
        .all(|listener| listener.address.ip().is_loopback())
    {
        advice.push(
            "only this machine can reach the server: all listeners are on loopback addresses"
                .to_owned(),
        );
    }
    for relay in &surroundings.relays {
        let (address, public) = (relay.address, relay.public());
        let Some(kind) = confined(public) else {
            continue;
        };
        advice.push(if relay.external.is_some() {
            format!("external address {public} is {kind}: peers elsewhere cannot reach it")
        } else if address.is_loopback() {
            format!("relay address {address} is a loopback address: only peers on this machine can reach it")
        } else {
            format!(
                "relay address {address} is {kind} and has no `external`: peers elsewhere cannot reach it; behind 1:1 NAT, \
                 set `external` under [[relay.address]] to the public address"
            )
        });
    }
    for site in &settings.discovery {
        for public in addresses::discovery(site, &surroundings.relays) {
            if let Some(kind) = confined(public) {
                advice.push(format!(
                    "discovery tells clients of {public}, which is {kind}: clients elsewhere cannot reach it; behind 1:1 NAT, \
                     set `primary_external` and `alternate_external` under [[discovery]]"
                ));
            }
        }
    }
    if !settings.alternates.is_empty() && settings.auth.nonce_key.is_none() {
        advice.push(
            "browsers that are redirected give up, unless this server and the alternates have the same `nonce_key`"
                .to_owned(),
        );
    }
    let ports = settings.relay.ports;
    for listener in settings
        .sockets()
        .iter()
        .filter(|listener| !listener.transport.is_stream())
    {
        let port = listener.address.port();
        if ports.contains(port) {
            advice.push(format!(
                "the {} listener on {} is among the relay ports {ports}",
                listener.transport, listener.address
            ));
        }
    }
    if let Some(address) = settings
        .metrics
        .address
        .filter(|address| !address.ip().is_loopback())
    {
        advice.push(format!(
            "metrics on {address} can be read by everyone who reaches that address"
        ));
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

fn certificates(settings: &Settings, now: i64, advice: &mut Vec<String>) {
    let certificates = &settings.tls.certificates;
    for certificate in certificates {
        let file = certificate.file().display();
        match certificate.validity(now) {
            Validity::Expired => advice.push(format!(
                "the certificate in {file} expired on {} UTC: clients will refuse it",
                certificate.not_after_date()
            )),
            Validity::NotYet => advice.push(format!(
                "the certificate in {file} is only good from {} UTC on: clients will refuse it",
                certificate.not_before_date()
            )),
            Validity::Valid if certificate.not_after() - now < SOON => advice.push(format!(
                "the certificate in {file} expires on {} UTC",
                certificate.not_after_date()
            )),
            Validity::Valid => {}
        }
    }
    let has_tls = settings
        .listeners
        .iter()
        .any(|at| at.transport.has_tls() || at.transport == Transport::Dtls);
    if !certificates.is_empty() && !has_tls {
        advice.push(
            "there is a certificate, but no listener with transport \"tls\", \"auto\" or \"dtls\" to show it"
                .to_owned(),
        );
    }
}

/// What keeps an address from being reached from elsewhere.
fn confined(address: IpAddr) -> Option<&'static str> {
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

fn peers(settings: &Settings, advice: &mut Vec<String>) {
    let peers = &settings.peers;
    let filter = PeerFilter::new(PeerRules {
        allow: peers.allow.clone(),
        ..PeerRules::default()
    });
    for opened in filter.opened_ranges() {
        advice.push(format!(
            "clients can reach {} through the relay ({}), because `allow` under [peers] says so",
            opened.entry, opened.range.title
        ));
    }
    for entry in &peers.allow {
        let within = |range: &&SpecialRange| !range.can_open && range.net.contains(entry);
        let around = |range: &&SpecialRange| {
            range.can_open && entry.contains(&range.net) && *entry != range.net
        };
        if let Some(range) = special_ranges().find(within) {
            advice.push(format!(
                "`allow` entry {entry} opens nothing: {} stays closed ({})",
                range.net, range.title
            ));
        } else if let Some(range) = special_ranges().find(around) {
            advice.push(format!(
                "`allow` entry {entry} does not open the closed ranges in it, such as {} ({}): name each that is meant",
                range.net, range.title
            ));
        }
    }
}

fn buffers(settings: &Settings, surroundings: &Surroundings, advice: &mut Vec<String>) {
    let sockets = &settings.sockets;
    let has_all = surroundings
        .listener_receive
        .is_some_and(|granted| granted >= sockets.receive_buffer);
    let listener_receive = if has_all { 0 } else { sockets.receive_buffer };
    let asked = [
        (
            "receive",
            "rmem_max",
            listener_receive.max(sockets.relay_receive_buffer),
            surroundings.receive_limit,
        ),
        (
            "send",
            "wmem_max",
            sockets.send_buffer.max(sockets.relay_send_buffer),
            surroundings.send_limit,
        ),
    ];
    for (what, name, asked, limit) in asked {
        if let Some(limit) = limit.filter(|limit| *limit < asked) {
            advice.push(format!(
                "the kernel grants {what} buffers of {limit} bytes, {asked} are set: bursts will be lost; \
                 `sysctl -w net.core.{name}={asked}` lifts the limit"
            ));
        }
    }
}
