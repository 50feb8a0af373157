//! What passes between an allocation and each of its peers, counted only while an operator looks at that allocation.
//!
//! A packet of an engine at which nobody looks pays for one comparison. Whoever looks begins to be told at the second look;
//! counting ends by itself some seconds after the last. What is counted has its memory from the first look on, so that no
//! packet asks the heap for any. Main types: [`Watches`], [`PeerRate`].

use super::outcome::{AllocationId, Usage};
use super::time::Instant;
use crate::policy::Direction;
use std::net::SocketAddr;
use std::time::Duration;

/// How long is counted after a look.
const ATTENTION: Duration = Duration::from_secs(15);

/// Over how long a rate is taken at least, where there was a look before the last.
const WINDOW: Duration = Duration::from_secs(1);

/// How many allocations are watched at a time. Another one takes the place of the one that was looked at longest ago.
const ALLOCATIONS: usize = 8;

/// How many peers of an allocation are counted apart. Another one takes the place of one that is silent, if there is one.
const PEERS: usize = 64;

/// What passes between an allocation and one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerRate {
    /// The peer.
    pub peer: SocketAddr,
    /// Packets and bytes a second. Of TCP connections there are no packets.
    pub per_second: Usage,
}

/// The allocations that are looked at.
#[derive(Debug, Default)]
pub(super) struct Watches(Vec<Watch>);

#[derive(Debug)]
struct Watch {
    id: AllocationId,
    until: Instant,
    /// Since when is counted what is in `passed` and not in `before`.
    since: Instant,
    peers: Vec<Counted>,
}

#[derive(Debug)]
struct Counted {
    peer: SocketAddr,
    passed: Usage,
    before: Usage,
    /// Of the last window that is over.
    rate: Option<Usage>,
}

impl Counted {
    fn rate(&self, over: Duration) -> Usage {
        let millis = (over.as_millis() as u64).max(1);
        let rate = |passed: u64, before: u64| passed.saturating_sub(before) * 1000 / millis;
        let (passed, before) = (&self.passed, &self.before);
        Usage {
            packets_to_peers: rate(passed.packets_to_peers, before.packets_to_peers),
            bytes_to_peers: rate(passed.bytes_to_peers, before.bytes_to_peers),
            packets_to_client: rate(passed.packets_to_client, before.packets_to_client),
            bytes_to_client: rate(passed.bytes_to_client, before.bytes_to_client),
        }
    }
}

impl Watches {
    /// Counts a packet, if anybody looks.
    #[inline]
    pub fn count(
        &mut self,
        now: Instant,
        id: AllocationId,
        peer: SocketAddr,
        way: Direction,
        length: usize,
    ) {
        if !self.0.is_empty() {
            self.count_watched(now, id, peer, way, length as u64);
        }
    }

    #[cold]
    fn count_watched(
        &mut self,
        now: Instant,
        id: AllocationId,
        peer: SocketAddr,
        way: Direction,
        length: u64,
    ) {
        self.0.retain(|watch| watch.until > now);
        let Some(watch) = self.0.iter_mut().find(|watch| watch.id == id) else {
            return;
        };
        let Some(counted) = watch.counted(peer, Usage::default()) else {
            return;
        };
        let passed = &mut counted.passed;
        match way {
            Direction::ToPeer => {
                passed.packets_to_peers += 1;
                passed.bytes_to_peers += length;
            }
            Direction::ToClient => {
                passed.packets_to_client += 1;
                passed.bytes_to_client += length;
            }
        }
    }

    /// What passes, and goes on counting; `connections` are the TCP connections with what passed through them so far.
    pub fn look(
        &mut self,
        now: Instant,
        id: AllocationId,
        connections: impl Iterator<Item = (SocketAddr, Usage)>,
    ) -> Vec<PeerRate> {
        self.0.retain(|watch| watch.until > now);
        let watch = match self.0.iter().position(|watch| watch.id == id) {
            Some(place) => self.0.remove(place),
            None => Watch {
                id,
                until: now,
                since: now,
                peers: Vec::with_capacity(PEERS),
            },
        };
        if self.0.len() >= ALLOCATIONS {
            // The first was looked at longest ago: whatever is looked at goes to the end.
            self.0.remove(0);
        }
        self.0.push(watch);
        let Some(watch) = self.0.last_mut() else {
            return Vec::new();
        };
        watch.until = now.after(ATTENTION);
        for (peer, passed) in connections {
            // What passed before anybody looked is no rate.
            if let Some(counted) = watch.counted(peer, passed) {
                counted.passed = passed;
            }
        }
        let over = now.since(watch.since);
        let is_over = over >= WINDOW;
        if is_over {
            watch.since = now;
        }
        let peers = watch.peers.iter_mut().map(|counted| {
            let rate = counted.rate(over);
            if is_over {
                counted.before = counted.passed;
                counted.rate = Some(rate);
            }
            PeerRate {
                peer: counted.peer,
                per_second: counted.rate.unwrap_or(rate),
            }
        });
        peers.collect()
    }
}

impl Watch {
    /// The place of a peer, with what had passed when it was first seen; `None` where there is none left.
    fn counted(&mut self, peer: SocketAddr, before: Usage) -> Option<&mut Counted> {
        let mut place = self.peers.iter().position(|counted| counted.peer == peer);
        if place.is_none() {
            let new = Counted {
                peer,
                passed: before,
                before,
                rate: None,
            };
            if self.peers.len() < PEERS {
                place = Some(self.peers.len());
                self.peers.push(new);
            } else {
                place = self
                    .peers
                    .iter()
                    .position(|counted| counted.passed == counted.before);
                *self.peers.get_mut(place?)? = new;
            }
        }
        self.peers.get_mut(place?)
    }
}
