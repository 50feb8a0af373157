//! `hairpin probe --nat`: how the NAT between this machine and a server with two addresses behaves (RFC 5780).
//!
//! Each test has a socket of its own where an earlier one could have opened the way, so that what is told is what the
//! NAT does to a new conversation. The main function is [`run`].

mod asker;
pub mod behaviour;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::report::{Failure, Report};
use super::{ProbeArgs, milliseconds};
use asker::{Answer, Asker, Heard, Wish};
use behaviour::{Behaviour, Filtering, Lifetime, Mapping, kind, webrtc};

/// More than what an Ethernet takes in one packet, so that request and answer are fragmented.
const PADDING: u16 = 1500;

/// How long to wait for a packet that goes to this machine's own NAT and back, or that comes at once or never.
const SHORT_WAIT: Duration = Duration::from_secs(2);

/// The first age at which a mapping is looked at, and how much later each next time.
const FIRST_AGE: Duration = Duration::from_secs(1);
const AGE_FACTOR: f64 = 1.25;

/// What keeps a test from an outcome.
enum Trouble {
    /// This machine's own.
    System(io::Error),
    /// The server's: what was asked, and what it did.
    Server(&'static str, String),
    /// The server's: an error code, and what it means here.
    Refused(&'static str, u16, String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::System(error)
    }
}

/// What all tests need.
struct Bench {
    local: IpAddr,
    server: SocketAddr,
    other: SocketAddr,
    limit: Duration,
}

/// Does all tests; true when the server was heard at all.
pub async fn run(args: &ProbeArgs, server: SocketAddr, report: &mut Report) -> bool {
    let mut heard = false;
    let mut behaviour = Behaviour::default();
    if let Err(trouble) = discover(args, server, report, &mut behaviour, &mut heard).await {
        report.failure(told(trouble));
    }
    report.nat = Some(behaviour);
    heard
}

fn told(trouble: Trouble) -> Failure {
    let (step, code, message) = match trouble {
        Trouble::System(error) => {
            return Failure {
                step: "send".to_owned(),
                code: None,
                message: error.to_string(),
                hint: Some("check this machine's addresses, routes and firewall".to_owned()),
            };
        }
        Trouble::Server(step, message) => (step, None, message),
        Trouble::Refused(step, code, message) => (step, Some(code), message),
    };
    Failure {
        step: step.to_owned(),
        code,
        message,
        hint: None,
    }
}

async fn discover(
    args: &ProbeArgs,
    server: SocketAddr,
    report: &mut Report,
    behaviour: &mut Behaviour,
    heard: &mut bool,
) -> Result<(), Trouble> {
    let local = source_for(server).await?;
    let asker = Asker::open(local, args.timeout).await?;
    let own = asker.local_address()?;
    report.local_address = Some(own);
    report.fact("local address", own);
    let first = match asker.ask(server, Wish::default()).await? {
        Heard::Answer(answer) => answer,
        Heard::Silence => {
            return Err(Trouble::Server(
                "Binding",
                format!("no answer within {} s", args.timeout.as_secs_f64()),
            ));
        }
        Heard::Refused(code) => {
            *heard = true;
            let message = format!("the server refused a plain request with {code}");
            return Err(Trouble::Refused("Binding", code, message));
        }
        Heard::Nonsense(what) => {
            *heard = true;
            return Err(Trouble::Server("Binding", what));
        }
    };
    *heard = true;
    tell_first(report, behaviour, &first, own);
    let other = other_address(server, &first)?;
    behaviour.other_address = Some(other);
    report.fact("server's other", other);

    let bench = Bench {
        local,
        server,
        other,
        limit: args.timeout,
    };
    let mapping = bench.mapping(&asker, own, first.mapped, behaviour).await;
    match mapping {
        Ok(mapping) => {
            behaviour.mapping = Some(mapping);
            report.fact("mapping", mapping);
        }
        Err(trouble) => report.failure(told(trouble)),
    }
    let is_mapped = behaviour.mapping != Some(Mapping::NoNat);
    let (filtering, hairpinning, fragments, lifetime) = tokio::join!(
        bench.filtering(),
        async {
            match is_mapped {
                true => bench.hairpinning().await.map(Some),
                false => Ok(None),
            }
        },
        bench.fragments(),
        async {
            match args.lifetime {
                Some(longest) => bench.lifetime(longest).await.map(Some),
                None => Ok(None),
            }
        },
    );
    match filtering {
        Ok(filtering) => {
            behaviour.filtering = Some(filtering);
            report.fact("filtering", filtering);
        }
        Err(trouble) => report.failure(told(trouble)),
    }
    if let (Some(mapping), Some(filtering)) = (behaviour.mapping, behaviour.filtering) {
        let (kind, webrtc) = (kind(mapping, filtering), webrtc(mapping, filtering));
        (behaviour.kind, behaviour.webrtc) = (Some(kind), Some(webrtc));
        report.fact("NAT", kind);
        report.fact("WebRTC", webrtc);
    }
    tell_rest(report, behaviour, hairpinning?, fragments?, lifetime)
}

fn tell_first(report: &mut Report, behaviour: &mut Behaviour, first: &Answer, own: SocketAddr) {
    let round_trip = milliseconds(first.round_trip);
    report.mapped_address = Some(first.mapped);
    report.binding_round_trip_ms = Some(round_trip);
    report.fact("mapped address", first.mapped);
    report.fact("Binding round trip", format_args!("{round_trip:.2} ms"));
    behaviour.mapped_addresses.push(first.mapped);
    behaviour.port_preserved = Some(first.mapped.port() == own.port());
    behaviour.addresses_rewritten = first.plain_mapped.map(|plain| plain != first.mapped);
    if behaviour.addresses_rewritten == Some(true) {
        report.note(
            "a gateway on the way changes addresses inside of packets: MAPPED-ADDRESS is not what the server wrote"
                .to_owned(),
        );
    }
}

fn tell_rest(
    report: &mut Report,
    behaviour: &mut Behaviour,
    hairpinning: Option<bool>,
    fragments: Option<bool>,
    lifetime: Result<Option<Lifetime>, Trouble>,
) -> Result<(), Trouble> {
    behaviour.hairpinning = hairpinning;
    if let Some(hairpinning) = hairpinning {
        report.fact(
            "hairpinning",
            if hairpinning {
                "yes: clients behind this NAT reach each other by their public addresses"
            } else {
                "no: clients behind this NAT reach each other by their local addresses only"
            },
        );
    }
    behaviour.fragments_pass = fragments;
    if let Some(pass) = fragments {
        report.fact("fragments", if pass { "pass" } else { "do not pass" });
    }
    if let Some(lifetime) = lifetime? {
        behaviour.binding_lifetime_seconds = Some(lifetime);
        let least = lifetime.at_least;
        match lifetime.gone_by {
            Some(gone) => report.fact(
                "mapping lifetime",
                format_args!("{least:.0} s to {gone:.0} s without packets"),
            ),
            None => report.fact(
                "mapping lifetime",
                format_args!("{least:.0} s without packets, or more"),
            ),
        }
    }
    Ok(())
}

/// This machine's address on the way to the server. Nothing is sent.
async fn source_for(server: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(server).await?;
    Ok(socket.local_addr()?.ip())
}

fn other_address(server: SocketAddr, first: &Answer) -> Result<SocketAddr, Trouble> {
    let trouble = |message: String| Err(Trouble::Server("discovery", message));
    let Some(other) = first.other else {
        return trouble(
            "the server does not offer NAT behaviour discovery: its answer has no OTHER-ADDRESS (RFC 5780)".to_owned(),
        );
    };
    if other.is_ipv4() != server.is_ipv4()
        || other.ip() == server.ip()
        || other.port() == server.port()
    {
        return trouble(format!(
            "the server names {other} as its other address, which has to differ from {server} in address and port"
        ));
    }
    Ok(other)
}

impl Bench {
    async fn open(&self, limit: Duration) -> Result<Asker, Trouble> {
        Ok(Asker::open(self.local, limit).await?)
    }

