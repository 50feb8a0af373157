//! What has to hold for any sequence of what clients and peers can do to two workers of one server.
//!
//! The input is read a byte at a time: each step takes one that says what happens and a few more that say to whom.
//! Steps are mostly what an attacker with good credentials would send, so that the fuzzer has not to guess any MAC.
//! The simulated network of `tests/engine` carries them out, and checks after each one that payloads lie in the input, that
//! none reaches a peer or a client without a permission of that very allocation, and that sockets, ports, quotas and
//! counters agree with the sessions there are. What comes on top of that is here: no peer that has to be denied is
//! ever reached or heard; nobody gets what is somebody else's; what was changed on the way is never obeyed; and at the
//! end nothing is left.

#[path = "engine_choices.rs"]
mod choices;
#[path = "engine_promises.rs"]
mod promises;

use crate::client::{Client, Reply, frame, send};
use crate::world::{Setup, UNIX_START, World};
use choices::{Choices, Who, channel, sign_as};
use hairpin::auth::{
    AccessToken, Secret, ThirdPartySettings, TokenAlgorithm, TokenCipher, TokenKey,
};
use hairpin::engine::{ConnectError, ConnectionId, FiveTuple, IcmpError, Link, Outcome, TcpRules};
use hairpin::policy::Limits;
use hairpin::wire::{AttributeType, Class, Message, Method};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// More steps than this show nothing that fewer do not.
const STEPS: usize = 120;
const CLIENTS: usize = 8;
const SERVER_NAME: &str = "turn.example.org";
const TOKEN_SECRET: [u8; 32] = *b"01234567890123456789012345678901";
/// What an operator denies half of the time.
const DENIED: IpAddr = IpAddr::V4(Ipv4Addr::new(40, 0, 0, 3));

/// Panics when the engine breaks a promise.
pub fn check(bytes: &[u8]) {
    reached(bytes);
}

/// The same; what the input led to, for whoever looks for inputs that lead elsewhere: what the engine counts, and the
/// order of magnitude of how often.
pub fn reached(bytes: &[u8]) -> HashSet<(u8, usize, u32)> {
    let mut run = Run::new();
    let mut choices = Choices(bytes);
    for _ in 0..STEPS {
        if run.step(&mut choices).is_none() {
            break;
        }
        run.settle();
    }
    run.end()
}

struct Player {
    client: Client,
    who: Who,
    /// The bytes of the last signed request.
    last: Vec<u8>,
}

struct Run {
    world: World,
    players: Vec<Player>,
    access_token: Vec<u8>,
    denies: bool,
    reservations: Vec<(Vec<u8>, Who)>,
    tickets: Vec<(Vec<u8>, Who)>,
    redeemed: HashSet<Vec<u8>>,
    connections: Vec<(ConnectionId, usize, Who)>,
    /// All payloads that were sent.
    payloads: Vec<Vec<u8>>,
    /// Bytes that the fuzzer made up.
    made_up: Vec<Vec<u8>>,
    /// How many allocations had ended before this step.
    ended: usize,
}

fn setup(denies: bool) -> Setup {
    Setup {
        workers: 2,
        ports: 50_000..=50_015,
        limits: Limits {
            total: 14,
            per_user: 5,
            resting_per_user: 0,
            per_source: 0,
        },
        max_permissions: 5,
        max_channels: 4,
        max_lifetime: 1200,
        nonce_lifetime: 900,
        deny: if denies { vec!["40.0.0.3/32"] } else { vec![] },
        third_party: ThirdPartySettings {
            server_name: SERVER_NAME.into(),
            keys: vec![TokenKey {
                id: "north".into(),
                algorithm: TokenAlgorithm::Aes256Gcm,
                secret: Secret::new(TOKEN_SECRET.to_vec()),
                not_before: None,
                not_after: None,
            }],
            truncated_mac_keys: false,
        },
        tcp: TcpRules {
            enabled: true,
            denied_ports: vec![25],
            max_connections: 3,
        },
        mobility: true,
        ..Setup::default()
    }
}

