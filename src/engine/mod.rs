//! The TURN server as a state machine: time and bytes come in, effects go out.
//!
//! An [`Engine`] belongs to one worker and owns that worker's allocations outright. It opens no socket, starts no
//! thread, reads no clock and writes no log: the same inputs, times and random seed give the same effects, so that
//! tests drive it in virtual time.
//!
//! Every input has one [`Outcome`], which speaks of the input's own bytes in ranges, so a relayed payload is never
//! copied here. What else there is to do or to tell comes as an [`Event`] from [`Engine::next_event`], and is to be
//! handled before the outcome. [`Engine::next_deadline`] says when [`Engine::handle_timeout`] wants to be called.
//!
//! What it promises: no state for a source that has not proved a credential; nothing counts but what the integrity
//! attribute covers; one function makes an allocation and one judges a peer; every refusal has a reason that is
//! counted.
//!
//! Its parts: `requests` answers, once `authenticate` has found out who asks, [`binding`] tells clients where they are,
//! `allocate` makes allocations, `redirect` sends clients elsewhere, `classic` speaks to clients from before RFC 5389,
//! `data` relays, `mobility` follows clients to other addresses and [`letters`] takes their allocations along to other
//! workers, [`inspect`] shows operators what there is and [`watch`] what passes of it, [`tcp_relay`] connects clients and peers over TCP, [`relays`] knows the ports of the whole server, [`counters`]
//! is what operators see.

#![deny(clippy::indexing_slicing)]

mod allocate;
mod allocation;
mod authenticate;
pub mod binding;
mod classic;
pub mod connections;
pub mod counters;
mod credential_end;
mod data;
pub mod histogram;
pub mod inspect;
pub mod letters;
mod mobility;
mod new_peers;
pub mod outcome;
pub mod path;
mod redirect;
pub mod refusals;
pub mod relays;
mod requests;
mod respond;
mod strangers;
mod taken_port;
pub mod tcp_relay;
pub mod time;
mod timers;
pub mod watch;

pub use allocation::{CHANNEL_LIFETIME, PERMISSION_LIFETIME};
pub use binding::{Discovery, Site};
pub use connections::{ConnectionId, TcpConnection, TcpConnections};
pub use counters::Counters;
pub use inspect::{BoundChannel, Details, Page, PermittedPeer, Summary};
pub use letters::Letter;
pub use mobility::MobileAllocations;
pub use outcome::{
    AllocationId, Arrived, Bound, CloseReason, Closed, Connect, ConnectError, Delivery, Event,
    Header, IcmpError, Message, Moved, OpenRelay, Opened, Outcome, RelayError, RelayId,
    RelayProtocol, Route, Session, Ticket, ToClient, ToWorker, Usage, WorkerId,
};
pub use path::{ClientPath, FiveTuple, Link, Transport};
pub use redirect::{Alternate, Redirect};
pub use refusals::{Refused, Why};
pub use relays::{RelayAddress, RelayPool, RelayedAddress};
pub use tcp_relay::TcpRules;
pub use time::{Instant, Now};

use crate::auth::{Authenticator, NonceKeys, TicketKey};
use crate::policy::{
    Bandwidth, BandwidthLimits, Limits, PeerFilter, Quotas, Resting, StrangerLimits, Strangers,
};
use crate::wire::ChannelRange;
use crate::wire::attribute::Family;
use allocation::{Allocation, Relay, RouteChange};
use connections::Held;
use counters::DropReason;
use hashbrown::HashTable;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tcp_relay::end_connections;
use timers::{Slot, Timers};

/// The longest answer the engine writes, in bytes: one with PADDING, which is meant to be fragmented. All others stay
/// under the 548 bytes that need no path MTU (RFC 8489 §6.1). The reply buffer has to have at least this length.
pub const REPLY_LENGTH: usize = 2048;

