//! Mobility (RFC 8016): an allocation follows its client to another 5-tuple, and to the worker that this lands on.
//!
//! A client that may move has a ticket, the text of which is [`crate::auth::TicketKey`]'s. It shows the ticket in a
//! Refresh from its new 5-tuple. Its credentials are proved there; the worker that has the allocation judges the rest
//! and notes the new path as the next one. From then on either may happen: the client uses the new path, or the old
//! one closes, and the allocation moves; or it goes on with the old one, and nothing changes.
//!
//! Where the new path is another worker's, `letters` carries the question there and back, and in the end the allocation
//! as a whole. Between the two workers it belongs to neither, and what peers send meanwhile waits in the relays' sockets.
//!
//! An allocation whose client's connection closed is away: it relays nothing to its client, and waits for a Refresh with
//! its ticket as long as its lifetime goes.
//!
//! Main types: [`MobileAllocations`], [`Mobile`].

use super::RelayProtocol;
use super::allocate::is_transition_address;
use super::allocation::Allocation;
use super::authenticate::Authorized;
use super::counters::AuthFailureReason;
use super::letters::{About, Ask, Content};
use super::outcome::{AllocationId, Arrived, Message, Moved, RelayId, WorkerId};
use super::relays::Owner;
use super::requests::{RefreshWish, scope_of};
use super::timers::Slot;
use super::{ClientPath, CloseReason, Engine, Event, FiveTuple, Instant, Now, Outcome};
use crate::auth::{MobilityTicket, SealedTicket, TicketKey};
use crate::wire::{AttributeType, Authenticated, ErrorCode, TransactionId};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the Refresh that moved an allocation may be repeated with its old ticket (RFC 8016 §3.2.2: at least that).
const REPEAT_TIME: Duration = Duration::from_secs(30);

/// Which worker has which mobile allocation, of the whole server.
#[derive(Debug, Default)]
pub struct MobileAllocations {
    workers: Mutex<HashMap<AllocationId, WorkerId>>,
}

impl MobileAllocations {
    fn lock(&self) -> MutexGuard<'_, HashMap<AllocationId, WorkerId>> {
        // Each operation is one change of the map, so a poisoned lock holds a good map.
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worker that has an allocation, or that it is on its way to.
    pub(super) fn worker_of(&self, id: AllocationId) -> Option<WorkerId> {
        self.lock().get(&id).copied()
    }

    fn set(&self, id: AllocationId, worker: WorkerId) {
        self.lock().insert(id, worker);
    }

    fn remove(&self, id: AllocationId) {
        self.lock().remove(&id);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }
}

/// What an allocation has that may move.
#[derive(Debug)]
pub(super) struct Mobile {
    /// The only ticket that may be used, and its number.
    pub ticket: SealedTicket,
    pub serial: u32,
    /// Where the client said that it is now, before it used that path.
    pub next: Option<NextPath>,
    /// The Refresh that got the ticket.
    granted: Option<Granted>,
    /// Whether the client's connection closed: nothing can be sent to it.
    pub is_away: bool,
}

/// The path that an allocation goes to when it is used.
#[derive(Clone, Copy, Debug)]
pub(super) struct NextPath {
    pub client: ClientPath,
    pub worker: WorkerId,
}

/// A Refresh with a ticket that succeeded, to be known again when it is repeated.
#[derive(Clone, Copy, Debug)]
struct Granted {
    tuple: FiveTuple,
    transaction: TransactionId,
    at: Instant,
    answer: Answer,
}

/// The success that a Refresh with a ticket gets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub lifetime: u32,
    /// The next ticket and its number, unless the Refresh ended the allocation.
    pub ticket: Option<(SealedTicket, u32)>,
}

