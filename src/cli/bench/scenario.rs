//! What a load does: the scenarios, and how arguments change them.
//!
//! The main types are [`Scenario`] and [`Plan`].

use std::time::Duration;

use clap::ValueEnum;

use super::{BenchArgs, stamp};
use crate::cli::probe::url::Transport;

/// A load that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Clients to peers in ChannelData of 160 bytes, as many as the server takes
    Saturated,
    /// Clients to peers in bursts of 8 x 1200 bytes, as many as the server takes
    Video,
    /// Peers to clients, 100,000 a second, in groups of 20, one packet of each peer after the other
    ToClient,
    /// As saturated, in Send indications
    Send,
    /// Clients to peers, 50,000 a second, one packet at a time
    Paced,
    /// 2,000 clients to their peers, 40,000 a second, one packet at a time
    Many,
    /// From client to client through both their relays, 60,000 a second
    RelayToRelay,
    /// Clients to peers in 1200 bytes, 30,000 a second, in groups of 15: for clients over TCP and TLS
    Stream,
    /// Binding requests, 60,000 a second
    Binding,
    /// Allocations made and released, 500 a second
    Churn,
    /// 20,000 allocations with a permission and a channel that are held and do nothing
    Hold,
}

impl Scenario {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Which way payloads go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// From clients to peers
    ToPeer,
    /// From peers to clients
    ToClient,
    /// Both at once
    Both,
    /// From client to client, each with its own relayed address
    RelayToRelay,
}

/// How clients wrap payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Framing {
    /// ChannelData, over a channel for each peer
    Channel,
    /// Send and Data indications, with a permission for each peer
    Send,
}

/// What the load does while it has nothing to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wait {
    /// Keeps asking, which takes one core whole, wakes no one and keeps to the microsecond
    Spin,
    /// Sleeps, for up to a millisecond or until something arrives
    Sleep,
}

/// When packets are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As soon as others have been delivered: so many are under way at most, over all flows.
    Window(u32),
    /// So many a second.
    Rate {
        /// Packets a second.
        rate: u32,
        /// How often packets that are due are sent; zero for one burst at a time, with a gap behind it.
        every: Duration,
    },
}

/// What is done with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Relaying.
    Relay(Direction),
    /// Binding requests.
    Binding,
    /// Allocating and releasing.
    Churn,
    /// Nothing but holding allocations.
    Hold,
}

/// A scenario with all that the arguments say.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The scenario it comes from.
    pub scenario: Scenario,
    /// What is done.
    pub work: Work,
    /// How clients reach the server.
    pub transport: Transport,
    /// How many clients do it.
    pub clients: usize,
    /// Peers of each client.
    pub peers: usize,
    /// Payload in bytes.
    pub size: usize,
    /// When packets are sent.
    pub pace: Pace,
    /// Packets of one flow that are sent at once.
    pub burst: usize,
    /// Whether a burst leaves as one UDP_SEGMENT send.
    pub segmented: bool,
    /// How clients wrap payloads.
    pub framing: Framing,
    /// Clients beside these that hold an allocation and do nothing.
    pub idle: usize,
    /// Whether the load's sockets take runs that the server sent as segments in one piece.
    pub coalesced: bool,
    /// What is done between packets.
    pub wait: Wait,
    /// How long it runs before it counts.
    pub warm_up: Duration,
    /// How long it counts.
    pub duration: Duration,
}

/// One at a time.
const fn even(rate: u32) -> Pace {
    Pace::Rate {
        rate,
        every: Duration::ZERO,
    }
}