/// What an engine goes by. Shared by all workers, and replaced as a whole.
#[derive(Clone)]
pub struct Rules {
    /// Who may relay.
    pub authenticator: Authenticator,
    /// The nonces clients are challenged with.
    pub nonces: NonceKeys,
    /// Whether an ephemeral `expiry:user` with another expiry is the same user for an allocation: a Refresh with a
    /// renewed credential is then not refused with 441.
    pub match_user_part: bool,
    /// Whether new allocations are refused, since the server is about to stop: 508, or 300 where there are alternates.
    pub draining: bool,
    /// Where clients are sent that ask for an allocation.
    pub redirect: Redirect,
    /// Whether Binding requests of RFC 3489 are answered, over UDP.
    pub classic_binding: bool,
    /// Which peers may be relayed to.
    pub filter: PeerFilter,
    /// The lifetime of an allocation that asks for none or for less, in seconds (RFC 8656 §7.2: 600).
    pub default_lifetime: u32,
    /// The longest lifetime given, in seconds.
    pub max_lifetime: u32,
    /// Whether an allocation ends when the credential of its user expires; if not, it ends at the Refresh after that.
    pub strict_expiry: bool,
    /// How many peers an allocation may meet a second, after 8 seconds' worth of them; 0 for no limit.
    pub new_peers_per_second: u32,
    /// How many permissions an allocation may have.
    pub max_permissions: usize,
    /// How many channels an allocation may have.
    pub max_channels: usize,
    /// Which channel numbers clients may bind.
    pub channels: ChannelRange,
    /// TCP allocations.
    pub tcp: TcpRules,
    /// What tickets of allocations that can move are sealed with; `None` where they cannot (RFC 8016).
    pub mobility: Option<TicketKey>,
    /// The value of SOFTWARE in answers to authenticated requests; empty for none.
    pub software: String,
    /// Where NAT behaviour discovery is offered.
    pub discovery: Discovery,
}

impl Rules {
    /// Rules with the RFCs' lifetimes, room for 256 permissions and channels, and everything else off.
    #[must_use]
    pub fn new(authenticator: Authenticator, nonces: NonceKeys, filter: PeerFilter) -> Self {
        Rules {
            authenticator,
            nonces,
            match_user_part: false,
            draining: false,
            redirect: Redirect::default(),
            classic_binding: false,
            discovery: Discovery::default(),
            filter,
            default_lifetime: 600,
            max_lifetime: 3600,
            strict_expiry: false,
            new_peers_per_second: 16,
            max_permissions: 256,
            max_channels: 256,
            channels: ChannelRange::Rfc8656,
            tcp: TcpRules::default(),
            mobility: None,
            software: String::new(),
        }
    }
}

/// What an engine shares with the other workers' engines.
#[derive(Clone)]
pub struct Shared {
    /// What to go by.
    pub rules: Arc<Rules>,
    /// How many allocations everyone has.
    pub quotas: Quotas,
    /// How much may be relayed.
    pub bandwidth: Bandwidth,
    /// What is answered to whoever has not proved a credential.
    pub strangers: Arc<Strangers>,
    /// The relayed transport addresses of the server.
    pub relays: Arc<RelayPool>,
    /// The TCP connections between relays and peers.
    pub connections: Arc<TcpConnections>,
    /// Which worker has which of the allocations that can move.
    pub mobile: Arc<MobileAllocations>,
}

impl Shared {
    /// What the engines of a server share at its start.
    #[must_use]
    pub fn new(rules: Rules, limits: Limits, relays: RelayPool) -> Self {
        Shared {
            rules: Arc::new(rules),
            quotas: Quotas::new(limits),
            bandwidth: Bandwidth::new(BandwidthLimits::default()),
            strangers: Arc::new(Strangers::new(StrangerLimits::default())),
            relays: Arc::new(relays),
            connections: Arc::default(),
            mobile: Arc::default(),
        }
    }
}

/// The state machine. See the module.
pub struct Engine {
    worker: WorkerId,
    shared: Shared,
    counters: Arc<Counters>,
    rng: StdRng,
    allocations: Slab<Allocation>,
    by_tuple: HashTable<Slot>,
    hasher: ahash::RandomState,
    /// By relay: the allocation it belongs to.
    relays: Slab<Slot>,
    pending: Slab<allocate::Pending>,
    timers: Timers,
    events: VecDeque<Event>,
    /// The allocations that can move.
    mobile: HashMap<AllocationId, Slot>,
    /// Where such allocations may move to.
    paths: letters::Paths,
    /// How many more requests of strangers there is time for, where that is not all.
    strangers_left: Option<u32>,
    telling: refusals::Telling,
    watches: watch::Watches,
}

