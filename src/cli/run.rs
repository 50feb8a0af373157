//! `hairpin run`: the server itself.

use super::reminder::Reminder;
use super::{Failure, RunArgs, notify};
use crate::accounting::Accounting;
use crate::acme::Office;
use crate::admin::{Doors, Offered};
use crate::auth::{Secret, mint_ephemeral};
use crate::config::{Listener, Settings};
use crate::doctor;
use crate::doctor::advice::{Surroundings, advice, now};
use crate::net::addresses::{self, RelayAddress};
use crate::net::clock::Clock;
use crate::net::handed::Handed;
use crate::net::tls::Tls;
use crate::net::{Server, descriptors, random_seed};
use crate::sandbox::{self, Account, Confinement, Reach};
use crate::service::assembly::{self, Seeds};
use crate::service::ice_servers::{IceServers, urls};
use crate::service::{Parts, Service};
use crate::telemetry::{self, Metrics, Process, Sources};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

/// How long the credential of a trial is good.
const TRIAL_LIFETIME: u64 = 24 * 3600;

/// How long the end of the program waits for the last records of accounting.
const LAST_RECORDS: Duration = Duration::from_secs(5);

/// How often is looked whether all workers still run.
const WATCH: Duration = Duration::from_secs(1);

/// How often is looked whether it is time to say again what ends soon.
const LOOK: Duration = Duration::from_secs(60);

