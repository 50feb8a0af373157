//! `hairpin bench`: puts a load on a TURN server and says what became of it and what it cost.
//!
//! The load has a client of its own, since that of `hairpin probe` costs more than the servers it would measure. It runs
//! in one thread: sockets without blocking, several packets a system call. The main types are [`BenchArgs`],
//! [`scenario::Plan`] and [`report::Report`].

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::Failure;
use super::probe::credentials::{Credential, CredentialArgs, gather};
use super::probe::trust::Trust;
use super::probe::url::{Host, ProbeUrl, Scheme, Transport};
use crate::config::units;
use crate::net::descriptors;
use ends::Ends;
use gauge::Gauge;
use process::Process;
use report::{Report, Setup};
use scenario::{Direction, Framing, Plan, Scenario, Wait, Work};
use session::{Ask, Session};
use setup::Seat;
use stream::StreamEnd;

pub mod binding;
pub mod churn;
pub mod delays;
pub mod ends;
pub mod frame;
pub mod gauge;
pub mod pacer;
pub mod process;
pub mod relaying;
pub mod report;
pub mod scenario;
pub mod session;
pub mod setup;
pub mod stamp;
pub mod stream;
pub mod tally;

/// Arguments of `hairpin bench`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Every scenario is a set of the options below, each of which may be given to change it. With
a window (saturated, video, send) the load is closed: a packet is sent when another has been
delivered, so that the server is always busy and little is lost. With a rate it is open.

Only bursts leave as segments of one packet (UDP_SEGMENT), and so only they can arrive at a
server in one piece (UDP_GRO). All else is sent packet by packet, client after client.

A load puts a server out of service for others. Use it on your own.

Exit status:
  0  the load ran, whatever became of it
  1  it did not: the server refused, did not answer or closed a connection
  2  the command line or a file it names is wrong")]
pub struct BenchArgs {
    /// The server.
    #[arg(
        help = "turn:HOST[:PORT][?transport=udp|tcp], over TLS turns:; stun:HOST[:PORT] for Binding"
    )]
    pub url: ProbeUrl,

    /// What the load does
    #[arg(short, long, value_name = "NAME", default_value = "saturated")]
    pub scenario: Scenario,

    /// Whom the server is to take this for.
    #[command(flatten)]
    pub credential: CredentialArgs,

    /// PEM file with the authorities to trust over TLS; by default `SSL_CERT_FILE`, or those of the system
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// Clients, each with a socket of its own
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub clients: Option<u32>,

    /// Peers of each client, each with a socket of its own
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub peers: Option<u32>,

    /// More clients that hold an allocation with a permission and a channel and do nothing
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub idle: Option<u32>,

    /// Address of this machine for the peers; by default the one that leads to the server
    #[arg(long, value_name = "IP")]
    pub peer_address: Option<IpAddr>,

    /// Payload of a packet in bytes
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(stamp::LENGTH as i64..=8192))]
    pub size: Option<u32>,

    /// Packets, requests or allocations a second
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "window", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub rate: Option<u32>,

    /// Packets under way at one time, of all clients, in place of a rate
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub window: Option<u32>,

    /// With a rate: send what is due only this often, a packet or burst of one client after the other; 0s for one at a
    /// time with gaps between
    #[arg(long, value_name = "TIME", value_parser = interval)]
    pub every: Option<Duration>,

    /// Packets of one client that leave at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub burst: Option<u32>,

    /// Whether a burst leaves as segments of one packet, as a sender with segmentation offload has it
    #[arg(long, value_name = "BOOL")]
    pub segments: Option<bool>,

    /// Which way packets go
    #[arg(long, value_name = "WAY")]
    pub direction: Option<Direction>,

    /// How clients send
    #[arg(long, value_name = "KIND")]
    pub framing: Option<Framing>,

    /// Cut apart what the server sent as segments of one packet, as a network without offload does, at its expense
    #[arg(long)]
    pub no_gro: bool,

    /// What the load does while nothing is due
    #[arg(long, value_name = "HOW", default_value = "spin")]
    pub wait: Wait,

    /// How long it runs before it counts
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = short_time)]
    pub warm_up: Duration,

    /// How long it counts
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = short_time)]
    pub duration: Duration,

    /// Process of the server, where it runs on this machine: to say what it costs
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,

    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Permissions last for five minutes, and a load does not refresh them.
