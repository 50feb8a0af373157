//! `hairpin probe --report`: all ways to a server one after the other, and the report that the page `/test` makes.
//!
//! What a way is measured with is the probe's own: [`Leg`], the echo run, and [`load`]. What is said about it is
//! [`wording`](super::wording)'s. Main functions: [`urls`], [`run`].

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::credentials::Credential;
use super::nat::behaviour::Mapping;
use super::report::{Failure, Report, complain};
use super::resolve::{Server, resolve};
use super::session::{self, Leg, Relay};
use super::trust::Trust;
use super::url::{ProbeUrl, Scheme, Transport};
use super::wording::{Findings, Network, Tested, Words};
use super::{EXIT_FAILED, EXIT_NO_ANSWER, ProbeArgs, echo, load, milliseconds, nat};

/// What is taken for lost by chance, in percent.
const LOSSY: f64 = 2.0;

/// What there is to test: all ways there are where one TURN URL leaves the transport open, and else what is named.
#[must_use]
pub fn urls(args: &ProbeArgs) -> Vec<ProbeUrl> {
    let url = &args.url;
    if !args.more.is_empty()
        || url.scheme == Scheme::Stun
        || url.transport.is_some()
        || url.is_secure
    {
        return std::iter::once(url).chain(&args.more).cloned().collect();
    }
    let way = |scheme, transport, is_secure| ProbeUrl {
        scheme,
        is_secure,
        host: url.host.clone(),
        // The port that is named is not that of TLS.
        port: url.port.filter(|_| !is_secure),
        transport: Some(transport),
    };
    vec![
        way(Scheme::Stun, Transport::Udp, false),
        way(Scheme::Turn, Transport::Udp, false),
        way(Scheme::Turn, Transport::Tcp, false),
        way(Scheme::Turn, Transport::Tls, true),
    ]
}

/// Tests all URLs and prints the report; the exit status.
pub async fn run(
    args: &ProbeArgs,
    urls: &[ProbeUrl],
    trust: &Trust,
    credential: Option<&Credential>,
) -> u8 {
    let words = match Words::read() {
        Ok(words) => words,
        Err(error) => {
            complain(&format!("hairpin probe: {error}"));
            return EXIT_FAILED;
        }
    };
    let mut survey = Survey {
        args,
        trust,
        credential,
        network: Network {
            mapping: "hidden".to_owned(),
            public: Vec::new(),
            local: Vec::new(),
            ipv6: false,
        },
    };
    let mut results = Vec::new();
    for url in urls {
        if !args.json {
            complain(&format!("testing {url}"));
        }
        results.push(survey.test(url).await);
    }
    let addresses = survey.network.public.iter().chain(&survey.network.local);
    survey.network.ipv6 = addresses.into_iter().any(|address| address.contains(':'));
    let findings = Findings {
        made_by: format!("hairpin probe {}", env!("CARGO_PKG_VERSION")),
        made_at: now(),
        network: survey.network,
        results,
    };
    let told = words.judge(&findings);
    let text = match args.json {
        false => words.text(&findings),
        true => {
            let all = serde_json::json!({ "findings": findings, "told": told });
            format!("{all:#}\n")
        }
    };
    let _ = write!(std::io::stdout(), "{text}").is_ok();
    let is_silent = findings
        .results
        .iter()
        .all(|result| result.outcome == "blocked");
    match told.is.as_str() {
        "good" => 0,
        _ if is_silent => EXIT_NO_ANSWER,
        _ => EXIT_FAILED,
    }
}

struct Survey<'a> {
    args: &'a ProbeArgs,
    trust: &'a Trust,
    credential: Option<&'a Credential>,
    network: Network,
}