impl Engine {
    /// An engine without allocations. The seed is the source of everything random in it and has to come from the
    /// operating system outside tests.
    #[must_use]
    pub fn new(worker: WorkerId, shared: Shared, counters: Arc<Counters>, seed: [u8; 32]) -> Self {
        let mut rng = StdRng::from_seed(seed);
        let hasher = ahash::RandomState::with_seeds(
            rng.next_u64(),
            rng.next_u64(),
            rng.next_u64(),
            rng.next_u64(),
        );
        Engine {
            worker,
            shared,
            counters,
            rng,
            allocations: Slab::new(),
            by_tuple: HashTable::new(),
            hasher,
            relays: Slab::new(),
            pending: Slab::new(),
            timers: Timers::default(),
            events: VecDeque::new(),
            mobile: HashMap::new(),
            paths: letters::Paths::default(),
            strangers_left: None,
            telling: refusals::Telling::default(),
            watches: watch::Watches::default(),
        }
    }

    /// Goes by other rules from now on. Allocations stay, but lose the permissions and channels of peers that are
    /// denied now, and their TCP connections. Those of users who are revoked end.
    pub fn set_rules(&mut self, now: Now, rules: Arc<Rules>) {
        let events = &mut self.events;
        for (_, allocation) in &mut self.allocations {
            allocation.judge_again(
                |ip| requests::scope_of(rules.filter.judge_address(ip)),
                |peer| requests::scope_of(rules.filter.judge(peer)),
                |change| events.push_back(change.into()),
            );
        }
        self.shared.rules = rules;
        self.meter_again();
        self.judge_connections_again();
        self.judge_users_again(now.instant);
    }

    /// Meters allocations where bandwidth has a limit now, and spares them that where it has none.
    fn meter_again(&mut self) {
        let (bandwidth, events) = (&self.shared.bandwidth, &mut self.events);
        for (_, allocation) in &mut self.allocations {
            if allocation.meter.is_some() == bandwidth.is_unlimited_for(allocation.lease.group()) {
                allocation.unroute(|change| events.push_back(change.into()));
                allocation.meter =
                    bandwidth.meter(allocation.lease.user(), allocation.lease.group());
            }
        }
    }

    /// Gives out relayed addresses in another external form from now on: see [`RelayPool::known_as`].
    pub fn set_relays(&mut self, relays: Arc<RelayPool>) {
        self.shared.relays = relays;
    }

    /// Says how many requests of strangers over datagrams to work on from now on, all with `None`. The others are dropped
    /// and counted before anything of them is proved. A worker that is behind does so, that calls need not pay for it.
    pub fn limit_strangers(&mut self, requests: Option<u32>) {
        self.strangers_left = requests;
    }

    /// Takes a datagram, or one frame of a stream without its padding, from a client. An answer is written into
    /// `reply`, which has to have [`REPLY_LENGTH`] bytes.
    pub fn from_client(
        &mut self,
        now: Now,
        client: &ClientPath,
        input: &[u8],
        reply: &mut [u8],
    ) -> Outcome {
        match input.first() {
            Some(0..=3) => self.stun(now, client, input, reply),
            Some(byte) if self.rules().channels.has_first_byte(*byte) => {
                self.channel_data(now, client, input)
            }
            _ => self.drop(DropReason::NotStun),
        }
    }

    /// Forgets a client whose connection closed, with its allocation unless that can move.
    pub fn client_gone(&mut self, now: Now, client: &FiveTuple) {
        if let Some(slot) = self.find(client) {
            self.old_path_closed(now, slot);
        }
        self.new_path_closed(client);
    }

