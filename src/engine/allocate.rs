//! Allocate: the one road to an allocation (RFC 8656 §7.2).
//!
//! The request is checked in the RFC's order, then waits in [`Pending`] while the caller binds a socket to the
//! address the pool chose, and is answered from [`Engine::relay_opened`].

use super::allocation::{Allocation, Channels, Permissions};
use super::counters::RefusalReason;
use super::outcome::{AllocationId, OpenRelay, Opened, RelayError, RelayId, Ticket, Usage};
use super::relays::{Owner, PortWish, RelayedAddress, ReservationToken};
use super::requests::Authorized;
use super::respond::Asked;
use super::timers::Slot;
use super::{ClientPath, Engine, Event, Now, Outcome};
use crate::policy::{Lease, QuotaExceeded};
use crate::wire::attribute::{Family, Malformed};
use crate::wire::{AttributeType, ErrorCode, Key, Message, Writer};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// UDP's protocol number.
const UDP: u8 = 17;

/// How many ports are tried when other programs have them.
const PORT_TRIES: u8 = 8;

/// An allocation in the making.
#[derive(Debug)]
pub(super) struct Pending {
    client: ClientPath,
    asked: Asked,
    user: Arc<str>,
    key: Key,
    lifetime: u32,
    wish: PortWish,
    family: Family,
    relay: RelayId,
    relayed: RelayedAddress,
    lease: Lease,
    tries_left: u8,
}

/// What an Allocate asks for.
struct Wanted {
    lifetime: Option<u32>,
    relay: WantedRelay,
}

enum WantedRelay {
    Reserved(ReservationToken),
    New(Family, PortWish),
}

