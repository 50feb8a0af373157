//! Addresses: listeners, metrics and relays, alone and beside each other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::path::Path;

use ipnet::IpNet;

use super::super::certificate::Certificate;
use super::super::document::{self, Given, List, Read};
use super::super::error::Problem;
use super::super::settings::{
    Discovery, Family, Listener, Metrics, RelayAddress, RelayHost, Settings, TLS_PORT, Transport,
};
use super::{Problems, discovery};

/// The addresses of a document.
pub(super) struct Places {
    pub listeners: Vec<Listener>,
    pub discovery: Vec<Discovery>,
    pub metrics: Metrics,
    pub relays: Vec<RelayAddress>,
}

/// The certificates of a document: whether there are any, those of files that are in order, and whether an authority is
/// asked for one.
#[derive(Clone, Copy)]
pub(super) struct Certificates<'a> {
    pub are_given: bool,
    pub read: &'a [Certificate],
    pub is_asked_for: bool,
}

impl Places {
    pub(super) fn check(
        listeners: List<document::Listener>,
        certificates: Certificates<'_>,
        sites: List<document::Discovery>,
        metrics: document::Metrics,
        relays: Vec<RelayAddress>,
        default: &Settings,
        problems: &mut Problems,
    ) -> Self {
        let listeners = check_listeners(listeners, certificates, &default.listeners, problems);
        let metrics = check_metrics(metrics.address, &listeners, &default.metrics, problems);
        let discovery = discovery::check(sites, &listeners, problems);
        Self {
            listeners: listeners
                .into_iter()
                .map(|(_, listener)| listener)
                .collect(),
            discovery,
            metrics,
            relays,
        }
    }
}

fn check_listeners(
    given: List<document::Listener>,
    certificates: Certificates<'_>,
    default: &[Listener],
    problems: &mut Problems,
) -> Vec<(Option<Range<usize>>, Listener)> {
    let has_certificate = certificates.are_given;
    let Some(given) = given else {
        let mut listeners = default.to_vec();
        if has_certificate {
            let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
            listeners.extend(
                any.map(|ip| Listener::direct(Transport::Tls, SocketAddr::new(ip, TLS_PORT))),
            );
        }
        return listeners
            .into_iter()
            .map(|listener| (None, listener))
            .collect();
    };
    let mut listeners = Vec::new();
    for element in given {
        let span = element.span();
        let document::Listener {
            transport,
            address,
            proxy_protocol_from,
        } = element.into_inner();
        let proxies = proxies(proxy_protocol_from, problems);
        match (transport, address) {
            (Some(transport), Some(address)) => {
                let (span, address) = (address.span(), address.into_inner().0);
                if transport == Transport::Dtls {
                    check_dtls(&span, certificates, &proxies, problems);
                }
                match usable(address) {
                    Ok(()) => {
                        if transport.has_tls() && !has_certificate {
                            problems.add(without_certificate(span.clone(), transport));
                        }
                        let proxy_protocol_from = proxies;
                        listeners.push((
                            span,
                            Listener {
                                transport,
                                address,
                                proxy_protocol_from,
                            },
                        ));
                    }
                    Err(why) => problems.add(Problem::new(
                        span,
                        format!("nobody can listen on `{address}`: {why}"),
                    )),
                }
            }
            (None, _) => problems.add(
                Problem::new(span, "this listener has no `transport`")
                    .help("transport = \"udp\", \"tcp\", \"tls\", \"auto\" or \"dtls\""),
            ),
            (_, None) => problems.add(
                Problem::new(span, "this listener has no `address`")
                    .help("for all of IPv4: address = \"0.0.0.0:3478\""),
            ),
        }
    }
    let named: Vec<_> = listeners
        .iter()
        .map(|(span, listener)| (span.clone(), (listener.transport, listener.address)))
        .collect();
    problems.repeated(&named, |(transport, address)| {
        format!("the {transport} listener on `{address}`")
    });
    shared_ports(&named, problems);
    listeners
        .into_iter()
        .map(|(span, listener)| (Some(span), listener))
        .collect()
}

