//! What the fuzzer chooses from: whose credential, what to ask for, and whom to name as a peer.

use super::{CLIENTS, Run};
use crate::client::{Ask, Client, allocate, bind, binding, permit, refresh};
use crate::world::{RELAY_LOCAL, SERVER, SERVER_V6, address, peer, peer_v6};
use hairpin::wire::{AttributeType, Key, Method};
use std::net::{Ipv6Addr, SocketAddr};

/// The bytes of the input, which are choices.
pub(super) struct Choices<'a>(pub(super) &'a [u8]);

impl Choices<'_> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn client(&mut self) -> Option<usize> {
        Some(usize::from(self.byte()?) % CLIENTS)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = usize::from(self.byte()?).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(bytes.to_vec())
    }
}

/// Whose credential it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Alice,
    Bob,
    /// Whoever has an access token.
    Bearer,
}

impl Who {
    pub(super) fn of(user: &[u8]) -> Who {
        match user {
            b"alice" => Who::Alice,
            b"bob" => Who::Bob,
            _ => Who::Bearer,
        }
    }
}

impl Run {
    pub(super) fn ask(&self, number: usize, choices: &mut Choices<'_>) -> Option<Ask> {
        Some(match choices.byte()? % 16 {
            0..=2 => self.allocate(number, choices)?,
            3 | 4 => {
                let how = choices.byte()?;
                let seconds = [0, 1, 600, 900, 1200, u32::MAX][usize::from(how) % 6];
                let mut ask = refresh();
                if how & 8 == 0 {
                    ask = ask.lifetime(seconds);
                }
                if how & 16 != 0 {
                    ask = ask.family(1 + (how >> 5) % 3);
                }
                if how & 128 != 0 {
                    ask = ask.raw(AttributeType::ACCESS_TOKEN, &self.access_token);
                }
                let ticket = choices.byte()?;
                if ticket & 1 == 1 && !self.tickets.is_empty() {
                    let (ticket, _) = &self.tickets[usize::from(ticket >> 1) % self.tickets.len()];
                    ask = ask.raw(AttributeType::MOBILITY_TICKET, ticket);
                }
                ask
            }
            5..=7 => {
                let count = choices.byte()? % 4;
                let peers: Option<Vec<_>> = (0..count).map(|_| self.target(choices)).collect();
                permit(&peers?)
            }
            8..=10 => bind(channel(choices.byte()?), self.target(choices)?),
            11 | 12 => Ask::new(Method::CONNECT).peer(self.target(choices)?),
            13 | 14 => {
                let which = usize::from(choices.byte()?);
                let known = self.connections.len().max(1);
                let id = self.connections.get(which % known).map_or(1, |c| c.0.0);
                Ask::new(Method::CONNECTION_BIND).number(AttributeType::CONNECTION_ID, id)
            }
            _ => binding(),
        })
    }

