//! From checked settings to what the workers go by.
//!
//! Nothing is opened here, and nothing remembered: the same settings and [`Seeds`] give the same rules, so that a changed
//! configuration becomes new rules and leaves nonces and tickets good that are out. Main items: [`rules`], [`shared`],
//! [`net_settings`].

use super::CannotServe;
use crate::auth::{AuthSettings, Authenticator, NonceKeys, TicketKey};
use crate::config::{self, Certificate, Listener, PasswordAlgorithm, Settings, Transport};
use crate::engine::{self, MobileAllocations, RelayPool, Rules, Shared, TcpConnections, TcpRules};
use crate::net::addresses::{self, RelayAddress};
use crate::net::dtls::{Dtls, DtlsError, DtlsSettings};
use crate::net::socket::Buffers;
use crate::net::tls::Tls;
use crate::net::{NetSettings, StartError, StreamSettings, random_seed};
use crate::policy::{
    self, Bandwidth, BandwidthLimits, PeerFilter, PeerRules, Prefixes, Quotas, StrangerLimits,
    Strangers, TESTERS,
};
use crate::wire::{self, ChannelRange};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

/// How many ports may be in quarantine on account of one user, however few there are.
const LEAST_QUARANTINE: u64 = 16;

/// The secrets a server makes up for itself at its start.
#[derive(Clone)]
pub struct Seeds {
    nonces: [u8; 32],
    tickets: [u8; 32],
}

impl Seeds {
    /// Of the operating system.
    ///
    /// # Errors
    /// [`StartError::Random`] when it has no random numbers.
    pub fn random() -> Result<Self, StartError> {
        Ok(Seeds {
            nonces: random_seed()?,
            tickets: random_seed()?,
        })
    }
}

/// Who may relay, by the settings.
pub fn authenticator(settings: &Settings) -> Result<Authenticator, CannotServe> {
    let auth = &settings.auth;
    Authenticator::new(AuthSettings {
        realm: auth.realm.clone(),
        users: auth.users.clone(),
        secrets: auth.secrets.clone(),
        revoked: auth.revoked.clone(),
        algorithms: auth
            .password_algorithms
            .iter()
            .map(|algorithm| match algorithm {
                PasswordAlgorithm::Md5 => wire::PasswordAlgorithm::Md5,
                PasswordAlgorithm::Sha256 => wire::PasswordAlgorithm::Sha256,
            })
            .collect(),
        third_party: settings.oauth.clone(),
    })
    .map_err(CannotServe::new)
}

/// What all workers go by.
///
/// # Errors
/// Where the settings contradict this machine.
pub fn rules(
    settings: &Settings,
    relays: &[RelayAddress],
    seeds: &Seeds,
) -> Result<Rules, CannotServe> {
    let auth = &settings.auth;
    Ok(Rules {
        authenticator: authenticator(settings)?,
        nonces: match &auth.nonce_key {
            Some(key) => NonceKeys::shared(key.expose().as_bytes(), seconds(auth.nonce_lifetime)),
            None => NonceKeys::new(seeds.nonces, seconds(auth.nonce_lifetime)),
        },
        match_user_part: auth.match_user_part,
        strict_expiry: auth.strict_expiry,
        new_peers_per_second: settings.limits.new_peers_per_second.unwrap_or(0),
        draining: false,
        redirect: redirect(settings, relays)?,
        classic_binding: settings.stun.classic,
        filter: filter(settings, relays)?,
        default_lifetime: seconds(settings.allocation.default_lifetime),
        max_lifetime: seconds(settings.allocation.max_lifetime),
        max_permissions: settings.limits.permissions_per_allocation as usize,
        max_channels: settings.limits.channels_per_allocation as usize,
        channels: if settings.allocation.rfc5766_channels {
            ChannelRange::Rfc5766
        } else {
            ChannelRange::Rfc8656
        },
        tcp: TcpRules {
            enabled: settings.tcp_relay.enabled,
            denied_ports: settings.tcp_relay.denied_ports.clone(),
            max_connections: settings.tcp_relay.connections_per_allocation as usize,
        },
        mobility: mobility(settings, seeds)?,
        software: settings.server.software.clone().unwrap_or_default(),
        discovery: discovery(settings, relays),
    })
}

