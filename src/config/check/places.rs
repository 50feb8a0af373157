//! Addresses: listeners, metrics and relays, alone and beside each other.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::super::document::{self, Given, List, Read};
use super::super::error::Problem;
use super::super::settings::{
    Family, Listener, Metrics, RelayAddress, RelayHost, Settings, Transport,
};
use super::Problems;

/// The addresses of a document.
pub(super) struct Places {
    pub listeners: Vec<Listener>,
    pub metrics: Metrics,
    pub relays: Vec<RelayAddress>,
}

impl Places {
    pub(super) fn check(
        listeners: List<document::Listener>,
        metrics: document::Metrics,
        relays: List<document::RelayAddress>,
        default: &Settings,
        problems: &mut Problems,
    ) -> Self {
        let listeners = check_listeners(listeners, &default.listeners, problems);
        let metrics = check_metrics(metrics.address, &listeners, &default.metrics, problems);
        Self {
            listeners: listeners
                .into_iter()
                .map(|(_, listener)| listener)
                .collect(),
            metrics,
            relays: check_relays(relays, problems),
        }
    }
}

fn check_listeners(
    given: List<document::Listener>,
    default: &[Listener],
    problems: &mut Problems,
) -> Vec<(Option<Range<usize>>, Listener)> {
    let Some(given) = given else {
        return default.iter().map(|listener| (None, *listener)).collect();
    };
    let mut listeners = Vec::new();
    for element in given {
        let span = element.span();
        let document::Listener { transport, address } = element.into_inner();
        match (transport, address) {
            (Some(transport), Some(address)) => {
                let (span, address) = (address.span(), address.into_inner().0);
                match usable(address) {
                    Ok(()) => listeners.push((span, Listener { transport, address })),
                    Err(why) => problems.add(Problem::new(
                        span,
                        format!("nobody can listen on `{address}`: {why}"),
                    )),
                }
            }
            (None, _) => problems.add(
                Problem::new(span, "this listener has no `transport`")
                    .help("transport = \"udp\" or transport = \"tcp\""),
            ),
            (_, None) => problems.add(
                Problem::new(span, "this listener has no `address`")
                    .help("for all of IPv4: address = \"0.0.0.0:3478\""),
            ),
        }
    }
    problems.repeated(&listeners, |listener| {
        format!(
            "the {} listener on `{}`",
            listener.transport, listener.address
        )
    });
    listeners
        .into_iter()
        .map(|(span, listener)| (Some(span), listener))
        .collect()
}

fn check_metrics(
    given: Given<Read<Option<SocketAddr>>>,
    listeners: &[(Option<Range<usize>>, Listener)],
    default: &Metrics,
    problems: &mut Problems,
) -> Metrics {
    let Some(given) = given else {
        return default.clone();
    };
    let (span, address) = (given.span(), given.into_inner().0);
    if let Some(address) = address {
        if let Err(why) = usable(address) {
            problems.add(Problem::new(
                span.clone(),
                format!("nobody can listen on `{address}`: {why}"),
            ));
        }
        let same = |listener: &Listener| {
            let ip = listener.address.ip();
            listener.transport == Transport::Tcp
                && listener.address.port() == address.port()
                && Family::of(ip) == Family::of(address.ip())
                && (ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified())
        };
        if let Some((other, listener)) = listeners.iter().find(|(_, listener)| same(listener)) {
            let problem = Problem::new(
                span,
                format!(
                    "`{address}` is taken by the tcp listener on `{}`",
                    listener.address
                ),
            );
            problems.add(match other {
                Some(other) => problem.other(other.clone(), "that listener"),
                None => {
                    problem.help("that listener is there by default; give metrics another port")
                }
            });
        }
    }
    Metrics { address }
}

fn check_relays(given: List<document::RelayAddress>, problems: &mut Problems) -> Vec<RelayAddress> {
    let mut hosts = Vec::new();
    let mut externals = Vec::new();
    let mut relays = Vec::new();
    for element in given.unwrap_or_default() {
        let span = element.span();
        let document::RelayAddress { address, external } = element.into_inner();
        let Some(address) = address else {
            problems.add(
                Problem::new(span, "this relay address has no `address`")
                    .help("to have it found: address = \"ipv4\" or address = \"ipv6\""),
            );
            continue;
        };
        let (place, host) = (address.span(), address.into_inner().0);
        if let RelayHost::Address(ip) = host
            && let Some(why) = strange(ip)
        {
            problems.add(
                Problem::new(
                    place.clone(),
                    format!("`{ip}` cannot be a relay address: it is {why}"),
                )
                .help(format!(
                    "to have it found: address = \"{}\"",
                    host.family().to_string().to_lowercase()
                )),
            );
        }
        hosts.push((place.clone(), host));
        let external = external.map(|external| (external.span(), external.into_inner().0));
        if let Some((span, ip)) = external.clone() {
            if Family::of(ip) != host.family() {
                problems.add(
                    Problem::new(
                        span.clone(),
                        format!(
                            "`external` is {}, its relay address is {}",
                            Family::of(ip),
                            host.family()
                        ),
                    )
                    .other(place, "the relay address"),
                );
            } else if let Some(why) = strange(ip) {
                problems.add(Problem::new(
                    span.clone(),
                    format!("`{ip}` cannot be an external address: it is {why}"),
                ));
            }
            externals.push((span, ip));
        }
        relays.push(RelayAddress {
            host,
            external: external.map(|(_, ip)| ip),
        });
    }
    problems.repeated(&hosts, |host| match host {
        RelayHost::Found(family) => format!("a relay address found by itself for {family}"),
        RelayHost::Address(ip) => format!("relay address `{ip}`"),
    });
    problems.repeated(&externals, |ip| format!("external address `{ip}`"));
    relays
}

/// Why nothing can be sent to such an address as if it were one host's.
fn strange(ip: IpAddr) -> Option<&'static str> {
    if ip.is_unspecified() {
        Some("the unspecified address, not one host's")
    } else if ip.is_multicast() {
        Some("a multicast address")
    } else if matches!(ip, IpAddr::V4(ip) if ip.is_broadcast()) {
        Some("the broadcast address")
    } else if matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some()) {
        Some("an IPv4 address in IPv6 clothing")
    } else if matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()) {
        Some("a link-local address, which means nothing elsewhere")
    } else {
        None
    }
}

/// Whether a listening socket can be bound there at all.
fn usable(address: SocketAddr) -> Result<(), &'static str> {
    if address.port() == 0 {
        return Err("port 0 is none");
    }
    match address.ip() {
        ip if ip.is_multicast() => Err("it is a multicast address"),
        IpAddr::V4(ip) if ip.is_broadcast() => Err("it is the broadcast address"),
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => Err("write IPv4 addresses as IPv4"),
        _ => Ok(()),
    }
}
