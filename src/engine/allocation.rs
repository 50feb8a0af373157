//! One allocation: its permissions, its channels and its deadlines. Nothing here sends or answers.

use super::outcome::{AllocationId, RelayId, Route, Usage};
use super::path::ClientPath;
use super::relays::{RelayedAddress, ReservationToken};
use super::time::Instant;
use crate::policy::Lease;
use crate::wire::{ChannelNumber, Key, TransactionId};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// How long a permission lasts (RFC 8656 §9), in seconds.
pub const PERMISSION_LIFETIME: u32 = 300;

/// How long a channel binding lasts (RFC 8656 §12), in seconds.
pub const CHANNEL_LIFETIME: u32 = 600;

/// How far a permission reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The peer may be reached over the network.
    Network,
    /// The address is one of this server's relay addresses, and the filter allows nothing of that host but other
    /// allocations.
    HairpinOnly,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Permission {
    pub expires: Instant,
    pub scope: Scope,
}

/// Permissions by peer address, sorted.
#[derive(Debug, Default)]
pub(super) struct Permissions(Vec<(IpAddr, Permission)>);

impl Permissions {
    /// The permission for an address, if it has one that is not over.
    #[inline]
    pub fn get(&self, peer: IpAddr, now: Instant) -> Option<Permission> {
        let place = self.0.binary_search_by(|(ip, _)| ip.cmp(&peer)).ok()?;
        self.0
            .get(place)
            .map(|(_, permission)| *permission)
            .filter(|permission| permission.expires > now)
    }

    fn install(&mut self, peer: IpAddr, permission: Permission) {
        match self.0.binary_search_by(|(ip, _)| ip.cmp(&peer)) {
            Ok(place) => {
                if let Some((_, slot)) = self.0.get_mut(place) {
                    *slot = permission;
                }
            }
            Err(place) => self.0.insert(place, (peer, permission)),
        }
    }