impl Run {
    fn new() -> Self {
        let mut world = World::with(setup(false));
        world.keeps_transcript = false;
        let clients = [
            (world.client(0), Who::Alice),
            (world.tcp_client(1), Who::Alice),
            (world.client(2), Who::Alice),
            (world.bob(3), Who::Bob),
            (world.v6_client(4), Who::Alice),
            (world.client(5), Who::Bearer),
            (world.tcp_client(6), Who::Bob),
            (world.tcp_client(7), Who::Bearer),
        ];
        let players = clients.into_iter().enumerate();
        let players = players.map(|(number, (mut client, who))| {
            client.worker = number % 2;
            client.fingerprint = number % 3 == 0;
            sign_as(&mut client, who);
            Player {
                client,
                who,
                last: Vec::new(),
            }
        });
        let cipher = TokenCipher::new(TokenAlgorithm::Aes256Gcm, &TOKEN_SECRET).unwrap();
        let token = AccessToken::new(&[7; 20], UNIX_START, 2000).unwrap();
        Run {
            world,
            players: players.collect(),
            access_token: token.seal(&cipher, SERVER_NAME, [3; 12]).unwrap(),
            denies: false,
            reservations: Vec::new(),
            tickets: Vec::new(),
            redeemed: HashSet::new(),
            connections: Vec::new(),
            payloads: Vec::new(),
            made_up: Vec::new(),
            ended: 0,
        }
    }

    /// `None` when there is nothing left to choose from.
    fn step(&mut self, choices: &mut Choices<'_>) -> Option<()> {
        match choices.byte()? % 20 {
            0..=7 => self.request(choices)?,
            8 => {
                let (from, to) = (choices.client()?, self.target(choices)?);
                let payload = self.payload(choices)?;
                let mut ask = send(to, &payload);
                if payload.len() % 4 == 3 {
                    ask = ask.raw(AttributeType::DONT_FRAGMENT, b"");
                }
                let bytes = self.players[from].client.unsigned(&ask);
                self.hand_in(from, &bytes);
            }
            9 | 10 => {
                let (from, number) = (choices.client()?, choices.byte()?);
                let payload = self.payload(choices)?;
                let bytes = frame(channel(number), &payload);
                self.hand_in(from, &bytes);
            }
            11 | 12 => {
                let (from, to) = (self.target(choices)?, self.relayed(choices)?);
                let payload = self.payload(choices)?;
                // What listens for connections gets no datagrams, and no socket those of the other family.
                let listens = self.world.shared.relays.tcp_relay(to).is_some();
                if !listens && from.is_ipv4() == to.is_ipv4() {
                    self.world.peer_sends(from, to, &payload);
                }
            }
            13 => self.icmp(choices)?,
            14 => self.peer_connects(choices)?,
            15 => self.connection(choices)?,
            16 => self.again(choices)?,
            17 => {
                let (from, mut bytes) = (choices.client()?, choices.bytes()?);
                if bytes.len() > 20 && bytes[0] & 1 == 0 {
                    // A header that fits, so that something is looked at.
                    bytes.truncate(bytes.len() / 4 * 4);
                    let length = (bytes.len() - 20) as u16;
                    bytes[2..4].copy_from_slice(&length.to_be_bytes());
                    bytes[4..8].copy_from_slice(&[0x21, 0x12, 0xA4, 0x42]);
                }
                self.made_up.push(bytes.clone());
                let reply = self.hand_in(from, &bytes);
                let is_free = |reply: &Reply| reply.message().method() == Method::BINDING;
                assert!(
                    reply.is_none_or(|reply| reply.code() != 0 || is_free(&reply)),
                    "made up, and obeyed"
                );
            }
            18 => self.surroundings(choices)?,
            _ => {
                let how = choices.byte()?;
                let seconds = [0, 1, 5, 29, 30, 299, 300, 601][usize::from(how) % 8];
                let millis = seconds * 1000 + u64::from(how >> 6) * 333;
                if how & 8 == 0 {
                    self.world.advance_millis(millis);
                } else {
                    // The timers are late, and perhaps one worker's are later.
                    self.world.millis += millis;
                    if how & 16 == 0 {
                        self.world.run_timers(usize::from(how >> 5) % 2);
                    }
                }
            }
        }
        Some(())
    }

