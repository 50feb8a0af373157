//! `[[discovery]]`: two addresses and two ports, of which a NAT can tell each from each.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::super::document::{self, Given, List, Read};
use super::super::error::Problem;
use super::super::settings::{Discovery, Family, Listener, Transport};
use super::Problems;
use super::places::{strange, usable};

type Place = Range<usize>;

pub(super) fn check(
    given: List<document::Discovery>,
    listeners: &[(Option<Place>, Listener)],
    problems: &mut Problems,
) -> Vec<Discovery> {
    let mut sites: Vec<(Place, Discovery)> = Vec::new();
    for element in given.unwrap_or_default() {
        let span = element.span();
        let element = element.into_inner();
        let (Some(primary), Some(alternate)) = (element.primary, element.alternate) else {
            problems.add(
                Problem::new(span, "discovery needs `primary` and `alternate`").help(
                    "two addresses of this machine with two ports: primary = \"203.0.113.1:3478\", \
                     alternate = \"203.0.113.2:3479\"",
                ),
            );
            continue;
        };
        let (primary_place, primary) = (primary.span(), primary.into_inner().0);
        let (alternate_place, alternate) = (alternate.span(), alternate.into_inner().0);
        let fine = [(&primary_place, primary), (&alternate_place, alternate)]
            .into_iter()
            .all(|(place, address)| match one_address(address) {
                Ok(()) => true,
                Err(why) => {
                    problems.add(Problem::new(
                        place.clone(),
                        format!("`{address}` is no address for discovery: {why}"),
                    ));
                    false
                }
            });
        if !fine {
            continue;
        }
        if let Err(why) = differ(primary, alternate) {
            problems.add(
                Problem::new(alternate_place, why).other(primary_place, "the primary address"),
            );
            continue;
        }
        let family = Family::of(primary.ip());
        let earlier = sites
            .iter()
            .find(|(_, site)| Family::of(site.primary.ip()) == family);
        if let Some((earlier, _)) = earlier {
            problems.add(
                Problem::new(
                    primary_place,
                    format!("discovery is given twice for {family}"),
                )
                .other(earlier.clone(), "first here"),
            );
            continue;
        }
        let primary_external = external(element.primary_external, family, problems);
        let alternate_external = external(element.alternate_external, family, problems);
        sites.push((
            primary_place,
            Discovery {
                primary,
                alternate,
                primary_external,
                alternate_external,
            },
        ));
    }
    for (place, site) in &sites {
        for (listener_place, listener) in listeners {
            // It would be bound twice, and the kernel would share clients out between the two.
            let serves_others = match listener.transport {
                Transport::Udp => !listener.proxy_protocol_from.is_empty(),
                Transport::Dtls => true,
                _ => false,
            };
            let takes_it = serves_others && site.sockets().contains(&listener.address);
            if takes_it {
                let problem = Problem::new(
                    place.clone(),
                    format!(
                        "discovery needs `{}`, where a listener serves proxies or DTLS only",
                        listener.address
                    ),
                );
                problems.add(match listener_place {
                    Some(other) => problem.other(other.clone(), "that listener"),
                    None => problem,
                });
            }
        }
    }
    sites.into_iter().map(|(_, site)| site).collect()
}

fn one_address(address: SocketAddr) -> Result<(), &'static str> {
    usable(address)?;
    if address.ip().is_unspecified() {
        return Err("the two addresses have to be named");
    }
    Ok(())
}

/// Only from another address and another port can be seen what a NAT makes of them.
fn differ(primary: SocketAddr, alternate: SocketAddr) -> Result<(), &'static str> {
    if Family::of(primary.ip()) != Family::of(alternate.ip()) {
        Err(
            "`primary` and `alternate` are of different families; give each family an entry of its own",
        )
    } else if primary.ip() == alternate.ip() {
        Err("`primary` and `alternate` need different IP addresses")
    } else if primary.port() == alternate.port() {
        Err("`primary` and `alternate` need different ports")
    } else {
        Ok(())
    }
}

fn external(given: Given<Read<IpAddr>>, family: Family, problems: &mut Problems) -> Option<IpAddr> {
    let given = given?;
    let (span, ip) = (given.span(), given.into_inner().0);
    if Family::of(ip) != family {
        problems.add(Problem::new(
            span,
            format!(
                "this external address is {}, the address is {family}",
                Family::of(ip)
            ),
        ));
    } else if let Some(why) = strange(ip) {
        problems.add(Problem::new(
            span,
            format!("`{ip}` cannot be an external address: it is {why}"),
        ));
    }
    Some(ip)
}
