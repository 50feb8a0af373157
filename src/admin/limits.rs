//! What there may be at most, how much of it there is, and whether a peer may be reached.

use super::answer::{Answer, Refusal, ok};
use super::office::Office;
use super::sessions::part;
use crate::engine::Transport;
use crate::policy::TESTERS;
use crate::service::decision::{Peer, decide};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

#[derive(Serialize)]
struct Limits {
    limits: Vec<Limit>,
}

/// A limit by its name in the configuration; of those that hold for each user, source or session, `used` is what the
/// fullest of them has. Keys of applications have limits of their own, and each its entry.
#[derive(Serialize)]
struct Limit {
    name: &'static str,
    limit: Option<u64>,
    used: Option<u64>,
    unit: &'static str,
    fullest: Option<String>,
}

/// GET /v1/limits
pub(super) async fn show(State(office): State<Arc<Office>>) -> Answer {
    let service = &office.service;
    let settings = service.settings();
    let shared = service.shared();
    let sampled = office.sampler.sessions(&office).await;
    let quotas = shared.quotas.limits();
    let ports = shared
        .relays
        .counts(service.control().clock().now().instant);
    let rates = office.sampler.rates(&office);
    let (limits, tcp, bandwidth) = (&settings.limits, &settings.tcp, &settings.bandwidth);
    let rows = || sampled.rows.iter();
    let users = fullest(rows().map(|row| {
        let user = &*row.session.user;
        part(user).unwrap_or(user)
    }));
    let sources = fullest(rows().map(|row| source(row.session.client.tuple.client().ip())));
    let most = |value: fn(&super::sampler::Row) -> usize| {
        let most = rows().max_by_key(|row| value(row));
        most.map(|row| (row.session.id.to_string(), value(row) as u64))
    };
    let streams = [Transport::Tcp, Transport::Tls].map(|transport| {
        office.sum(|c| {
            let connections = c.connections(transport);
            connections
                .opened
                .get()
                .saturating_sub(connections.closed.get())
        })
    });
    let of_all = |name, limit: u64, used, unit| Limit {
        name,
        limit: (limit > 0).then_some(limit),
        used,
        unit,
        fullest: None,
    };
    let of_each = |name, limit: u64, most: Option<(String, u64)>, unit| Limit {
        used: Some(most.as_ref().map_or(0, |(_, used)| *used)),
        fullest: most.map(|(who, _)| who),
        ..of_all(name, limit, None, unit)
    };
    let in_use = u64::from(shared.quotas.in_use());
    let all_ports = ports.free + ports.used + ports.quarantined + ports.reserved;
    let now = (rates.bytes_to_peers.max(rates.bytes_to_clients)) * 8;
    let keys = settings.credentials.keys.iter();
    let of_keys = keys.map(|key| Limit {
        fullest: Some(key.name.clone()),
        ..of_all(
            "credentials.key.allocations",
            key.allocations.unwrap_or(0).into(),
            Some(shared.quotas.in_use_by(&key.name).into()),
            "allocations",
        )
    });
    let of_tests = of_all(
        "admin.tester.allocations",
        settings.admin.tester.allocations.into(),
        Some(shared.quotas.in_use_by(TESTERS).into()),
        "allocations",
    );
    let of_server = vec![
        of_all(
            "limits.allocations",
            quotas.total.into(),
            Some(in_use),
            "allocations",
        ),
        of_each(
            "limits.allocations_per_user",
            quotas.per_user.into(),
            users,
            "allocations",
        ),
        of_each(
            "limits.allocations_per_source",
            quotas.per_source.into(),
            sources,
            "allocations",
        ),
        of_each(
            "limits.permissions_per_allocation",
            limits.permissions_per_allocation.into(),
            most(|row| row.session.permissions),
            "permissions",
        ),
        of_each(
            "limits.channels_per_allocation",
            limits.channels_per_allocation.into(),
            most(|row| row.session.channels),
            "channels",
        ),
        of_all(
            "limits.new_peers_per_second",
            limits.new_peers_per_second.unwrap_or(0).into(),
            None,
            "peers a second",
        ),
        of_all(
            "relay.ports",
            all_ports,
            Some(all_ports - ports.free),
            "ports",
        ),
        of_all(
            "tcp.max_connections",
            tcp.max_connections as u64,
            Some(streams.iter().sum()),
            "connections",
        ),
        of_all(
            "bandwidth.per_allocation",
            bandwidth.per_allocation,
            None,
            "bit/s",
        ),
        of_all("bandwidth.per_user", bandwidth.per_user, None, "bit/s"),
        of_all("bandwidth.total", bandwidth.total, Some(now), "bit/s"),
    ];
    ok(&Limits {
        limits: of_server
            .into_iter()
            .chain([of_tests])
            .chain(of_keys)
            .collect(),
    })
}

/// Who comes most often, and how often.
fn fullest<K: Hash + Eq + Ord + ToString>(all: impl Iterator<Item = K>) -> Option<(String, u64)> {
    let mut counts: HashMap<K, u64> = HashMap::new();
    for key in all {
        *counts.entry(key).or_default() += 1;
    }
    let most = counts
        .into_iter()
        .max_by(|(one, few), (other, many)| few.cmp(many).then_with(|| other.cmp(one)));
    most.map(|(key, count)| (key.to_string(), count))
}

/// What counts as one source: an IPv4 address, or an IPv6 /64.
fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

/// Which peer is asked about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    peer: String,
}

#[derive(Serialize)]
struct Judged {
    peer: String,
    allowed: bool,
    verdict: &'static str,
    rule: String,
    remarks: Vec<String>,
}

/// GET /v1/peers?peer=IP[:PORT]
pub(super) async fn judge(
    State(office): State<Arc<Office>>,
    about: Result<Query<About>, QueryRejection>,
) -> Answer {
    let Query(about) =
        about.map_err(|_| Refusal::bad("`peer` says which one: /v1/peers?peer=192.0.2.1:443"))?;
    let peer: Peer = about.peer.parse().map_err(Refusal::bad)?;
    let rules = office.service.control().rules();
    let denied_ports = rules.tcp.enabled.then_some(&*rules.tcp.denied_ports);
    let mut decisions = decide(&rules.filter, denied_ports, peer).into_iter();
    let Some(first) = decisions.next() else {
        return Err(Refusal::bad("nothing is known of this peer"));
    };
    ok(&Judged {
        peer: peer.to_string(),
        allowed: first.allowed,
        verdict: first.verdict,
        rule: first.rule,
        remarks: decisions
            .map(|remark| format!("{}: {}", remark.verdict, remark.rule))
            .collect(),
    })
}
