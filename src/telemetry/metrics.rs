//! The Prometheus view of the workers' counters.
//!
//! Counters live in the workers and are read when a scrape comes, so that graphs move while sessions live and no worker
//! waits for a scrape. No label is one a client can choose: the number of series is fixed.

use super::families::Families;
use super::process::{Process, thread_cpu};
use crate::accounting::Losses;
use crate::engine::counters::{ByTransport, Counters, DtlsHandshake};
use crate::engine::{Now, RelayPool, Transport};
use crate::net::Watched;
use crate::net::clock::Clock;
use crate::net::ledger::Ledger;
use prometheus::{Encoder, TextEncoder};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Renders what the server counts in the text format of Prometheus. Clones read the same.
#[derive(Clone)]
pub struct Metrics(Arc<Source>);

/// What the numbers are read from.
pub struct Sources {
    /// The counters of the workers.
    pub workers: Vec<Arc<Counters>>,
    /// The pool of ports.
    pub relays: Arc<RelayPool>,
    /// The clock of the workers.
    pub clock: Clock,
    /// The UDP listeners.
    pub watched: Vec<Watched>,
    /// The process.
    pub process: Process,
    /// Where allocations are noted.
    pub ledger: Option<Ledger>,
    /// What of that did not arrive.
    pub losses: Option<Arc<Losses>>,
}

