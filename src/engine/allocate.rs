//! Allocate: the one road to an allocation (RFC 8656 §7.2).
//!
//! The request is checked in the RFC's order, then waits in [`Pending`] while the caller binds a socket to the
//! address the pool chose, and is answered from [`Engine::relay_opened`].

use super::allocation::{Allocation, Channels, Permissions, Relay, Relays};
use super::authenticate::{Authorized, Holder};
use super::connections::Connections;
use super::counters::RefusalReason;
use super::new_peers::NewPeers;
use super::outcome::{
    AllocationId, OpenRelay, Opened, RelayError, RelayId, RelayProtocol, Ticket, Usage,
};
use super::relays::{Owner, PortWish, RelayedAddress, ReservationToken};
use super::respond::Asked;
use super::taken_port::TakenPort;
use super::timers::Slot;
use super::{ClientPath, Engine, Event, Instant, Now, Outcome, Transport};
use crate::policy::{Circle, Lease, QuotaExceeded};
use crate::wire::attribute::{Family, Malformed};
use crate::wire::{AttributeType, ErrorCode, Message, Method, Writer};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Protocol numbers.
const UDP: u8 = 17;
const TCP: u8 = 6;

/// How many ports are tried when other programs have them.
const PORT_TRIES: u8 = 8;

/// An allocation in the making.
#[derive(Debug)]
pub(super) struct Pending {
    client: ClientPath,
    asked: Asked,
    holder: Holder,
    circle: Circle,
    is_mobile: bool,
    lifetime: u32,
    protocol: RelayProtocol,
    wish: PortWish,
    lease: Lease,
    /// What the port counts under that is to be held beside an even one.
    held: Option<Lease>,
    /// Who may have it.
    reservation_owner: Arc<str>,
    /// The families that are still to be opened, first one last.
    families: Families,
    /// What is opened already.
    opened: [Option<Opening>; 2],
    /// The family that could not be had, and why.
    missing: Option<(Family, ErrorCode)>,
    /// What the caller is binding.
    current: Option<Opening>,
    tries_left: u8,
}

/// A relay being opened, or open.
#[derive(Debug)]
struct Opening {
    relay: RelayId,
    port: TakenPort,
}

/// Which relays are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Families {
    None,
    One(Family),
    /// IPv4, then IPv6 (ADDITIONAL-ADDRESS-FAMILY).
    Both,
}

impl Families {
    fn take_first(&mut self) -> Option<Family> {
        let (first, rest) = match *self {
            Families::None => return None,
            Families::One(family) => (family, Families::None),
            Families::Both => (Family::V4, Families::One(Family::V6)),
        };
        *self = rest;
        Some(first)
    }
}

/// What an Allocate asks for.
struct Wanted {
    lifetime: Option<u32>,
    protocol: RelayProtocol,
    dont_fragment: bool,
    relay: WantedRelay,
}

enum WantedRelay {
    Reserved(ReservationToken),
    New(Families, PortWish),
}