    fn request(&mut self, choices: &mut Choices<'_>) -> Option<()> {
        let number = choices.client()?;
        let mut ask = self.ask(number, choices)?;
        let how = choices.byte()?;
        let player = &mut self.players[number];
        let mut signer = player.who;
        let mut valid = true;
        let mut client = player.client.clone();
        match how % 32 {
            0 => {
                valid = false;
                client.login.password = "wrong".into();
                client.login.mac_key = None;
            }
            1 => {
                signer = [Who::Alice, Who::Bob, Who::Bearer][usize::from(how >> 5) % 3];
                sign_as(&mut client, signer);
            }
            2 => {
                valid = false;
                client.nonce = vec![b'x'; usize::from(how)];
            }
            3 => ask = ask.raw(AttributeType(0x7FF0 | u16::from(how >> 5)), b"?"),
            4 => ask = ask.behind(AttributeType::LIFETIME, &[0; 4]),
            5 => ask = ask.peer(self.target(choices)?),
            6 => ask = ask.raw(AttributeType::ACCESS_TOKEN, &[how; 70]),
            7 => {
                ask.class = [Class::Indication, Class::Success, Class::Error][usize::from(how) % 3]
            }
            _ => {}
        }
        let bytes = if how % 32 == 8 {
            valid = false;
            client.unsigned(&ask)
        } else {
            client.signed(&ask)
        };
        let player = &mut self.players[number];
        player.client.transactions = client.transactions;
        if ask.behind.is_empty() {
            // All of it is signed.
            player.last.clone_from(&bytes);
        }
        let ended = self.world.closed.len();
        let mut before = self.owner(&client.path.tuple);
        let Some(reply) = self.hand_in(number, &bytes) else {
            // An indication, or a Connect whose peer has not answered yet.
            return Some(());
        };
        if ask.method == Method::ALLOCATE && self.world.closed.len() > ended {
            // The former one was over, and its timer late.
            before = None;
        }
        let code = reply.code();
        if code == 401 || code == 438 {
            self.players[number].client.nonce = reply.value(AttributeType::NONCE).unwrap();
        }
        if code == 0 && ask.method != Method::BINDING {
            assert!(valid, "{ask:?} without a credential");
            // What moves comes with the request, and may end with it.
            let owner = match ask.method {
                Method::ALLOCATE => before,
                _ => before
                    .or_else(|| self.owner(&client.path.tuple))
                    .or_else(|| self.former_owner(&client.path.tuple, ended)),
            };
            self.is_rightful(&ask, &reply, signer, owner);
        }
        Some(())
    }

    fn hand_in(&mut self, number: usize, bytes: &[u8]) -> Option<Reply> {
        self.players[number]
            .client
            .send_bytes(&mut self.world, bytes)
    }

    fn icmp(&mut self, choices: &mut Choices<'_>) -> Option<()> {
        let (at, about, kind) = (
            self.relayed(choices)?,
            self.target(choices)?,
            choices.byte()?,
        );
        let of_socket = self.relay_at(at);
        let of_socket = of_socket.filter(|_| at.is_ipv4() == about.is_ipv4());
        let Some((worker, relay)) = of_socket else {
            return Some(());
        };
        let error = IcmpError {
            kind: kind % 14,
            code: kind >> 4,
            data: 1280,
        };
        let now = self.world.now();
        match self.world.engines[worker].from_icmp(now, relay, about, error) {
            Outcome::Nothing => {}
            Outcome::ToClient(told) => {
                assert!(
                    self.world.live[&told.tuple]
                        .relays
                        .iter()
                        .any(|r| r.0 == relay)
                );
                self.world.expect_permission(&told.tuple, about);
            }
            other => panic!("an error of a peer became {other:?}"),
        }
        Some(())
    }

    fn relay_at(&self, local: SocketAddr) -> Option<(usize, hairpin::engine::RelayId)> {
        let mut sockets = self.world.sockets.iter();
        Some(*sockets.find(|(_, socket)| **socket == local)?.0)
    }

    fn peer_connects(&mut self, choices: &mut Choices<'_>) -> Option<()> {
        let (from, to) = (self.target(choices)?, self.relayed(choices)?);
        let Some((worker, relay)) = self.relay_at(to) else {
            return Some(());
        };
        let now = self.world.now();
        let taken = self.world.engines[worker].peer_accepted(now, relay, from);
        self.world.drain(worker);
        let Some(id) = taken else {
            assert!(self.world.told.is_empty(), "refused, and told");
            return Some(());
        };
        assert!(self.world.shared.relays.tcp_relay(to).is_some());
        let (tuple, told) = self.world.told.pop().expect("the client is told");
        assert_eq!(told.number(AttributeType::CONNECTION_ID), id.0);
        let said = told.address(AttributeType::XOR_PEER_ADDRESS);
        self.world.expect_permission(&tuple, said);
        assert!(self.may_be_heard(said), "{said} is heard");
        let owner = self.owner(&tuple).expect("it has an allocation");
        self.connections.push((id, worker, owner));
        Some(())
    }