/// What the workers share.
///
/// # Errors
/// Where the settings contradict this machine.
pub fn shared(
    settings: &Settings,
    relays: &[RelayAddress],
    seeds: &Seeds,
) -> Result<Shared, CannotServe> {
    let ports = settings.relay.ports;
    let addresses: Vec<_> = relays
        .iter()
        .map(|relay| engine::RelayAddress {
            local: relay.address,
            external: relay.public(),
        })
        .collect();
    let quotas = Quotas::new(limits(settings, relays.len()));
    quotas.set_groups(allocations_of_keys(settings));
    let bandwidth = Bandwidth::new(bandwidth_limits(&settings.bandwidth));
    bandwidth.set_groups(bandwidth_of_keys(settings));
    Ok(Shared {
        rules: Arc::new(rules(settings, relays, seeds)?),
        quotas,
        bandwidth,
        strangers: Arc::new(Strangers::new(stranger_limits(settings))),
        relays: Arc::new(RelayPool::new(
            &addresses,
            ports.first()..=ports.last(),
            settings.relay.quarantine,
        )),
        connections: Arc::<TcpConnections>::default(),
        mobile: Arc::<MobileAllocations>::default(),
    })
}

/// How many allocations there may be.
pub fn limits(settings: &Settings, relay_addresses: usize) -> policy::Limits {
    let limits = &settings.limits;
    policy::Limits {
        total: limits.allocations.unwrap_or(0),
        per_user: limits.allocations_per_user.unwrap_or(0),
        resting_per_user: resting_per_user(settings, relay_addresses),
        per_source: limits.allocations_per_source.unwrap_or(0),
    }
}

/// A new key at each start: the allocations that tickets are for do not outlive the process either.
fn mobility(settings: &Settings, seeds: &Seeds) -> Result<Option<TicketKey>, CannotServe> {
    if !settings.allocation.mobility {
        return Ok(None);
    }
    let key = TicketKey::new(seeds.tickets);
    let key = key.ok_or(CannotServe::new(
        "AES-256-GCM-SIV, for tickets, is not to be had",
    ))?;
    Ok(Some(key))
}

fn prefixes(settings: &Settings) -> Prefixes {
    Prefixes {
        v4: settings.strangers.prefix_ipv4,
        v6: settings.strangers.prefix_ipv6,
    }
}

/// How many relay ports may be in quarantine on account of one user: a share of all, but some where there are few.
fn resting_per_user(settings: &Settings, addresses: usize) -> u32 {
    let percent = u64::from(settings.limits.quarantine_per_user);
    let ports = u64::from(settings.relay.ports.count()) * addresses as u64;
    if percent == 100 {
        return 0;
    }
    u32::try_from((ports * percent / 100).max(LEAST_QUARANTINE)).unwrap_or(u32::MAX)
}

/// How much may be relayed, in bytes a second.
pub fn bandwidth_limits(bandwidth: &config::Bandwidth) -> BandwidthLimits {
    BandwidthLimits {
        per_allocation: bandwidth.per_allocation / 8,
        per_user: bandwidth.per_user / 8,
        total: bandwidth.total / 8,
        burst: bandwidth.burst,
    }
}

/// How many allocations the credentials of each key may hold together.
pub fn allocations_of_keys(settings: &Settings) -> impl Iterator<Item = (&str, u32)> {
    let keys = settings.credentials.keys.iter();
    let keys = keys.map(|key| (key.name.as_str(), key.allocations.unwrap_or(0)));
    keys.chain([(TESTERS, settings.admin.tester.allocations)])
}

