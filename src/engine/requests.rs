//! STUN messages from clients: sorted, checked in the order of the RFCs, and answered.

use super::allocation::{Relay, Scope};
use super::authenticate::Authorized;
use super::counters::{AuthFailureReason, DropReason, RefusalReason};
use super::letters::FirstUse;
use super::new_peers::Pace;
use super::respond::Asked;
use super::timers::Slot;
use super::{ClientPath, CloseReason, Engine, Event, Instant, Now, Outcome};
use crate::policy::{DenyReason, Rule, Verdict};
use crate::wire::attribute::{Family, Malformed};
use crate::wire::{
    AttributeType, Authenticated, ChannelNumber, Class, ErrorCode, Message, Method, ParseError,
};
use std::net::{IpAddr, SocketAddr};

/// How often a request may name each of the peers that an allocation may have.
const NAMED_AGAIN: usize = 4;

impl Engine {
    pub(super) fn stun(
        &mut self,
        now: Now,
        client: &ClientPath,
        input: &[u8],
        reply: &mut [u8],
    ) -> Outcome {
        let message = match Message::parse(input) {
            Ok(message) => message,
            Err(ParseError::NoCookie) if self.rules().classic_binding => {
                if !self.has_time_for(client) {
                    return Outcome::Nothing;
                }
                return self.answer_stranger(now, client, input.len(), |engine| {
                    engine.classic(client, input, reply)
                });
            }
            Err(ParseError::NoCookie) => return self.classic(client, input, reply),
            Err(_) => return self.drop(DropReason::Malformed),
        };
        match (message.method(), message.class()) {
            (
                method @ (Method::BINDING
                | Method::ALLOCATE
                | Method::REFRESH
                | Method::CREATE_PERMISSION
                | Method::CHANNEL_BIND
                | Method::CONNECT
                | Method::CONNECTION_BIND),
                Class::Request,
            ) if self.rules().tcp.enabled || !is_for_tcp(method) => {
                self.counters.request(method);
                if !may_be_answered(client.tuple.client()) {
                    return self.drop(DropReason::BadSource);
                }
                if !self.has_time_for(client) {
                    return Outcome::Nothing;
                }
                if method == Method::BINDING {
                    self.answer_stranger(now, client, input.len(), |engine| {
                        engine.binding(client, &message, reply)
                    })
                } else {
                    self.authenticated_request(now, client, &message, input, reply)
                }
            }
            (Method::SEND, Class::Indication) => self.send_indication(now, client, &message, input),
            // A keep-alive.
            (Method::BINDING, Class::Indication) => Outcome::Nothing,
            (_, Class::Success | Class::Error) => self.drop(DropReason::UnexpectedResponse),
            _ => self.drop(DropReason::UnknownMethod),
        }
    }

    fn authenticated_request(
        &mut self,
        now: Now,
        client: &ClientPath,
        message: &Message<'_>,
        input: &[u8],
        reply: &mut [u8],
    ) -> Outcome {
        let slot = self.find_live(&client.tuple, now.instant);
        let request = match self.authenticate(now, client, slot, message) {
            Ok(request) => request,
            Err(challenge) => {
                return self.answer_stranger(now, client, input.len(), |engine| {
                    engine.challenge(now, client, message, &challenge, reply)
                });
            }
        };
        self.stranger_proved(now, client);
        self.telling.begin();
        let outcome = self.proved_request(now, client, slot, message, &request, input, reply);
        self.tell_refusal(now, client.tuple, &request.holder.user, message.method());
        outcome
    }

