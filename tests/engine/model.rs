//! Random sequences of requests, data and time, compared with the simplest model of what RFC 8656 says.

use crate::client::{Ask, Client, Login, Reply, allocate, bind, frame, permit, refresh, send};
use crate::reference::{
    Alloc, CLIENTS, Fate, MAX_CHANNELS, MAX_PERMISSIONS, Model, PER_USER, Target, user,
};
use crate::world::{Setup, World, peer};
use hairpin::policy::Limits;
use hairpin::wire::{AttributeType, Message};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Step {
    Allocate(usize, u32),
    AllocateAgain(usize),
    Refresh(usize, u32),
    Permit(usize, Vec<Target>),
    Bind(usize, u16, Target),
    RepeatLast(usize),
    WrongUser(usize, u8),
    Send(usize, Target),
    Push(usize, u16),
    PeerSends(u8, u16, usize),
    Gone(usize),
    Wait(u64),
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        12 => (1..4_u8, 1..3_u16).prop_map(|(host, port)| Target::Peer(host, port)),
        8 => (0..CLIENTS).prop_map(Target::Relay),
        1 => Just(Target::NoPort),
        1 => Just(Target::Denied),
        1 => Just(Target::OtherFamily),
    ]
}

fn number() -> impl Strategy<Value = u16> {
    prop_oneof![9 => 0x4000..0x4003_u16, 1 => Just(0x3FFF), 1 => Just(0x5000)]
}

fn step() -> impl Strategy<Value = Step> {
    let client = || 0..CLIENTS;
    prop_oneof![
        6 => (client(), prop_oneof![Just(0), Just(601), Just(1200)])
            .prop_map(|(c, s)| Step::Allocate(c, s)),
        1 => client().prop_map(Step::AllocateAgain),
        2 => (client(), prop_oneof![Just(0), Just(1), Just(900)]).prop_map(|(c, s)| Step::Refresh(c, s)),
        5 => (client(), prop::collection::vec(target(), 0..4)).prop_map(|(c, t)| Step::Permit(c, t)),
        6 => (client(), number(), target()).prop_map(|(c, n, t)| Step::Bind(c, n, t)),
        1 => client().prop_map(Step::RepeatLast),
        1 => (client(), 0..4_u8).prop_map(|(c, n)| Step::WrongUser(c, n)),
        5 => (client(), target()).prop_map(|(c, t)| Step::Send(c, t)),
        5 => (client(), number()).prop_map(|(c, n)| Step::Push(c, n)),
        5 => (1..4_u8, 1..3_u16, client()).prop_map(|(h, p, c)| Step::PeerSends(h, p, c)),
        1 => client().prop_map(Step::Gone),
        5 => prop_oneof![
            Just(1), Just(1000), Just(59_999), Just(240_000), Just(299_999), Just(300_000), Just(300_001),
            Just(599_999), Just(600_000),
        ].prop_map(Step::Wait),
    ]
}

struct Run {
    world: World,
    clients: Vec<Client>,
    model: Model,
    /// The bytes of each client's last signed request, and the Allocate that last succeeded.
    last: Vec<Option<Vec<u8>>>,
    opening: Vec<Option<Vec<u8>>>,
}