/// How much those may have relayed, in bytes a second.
pub fn bandwidth_of_keys(settings: &Settings) -> impl Iterator<Item = (&str, u64)> {
    let keys = settings.credentials.keys.iter();
    let keys = keys.map(|key| (key.name.as_str(), key.bandwidth / 8));
    keys.chain([(TESTERS, settings.admin.tester.bandwidth / 8)])
}

/// How much strangers are answered.
pub fn stranger_limits(settings: &Settings) -> StrangerLimits {
    StrangerLimits {
        prefixes: prefixes(settings),
        burst: settings.strangers.answers_burst,
        rate: settings.strangers.answers_per_prefix,
        total: settings.strangers.answers_total,
    }
}

/// Where clients are sent; never to this very server.
fn redirect(settings: &Settings, relays: &[RelayAddress]) -> Result<engine::Redirect, CannotServe> {
    let mut own = addresses::own().unwrap_or_default();
    own.extend(relays.iter().map(RelayAddress::public));
    let is_own = |address: SocketAddr| {
        settings.listeners.iter().any(|listener| {
            let at = listener.address;
            at == address
                || at.port() == address.port()
                    && at.ip().is_unspecified()
                    && own.contains(&address.ip())
        })
    };
    let mut alternates = Vec::new();
    for alternate in &settings.alternates {
        let addresses = [Some(alternate.address), alternate.tls_address];
        if let Some(address) = addresses.into_iter().flatten().find(|at| is_own(*at)) {
            return Err(CannotServe::new(format!(
                "[[alternate]] {address} is this very server"
            )));
        }
        alternates.push(engine::Alternate {
            address: alternate.address,
            tls_address: alternate.tls_address,
            domain: alternate.domain.clone(),
        });
    }
    Ok(engine::Redirect {
        active: settings.server.redirect,
        alternates,
    })
}

fn discovery(settings: &Settings, relays: &[RelayAddress]) -> engine::Discovery {
    engine::Discovery::new(settings.discovery.iter().filter_map(|site| {
        let [primary, alternate] = addresses::discovery(site, relays);
        let site = engine::Site::new(site.primary, site.alternate)?;
        Some(site.known_as(primary, alternate))
    }))
}

/// Which peers may be relayed to, by the settings.
///
/// # Errors
/// Where the system does not say what its own addresses are, which nobody is to reach.
pub fn filter(settings: &Settings, relays: &[RelayAddress]) -> Result<PeerFilter, CannotServe> {
    let peers = &settings.peers;
    let mut own_addresses = addresses::own().map_err(|error| {
        CannotServe::new(format!(
            "the addresses of this machine cannot be read: {error}"
        ))
    })?;
    own_addresses.extend(relays.iter().filter_map(|relay| relay.external));
    let sites = settings.discovery.iter();
    own_addresses.extend(sites.flat_map(|site| addresses::discovery(site, relays)));
    let mut own_sockets: Vec<_> = settings.sockets().iter().map(|l| l.address).collect();
    own_sockets.extend(settings.metrics.address);
    own_sockets.extend(settings.admin.address);
    own_sockets.extend(settings.credentials.address);
    own_sockets.extend(
        settings
            .tls
            .acme
            .iter()
            .flat_map(|acme| &acme.http_addresses),
    );
    own_sockets.extend(settings.admin.tester.address);
    // Behind 1:1 NAT a listener is also what its address looks like from outside.
    let outside: Vec<_> = own_sockets
        .iter()
        .flat_map(|socket| {
            relays
                .iter()
                .filter(|relay| relay.address == socket.ip())
                .filter_map(|relay| relay.external)
                .map(|external| SocketAddr::new(external, socket.port()))
        })
        .collect();
    own_sockets.extend(outside);
    for site in &settings.discovery {
        for ip in addresses::discovery(site, relays) {
            let ports = [site.primary.port(), site.alternate.port()];
            own_sockets.extend(ports.map(|port| SocketAddr::new(ip, port)));
        }
    }
    let ports = settings.relay.ports;
    Ok(PeerFilter::new(PeerRules {
        allow: peers.allow.clone(),
        deny: peers.deny.clone(),
        nat64_prefixes: peers.nat64_prefixes.clone(),
        own_addresses,
        own_sockets,
        relay_addresses: relays
            .iter()
            .flat_map(|relay| [relay.address, relay.public()])
            .collect(),
        relay_ports: ports.first()..=ports.last(),
    }))
}