impl Plan {
    /// The scenario as it is by itself.
    #[must_use]
    pub fn preset(scenario: Scenario, transport: Transport) -> Plan {
        let to_peer = Work::Relay(Direction::ToPeer);
        let (work, clients, size, pace) = match scenario {
            Scenario::Saturated | Scenario::Send => (to_peer, 16, 160, Pace::Window(192)),
            Scenario::Video => (to_peer, 16, 1200, Pace::Window(256)),
            Scenario::ToClient => {
                let every = Duration::from_micros(200);
                let pace = Pace::Rate {
                    rate: 100_000,
                    every,
                };
                (Work::Relay(Direction::ToClient), 16, 160, pace)
            }
            Scenario::Paced => (to_peer, 16, 160, even(50_000)),
            Scenario::Many => (to_peer, 2000, 160, even(40_000)),
            Scenario::RelayToRelay => {
                let work = Work::Relay(Direction::RelayToRelay);
                (work, 16, 160, even(60_000))
            }
            Scenario::Stream => {
                let every = Duration::from_micros(500);
                let rate = 30_000;
                (to_peer, 16, 1200, Pace::Rate { rate, every })
            }
            Scenario::Binding => (Work::Binding, 16, stamp::LENGTH, even(60_000)),
            Scenario::Churn => (Work::Churn, 64, stamp::LENGTH, even(500)),
            Scenario::Hold => (Work::Hold, 20_000, stamp::LENGTH, even(1)),
        };
        let is_video = scenario == Scenario::Video;
        Plan {
            scenario,
            work,
            transport,
            clients,
            peers: 1,
            size,
            pace,
            burst: if is_video { 8 } else { 1 },
            segmented: is_video,
            framing: match scenario {
                Scenario::Send => Framing::Send,
                _ => Framing::Channel,
            },
            idle: 0,
            coalesced: true,
            wait: Wait::Spin,
            warm_up: Duration::from_secs(1),
            duration: Duration::from_secs(5),
        }
    }

    /// The scenario as the arguments change it.
    ///
    /// # Errors
    /// A sentence about arguments that do not fit each other.
    pub fn new(args: &BenchArgs) -> Result<Plan, String> {
        let mut plan = Plan::preset(args.scenario, super::transport(&args.url));
        let relays = matches!(plan.work, Work::Relay(_));
        let relaying_only = [
            ("--peers", args.peers.is_some()),
            ("--size", args.size.is_some()),
            ("--window", args.window.is_some()),
            ("--burst", args.burst.is_some()),
            ("--segments", args.segments.is_some()),
            ("--every", args.every.is_some()),
            ("--direction", args.direction.is_some()),
            ("--framing", args.framing.is_some()),
        ];
        let name = plan.scenario.name();
        for (option, given) in relaying_only {
            if given && !relays {
                return Err(format!("{option} means nothing to the scenario {name}"));
            }
        }
        if args.rate.is_some() && plan.work == Work::Hold {
            return Err(format!("--rate means nothing to the scenario {name}"));
        }
        let is_udp = plan.transport == Transport::Udp;
        if matches!(plan.work, Work::Binding | Work::Churn) && !is_udp {
            return Err(format!("the scenario {name} is for clients over UDP"));
        }
        if let (Some(direction), Work::Relay(_)) = (args.direction, plan.work) {
            plan.work = Work::Relay(direction);
        }
        let take = |given: Option<u32>, preset: usize| given.map_or(preset, |n| n as usize);
        plan.clients = take(args.clients, plan.clients);
        plan.peers = take(args.peers, plan.peers);
        plan.size = take(args.size, plan.size);
        plan.burst = take(args.burst, plan.burst);
        plan.idle = take(args.idle, plan.idle);
        plan.framing = args.framing.unwrap_or(plan.framing);
        plan.segmented = args.segments.unwrap_or(plan.segmented) && plan.burst > 1;
        plan.coalesced = !args.no_gro;
        plan.wait = args.wait;
        plan.warm_up = args.warm_up;
        plan.duration = args.duration;
        if let Some(window) = args.window {
            plan.pace = Pace::Window(window);
        }
        if let Some(given) = args.rate {
            plan.pace = match plan.pace {
                Pace::Rate { every, .. } => Pace::Rate { rate: given, every },
                Pace::Window(_) => even(given),
            };
        }
        match (&mut plan.pace, args.every) {
            (Pace::Rate { every, .. }, Some(given)) => *every = given,
            (Pace::Window(_), Some(_)) => {
                return Err("--every needs a --rate".to_owned());
            }
            _ => {}
        }
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Result<(), String> {
        let Work::Relay(direction) = self.work else {
            return Ok(());
        };
        if direction == Direction::RelayToRelay {
            if !self.clients.is_multiple_of(2) {
                return Err("relay to relay takes an even number of --clients".to_owned());
            }
            if self.peers != 1 {
                return Err("relay to relay has one peer for each client".to_owned());
            }
        }
        if self.segmented && self.burst * (self.size + 64) > 65_000 {
            return Err(
                "a burst of segments is at most 65,000 bytes; take fewer, or --segments false"
                    .to_owned(),
            );
        }
        Ok(())
    }
}
