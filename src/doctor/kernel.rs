//! What the kernel has set: ports it hands out, buffers it grants, connections it remembers, the clock.

use super::Finding;
use super::advice::Surroundings;
use super::machine::Machine;
use crate::config::{PortRange, Settings};
use crate::net::addresses::RelayAddress;

/// From this share of its table on, in percent, the kernel may soon drop packets of new flows.
const CROWDED: u64 = 80;

/// Looks at the kernel's settings.
pub(super) fn examine(
    settings: &Settings,
    relays: &[RelayAddress],
    surroundings: &Surroundings,
    machine: &Machine,
) -> Vec<Finding> {
    let mut found = Vec::new();
    found.push(local_ports(settings.relay.ports, machine));
    found.extend(buffers(settings, surroundings));
    found.extend(tracked(settings, relays, machine));
    found.push(clock(machine));
    found
}

/// One of the limits of socket buffers, in bytes.
pub(super) fn limit(machine: &Machine, name: &str) -> Option<usize> {
    let limit = machine.number(&format!("/proc/sys/net/core/{name}"))?;
    usize::try_from(limit).ok()
}

/// Ports that the kernel gives to whoever wants any are taken when the relay wants them.
fn local_ports(ports: PortRange, machine: &Machine) -> Finding {
    let range = machine.read("/proc/sys/net/ipv4/ip_local_port_range");
    let range = range.as_deref().and_then(|text| {
        let mut numbers = text.split_whitespace().map(str::parse::<u16>);
        PortRange::new(numbers.next()?.ok()?, numbers.next()?.ok()?)
    });
    let Some(range) = range else {
        return Finding::note(
            "kernel.local-ports",
            "cannot tell which ports the kernel hands out: ip_local_port_range cannot be read",
        );
    };
    let reserved = machine
        .read("/proc/sys/net/ipv4/ip_local_reserved_ports")
        .unwrap_or_default();
    let reserved = reserved.trim();
    let is_reserved = |port: u16| {
        reserved.split(',').any(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (first.parse::<u16>(), last.parse::<u16>()) {
                (Ok(first), Ok(last)) => (first..=last).contains(&port),
                _ => false,
            }
        })
    };
    let shared = (ports.first()..=ports.last())
        .filter(|port| range.contains(*port) && !is_reserved(*port))
        .count();
    if shared == 0 {
        return Finding::ok(
            "kernel.local-ports",
            format!("the kernel gives none of the relay ports {ports} to other programs"),
        );
    }
    let all = if reserved.is_empty() {
        ports.to_string()
    } else {
        format!("{reserved},{ports}")
    };
    Finding::note(
        "kernel.local-ports",
        format!("the kernel gives {shared} of the relay ports {ports} to any program as well (its range is {range})"),
    )
    .why("ports that others hold cannot be relayed from; hairpin takes another one then, which costs a little time")
    .mend("keep them for the relay")
    .lines([format!(
        "echo net.ipv4.ip_local_reserved_ports={all} > /etc/sysctl.d/60-hairpin-ports.conf && sysctl --system"
    )])
}

/// Only where they are large enough; advice speaks of the others.
fn buffers(settings: &Settings, surroundings: &Surroundings) -> Option<Finding> {
    let sockets = &settings.sockets;
    let wanted = [
        (
            sockets.receive_buffer.max(sockets.relay_receive_buffer),
            surroundings.receive_limit,
        ),
        (
            sockets.send_buffer.max(sockets.relay_send_buffer),
            surroundings.send_limit,
        ),
    ];
    let grants =
        |(wanted, limit): &(usize, Option<usize>)| limit.is_some_and(|limit| limit >= *wanted);
    if wanted.iter().all(grants) {
        return Some(Finding::ok(
            "kernel.buffers",
            "the kernel grants socket buffers as large as they are set",
        ));
    }
    wanted.iter().any(|(_, limit)| limit.is_none()).then(|| {
        Finding::note(
            "kernel.buffers",
            "cannot tell how large socket buffers may be: net.core.rmem_max and wmem_max cannot be read",
        )
    })
}

/// A firewall with state remembers each flow, and a relay has many.
fn tracked(settings: &Settings, relays: &[RelayAddress], machine: &Machine) -> Option<Finding> {
    let most = machine.number("/proc/sys/net/netfilter/nf_conntrack_max")?;
    let now = machine
        .number("/proc/sys/net/netfilter/nf_conntrack_count")
        .unwrap_or(0);
    let flows = u64::from(settings.relay.ports.count()) * relays.len() as u64 * 2;
    let lines = [format!(
        "echo net.netfilter.nf_conntrack_max={} > /etc/sysctl.d/60-hairpin-conntrack.conf && sysctl --system",
        (flows * 2).max(most * 2)
    )];
    if most > 0 && now * 100 / most >= CROWDED {
        return Some(
            Finding::warning(
                "kernel.connections",
                format!("the firewall remembers {now} flows, of {most} at most"),
            )
            .why("beyond that packets of new flows are dropped, and the kernel's log says \"table full\"")
            .mend("let it remember more")
            .lines(lines),
        );
    }
    (most < flows).then(|| {
        Finding::note(
            "kernel.connections",
            format!("the firewall remembers {most} flows at most, and all relay ports in use would be {flows}"),
        )
        .why("beyond that packets of new flows are dropped")
        .mend("let it remember more, or leave the relay ports out (`notrack`)")
        .lines(lines)
    })
}

/// Ephemeral credentials and certificates end at a time, which has to be the same for everybody.
fn clock(machine: &Machine) -> Finding {
    if machine.has("/run/systemd/timesync/synchronized") {
        return Finding::ok("clock.synchronised", "the clock is set by a time server");
    }
    match machine.run("timedatectl", &["show", "--property=NTPSynchronized", "--value"]) {
        Ok(text) if text.trim() == "yes" => {
            Finding::ok("clock.synchronised", "the clock is set by a time server")
        }
        Ok(_) => Finding::warning("clock.adrift", "the clock is not set by a time server")
            .why("ephemeral credentials are refused once the clocks of this machine and of the application differ by their lifetime")
            .mend("let it be")
            .lines(["timedatectl set-ntp true    # or install chrony"]),
        Err(why) => Finding::note("clock.unknown", format!("cannot tell whether the clock is right: {why}"))
            .why("ephemeral credentials and certificates end by it")
            .mend("see for yourself")
            .lines(["timedatectl    # or chronyc tracking"]),
    }
}