    /// What to do or to tell besides outcomes, oldest first.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Engine::handle_timeout`] is to be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Ends what is over.
    pub fn handle_timeout(&mut self, clocks: Now) {
        let now = clocks.instant;
        while let Some((at, slot)) = self.timers.pop_due(now) {
            let Some(allocation) = self.allocations.get_mut(slot as usize) else {
                continue;
            };
            if allocation.timer != at {
                continue; // an entry that was replaced, or one of the slot's former tenant
            }
            if allocation.relays.expires() <= now {
                self.close_expired(slot, now);
                continue;
            }
            self.end_overdue_relay(slot, now);
            self.end_overdue_connections(clocks, slot);
            let Some(allocation) = self.allocations.get_mut(slot as usize) else {
                continue;
            };
            let events = &mut self.events;
            allocation.forget_expired(now, |change| events.push_back(change.into()));
            allocation.sync_routes(now, |change| events.push_back(change.into()));
            allocation.timer = allocation.next_deadline(now);
            self.timers.arm(allocation.timer, slot);
        }
    }

    /// Ends every allocation.
    pub fn shut_down(&mut self, now: Now) {
        let slots: Vec<usize> = self.allocations.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.close(slot as Slot, now.instant, CloseReason::Shutdown);
        }
    }

    /// Ends every allocation, and those in the making, after a failure of the worker.
    pub fn abandon(&mut self, now: Now) {
        // Not by the clients: one that was being made may not be known by its client yet.
        let slots: Vec<Slot> = self
            .allocations
            .iter()
            .map(|(slot, _)| slot as Slot)
            .collect();
        for slot in slots {
            self.close(slot, now.instant, CloseReason::WorkerFailed);
        }
        // Their ports go back with them.
        self.pending.clear();
    }

    /// The channel numbers that clients may bind.
    #[must_use]
    pub fn channels(&self) -> ChannelRange {
        self.rules().channels
    }

    /// Whether a client has an allocation, over or not, or one may come to it.
    #[must_use]
    pub fn has_allocation(&self, client: &FiveTuple) -> bool {
        self.find(client).is_some() || self.paths.is_allowed(client)
    }

    /// How many allocations there are.
    #[must_use]
    pub fn allocation_count(&self) -> usize {
        self.allocations.len()
    }

    /// How many 5-tuples wait for an allocation to come to them (RFC 8016).
    #[must_use]
    pub fn waiting_paths(&self) -> usize {
        self.paths.len()
    }

    /// The allocations there are, with what passed through them so far.
    pub fn sessions(&self) -> impl Iterator<Item = Session<'_>> {
        self.allocations.iter().map(|(_, allocation)| Session {
            id: allocation.id,
            user: &allocation.holder.user,
            client: allocation.client,
            relayed: allocation.relays.addresses(),
            created: allocation.created,
            usage: allocation.usage_now(),
        })
    }

    /// What this engine counts.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn rules(&self) -> &Rules {
        &self.shared.rules
    }

    fn drop(&self, reason: DropReason) -> Outcome {
        self.counters.dropped(reason);
        Outcome::Nothing
    }

    #[inline]
    fn find(&self, tuple: &FiveTuple) -> Option<Slot> {
        let hash = self.hasher.hash_one(tuple);
        self.by_tuple
            .find(hash, |slot| {
                self.allocations
                    .get(*slot as usize)
                    .is_some_and(|a| a.client.tuple == *tuple)
            })
            .copied()
    }

    /// The allocation of a 5-tuple, if it is not over. One that is over is closed on the spot, and so is one of its two
    /// relays, so that a late timer changes nothing.
    fn find_live(&mut self, tuple: &FiveTuple, now: Instant) -> Option<Slot> {
        let slot = self.find(tuple)?;
        let expires = self.allocations.get(slot as usize)?.relays.expires();
        if expires <= now {
            self.close_expired(slot, now);
            return None;
        }
        self.end_overdue_relay(slot, now);
        Some(slot)
    }

    /// Ends the relay of an allocation whose other one lives on.
    fn end_overdue_relay(&mut self, slot: Slot, now: Instant) {
        let over = self.allocations.get(slot as usize).and_then(|allocation| {
            let mut relays = allocation.relays.iter();
            let over = relays.find(|relay| relay.expires <= now)?;
            Some(Family::of(&over.address.local))
        });
        if let Some(family) = over {
            self.close_relay(slot, family, now);
        }
    }

    /// Puts the timer of an allocation where its next deadline is, if that came nearer.
    fn rearm(&mut self, slot: Slot, now: Instant) {
        if let Some(allocation) = self.allocations.get_mut(slot as usize) {
            let at = allocation.next_deadline(now);
            if at < allocation.timer {
                allocation.timer = at;
                self.timers.arm(at, slot);
            }
        }
    }

    fn sync_routes(&mut self, slot: Slot, now: Instant) {
        let events = &mut self.events;
        if let Some(allocation) = self.allocations.get_mut(slot as usize) {
            allocation.sync_routes(now, |change| events.push_back(change.into()));
        }
    }

    /// Enters an allocation under its 5-tuple.
    fn link(&mut self, slot: Slot) {
        let Some(allocation) = self.allocations.get(slot as usize) else {
            return;
        };
        let hash = self.hasher.hash_one(allocation.client.tuple);
        let (allocations, hasher) = (&self.allocations, &self.hasher);
        self.by_tuple.insert_unique(hash, slot, |slot| {
            allocations
                .get(*slot as usize)
                .map_or(0, |a| hasher.hash_one(a.client.tuple))
        });
    }

    /// Takes an allocation away from its 5-tuple.
    fn unlink(&mut self, tuple: &FiveTuple, slot: Slot) {
        let hash = self.hasher.hash_one(tuple);
        if let Ok(entry) = self.by_tuple.find_entry(hash, |other| *other == slot) {
            entry.remove();
        }
    }

    fn unroute(&mut self, slot: Slot) {
        let events = &mut self.events;
        if let Some(allocation) = self.allocations.get_mut(slot as usize) {
            allocation.unroute(|change| events.push_back(change.into()));
        }
    }

    fn sweep_timers(&mut self) {
        let allocations = &self.allocations;
        self.timers.sweep(allocations.len(), |at, slot| {
            allocations
                .get(slot as usize)
                .is_some_and(|a| a.timer == at)
        });
    }

    /// Ends an allocation: the one way out for all of them.
    fn close(&mut self, slot: Slot, now: Instant, reason: CloseReason) {
        let Some(mut allocation) = self.allocations.try_remove(slot as usize) else {
            return;
        };
        if !allocation.is_away() {
            self.unlink(&allocation.client.tuple, slot);
        }
        if let Some(mut mobile) = allocation.mobile.take() {
            self.leave_mobile(allocation.id, &mut mobile);
        }
        let removed = allocation.routes().map(Event::RouteRemoved);
        self.events.extend(removed);
        end_connections(&mut allocation, |_| true, &self.shared, &mut self.events);
        self.sweep_timers();
        for relay in allocation.relays.iter() {
            self.give_up(relay, allocation.lease.rest(), now);
        }
        self.counters.allocations_closed.add(1);
        let lived = now.since(allocation.created);
        self.counters.lifetimes.record(lived);
        self.events.push_back(Event::Closed(Box::new(Closed {
            id: allocation.id,
            user: allocation.holder.user,
            client: allocation.client,
            relayed: allocation.relays.addresses(),
            duration: lived,
            usage: allocation.usage,
            reason,
        })));
    }

    /// Ends one of an allocation's two relays; the other lives on.
    fn close_relay(&mut self, slot: Slot, family: Family, now: Instant) {
        let (shared, events) = (&self.shared, &mut self.events);
        let relay = self
            .allocations
            .get_mut(slot as usize)
            .and_then(|allocation| {
                let of_family = |held: &Held| Family::of(&held.peer) == family;
                end_connections(allocation, of_family, shared, events);
                let removed =
                    allocation.remove_relay(family, |change| events.push_back(change.into()));
                removed.map(|relay| (relay, allocation.lease.rest()))
            });
        if let Some((relay, resting)) = relay {
            self.give_up(&relay, resting, now);
        }
    }

    fn give_up(&mut self, relay: &Relay, resting: Resting, now: Instant) {
        self.relays.try_remove(relay.id.0 as usize);
        self.events.push_back(Event::CloseRelay(relay.id));
        self.shared.relays.rest(relay.address, now, Some(resting));
    }

    fn random<const N: usize>(&mut self) -> [u8; N] {
        self.rng.random()
    }
}

impl From<RouteChange> for Event {
    fn from(change: RouteChange) -> Event {
        match change {
            RouteChange::Added(route) => Event::RouteAdded(route),
            RouteChange::Removed(route) => Event::RouteRemoved(route),
        }
    }
}