/// Runs the server until it is told to stop.
///
/// # Errors
/// Where the configuration is wrong or the server cannot start.
pub fn main(args: &RunArgs) -> Result<(), Failure> {
    // Before anything is opened that could have the number of one.
    let mut handed = Handed::take().map_err(fatal)?;
    let (mut settings, files, readable_secrets, is_trial) = match &args.config {
        Some(path) => {
            let loaded = super::load(path)?;
            let readable_secrets = loaded.readable_secrets;
            (loaded.settings, loaded.files, readable_secrets, false)
        }
        None => (Settings::default(), Vec::new(), false, true),
    };
    let trial_secret = if is_trial {
        // Never stored: a new one each time.
        let secret = BASE64_URL_SAFE_NO_PAD.encode(random_seed().map_err(fatal)?);
        // Nobody waits for a trial to end.
        settings.server.drain = Duration::ZERO;
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
        let owner = account(&settings)?;
        let doors = Doors::open(&settings, owner.owner(), &mut handed)?;
        // Registered before anything runs, so that no signal is missed.
        let mut terminate = signal(SignalKind::terminate()).map_err(fatal)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(fatal)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(fatal)?;

        let clock = Clock::start();
        let seeds = Seeds::random().map_err(fatal)?;
        let shared = assembly::shared(&settings, &relays, &seeds)?;
        let descriptors = descriptors::raise_limit();
        let tls = assembly::tls(&settings)?;
        let dtls = assembly::dtls(&settings)?;
        let office = office(&settings, tls.clone(), &owner, &mut handed)?;
        let net = assembly::net_settings(&settings, tls.clone(), dtls.clone());
        let mut bound = Server::bind(net, &shared, handed).map_err(fatal)?;
        // What is read from the system is read before it is closed.
        let surroundings = Surroundings {
            listener_receive: bound.receive_buffer(),
            send_limit: None,
            ..Surroundings::of_this_machine(relays.clone())
        };
        let machine = doctor::keep(&settings, &relays);
        let process = Process::open();
        let accounting = Accounting::open(&settings.accounting, &instance()?).map_err(Failure::new)?;
        let (accounting, ledger, losses) = match accounting {
            Some((accounting, ledger, losses)) => (Some(accounting), Some(ledger), Some(losses)),
            None => (None, None, None),
        };
        let confinement = confine(&settings, &files, owner)?;
        if let Some(acme) = &settings.tls.acme {
            Office::check_folder(acme).map_err(Failure::new)?;
        }
        // No thread was started before, the log's included: what is given up is given up by each thread for itself.
        let log = telemetry::log::start(&settings.log).map_err(fatal)?;
        telemetry::panics::tell_the_log();
        bound.note_in(ledger.clone());
        let mut server = bound.start(&shared, clock).map_err(fatal)?;
        let metrics = Metrics::new(Sources {
            workers: server.counters().to_vec(),
            relays: shared.relays.clone(),
            clock,
            watched: server.take_watched(),
            process,
            ledger,
            losses,
        });

        let service = Arc::new(Service::new(Parts {
            control: server.control(),
            shared,
            settings: settings.clone(),
            file: args.config.clone(),
            files,
            readable_secrets,
            relays: relays.clone(),
            seeds,
            tls,
            dtls,
            levels: Some(log.levels()),
        }));
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

        notify::ready();

        let serve_operators = doors.serve(Offered {
            metrics,
            service: service.clone(),
            counters: server.counters().to_vec(),
            machine,
        });
        let reload = async {
            loop {
                hangup.recv().await;
                notify::reloading();
                // The log has been told.
                let _ = service.reload_and_tell().await;
                notify::ready();
            }
        };
        let drain = async {
            terminate.recv().await;
            info!(sessions = service.shared().quotas.in_use(), "stopping");
            notify::stopping();
            tokio::select! {
                left = service.drain() => info!(sessions = left, "stopping now"),
                _ = terminate.recv() => info!("stopping now, as told again"),
            }
        };
        let control = server.control();
        let last_records = accounting.as_ref().map(Accounting::last_records);
        let account = async {
            match accounting {
                Some(accounting) => accounting.run(&control).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(account);
        let renew = async {
            match &office {
                Some(office) => tokio::join!(service.keep_certificate(office), office.answer()),
                None => std::future::pending().await,
            }
        };
        let outcome = tokio::select! {
            () = drain => Ok(()),
            _ = interrupt.recv() => {
                info!("stopping");
                notify::stopping();
                Ok(())
            }
            failed = serve_operators => Err(Failure::new(format!("operators cannot be served any more: {failed:?}"))),
            () = until_a_worker_ends(&server) => Err(Failure::new("a worker ended")),
            () = reload => Ok(()),
            () = &mut account => Ok(()),
            () = service.watch() => Ok(()),
            ((), ()) = renew => Ok(()),
            () = notify::keep_watchdog(&service) => Ok(()),
            () = remind(&service) => Ok(()),
        };
        let stopped = server.stop();
        if let Err(reason) = &stopped {
            error!(%reason, "a worker failed");
        }
        if let Some(last_records) = last_records {
            // The ends of the last sessions are still to be told.
            tokio::select! {
                () = &mut account => {}
                () = last_records.arrived() => {}
                () = tokio::time::sleep(LAST_RECORDS) => warn!("the last records of accounting have not arrived"),
            }
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

/// Tells the log each day which certificates end soon.
async fn remind(service: &Service) {
    let mut reminder = Reminder::new(now());
    loop {
        tokio::time::sleep(LOOK).await;
        for sentence in reminder.due(&service.settings(), now()) {
            warn!("{sentence}");
        }
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
    for certificate in settings.tls.shown() {
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

/// Where files are that are read again: whole directories, since who renews a file often puts another in its place; and
/// where links lead by now.
fn read_again(files: &[PathBuf]) -> Vec<PathBuf> {
    let real = files.iter().filter_map(|file| file.canonicalize().ok());
    let all = files.iter().cloned().chain(real);
    let mut directories: Vec<PathBuf> = all
        .filter_map(|file| match file.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Some(PathBuf::from(".")),
            parent => parent.map(Path::to_owned),
        })
        .collect();
    directories.sort();
    directories.dedup();
    directories
}

/// The name of this run, for accounting.
fn instance() -> Result<String, Failure> {
    let seed = random_seed().map_err(fatal)?;
    let (head, _) = seed.split_at(8);
    Ok(head.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What certificates are asked for with, if an authority is to be asked.
fn office(
    settings: &Settings,
    tls: Option<Arc<Tls>>,
    account: &Account,
    handed: &mut Handed,
) -> Result<Option<Office>, Failure> {
    match &settings.tls.acme {
        None => Ok(None),
        Some(acme) => {
            let office = Office::open(acme, tls, account.owner(), handed);
            office.map(Some).map_err(Failure::new)
        }
    }
}

/// Who the process becomes if it is root.
fn account(settings: &Settings) -> Result<Account, Failure> {
    let server = &settings.server;
    Account::find(&server.user, server.group.as_deref()).map_err(fatal)
}

/// Gives up what a running server does not need.
fn confine(
    settings: &Settings,
    files: &[PathBuf],
    account: Account,
) -> Result<Confinement, Failure> {
    let streams = settings.listeners.iter();
    let streams = streams.filter(|listener| listener.transport.is_stream());
    let acme = settings.tls.acme.as_ref();
    let mut writable = read_again(settings.accounting.file.as_slice());
    writable.extend(acme.map(|acme| acme.state.clone()));
    // Whether it answers there the server asks itself.
    let mut own_ports: Vec<u16> = streams.map(|listener| listener.address.port()).collect();
    // The authority, and name servers whose answers do not fit into a datagram.
    own_ports.extend(
        acme.into_iter()
            .flat_map(|acme| [acme.directory_port(), 53]),
    );
    let plan = sandbox::Plan {
        account: Some(account),
        reach: settings.server.sandbox.then(|| Reach {
            tcp: settings.tcp_relay.enabled || settings.accounting.webhook.is_some(),
            own_ports,
            readable: read_again(files),
            writable,
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
