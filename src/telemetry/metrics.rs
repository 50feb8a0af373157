//! The Prometheus view of the workers' counters.
//!
//! Counters live in the workers and are read when a scrape comes, so that graphs move while sessions live and no worker
//! waits for a scrape. No label is one a client can choose: the number of series is fixed.

use crate::engine::counters::{Counters, DtlsHandshake, Traffic};
use crate::engine::{Now, RelayPool, Transport};
use crate::net::clock::Clock;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};
use std::sync::Arc;

/// Renders what the server counts in the text format of Prometheus.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
}

/// What the numbers are read from.
struct Source {
    workers: Vec<Arc<Counters>>,
    relays: Arc<RelayPool>,
    clock: Clock,
}

impl Metrics {
    /// The metrics of these workers.
    ///
    /// # Errors
    /// When two metrics have one name, which is a mistake in this file.
    pub fn new(
        workers: Vec<Arc<Counters>>,
        relays: Arc<RelayPool>,
        clock: Clock,
    ) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        registry.register(Box::new(Source {
            workers,
            relays,
            clock,
        }))?;
        Ok(Metrics { registry })
    }

    /// The text of a scrape.
    ///
    /// # Errors
    /// When a metric cannot be written as text.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }
}

/// Collects families one after the other.
struct Families(Vec<MetricFamily>);

impl Families {
    /// A counter, with one value for each combination of labels.
    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; N],
        values: impl IntoIterator<Item = ([&'static str; N], u64)>,
    ) {
        let Ok(family) = IntCounterVec::new(Opts::new(name, help), &labels) else {
            return;
        };
        for (labels, value) in values {
            family.with_label_values(&labels).inc_by(value);
        }
        self.0.extend(family.collect());
    }

    /// A gauge, likewise.
    fn gauges<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; N],
        values: impl IntoIterator<Item = ([&'static str; N], u64)>,
    ) {
        let Ok(family) = IntGaugeVec::new(Opts::new(name, help), &labels) else {
            return;
        };
        for (labels, value) in values {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            family.with_label_values(&labels).set(value);
        }
        self.0.extend(family.collect());
    }
}

impl Source {
    fn sum(&self, value: impl Fn(&Counters) -> u64) -> u64 {
        self.workers.iter().map(|worker| value(worker)).sum()
    }

    /// Sums lists that all workers have in the same order, leaving out what none has counted when `sparse`.
    fn sum_by<K: Copy, I: Iterator<Item = (K, u64)>>(
        &self,
        sparse: bool,
        values: impl Fn(&Arc<Counters>) -> I,
    ) -> Vec<(K, u64)> {
        let mut sums: Vec<(K, u64)> = Vec::new();
        for worker in &self.workers {
            for (place, (key, value)) in values(worker).enumerate() {
                match sums.get_mut(place) {
                    Some((_, sum)) => *sum += value,
                    None => sums.push((key, value)),
                }
            }
        }
        sums.retain(|(_, value)| !sparse || *value > 0);
        sums
    }