impl Wanted {
    /// Steps 3 to 8 of RFC 8656 §7.2.
    fn read(message: &Message<'_>) -> Result<Self, ErrorCode> {
        let bad = |_: Malformed| ErrorCode::BadRequest;
        let attribute = |kind| message.attribute(kind);
        let transport = attribute(AttributeType::REQUESTED_TRANSPORT)
            .ok_or(ErrorCode::BadRequest)?
            .requested_transport()
            .map_err(bad)?;
        if transport != UDP {
            return Err(ErrorCode::UnsupportedTransport);
        }
        if let Some(dont_fragment) = attribute(AttributeType::DONT_FRAGMENT) {
            dont_fragment.dont_fragment().map_err(bad)?;
        }
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
                relay: WantedRelay::Reserved(token),
            });
        }
        if additional.is_some() && (family.is_some() || even == Some(true)) {
            return Err(ErrorCode::BadRequest);
        }
        let family = match family {
            None => Family::V4,
            Some(code) => Family::from_code(code).ok_or(ErrorCode::AddressFamilyNotSupported)?,
        };
        let wish = match even {
            None => PortWish::Any,
            Some(false) => PortWish::Even,
            Some(true) => PortWish::EvenAndNext,
        };
        Ok(Wanted {
            lifetime,
            relay: WantedRelay::New(family, wish),
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
            if allocation.created_by == request.asked.transaction && allocation.user == request.user
            {
                return self.succeed(&request.asked, reply, |writer| {
                    describe(writer, allocation, now);
                });
            }
            return self.fail(&request.asked, ErrorCode::AllocationMismatch, reply);
        }
        match self.begin(now, client, request) {
            Ok(open) => Outcome::OpenRelay(open),
            Err(code) => self.fail(&request.asked, code, reply),
        }
    }

    /// Checks the request and takes an address for it; what it took is given back wherever it fails.
    fn begin(
        &mut self,
        now: Now,
        client: &ClientPath,
        request: &Authorized<'_>,
    ) -> Result<OpenRelay, ErrorCode> {
        let wanted = Wanted::read(&request.message)?;
        if let WantedRelay::New(family, _) = wanted.relay
            && !self.shared.relays.supports(family)
        {
            return Err(ErrorCode::AddressFamilyNotSupported);
        }
        if is_transition_address(client.tuple.client().ip()) {
            return Err(ErrorCode::Forbidden);
        }
        let lease = self
            .shared
            .quotas
            .admit(&request.quota_name, client.tuple.client().ip())
            .map_err(|exceeded| self.refuse_quota(exceeded))?;
        let taken = match wanted.relay {
            WantedRelay::New(family, wish) => self
                .shared
                .relays
                .take(family, wish, now.instant, &mut self.rng)
                .map(|relayed| (relayed, wish)),
            WantedRelay::Reserved(token) => self
                .shared
                .relays
                .redeem(token, &request.user, now.instant)
                .map(|relayed| (relayed, PortWish::Any)),
        };
        let Ok((relayed, wish)) = taken else {
            self.counters.refused(RefusalReason::NoPort);
            return Err(ErrorCode::InsufficientCapacity);
        };
        let relay = RelayId(self.relays.insert(Slot::MAX) as u32);
        let ticket = self.pending.insert(Pending {
            client: *client,
            asked: request.asked,
            user: request.user.clone(),
            key: request.key,
            lifetime: self.rules().lifetime(wanted.lifetime),
            wish,
            family: Family::of(&relayed.local),
            relay,
            relayed,
            lease,
            tries_left: match wanted.relay {
                WantedRelay::New(..) => PORT_TRIES,
                WantedRelay::Reserved(_) => 0,
            },
        });
        Ok(OpenRelay {
            ticket: Ticket(ticket as u32),
            relay,
            address: relayed.local,
        })
    }

    fn refuse_quota(&self, exceeded: QuotaExceeded) -> ErrorCode {
        let (reason, code) = match exceeded {
            QuotaExceeded::User => (RefusalReason::UserQuota, ErrorCode::AllocationQuotaReached),
            QuotaExceeded::Source => (
                RefusalReason::SourceQuota,
                ErrorCode::AllocationQuotaReached,
            ),
            QuotaExceeded::Total => (RefusalReason::TotalQuota, ErrorCode::InsufficientCapacity),
        };
        self.counters.refused(reason);
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
        let Some(mut pending) = self.pending.try_remove(ticket.0 as usize) else {
            return Outcome::Nothing;
        };
        let Err(error) = result else {
            return self.complete(now, pending, reply);
        };
        self.give_back(now, &pending);
        if error == RelayError::PortInUse && pending.tries_left > 0 {
            pending.tries_left -= 1;
            if let Ok(relayed) =
                self.shared
                    .relays
                    .take(pending.family, pending.wish, now.instant, &mut self.rng)
            {
                pending.relayed = relayed;
                let relay = pending.relay;
                let ticket = Ticket(self.pending.insert(pending) as u32);
                return Outcome::OpenRelay(OpenRelay {
                    ticket,
                    relay,
                    address: relayed.local,
                });
            }
        }
        self.relays.try_remove(pending.relay.0 as usize);
        self.counters.refused(match error {
            RelayError::PortInUse => RefusalReason::NoPort,
            RelayError::Unavailable => RefusalReason::NoSocket,
        });
        self.fail(&pending.asked, ErrorCode::InsufficientCapacity, reply)
    }

    fn give_back(&self, now: Now, pending: &Pending) {
        let relays = &self.shared.relays;
        relays.release(pending.relayed, now.instant);
        if pending.wish == PortWish::EvenAndNext {
            relays.release(pending.relayed.next_port(), now.instant);
        }
    }

    fn complete(&mut self, now: Now, pending: Pending, reply: &mut [u8]) -> Outcome {
        let now_instant = now.instant;
        let reservation = (pending.wish == PortWish::EvenAndNext).then(|| {
            self.shared.relays.reserve_next(
                pending.relayed,
                &pending.user,
                now_instant,
                &mut self.rng,
            )
        });
        let expires = now_instant.after_seconds(pending.lifetime);
        let id = AllocationId(u64::from_be_bytes(self.random()));
        let slot = self.allocations.insert(Allocation {
            id,
            client: pending.client,
            user: pending.user.clone(),
            key: pending.key,
            created_by: pending.asked.transaction,
            created: now_instant,
            expires,
            timer: expires,
            relay: pending.relay,
            relayed: pending.relayed,
            reservation,
            permissions: Permissions::default(),
            channels: Channels::default(),
            usage: Usage::default(),
            _lease: pending.lease,
        }) as Slot;
        if let Some(relay) = self.relays.get_mut(pending.relay.0 as usize) {
            *relay = slot;
        }
        let hash = self.hasher.hash_one(pending.client.tuple);
        let (allocations, hasher) = (&self.allocations, &self.hasher);
        self.by_tuple.insert_unique(hash, slot, |slot| {
            allocations
                .get(*slot as usize)
                .map_or(0, |a| hasher.hash_one(a.client.tuple))
        });
        self.timers.arm(expires, slot);
        self.shared.relays.publish(
            pending.relayed,
            Owner {
                worker: self.worker,
                relay: pending.relay,
            },
        );
        self.counters.allocations_opened.add(1);
        self.events.push_back(Event::Opened(Box::new(Opened {
            id,
            user: pending.user,
            client: pending.client,
            relayed: pending.relayed,
            lifetime: Duration::from_secs(pending.lifetime.into()),
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
    let left = allocation.expires.since(now.instant);
    let lifetime = u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
    let reflexive: SocketAddr = allocation.client.tuple.client();
    writer
        .xor_address(
            AttributeType::XOR_RELAYED_ADDRESS,
            allocation.relayed.advertised,
        )
        .number(AttributeType::LIFETIME, lifetime)
        .xor_address(AttributeType::XOR_MAPPED_ADDRESS, reflexive);
    if let Some(token) = allocation.reservation {
        writer.attribute(AttributeType::RESERVATION_TOKEN, &token);
    }
}

/// Teredo and 6to4 clients may not allocate (RFC 8656 §21.4).
fn is_transition_address(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => matches!(ip.segments(), [0x2002, ..] | [0x2001, 0, ..]),
    }
}
