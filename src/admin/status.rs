//! How the server is: the one page that says whether all is well.

use super::answer::{Answer, ok};
use super::office::{Office, unix_now};
use axum::extract::State;
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

#[derive(Serialize)]
struct Status {
    version: &'static str,
    started: u64,
    uptime_seconds: u64,
    draining: bool,
    workers: Workers,
    sessions: u64,
    sessions_total: u64,
    listeners: Vec<Listener>,
    relays: Vec<Relay>,
    ports: Ports,
    certificates: Vec<Certificate>,
    rates: Rates,
}

#[derive(Serialize)]
struct Workers {
    count: usize,
    restarts: u64,
}

#[derive(Serialize)]
struct Listener {
    transport: String,
    address: SocketAddr,
    proxied: bool,
}

#[derive(Serialize)]
struct Relay {
    address: IpAddr,
    external: Option<IpAddr>,
}

/// Relay ports by what they are to.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Ports {
    pub free: u64,
    pub used: u64,
    pub quarantined: u64,
    pub reserved: u64,
}

impl Ports {
    pub fn of(office: &Office) -> Ports {
        let now = office.service.control().clock().now().instant;
        let counts = office.service.shared().relays.counts(now);
        Ports {
            free: counts.free,
            used: counts.used,
            quarantined: counts.quarantined,
            reserved: counts.reserved,
        }
    }
}

#[derive(Serialize)]
struct Certificate {
    file: String,
    names: Vec<String>,
    not_after: String,
    days_left: i64,
}

#[derive(Serialize)]
struct Rates {
    to_peers: Rate,
    to_clients: Rate,
    inside_bytes_per_second: u64,
}

/// What passes a second.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Rate {
    pub packets_per_second: u64,
    pub bytes_per_second: u64,
}

/// GET /v1/status
pub(super) async fn show(State(office): State<Arc<Office>>) -> Answer {
    let service = &office.service;
    let settings = service.settings();
    let now = unix_now();
    let uptime = office.started.elapsed().as_secs();
    let listeners = service.control().settings();
    let rates = office.sampler.rates(&office);
    ok(&Status {
        version: env!("CARGO_PKG_VERSION"),
        started: now.saturating_sub(uptime),
        uptime_seconds: uptime,
        draining: service.is_draining(),
        workers: Workers {
            count: office.counters.len(),
            restarts: office.sum(|c| c.worker_restarts.get()),
        },
        sessions: office.sessions(),
        sessions_total: office.sum(|c| c.allocations_opened.get()),
        listeners: listeners
            .listeners
            .iter()
            .map(|listener| Listener {
                transport: listener.transport.to_string(),
                address: listener.address,
                proxied: !listener.proxy_protocol_from.is_empty(),
            })
            .collect(),
        relays: service
            .relays()
            .iter()
            .map(|relay| Relay {
                address: relay.address,
                external: relay.external,
            })
            .collect(),
        ports: Ports::of(&office),
        certificates: settings
            .tls
            .shown()
            .map(|certificate| Certificate {
                file: certificate.file().display().to_string(),
                names: certificate.names().to_vec(),
                not_after: certificate.not_after_date(),
                days_left: (certificate.not_after() - now as i64).div_euclid(24 * 3600),
            })
            .collect(),
        rates: Rates {
            to_peers: Rate {
                packets_per_second: rates.packets_to_peers,
                bytes_per_second: rates.bytes_to_peers,
            },
            to_clients: Rate {
                packets_per_second: rates.packets_to_clients,
                bytes_per_second: rates.bytes_to_clients,
            },
            inside_bytes_per_second: rates.hairpin_bytes,
        },
    })
}