impl Wanted {
    /// Steps 3 to 8 of RFC 8656 §7.2, with what RFC 6062 §5.1 adds where TCP relays are allowed.
    fn read(message: &Message<'_>, client: Transport, allows_tcp: bool) -> Result<Self, ErrorCode> {
        let bad = |_: Malformed| ErrorCode::BadRequest;
        let attribute = |kind| message.attribute(kind);
        let transport = attribute(AttributeType::REQUESTED_TRANSPORT)
            .ok_or(ErrorCode::BadRequest)?
            .requested_transport()
            .map_err(bad)?;
        let protocol = match transport {
            UDP => RelayProtocol::Udp,
            TCP if allows_tcp => RelayProtocol::Tcp,
            _ => return Err(ErrorCode::UnsupportedTransport),
        };
        let for_datagrams = [
            AttributeType::DONT_FRAGMENT,
            AttributeType::EVEN_PORT,
            AttributeType::RESERVATION_TOKEN,
        ];
        if protocol == RelayProtocol::Tcp
            && (!client.is_stream() || for_datagrams.iter().any(|kind| attribute(*kind).is_some()))
        {
            return Err(ErrorCode::BadRequest);
        }
        let dont_fragment = attribute(AttributeType::DONT_FRAGMENT)
            .map(|a| a.dont_fragment())
            .transpose()
            .map_err(bad)?
            .is_some();
        let lifetime = attribute(AttributeType::LIFETIME)
            .map(|a| a.lifetime())
            .transpose()
            .map_err(bad)?;
        let even = attribute(AttributeType::EVEN_PORT)
            .map(|a| a.even_port_reserves())
            .transpose()
            .map_err(bad)?;
        let family = attribute(AttributeType::REQUESTED_ADDRESS_FAMILY)
            .map(|a| a.address_family())
            .transpose()
            .map_err(bad)?;
        let additional = attribute(AttributeType::ADDITIONAL_ADDRESS_FAMILY);
        if let Some(token) = attribute(AttributeType::RESERVATION_TOKEN) {
            let token = token.reservation_token().map_err(bad)?;
            if even.is_some() || family.is_some() || additional.is_some() {
                return Err(ErrorCode::BadRequest);
            }
            return Ok(Wanted {
                lifetime,
                protocol,
                dont_fragment,
                relay: WantedRelay::Reserved(token),
            });
        }
        let families = match (family, additional) {
            (None, None) => Families::One(Family::V4),
            (Some(code), None) => {
                Families::One(Family::from_code(code).ok_or(ErrorCode::AddressFamilyNotSupported)?)
            }
            // Only IPv6 can be additional (RFC 8656 §7.2, step 9), and no reservation goes with it (step 8).
            (None, Some(additional)) if even != Some(true) => {
                match additional.address_family().map(Family::from_code) {
                    Ok(Some(Family::V6)) => Families::Both,
                    _ => return Err(ErrorCode::BadRequest),
                }
            }
            _ => return Err(ErrorCode::BadRequest),
        };
        let wish = match even {
            None => PortWish::Any,
            Some(false) => PortWish::Even,
            Some(true) => PortWish::EvenAndNext,
        };
        Ok(Wanted {
            lifetime,
            protocol,
            dont_fragment,
            relay: WantedRelay::New(families, wish),
        })
    }
}

impl Engine {
    pub(super) fn allocate(
        &mut self,
        now: Now,
        client: &ClientPath,
        existing: Option<Slot>,
        request: &Authorized<'_>,
        reply: &mut [u8],
    ) -> Outcome {
        if let Some(allocation) = existing.and_then(|slot| self.allocations.get(slot as usize)) {
            // The request that made it comes again: the answer was lost.
            if allocation.created_by == request.asked.transaction
                && allocation.holder.is_same(&request.holder)
            {
                return self.succeed(&request.asked, reply, |writer| {
                    describe(writer, allocation, now);
                });
            }
            return self.fail(&request.asked, ErrorCode::AllocationMismatch, reply);
        }
        if let Some(elsewhere) = self.redirect(now, client, request, reply) {
            return elsewhere;
        }
        if self.rules().draining {
            self.telling
                .refused(&self.counters, RefusalReason::Draining);
            return self.fail(&request.asked, ErrorCode::InsufficientCapacity, reply);
        }
        match self.begin(now, client, request) {
            Ok(pending) => self.advance(now, pending, reply),
            Err(code) => self.fail_with(&request.asked, code, reply, |writer| {
                if code == ErrorCode::UnknownAttribute {
                    writer.unknown_attributes(std::iter::once(AttributeType::DONT_FRAGMENT));
                }
            }),
        }
    }