impl Engine {
    /// Whether an Allocate wants an allocation that can move (RFC 8016 §3.1.2).
    pub(super) fn wants_mobility(
        &self,
        message: &Authenticated<'_>,
        protocol: RelayProtocol,
    ) -> Result<bool, ErrorCode> {
        match message.attribute(AttributeType::MOBILITY_TICKET) {
            None => Ok(false),
            Some(ticket) if !ticket.value.is_empty() => Err(ErrorCode::BadRequest),
            // The data connections of a TCP allocation do not move with it, so it does not either.
            Some(_) if self.rules().mobility.is_none() || protocol == RelayProtocol::Tcp => {
                Err(ErrorCode::MobilityForbidden)
            }
            Some(_) => Ok(true),
        }
    }

    /// The first ticket of an allocation.
    pub(super) fn first_ticket(&mut self, id: AllocationId) -> Option<Box<Mobile>> {
        let key = self.rules().mobility.clone()?;
        let ticket = self.seal(&key, id, 0)?;
        Some(Box::new(Mobile {
            ticket,
            serial: 0,
            next: None,
            granted: None,
            is_away: false,
        }))
    }

    fn seal(&mut self, key: &TicketKey, id: AllocationId, serial: u32) -> Option<SealedTicket> {
        let ticket = MobilityTicket {
            allocation: id.0,
            serial,
        };
        key.seal(ticket, &mut self.rng)
    }

    /// Notes that a mobile allocation is this worker's.
    pub(super) fn enter_mobile(&mut self, id: AllocationId, slot: Slot) {
        self.shared.mobile.set(id, self.worker);
        self.mobile.insert(id, slot);
    }

    /// Forgets a mobile allocation that ends, and the path it would have gone to.
    pub(super) fn leave_mobile(&mut self, id: AllocationId, mobile: &mut Mobile) {
        self.shared.mobile.remove(id);
        self.mobile.remove(&id);
        self.forget_next(id, mobile);
    }

    fn forget_next(&mut self, id: AllocationId, mobile: &mut Mobile) {
        if let Some(next) = mobile.next.take() {
            let serial = mobile.serial;
            self.forget_path(next.worker, next.client.tuple, About { id, serial });
        }
    }

    /// A Refresh with a ticket (RFC 8016 §3.2.2), whose sender is known.
    pub(super) fn refresh_with_ticket(
        &mut self,
        now: Now,
        client: &ClientPath,
        slot: Option<Slot>,
        request: &Authorized<'_>,
        ticket: &[u8],
        reply: &mut [u8],
    ) -> Outcome {
        let ask = match self.read_ask(client, slot, request, ticket) {
            Ok(ask) => ask,
            Err(code) => return self.fail(&request.asked, code, reply),
        };
        if let Some(slot) = slot
            && let Some(refused) = self.refuse_expired(now, client, slot, ask.wish, request, reply)
        {
            return refused;
        }
        if self.mobile.contains_key(&ask.id) {
            let answer = self.judge_move(now, &ask);
            let outcome = self.answer_move(&ask, answer, reply);
            self.go_if_away(now, ask.id);
            return outcome;
        }
        match self.shared.mobile.worker_of(ask.id) {
            Some(owner) => {
                self.expect_answer(&ask);
                self.ask(owner, ask);
                Outcome::Nothing
            }
            None => self.fail(&request.asked, ErrorCode::AllocationMismatch, reply),
        }
    }

    fn read_ask(
        &self,
        client: &ClientPath,
        slot: Option<Slot>,
        request: &Authorized<'_>,
        ticket: &[u8],
    ) -> Result<Ask, ErrorCode> {
        let key = self.rules().mobility.as_ref();
        let key = key.ok_or(ErrorCode::MobilityForbidden)?;
        let ticket = key.open(ticket).ok_or(ErrorCode::BadRequest)?;
        let wish = RefreshWish::read(&request.message)?;
        let id = AllocationId(ticket.allocation);
        // A 5-tuple has one allocation, or waits for one.
        let own = slot.and_then(|slot| self.allocations.get(slot as usize));
        let is_taken = own.is_some_and(|own| own.id != id)
            || self
                .paths
                .allocation_of(&client.tuple)
                .is_some_and(|other| other != id);
        if is_taken {
            return Err(ErrorCode::AllocationMismatch);
        }
        Ok(Ask {
            id,
            serial: ticket.serial,
            client: *client,
            worker: self.worker,
            asked: request.asked,
            holder: request.holder.clone(),
            wish,
        })
    }