/// What the numbers are beside, which is known elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The certificates, by their files, and their last second, Unix time.
    pub certificates: Vec<(String, i64)>,
    /// Orders of certificates by their outcome, and when the next is due, Unix time; `None` where nobody is asked for any.
    pub orders: Option<(Vec<(&'static str, u64)>, u64)>,
    /// Limits that are in force, by their keys in the configuration.
    pub limits: Vec<(&'static str, u64)>,
    /// The keys of applications that have credentials made.
    pub keys: Vec<KeyFacts>,
    /// Connections over HTTP that were closed since there were too many.
    pub closed_connections: u64,
    /// Whether new allocations are refused since the server is about to stop.
    pub is_draining: bool,
    /// When the configuration was read last, Unix time.
    pub loaded: u64,
    /// How often it was to be read and could not be used.
    pub failed_reloads: u64,
}

/// What there is to tell of an application's key.
#[derive(Clone, Debug, Default)]
pub struct KeyFacts {
    /// Its name in the configuration.
    pub name: String,
    /// Allocations that its credentials hold.
    pub allocations: u64,
    /// Its limits by their names in the configuration; 0 for none.
    pub limits: Vec<(&'static str, u64)>,
    /// Credentials made with it.
    pub made: u64,
    /// Credentials it was refused, as it wanted too many a second.
    pub refused: u64,
}

struct Source {
    from: Sources,
    names: Vec<String>,
}

impl Metrics {
    /// The metrics of these sources.
    #[must_use]
    pub fn new(sources: Sources) -> Self {
        let listener = |of: &Watched| format!("{}/{}", of.address, of.transport);
        Metrics(Arc::new(Source {
            names: sources.watched.iter().map(listener).collect(),
            from: sources,
        }))
    }

    /// How many datagrams the kernel dropped at listeners whose buffers were full.
    #[must_use]
    pub fn kernel_drops(&self) -> u64 {
        self.0.from.watched.iter().map(Watched::dropped).sum()
    }

    /// The text of a scrape.
    ///
    /// # Errors
    /// When a metric cannot be written as text.
    pub fn render(&self, facts: &Facts) -> Result<String, prometheus::Error> {
        let mut families = Families::default();
        self.0.resources(self.0.from.clock.now(), &mut families);
        self.0.control(&mut families);
        self.0.traffic(&mut families);
        self.0.process(&mut families);
        facts.collect(&mut families);
        let families = families.sorted();
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }
}

impl Facts {
    fn collect(&self, families: &mut Families) {
        families.gauges(
            "hairpin_certificate_expiry_timestamp_seconds",
            "When a certificate ends, Unix time",
            ["file"],
            self.certificates
                .iter()
                .map(|(file, end)| ([file.as_str()], u64::try_from(*end).unwrap_or(0))),
        );
        if let Some((orders, next)) = &self.orders {
            families.counters(
                "hairpin_acme_orders_total",
                "Orders of a certificate under [tls.acme], by how they ended",
                ["outcome"],
                orders.iter().map(|(outcome, count)| ([*outcome], *count)),
            );
            families.gauges(
                "hairpin_acme_next_attempt_timestamp_seconds",
                "When the next certificate is asked for, Unix time",
                [],
                [([], *next)],
            );
        }
        families.gauges(
            "hairpin_limit",
            "Limits in force, by their key in the configuration; one that is not there has none",
            ["limit"],
            self.limits.iter().map(|(key, value)| ([*key], *value)),
        );
        let keys = || self.keys.iter();
        families.counters(
            "hairpin_credentials_total",
            "Credentials that applications asked for, by key: made, or refused since they were too many a second",
            ["key", "outcome"],
            keys().flat_map(|key| {
                let name = key.name.as_str();
                [
                    ([name, "made"], key.made),
                    ([name, "refused"], key.refused),
                ]
            }),
        );
        families.gauges(
            "hairpin_credential_key_allocations",
            "Allocations that the credentials of a key hold together",
            ["key"],
            keys().map(|key| ([key.name.as_str()], key.allocations)),
        );
        families.gauges(
            "hairpin_credential_key_limit",
            "Limits of a key, by their names in the configuration; one that is not there has none",
            ["key", "limit"],
            keys().flat_map(|key| {
                let limits = key.limits.iter().filter(|(_, limit)| *limit > 0);
                limits.map(|(name, limit)| ([key.name.as_str(), name], *limit))
            }),
        );
        families.counters(
            "hairpin_http_connections_closed_total",
            "Connections over HTTP that were closed since there were too many, of one network, of one user or in all",
            [],
            [([], self.closed_connections)],
        );
        families.gauges(
            "hairpin_draining",
            "Whether new allocations are refused, since the server is about to stop",
            [],
            [([], u64::from(self.is_draining))],
        );
        families.gauges(
            "hairpin_config_last_reload_timestamp_seconds",
            "When the configuration in force was read, Unix time",
            [],
            [([], self.loaded)],
        );
        families.counters(
            "hairpin_config_reload_failures_total",
            "Configurations that could not be used; the one before stayed in force",
            [],
            [([], self.failed_reloads)],
        );
    }
}

impl Source {
    fn sum(&self, value: impl Fn(&Counters) -> u64) -> u64 {
        self.from.workers.iter().map(|worker| value(worker)).sum()
    }

    /// Sums lists that all workers have in the same order, leaving out what none has counted when `sparse`.
    fn sum_by<K: Copy, I: Iterator<Item = (K, u64)>>(
        &self,
        sparse: bool,
        values: impl Fn(&Arc<Counters>) -> I,
    ) -> Vec<(K, u64)> {
        let mut sums: Vec<(K, u64)> = Vec::new();
        for worker in &self.from.workers {
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
        type Direction = (&'static str, fn(&Counters) -> &ByTransport);
        let directions: [Direction; 2] = [
            ("to_peer", |worker| &worker.to_peers),
            ("to_client", |worker| &worker.to_clients),
        ];
        families.counters(
            "hairpin_relayed_packets_total",
            "Relayed packets",
            ["direction"],
            directions.map(|(name, of)| ([name], self.sum(|worker| of(worker).packets()))),
        );
        families.counters(
            "hairpin_relayed_bytes_total",
            "Relayed bytes of payload, without framing",
            ["direction"],
            directions.map(|(name, of)| ([name], self.sum(|worker| of(worker).bytes()))),
        );
        let each = || {
            directions
                .into_iter()
                .flat_map(|of| Transport::ALL.map(|transport| (of, transport)))
        };
        families.counters(
            "hairpin_client_packets_total",
            "Relayed packets, by the transport of the client",
            ["direction", "transport"],
            each().map(|((name, of), transport)| {
                let packets = self.sum(|worker| of(worker).of(transport).packets.get());
                ([name, transport.name()], packets)
            }),
        );
        families.counters(
            "hairpin_client_bytes_total",
            "Relayed bytes of payload, by the transport of the client",
            ["direction", "transport"],
            each().map(|((name, of), transport)| {
                let bytes = self.sum(|worker| of(worker).of(transport).bytes.get());
                ([name, transport.name()], bytes)
            }),
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
        families.histogram(
            "hairpin_allocation_lifetime_seconds",
            "How long allocations lived that have ended",
            self.from.workers.iter().map(|worker| &worker.lifetimes),
        );
        families.histogram(
            "hairpin_allocation_setup_seconds",
            "How long allocations took to be made, or to fail for want of a port, once their user was known",
            self.from.workers.iter().map(|worker| &worker.set_ups),
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
            "Connections of clients closed by the limit that was reached: as soon as they came in, or without a \
             credential for longest when more came",
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
        let ports = self.from.relays.counts(now.instant);
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
            [([], self.from.workers.len() as u64)],
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

    fn process(&self, families: &mut Families) {
        families.counters(
            "hairpin_kernel_drops_total",
            "Datagrams the kernel dropped at a listener, since its buffer was full",
            ["listener"],
            self.names
                .iter()
                .zip(&self.from.watched)
                .map(|(name, of)| ([name.as_str()], of.dropped())),
        );
        let noted = self.from.ledger.as_ref().map_or(0, Ledger::lost);
        let (overflowed, refused) = self.from.losses.as_ref().map_or((0, 0), |losses| {
            let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
            (count(&losses.overflowed), count(&losses.refused))
        });
        families.counters(
            "hairpin_accounting_lost_total",
            "Accounting records that were lost, by where: between the workers and accounting, before a destination that \
             was away, or at a webhook that did not want them",
            ["where"],
            [
                (["workers"], noted),
                (["queue"], overflowed),
                (["webhook"], refused),
            ],
        );
        let cost = self.from.process.cost();
        let numbers: Vec<String> = (0..self.from.workers.len())
            .map(|n| n.to_string())
            .collect();
        let workers = numbers.iter().zip(&self.from.workers);
        families.seconds(
            "hairpin_worker_cpu_seconds_total",
            "Processor time of a worker",
            ["worker"],
            workers.filter_map(|(number, counters)| {
                let thread = i32::try_from(counters.thread.get()).ok()?;
                Some(([number.as_str()], thread_cpu(thread)?))
            }),
        );
        families.seconds(
            "process_cpu_seconds_total",
            "Processor time of the process",
            [],
            cost.cpu.map(|cpu| ([], cpu)),
        );
        families.gauges(
            "process_start_time_seconds",
            "When the process started, Unix time",
            [],
            [([], cost.started.as_secs())],
        );
        families.gauges(
            "process_resident_memory_bytes",
            "Memory of the process in RAM",
            [],
            cost.resident.map(|bytes| ([], bytes)),
        );
        families.gauges(
            "process_open_fds",
            "Descriptors open",
            [],
            cost.open_descriptors.map(|count| ([], count)),
        );
        families.gauges(
            "process_max_fds",
            "Descriptors there may be",
            [],
            cost.max_descriptors.map(|count| ([], count)),
        );
    }
}
