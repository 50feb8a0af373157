//! `hairpin run`: the server itself.

use super::advice::{Surroundings, advice};
use super::ice_servers::{IceServers, urls};
use super::{Failure, RunArgs};
use crate::admin;
use crate::auth::{AuthSettings, Authenticator, NonceKeys, Secret, TicketKey, mint_ephemeral};
use crate::config::{self, Certificate, Listener, PasswordAlgorithm, Settings, Transport};
use crate::engine::{self, MobileAllocations, RelayPool, Rules, Shared, TcpConnections, TcpRules};
use crate::net::addresses::{self, RelayAddress};
use crate::net::clock::Clock;
use crate::net::dtls::{Dtls, DtlsError, DtlsSettings};
use crate::net::socket::Buffers;
use crate::net::tls::Tls;
use crate::net::{NetSettings, Server, StreamSettings, descriptors, random_seed};
use crate::policy::{
    self, Bandwidth, BandwidthLimits, PeerFilter, PeerRules, Prefixes, Quotas, StrangerLimits,
    Strangers,
};
use crate::sandbox::{self, Account, Confinement, Reach};
use crate::telemetry::{self, Metrics};
use crate::wire::{self, ChannelRange};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sd_notify::NotifyState;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

/// How long the credential of a trial is good.
const TRIAL_LIFETIME: u64 = 24 * 3600;

/// How many ports may be in quarantine on account of one user, however few there are.
const LEAST_QUARANTINE: u64 = 16;

/// How often is looked whether all workers still run.
const WATCH: Duration = Duration::from_secs(1);

/// Runs the server until it is told to stop.
///
/// # Errors
/// Where the configuration is wrong or the server cannot start.
pub fn main(args: &RunArgs) -> Result<(), Failure> {
    let (mut settings, is_trial) = match &args.config {
        Some(path) => (super::load(path)?.settings, false),
        None => (Settings::default(), true),
    };
    let trial_secret = if is_trial {
        // Never stored: a new one each time.
        let secret = BASE64_URL_SAFE_NO_PAD.encode(random_seed().map_err(fatal)?);
        settings.auth.secrets = vec![Secret::from(secret.as_str())];
        Some(secret)
    } else {
        None
    };
    let relays = addresses::relays(&settings.relay).map_err(fatal)?;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(fatal)?;
    runtime.block_on(async {
        let metrics_listener = match settings.metrics.address {
            None => None,
            Some(address) => Some(TcpListener::bind(address).await.map_err(|error| {
                Failure::new(match error.kind() {
                    io::ErrorKind::AddrInUse => format!(
                        "cannot serve metrics on {address}: the address is in use; does hairpin run already? A second \
                         one needs an `address` of its own under [metrics]"
                    ),
                    _ => format!("cannot serve metrics on {address}: {error}"),
                })
            })?),
        };
        // Registered before anything runs, so that no signal is missed.
        let mut terminate = signal(SignalKind::terminate()).map_err(fatal)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(fatal)?;

        let clock = Clock::start();
        let shared = shared(&settings, &relays)?;
        let descriptors = descriptors::raise_limit();
        let tls = tls(&settings)?;
        let net = net_settings(&settings, tls, dtls(&settings)?);
        let bound = Server::bind(net, &shared).map_err(fatal)?;
        // What is read from the system is read before it is closed.
        let surroundings = Surroundings {
            listener_receive: bound.receive_buffer(),
            send_limit: None,
            ..Surroundings::of_this_machine(relays.clone())
        };
        let confinement = confine(&settings)?;
        // No thread was started before, the log's included: what is given up is given up by each thread for itself.
        let _log = telemetry::log::start(&settings.log).map_err(fatal)?;
        telemetry::panics::tell_the_log();
        let server = bound.start(&shared, clock).map_err(fatal)?;
        let metrics = Metrics::new(server.counters().to_vec(), shared.relays.clone(), clock)
            .map_err(fatal)?;

        announce(&settings, &server, &surroundings, descriptors);
        tell(&confinement);
        info!(
            version = env!("CARGO_PKG_VERSION"),
            workers = server.counters().len(),
            "ready"
        );
        if let Some(secret) = trial_secret {
            let expiry = clock.now().unix + TRIAL_LIFETIME;
            let (username, password) = mint_ephemeral(secret.as_bytes(), Some("trial"), expiry);
            let urls = urls(listening(&server, &settings), &[], &relays, &settings.tls);
            let servers = IceServers::new(urls, username, password);
            super::print(&if args.json {
                format!("{}\n", servers.to_json())
            } else {
                trial_text(&server, &relays, &servers)
            })?;
        } else if args.json {
            super::print(&start_json(&settings, &server, &relays))?;
        }

        service_manager(&NotifyState::Ready);

        let serve_metrics = async {
            match metrics_listener {
                Some(listener) => admin::serve(listener, metrics).await,
                None => std::future::pending().await,
            }
        };
        let outcome = tokio::select! {
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
            failed = serve_metrics => Err(Failure::new(format!("metrics cannot be served any more: {failed:?}"))),
            () = until_a_worker_ends(&server) => Err(Failure::new("a worker ended")),
        };
        info!("stopping");
        service_manager(&NotifyState::Stopping);
        let stopped = server.stop();
        if let Err(reason) = &stopped {
            error!(%reason, "a worker failed");
        }
        outcome.and(stopped.map_err(fatal))
    })
}