    #[allow(clippy::too_many_arguments)]
    fn proved_request(
        &mut self,
        now: Now,
        client: &ClientPath,
        slot: Option<Slot>,
        message: &Message<'_>,
        request: &Authorized<'_>,
        input: &[u8],
        reply: &mut [u8],
    ) -> Outcome {
        let takes_tokens = self.rules().authenticator.third_party().is_some();
        let is_understood =
            |kind| is_understood(kind) || takes_tokens && kind == AttributeType::ACCESS_TOKEN;
        if let Some(refused) = self.refuse_unless(is_understood, message, &request.asked, reply) {
            return refused;
        }
        // A 5-tuple that waits for its allocation counts as one that has it.
        let is_taken = slot.is_some() || self.paths.allocation_of(&client.tuple).is_some();
        match message.method() {
            Method::ALLOCATE if slot.is_some() || !is_taken => {
                return self.allocate(now, client, slot, request, reply);
            }
            Method::ALLOCATE => {
                return self.fail(&request.asked, ErrorCode::AllocationMismatch, reply);
            }
            Method::CONNECTION_BIND => {
                return self.connection_bind(now, client, is_taken, request, reply);
            }
            _ => {}
        }
        if message.method() == Method::REFRESH
            && let Some(ticket) = request.message.attribute(AttributeType::MOBILITY_TICKET)
        {
            return self.refresh_with_ticket(now, client, slot, request, ticket.value, reply);
        }
        let slot = match slot {
            None if is_taken => match self.first_use(now, client, input) {
                FirstUse::Here(slot) => Some(slot),
                FirstUse::Held => return Outcome::Nothing,
                FirstUse::Unknown => None,
            },
            slot => slot,
        };
        let Some(slot) = slot else {
            return self.fail(&request.asked, ErrorCode::AllocationMismatch, reply);
        };
        if !self.is_owner(slot, request) {
            self.report_failure(client, &request.holder.user, AuthFailureReason::WrongUser);
            return self.fail(&request.asked, ErrorCode::WrongCredentials, reply);
        }
        match message.method() {
            Method::REFRESH => self.refresh(now, client, slot, request, reply),
            Method::CREATE_PERMISSION => {
                let done = self.permit_all(now, slot, request);
                self.acknowledge(done, request, reply)
            }
            Method::CONNECT => self.connect(now, slot, request, reply),
            _ => {
                let done = self.bind_channel(now, slot, request);
                self.acknowledge(done, request, reply)
            }
        }
    }

    /// 420 where the request needs something this server does not understand (RFC 8489 §6.3.1).
    pub(super) fn refuse_unknown(
        &self,
        message: &Message<'_>,
        asked: &Asked,
        reply: &mut [u8],
    ) -> Option<Outcome> {
        self.refuse_unless(is_understood, message, asked, reply)
    }

    /// The same with more, or less, that is understood.
    pub(super) fn refuse_unless(
        &self,
        is_understood: impl Fn(AttributeType) -> bool,
        message: &Message<'_>,
        asked: &Asked,
        reply: &mut [u8],
    ) -> Option<Outcome> {
        let unknown = || {
            message
                .attributes()
                .map(|attribute| attribute.kind)
                .filter(|kind| !is_understood(*kind))
        };
        unknown().next()?;
        Some(
            self.fail_with(asked, ErrorCode::UnknownAttribute, reply, |writer| {
                writer.unknown_attributes(unknown());
            }),
        )
    }

    fn refresh(
        &mut self,
        now: Now,
        client: &ClientPath,
        slot: Slot,
        request: &Authorized<'_>,
        reply: &mut [u8],
    ) -> Outcome {
        let read = RefreshWish::read(&request.message)
            .and_then(|wish| Ok((wish, self.checked_family(slot, wish)?)));
        let (wish, family) = match read {
            Ok(read) => read,
            Err(code) => return self.fail(&request.asked, code, reply),
        };
        if let Some(refused) = self.refuse_expired(now, client, slot, wish, request, reply) {
            return refused;
        }
        let lifetime = self.apply_refresh(now.instant, slot, wish.lifetime, family);
        self.succeed(&request.asked, reply, |writer| {
            writer.number(AttributeType::LIFETIME, lifetime);
        })
    }

    /// A family restricts a Refresh to its relay; without one it is for all there are (RFC 8656 §8.1).
    pub(super) fn checked_family(
        &self,
        slot: Slot,
        wish: RefreshWish,
    ) -> Result<Option<Family>, ErrorCode> {
        match wish.family.map(Family::from_code) {
            None => Ok(None),
            Some(Some(family)) if self.has_relay(slot, family) => Ok(Some(family)),
            Some(_) => Err(ErrorCode::PeerFamilyMismatch),
        }
    }