impl Survey<'_> {
    async fn test(&mut self, url: &ProbeUrl) -> Tested {
        let kind = match (url.scheme, url.transports().first()) {
            (Scheme::Stun, _) => "stun",
            (Scheme::Turn, Some(Transport::Tcp)) => "tcp",
            (Scheme::Turn, Some(Transport::Tls)) => "tls",
            (Scheme::Turn, _) => "udp",
        };
        let mut tested = Tested {
            kind: kind.to_owned(),
            url: url.to_string(),
            outcome: "blocked".to_owned(),
            ..Tested::default()
        };
        let done = match url.scheme {
            Scheme::Stun => self.stun(url, &mut tested).await,
            Scheme::Turn => self.turn(url, &mut tested).await,
        };
        if let Err(failure) = done {
            if failure.code.is_some() {
                "refused".clone_into(&mut tested.outcome);
            }
            tested.why = Some(failure.message.replace(char::is_control, "?"));
        }
        tested
    }

    /// The server of a URL, whose port the report is to name as well.
    async fn server(&self, url: &ProbeUrl, tested: &mut Tested) -> Result<Server, Failure> {
        let found = resolve(url, self.args.dns, self.args.timeout).await?;
        let missing = || Failure {
            step: "resolve".to_owned(),
            code: None,
            message: "there is no such server".to_owned(),
            hint: None,
        };
        let server = found.servers.first().cloned().ok_or_else(missing)?;
        let with_port = ProbeUrl {
            port: Some(server.address.port()),
            ..url.clone()
        };
        tested.url = with_port.to_string();
        Ok(server)
    }

    async fn leg(&self, name: char, url: &ProbeUrl, server: &Server) -> Result<Leg, Failure> {
        let (address, transport, limit) = (server.address, server.transport, self.args.timeout);
        let tls = (self.trust, &url.host);
        let tap = session::connect(address, transport, tls, self.credential, limit).await?;
        Leg::start(name, tap, address, transport, self.credential, limit).await
    }

    async fn stun(&mut self, url: &ProbeUrl, tested: &mut Tested) -> Result<(), Failure> {
        let server = self.server(url, tested).await?;
        let leg = self.leg('A', url, &server).await?;
        self.local(&leg);
        let (mapped, round_trip) = leg.binding().await?;
        note(&mut self.network.public, mapped);
        "works".clone_into(&mut tested.outcome);
        tested.set_up_ms = Some(milliseconds(round_trip));
        if self.network.mapping == "hidden" {
            self.mapping(url, server.address)
                .await
                .clone_into(&mut self.network.mapping);
        }
        Ok(())
    }

    /// Notes this machine's own address on the way to the server.
    fn local(&mut self, leg: &Leg) {
        if let Ok(local) = leg.tap().link().local_address() {
            note(&mut self.network.local, local);
        }
    }

    /// How the NAT gives out ports, by the server's other addresses if it has any.
    async fn mapping(&self, url: &ProbeUrl, server: SocketAddr) -> &'static str {
        let mut quiet = Report::new(url, false);
        nat::run(self.args, server, &mut quiet).await;
        let is_same = quiet.mapped_address.is_some() && quiet.mapped_address == quiet.local_address;
        match quiet.nat.and_then(|behaviour| behaviour.mapping) {
            Some(Mapping::NoNat) => "none",
            Some(Mapping::EndpointIndependent) => "independent",
            Some(Mapping::AddressDependent | Mapping::AddressAndPortDependent) => "dependent",
            None if is_same => "none",
            None => "unknown",
        }
    }

    async fn turn(&mut self, url: &ProbeUrl, tested: &mut Tested) -> Result<(), Failure> {
        let server = self.server(url, tested).await?;
        let start = Instant::now();
        let (a, b) = tokio::try_join!(self.leg('A', url, &server), self.leg('B', url, &server))?;
        self.local(&a);
        let a = a.allocate().await?;
        let b = match b.allocate().await {
            Ok(b) => b,
            Err(failure) => {
                let _ = a.free().await.is_ok();
                return Err(failure);
            }
        };
        "broken".clone_into(&mut tested.outcome);
        let done = self.between(&a, &b, start, tested).await;
        let _ = tokio::join!(a.free(), b.free());
        done
    }

    /// All that goes from one allocation to the other.
    async fn between(
        &self,
        a: &Relay<'_>,
        b: &Relay<'_>,
        start: Instant,
        tested: &mut Tested,
    ) -> Result<(), Failure> {
        let plan = echo::Plan {
            count: self.args.count,
            size: usize::from(self.args.size),
            rate: self.args.rate,
            limit: self.args.timeout.min(Duration::from_secs(1)),
        };
        // Another length than the measured packets, so that neither end takes it for one.
        let opener = vec![0; plan.size + 1];
        tokio::try_join!(a.open(b.address, &opener), b.open(a.address, &opener))?;
        tokio::try_join!(a.channel(), b.channel())?;
        let set_up = milliseconds(start.elapsed());
        let outcome = echo::run(a, b, plan).await;
        let summary = outcome.summary;
        tested.loss_percent = Some(summary.loss_percent);
        if let Some(failure) = outcome.broken {
            return Err(failure);
        }
        if summary.packets_received == 0 {
            return Ok(());
        }
        tested.set_up_ms = Some(set_up);
        tested.round_trip_ms = summary.round_trip_median_ms;
        tested.round_trip_p95_ms = summary.round_trip_p95_ms;
        tested.jitter_ms = summary.jitter_ms;
        if let Some(media) = load::media(a, b).await {
            tested.media_loss_percent = Some(media.loss_percent);
            tested.media_jitter_ms = Some(media.jitter_ms);
            tested.media_bits = Some(media.bits);
        }
        tested.throughput_bits = load::fill(a, b).await;
        let outcome = if summary.loss_percent > LOSSY {
            "lossy"
        } else {
            "works"
        };
        outcome.clone_into(&mut tested.outcome);
        Ok(())
    }
}

/// Notes an address once.
fn note(addresses: &mut Vec<String>, address: SocketAddr) {
    let address = address.ip().to_string();
    if !addresses.contains(&address) {
        addresses.push(address);
    }
}

/// This moment in UTC, to the second (RFC 3339).
fn now() -> String {
    let time = x509_parser::time::ASN1Time::now().to_datetime();
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}