    /// A plain request that has to be answered, since the server answered before.
    async fn mapped(&self, asker: &Asker, to: SocketAddr) -> Result<SocketAddr, Trouble> {
        match asker.ask(to, Wish::default()).await? {
            Heard::Answer(answer) => Ok(answer.mapped),
            _ => Err(Trouble::Server(
                "mapping",
                format!(
                    "{to} does not answer, though the server says that it is one of its addresses"
                ),
            )),
        }
    }

    /// RFC 5780 §4.3: does the same socket look different to another address, or to another port?
    async fn mapping(
        &self,
        asker: &Asker,
        own: SocketAddr,
        first: SocketAddr,
        behaviour: &mut Behaviour,
    ) -> Result<Mapping, Trouble> {
        if first == own {
            return Ok(Mapping::NoNat);
        }
        let to_address = SocketAddr::new(self.other.ip(), self.server.port());
        let second = self.mapped(asker, to_address).await?;
        behaviour.mapped_addresses.push(second);
        if second == first {
            return Ok(Mapping::EndpointIndependent);
        }
        let third = self.mapped(asker, self.other).await?;
        behaviour.mapped_addresses.push(third);
        Ok(if third == second {
            Mapping::AddressDependent
        } else {
            Mapping::AddressAndPortDependent
        })
    }

