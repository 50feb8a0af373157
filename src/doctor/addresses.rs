//! Addresses: those of container bridges, those of the wrong family, and what a NAT makes of them.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};

use super::Finding;
use super::advice::confined;
use super::ask::{Answer, Way, binding};
use super::machine::Machine;
use crate::config::{Family, Settings};
use crate::net::addresses::{self, RelayAddress};

/// How the names of interfaces begin that lead to containers and virtual machines of this machine, and not outside.
const BRIDGES: [&str; 8] = [
    "br-", "cali", "cni", "docker", "flannel", "lxdbr", "podman", "virbr",
];

/// How many ports are tried where others are taken.
const TRIES: u16 = 8;

/// Looks at the addresses without asking anybody.
pub(super) fn examine(
    settings: &Settings,
    relays: &[RelayAddress],
    machine: &Machine,
) -> Vec<Finding> {
    let interfaces = addresses::interfaces().unwrap_or_default();
    let mut found = Vec::new();
    for relay in relays {
        found.extend(of_relay(relay, &interfaces, settings, machine));
        if confined(relay.public()).is_none() {
            found.push(Finding::ok(
                "relay.public-address",
                format!("peers see clients at {}, a public address", relay.public()),
            ));
        }
    }
    found.extend(families(relays, &interfaces));
    found
}

/// Whether a server would relay from elsewhere if it was started `now`: by DHCP an address can become another, and sockets
/// stay where they are. Nothing, where it would not start at all.
pub(super) fn moved(bound: &[RelayAddress], now: &[RelayAddress]) -> Option<Finding> {
    let is_among = |relay: &RelayAddress, all: &[RelayAddress]| {
        all.iter().any(|other| other.address == relay.address)
    };
    let has_all =
        |some: &[RelayAddress], all: &[RelayAddress]| some.iter().all(|relay| is_among(relay, all));
    if now.is_empty() || (has_all(bound, now) && has_all(now, bound)) {
        return None;
    }
    let list = |relays: &[RelayAddress]| {
        let addresses = relays.iter().map(|relay| relay.address.to_string());
        addresses.collect::<Vec<_>>().join(" and ")
    };
    let what = format!(
        "the server relays from {}, and would relay from {} if it started now",
        list(bound),
        list(now)
    );
    let own = addresses::own().ok();
    let is_here = |relay: &RelayAddress| {
        let own = own.as_ref();
        is_among(relay, now) || own.is_none_or(|own| own.contains(&relay.address))
    };
    let lost: Vec<_> = bound
        .iter()
        .filter(|relay| !is_here(relay))
        .copied()
        .collect();
    let finding = if lost.is_empty() {
        Finding::warning("relay.moved", what)
            .why("peers reach clients at the old address as long as that leads here")
    } else {
        Finding::problem("relay.moved", what).why(format!(
            "this machine has no {} any more: what is relayed from there reaches nobody",
            list(&lost)
        ))
    };
    Some(
        finding
            .mend("start hairpin again; sockets stay where they are when settings are loaded anew"),
    )
}

fn of_relay(
    relay: &RelayAddress,
    interfaces: &[(String, IpAddr)],
    settings: &Settings,
    machine: &Machine,
) -> Option<Finding> {
    let address = relay.address;
    let interface = interfaces.iter().find(|(_, ip)| *ip == address);
    let name = interface.map_or("", |(name, _)| name.as_str());
    if BRIDGES.iter().any(|bridge| name.starts_with(bridge)) {
        return Some(
            Finding::problem(
                "relay.bridge",
                format!("relay address {address} is that of {name}, a bridge to containers or virtual machines of this machine"),
            )
            .why("peers elsewhere cannot reach it")
            .mend("name the address of the interface that leads outside")
            .lines(["[[relay.address]]", "address = \"…\""]),
        );
    }
    let engine = container(machine)?;
    if address.is_loopback() || confined(address).is_none() || !is_bridged(address, name, machine) {
        return None;
    }
    let ports = settings.relay.ports;
    let publish = [
        "docker run --network host …".to_owned(),
        "# or, with `external` set to the host's public address and few relay ports:".to_owned(),
        format!("docker run -p 3478:3478/udp -p 3478:3478/tcp -p {ports}:{ports}/udp …"),
    ];
    let finding = if relay.external.is_none() {
        Finding::problem(
            "container.bridge",
            format!("hairpin runs in a container ({engine}) at {address}, an address of its own network"),
        )
        .why("peers cannot reach it, and clients hidden behind the bridge look like one, so that limits by source hit all of them")
        .mend("use the host's network")
    } else {
        Finding::note(
            "container.published-ports",
            format!("hairpin runs in a container ({engine}) at {address}, behind `external` {}", relay.public()),
        )
        .why(format!("each of the relay ports {ports} has to be published with its number unchanged, and clients may all look like one"))
        .mend("use the host's network, or publish the ports")
    };
    Some(finding.lines(publish))
}

/// Whether an interface is one end of a pair whose other end is outside of the container, as it is not on the host's
/// network; else whether the address is one of those that Docker gives out.
fn is_bridged(address: IpAddr, interface: &str, machine: &Machine) -> bool {
    let number = |what: &str| machine.number(&format!("/sys/class/net/{interface}/{what}"));
    match (number("ifindex"), number("iflink")) {
        (Some(own), Some(other)) => own != other,
        _ => matches!(address, IpAddr::V4(ip) if matches!(ip.octets(), [172, 16..=31, ..])),
    }
}

