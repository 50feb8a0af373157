//! A simulated network around engines that share one server's rules, quotas and relays.
//!
//! After every step the world checks what must always hold: ranges lie inside the input; a payload reaches a peer or
//! a client only under a permission that the world itself saw granted; sockets, counters, quotas and ports agree with
//! the allocations the engines reported; routes are added and removed in pairs.

pub use crate::setup::{
    REALM, RELAY, RELAY_LOCAL, RELAY_V6, SECRET, SERVER, SERVER_V6, Setup, UNIX_START, address,
    peer, peer_v6,
};

use crate::checks::{check_reply, within};
use crate::client::{Client, Login, Reply};
use hairpin::engine::{
    AllocationId, Bound, ClientPath, Closed, Connect, ConnectionId, Counters, Delivery, Engine,
    FiveTuple, Instant, Letter, Now, OpenRelay, Outcome, REPLY_LENGTH, RelayError, RelayId,
    RelayPool, RelayedAddress, Route, Shared, Transport, WorkerId,
};
use hairpin::policy::{Bandwidth, Strangers};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// An allocation as the world knows it.
pub struct Live {
    pub id: AllocationId,
    pub worker: usize,
    /// Whose it was when it was made.
    pub user: Arc<str>,
    /// The relays that are open.
    pub relays: Vec<(RelayId, RelayedAddress)>,
    /// The first address it was given.
    pub relayed: RelayedAddress,
    pub permissions: HashMap<IpAddr, u64>,
    pub channels: HashMap<u16, (SocketAddr, u64)>,
}

/// A datagram that reached a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// As peers see it: the public form of the relayed address.
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub data: Vec<u8>,
    pub dont_fragment: bool,
}

/// What a client got from a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub bytes: Vec<u8>,
    /// `None` for a Data indication.
    pub channel: Option<u16>,
    pub from: SocketAddr,
    pub data: Vec<u8>,
}

pub struct World {
    pub setup: Setup,
    pub engines: Vec<Engine>,
    pub counters: Vec<Arc<Counters>>,
    pub shared: Shared,
    /// Milliseconds of the monotonic clock.
    pub millis: u64,
    /// How far the wall clock was set, in seconds.
    pub wall_jump: i64,
    pub sockets: HashMap<(usize, RelayId), SocketAddr>,
    /// Those that are read.
    pub heard: HashSet<SocketAddr>,
    pub live: HashMap<FiveTuple, Live>,
    /// Those that have no 5-tuple: on their way to another worker, or waiting for a client whose connection closed
    /// (RFC 8016). The client may come from the former one again, and have another allocation there.
    pub pathless: HashMap<AllocationId, Live>,
    pub closed: Vec<Closed>,
    pub routes: HashSet<Route>,
    pub auth_failures: Vec<String>,
    /// Connections to peers that are being made, by worker.
    pub connects: Vec<(usize, Connect)>,
    /// ConnectionBinds that succeeded.
    pub bound: Vec<Bound>,
    /// Connections with peers that were to be closed.
    pub hung_up: Vec<ConnectionId>,
    /// What clients were told beside answers to what they had just sent.
    pub told: Vec<(FiveTuple, Reply)>,
    /// Letters between workers that are on their way, with whose they are and the sockets that go along.
    pub letters: VecDeque<(Letter, usize, Vec<SocketAddr>)>,
    /// Whether they stay on their way until [`World::deliver_letter`].
    pub holds_letters: bool,
    /// What reached peers.
    pub sent: Vec<Datagram>,
    pub arrivals: BTreeMap<String, Vec<Arrival>>,
    /// Ports other programs have, as the operating system would say on bind.
    pub ports_in_use: BTreeSet<u16>,
    /// Whether the system has no socket to give.
    pub no_sockets: bool,
    /// Everything that came out of the engines, to be compared with another run.
    pub transcript: String,
    /// Whether there is a transcript: it costs more than all the rest.
    pub keeps_transcript: bool,
    pub traffic: [u64; 4],
}

impl World {
    pub fn new() -> Self {
        World::with(Setup::default())
    }