    /// Judges a Refresh with a ticket of an allocation that this worker has, and does what it asks for.
    pub(super) fn judge_move(&mut self, now: Now, ask: &Ask) -> Result<Answer, ErrorCode> {
        let slot = self.live_mobile(ask.id, now.instant);
        let slot = slot.ok_or(ErrorCode::AllocationMismatch)?;
        if !self.owns(slot, &ask.holder, false) {
            self.report_failure(&ask.client, &ask.holder.user, AuthFailureReason::WrongUser);
            return Err(ErrorCode::WrongCredentials);
        }
        let key = self.rules().mobility.clone();
        let key = key.ok_or(ErrorCode::MobilityForbidden)?;
        let mobile = self.mobile_at(slot).ok_or(ErrorCode::AllocationMismatch)?;
        if ask.serial != mobile.serial {
            return mobile.repeat(ask, now.instant).ok_or(ErrorCode::BadRequest);
        }
        if self.is_newest(slot, &ask.client) {
            return Err(ErrorCode::BadRequest);
        }
        let family = self.checked_family(slot, ask.wish)?;
        if ask.wish.lifetime != Some(0) {
            self.admit_at(slot, &ask.client)?;
        }
        let serial = ask.serial.wrapping_add(1);
        let ticket = self.seal(&key, ask.id, serial);
        let ticket = ticket.ok_or(ErrorCode::ServerError)?;
        let lifetime = self.apply_refresh(now.instant, slot, ask.wish.lifetime, family);
        let mut answer = Answer {
            lifetime,
            ticket: None,
        };
        if let Some(mut mobile) = self.take_mobile(slot) {
            answer.ticket = Some((ticket, serial));
            self.note_path(now.instant, slot, &mut mobile, ask, answer);
            self.put_mobile(slot, mobile);
        }
        Ok(answer)
    }

    /// Makes the new path the next one, and the old ticket void.
    fn note_path(
        &mut self,
        now: Instant,
        slot: Slot,
        mobile: &mut Mobile,
        ask: &Ask,
        answer: Answer,
    ) {
        let current = self.allocations.get(slot as usize).map(|a| a.client.tuple);
        let is_back = current == Some(ask.client.tuple) && !mobile.is_away;
        self.forget_next(ask.id, mobile);
        if let Some((ticket, serial)) = answer.ticket {
            (mobile.ticket, mobile.serial) = (ticket, serial);
        }
        mobile.granted = Some(Granted {
            tuple: ask.client.tuple,
            transaction: ask.asked.transaction,
            at: now,
            answer,
        });
        // Back on the old path before the new one was used: nothing is left to be done.
        if !is_back {
            mobile.next = Some(NextPath {
                client: ask.client,
                worker: ask.worker,
            });
            if ask.worker == self.worker {
                self.expect_use(ask, mobile.serial);
            }
        }
    }

    /// Whether a path is the one that the allocation was last taken to.
    fn is_newest(&self, slot: Slot, path: &ClientPath) -> bool {
        let Some(allocation) = self.allocations.get(slot as usize) else {
            return false;
        };
        match allocation.mobile.as_ref().and_then(|mobile| mobile.next) {
            Some(next) => next.client.tuple == path.tuple,
            // A new connection may have the addresses of the one that closed.
            None => allocation.client.tuple == path.tuple && !allocation.is_away(),
        }
    }