    /// Gives an allocation, or its relay of a family, another lifetime, or ends it; the lifetime it has now.
    pub(super) fn apply_refresh(
        &mut self,
        now: Instant,
        slot: Slot,
        wanted: Option<u32>,
        family: Option<Family>,
    ) -> u32 {
        if wanted == Some(0) {
            self.release(slot, family, now);
            return 0;
        }
        let rules = std::sync::Arc::clone(&self.shared.rules);
        let mut expires = now;
        if let Some(allocation) = self.allocations.get_mut(slot as usize) {
            let until = rules.ends_with(&allocation.holder, allocation.circle);
            let lifetime = rules.lifetime_until(wanted, now, until);
            expires = now
                .after_seconds(lifetime)
                .at_most(allocation.holder.token_ends);
            let is_meant = |relay: &&mut Relay| {
                family.is_none_or(|family| family == Family::of(&relay.address.local))
            };
            for relay in allocation.relays.iter_mut().filter(is_meant) {
                relay.expires = expires;
            }
        }
        self.rearm(slot, now);
        expires.seconds_since(now)
    }

    fn has_relay(&self, slot: Slot, family: Family) -> bool {
        self.allocations
            .get(slot as usize)
            .is_some_and(|allocation| allocation.relays.get(family).is_some())
    }

    /// Ends one relay, or the allocation where that was the last one or none is named.
    fn release(&mut self, slot: Slot, family: Option<Family>, now: Instant) {
        let others = self
            .allocations
            .get(slot as usize)
            .map_or(0, |allocation| allocation.relays.iter().count());
        match family {
            Some(family) if others > 1 => self.close_relay(slot, family, now),
            _ => self.close(slot, now, CloseReason::Released),
        }
    }

    /// Answers a request whose success needs no attribute.
    fn acknowledge(
        &self,
        done: Result<(), ErrorCode>,
        request: &Authorized<'_>,
        reply: &mut [u8],
    ) -> Outcome {
        match done {
            Ok(()) => self.succeed(&request.asked, reply, |_| {}),
            Err(code) => self.fail(&request.asked, code, reply),
        }
    }

    /// All peers of the request get a permission, or none (RFC 8656 §10.2).
    fn permit_all(
        &mut self,
        now: Now,
        slot: Slot,
        request: &Authorized<'_>,
    ) -> Result<(), ErrorCode> {
        let message = &request.message;
        let peers = || {
            message
                .attributes()
                .filter(|attribute| attribute.kind == AttributeType::XOR_PEER_ADDRESS)
                .map(|attribute| attribute.xor_address(message.transaction()))
        };
        if peers().next().is_none() || peers().any(|peer| peer.is_err()) {
            return Err(ErrorCode::BadRequest);
        }
        let peers = || peers().flatten();
        let rules = self.shared.rules.clone();
        // Over a stream one request can name thousands. One that is so far beyond what there may be, with peers named
        // twice or not, is not looked at.
        if peers().nth(NAMED_AGAIN * rules.max_permissions).is_some() {
            self.telling
                .refused(&self.counters, RefusalReason::PermissionLimit);
            return Err(ErrorCode::InsufficientCapacity);
        }
        let allocation = self
            .allocations
            .get_mut(slot as usize)
            .ok_or(ErrorCode::AllocationMismatch)?;
        if peers().any(|peer| allocation.relays.get(Family::of(&peer)).is_none()) {
            return Err(ErrorCode::PeerFamilyMismatch);
        }
        allocation.forget_expired(now.instant, |change| self.events.push_back(change.into()));
        let new = allocation.unknown(peers().map(|peer| peer.ip()));
        // More than there may be are refused below, and are one mistake.
        self.meet(now.instant, slot, new.min(rules.max_permissions))?;
        if let Some(peer) = peers().find(|peer| rules.permission_scope(*peer).is_none()) {
            self.telling.denied(peer, rules.denial(peer));
            return Err(ErrorCode::Forbidden);
        }
        let allocation = self
            .allocations
            .get_mut(slot as usize)
            .ok_or(ErrorCode::AllocationMismatch)?;
        if allocation.permission_count() + new > rules.max_permissions {
            self.telling
                .refused(&self.counters, RefusalReason::PermissionLimit);
            return Err(ErrorCode::InsufficientCapacity);
        }
        for peer in peers() {
            if let Some(scope) = rules.permission_scope(peer) {
                allocation.permit(peer.ip(), scope, now.instant);
            }
        }
        let heard = allocation.newly_heard().map(Event::HearPeers);
        self.events.extend(heard);
        self.sync_routes(slot, now.instant);
        self.rearm(slot, now.instant);
        Ok(())
    }

