//! One allocation: its permissions, its channels and its deadlines. Nothing here sends or answers.

use super::authenticate::Holder;
use super::connections::Connections;
use super::mobility::Mobile;
use super::new_peers::NewPeers;
use super::outcome::{AllocationId, RelayId, Relayed, Route, Usage};
use super::path::ClientPath;
use super::relays::{RelayedAddress, ReservationToken};
use super::time::Instant;
use crate::policy::{Circle, Lease, Meter};
use crate::wire::attribute::Family;
use crate::wire::{ChannelNumber, ErrorCode, TransactionId};
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
            Err(place) => {
                make_room(&mut self.0);
                self.0.insert(place, (peer, permission));
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, &Permission)> {
        self.0.iter().map(|(peer, permission)| (*peer, permission))
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

    pub fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.by_number.iter()
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
                make_room(&mut self.by_number);
                self.by_number.insert(place, channel);
                let place = self.by_peer.partition_point(|(p, _)| *p < channel.peer);
                make_room(&mut self.by_peer);
                self.by_peer.insert(place, (channel.peer, channel.number));
            }
        }
    }
}

/// Room for one more. Most allocations have one peer or two, and a vector left to itself starts with four.
fn make_room<T>(entries: &mut Vec<T>) {
    if entries.len() == entries.capacity() {
        entries.reserve_exact(entries.len().max(1));
    }
}

/// A relayed transport address of an allocation. Each of the two it can have lives for itself (RFC 8656 §8.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Relay {
    pub id: RelayId,
    pub address: RelayedAddress,
    pub expires: Instant,
    /// Whether it had a permission, and so its socket is read.
    pub is_heard: bool,
}

/// The relays of an allocation: one, or one a family.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Relays {
    v4: Option<Relay>,
    v6: Option<Relay>,
}

impl Relays {
    const fn slot(&mut self, family: Family) -> &mut Option<Relay> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    pub fn insert(&mut self, relay: Relay) {
        *self.slot(Family::of(&relay.address.local)) = Some(relay);
    }

    pub const fn remove(&mut self, family: Family) -> Option<Relay> {
        self.slot(family).take()
    }