impl Run {
    fn new(limited: bool) -> Self {
        let per_user = if limited { PER_USER as u32 } else { 0 };
        let mut world = World::with(Setup {
            workers: 2,
            max_permissions: MAX_PERMISSIONS,
            max_channels: MAX_CHANNELS,
            nonce_lifetime: 1_000_000,
            limits: Limits {
                per_user,
                ..Limits::default()
            },
            ..Setup::default()
        });
        let mut clients: Vec<_> = (0..CLIENTS as u8)
            .map(|host| match host {
                1 => world.tcp_client(host),
                3 => world.bob(host),
                _ => world.client(host),
            })
            .collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.worker = number % 2;
            client.get_nonce(&mut world);
        }
        Run {
            world,
            clients,
            model: Model {
                limited,
                ..Model::default()
            },
            last: vec![None; CLIENTS],
            opening: vec![None; CLIENTS],
        }
    }

    fn request(&mut self, client: usize, bytes: &[u8]) -> Reply {
        let reply = self.clients[client].send_bytes(&mut self.world, bytes);
        reply.expect("requests are answered")
    }

    fn sign(&mut self, client: usize, ask: &Ask) -> Vec<u8> {
        let bytes = self.clients[client].signed(ask);
        self.last[client] = Some(bytes.clone());
        bytes
    }

    /// Sends the bytes of an Allocate, be they new or not.
    fn allocate(&mut self, client: usize, lifetime: u32, bytes: &[u8]) {
        let transaction = Message::parse(bytes).unwrap().transaction();
        let now = self.world.millis;
        let mut expected = self.model.allocate(client);
        let alloc = self.model.allocs[client].as_ref();
        let repeated = alloc.filter(|alloc| alloc.transaction == transaction);
        let relayed = repeated.map(|alloc| alloc.relayed);
        if relayed.is_some() {
            expected = 0;
        }
        let reply = self.request(client, bytes);
        assert_eq!(reply.code(), expected);
        if let Some(relayed) = relayed {
            assert_eq!(reply.relayed(), relayed);
        } else if expected == 0 {
            let lifetime = lifetime.max(600);
            assert_eq!(reply.lifetime(), lifetime);
            self.model.relayed[client] = Some(reply.relayed());
            self.model.allocs[client] = Some(Alloc {
                relayed: reply.relayed(),
                expires: now + u64::from(lifetime) * 1000,
                transaction,
                permissions: BTreeMap::new(),
                channels: BTreeMap::new(),
            });
            self.opening[client] = Some(bytes.to_vec());
        }
    }

    /// Compares what a request led to, sent again if it was not an Allocate.
    fn expect(&mut self, client: usize, bytes: &[u8], expected: u16) {
        let reply = self.request(client, bytes);
        assert_eq!(reply.code(), expected);
    }

    fn refresh(&mut self, client: usize, seconds: u32, bytes: &[u8]) {
        let now = self.world.millis;
        let reply = self.request(client, bytes);
        let Some(alloc) = &mut self.model.allocs[client] else {
            assert_eq!(reply.code(), 437);
            return;
        };
        assert_eq!(reply.code(), 0);
        if seconds == 0 {
            assert_eq!(reply.lifetime(), 0);
            self.model.allocs[client] = None;
        } else {
            assert_eq!(reply.lifetime(), seconds.max(600));
            alloc.expires = now + u64::from(seconds.max(600)) * 1000;
        }
    }

    fn expect_fate(&mut self, expected: &Fate, data: &[u8]) {
        let mut fates = Vec::new();
        for sent in self.world.take_sent() {
            assert_eq!(sent.data, data);
            fates.push(Fate::AtPeer(sent.to));
        }
        for (number, client) in self.clients.iter().enumerate() {
            for arrival in client.received(&mut self.world) {
                assert_eq!(arrival.data, data);
                fates.push(Fate::AtClient(number, arrival.channel, arrival.from));
            }
        }
        if fates.is_empty() {
            fates.push(Fate::Dropped);
        }
        assert_eq!(fates, std::slice::from_ref(expected));
    }

    fn step(&mut self, step: &Step) {
        let now = self.world.millis;
        self.model.forget(now);
        match step {
            Step::Allocate(client, lifetime) => {
                let bytes = self.clients[*client].signed(&allocate().lifetime(*lifetime));
                self.allocate(*client, *lifetime, &bytes);
            }
            Step::AllocateAgain(client) => {
                if let Some(bytes) = self.opening[*client].clone() {
                    let message = Message::parse(&bytes).unwrap();
                    let lifetime = message.attribute(AttributeType::LIFETIME);
                    let lifetime = lifetime.unwrap().lifetime().unwrap();
                    self.allocate(*client, lifetime, &bytes);
                }
            }
            Step::Refresh(client, seconds) => {
                let bytes = self.clients[*client].signed(&refresh().lifetime(*seconds));
                self.refresh(*client, *seconds, &bytes);
            }
            Step::Permit(client, targets) => {
                let peers: Vec<_> = targets.iter().map(|t| self.model.resolve(*t)).collect();
                let bytes = self.sign(*client, &permit(&peers));
                let expected = self.model.permit(*client, &peers, now);
                self.expect(*client, &bytes, expected);
            }
            Step::Bind(client, number, target) => {
                let peer = self.model.resolve(*target);
                let bytes = self.sign(*client, &bind(*number, peer));
                let expected = self.model.bind(*client, *number, peer, now);
                self.expect(*client, &bytes, expected);
            }
            Step::RepeatLast(client) => {
                let Some(bytes) = self.last[*client].clone() else {
                    return;
                };
                let message = Message::parse(&bytes).unwrap();
                let peers: Vec<_> = message
                    .attributes()
                    .filter(|a| a.kind == AttributeType::XOR_PEER_ADDRESS)
                    .map(|a| a.xor_address(message.transaction()).unwrap())
                    .collect();
                let number = message.attribute(AttributeType::CHANNEL_NUMBER);
                let expected = match number.map(|number| number.channel_number().unwrap()) {
                    Some(number) => self.model.bind(*client, number, peers[0], now),
                    None => self.model.permit(*client, &peers, now),
                };
                self.expect(*client, &bytes, expected);
            }
            Step::WrongUser(client, kind) => {
                let mut other = self.clients[*client].clone();
                other.login = match user(*client) {
                    "alice" => Login::new("bob", "hunter2"),
                    _ => Login::new("alice", "s3cret"),
                };
                let ask = match kind {
                    0 => refresh().lifetime(0),
                    1 => permit(&[peer(1, 1)]),
                    2 => bind(0x4000, peer(1, 1)),
                    _ => refresh(),
                };
                let bytes = other.signed(&ask);
                self.clients[*client].transactions = other.transactions;
                let expected = if self.model.allocs[*client].is_some() {
                    441
                } else {
                    437
                };
                self.expect(*client, &bytes, expected);
            }
            Step::Send(client, target) => {
                let peer = self.model.resolve(*target);
                let expected = self.model.outward(*client, peer);
                let bytes = self.clients[*client].unsigned(&send(peer, b"sent"));
                self.clients[*client].send_bytes(&mut self.world, &bytes);
                self.expect_fate(&expected, b"sent");
            }
            Step::Push(client, number) => {
                let expected = self.model.on_channel(*client, *number);
                let bytes = frame(*number, b"framed");
                self.clients[*client].send_bytes(&mut self.world, &bytes);
                self.expect_fate(&expected, b"framed");
            }
            Step::PeerSends(host, port, client) => {
                let Some(relayed) = self.model.allocs[*client].as_ref().map(|a| a.relayed) else {
                    return;
                };
                let expected = self.model.inward(*client, peer(*host, *port));
                assert!(
                    self.world
                        .peer_sends(peer(*host, *port), relayed, b"peer's")
                );
                self.expect_fate(&expected, b"peer's");
            }
            Step::Gone(client) => {
                self.world.client_gone(&self.clients[*client]);
                self.model.allocs[*client] = None;
            }
            Step::Wait(_) => {}
        }
    }

    fn expect_same_routes(&mut self) {
        self.model.forget(self.world.millis);
        let routes: BTreeSet<_> = self
            .world
            .routes
            .iter()
            .map(|route| {
                let mut clients = self.clients.iter();
                let client = clients.position(|c| c.path.tuple == route.client);
                (client.unwrap(), route.channel.get(), route.peer)
            })
            .collect();
        assert_eq!(routes, self.model.routes());
        let alive = self.model.allocs.iter().flatten().count();
        assert_eq!(self.world.live.len(), alive);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_engine_does_what_the_model_says(steps in prop::collection::vec(step(), 1..100)) {
        let mut run = Run::new(true);
        for step in &steps {
            run.step(step);
            if let Step::Wait(millis) = step {
                run.world.advance_millis(*millis);
            }
            run.expect_same_routes();
        }
        run.world.expect_nothing_left();
    }

    #[test]
    fn timers_that_are_late_change_no_answer_and_no_payload(
        steps in prop::collection::vec(step(), 1..100)
    ) {
        let mut run = Run::new(false);
        for step in &steps {
            run.step(step);
            if let Step::Wait(millis) = step {
                run.world.millis += millis;
            }
        }
        for worker in 0..2 {
            run.world.run_timers(worker);
        }
        run.expect_same_routes();
        run.world.expect_nothing_left();
    }
}