    /// Lets an allocation meet so many peers that are new to it, or refuses them and ends the allocation in time.
    pub(super) fn meet(&mut self, now: Instant, slot: Slot, new: usize) -> Result<(), ErrorCode> {
        let rate = self.rules().new_peers_per_second;
        let Some(allocation) = self.allocations.get_mut(slot as usize) else {
            return Err(ErrorCode::AllocationMismatch);
        };
        match allocation.new_peers.meet(new, rate, now) {
            Pace::Fine => return Ok(()),
            Pace::TooFast => {}
            Pace::Scanning => {
                self.counters.scanners_ended.add(1);
                self.close(slot, now, CloseReason::Scanning);
            }
        }
        self.telling
            .refused(&self.counters, RefusalReason::NewPeers);
        Err(ErrorCode::InsufficientCapacity)
    }

    fn bind_channel(
        &mut self,
        now: Now,
        slot: Slot,
        request: &Authorized<'_>,
    ) -> Result<(), ErrorCode> {
        let bad = |_: Malformed| ErrorCode::BadRequest;
        let message = &request.message;
        let attribute = |kind| message.attribute(kind).ok_or(ErrorCode::BadRequest);
        let number = attribute(AttributeType::CHANNEL_NUMBER)?;
        let peer = attribute(AttributeType::XOR_PEER_ADDRESS)?;
        let number = number.channel_number().map_err(bad)?;
        let range = self.rules().channels;
        let number = ChannelNumber::new_in(range, number).ok_or(ErrorCode::BadRequest)?;
        let peer = peer.xor_address(message.transaction()).map_err(bad)?;

        let rules = self.shared.rules.clone();
        let allocation = self
            .allocations
            .get_mut(slot as usize)
            .ok_or(ErrorCode::AllocationMismatch)?;
        if allocation.connections.is_some() {
            return Err(ErrorCode::BadRequest); // RFC 6062 §3 has no channels
        }
        allocation.forget_expired(now.instant, |change| self.events.push_back(change.into()));
        let bound = allocation.channels.by_number(number);
        if bound.is_some_and(|channel| channel.peer != peer) {
            return Err(ErrorCode::BadRequest);
        }
        let is_new = bound.is_none();
        if is_new && allocation.channels.by_peer(peer).is_some() {
            return Err(ErrorCode::BadRequest);
        }
        if allocation.relays.get(Family::of(&peer)).is_none() {
            return Err(ErrorCode::PeerFamilyMismatch);
        }
        let new = allocation.unknown(std::iter::once(peer.ip()));
        self.meet(now.instant, slot, new)?;
        let Some(scope) = scope_of(rules.filter.judge(peer)) else {
            self.telling.denied(peer, rules.denial(peer));
            return Err(ErrorCode::Forbidden);
        };
        let allocation = self
            .allocations
            .get_mut(slot as usize)
            .ok_or(ErrorCode::AllocationMismatch)?;
        if is_new && allocation.channel_count() >= rules.max_channels {
            self.telling
                .refused(&self.counters, RefusalReason::ChannelLimit);
            return Err(ErrorCode::InsufficientCapacity);
        }
        if allocation.permission_count() + new > rules.max_permissions {
            self.telling
                .refused(&self.counters, RefusalReason::PermissionLimit);
            return Err(ErrorCode::InsufficientCapacity);
        }
        allocation.bind(number, peer, scope, now.instant);
        let heard = allocation.newly_heard().map(Event::HearPeers);
        self.events.extend(heard);
        self.sync_routes(slot, now.instant);
        self.rearm(slot, now.instant);
        Ok(())
    }
}

/// What a Refresh asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefreshWish {
    /// In seconds; 0 to end it.
    pub lifetime: Option<u32>,
    family: Option<u8>,
}