    fn contains(&self, peer: IpAddr) -> bool {
        self.0.binary_search_by(|(ip, _)| ip.cmp(&peer)).is_ok()
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Channel {
    pub number: ChannelNumber,
    pub peer: SocketAddr,
    pub expires: Instant,
    /// A copy of the permission for the peer's address, so that a packet needs one look-up only.
    pub permitted_until: Instant,
    pub scope: Scope,
    /// Whether `RouteAdded` was the last that was said of it.
    routed: bool,
}

impl Channel {
    #[inline]
    pub fn is_bound(&self, now: Instant) -> bool {
        self.expires > now
    }

    #[inline]
    pub fn is_permitted(&self, now: Instant) -> bool {
        self.permitted_until > now
    }
}

/// Channels by number, sorted, with an index by peer.
#[derive(Debug, Default)]
pub(super) struct Channels {
    by_number: Vec<Channel>,
    by_peer: Vec<(SocketAddr, ChannelNumber)>,
}

impl Channels {
    #[inline]
    fn place(&self, number: ChannelNumber) -> Result<usize, usize> {
        // Clients count up from the lowest number, so the first guess is mostly right.
        let guess = usize::from(number.get() - ChannelNumber::MIN.get());
        if self
            .by_number
            .get(guess)
            .is_some_and(|c| c.number == number)
        {
            return Ok(guess);
        }
        self.by_number.binary_search_by_key(&number, |c| c.number)
    }

    /// The binding of a number, whether over or not.
    #[inline]
    pub fn by_number(&self, number: ChannelNumber) -> Option<&Channel> {
        self.by_number.get(self.place(number).ok()?)
    }

    /// The binding of a peer's transport address, whether over or not.
    #[inline]
    pub fn by_peer(&self, peer: SocketAddr) -> Option<&Channel> {
        let place = self.by_peer.binary_search_by(|(p, _)| p.cmp(&peer)).ok()?;
        let (_, number) = self.by_peer.get(place)?;
        self.by_number(*number)
    }

    fn insert(&mut self, channel: Channel) {
        match self.place(channel.number) {
            Ok(place) => {
                if let Some(slot) = self.by_number.get_mut(place) {
                    *slot = Channel {
                        routed: slot.routed,
                        ..channel
                    };
                }
            }
            Err(place) => {
                self.by_number.insert(place, channel);
                let place = self.by_peer.partition_point(|(p, _)| *p < channel.peer);
                self.by_peer.insert(place, (channel.peer, channel.number));
            }
        }
    }
}

/// A change in what a faster data plane may forward.
#[derive(Clone, Copy, Debug)]
pub(super) enum RouteChange {
    Added(Route),
    Removed(Route),
}

#[derive(Debug)]
pub(super) struct Allocation {
    pub id: AllocationId,
    pub client: ClientPath,
    pub user: Arc<str>,
    /// The key of the credential, so that later requests need no look-up and an ephemeral credential that expires
    /// meanwhile does not end a call.
    pub key: Key,
    pub created_by: TransactionId,
    pub created: Instant,
    pub expires: Instant,
    /// When the timer fires that stands in the queue for this allocation; an earlier entry is void.
    pub timer: Instant,
    pub relay: RelayId,
    pub relayed: RelayedAddress,
    pub reservation: Option<ReservationToken>,
    pub permissions: Permissions,
    pub channels: Channels,
    pub usage: Usage,
    /// Gives the quotas back when the allocation is dropped, whichever way it ends.
    pub _lease: Lease,
}

impl Allocation {
    /// How many permissions there would be with these added.
    pub fn permissions_with(&self, peers: impl Iterator<Item = IpAddr>) -> usize {
        // Requests name few peers: a peer named twice counts once, found by looking back.
        let mut new: [Option<IpAddr>; 16] = [None; 16];
        let mut count = self.permissions.0.len();
        for peer in peers {
            if self.permissions.contains(peer) || new.contains(&Some(peer)) {
                continue;
            }
            if let Some(slot) = new.iter_mut().find(|slot| slot.is_none()) {
                *slot = Some(peer);
            }
            count += 1;
        }
        count
    }

    pub fn channel_count(&self) -> usize {
        self.channels.by_number.len()
    }

    /// Installs a permission or starts its 300 s anew.
    pub fn permit(&mut self, peer: IpAddr, scope: Scope, now: Instant) {
        let expires = now.after_seconds(PERMISSION_LIFETIME);
        self.permissions
            .install(peer, Permission { expires, scope });
        for channel in &mut self.channels.by_number {
            if channel.peer.ip() == peer {
                channel.permitted_until = expires;
            }
        }
    }

    /// Binds a channel or starts its 600 s anew, and permits its peer. The caller has checked that neither is bound
    /// otherwise.
    pub fn bind(&mut self, number: ChannelNumber, peer: SocketAddr, scope: Scope, now: Instant) {
        self.channels.insert(Channel {
            number,
            peer,
            expires: now.after_seconds(CHANNEL_LIFETIME),
            permitted_until: now,
            scope,
            routed: false,
        });
        self.permit(peer.ip(), scope, now);
    }

    /// Forgets permissions and channels that are over.
    pub fn forget_expired(&mut self, now: Instant, mut changed: impl FnMut(RouteChange)) {
        self.permissions.0.retain(|(_, p)| p.expires > now);
        let over = |channel: &Channel| !channel.is_bound(now);
        if !self.channels.by_number.iter().any(over) {
            return;
        }
        for channel in self
            .channels
            .by_number
            .iter()
            .filter(|c| over(c) && c.routed)
        {
            changed(RouteChange::Removed(self.route(channel)));
        }
        self.channels.by_number.retain(|channel| !over(channel));
        let Channels { by_number, by_peer } = &mut self.channels;
        by_peer.retain(|(_, number)| by_number.binary_search_by_key(number, |c| c.number).is_ok());
    }

    /// Says which channels became usable or stopped being so since the last call.
    pub fn sync_routes(&mut self, now: Instant, mut changed: impl FnMut(RouteChange)) {
        for place in 0..self.channels.by_number.len() {
            let Some(channel) = self.channels.by_number.get_mut(place) else {
                return;
            };
            let usable = channel.is_bound(now) && channel.is_permitted(now);
            if usable == channel.routed {
                continue;
            }
            channel.routed = usable;
            let channel = *channel;
            changed(if usable {
                RouteChange::Added(self.route(&channel))
            } else {
                RouteChange::Removed(self.route(&channel))
            });
        }
    }

    /// The routes that end with the allocation.
    pub fn routes(&self) -> impl Iterator<Item = Route> + '_ {
        self.channels
            .by_number
            .iter()
            .filter(|channel| channel.routed)
            .map(|channel| self.route(channel))
    }

    fn route(&self, channel: &Channel) -> Route {
        Route {
            client: self.client.tuple,
            channel: channel.number,
            relay: self.relay,
            peer: channel.peer,
        }
    }

    /// The next point in time at which something of this allocation ends.
    pub fn next_deadline(&self, now: Instant) -> Instant {
        let permissions = self.permissions.0.iter().map(|(_, p)| p.expires);
        let channels = self.channels.by_number.iter().map(|c| c.expires);
        permissions
            .chain(channels)
            .filter(|at| *at > now)
            .fold(self.expires, Instant::min)
    }
}