/// The prefixes in `proxy_protocol_from`.
fn proxies(given: List<Read<IpNet>>, problems: &mut Problems) -> Vec<IpNet> {
    let proxies: Vec<_> = given
        .unwrap_or_default()
        .into_iter()
        .map(|given| (given.span(), given.into_inner().0))
        .collect();
    problems.repeated(&proxies, |net| format!("`{net}` in `proxy_protocol_from`"));
    proxies.into_iter().map(|(_, net)| net).collect()
}

fn without_certificate(span: Range<usize>, transport: Transport) -> Problem {
    Problem::new(
        span,
        format!("this listener, with transport \"{transport}\", needs a certificate"),
    )
    .help(
        "name its files under [[tls.certificate]]: certificate = \"chain.pem\", key = \"key.pem\"; \
         or have an authority asked for one, under [tls.acme]",
    )
}

/// What a listener for DTLS needs, and what it cannot do.
fn check_dtls(
    span: &Range<usize>,
    certificates: Certificates<'_>,
    proxies: &[IpNet],
    problems: &mut Problems,
) {
    let Certificates {
        are_given,
        read,
        is_asked_for,
    } = certificates;
    if !are_given {
        problems.add(without_certificate(span.clone(), Transport::Dtls));
    } else if !is_asked_for && !read.is_empty() && read.iter().all(|one| one.for_dtls().is_none()) {
        problems.add(
            Problem::new(
                span.clone(),
                "this listener, with transport \"dtls\", needs a certificate with an ECDSA key on P-256 or P-384",
            )
            .help("certificates with RSA keys serve for \"tls\" only; name a second [[tls.certificate]]"),
        );
    }
    if !proxies.is_empty() {
        problems.add(Problem::new(
            span.clone(),
            "a listener with transport \"dtls\" does not understand the PROXY protocol",
        ));
    }
}

/// Notes listeners of several kinds on one port: the system would hand each client to either by chance.
fn shared_ports(listeners: &[(Range<usize>, (Transport, SocketAddr))], problems: &mut Problems) {
    for (at, (span, (transport, address))) in listeners.iter().enumerate() {
        let earlier = listeners.iter().take(at).find(|(_, (other, same))| {
            same == address && other != transport && other.is_stream() == transport.is_stream()
        });
        if let Some((first, (other, _))) = earlier {
            problems.add(
                Problem::new(
                    span.clone(),
                    format!("`{address}` is taken by a listener with transport \"{other}\""),
                )
                .other(first.clone(), "first here")
                .help("one with transport = \"auto\" takes both TCP and TLS"),
            );
        }
    }
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
            listener.transport.is_stream()
                && listener.address.port() == address.port()
                && Family::of(ip) == Family::of(address.ip())
                && (ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified())
        };
        if let Some((other, listener)) = listeners.iter().find(|(_, listener)| same(listener)) {
            let problem = Problem::new(
                span,
                format!(
                    "`{address}` is taken by the {} listener on `{}`",
                    listener.transport, listener.address
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

/// Addresses to relay from.
pub(super) fn relays(
    given: List<document::RelayAddress>,
    base: &Path,
    problems: &mut Problems,
) -> Vec<RelayAddress> {
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
        let external = external.and_then(|external| {
            let span = external.span();
            match external.into_inner().resolve(base) {
                Ok(ip) => Some((span, ip)),
                Err(why) => {
                    problems.add(Problem::new(span, why));
                    None
                }
            }
        });
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
    // Whose a relayed address is must be clear from its IP address.
    for (span, ip) in &externals {
        let is_others = |relay: &RelayAddress| {
            relay.host == RelayHost::Address(*ip) && relay.external != Some(*ip)
        };
        if relays.iter().any(is_others) {
            problems.add(Problem::new(
                span.clone(),
                format!("external address `{ip}` is another relay address"),
            ));
        }
    }
    relays
}

/// Why nothing can be sent to such an address as if it were one host's.
pub(super) fn strange(ip: IpAddr) -> Option<&'static str> {
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
pub(super) fn usable(address: SocketAddr) -> Result<(), &'static str> {
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