    /// Checks the request and the quotas.
    fn begin(
        &mut self,
        now: Now,
        client: &ClientPath,
        request: &Authorized<'_>,
    ) -> Result<Pending, ErrorCode> {
        let circle = self.shared.relays.circle(&request.holder.quota_name);
        // A connection would leave a confined user's circle. Who asks for one gets 442 as where there are no TCP relays at
        // all, and not 403, since clients go on to ask for UDP then.
        let allows_tcp = self.rules().tcp.enabled && !circle.is_confined();
        let wanted = Wanted::read(&request.message, client.tuple.transport(), allows_tcp)?;
        let is_mobile = self.wants_mobility(&request.message, wanted.protocol)?;
        // Don't Fragment of an IPv4 client's packets is not seen here, so it cannot be translated (RFC 8656 §3.7).
        let translates = client.tuple.client().is_ipv4() && !client.tuple.transport().is_stream();
        if wanted.dont_fragment
            && translates
            && matches!(
                wanted.relay,
                WantedRelay::New(Families::One(Family::V6) | Families::Both, _)
            )
        {
            return Err(ErrorCode::UnknownAttribute);
        }
        if let WantedRelay::New(Families::One(family), _) = wanted.relay
            && !self.shared.relays.supports(family)
        {
            return Err(ErrorCode::AddressFamilyNotSupported);
        }
        if is_transition_address(client.tuple.client().ip()) {
            return Err(ErrorCode::Forbidden);
        }
        // Reservations and quarantines that are over must not count any more.
        self.shared.relays.end_reservations(now.instant);
        self.shared.relays.end_quarantines(now.instant);
        let (lease, held, reserved) = match wanted.relay {
            WantedRelay::New(_, wish) => {
                let lease = self.admit(client, request)?;
                let holds = wish == PortWish::EvenAndNext;
                let held = holds.then(|| self.admit(client, request)).transpose()?;
                (lease, held, None)
            }
            WantedRelay::Reserved(token) => {
                let owner = request.reservation_owner();
                let redeemed = self.shared.relays.redeem(token, owner, now.instant);
                let Ok((relayed, lease)) = redeemed else {
                    self.telling.refused(&self.counters, RefusalReason::NoPort);
                    return Err(ErrorCode::InsufficientCapacity);
                };
                let opening = self.opening(relayed, PortWish::Any, now.instant);
                (lease, None, Some(opening))
            }
        };
        let (families, wish, tries_left) = match wanted.relay {
            WantedRelay::New(families, wish) => (families, wish, PORT_TRIES),
            WantedRelay::Reserved(_) => (Families::None, PortWish::Any, 0),
        };
        Ok(Pending {
            client: *client,
            asked: request.asked,
            holder: request.holder.clone(),
            circle,
            is_mobile,
            lifetime: self.rules().lifetime_until(
                wanted.lifetime,
                now.instant,
                self.rules().ends_with(&request.holder, circle),
            ),
            protocol: wanted.protocol,
            wish,
            lease,
            held,
            reservation_owner: request.reservation_owner().clone(),
            families,
            opened: [None, None],
            missing: None,
            current: reserved,
            tries_left,
        })
    }

    fn admit(&self, client: &ClientPath, request: &Authorized<'_>) -> Result<Lease, ErrorCode> {
        self.shared
            .quotas
            .admit_in(
                request.holder.group(),
                &request.holder.quota_name,
                client.tuple.client().ip(),
            )
            .map_err(|exceeded| self.refuse_quota(exceeded))
    }

    fn opening(&mut self, relayed: RelayedAddress, wish: PortWish, now: Instant) -> Opening {
        Opening {
            port: TakenPort::new(&self.shared.relays, relayed, wish, now),
            relay: RelayId(self.relays.insert(Slot::MAX) as u32),
        }
    }