fn fatal(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}

async fn until_a_worker_ends(server: &Server) {
    while server.is_running() {
        tokio::time::sleep(WATCH).await;
    }
}

/// Who may relay, by the settings.
pub(super) fn authenticator(settings: &Settings) -> Result<Authenticator, Failure> {
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
    .map_err(fatal)
}

/// What all workers go by.
fn shared(settings: &Settings, relays: &[RelayAddress]) -> Result<Shared, Failure> {
    let auth = &settings.auth;
    let authenticator = authenticator(settings)?;
    let rules = Rules {
        authenticator,
        nonces: match &auth.nonce_key {
            Some(key) => NonceKeys::shared(key.expose().as_bytes(), seconds(auth.nonce_lifetime)),
            None => NonceKeys::new(random_seed().map_err(fatal)?, seconds(auth.nonce_lifetime)),
        },
        match_user_part: auth.match_user_part,
        strict_expiry: auth.strict_expiry,
        new_peers_per_second: settings.limits.new_peers_per_second.unwrap_or(0),
        redirect: redirect(settings, relays)?,
        classic_binding: settings.stun.classic,
        filter: filter(settings, relays),
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
        mobility: mobility(settings)?,
        software: settings.server.software.clone().unwrap_or_default(),
        discovery: discovery(settings, relays),
    };
    let limits = &settings.limits;
    let ports = settings.relay.ports;
    let addresses: Vec<_> = relays
        .iter()
        .map(|relay| engine::RelayAddress {
            local: relay.address,
            external: relay.public(),
        })
        .collect();
    Ok(Shared {
        rules: Arc::new(rules),
        quotas: Quotas::new(policy::Limits {
            total: limits.allocations.unwrap_or(0),
            per_user: limits.allocations_per_user.unwrap_or(0),
            resting_per_user: resting_per_user(settings, relays.len()),
            per_source: limits.allocations_per_source.unwrap_or(0),
        }),
        bandwidth: Bandwidth::new(bandwidth_limits(&settings.bandwidth)),
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

/// A new key at each start: the allocations that tickets are for do not outlive the process either.
fn mobility(settings: &Settings) -> Result<Option<TicketKey>, Failure> {
    if !settings.allocation.mobility {
        return Ok(None);
    }
    let key = TicketKey::new(random_seed().map_err(fatal)?);
    let key = key.ok_or_else(|| Failure::new("AES-256-GCM-SIV, for tickets, is not to be had"))?;
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

fn bandwidth_limits(bandwidth: &config::Bandwidth) -> BandwidthLimits {
    BandwidthLimits {
        per_allocation: bandwidth.per_allocation / 8,
        per_user: bandwidth.per_user / 8,
        total: bandwidth.total / 8,
        burst: bandwidth.burst,
    }
}

fn stranger_limits(settings: &Settings) -> StrangerLimits {
    StrangerLimits {
        prefixes: prefixes(settings),
        burst: settings.strangers.answers_burst,
        rate: settings.strangers.answers_per_prefix,
        total: settings.strangers.answers_total,
    }
}

/// Where clients are sent; never to this very server.
fn redirect(settings: &Settings, relays: &[RelayAddress]) -> Result<engine::Redirect, Failure> {
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
            return Err(Failure::new(format!(
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
pub(super) fn filter(settings: &Settings, relays: &[RelayAddress]) -> PeerFilter {
    let peers = &settings.peers;
    let mut own_addresses = addresses::own().unwrap_or_default();
    own_addresses.extend(relays.iter().filter_map(|relay| relay.external));
    let sites = settings.discovery.iter();
    own_addresses.extend(sites.flat_map(|site| addresses::discovery(site, relays)));
    let mut own_sockets: Vec<_> = settings.sockets().iter().map(|l| l.address).collect();
    own_sockets.extend(settings.metrics.address);
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
    PeerFilter::new(PeerRules {
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
    })
}

/// What TLS clients are shown, if there are any to be shown something.
fn tls(settings: &Settings) -> Result<Option<Arc<Tls>>, Failure> {
    if !settings.listeners.iter().any(|at| at.transport.has_tls()) {
        return Ok(None);
    }
    let tls = Tls::new(&settings.tls.certificates).map_err(fatal)?;
    Ok(Some(Arc::new(tls)))
}

/// What DTLS clients are shown, if there are listeners for them: of the certificates, the first that can be.
fn dtls(settings: &Settings) -> Result<Option<Arc<Dtls>>, Failure> {
    let is_dtls = |at: &Listener| at.transport == Transport::Dtls;
    if !settings.listeners.iter().any(is_dtls) {
        return Ok(None);
    }
    let certificates = &settings.tls.certificates;
    let (certificate, key) = certificates
        .iter()
        .find_map(Certificate::for_dtls)
        .ok_or(DtlsError::Key)
        .map_err(fatal)?;
    let seed = random_seed().map_err(fatal)?;
    let dtls = &settings.dtls;
    let dtls = DtlsSettings {
        max_half_open: dtls.max_half_open,
        max_half_open_per_prefix: dtls.max_half_open_per_prefix,
        max_associations: dtls.max_associations,
        handshake_timeout: dtls.handshake_timeout,
        idle_timeout: dtls.idle_timeout,
        prefixes: prefixes(settings),
    };
    let dtls = Dtls::new(dtls, certificate, key, seed).map_err(fatal)?;
    Ok(Some(Arc::new(dtls)))
}

fn net_settings(
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
            send_buffer: tcp.send_buffer,
            max_queue_age: tcp.max_queue_age,
        },
        prefixes: prefixes(settings),
    }
}

/// Where clients reach the server, with the ports it got; the sockets that only discovery needs come behind these.
fn listening<'a>(server: &'a Server, settings: &Settings) -> &'a [Listener] {
    let all = server.listeners();
    &all[..settings.listeners.len().min(all.len())]
}

/// Tells the log what runs, and what may not do what was meant.
fn announce(settings: &Settings, server: &Server, surroundings: &Surroundings, descriptors: u64) {
    let relays = &surroundings.relays;
    for listener in server.listeners() {
        info!(
            transport = %listener.transport,
            address = %listener.address,
            proxied = !listener.proxy_protocol_from.is_empty(),
            "listening"
        );
    }
    for certificate in &settings.tls.certificates {
        info!(
            file = %certificate.file().display(),
            names = certificate.names().join(" "),
            not_after = certificate.not_after_date(),
            "certificate"
        );
    }
    for relay in relays {
        info!(
            address = %relay.address,
            external = relay.external.map(tracing::field::display),
            ports = %settings.relay.ports,
            "relaying"
        );
    }
    for site in &settings.discovery {
        let [primary, alternate] = addresses::discovery(site, relays);
        info!(
            primary = %SocketAddr::new(primary, site.primary.port()),
            alternate = %SocketAddr::new(alternate, site.alternate.port()),
            "offering NAT behaviour discovery"
        );
    }
    if let Some(address) = settings.metrics.address {
        info!(%address, path = "/metrics", "serving metrics");
    }
    for sentence in advice(settings, surroundings) {
        warn!("{sentence}");
    }
    let ports = u64::from(settings.relay.ports.count()) * surroundings.relays.len() as u64;
    if descriptors < ports {
        info!(
            descriptors,
            ports,
            "open files are limited below the number of relay ports, and each allocation and each TCP client needs one: \
             raise the hard limit (ulimit -Hn, LimitNOFILE=) for more"
        );
    }
}

/// Tells the service manager, if one asked for it (`Type=notify`).
fn service_manager(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        warn!(%error, "the service manager cannot be told");
    }
}

/// Gives up what a running server does not need.
fn confine(settings: &Settings) -> Result<Confinement, Failure> {
    let server = &settings.server;
    let account = Account::find(&server.user, server.group.as_deref()).map_err(fatal)?;
    let plan = sandbox::Plan {
        account: Some(account),
        reach: server.sandbox.then(|| Reach {
            tcp: settings.tcp_relay.enabled,
            ..Reach::default()
        }),
    };
    sandbox::confine(&plan).map_err(fatal)
}

/// Tells the log what was given up.
fn tell(confinement: &Confinement) {
    for complaint in &confinement.complaints {
        warn!("{complaint}");
    }
    info!(
        user = confinement.user,
        files = %confinement.files,
        system_calls = %confinement.syscalls,
        "sandboxed"
    );
}

/// What `--json` prints with a configuration: where the server can be reached.
fn start_json(settings: &Settings, server: &Server, relays: &[RelayAddress]) -> String {
    let urls = urls(listening(server, settings), &[], relays, &settings.tls);
    format!("{}\n", serde_json::json!({ "urls": urls }))
}

fn trial_text(server: &Server, relays: &[RelayAddress], servers: &IceServers) -> String {
    let mut text = String::from(
        "\nhairpin is running without a configuration, for trying out: the credential below is made up\n\
         for this run, good for a day, and gone when it ends. `hairpin check -c FILE` and\n\
         config/hairpin.toml help to write a configuration for real use.\n\n",
    );
    // Writing to a String cannot fail.
    for listener in server.listeners() {
        let _ = writeln!(
            text,
            "  listening  {:4} {}",
            listener.transport.to_string(),
            listener.address
        );
    }
    for relay in relays {
        let _ = writeln!(text, "  relaying   from {}", relay.public());
    }
    let _ = writeln!(
        text,
        "\nPaste this into `new RTCPeerConnection(…)`:\n\n{}\n\n\
         Two clients that both use this server reach each other, wherever they are. Other peers with private or\n\
         loopback addresses are denied, as they should be on the Internet. To reach those on this machine or in\n\
         a LAN, write a configuration:\n\n\
         \x20   [auth]\n\
         \x20   secrets = [{{ file = \"secret\" }}]     # openssl rand -base64 32 > secret\n\n\
         \x20   [peers]\n\
         \x20   allow = [\"127.0.0.0/8\", \"192.168.0.0/16\"]\n\n\
         Then start `hairpin -c FILE`, and make credentials with `hairpin credentials -c FILE`.\n",
        servers.to_json_pretty()
    );
    text
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