    pub fn with(setup: Setup) -> Self {
        let mut shared = Shared::new(
            setup.rules(),
            setup.limits,
            RelayPool::new(
                &setup.relay_addresses(),
                setup.ports.clone(),
                Duration::from_secs(setup.quarantine),
            ),
        );
        shared.bandwidth = Bandwidth::new(setup.bandwidth);
        shared.strangers = Arc::new(Strangers::new(setup.strangers));
        let counters: Vec<_> = (0..setup.workers)
            .map(|_| Arc::new(Counters::default()))
            .collect();
        let engines = (0..setup.workers)
            .zip(&counters)
            .map(|(worker, counters)| {
                let mut seed = [setup.seed; 32];
                seed[0] = worker as u8;
                Engine::new(WorkerId(worker), shared.clone(), counters.clone(), seed)
            })
            .collect();
        World {
            setup,
            engines,
            counters,
            shared,
            millis: 10_000_000,
            wall_jump: 0,
            heard: HashSet::new(),
            sockets: HashMap::new(),
            live: HashMap::new(),
            pathless: HashMap::new(),
            closed: Vec::new(),
            routes: HashSet::new(),
            auth_failures: Vec::new(),
            connects: Vec::new(),
            bound: Vec::new(),
            hung_up: Vec::new(),
            told: Vec::new(),
            letters: VecDeque::new(),
            holds_letters: false,
            sent: Vec::new(),
            arrivals: BTreeMap::new(),
            ports_in_use: BTreeSet::new(),
            no_sockets: false,
            transcript: String::new(),
            keeps_transcript: true,
            traffic: [0; 4],
        }
    }

    /// A client at the IPv4 address 30.0.0.`host` and port 1000 + `host`, as alice over UDP.
    pub fn client(&self, host: u8) -> Client {
        let from = SocketAddr::from(([30, 0, 0, host], 1000 + u16::from(host)));
        let login = Login::new("alice", "s3cret");
        Client::new(from, address(SERVER), Transport::Udp, login)
    }

    pub fn bob(&self, host: u8) -> Client {
        let login = Login::new("bob", "hunter2");
        let mut client = self.client(host);
        client.login = login;
        client
    }

    pub fn tcp_client(&self, host: u8) -> Client {
        let udp = self.client(host);
        let from = udp.path.tuple.client();
        Client::new(from, address(SERVER), Transport::Tcp, udp.login)
    }

    pub fn v6_client(&self, host: u16) -> Client {
        let from = SocketAddr::from(([0x2600, 3, 0, 0, 0, 0, 0, host], 1000 + host));
        let login = Login::new("alice", "s3cret");
        Client::new(from, address(SERVER_V6), Transport::Udp, login)
    }

    pub fn now(&self) -> Now {
        let unix = UNIX_START + (self.millis - 10_000_000) / 1000;
        Now {
            instant: Instant::from_millis(self.millis),
            unix: unix.checked_add_signed(self.wall_jump).unwrap(),
        }
    }

    /// Lets time pass, with timers running on time.
    pub fn advance(&mut self, seconds: u64) {
        self.advance_millis(seconds * 1000);
    }

    pub fn advance_millis(&mut self, millis: u64) {
        let end = self.millis + millis;
        for _ in 0..1_000_000 {
            let due = self
                .engines
                .iter()
                .enumerate()
                .filter_map(|(worker, engine)| Some((engine.next_deadline()?, worker)))
                .min();
            match due {
                Some((at, worker)) if at.as_millis() <= end => {
                    self.millis = self.millis.max(at.as_millis());
                    self.run_timers(worker);
                    let next = self.engines[worker].next_deadline();
                    assert!(next.is_none_or(|next| next > self.now().instant));
                }
                _ => {
                    self.millis = end;
                    return;
                }
            }
        }
        panic!("the timers never come to rest");
    }

    /// Lets time pass while no timer is served.
    pub fn sleep_through(&mut self, seconds: u64) {
        self.millis += seconds * 1000;
    }

    pub fn run_timers(&mut self, worker: usize) {
        let now = self.now();
        self.engines[worker].handle_timeout(now);
        self.drain(worker);
        self.check();
    }

    pub fn client_gone(&mut self, client: &Client) {
        let now = self.now();
        let tuple = client.path.tuple;
        self.engines[client.worker].client_gone(now, &tuple);
        self.drain(client.worker);
        if let Some(waits) = self.live.remove(&tuple) {
            self.pathless.insert(waits.id, waits);
        }
        self.check();
    }

