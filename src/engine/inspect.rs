//! What operators may know of the allocations there are, and how they end one.
//!
//! Answers are values of their own, so that they can go to another thread. A list is taken in pages, each of which looks
//! at a bounded number of allocations: the worker relays between two of them. Main types: [`Summary`], [`Page`],
//! [`Details`].

use super::allocation::{Allocation, Scope};
use super::outcome::{AllocationId, CloseReason, RelayProtocol, Relayed, Usage};
use super::timers::Slot;
use super::watch::PeerRate;
use super::{ClientPath, Engine, Instant, Now};
use crate::wire::ChannelNumber;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// An allocation in a list.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Its name.
    pub id: AllocationId,
    /// The user name of the credential.
    pub user: Arc<str>,
    /// The client, where it was heard last.
    pub client: ClientPath,
    /// The relayed transport addresses.
    pub relayed: Relayed,
    /// What is relayed.
    pub protocol: RelayProtocol,
    /// When it was created.
    pub created: Instant,
    /// When it ends unless it is refreshed.
    pub expires: Instant,
    /// What passed through it so far, to the byte.
    pub usage: Usage,
    /// How many permissions it has.
    pub permissions: usize,
    /// How many channels it has.
    pub channels: usize,
    /// Whether its client's connection closed and it waits for the client on another path (RFC 8016).
    pub is_away: bool,
}

/// Some of the allocations.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// In no particular order.
    pub sessions: Vec<Summary>,
    /// Where the next page begins, if there is one.
    pub next: Option<usize>,
}

/// All there is to know of an allocation.
#[derive(Clone, Debug)]
pub struct Details {
    /// What a list says.
    pub summary: Summary,
    /// The peers it may exchange packets with.
    pub permissions: Vec<PermittedPeer>,
    /// Its channels.
    pub channels: Vec<BoundChannel>,
    /// The peers it has TCP connections with (RFC 6062).
    pub connections: Vec<SocketAddr>,
    /// What passes to and from each peer, since the look before; at the first look nothing.
    pub rates: Vec<PeerRate>,
    /// Whether its client may take it to another address (RFC 8016).
    pub is_mobile: bool,
    /// When the credential of its user expires, if it does.
    pub credential_until: Option<Instant>,
}

/// A peer with a permission.
#[derive(Clone, Copy, Debug)]
pub struct PermittedPeer {
    /// Its address; any port.
    pub peer: IpAddr,
    /// When the permission ends unless it is renewed.
    pub expires: Instant,
    /// Whether only other allocations of this server are reached at this address.
    pub hairpin_only: bool,
}

/// A bound channel.
#[derive(Clone, Copy, Debug)]
pub struct BoundChannel {
    /// Its number.
    pub number: ChannelNumber,
    /// Its peer.
    pub peer: SocketAddr,
    /// When the binding ends unless it is renewed.
    pub expires: Instant,
}

impl Engine {
    /// The allocations in so many places of the table, from one place on; the first is 0.
    #[must_use]
    pub fn sessions_from(&self, place: usize, places: usize) -> Page {
        let table = self.allocations.capacity();
        let end = place.saturating_add(places).min(table);
        let slots = place..end;
        Page {
            sessions: slots
                .filter_map(|slot| self.allocations.get(slot))
                .map(Allocation::summary)
                .collect(),
            next: (end < table).then_some(end),
        }
    }

    /// All of one allocation, if this worker has it. What passes between it and each of its peers is counted from then on,
    /// for some seconds.
    pub fn session(&mut self, now: Now, id: AllocationId) -> Option<Details> {
        let (_, allocation) = self.allocations.iter().find(|(_, a)| a.id == id)?;
        let connections = allocation.connections.iter().flat_map(|list| &list.0);
        let connections = connections.map(|held| (held.peer, held.passed()));
        let rates = self.watches.look(now.instant, id, connections);
        Some(allocation.details(now.instant, rates))
    }

    /// Ends an allocation for the operator; whether this worker had it.
    pub fn end_session(&mut self, now: Now, id: AllocationId) -> bool {
        let found = self.allocations.iter().find(|(_, a)| a.id == id);
        let Some((slot, _)) = found else {
            return false;
        };
        self.close(slot as Slot, now.instant, CloseReason::Operator);
        true
    }

    /// Ends all allocations of a user for the operator, by the whole user name or, of an ephemeral `expiry:user`, by the
    /// user; how many there were.
    pub fn end_sessions_of(&mut self, now: Now, user: &str) -> usize {
        let is_theirs = |allocation: &Allocation| {
            let part = allocation.holder.user_part.as_deref();
            *allocation.holder.user == *user || part == Some(user)
        };
        let slots: Vec<Slot> = self
            .allocations
            .iter()
            .filter(|(_, allocation)| is_theirs(allocation))
            .map(|(slot, _)| slot as Slot)
            .collect();
        for slot in &slots {
            self.close(*slot, now.instant, CloseReason::Operator);
        }
        slots.len()
    }
}

impl Allocation {
    fn summary(&self) -> Summary {
        Summary {
            id: self.id,
            user: self.holder.user.clone(),
            client: self.client,
            relayed: self.relays.addresses(),
            protocol: if self.connections.is_some() {
                RelayProtocol::Tcp
            } else {
                RelayProtocol::Udp
            },
            created: self.created,
            expires: self.relays.expires(),
            usage: self.usage_now(),
            permissions: self.permission_count(),
            channels: self.channel_count(),
            is_away: self.is_away(),
        }
    }

    fn details(&self, now: Instant, rates: Vec<PeerRate>) -> Details {
        let connections = self.connections.iter().flat_map(|list| &list.0);
        Details {
            summary: self.summary(),
            permissions: self
                .permissions
                .iter()
                .filter(|(_, permission)| permission.expires > now)
                .map(|(peer, permission)| PermittedPeer {
                    peer,
                    expires: permission.expires,
                    hairpin_only: permission.scope == Scope::HairpinOnly,
                })
                .collect(),
            channels: self
                .channels
                .iter()
                .filter(|channel| channel.is_bound(now))
                .map(|channel| BoundChannel {
                    number: channel.number,
                    peer: channel.peer,
                    expires: channel.expires,
                })
                .collect(),
            connections: connections.map(|held| held.peer).collect(),
            rates,
            is_mobile: self.mobile.is_some(),
            credential_until: self.holder.credential_until,
        }
    }
}