    fn traffic(&self, families: &mut Families) {
        type Direction = (&'static str, fn(&Counters) -> &Traffic);
        let directions: [Direction; 2] = [
            ("to_peer", |worker| &worker.to_peers),
            ("to_client", |worker| &worker.to_clients),
        ];
        families.counters(
            "hairpin_relayed_packets_total",
            "Relayed packets",
            ["direction"],
            directions.map(|(name, of)| ([name], self.sum(|worker| of(worker).packets.get()))),
        );
        families.counters(
            "hairpin_relayed_bytes_total",
            "Relayed bytes of payload, without framing",
            ["direction"],
            directions.map(|(name, of)| ([name], self.sum(|worker| of(worker).bytes.get()))),
        );
        families.counters(
            "hairpin_internal_packets_total",
            "Packets relayed between two allocations of this server without touching the network",
            [],
            [([], self.sum(|worker| worker.hairpin.packets.get()))],
        );
        families.counters(
            "hairpin_internal_bytes_total",
            "Bytes of payload relayed between two allocations of this server",
            [],
            [([], self.sum(|worker| worker.hairpin.bytes.get()))],
        );
        families.counters(
            "hairpin_tcp_relay_bytes_total",
            "Bytes relayed between TCP connections of clients and peers",
            ["direction"],
            [
                (["to_peer"], self.sum(|worker| worker.tcp_to_peers.get())),
                (
                    ["to_client"],
                    self.sum(|worker| worker.tcp_to_clients.get()),
                ),
            ],
        );
        families.counters(
            "hairpin_tcp_relay_connections_total",
            "TCP connections with peers, by what became of them; one that is used counts first as connected or \
             accepted, then as bound",
            ["outcome"],
            self.sum_by(false, |worker| {
                worker.tcp_connections().collect::<Vec<_>>().into_iter()
            })
            .into_iter()
            .map(|(outcome, value)| ([outcome.name()], value)),
        );
        families.counters(
            "hairpin_dropped_packets_total",
            "Packets dropped, by reason",
            ["reason"],
            self.sum_by(false, |worker| {
                worker.drops().collect::<Vec<_>>().into_iter()
            })
            .into_iter()
            .map(|(reason, value)| ([reason.name()], value)),
        );
    }

    fn control(&self, families: &mut Families) {
        families.counters(
            "hairpin_requests_total",
            "Well-formed STUN requests, by method",
            ["method"],
            self.sum_by(false, |worker| {
                worker.requests().collect::<Vec<_>>().into_iter()
            })
            .into_iter()
            .map(|(method, value)| ([method.name()], value)),
        );
        let responses = self.sum_by(true, |worker| {
            worker
                .responses()
                .map(|(method, code, value)| ((method, code), value))
                .collect::<Vec<_>>()
                .into_iter()
        });
        families.counters(
            "hairpin_responses_total",
            "Responses, by method and error code (success for none)",
            ["method", "code"],
            responses.into_iter().map(|((method, code), value)| {
                (
                    [method.name(), code.map_or("success", |code| code.digits())],
                    value,
                )
            }),
        );
        families.counters(
            "hairpin_auth_challenges_total",
            "Requests without credentials, answered 401: the normal start of a session",
            [],
            [([], self.sum(|worker| worker.challenges.get()))],
        );
        families.counters(
            "hairpin_auth_failures_total",
            "Requests with credentials that were not accepted, by reason",
            ["reason"],
            self.sum_by(false, |worker| {
                worker.auth_failures().collect::<Vec<_>>().into_iter()
            })
            .into_iter()
            .map(|(reason, value)| ([reason.name()], value)),
        );
        families.counters(
            "hairpin_suppressed_answers_total",
            "Datagrams of clients without a credential that were not answered, by the limit that was reached",
            ["limit"],
            self.sum_by(false, |worker| {
                worker.suppressed_answers().collect::<Vec<_>>().into_iter()
            })
            .into_iter()
            .map(|(reason, value)| ([reason.name()], value)),
        );
        families.counters(
            "hairpin_refusals_total",
            "Requests of known users refused for want of room, by reason",
            ["reason"],
            self.sum_by(false, |worker| {
                worker.refusals().collect::<Vec<_>>().into_iter()
            })
            .into_iter()
            .map(|(reason, value)| ([reason.name()], value)),
        );
    }

    fn resources(&self, now: Now, families: &mut Families) {
        // Closed first: an allocation that ends in between must not make the difference negative.
        let closed = self.sum(|worker| worker.allocations_closed.get());
        let opened = self.sum(|worker| worker.allocations_opened.get());
        families.counters(
            "hairpin_allocations_total",
            "Allocations ever created",
            [],
            [([], opened)],
        );
        families.counters(
            "hairpin_allocations_moved_total",
            "Allocations that went with their client to another address",
            [],
            [([], self.sum(|worker| worker.allocations_moved.get()))],
        );
        families.counters(
            "hairpin_scanners_ended_total",
            "Allocations ended since they asked for too many new peers",
            [],
            [([], self.sum(|worker| worker.scanners_ended.get()))],
        );
        families.gauges(
            "hairpin_allocations",
            "Allocations alive",
            [],
            [([], opened.saturating_sub(closed))],
        );
        let dtls_closed = self.sum(|worker| worker.dtls_closed.get());
        let connections = [Transport::Tcp, Transport::Tls].map(|transport| {
            let closed = self.sum(|worker| worker.connections(transport).closed.get());
            let opened = self.sum(|worker| worker.connections(transport).opened.get());
            (transport.name(), opened, closed)
        });
        families.counters(
            "hairpin_connections_total",
            "Connections ever made, those over TLS behind their handshake",
            ["transport"],
            connections.map(|(name, opened, _)| ([name], opened)),
        );
        families.gauges(
            "hairpin_connections",
            "Connections open",
            ["transport"],
            connections.map(|(name, opened, closed)| ([name], opened.saturating_sub(closed))),
        );
        families.counters(
            "hairpin_refused_connections_total",
            "Connections of clients closed as soon as they came in, by the limit that was reached",
            ["limit"],
            self.sum_by(false, |worker| {
                worker.connection_refusals().collect::<Vec<_>>().into_iter()
            })
            .into_iter()
            .map(|(reason, value)| ([reason.name()], value)),
        );
        families.counters(
            "hairpin_tls_handshake_failures_total",
            "TLS connections that were not made, by reason",
            ["reason"],
            self.sum_by(false, |worker| {
                worker.tls_failures().collect::<Vec<_>>().into_iter()
            })
            .into_iter()
            .map(|(reason, value)| ([reason.name()], value)),
        );
        families.counters(
            "hairpin_dtls_cookies_total",
            "DTLS ClientHellos answered with a cookie and forgotten: the normal start of a handshake",
            [],
            [([], self.sum(|worker| worker.dtls_cookies.get()))],
        );
        let handshakes = self.sum_by(false, |worker| {
            worker.dtls_handshakes().collect::<Vec<_>>().into_iter()
        });
        let completed = handshakes
            .iter()
            .find(|(outcome, _)| *outcome == DtlsHandshake::Completed)
            .map_or(0, |(_, value)| *value);
        families.counters(
            "hairpin_dtls_handshakes_total",
            "DTLS handshakes of clients that showed their address with a cookie, by outcome",
            ["outcome"],
            handshakes
                .into_iter()
                .map(|(outcome, value)| ([outcome.name()], value)),
        );
        families.gauges(
            "hairpin_dtls_associations",
            "DTLS associations alive, handshakes not included",
            [],
            [([], completed.saturating_sub(dtls_closed))],
        );
        families.counters(
            "hairpin_proxy_protocol_failures_total",
            "Connections and datagrams not let in for want of a PROXY protocol header, by reason",
            ["reason"],
            self.sum_by(false, |worker| {
                worker.proxy_failures().collect::<Vec<_>>().into_iter()
            })
            .into_iter()
            .map(|(reason, value)| ([reason.name()], value)),
        );
        let ports = self.relays.counts(now.instant);
        families.gauges(
            "hairpin_relay_ports",
            "Relay ports of all relay addresses, by state",
            ["state"],
            [
                (["free"], ports.free),
                (["used"], ports.used),
                (["quarantined"], ports.quarantined),
                (["reserved"], ports.reserved),
            ],
        );
        families.gauges(
            "hairpin_workers",
            "Worker threads",
            [],
            [([], self.workers.len() as u64)],
        );
        families.counters(
            "hairpin_worker_restarts_total",
            "Workers that failed by a mistake in the server and were started again; their allocations ended",
            [],
            [([], self.sum(|worker| worker.worker_restarts.get()))],
        );
        families.counters(
            "hairpin_dtls_panics_total",
            "DTLS associations that ended by a mistake in the server",
            [],
            [([], self.sum(|worker| worker.dtls_panics.get()))],
        );
        families.gauges(
            "hairpin_build_info",
            "The version that runs; always 1",
            ["version"],
            [([env!("CARGO_PKG_VERSION")], 1)],
        );
    }
}

impl Collector for Source {
    /// Undescribed: the families are made anew for each scrape, and their names are fixed above.
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Families(Vec::new());
        self.resources(self.clock.now(), &mut families);
        self.control(&mut families);
        self.traffic(&mut families);
        families.0
    }
}
