//! `hairpin probe`: uses a STUN or TURN server as a client would, and says whether it works.
//!
//! The protocol is spoken by the `stun` and `turn` crates and not by hairpin's own code, so that a mistake hairpin
//! makes on both sides does not cancel out. The main types are [`ProbeArgs`] and [`url::ProbeUrl`].

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime;

use credentials::{Credential, CredentialArgs};
use report::{Allocation, Echo, Failure, Report};
use resolve::Server;
use session::{Leg, Relay};
use tap::Tap;
use trust::Trust;
use url::{ProbeUrl, Scheme};

pub mod credentials;
pub mod directory;
pub mod echo;
pub mod link;
pub mod load;
pub mod nat;
pub mod report;
pub mod resolve;
pub mod session;
pub mod survey;
pub mod tally;
pub mod tap;
pub mod trust;
pub mod url;
pub mod wording;

/// The server answered, but something failed.
pub const EXIT_FAILED: u8 = 1;
/// The command line, or a file it names, is wrong.
pub const EXIT_USAGE: u8 = 2;
/// The server did not answer.
pub const EXIT_NO_ANSWER: u8 = 3;

/// Arguments of `hairpin probe`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
A stun: URL is asked for this machine's address. With a turn: URL, two allocations are
made as well, A and B, and packets go from A through the relay to B and back. hairpin
connects the two inside: its relay ports and its external address are not tested then.

A turn: server needs credentials: a user name with a password, or the shared secret that
ephemeral credentials are made of. Arguments win over HAIRPIN_PASSWORD, but other users
of this machine can see them.

Exit status:
  0  all well
  1  the server answered, but something failed: credential refused, no relay, too
     many echoes lost (--max-loss), packets changed, allocation not freed,
     no NAT behaviour discovery there (--nat), some way that matters for
     calls does not work (--report)
  2  the command line or a file it names is wrong
  3  no answer: name not found, unreachable, port closed, silence for --timeout")]
pub struct ProbeArgs {
    /// The server.
    #[arg(
        help = "stun:HOST[:PORT] or turn:HOST[:PORT][?transport=udp|tcp], over TLS stuns: and turns:; IPv6 addresses in brackets. For a name without a port DNS is asked (NAPTR, SRV); else port 3478, with TLS 5349, over UDP"
    )]
    pub url: ProbeUrl,

    /// With --report: further URLs to test
    #[arg(requires = "report")]
    pub more: Vec<ProbeUrl>,

    /// Whom the server is to take this for.
    #[command(flatten)]
    pub credential: CredentialArgs,

    /// PEM file with the authorities to trust over TLS; by default `SSL_CERT_FILE`, or those of the system
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// DNS server to ask, in place of the system's: ADDRESS or ADDRESS:PORT
    #[arg(long, value_name = "ADDRESS", value_parser = parse_dns)]
    pub dns: Option<SocketAddr>,

    /// Packets to send through the relay and back
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(tally::MAX_COUNT)))]
    pub count: u32,

    /// Size of each packet in bytes, 1 to 1200
    #[arg(long, value_name = "BYTES", default_value_t = 160, value_parser = clap::value_parser!(u16).range(1..=1200))]
    pub size: u16,

    /// Packets a second, 1 to 10000
    #[arg(long, value_name = "PER_SECOND", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: u32,

    /// How long to wait for each answer and for the last echo, such as 5s or 500ms
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_time)]
    pub timeout: Duration,

    /// Share of echoes that may be lost, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = parse_percent)]
    pub max_loss: f64,

    /// Find out how the NAT in front of this machine behaves, with a stun: server that has two addresses (RFC 5780)
    #[arg(long)]
    pub nat: bool,

    /// With --nat: also find out how long a mapping lives without packets, waiting up to this long
    #[arg(long, value_name = "TIME", requires = "nat", value_parser = parse_time)]
    pub lifetime: Option<Duration>,

    /// Test all ways to the server and print the report that its page `/test` makes: what works, what does not, and what to tell the administrator
    #[arg(
        long,
        conflicts_with = "nat",
        help = "Test all ways to the server and print the report of its page /test: what works, what does not, and what to tell the administrator. One turn: URL without ?transport stands for STUN and TURN over UDP, TCP and TLS there"
    )]
    pub report: bool,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let digits = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    number
        .parse::<f64>()
        .ok()
        .map(|number| number * unit)
        .filter(|seconds| digits && (0.001..=600.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "write it as 5s or 500ms; 1 ms to 600 s".to_owned())
}

fn parse_dns(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<IpAddr>().map(|address| (address, 53).into());
    address.or_else(|_| text.parse()).map_err(|_| {
        "write it as 192.0.2.1, 192.0.2.1:53, 2001:db8::1 or [2001:db8::1]:53".to_owned()
    })
}

fn parse_percent(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|percent| (0.0..=100.0).contains(percent))
        .ok_or_else(|| "a number from 0 to 100".to_owned())
}