    /// What becomes of a connection with a peer.
    fn connection(&mut self, choices: &mut Choices<'_>) -> Option<()> {
        let (which, how) = (usize::from(choices.byte()?), choices.byte()?);
        let Some(&(id, worker, _)) = self.connections.get(which % self.connections.len().max(1))
        else {
            return Some(());
        };
        let result = match how % 4 {
            0 => Err(ConnectError::Failed),
            1 => Err(ConnectError::NoSocket),
            2 => Ok(()),
            _ => {
                // Any worker may have the sockets.
                self.world.engines[usize::from(how >> 4) % 2].connection_ended(id);
                return Some(());
            }
        };
        let now = self.world.now();
        self.world.engines[worker].peer_connected(now, id, result);
        self.world.drain(worker);
        Some(())
    }

    /// The last request of a client again: as it was, changed in a byte, or from somewhere else.
    fn again(&mut self, choices: &mut Choices<'_>) -> Option<()> {
        let (number, how, at) = (choices.client()?, choices.byte()?, choices.byte()?);
        let mut bytes = self.players[number].last.clone();
        if bytes.is_empty() {
            return Some(());
        }
        let is_binding = Message::parse(&bytes).is_ok_and(|m| m.method() == Method::BINDING);
        let mut from = number;
        match how % 4 {
            0 => {}
            1 => from = usize::from(at) % CLIENTS,
            _ => {
                // What is behind the integrity counts for nothing, so a FINGERPRINT may become anything.
                let behind = if self.players[number].client.fingerprint {
                    8
                } else {
                    0
                };
                let at = usize::from(at) * 3 % (bytes.len() - behind);
                bytes[at] ^= (how >> 2).max(1);
            }
        }
        let had = self.owner(&self.players[from].client.path.tuple);
        let ended = self.world.closed.len();
        let reply = self.hand_in(from, &bytes);
        let reply = reply.filter(|reply| reply.code() == 0 && !is_binding);
        let Some(reply) = reply else {
            return Some(());
        };
        let is_changed = how % 4 >= 2;
        assert!(
            !is_changed || reply.message().method() == Method::BINDING,
            "changed on the way, and obeyed"
        );
        assert_eq!(from, number, "taken over, and obeyed");
        let message = Message::parse(&bytes).unwrap();
        match message.method() {
            Method::ALLOCATE if had.is_none() || self.world.closed.len() > ended => {
                // The nonce is still good, so this is the client itself again.
                let who = self.owner(&self.players[from].client.path.tuple);
                let who = who.expect("it has an allocation now");
                if let Some(ticket) = reply.value(AttributeType::MOBILITY_TICKET) {
                    self.tickets.push((ticket, who));
                }
                if let Some(token) = message.attribute(AttributeType::RESERVATION_TOKEN) {
                    assert!(self.redeemed.insert(token.value.to_vec()), "redeemed twice");
                }
                if let Some(token) = reply.value(AttributeType::RESERVATION_TOKEN) {
                    self.reservations.push((token, who));
                }
            }
            Method::CONNECTION_BIND => {
                self.world.bound.clear();
            }
            _ => {}
        }
        Some(())
    }

    fn surroundings(&mut self, choices: &mut Choices<'_>) -> Option<()> {
        let how = choices.byte()?;
        match how % 8 {
            6 => {
                self.world.holds_letters = !self.world.holds_letters;
                self.deliver_letters();
            }
            7 => {
                let waiting = self.world.letters.len().max(1);
                self.world.deliver_letter(usize::from(how >> 3) % waiting);
            }
            0 | 1 => {
                self.denies = !self.denies;
                self.world.set_rules(setup(self.denies));
            }
            2 => self.client_goes(usize::from(how >> 3) % CLIENTS),
            3 => self.world.no_sockets = !self.world.no_sockets,
            4 => {
                let ports = if how & 8 == 0 { 0..0 } else { 50_000..50_012 };
                self.world.ports_in_use = ports.collect();
            }
            _ => self.world.wall_jump = i64::from(how as i8) * 60,
        }
        Some(())
    }

    /// A connection closes, and its client comes again from another port, the time after that from the first: an
    /// allocation that may move waits for it.
    fn client_goes(&mut self, number: usize) {
        let client = &mut self.players[number].client;
        self.world.client_gone(client);
        let gone = client.path.tuple;
        let mut from = gone.client();
        from.set_port(from.port() ^ 16);
        client.path.tuple = FiveTuple::new(from, gone.server(), gone.transport());
        if gone.transport().is_stream() {
            client.path.link = Link::Stream(from.port().into());
        }
    }

    fn deliver_letters(&mut self) {
        while !self.world.holds_letters && self.world.deliver_letter(0) {}
    }
}