    pub fn shut_down(&mut self) {
        let now = self.now();
        for worker in 0..self.engines.len() {
            self.engines[worker].shut_down(now);
            self.drain(worker);
        }
        self.check();
    }

    pub fn set_rules(&mut self, setup: Setup) {
        let rules = Arc::new(setup.rules());
        for worker in 0..self.engines.len() {
            let now = self.now();
            self.engines[worker].set_rules(now, rules.clone());
            self.drain(worker);
        }
        self.check();
    }

    /// Hands a client's datagram or frame to its worker; the answer, if there is one.
    pub fn client_sends(
        &mut self,
        worker: usize,
        path: &ClientPath,
        bytes: &[u8],
    ) -> Option<Reply> {
        let now = self.now();
        // What was in the buffer before must not show.
        let mut reply = vec![0xAA; REPLY_LENGTH];
        let outcome = self.engines[worker].from_client(now, path, bytes, &mut reply);
        let reply = self.finish(worker, Some(path), bytes, outcome, reply);
        let reply = reply.or_else(|| self.take_told(path, bytes));
        if let Some(reply) = &reply {
            check_reply(bytes, reply);
            self.learn(path, bytes, reply);
        }
        self.check();
        reply
    }

    /// A peer sends to a relayed address, in either of its forms. Says whether a socket is there.
    pub fn peer_sends(&mut self, from: SocketAddr, to: SocketAddr, data: &[u8]) -> bool {
        let public: IpAddr = RELAY.parse().unwrap();
        let local = if to.ip() == public {
            SocketAddr::new(RELAY_LOCAL.parse().unwrap(), to.port())
        } else {
            to
        };
        let Some((worker, relay)) = self
            .sockets
            .iter()
            .find_map(|(key, socket)| (*socket == local).then_some(*key))
        else {
            return false;
        };
        self.relay_receives(worker, relay, from, data);
        true
    }

    pub fn relay_receives(
        &mut self,
        worker: usize,
        relay: RelayId,
        from: SocketAddr,
        data: &[u8],
    ) -> Outcome {
        // The payload lies somewhere inside the worker's buffer.
        let mut input = vec![0xBB; 9];
        input.extend_from_slice(data);
        input.extend_from_slice(&[0xCC; 5]);
        let now = self.now();
        let range = 9..9 + data.len();
        let outcome = self.engines[worker].from_peer(now, relay, from, range);
        if outcome != Outcome::Nothing {
            let socket = self.sockets[&(worker, relay)];
            assert!(self.heard.contains(&socket), "nobody would have read it");
        }
        self.finish(worker, None, &input, outcome.clone(), Vec::new());
        self.check();
        outcome
    }

    /// A payload that came late from another worker.
    pub fn worker_receives(&mut self, worker: usize, delivery: &Delivery, data: &[u8]) -> Outcome {
        let now = self.now();
        let outcome = self.engines[worker].from_worker(now, delivery, 0..data.len());
        self.finish(worker, None, data, outcome.clone(), Vec::new());
        self.check();
        outcome
    }

    pub fn take_arrivals(&mut self, tuple: &FiveTuple) -> Vec<Arrival> {
        self.arrivals
            .remove(&format!("{tuple:?}"))
            .unwrap_or_default()
    }

    /// Takes what reached peers since the last call.
    pub fn take_sent(&mut self) -> Vec<Datagram> {
        std::mem::take(&mut self.sent)
    }

    /// Waits until everything must be over and checks that nothing is left.
    pub fn expect_nothing_left(&mut self) {
        self.advance(2 * 3600 + u64::from(self.setup.max_lifetime));
        let counts = self.shared.relays.counts(self.now().instant);
        assert_eq!(
            (counts.used, counts.reserved, counts.quarantined),
            (0, 0, 0)
        );
        assert_eq!(self.shared.quotas.in_use(), 0);
        assert_eq!(self.shared.quotas.holders(), (0, 0));
        assert_eq!(self.shared.mobile.count(), 0);
        assert_eq!(self.shared.connections.count(), 0);
        assert_eq!(self.all_live().count(), 0);
        assert!(self.sockets.is_empty() && self.routes.is_empty());
        for engine in &self.engines {
            assert_eq!(engine.next_deadline(), None);
            assert_eq!(engine.allocation_count(), 0);
            assert_eq!(engine.waiting_paths(), 0);
        }
    }