/// Runs the probe and prints what it found.
#[must_use]
pub fn main(args: &ProbeArgs) -> ExitCode {
    if args.nat && args.url.scheme != Scheme::Stun {
        report::complain("hairpin probe: --nat takes a stun: URL; it needs no credentials");
        return ExitCode::from(EXIT_USAGE);
    }
    let urls = match args.report {
        true => survey::urls(args),
        false => vec![args.url.clone()],
    };
    let credential = match urls.iter().any(|url| url.scheme == Scheme::Turn) {
        false => None,
        true => match credentials::gather(&args.credential, "probe") {
            Ok(credential) => Some(credential),
            Err(message) => {
                report::complain(&format!("hairpin probe: {message}"));
                return ExitCode::from(EXIT_USAGE);
            }
        },
    };
    let may_be_tls = urls.iter().any(ProbeUrl::may_be_tls);
    let must_be_tls = urls.iter().all(|url| url.is_secure);
    let trust = match may_be_tls.then(|| Trust::load(args.ca.as_deref())) {
        None => Trust::Nobody,
        Some(Ok(trust)) => trust,
        // A system without authorities is no obstacle as long as no record leads to TLS.
        Some(Err(_)) if !must_be_tls && args.ca.is_none() => Trust::Nobody,
        Some(Err(message)) => {
            report::complain(&format!("hairpin probe: {message}"));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            report::complain(&format!("hairpin probe: cannot start: {error}"));
            return ExitCode::from(EXIT_FAILED);
        }
    };
    // The client crates log what the report says better. All of them run on this thread.
    let silence = tracing::subscriber::NoSubscriber::new();
    let exit_code = tracing::subscriber::with_default(silence, || {
        if args.report {
            let survey = survey::run(args, &urls, &trust, credential.as_ref());
            return runtime.block_on(survey);
        }
        let mut report = Report::new(&args.url, !args.json);
        let heard = runtime.block_on(run(args, &trust, credential.as_ref(), &mut report));
        let exit_code = match (report.failures.is_empty(), heard) {
            (true, _) => 0,
            (false, true) => EXIT_FAILED,
            (false, false) => EXIT_NO_ANSWER,
        };
        report.finish(exit_code);
        exit_code
    });
    // A name that is still being resolved must not hold up the end.
    runtime.shutdown_background();
    ExitCode::from(exit_code)
}

/// Does all steps; true when the server was heard at all.
async fn run(
    args: &ProbeArgs,
    trust: &Trust,
    credential: Option<&Credential>,
    report: &mut Report,
) -> bool {
    let (url, limit) = (&args.url, args.timeout);
    report.fact("url", url);
    let found = match resolve::resolve(url, args.dns, limit).await {
        Ok(found) => found,
        Err(failure) => {
            report.failure(failure);
            return false;
        }
    };
    report.found(&found);
    let [Server { address, transport }, ..] = found.servers.as_slice() else {
        return false;
    };
    let (server, transport) = (*address, *transport);
    if args.nat {
        return nat::run(args, server, report).await;
    }
    let start = async |name| {
        let tap =
            session::connect(server, transport, (trust, &url.host), credential, limit).await?;
        Leg::start(name, tap, server, transport, credential, limit).await
    };
    match url.scheme {
        Scheme::Stun => match start('A').await {
            Ok(leg) => {
                let answer = leg.binding().await;
                tell_binding(report, leg.tap(), answer).await;
                return leg.tap().log().heard;
            }
            Err(failure) => report.failure(failure),
        },
        Scheme::Turn => match tokio::try_join!(start('A'), start('B')) {
            Ok((a, b)) => {
                relay(args, &a, &b, report).await;
                return a.tap().log().heard || b.tap().log().heard;
            }
            Err(failure) => report.failure(failure),
        },
    }
    false
}

/// Everything after the connections are there. Allocations are given back whatever happens.
async fn relay(args: &ProbeArgs, a: &Leg, b: &Leg, report: &mut Report) {
    // At once, so that a server that answers neither is found out in one time limit, and one that only relays is told
    // from one that is not there.
    let (binding, made_b) = tokio::join!(a.binding(), b.allocate());
    let silent =
        binding.is_err() && made_b.is_err() && !a.tap().log().heard && !b.tap().log().heard;
    let binding = binding.map_err(|failure| match &made_b {
        Ok(_) if failure.code.is_none() => Failure {
            hint: Some("it relays all the same, so STUN may be turned off".to_owned()),
            ..failure
        },
        _ => failure,
    });
    tell_binding(report, a.tap(), binding).await;
    if silent {
        return;
    }
    tell_software(report, b.tap());
    let b = match made_b {
        Ok(b) => b,
        Err(failure) => return report.failure(failure),
    };
    match a.allocate().await {
        Ok(a) => {
            tell_allocation(report, &a);
            tell_allocation(report, &b);
            exchange(args, &a, &b, report).await;
            free(report, &a).await;
            free(report, &b).await;
        }
        Err(failure) => {
            tell_allocation(report, &b);
            report.failure(failure);
            free(report, &b).await;
        }
    }
}