    /// Counts the allocation at its client's new source instead of the old one.
    fn admit_at(&mut self, slot: Slot, client: &ClientPath) -> Result<(), ErrorCode> {
        let source = client.tuple.client().ip();
        if is_transition_address(source) {
            return Err(ErrorCode::Forbidden);
        }
        let allocation = self.allocations.get_mut(slot as usize);
        let moved = allocation.map_or(Ok(()), |allocation| allocation.lease.move_to(source));
        moved.map_err(|exceeded| self.refuse_quota(exceeded))
    }

    pub(super) fn answer_move(
        &self,
        ask: &Ask,
        answer: Result<Answer, ErrorCode>,
        reply: &mut [u8],
    ) -> Outcome {
        match answer {
            Ok(answer) => self.succeed(&ask.asked, reply, |writer| {
                writer.number(AttributeType::LIFETIME, answer.lifetime);
                if let Some((ticket, _)) = answer.ticket {
                    writer.attribute(AttributeType::MOBILITY_TICKET, ticket.as_bytes());
                }
            }),
            Err(code) => self.fail(&ask.asked, code, reply),
        }
    }

    /// The old path of an allocation closed. It goes to the next one, waits for one, or ends if it cannot move.
    pub(super) fn old_path_closed(&mut self, now: Now, slot: Slot) {
        let Some(allocation) = self.allocations.get_mut(slot as usize) else {
            return;
        };
        let (id, tuple) = (allocation.id, allocation.client.tuple);
        let Some(mobile) = &mut allocation.mobile else {
            return self.close(slot, now.instant, CloseReason::Disconnected);
        };
        mobile.is_away = true;
        if mobile.granted.is_some_and(|granted| granted.tuple == tuple) {
            mobile.granted = None;
        }
        self.unlink(&tuple, slot);
        self.unroute(slot);
        self.go_if_away(now, id);
    }

    /// An allocation without a path goes to the next one as soon as there is one.
    pub(super) fn go_if_away(&mut self, now: Now, id: AllocationId) {
        if let Some(slot) = self.live_mobile(id, now.instant)
            && let Some(mobile) = self.mobile_at(slot)
            && mobile.is_away
        {
            self.go(now, slot);
        }
    }

    /// An allocation goes to its next path, here or at another worker.
    pub(super) fn go(&mut self, now: Now, slot: Slot) {
        let Some(allocation) = self.allocations.get(slot as usize) else {
            return;
        };
        let next = allocation.mobile.as_ref().and_then(|mobile| mobile.next);
        let Some(next) = next else {
            return;
        };
        if !allocation.is_away() {
            let tuple = allocation.client.tuple;
            self.unlink(&tuple, slot);
            self.unroute(slot);
        }
        if next.worker == self.worker {
            // Nothing was held back: the first use is what led here.
            self.arrive(now.instant, slot);
        } else {
            self.hand_over(slot, next.worker);
        }
    }

    /// Gives an allocation to another worker, with its relays.
    fn hand_over(&mut self, slot: Slot, to: WorkerId) {
        let Some(allocation) = self.allocations.try_remove(slot as usize) else {
            return;
        };
        for relay in allocation.relays.iter() {
            self.relays.try_remove(relay.id.0 as usize);
        }
        self.sweep_timers();
        self.mobile.remove(&allocation.id);
        self.shared.mobile.set(allocation.id, to);
        self.post(to, Content::HandOver(Box::new(allocation)));
    }