/// What runs this process as a container, if it is one.
fn container(machine: &Machine) -> Option<&'static str> {
    if machine.has("/run/.containerenv") {
        return Some("podman");
    }
    if machine.has("/.dockerenv") {
        return Some("docker");
    }
    let groups = machine.read("/proc/1/cgroup").unwrap_or_default();
    [
        ("kubepods", "kubernetes"),
        ("docker", "docker"),
        ("containerd", "containerd"),
        ("lxc", "lxc"),
    ]
    .into_iter()
    .find(|(mark, _)| groups.contains(mark))
    .map(|(_, engine)| engine)
}

/// Clients get IPv4 unless they ask for something else, so that a server without it serves hardly anybody.
fn families(relays: &[RelayAddress], interfaces: &[(String, IpAddr)]) -> Option<Finding> {
    let relays_over = |family| {
        relays
            .iter()
            .any(|relay| Family::of(relay.address) == family)
    };
    let is_global_v6 = |ip: &IpAddr| match ip {
        IpAddr::V4(_) => false,
        // 2000::/3, where everything is that is routed.
        IpAddr::V6(ip) => ip.segments()[0] & 0xe000 == 0x2000,
    };
    if relays.is_empty() {
        return None;
    }
    if !relays_over(Family::V4) {
        return Some(
            Finding::problem("relay.no-ipv4", "there is no IPv4 address to relay from")
                .why("clients that do not ask for IPv6, browsers among them, get no relayed address (error 440)")
                .lines(["[[relay.address]]", "address = \"ipv4\""]),
        );
    }
    let unused = interfaces.iter().find(|(_, ip)| is_global_v6(ip));
    match unused {
        Some((name, ip)) if !relays_over(Family::V6) => Some(
            Finding::note(
                "relay.no-ipv6",
                format!(
                    "this machine has the IPv6 address {ip} ({name}), and relays over IPv4 only"
                ),
            )
            .why("peers that have IPv6 only cannot be reached")
            .lines(["[[relay.address]]", "address = \"ipv6\""]),
        ),
        _ => None,
    }
}

/// Asks a STUN server elsewhere, from a relay port of each relay address, by which address the world sees it.
pub(super) fn mapping(server: &str, settings: &Settings, relays: &[RelayAddress]) -> Vec<Finding> {
    let servers: Vec<SocketAddr> = match server.to_socket_addrs() {
        Ok(servers) => servers.collect(),
        Err(error) => {
            return vec![Finding::note(
                "nat.not-asked",
                format!("the STUN server {server} cannot be found: {error}"),
            )];
        }
    };
    let mut found = Vec::new();
    for relay in relays {
        let of_family = |server: &&SocketAddr| Family::of(server.ip()) == Family::of(relay.address);
        let Some(to) = servers.iter().find(of_family) else {
            found.push(Finding::note(
                "nat.not-asked",
                format!(
                    "{server} has no address to be asked at from {}",
                    relay.address
                ),
            ));
            continue;
        };
        found.extend(of_mapping(*to, settings, relay));
    }
    found
}

fn of_mapping(server: SocketAddr, settings: &Settings, relay: &RelayAddress) -> Vec<Finding> {
    let ports = settings.relay.ports;
    let span = ports.count().min(u32::from(u16::MAX)) as u16;
    let mut answer = Answer::Silent;
    for _ in 0..TRIES {
        let port = ports.first() + rand::random::<u16>() % span;
        let from = SocketAddr::new(relay.address, port);
        answer = binding(Way::Udp, server, Some(from), None);
        if !matches!(answer, Answer::Failed(_)) {
            break;
        }
    }
    match answer {
        Answer::Mapped { to, from, .. } => mapped(server, relay, from, to),
        Answer::Refused => vec![no_answer(server, relay, "nobody listens there")],
        Answer::Silent => vec![no_answer(server, relay, "it does not answer")],
        Answer::Failed(why) => vec![no_answer(server, relay, &why)],
    }
}

fn no_answer(server: SocketAddr, relay: &RelayAddress, why: &str) -> Finding {
    Finding::warning(
        "nat.no-answer",
        format!(
            "the STUN server {server} cannot be asked from {}: {why}",
            relay.address
        ),
    )
    .why("either it is down, or UDP from the relay ports does not get out or back in")
    .mend("ask another STUN server; where that is silent too, look at the firewalls")
}

fn mapped(
    server: SocketAddr,
    relay: &RelayAddress,
    from: SocketAddr,
    to: SocketAddr,
) -> Vec<Finding> {
    let (address, public, seen) = (relay.address, relay.public(), to.ip());
    let lines = [
        "[[relay.address]]".to_owned(),
        format!("address = \"{address}\""),
        format!("external = \"{seen}\""),
    ];
    let mut found = Vec::new();
    found.push(if seen == public {
        Finding::ok(
            "nat.mapping",
            format!("{server} sees {address} at {public}, as clients are told"),
        )
    } else if relay.external.is_none() {
        Finding::problem(
            "nat.external-missing",
            format!("{server} sees {address} at {seen}, and there is no `external`"),
        )
        .why(format!("clients tell their peers {public}, where nothing arrives"))
        .mend("where the NAT is 1:1, tell hairpin of it")
        .lines(lines)
    } else {
        Finding::problem(
            "nat.external-wrong",
            format!("{server} sees {address} at {seen}, and `external` is {public}"),
        )
        .why("clients tell their peers an address at which nothing arrives, unless this machine has several")
        .mend("correct it")
        .lines(lines)
    });
    if seen != address && to.port() != from.port() {
        found.push(
            Finding::problem(
                "nat.ports-changed",
                format!("the NAT in front of {address} makes port {} of port {}", to.port(), from.port()),
            )
            .why("clients tell their peers a port at which nothing arrives: a server needs a NAT that keeps them (1:1)")
            .mend("give this machine a public address, or forward the relay ports with their numbers unchanged"),
        );
    }
    found
}