    /// Asks for the next relay to be bound, or answers when there is none left to ask for.
    fn advance(&mut self, now: Now, mut pending: Pending, reply: &mut [u8]) -> Outcome {
        while pending.current.is_none() {
            let Some(family) = pending.families.take_first() else {
                return self.complete(now, pending, reply);
            };
            let relays = &self.shared.relays;
            if !relays.supports(family) {
                pending.missing = Some((family, ErrorCode::AddressFamilyNotSupported));
                continue;
            }
            match relays.take(family, pending.wish, now.instant, &mut self.rng) {
                Ok(relayed) => {
                    let opening = self.opening(relayed, pending.wish, now.instant);
                    pending.current = Some(opening);
                }
                Err(_) => {
                    self.telling.refused(&self.counters, RefusalReason::NoPort);
                    pending.missing = Some((family, ErrorCode::InsufficientCapacity));
                }
            }
        }
        let Some(Opening { relay, port }) = &pending.current else {
            return Outcome::Nothing; // the loop above ends with one
        };
        let (relay, relayed) = (*relay, port.relayed());
        let protocol = pending.protocol;
        let ticket = Ticket(self.pending.insert(pending) as u32);
        Outcome::OpenRelay(OpenRelay {
            ticket,
            relay,
            protocol,
            address: relayed.local,
        })
    }

    pub(super) fn refuse_quota(&self, exceeded: QuotaExceeded) -> ErrorCode {
        let (reason, code) = match exceeded {
            QuotaExceeded::User => (RefusalReason::UserQuota, ErrorCode::AllocationQuotaReached),
            QuotaExceeded::Resting => (
                RefusalReason::UserQuarantine,
                ErrorCode::AllocationQuotaReached,
            ),
            QuotaExceeded::Group => (RefusalReason::KeyQuota, ErrorCode::AllocationQuotaReached),
            QuotaExceeded::Source => (
                RefusalReason::SourceQuota,
                ErrorCode::AllocationQuotaReached,
            ),
            QuotaExceeded::Total => (RefusalReason::TotalQuota, ErrorCode::InsufficientCapacity),
        };
        self.telling.refused(&self.counters, reason);
        code
    }

    /// Goes on with an Allocate once its relay is bound or could not be. The outcome is an answer for the client that
    /// asked, or another address to try.
    pub fn relay_opened(
        &mut self,
        now: Now,
        ticket: Ticket,
        result: Result<(), RelayError>,
        reply: &mut [u8],
    ) -> Outcome {
        let Some(pending) = self.pending.try_remove(ticket.0 as usize) else {
            return Outcome::Nothing;
        };
        let (client, user) = (pending.client.tuple, pending.holder.user.clone());
        self.telling.begin();
        let outcome = self.go_on(now, pending, result, reply);
        self.tell_refusal(now, client, &user, Method::ALLOCATE);
        outcome
    }

    fn go_on(
        &mut self,
        now: Now,
        mut pending: Pending,
        result: Result<(), RelayError>,
        reply: &mut [u8],
    ) -> Outcome {
        let Some(current) = pending.current.take() else {
            return Outcome::Nothing; // every ticket is for one
        };
        let family = Family::of(&current.port.relayed().local);
        match result {
            Ok(()) => {
                if let Some(place) = pending.opened.iter_mut().find(|place| place.is_none()) {
                    *place = Some(current);
                }
            }
            Err(error) => {
                self.relays.try_remove(current.relay.0 as usize);
                match error {
                    // It will hardly be free at once, so it rests.
                    RelayError::PortInUse => drop(current.port),
                    RelayError::Unavailable => current.port.give_back(),
                }
                if error == RelayError::PortInUse && pending.tries_left > 0 {
                    pending.tries_left -= 1;
                    pending.families = match pending.families {
                        Families::None => Families::One(family),
                        _ => Families::Both,
                    };
                } else {
                    self.telling.refused(
                        &self.counters,
                        match error {
                            RelayError::PortInUse => RefusalReason::NoPort,
                            RelayError::Unavailable => RefusalReason::NoSocket,
                        },
                    );
                    pending.missing = Some((family, ErrorCode::InsufficientCapacity));
                }
            }
        }
        self.advance(now, pending, reply)
    }