const LONGEST: Duration = Duration::from_secs(120);

fn short_time(text: &str) -> Result<Duration, String> {
    let time = units::duration(text)?;
    if time > LONGEST {
        return Err("at most 2m: a load does not refresh what it holds".to_owned());
    }
    Ok(time)
}

fn interval(text: &str) -> Result<Duration, String> {
    let time = match text.strip_suffix("us") {
        Some(number) => number
            .parse()
            .map(Duration::from_micros)
            .map_err(|_| "write it as 200us or 2ms".to_owned())?,
        None => units::duration(text)?,
    };
    if time > Duration::from_secs(1) {
        return Err("at most 1s".to_owned());
    }
    Ok(time)
}

pub(super) fn main(args: &BenchArgs) -> Result<(), Failure> {
    let plan = Plan::new(args).map_err(Failure::usage)?;
    let credential = match (plan.work, args.url.scheme) {
        (Work::Binding, _) => Credential {
            username: String::new(),
            password: String::new(),
        },
        (_, Scheme::Stun) => {
            return Err(Failure::usage(
                "a stun: URL is good for the scenario binding only",
            ));
        }
        _ => gather(&args.credential, "bench").map_err(Failure::usage)?,
    };
    if args.peer_address.is_some_and(|ip| ip.is_unspecified()) {
        return Err(Failure::usage(
            "peers need an address; name one of this machine",
        ));
    }
    let server = resolve(&args.url)?;
    let tls = tls(args)?;
    let pid = args.pid.map(Process::watch).transpose();
    let gauge = Gauge {
        server: pid.map_err(Failure::usage)?,
        own: Process::own(),
    };
    // One for each client and peer, and some for the process itself.
    let peers = match plan.work {
        Work::Relay(_) => plan.peers,
        Work::Binding | Work::Churn | Work::Hold => 0,
    };
    let sockets = plan.idle + plan.clients * (1 + peers) + 50;
    let limit = descriptors::raise_limit();
    if limit < sockets as u64 {
        return Err(Failure::new(format!(
            "this load takes {sockets} open files, and the system allows {limit} (ulimit -Hn)"
        )));
    }
    let target = Target {
        server,
        tls,
        credential: Arc::new(credential),
        peer_ip: args.peer_address,
    };
    let report = run(&plan, &target, &gauge).map_err(Failure::new)?;
    super::print(&if args.json {
        format!("{}\n", report.to_json())
    } else {
        report.to_string()
    })
}

/// Whom the load is for.
struct Target {
    server: SocketAddr,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    credential: Arc<Credential>,
    peer_ip: Option<IpAddr>,
}

/// How clients reach the server: UDP, unless the URL says otherwise.
fn transport(url: &ProbeUrl) -> Transport {
    url.transports().first().copied().unwrap_or(Transport::Udp)
}

/// The server's address. A load is for one server: what SRV records have to say of others is not asked.
fn resolve(url: &ProbeUrl) -> Result<SocketAddr, Failure> {
    let port = url.port.unwrap_or(transport(url).default_port());
    match &url.host {
        Host::Ip(ip) => Ok(SocketAddr::new(*ip, port)),
        Host::Name(name) => (name.as_str(), port)
            .to_socket_addrs()
            .ok()
            .and_then(|mut addresses| addresses.next())
            .ok_or_else(|| Failure::new(format!("{name} cannot be resolved"))),
    }
}

fn tls(args: &BenchArgs) -> Result<Option<(Arc<ClientConfig>, ServerName<'static>)>, Failure> {
    if transport(&args.url) != Transport::Tls {
        return Ok(None);
    }
    let Trust::Authorities(config) = Trust::load(args.ca.as_deref()).map_err(Failure::usage)?
    else {
        return Ok(None);
    };
    let name = match &args.url.host {
        Host::Ip(ip) => ServerName::from(*ip),
        Host::Name(name) => {
            ServerName::try_from(name.clone()).map_err(|error| Failure::usage(error.to_string()))?
        }
    };
    Ok(Some((config, name)))
}