    /// RFC 5780 §4.4: does an answer come in from where nothing was sent to?
    async fn filtering(&self) -> Result<Filtering, Trouble> {
        let from_address = Wish {
            change_ip: true,
            change_port: true,
            ..Wish::default()
        };
        let from_port = Wish {
            change_port: true,
            ..Wish::default()
        };
        let same_address = SocketAddr::new(self.server.ip(), self.other.port());
        let (from_address, from_port) = tokio::join!(
            self.comes_in(from_address, self.other),
            self.comes_in(from_port, same_address)
        );
        Ok(match (from_address?, from_port?) {
            (true, _) => Filtering::EndpointIndependent,
            (false, true) => Filtering::AddressDependent,
            (false, false) => Filtering::AddressAndPortDependent,
        })
    }

    async fn comes_in(&self, wish: Wish, expected: SocketAddr) -> Result<bool, Trouble> {
        let trouble = |message: String| Err(Trouble::Server("filtering", message));
        let asker = self.open(self.limit).await?;
        self.mapped(&asker, self.server).await?;
        match asker.ask(self.server, wish).await? {
            Heard::Silence => Ok(false),
            Heard::Answer(answer) if answer.from == expected => Ok(true),
            Heard::Answer(answer) => trouble(format!(
                "asked to answer from {expected}, the server answers from {} (and says {})",
                answer.from,
                answer
                    .origin
                    .map_or("nothing of it".to_owned(), |origin| origin.to_string())
            )),
            Heard::Refused(code) => Err(Trouble::Refused(
                "filtering",
                code,
                format!("the server refuses to answer from another address, with {code}"),
            )),
            Heard::Nonsense(what) => trouble(what),
        }
    }

    /// RFC 4787 §6: two sockets of this machine, the one sending to the other's public address.
    async fn hairpinning(&self) -> Result<bool, Trouble> {
        let receiver = self.open(self.limit).await?;
        let mapped = self.mapped(&receiver, self.server).await?;
        let sender = self.open(self.limit.min(SHORT_WAIT)).await?;
        Ok(sender.reaches(mapped, Wish::default(), &receiver).await?)
    }

    /// RFC 5780 §4.7: padded until it does not fit one packet. `None` where the server does not pad.
    async fn fragments(&self) -> Result<Option<bool>, Trouble> {
        let asker = self.open(self.limit.min(SHORT_WAIT)).await?;
        let wish = Wish {
            padding: Some(PADDING),
            ..Wish::default()
        };
        Ok(match asker.ask(self.server, wish).await? {
            Heard::Answer(answer) => answer.padded.then_some(true),
            Heard::Silence => Some(false),
            Heard::Refused(_) | Heard::Nonsense(_) => None,
        })
    }

    /// RFC 5780 §4.6, with a socket for each age instead of one that is tried again and again: it takes no longer than
    /// the longest of them.
    async fn lifetime(&self, longest: Duration) -> Result<Lifetime, Trouble> {
        if !self.lives(Duration::ZERO).await? {
            return Err(Trouble::Server(
                "lifetime",
                "an answer sent to another port of this machine does not arrive, so the server may not know RESPONSE-PORT"
                    .to_owned(),
            ));
        }
        let mut ages = vec![longest];
        let mut age = FIRST_AGE.as_secs_f64();
        while age < longest.as_secs_f64() {
            ages.push(Duration::from_secs_f64(age));
            age *= AGE_FACTOR;
        }
        ages.sort();
        let mut tests = JoinSet::new();
        for age in ages {
            let bench = Bench { ..*self };
            tests.spawn(async move { (age, bench.lives(age).await) });
        }
        let mut outcomes = Vec::new();
        while let Some(outcome) = tests.join_next().await {
            let (age, lives) = outcome.map_err(io::Error::other)?;
            outcomes.push((age, lives?));
        }
        outcomes.sort();
        let gone = outcomes.iter().position(|(_, lives)| !lives);
        let alive = &outcomes[..gone.unwrap_or(outcomes.len())];
        Ok(Lifetime {
            at_least: alive.last().map_or(0.0, |(age, _)| age.as_secs_f64()),
            gone_by: gone.map(|gone| outcomes[gone].0.as_secs_f64()),
        })
    }

    /// Whether a new mapping still lets the server's answers in when nothing was sent over it for so long.
    async fn lives(&self, age: Duration) -> Result<bool, Trouble> {
        let sleeper = self.open(self.limit).await?;
        let mapped = self.mapped(&sleeper, self.server).await?;
        sleep(age).await;
        let asker = self.open(self.limit.min(SHORT_WAIT)).await?;
        let wish = Wish {
            response_port: Some(mapped.port()),
            ..Wish::default()
        };
        Ok(asker.reaches(self.server, wish, &sleeper).await?)
    }
}
