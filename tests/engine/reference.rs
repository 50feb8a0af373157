//! The simplest model of what RFC 8656 says about allocations, permissions and channels.

use crate::world::{RELAY, address, peer, peer_v6};
use hairpin::wire::TransactionId;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

pub const CLIENTS: usize = 4;
pub const MAX_PERMISSIONS: usize = 3;
pub const MAX_CHANNELS: usize = 2;
pub const PER_USER: usize = 2;

/// Whom a client wants to reach.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    Peer(u8, u16),
    Relay(usize),
    NoPort,
    Denied,
    OtherFamily,
}

/// An allocation as RFC 8656 describes it.
pub struct Alloc {
    pub relayed: SocketAddr,
    pub expires: u64,
    pub transaction: TransactionId,
    pub permissions: BTreeMap<IpAddr, u64>,
    pub channels: BTreeMap<u16, (SocketAddr, u64)>,
}

#[derive(Default)]
pub struct Model {
    pub allocs: [Option<Alloc>; CLIENTS],
    /// The last relayed address each client had.
    pub relayed: [Option<SocketAddr>; CLIENTS],
    pub limited: bool,
}

/// Where a payload ends up.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    Dropped,
    AtPeer(SocketAddr),
    AtClient(usize, Option<u16>, SocketAddr),
}

pub fn user(client: usize) -> &'static str {
    if client == 3 { "bob" } else { "alice" }
}

pub fn is_denied(peer: SocketAddr) -> bool {
    peer.ip().is_loopback() || peer.port() == 0
}

impl Model {
    pub fn forget(&mut self, now: u64) {
        for slot in &mut self.allocs {
            slot.take_if(|alloc| alloc.expires <= now);
            if let Some(alloc) = slot {
                alloc.permissions.retain(|_, until| *until > now);
                alloc.channels.retain(|_, (_, until)| *until > now);
            }
        }
    }

    pub fn resolve(&self, target: Target) -> SocketAddr {
        match target {
            Target::Peer(host, port) => peer(host, port),
            Target::Relay(client) => {
                let nobodys = SocketAddr::new(RELAY.parse().unwrap(), 65535);
                self.relayed[client].unwrap_or(nobodys)
            }
            Target::NoPort => peer(1, 0),
            Target::Denied => address("127.0.0.1:80"),
            Target::OtherFamily => peer_v6(1, 1),
        }
    }

    pub fn allocate(&self, client: usize) -> u16 {
        let of_user =
            (0..CLIENTS).filter(|c| self.allocs[*c].is_some() && user(*c) == user(client));
        match &self.allocs[client] {
            Some(_) => 437,
            None if self.limited && of_user.count() >= PER_USER => 486,
            None => 0,
        }
    }

    pub fn permit(&mut self, client: usize, peers: &[SocketAddr], now: u64) -> u16 {
        let Some(alloc) = &mut self.allocs[client] else {
            return 437;
        };
        if peers.is_empty() {
            return 400;
        }
        if peers.iter().any(SocketAddr::is_ipv6) {
            return 443;
        }
        if peers.iter().any(|peer| peer.ip().is_loopback()) {
            return 403;
        }
        let mut all: BTreeSet<_> = alloc.permissions.keys().copied().collect();
        all.extend(peers.iter().map(SocketAddr::ip));
        if all.len() > MAX_PERMISSIONS {
            return 508;
        }
        for peer in peers {
            alloc.permissions.insert(peer.ip(), now + 300_000);
        }
        0
    }

    pub fn bind(&mut self, client: usize, number: u16, peer: SocketAddr, now: u64) -> u16 {
        let Some(alloc) = &mut self.allocs[client] else {
            return 437;
        };
        if !(0x4000..0x5000).contains(&number) {
            return 400;
        }
        let here = alloc.channels.get(&number).map(|(peer, _)| *peer);
        let elsewhere = alloc
            .channels
            .iter()
            .any(|(n, (p, _))| *p == peer && *n != number);
        if here.is_some_and(|bound| bound != peer) || elsewhere {
            return 400;
        }
        if peer.is_ipv6() {
            return 443;
        }
        if is_denied(peer) {
            return 403;
        }
        if here.is_none() && alloc.channels.len() >= MAX_CHANNELS {
            return 508;
        }
        let is_new = !alloc.permissions.contains_key(&peer.ip());
        if is_new && alloc.permissions.len() >= MAX_PERMISSIONS {
            return 508;
        }
        alloc.channels.insert(number, (peer, now + 600_000));
        alloc.permissions.insert(peer.ip(), now + 300_000);
        0
    }

    /// A payload from a client that names a peer.
    pub fn outward(&self, client: usize, peer: SocketAddr) -> Fate {
        let Some(alloc) = &self.allocs[client] else {
            return Fate::Dropped;
        };
        if !alloc.permissions.contains_key(&peer.ip()) || is_denied(peer) {
            return Fate::Dropped;
        }
        if peer.ip() != RELAY.parse::<IpAddr>().unwrap() {
            return Fate::AtPeer(peer);
        }
        let owner =
            (0..CLIENTS).find(|c| self.allocs[*c].as_ref().is_some_and(|a| a.relayed == peer));
        owner.map_or(Fate::Dropped, |owner| self.inward(owner, alloc.relayed))
    }

    pub fn on_channel(&self, client: usize, number: u16) -> Fate {
        let alloc = self.allocs[client].as_ref();
        match alloc.and_then(|alloc| alloc.channels.get(&number)) {
            Some((peer, _)) => self.outward(client, *peer),
            None => Fate::Dropped,
        }
    }

    /// A payload from a peer for a client's relayed address.
    pub fn inward(&self, client: usize, from: SocketAddr) -> Fate {
        match &self.allocs[client] {
            Some(alloc) if alloc.permissions.contains_key(&from.ip()) => {
                let mut channels = alloc.channels.iter();
                let bound = channels.find(|(_, (peer, _))| *peer == from);
                Fate::AtClient(client, bound.map(|(number, _)| *number), from)
            }
            _ => Fate::Dropped,
        }
    }

    pub fn routes(&self) -> BTreeSet<(usize, u16, SocketAddr)> {
        let mut routes = BTreeSet::new();
        for (client, alloc) in self.allocs.iter().enumerate() {
            for (number, (peer, _)) in alloc.iter().flat_map(|alloc| &alloc.channels) {
                if alloc.as_ref().unwrap().permissions.contains_key(&peer.ip()) {
                    routes.insert((client, *number, *peer));
                }
            }
        }
        routes
    }
}