fn run(plan: &Plan, target: &Target, gauge: &Gauge) -> Result<Report, String> {
    let mut report = Report::new(plan, target.server);
    match plan.work {
        Work::Binding => {
            let mut ends = Ends::new().map_err(|error| error.to_string())?;
            report.memory_before = gauge.memory();
            for number in 0..plan.clients {
                setup::client_socket(target.server, setup::source(target.server, number), false)
                    .and_then(|socket| ends.add_datagram(socket))
                    .map_err(|error| format!("cannot open a client's socket: {error}"))?;
            }
            let ran = binding::run(plan, &mut ends, gauge);
            let (used, worked, tally) = ran.map_err(|error| error.to_string())?;
            report.memory_after = gauge.memory();
            report.ran(used, worked, &tally);
            Ok(report)
        }
        Work::Churn => {
            report.memory_before = gauge.memory();
            let (used, worked, tally) = churn::run(plan, target.server, &target.credential, gauge)?;
            report.memory_after = gauge.memory();
            report.ran(used, worked, &tally);
            Ok(report)
        }
        Work::Relay(direction) => {
            let (ends, mut seats) = allocate(plan, target, gauge, &mut report)?;
            let peer_ip = match target.peer_ip {
                Some(ip) => ip,
                None => ends.address(0).map_err(|error| error.to_string())?.ip(),
            };
            let mut relaying = relaying::prepare(plan, direction, peer_ip, ends, &mut seats)?;
            let used = relaying.run(gauge).map_err(|error| error.to_string())?;
            report.memory_after = gauge.memory();
            report.ran(used, relaying.worked(), relaying.tally());
            setup::release(&mut relaying.into_ends(), &mut seats);
            Ok(report)
        }
        Work::Hold => {
            let (mut ends, mut seats) = allocate(plan, target, gauge, &mut report)?;
            let start = gauge.start();
            std::thread::sleep(plan.duration);
            report.held(gauge.since(&start));
            report.memory_after = gauge.memory();
            setup::release(&mut ends, &mut seats);
            Ok(report)
        }
    }
}

/// Opens the clients' sockets and gets them their allocations; those that do nothing get their channel too.
fn allocate(
    plan: &Plan,
    target: &Target,
    gauge: &Gauge,
    report: &mut Report,
) -> Result<(Ends, Vec<Seat>), String> {
    let cannot = |error: std::io::Error| format!("cannot open a client's socket: {error}");
    let busy = if plan.work == Work::Hold {
        0
    } else {
        plan.clients
    };
    let total = plan.clients + plan.idle;
    let mut ends = Ends::new().map_err(cannot)?;
    let mut seats = Vec::with_capacity(total);
    let peer_ip = target.peer_ip;
    report.memory_before = gauge.memory();
    let start = gauge.start();
    let began = Instant::now();
    for number in 0..total {
        let end = if plan.transport == Transport::Udp {
            let socket = setup::client_socket(
                target.server,
                setup::source(target.server, number),
                plan.coalesced,
            );
            socket.and_then(|socket| ends.add_datagram(socket))
        } else {
            let stream = StreamEnd::connect(target.server, target.tls.clone())
                .map_err(|error| format!("cannot connect to {}: {error}", target.server))?;
            ends.add_stream(stream)
        };
        let end = end.map_err(cannot)?;
        let mut session = Session::new(target.credential.clone(), number as u64);
        if number >= busy {
            let ip = match peer_ip {
                Some(ip) => ip,
                None => ends.address(end).map_err(cannot)?.ip(),
            };
            // The discard port: nothing is ever sent there.
            let nobody = SocketAddr::new(ip, 9);
            let channel = crate::wire::ChannelNumber::MIN;
            session.asks.push_back(Ask::Bind(channel, nobody));
        }
        seats.push(Seat::new(session));
    }
    setup::bring_up(&mut ends, &mut seats, plan.coalesced)?;
    report.setup = Setup {
        allocations: total,
        time: began.elapsed(),
        server_cpu: gauge.since(&start).server_cpu,
    };
    report.memory_set_up = gauge.memory();
    Ok((ends, seats))
}