    fn complete(&mut self, now: Now, mut pending: Pending, reply: &mut [u8]) -> Outcome {
        let now_instant = now.instant;
        let Some(first) = pending.opened.iter_mut().flatten().next() else {
            // With two families wanted and neither to be had, the client learns of the capacity (step 9).
            return self.fail(&pending.asked, ErrorCode::InsufficientCapacity, reply);
        };
        let reservation = pending.held.map(|held| {
            first.port.next_is_reserved();
            self.shared.relays.reserve_next(
                first.port.relayed(),
                &pending.reservation_owner,
                held,
                now_instant,
                &mut self.rng,
            )
        });
        let expires = now_instant
            .after_seconds(pending.lifetime)
            .at_most(pending.holder.token_ends);
        let mut relays = Relays::default();
        for opening in pending.opened.iter().flatten() {
            relays.insert(Relay {
                id: opening.relay,
                address: opening.port.relayed(),
                expires,
                is_heard: false,
            });
        }
        let id = AllocationId(u64::from_be_bytes(self.random()));
        let mobile = pending.is_mobile.then(|| self.first_ticket(id)).flatten();
        let is_mobile = mobile.is_some();
        let user = pending.holder.user.clone();
        let circle = pending.circle;
        let allocation = Allocation {
            id,
            client: pending.client,
            holder: pending.holder,
            created_by: pending.asked.transaction,
            created: now_instant,
            timer: expires,
            relays,
            missing: pending.missing,
            reservation,
            permissions: Permissions::default(),
            channels: Channels::default(),
            connections: (pending.protocol == RelayProtocol::Tcp).then(Box::<Connections>::default),
            usage: Usage::default(),
            icmp: (0, 0),
            mobile,
            new_peers: NewPeers::default(),
            circle,
            meter: self
                .shared
                .bandwidth
                .meter(pending.lease.user(), pending.lease.group()),
            lease: pending.lease,
        };
        let slot = self.allocations.vacant_key() as Slot;
        for Opening { relay, port } in pending.opened.into_iter().flatten() {
            if let Some(slot_of_relay) = self.relays.get_mut(relay.0 as usize) {
                *slot_of_relay = slot;
            }
            let worker = self.worker;
            let owner = Owner {
                worker,
                relay,
                circle,
            };
            let pool = &self.shared.relays;
            pool.publish(port.relayed(), pending.protocol, owner);
            // From here on it goes back with the allocation.
            port.keep();
        }
        self.allocations.insert(allocation);
        if is_mobile {
            self.enter_mobile(id, slot);
        }
        self.link(slot);
        self.timers.arm(expires, slot);
        self.counters.allocations_opened.add(1);
        self.events.push_back(Event::Opened(Box::new(Opened {
            id,
            user,
            client: pending.client,
            relayed: relays.addresses(),
            lifetime: expires.since(now_instant),
        })));
        let allocations = &self.allocations;
        self.succeed(&pending.asked, reply, |writer| {
            if let Some(allocation) = allocations.get(slot as usize) {
                describe(writer, allocation, now);
            }
        })
    }
}

/// The attributes of an Allocate success.
fn describe(writer: &mut Writer<'_>, allocation: &Allocation, now: Now) {
    let lifetime = allocation.relays.expires().seconds_since(now.instant);
    let reflexive: SocketAddr = allocation.client.tuple.client();
    for relay in allocation.relays.iter() {
        writer.xor_address(AttributeType::XOR_RELAYED_ADDRESS, relay.address.advertised);
    }
    writer
        .number(AttributeType::LIFETIME, lifetime)
        .xor_address(AttributeType::XOR_MAPPED_ADDRESS, reflexive);
    if let Some((family, code)) = allocation.missing {
        writer.address_error_code(family, code);
    }
    if let Some(token) = allocation.reservation {
        writer.attribute(AttributeType::RESERVATION_TOKEN, &token);
    }
    if let Some(mobile) = &allocation.mobile {
        writer.attribute(AttributeType::MOBILITY_TICKET, mobile.ticket.as_bytes());
    }
}

/// Teredo and 6to4 clients may not allocate (RFC 8656 §21.4).
pub(super) fn is_transition_address(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => matches!(ip.segments(), [0x2002, ..] | [0x2001, 0, ..]),
    }
}