impl RefreshWish {
    pub fn read(message: &Authenticated<'_>) -> Result<Self, ErrorCode> {
        let bad = |_: Malformed| ErrorCode::BadRequest;
        let lifetime = message.attribute(AttributeType::LIFETIME);
        let family = message.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY);
        Ok(RefreshWish {
            lifetime: lifetime.map(|a| a.lifetime()).transpose().map_err(bad)?,
            family: family
                .map(|a| a.address_family())
                .transpose()
                .map_err(bad)?,
        })
    }
}

impl super::Rules {
    /// The lifetime given to a request, in seconds: never under the default (RFC 8656 §7.2), never over the maximum.
    pub(super) fn lifetime(&self, wanted: Option<u32>) -> u32 {
        wanted
            .unwrap_or(self.default_lifetime)
            .max(self.default_lifetime)
            .min(self.max_lifetime)
    }

    /// How far a permission for a peer reaches; `None` when there may be none.
    ///
    /// A permission is for an address, whatever the port (RFC 8656 §9), but naming one of this server's own sockets
    /// is refused at once.
    fn permission_scope(&self, peer: SocketAddr) -> Option<Scope> {
        let scope = scope_of(self.filter.judge_address(peer.ip()))?;
        match self.filter.judge(peer) {
            Verdict::Deny(reason) if reason.rule == Rule::OwnSocket => None,
            _ => Some(scope),
        }
    }
}

impl super::Rules {
    /// The rule of the filter that denies a peer.
    pub(super) fn denial(&self, peer: SocketAddr) -> Option<DenyReason> {
        [
            self.filter.judge_address(peer.ip()),
            self.filter.judge(peer),
        ]
        .into_iter()
        .find_map(|verdict| match verdict {
            Verdict::Deny(reason) => Some(reason),
            Verdict::Allow | Verdict::HairpinOnly => None,
        })
    }
}

pub(super) fn scope_of(verdict: Verdict) -> Option<Scope> {
    match verdict {
        Verdict::Allow => Some(Scope::Network),
        Verdict::HairpinOnly => Some(Scope::HairpinOnly),
        Verdict::Deny(_) => None,
    }
}

/// Whether this server understands an attribute, or may ignore it. Of the comprehension-required ones these are those
/// it acts on and those that have no meaning in a request (RFC 8489 §6.3); what would ask for a service it does not
/// have has to be refused.
pub(super) fn is_understood(kind: AttributeType) -> bool {
    !kind.is_comprehension_required()
        || matches!(
            kind,
            AttributeType::MAPPED_ADDRESS
                | AttributeType::USERNAME
                | AttributeType::MESSAGE_INTEGRITY
                | AttributeType::ERROR_CODE
                | AttributeType::UNKNOWN_ATTRIBUTES
                | AttributeType::CHANNEL_NUMBER
                | AttributeType::LIFETIME
                | AttributeType::BANDWIDTH
                | AttributeType::XOR_PEER_ADDRESS
                | AttributeType::DATA
                | AttributeType::REALM
                | AttributeType::NONCE
                | AttributeType::XOR_RELAYED_ADDRESS
                | AttributeType::REQUESTED_ADDRESS_FAMILY
                | AttributeType::EVEN_PORT
                | AttributeType::REQUESTED_TRANSPORT
                | AttributeType::DONT_FRAGMENT
                | AttributeType::MESSAGE_INTEGRITY_SHA256
                | AttributeType::PASSWORD_ALGORITHM
                | AttributeType::USERHASH
                | AttributeType::XOR_MAPPED_ADDRESS
                | AttributeType::TIMER_VAL
                | AttributeType::RESERVATION_TOKEN
                | AttributeType::PRIORITY
                | AttributeType::USE_CANDIDATE
                | AttributeType::CONNECTION_ID
        )
}

/// The methods of RFC 6062.
fn is_for_tcp(method: Method) -> bool {
    matches!(method, Method::CONNECT | Method::CONNECTION_BIND)
}

/// Whether an answer may go to an address: not to port 0, nor to many hosts at once.
pub(super) fn may_be_answered(client: SocketAddr) -> bool {
    let to_one_host = match client.ip() {
        IpAddr::V4(ip) => !(ip.is_multicast() || ip.is_broadcast() || ip.is_unspecified()),
        IpAddr::V6(ip) => !(ip.is_multicast() || ip.is_unspecified()),
    };
    client.port() != 0 && to_one_host
}