    fn allocate(&self, number: usize, choices: &mut Choices<'_>) -> Option<Ask> {
        let (how, more) = (choices.byte()?, choices.byte()?);
        let mut ask = match how % 4 {
            0 => Ask::new(Method::ALLOCATE).raw(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0]),
            _ => allocate(),
        };
        match how >> 2 & 7 {
            0 => ask = ask.family(1),
            1 | 2 => ask = ask.family(2),
            3 => ask = ask.raw(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]),
            4 => ask = ask.even_port(how & 32 == 0),
            5 if !self.reservations.is_empty() => {
                let (token, _) = &self.reservations[usize::from(more) % self.reservations.len()];
                ask = ask.token(token);
            }
            _ => {}
        }
        if how & 64 != 0 {
            ask = ask.lifetime(u32::from(more) * 10);
        }
        if how & 128 != 0 {
            ask = ask.raw(AttributeType::DONT_FRAGMENT, b"");
        }
        if more & 16 != 0 {
            ask = ask.raw(AttributeType::MOBILITY_TICKET, b"");
        }
        if self.players[number].who == Who::Bearer && more & 7 != 7 {
            ask = ask.raw(AttributeType::ACCESS_TOKEN, &self.access_token);
        }
        Some(ask)
    }

    /// Any address somebody might name as a peer.
    pub(super) fn target(&self, choices: &mut Choices<'_>) -> Option<SocketAddr> {
        let which = choices.byte()?;
        let relay = |number: u8, v6: bool| {
            let tuple = &self.players[usize::from(number) % CLIENTS]
                .client
                .path
                .tuple;
            let relays = self.world.live.get(tuple).map(|live| &live.relays);
            let mut relays = relays.into_iter().flatten();
            relays.find(|(_, relayed)| relayed.local.is_ipv6() == v6)
        };
        let public = |number, v6| relay(number, v6).map(|(_, relayed)| relayed.advertised);
        let fixed = match which % 64 {
            n @ 0..=15 => return Some(peer(1 + n % 4, 1 + u16::from(n / 8) * 79)),
            n @ 16..=23 => return Some(peer_v6(1 + u16::from(n) % 3, 80 + u16::from(n) / 4)),
            n @ 24..=31 => return Some(public(n, false).unwrap_or(peer(1, 1))),
            n @ 32..=39 => return Some(public(n, true).unwrap_or(peer_v6(1, 80))),
            n @ 40..=43 => {
                let local = relay(n, false).map(|(_, relayed)| relayed.local);
                return Some(local.unwrap_or(peer(2, 1)));
            }
            44 | 45 => return Some(SocketAddr::from((choices.array::<4>()?, 80))),
            46 | 47 => return Some(SocketAddr::from((choices.array::<16>()?, 80))),
            48 | 49 => {
                // The same inside an IPv6 address.
                let [a, b, c, d, form] = choices.array()?;
                let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                let ip = match form % 6 {
                    0 => Ipv6Addr::new(0, 0, 0, 0, 0, 0xFFFF, high, low),
                    1 => Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
                    2 => Ipv6Addr::new(0x64, 0xFF9B, 0, 0, 0, 0, high, low),
                    3 => Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                    4 => Ipv6Addr::new(0x2001, 0, 0x808, 0x808, 0, 0xFFFF, !high, !low),
                    _ => Ipv6Addr::new(0x2600, 1, 2, 3, 0, 0x5EFE, high, low),
                };
                return Some(SocketAddr::from((ip, 80)));
            }
            50 => "127.0.0.1:80",
            51 => "169.254.169.254:80",
            52 => SERVER,
            53 => "20.0.0.9:3478",
            54 => "20.0.0.9:50003",
            55 => "10.0.0.9:50004",
            56 => "[::1]:80",
            57 => "[64:ff9b::a00:1]:80",
            58 => "[::ffff:40.0.0.1]:1",
            59 => "[2002:7f00:1::1]:80",
            60 => "40.0.0.1:0",
            61 => "40.0.0.1:25",
            62 => SERVER_V6,
            _ => "[2600:1::9]:50005",
        };
        Some(address(fixed))
    }

    /// Somebody's relayed address.
    pub(super) fn relayed(&self, choices: &mut Choices<'_>) -> Option<SocketAddr> {
        let which = choices.byte()?;
        let tuple = &self.players[usize::from(which) % CLIENTS].client.path.tuple;
        let relays = self.world.live.get(tuple).map(|live| &live.relays);
        let relay = relays.and_then(|relays| relays.get(usize::from(which >> 6) % relays.len()));
        let nobody = SocketAddr::new(RELAY_LOCAL.parse().unwrap(), 50_000 + u16::from(which >> 4));
        Some(relay.map_or(nobody, |(_, relayed)| relayed.local))
    }

    pub(super) fn payload(&mut self, choices: &mut Choices<'_>) -> Option<Vec<u8>> {
        let how = choices.byte()?;
        let payload = vec![how; usize::from(how) % 33];
        self.payloads.push(payload.clone());
        Some(payload)
    }
}

pub(super) fn sign_as(client: &mut Client, who: Who) {
    let (user, password) = match who {
        Who::Alice => ("alice", "s3cret"),
        Who::Bob => ("bob", "hunter2"),
        Who::Bearer => ("north", ""),
    };
    client.login.user = user.into();
    client.login.password = password.into();
    let is_bearer = who == Who::Bearer;
    client.login.mac_key = is_bearer.then(|| Key::from_bytes(&[7; 20]).unwrap());
}

/// Mostly one of few channels.
pub(super) fn channel(choice: u8) -> u16 {
    match choice {
        0..=239 => 0x4000 + u16::from(choice) % 5,
        240..=247 => 0x4FFF,
        _ => 0x3FF8 + u16::from(choice),
    }
}