/// Permissions and channels both ways, then the echo run.
async fn exchange(args: &ProbeArgs, a: &Relay<'_>, b: &Relay<'_>, report: &mut Report) {
    let plan = echo::Plan {
        count: args.count,
        size: usize::from(args.size),
        rate: args.rate,
        limit: args.timeout,
    };
    // Another length than the measured packets, so that neither end takes it for one.
    let opener = vec![0; plan.size + 1];
    let (opened_a, opened_b) = tokio::join!(a.open(b.address, &opener), b.open(a.address, &opener));
    if let Err(failure) = opened_a.and(opened_b) {
        return report.failure(failure);
    }
    let (bound_a, bound_b) = tokio::join!(a.channel(), b.channel());
    if let Err(failure) = bound_a.and(bound_b) {
        let refused = failure.code.is_some();
        report.failure(failure);
        if !refused {
            return;
        }
    }
    let outcome = echo::run(a, b, plan).await;
    let (loss, received) = (
        outcome.summary.loss_percent,
        outcome.summary.packets_received,
    );
    let corrupted = outcome.summary.packets_corrupted;
    report.echo(Echo {
        packet_size_bytes: plan.size,
        packets_per_second: plan.rate,
        summary: outcome.summary,
    });
    let failure = |message: String, hint: &str| Failure {
        step: "echo".to_owned(),
        code: None,
        message,
        hint: Some(hint.to_owned()),
    };
    if let Some(broken) = outcome.broken {
        report.failure(broken);
    } else if received == 0 {
        report.failure(failure(
            "nothing came back through the relay".to_owned(),
            "check that the server can reach its own relayed addresses: firewall on the relay ports, external address",
        ));
    } else if loss > args.max_loss {
        report.failure(failure(
            format!(
                "{loss:.2} % of the packets were lost, more than {} %",
                args.max_loss
            ),
            "try a lower --rate to tell a full queue from a bad path",
        ));
    }
    if corrupted > 0 {
        report.failure(failure(
            format!("{corrupted} packets came back changed"),
            "something on the way changes the payload",
        ));
    }
}

type Bound = Result<(SocketAddr, Duration), Failure>;

async fn tell_binding(report: &mut Report, tap: &Tap, answer: Bound) {
    if let Ok(local) = tap.link().local_address() {
        report.local_address = Some(local);
        report.fact("local address", local);
    }
    match answer {
        Ok((mapped, round_trip)) => {
            let round_trip = milliseconds(round_trip);
            report.mapped_address = Some(mapped);
            report.binding_round_trip_ms = Some(round_trip);
            report.fact("mapped address", mapped);
            report.fact("Binding round trip", format_args!("{round_trip:.2} ms"));
        }
        Err(failure) => report.failure(failure),
    }
    tell_software(report, tap);
}

fn tell_software(report: &mut Report, tap: &Tap) {
    let (software, realm) = {
        let log = tap.log();
        (log.software.clone(), log.realm.clone())
    };
    if let Some(software) = software.filter(|_| report.software.is_none()) {
        report.fact("software", &software);
        report.software = Some(software);
    }
    if let Some(realm) = realm.filter(|_| report.realm.is_none()) {
        report.fact("realm", &realm);
        report.realm = Some(realm);
    }
}

fn tell_allocation(report: &mut Report, relay: &Relay<'_>) {
    let name = relay.leg.name();
    let set_up_ms = milliseconds(relay.set_up);
    let lifetime_seconds = relay.lifetime.map(|lifetime| lifetime.as_secs());
    report.fact(&format!("{name} relayed address"), relay.address);
    if let Some(lifetime) = lifetime_seconds {
        report.fact(&format!("{name} lifetime"), format_args!("{lifetime} s"));
    }
    report.fact(&format!("{name} set-up"), format_args!("{set_up_ms:.2} ms"));
    let server_is_public = report
        .server_address
        .is_some_and(|server| session::is_public(server.ip()));
    if server_is_public && !session::is_public(relay.address.ip()) {
        report.note(format!(
            "relayed address {} cannot be reached from outside: the server has to be told its external address",
            relay.address.ip()
        ));
    }
    report.allocations.push(Allocation {
        name,
        relayed_address: relay.address,
        lifetime_seconds,
        set_up_ms,
        freed: false,
    });
}

async fn free(report: &mut Report, relay: &Relay<'_>) {
    let name = relay.leg.name();
    // Whatever cut the connection was reported when it did.
    let broken = relay.leg.tap().log().fault.is_some();
    let freed = if broken {
        None
    } else {
        Some(relay.free().await)
    };
    let done = matches!(freed, Some(Ok(())));
    report.fact(&format!("{name} freed"), if done { "yes" } else { "no" });
    for allocation in report.allocations.iter_mut().filter(|a| a.name == name) {
        allocation.freed = done;
    }
    if let Some(Err(failure)) = freed {
        report.failure(failure);
    }
}

/// To the microsecond; more is noise.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