    /// Follows an outcome to its end.
    fn finish(
        &mut self,
        mut worker: usize,
        origin: Option<&ClientPath>,
        input: &[u8],
        mut outcome: Outcome,
        mut reply: Vec<u8>,
    ) -> Option<Reply> {
        loop {
            self.drain(worker);
            self.note(|| format!("{outcome:?}"));
            match outcome {
                Outcome::Nothing => return None,
                Outcome::Reply(length) => {
                    reply.truncate(length);
                    self.note(|| format!("{reply:02x?}"));
                    return Some(Reply(reply));
                }
                Outcome::OpenRelay(open) => {
                    let result = self.open(worker, &open);
                    let now = self.now();
                    outcome =
                        self.engines[worker].relay_opened(now, open.ticket, result, &mut reply);
                }
                Outcome::ReplyFrom { .. } => panic!("there is one listener"),
                Outcome::ToPeer {
                    relay,
                    peer,
                    payload,
                    dont_fragment,
                } => {
                    let origin = origin.expect("only a client's input goes to a peer");
                    let live = &self.live[&origin.tuple];
                    assert_eq!(live.worker, worker);
                    let (_, relayed) = live.relays.iter().find(|(id, _)| *id == relay).unwrap();
                    let from = relayed.advertised;
                    self.expect_permission(&origin.tuple, peer);
                    let data = within(input, &payload);
                    self.count(0, data.len());
                    self.sent.push(Datagram {
                        from,
                        to: peer,
                        data,
                        dont_fragment,
                    });
                    return None;
                }
                Outcome::ToClient(to_client) => {
                    if origin.is_some() {
                        self.count(0, to_client.payload.len());
                    }
                    self.count(2, to_client.payload.len());
                    self.deliver(worker, &to_client, input);
                    return None;
                }
                Outcome::ToWorker(to_worker) => {
                    let payload = within(input, &to_worker.payload);
                    let origin = origin.expect("only a client's input goes to a worker");
                    self.expect_permission(&origin.tuple, to_worker.delivery.to);
                    assert_ne!(to_worker.worker, WorkerId(worker as u32));
                    worker = to_worker.worker.0 as usize;
                    let now = self.now();
                    let range = 0..payload.len();
                    let delivery = &to_worker.delivery;
                    let arrived = self.engines[worker].from_worker(now, delivery, range);
                    if arrived == Outcome::Nothing {
                        self.count(0, payload.len());
                    }
                    return self.finish_delivery(worker, &payload, arrived);
                }
            }
        }
    }

    fn finish_delivery(&mut self, worker: usize, input: &[u8], outcome: Outcome) -> Option<Reply> {
        self.drain(worker);
        self.note(|| format!("{outcome:?}"));
        match outcome {
            Outcome::Nothing => {}
            Outcome::ToClient(to_client) => {
                self.count(0, to_client.payload.len());
                self.count(2, to_client.payload.len());
                self.deliver(worker, &to_client, input);
            }
            other => panic!("a delivery ended as {other:?}"),
        }
        None
    }

    /// Adds a line to the transcript.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if self.keeps_transcript {
            self.transcript.push_str(&line());
            self.transcript.push('\n');
        }
    }

    fn count(&mut self, at: usize, bytes: usize) {
        self.traffic[at] += 1;
        self.traffic[at + 1] += bytes as u64;
    }

    fn open(&mut self, worker: usize, open: &OpenRelay) -> Result<(), RelayError> {
        if self.no_sockets {
            return Err(RelayError::Unavailable);
        }
        let taken = self.sockets.values().any(|socket| *socket == open.address);
        assert!(!taken, "{} is given twice", open.address);
        if self.ports_in_use.contains(&open.address.port()) {
            return Err(RelayError::PortInUse);
        }
        let former = self.sockets.insert((worker, open.relay), open.address);
        assert_eq!(former, None, "a relay number is given twice");
        Ok(())
    }
}