    #[inline]
    pub const fn get(&self, family: Family) -> Option<&Relay> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }

    /// The relay of a family, unless it is over.
    #[inline]
    pub fn live(&self, family: Family, now: Instant) -> Option<&Relay> {
        self.get(family).filter(|relay| relay.expires > now)
    }

    /// Whether one of them has this number and is not over.
    #[inline]
    pub fn is_live(&self, id: RelayId, now: Instant) -> bool {
        self.iter()
            .any(|relay| relay.id == id && relay.expires > now)
    }

    /// IPv4 first: clients that know of one address only take the first they read.
    pub fn iter(&self) -> impl Iterator<Item = &Relay> {
        self.v4.iter().chain(&self.v6)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Relay> {
        self.v4.iter_mut().chain(&mut self.v6)
    }

    pub fn addresses(&self) -> Relayed {
        Relayed {
            v4: self.v4.map(|relay| relay.address),
            v6: self.v6.map(|relay| relay.address),
        }
    }

    /// When the last of them is over.
    pub fn expires(&self) -> Instant {
        self.iter()
            .map(|relay| relay.expires)
            .max()
            .unwrap_or_default()
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
    pub holder: Holder,
    pub created_by: TransactionId,
    pub created: Instant,
    /// When the timer fires that stands in the queue for this allocation; an earlier entry is void.
    pub timer: Instant,
    pub relays: Relays,
    /// The family that was wanted as well and could not be had, and why.
    pub missing: Option<(Family, ErrorCode)>,
    pub reservation: Option<ReservationToken>,
    pub permissions: Permissions,
    pub channels: Channels,
    /// Of a TCP allocation, which relays nothing else.
    pub connections: Option<Box<Connections>>,
    pub usage: Usage,
    /// The second in which ICMP errors were relayed last, and how many.
    pub icmp: (u64, u8),
    /// Of an allocation that can move.
    pub mobile: Option<Box<Mobile>>,
    pub new_peers: NewPeers,
    /// Whom it reaches inside. A confined user's reaches nobody else, and ends with the credential.
    pub circle: Circle,
    /// Where bandwidth is limited.
    pub meter: Option<Arc<Meter>>,
    /// Gives the quotas back when the allocation is dropped, whichever way it ends.
    pub lease: Lease,
}

fn confine(circle: Circle, scope: Scope) -> Scope {
    if circle.is_confined() {
        Scope::HairpinOnly
    } else {
        scope
    }
}

impl Allocation {
    /// A new credential of the same owner takes the place of the former one.
    pub fn renew(&mut self, holder: &Holder) {
        self.holder = holder.clone();
        for held in self.connections.iter().flat_map(|list| &list.0) {
            held.shared.set_holder(holder.clone());
        }
    }

    /// Whether its client's connection closed, and it waits for the client to come back on another path.
    #[inline]
    pub fn is_away(&self) -> bool {
        self.mobile.as_ref().is_some_and(|mobile| mobile.is_away)
    }

    /// How many of these peers have no permission.
    pub fn unknown(&self, peers: impl Iterator<Item = IpAddr>) -> usize {
        let mut new: Vec<IpAddr> = peers
            .filter(|peer| !self.permissions.contains(*peer))
            .collect();
        new.sort_unstable();
        new.dedup();
        new.len()
    }

    pub fn permission_count(&self) -> usize {
        self.permissions.0.len()
    }

    /// What passed so far, with the TCP connections that are open.
    pub fn usage_now(&self) -> Usage {
        let mut usage = self.usage;
        for held in self.connections.iter().flat_map(|c| &c.0) {
            let (to_peer, to_client) = held.shared.bytes();
            usage.bytes_to_peers += to_peer;
            usage.bytes_to_client += to_client;
        }
        usage
    }

    pub fn channel_count(&self) -> usize {
        self.channels.by_number.len()
    }

    /// Installs a permission or starts its 300 s anew.
    pub fn permit(&mut self, peer: IpAddr, scope: Scope, now: Instant) {
        let scope = self.within(scope);
        let expires = now.after_seconds(PERMISSION_LIFETIME);
        self.permissions
            .install(peer, Permission { expires, scope });
        for channel in &mut self.channels.by_number {
            if channel.peer.ip() == peer {
                channel.permitted_until = expires;
                channel.scope = scope;
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

    /// The relays that have their first permission.
    pub fn newly_heard(&mut self) -> impl Iterator<Item = RelayId> {
        let permissions = &self.permissions.0;
        let is_for_tcp = self.connections.is_some();
        let relays = self.relays.iter_mut().filter(move |relay| {
            let is_v4 = relay.address.local.is_ipv4();
            !relay.is_heard
                && !is_for_tcp
                && permissions.iter().any(|(ip, _)| ip.is_ipv4() == is_v4)
        });
        relays.map(|relay| {
            relay.is_heard = true;
            relay.id
        })
    }

    /// Forgets permissions and channels that are over.
    pub fn forget_expired(&mut self, now: Instant, changed: impl FnMut(RouteChange)) {
        self.permissions.0.retain(|(_, p)| p.expires > now);
        self.keep_channels(|channel| channel.is_bound(now), changed);
    }

    /// How far it may reach of what a peer's scope is: the tester's users stay inside.
    pub fn within(&self, scope: Scope) -> Scope {
        confine(self.circle, scope)
    }

    /// Judges every peer anew and forgets the permissions and channels of those that are denied.
    pub fn judge_again(
        &mut self,
        address: impl Fn(IpAddr) -> Option<Scope>,
        socket: impl Fn(SocketAddr) -> Option<Scope>,
        changed: impl FnMut(RouteChange),
    ) {
        let circle = self.circle;
        let within = |scope| confine(circle, scope);
        let permissions = &mut self.permissions.0;
        permissions.retain_mut(|(ip, permission)| match address(*ip) {
            Some(scope) => {
                permission.scope = within(scope);
                true
            }
            None => false,
        });
        for channel in &mut self.channels.by_number {
            if let Some(scope) = socket(channel.peer) {
                channel.scope = within(scope);
            }
        }
        self.keep_channels(|channel| socket(channel.peer).is_some(), changed);
    }

    fn keep_channels(
        &mut self,
        keep: impl Fn(&Channel) -> bool,
        mut changed: impl FnMut(RouteChange),
    ) {
        let channels = &self.channels.by_number;
        if channels.iter().all(&keep) {
            return;
        }
        for channel in channels.iter().filter(|c| !keep(c) && c.routed) {
            changed(RouteChange::Removed(self.route(channel)));
        }
        self.channels.by_number.retain(keep);
        let Channels { by_number, by_peer } = &mut self.channels;
        by_peer.retain(|(_, number)| by_number.binary_search_by_key(number, |c| c.number).is_ok());
    }

    /// Says which channels became usable or stopped being so since the last call.
    pub fn sync_routes(&mut self, now: Instant, mut changed: impl FnMut(RouteChange)) {
        if self.meter.is_some() {
            return; // each packet has to be asked about
        }
        let is_here = !self.is_away();
        for place in 0..self.channels.by_number.len() {
            let Some(channel) = self.channels.by_number.get_mut(place) else {
                return;
            };
            let usable = is_here && channel.is_bound(now) && channel.is_permitted(now);
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

    /// Takes back what was said of routes, which may be said anew of another path.
    pub fn unroute(&mut self, mut changed: impl FnMut(RouteChange)) {
        for place in 0..self.channels.by_number.len() {
            if let Some(channel) = self.channels.by_number.get_mut(place)
                && std::mem::replace(&mut channel.routed, false)
            {
                let channel = *channel;
                changed(RouteChange::Removed(self.route(&channel)));
            }
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
        // A channel is forgotten with the relay of its family, so there is always one.
        let relay = self.relays.get(Family::of(&channel.peer));
        Route {
            client: self.client.tuple,
            channel: channel.number,
            relay: relay.map_or(RelayId(u32::MAX), |relay| relay.id),
            peer: channel.peer,
        }
    }

    /// Takes a relay off, with the permissions and channels of its family.
    pub fn remove_relay(
        &mut self,
        family: Family,
        mut changed: impl FnMut(RouteChange),
    ) -> Option<Relay> {
        let is_other = |ip: IpAddr| ip.is_ipv4() != (family == Family::V4);
        for channel in &self.channels.by_number {
            if channel.routed && !is_other(channel.peer.ip()) {
                changed(RouteChange::Removed(self.route(channel)));
            }
        }
        let Channels { by_number, by_peer } = &mut self.channels;
        by_number.retain(|channel| is_other(channel.peer.ip()));
        by_peer.retain(|(peer, _)| is_other(peer.ip()));
        self.permissions.0.retain(|(ip, _)| is_other(*ip));
        self.relays.remove(family)
    }

    /// The next point in time at which something of this allocation ends.
    pub fn next_deadline(&self, now: Instant) -> Instant {
        let permissions = self.permissions.0.iter().map(|(_, p)| p.expires);
        let channels = self.channels.by_number.iter().map(|c| c.expires);
        let relays = self.relays.iter().map(|relay| relay.expires);
        let connections = self.connections.iter().flat_map(|c| c.deadlines());
        permissions
            .chain(channels)
            .chain(relays)
            .chain(connections)
            .filter(|at| *at > now)
            .min()
            .unwrap_or(now)
    }
}