/// What TLS clients are shown, those over HTTP included, if there are any to be shown something.
pub fn tls(settings: &Settings) -> Result<Option<Arc<Tls>>, CannotServe> {
    let over_http = settings.admin.tls || settings.admin.tester.tls || settings.credentials.tls;
    if !over_http && !settings.listeners.iter().any(|at| at.transport.has_tls()) {
        return Ok(None);
    }
    let certificates: Vec<_> = settings.tls.shown().cloned().collect();
    let tls = Tls::new(&certificates).map_err(CannotServe::new)?;
    Ok(Some(Arc::new(tls)))
}

/// What DTLS clients are shown, if there are listeners for them: of the certificates, the first that can be.
pub fn dtls(settings: &Settings) -> Result<Option<Arc<Dtls>>, CannotServe> {
    let is_dtls = |at: &Listener| at.transport == Transport::Dtls;
    if !settings.listeners.iter().any(is_dtls) {
        return Ok(None);
    }
    let certificate = settings.tls.shown().find_map(Certificate::for_dtls);
    if certificate.is_none() && settings.tls.acme.is_none() {
        return Err(CannotServe::new(DtlsError::Key));
    }
    let seed = random_seed().map_err(CannotServe::new)?;
    let dtls = Dtls::new(dtls_settings(settings), certificate, seed).map_err(CannotServe::new)?;
    Ok(Some(Arc::new(dtls)))
}

/// How many DTLS clients there may be, and for how long.
pub fn dtls_settings(settings: &Settings) -> DtlsSettings {
    let dtls = &settings.dtls;
    DtlsSettings {
        max_half_open: dtls.max_half_open,
        max_half_open_per_prefix: dtls.max_half_open_per_prefix,
        max_associations: dtls.max_associations,
        handshake_timeout: dtls.handshake_timeout,
        idle_timeout: dtls.idle_timeout,
        prefixes: prefixes(settings),
    }
}

/// What the sockets are like.
pub fn net_settings(
    settings: &Settings,
    tls: Option<Arc<Tls>>,
    dtls: Option<Arc<Dtls>>,
) -> NetSettings {
    let workers = settings.server.workers.map_or_else(
        || std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        NonZeroUsize::get,
    );
    let (sockets, tcp) = (&settings.sockets, &settings.tcp);
    NetSettings {
        listeners: settings.sockets(),
        tls,
        dtls,
        workers,
        listener_buffers: Buffers {
            receive: sockets.receive_buffer,
            send: sockets.send_buffer,
        },
        relay_buffers: Buffers {
            receive: sockets.relay_receive_buffer,
            send: sockets.relay_send_buffer,
        },
        rest: settings.server.busy_rest,
        stream: StreamSettings {
            auth_timeout: tcp.auth_timeout,
            idle_timeout: tcp.idle_timeout,
            max_connections: tcp.max_connections,
            max_connections_per_prefix: tcp.max_connections_per_prefix,
            max_unproved: tcp.max_unproved,
            max_unproved_per_prefix: tcp.max_unproved_per_prefix,
            max_unproved_requests: tcp.max_unproved_requests,
            send_buffer: tcp.send_buffer,
            max_queue_age: tcp.max_queue_age,
            rest: tcp.busy_rest,
        },
        prefixes: prefixes(settings),
        ledger: None,
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
