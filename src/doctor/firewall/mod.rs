//! Does this machine's firewall let clients and peers in?
//!
//! Rules are read from nftables, else from iptables, and followed as far as they are understood: where it takes knowing
//! who the client is, or a match that is not known here, the answer is that it cannot be told. Rules that translate
//! addresses, and the firewalls of providers, are not seen. Main function: [`examine`].

mod iptables;
mod nft;
mod rules;

use std::fmt::Write as _;

use rules::{Fate, Packet, Protocol, Ruleset};

use super::Finding;
use super::machine::Machine;
use crate::config::{Family, Settings};
use crate::net::addresses::RelayAddress;

/// A port or a range of ports that packets have to reach.
struct Way {
    what: String,
    family: Family,
    protocol: Protocol,
    first: u16,
    last: u16,
}

/// Looks at the rules for each listener, and for the relay ports.
pub(super) fn examine(
    settings: &Settings,
    relays: &[RelayAddress],
    machine: &Machine,
) -> Vec<Finding> {
    let ways = ways(settings, relays);
    let rules = match read(machine) {
        Ok(rules) => rules,
        Err(why) => {
            return vec![
                Finding::note(
                    "firewall.unknown",
                    format!("cannot tell what this machine's firewall lets in: {why}"),
                )
                .why("it has to let in what the listeners and the relay ports are for")
                .mend(format!(
                    "{}, or see for yourself that it lets in {}",
                    if machine.starts_programs() {
                        "ask again as root"
                    } else {
                        "ask `hairpin doctor` on the machine, as root"
                    },
                    list(&ways)
                )),
            ];
        }
    };
    if rules.is_empty() {
        return vec![
            Finding::ok(
                "firewall.none",
                "this machine has no firewall rules for what comes in",
            )
            .why("those of a provider (security groups) cannot be seen from here"),
        ];
    }
    let mut found = Vec::new();
    for way in &ways {
        found.extend(of_way(way, &rules));
    }
    if found.is_empty() {
        found.push(Finding::ok(
            "firewall.open",
            format!("this machine's firewall lets in {}", list(&ways)),
        ));
    }
    found
}

/// What nftables has, and beside it, or in its place, what iptables has.
fn read(machine: &Machine) -> Result<Ruleset, String> {
    let nft = machine
        .run("nft", &["-j", "list", "ruleset"])
        .and_then(|text| nft::read(&text));
    let mut old = Ruleset::default();
    let mut old_error = None;
    for (program, family) in [
        ("iptables-save", Family::V4),
        ("ip6tables-save", Family::V6),
    ] {
        match machine.run(program, &[]) {
            Ok(text) => iptables::read(&text, family, &mut old),
            Err(why) => old_error = Some(why),
        }
    }
    match (nft, old_error) {
        // What iptables says of its own rules is plainer than what nftables makes of them.
        (Ok(nft), None) => Ok(nft.without_foreign().and(old)),
        (Ok(nft), Some(_)) => Ok(nft),
        (Err(_), None) => Ok(old),
        (Err(why), Some(_)) => Err(why),
    }
}

fn ways(settings: &Settings, relays: &[RelayAddress]) -> Vec<Way> {
    let mut ways: Vec<Way> = Vec::new();
    for listener in settings.sockets() {
        let address = listener.address;
        if address.ip().is_loopback() {
            continue;
        }
        let protocol = if listener.transport.is_stream() {
            Protocol::Tcp
        } else {
            Protocol::Udp
        };
        ways.push(Way {
            what: format!("the {} listener on {address}", listener.transport),
            family: Family::of(address.ip()),
            protocol,
            first: address.port(),
            last: address.port(),
        });
    }
    let ports = settings.relay.ports;
    let mut protocols = vec![Protocol::Udp];
    if settings.tcp_relay.enabled {
        protocols.push(Protocol::Tcp);
    }
    for relay in relays.iter().filter(|relay| !relay.address.is_loopback()) {
        for protocol in &protocols {
            ways.push(Way {
                what: format!("the relay ports of {}", relay.address),
                family: Family::of(relay.address),
                protocol: *protocol,
                first: ports.first(),
                last: ports.last(),
            });
        }
    }
    ways
}

/// Ports of each protocol, each once.
fn list(ways: &[Way]) -> String {
    let mut text = String::new();
    let mut seen = Vec::new();
    for way in ways {
        let port = ports(way);
        if seen.contains(&(way.protocol, way.first, way.last)) {
            continue;
        }
        seen.push((way.protocol, way.first, way.last));
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{} {port}", way.protocol.name().to_uppercase());
    }
    text
}

fn ports(way: &Way) -> String {
    if way.first == way.last {
        way.first.to_string()
    } else {
        format!("{}-{}", way.first, way.last)
    }
}

/// `None` where all of it gets in.
fn of_way(way: &Way, rules: &Ruleset) -> Option<Finding> {
    let mut unclear = None;
    for port in rules.telling_ports(way.first, way.last) {
        let fate = rules.judge(Packet {
            family: way.family,
            protocol: way.protocol,
            port,
        });
        let (protocol, ports) = (way.protocol.name(), ports(way));
        match fate {
            Fate::In => {}
            Fate::Unclear(why) => unclear = unclear.or(Some((port, why))),
            Fate::Dropped(by) => {
                let example = if way.first == way.last {
                    String::new()
                } else {
                    format!(", port {port} for one")
                };
                let old = format!(
                    "{} -I INPUT -p {protocol} --dport {} -j ACCEPT",
                    iptables_for(way.family),
                    ports.replace('-', ":")
                );
                let chain = by.chain.clone();
                return Some(
                    Finding::problem("firewall.closed", format!("this machine's firewall drops {protocol} packets of {} to {}{example}: {}", way.family, way.what, by.why))
                        .why("clients and peers wait in vain")
                        .mend("let them in, and keep the rule for the next start")
                        .lines([match chain {
                            Some(chain) => format!("nft insert rule {chain} {protocol} dport {ports} accept"),
                            None => old,
                        }]),
                );
            }
        }
    }
    let (port, why) = unclear?;
    Some(
        Finding::note("firewall.unclear", format!("cannot tell whether this machine's firewall lets {} packets of {} to {} in, to port {port} for one: {why}", way.protocol.name(), way.family, way.what))
            .mend("try it from elsewhere: `hairpin probe`"),
    )
}

const fn iptables_for(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}
