//! Other servers that clients can be sent to: only where a client could go.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use toml::Spanned;

use super::super::document::{self, Given, List, Read};
use super::super::error::Problem;
use super::super::settings::{Alternate, Family, RelayHost};
use super::Problems;
use super::places::Places;

/// RFC 8489, section 14.16.
const LONGEST_DOMAIN: usize = 255;

pub(super) fn check(
    given: List<document::Alternate>,
    redirect: Given<bool>,
    places: &Places,
    problems: &mut Problems,
) -> Vec<Alternate> {
    let mut addresses = Vec::new();
    let mut alternates = Vec::new();
    for element in given.unwrap_or_default() {
        let span = element.span();
        let document::Alternate {
            address,
            tls_address,
            domain,
        } = element.into_inner();
        let Some(address) = address else {
            problems.add(
                Problem::new(span, "this alternate has no `address`")
                    .help("the other server's: address = \"203.0.113.9:3478\""),
            );
            continue;
        };
        let mut reachable = |given: Spanned<Read<SocketAddr>>| {
            let (span, address) = (given.span(), given.into_inner().0);
            if let Some(why) = unreachable(address).or_else(|| own(address, places)) {
                problems.add(Problem::new(
                    span.clone(),
                    format!("clients cannot be sent to `{address}`: {why}"),
                ));
            }
            (span, address)
        };
        let (place, address) = reachable(address);
        let tls_address = tls_address.map(reachable);
        if let Some((span, tls)) = &tls_address
            && Family::of(tls.ip()) != Family::of(address.ip())
        {
            problems.add(
                Problem::new(
                    span.clone(),
                    "`tls_address` is of another IP version than `address`",
                )
                .other(place.clone(), "`address`"),
            );
        }
        let domain = domain.and_then(|domain| check_domain(domain, problems));
        addresses.push((place, address));
        alternates.push(Alternate {
            address,
            tls_address: tls_address.map(|(_, address)| address),
            domain,
        });
    }
    problems.repeated(&addresses, |address| format!("alternate `{address}`"));
    if let Some(redirect) = redirect
        && *redirect.get_ref()
        && addresses.is_empty()
    {
        problems.add(
            Problem::new(redirect.span(), "there is nobody to redirect to")
                .help("give the other servers as [[alternate]]"),
        );
    }
    alternates
}

/// Why no client can or would go there; browsers refuse some of these by themselves.
fn unreachable(address: SocketAddr) -> Option<&'static str> {
    if address.port() < 1024 && ![53, 80, 443].contains(&address.port()) {
        return Some("browsers take no port below 1024 but 53, 80 and 443");
    }
    let ip = address.ip();
    if ip.is_loopback() {
        Some("it is a loopback address")
    } else if ip.is_unspecified() {
        Some("it is the unspecified address, not one host's")
    } else if ip.is_multicast() {
        Some("it is a multicast address")
    } else {
        match ip {
            IpAddr::V4(ip) if ip.is_broadcast() => Some("it is the broadcast address"),
            IpAddr::V4(ip) if ip.is_private() => Some("it is a private address"),
            IpAddr::V4(ip) if ip.is_link_local() => Some("it is a link-local address"),
            IpAddr::V6(ip) if ip.is_unique_local() => Some("it is a private address"),
            IpAddr::V6(ip) if ip.is_unicast_link_local() => Some("it is a link-local address"),
            IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => Some("write IPv4 addresses as IPv4"),
            _ => None,
        }
    }
}

/// Whether an address is one of this very server's, as far as the document says.
fn own(address: SocketAddr, places: &Places) -> Option<&'static str> {
    let is_listener = |listening: SocketAddr| {
        listening == address
            || listening.ip().is_unspecified()
                && listening.port() == address.port()
                && places.relays.iter().any(|relay| {
                    relay.external == Some(address.ip())
                        || relay.host == RelayHost::Address(address.ip())
                })
    };
    places
        .listeners
        .iter()
        .any(|listener| is_listener(listener.address))
        .then_some("this very server listens there")
}

fn check_domain(given: Spanned<String>, problems: &mut Problems) -> Option<String> {
    let domain = given.get_ref();
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let span: Range<usize> = given.span();
    if domain.len() > LONGEST_DOMAIN {
        problems.add(Problem::new(
            span,
            format!("`domain` is longer than {LONGEST_DOMAIN} bytes"),
        ));
    } else if domain.parse::<IpAddr>().is_ok() || !domain.split('.').all(is_label) {
        problems.add(
            Problem::new(span, format!("`{domain}` is not a domain name")).help(
                "give the name in the certificate of that server; in the xn-- form where it is not ASCII",
            ),
        );
    } else {
        return Some(given.into_inner());
    }
    None
}
