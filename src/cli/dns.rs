//! `hairpin dns`: the records by which clients find the server when all they are given is a domain.
//!
//! It prints what an operator puts into a zone file and looks nothing up. Main items: [`DnsArgs`], [`records`].

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::config::{Discovery, Listener, Settings, Transport};

/// What `hairpin dns` is given.
#[derive(Args)]
pub(super) struct DnsArgs {
    /// Domain that clients are given, as in `turn:example.org`
    #[arg(value_name = "DOMAIN", value_parser = name)]
    domain: String,
    /// Name of this machine, which has the A and AAAA records already
    #[arg(long, value_name = "NAME", value_parser = name)]
    host: String,
    /// Configuration file, for its listeners; without one, the listeners of a server without configuration
    #[arg(short, long, value_name = "FILE", env = "HAIRPIN_CONFIG")]
    config: Option<PathBuf>,
    /// Time the records may be cached, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    ttl: u32,
}

/// A domain name, without the dot at its end.
fn name(text: &str) -> Result<String, String> {
    let bare = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..64).contains(&label.len())
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    let is_address = bare.chars().all(|c| c.is_ascii_digit() || c == '.');
    if bare.len() < 254 && bare.split('.').all(is_label) && !is_address {
        Ok(bare.to_owned())
    } else {
        Err("expected a domain name".to_owned())
    }
}

pub(super) fn main(args: &DnsArgs) -> Result<(), Failure> {
    let settings = match &args.config {
        Some(path) => super::load(path)?.settings,
        None => Settings::default(),
    };
    super::print(&records(&settings, &args.domain, &args.host, args.ttl))
}

/// The ways in, best first, as clients should try them: the transport, its SRV service and protocol, and the NAPTR
/// service of RFC 5928, section 3.
const WAYS: [(Transport, &str, &str); 4] = [
    (Transport::Udp, "_turn._udp", "RELAY:turn.udp"),
    (Transport::Tcp, "_turn._tcp", "RELAY:turn.tcp"),
    (Transport::Tls, "_turns._tcp", "RELAY:turn.tls"),
    (Transport::Dtls, "_turns._udp", "RELAY:turn.dtls"),
];

/// The records of a zone file: SRV for STUN and TURN (RFC 8489, section 8.1; RFC 8656, section 5; RFC 7350, section
/// 4.6.2), NAPTR for TURN (RFC 5928, section 3), and SRV for NAT behaviour discovery where the server offers it (RFC
/// 5780, section 4.1).
#[must_use]
pub fn records(settings: &Settings, domain: &str, host: &str, ttl: u32) -> String {
    let ports = |transport| ports(&settings.listeners, transport);
    let mut text = String::new();
    let mut services = Vec::new();
    for (transport, turn, _) in WAYS {
        services.push((turn.replacen("turn", "stun", 1), ports(transport)));
    }
    for (transport, turn, _) in WAYS {
        services.push((turn.to_owned(), ports(transport)));
    }
    let discovery = settings
        .discovery
        .iter()
        .map(|site: &Discovery| site.primary.port());
    services.push(("_stun-behavior._udp".to_owned(), discovery.collect()));
    for (service, ports) in services {
        for (priority, port) in ports.into_iter().enumerate() {
            // Writing to a String does not fail.
            let _ = writeln!(
                text,
                "{service}.{domain}. {ttl} IN SRV {priority} 0 {port} {host}."
            );
        }
    }
    let offered = WAYS
        .iter()
        .filter(|(transport, ..)| !ports(*transport).is_empty());
    for (at, (_, srv, service)) in offered.enumerate() {
        let order = 100 + 10 * at;
        let _ = writeln!(
            text,
            "{domain}. {ttl} IN NAPTR {order} 0 \"s\" \"{service}\" \"\" {srv}.{domain}."
        );
    }
    text
}

/// The ports of the listeners that take this transport, the standard ones in front. Beside listeners for the world,
/// one on loopback is for something else on this machine.
fn ports(listeners: &[Listener], transport: Transport) -> Vec<u16> {
    let only_here = |listener: &&Listener| listener.address.ip().is_loopback();
    let all = listeners.iter().all(|listener| only_here(&listener));
    let takes = |listener: &&Listener| match listener.transport {
        Transport::Auto => matches!(transport, Transport::Tcp | Transport::Tls),
        one => one == transport,
    };
    let ports: BTreeSet<u16> = listeners
        .iter()
        .filter(|listener| all || !only_here(listener))
        .filter(takes)
        .map(|listener| listener.address.port())
        .collect();
    let mut ports: Vec<u16> = ports.into_iter().collect();
    ports.sort_by_key(|port| (![3478, 5349].contains(port), *port));
    ports
}