    /// Takes an allocation that another worker gave: what its relays are called here, and what its client sent meanwhile.
    pub(super) fn take_over(&mut self, now: Now, mut allocation: Box<Allocation>) -> Arrived {
        let slot = self.allocations.vacant_key() as Slot;
        let mut relays = Vec::new();
        for relay in allocation.relays.iter_mut() {
            relay.id = RelayId(self.relays.insert(slot) as u32);
            relays.push(relay.id);
            let owner = Owner {
                worker: self.worker,
                relay: relay.id,
                circle: allocation.circle,
            };
            let pool = &self.shared.relays;
            pool.publish(relay.address, RelayProtocol::Udp, owner);
        }
        // Rules that changed on the way have not judged it yet. It has no routes, and TCP allocations do not move.
        let rules = self.shared.rules.clone();
        allocation.judge_again(
            |ip| scope_of(rules.filter.judge_address(ip)),
            |peer| scope_of(rules.filter.judge(peer)),
            |_| {},
        );
        let bandwidth = &self.shared.bandwidth;
        let group = allocation.lease.group();
        if allocation.meter.is_some() == bandwidth.is_unlimited_for(group) {
            allocation.meter = bandwidth.meter(allocation.lease.user(), group);
        }
        let holder = &allocation.holder;
        let part = holder.user_part.as_deref();
        let is_revoked = rules.authenticator.is_revoked(&holder.user, part);
        // Whatever ended on the way is found at once.
        allocation.timer = now.instant;
        self.timers.arm(now.instant, slot);
        self.enter_mobile(allocation.id, slot);
        self.allocations.insert(*allocation);
        let frames = self.arrive(now.instant, slot);
        if is_revoked {
            self.close(slot, now.instant, CloseReason::Revoked);
        }
        Arrived { relays, frames }
    }

    /// Puts an allocation onto its next path, where that is still open; what the client sent on it already.
    fn arrive(&mut self, now: Instant, slot: Slot) -> Vec<Message> {
        let Some(allocation) = self.allocations.get_mut(slot as usize) else {
            return Vec::new();
        };
        let Some(mobile) = &mut allocation.mobile else {
            return Vec::new();
        };
        let Some(next) = mobile.next.take() else {
            return Vec::new();
        };
        let frames = self.paths.end(&next.client, allocation.id, mobile.serial);
        mobile.is_away = frames.is_none();
        if mobile.is_away {
            mobile.granted = None;
        }
        let from = std::mem::replace(&mut allocation.client, next.client);
        self.counters.allocations_moved.add(1);
        self.events.push_back(Event::Moved(Box::new(Moved {
            id: allocation.id,
            user: allocation.holder.user.clone(),
            from: from.tuple,
            to: next.client,
        })));
        if frames.is_some() {
            self.link(slot);
            self.sync_routes(slot, now);
        }
        frames.unwrap_or_default()
    }

    fn mobile_at(&mut self, slot: Slot) -> Option<&mut Mobile> {
        let allocation = self.allocations.get_mut(slot as usize)?;
        allocation.mobile.as_deref_mut()
    }

    fn take_mobile(&mut self, slot: Slot) -> Option<Box<Mobile>> {
        self.allocations.get_mut(slot as usize)?.mobile.take()
    }

    fn put_mobile(&mut self, slot: Slot, mobile: Box<Mobile>) {
        if let Some(allocation) = self.allocations.get_mut(slot as usize) {
            allocation.mobile = Some(mobile);
        }
    }

    /// A mobile allocation of this worker, if it is not over.
    pub(super) fn live_mobile(&mut self, id: AllocationId, now: Instant) -> Option<Slot> {
        let slot = *self.mobile.get(&id)?;
        let expires = self.allocations.get(slot as usize)?.relays.expires();
        if expires <= now {
            self.close(slot, now, CloseReason::Expired);
            return None;
        }
        Some(slot)
    }
}

impl Mobile {
    /// The next path has closed. Its Refresh may not succeed again, since nothing would come of that: a new connection
    /// may have the addresses of the one that closed.
    pub fn drop_next(&mut self) {
        (self.next, self.granted) = (None, None);
    }

    /// The answer to a Refresh that comes again with the ticket it used up.
    fn repeat(&self, ask: &Ask, now: Instant) -> Option<Answer> {
        let granted = self.granted?;
        let is_same = granted.tuple == ask.client.tuple
            && granted.transaction == ask.asked.transaction
            && ask.serial.wrapping_add(1) == self.serial
            && now.since(granted.at) <= REPEAT_TIME;
        is_same.then_some(granted.answer)
    }
}
