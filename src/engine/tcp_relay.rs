//! TCP allocations (RFC 6062): Connect, ConnectionBind, ConnectionAttempt, and the deadlines of each.
//!
//! The engine decides which connections there are; the bytes on them never come here. Whoever owns the sockets hears
//! of it by events ([`Event::Connect`], [`Event::Bound`], [`Event::CloseConnection`]) and tells what became of them:
//! [`Engine::peer_connected`], [`Engine::peer_accepted`], [`Engine::connection_ended`].

use super::allocation::{Allocation, Scope};
use super::authenticate::{Authorized, Holder};
use super::connections::{BindError, Held, Stage, TcpConnection};
use super::counters::{AuthFailureReason, ConnectionOutcome, RefusalReason};
use super::outcome::{Bound, Connect, ConnectError, Message, RelayId};
use super::requests::scope_of;
use super::timers::Slot;
use super::{ClientPath, ConnectionId, Engine, Event, Instant, Now, Outcome, Rules};
use crate::wire::attribute::{Family, Malformed};
use crate::wire::{AttributeType, Class, ErrorCode, MessageType, Method, TransactionId, Writer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a peer may take to answer, at least as RFC 6062 §5.2 has it.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection waits for the client's ConnectionBind (RFC 6062 §5.2, §5.3).
pub const BIND_TIMEOUT: Duration = Duration::from_secs(30);

/// What TCP allocations may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpRules {
    /// Whether there are any; without them an Allocate for TCP is answered 442.
    pub enabled: bool,
    /// Ports of peers that are never connected to and never accepted from.
    pub denied_ports: Vec<u16>,
    /// How many connections an allocation may have at one time.
    pub max_connections: usize,
}

impl Default for TcpRules {
    /// No TCP allocations; mail and DNS denied where they are switched on; 16 connections.
    fn default() -> Self {
        TcpRules {
            enabled: false,
            denied_ports: vec![25, 53],
            max_connections: 16,
        }
    }
}

impl Rules {
    /// How far a TCP connection with a peer may reach; `None` where it may not be.
    fn tcp_scope(&self, peer: SocketAddr) -> Option<Scope> {
        if self.tcp.denied_ports.contains(&peer.port()) {
            return None;
        }
        scope_of(self.filter.judge(peer))
    }
}

impl Engine {
    /// RFC 6062 §5.2. The answer comes when the peer's has.
    pub(super) fn connect(
        &mut self,
        now: Now,
        slot: Slot,
        request: &Authorized<'_>,
        reply: &mut [u8],
    ) -> Outcome {
        match self.start_connect(now.instant, slot, request) {
            Ok(()) => Outcome::Nothing,
            Err(code) => self.fail(&request.asked, code, reply),
        }
    }

    fn start_connect(
        &mut self,
        now: Instant,
        slot: Slot,
        request: &Authorized<'_>,
    ) -> Result<(), ErrorCode> {
        let rules = self.shared.rules.clone();
        self.forget_closed(slot);
        let allocation = self.allocations.get_mut(slot as usize);
        let allocation = allocation.ok_or(ErrorCode::AllocationMismatch)?;
        let holder = allocation.holder.clone();
        let connections = allocation.connections.as_mut();
        let connections = connections.ok_or(ErrorCode::AllocationMismatch)?;
        let peer = request
            .message
            .attribute(AttributeType::XOR_PEER_ADDRESS)
            .ok_or(ErrorCode::BadRequest)?
            .xor_address(request.message.transaction())
            .map_err(|_: Malformed| ErrorCode::BadRequest)?;
        let relay = allocation.relays.live(Family::of(&peer), now);
        let relay = relay.ok_or(ErrorCode::PeerFamilyMismatch)?.address;
        if connections.has_peer(peer) {
            return Err(ErrorCode::ConnectionAlreadyExists);
        }
        // Each port counts: connecting is how ports are looked for.
        self.meet(now, slot, 1)?;
        let allocation = self.allocations.get_mut(slot as usize);
        let allocation = allocation.ok_or(ErrorCode::AllocationMismatch)?;
        let connections = allocation.connections.as_mut();
        let connections = connections.ok_or(ErrorCode::AllocationMismatch)?;
        let count = |outcome| self.counters.tcp_connection(outcome);
        let Some(scope) = rules.tcp_scope(peer) else {
            count(ConnectionOutcome::PeerDenied);
            self.telling.denied(peer, rules.denial(peer));
            return Err(ErrorCode::Forbidden);
        };
        if [relay.local, relay.advertised].contains(&peer) {
            // A connection of a socket with itself.
            count(ConnectionOutcome::PeerDenied);
            return Err(ErrorCode::Forbidden);
        }
        // Another allocation is reached at its local form: no router need bring the public one back.
        let to = match (self.shared.relays.tcp_relay(peer), scope) {
            (Some(relayed), _) => relayed.local,
            (None, Scope::Network) => peer,
            (None, Scope::HairpinOnly) => {
                count(ConnectionOutcome::Failed);
                return Err(ErrorCode::ConnectionFailure);
            }
        };
        if connections.0.len() >= rules.tcp.max_connections {
            self.telling
                .refused(&self.counters, RefusalReason::ConnectionLimit);
            return Err(ErrorCode::InsufficientCapacity);
        }
        let directory = &self.shared.connections;
        let meter = allocation.meter.clone();
        let (id, shared) = directory.open(holder, (slot, meter), &mut self.rng);
        connections.0.push(Held {
            id,
            peer,
            shared,
            asked: Some(request.asked),
            deadline: Some(now.after(CONNECT_TIMEOUT)),
        });
        self.events.push_back(Event::Connect(Connect {
            connection: id,
            from: relay.local,
            to,
        }));
        self.rearm(slot, now);
        Ok(())
    }

    /// Takes the end of an [`Event::Connect`]: the client is answered. `false` when nobody waits for the connection
    /// any more and it is to be closed.
    pub fn peer_connected(
        &mut self,
        now: Now,
        id: ConnectionId,
        result: Result<(), ConnectError>,
    ) -> bool {
        let Some(connection) = self.shared.connections.get(id) else {
            return false;
        };
        let slot = connection.slot;
        let bind_until = now.instant.after(BIND_TIMEOUT);
        let Some((client, held)) = self.held(slot, id) else {
            return false;
        };
        let Some(asked) = held.asked.take() else {
            return false;
        };
        held.deadline = Some(bind_until);
        let mut buffer = [0; super::REPLY_LENGTH];
        let outcome = match result {
            Ok(()) => {
                connection.wait(bind_until);
                self.counters.tcp_connection(ConnectionOutcome::Connected);
                self.succeed(&asked, &mut buffer, |writer| {
                    writer.number(AttributeType::CONNECTION_ID, id.0);
                })
            }
            Err(error) => {
                self.shared.connections.end(id);
                self.forget_closed(slot);
                let (outcome, code) = match error {
                    ConnectError::Failed => {
                        (ConnectionOutcome::Failed, ErrorCode::ConnectionFailure)
                    }
                    ConnectError::NoSocket => {
                        self.telling
                            .refused(&self.counters, RefusalReason::NoSocket);
                        (ConnectionOutcome::Failed, ErrorCode::InsufficientCapacity)
                    }
                };
                self.counters.tcp_connection(outcome);
                self.fail(&asked, code, &mut buffer)
            }
        };
        if let Outcome::Reply(length) = outcome {
            self.tell(client, buffer.get(..length).unwrap_or_default());
        }
        self.rearm(slot, now.instant);
        result.is_ok()
    }

    /// Takes a connection that a peer made to a relay (RFC 6062 §5.3): the client is told. `None` when it is to be
    /// closed at once.
    pub fn peer_accepted(
        &mut self,
        now: Now,
        relay: RelayId,
        from: SocketAddr,
    ) -> Option<ConnectionId> {
        match self.accept(now.instant, relay, from) {
            Ok(id) => {
                self.counters.tcp_connection(ConnectionOutcome::Accepted);
                Some(id)
            }
            Err(outcome) => {
                self.counters.tcp_connection(outcome);
                None
            }
        }
    }

    fn accept(
        &mut self,
        now: Instant,
        relay: RelayId,
        from: SocketAddr,
    ) -> Result<ConnectionId, ConnectionOutcome> {
        let from = super::path::canonical(from);
        let inside = self.shared.relays.tcp_relay(from);
        let peer = inside.map_or(from, |relayed| relayed.advertised);
        let slot = self.relays.get(relay.0 as usize).copied();
        let slot = slot.ok_or(ConnectionOutcome::NoPermission)?;
        self.forget_closed(slot);
        let rules = self.shared.rules.clone();
        let allocation = self.allocations.get_mut(slot as usize);
        let allocation = allocation
            .filter(|allocation| allocation.relays.is_live(relay, now))
            .ok_or(ConnectionOutcome::NoPermission)?;
        let permission = allocation.permissions.get(peer.ip(), now);
        let permission = permission.ok_or(ConnectionOutcome::NoPermission)?;
        let scope = rules.tcp_scope(peer).ok_or(ConnectionOutcome::PeerDenied)?;
        let stays_inside = [scope, permission.scope].contains(&Scope::HairpinOnly);
        if stays_inside && inside.is_none() {
            return Err(ConnectionOutcome::PeerDenied);
        }
        let client = allocation.client;
        let holder = allocation.holder.clone();
        let connections = allocation.connections.as_mut();
        let connections = connections.ok_or(ConnectionOutcome::NoPermission)?;
        if connections.0.len() >= rules.tcp.max_connections {
            self.telling
                .refused(&self.counters, RefusalReason::ConnectionLimit);
            return Err(ConnectionOutcome::Limit);
        }
        let directory = &self.shared.connections;
        let meter = allocation.meter.clone();
        let (id, shared) = directory.open(holder, (slot, meter), &mut self.rng);
        let deadline = now.after(BIND_TIMEOUT);
        shared.wait(deadline);
        connections.0.push(Held {
            id,
            peer,
            shared,
            asked: None,
            deadline: Some(deadline),
        });
        let transaction = TransactionId(self.random());
        let mut buffer = [0; super::REPLY_LENGTH];
        let kind = MessageType::new(Method::CONNECTION_ATTEMPT, Class::Indication);
        let mut writer = Writer::new(&mut buffer, kind, transaction);
        writer
            .xor_address(AttributeType::XOR_PEER_ADDRESS, peer)
            .number(AttributeType::CONNECTION_ID, id.0);
        if let Ok(length) = writer.finish() {
            self.tell(client, buffer.get(..length).unwrap_or_default());
        }
        self.rearm(slot, now);
        Ok(id)
    }

    /// RFC 6062 §5.4. The connection may be any worker's.
    pub(super) fn connection_bind(
        &mut self,
        now: Now,
        client: &ClientPath,
        has_allocation: bool,
        request: &Authorized<'_>,
        reply: &mut [u8],
    ) -> Outcome {
        let id = request.message.attribute(AttributeType::CONNECTION_ID);
        let id = id.and_then(|attribute| attribute.connection_id().ok());
        // A connection that controls an allocation cannot carry data.
        let may_bind = client.tuple.transport().is_stream() && !has_allocation;
        let Some(id) = id.filter(|_| may_bind).map(ConnectionId) else {
            return self.fail(&request.asked, ErrorCode::BadRequest, reply);
        };
        let directory = &self.shared.connections;
        let match_user_part = self.rules().match_user_part;
        let is_owner = |holder: &Holder| {
            holder.is_same(&request.holder)
                || match_user_part && holder.has_same_part(&request.holder)
        };
        match directory.bind(id, now.instant, is_owner) {
            Ok(()) => {
                self.counters.tcp_connection(ConnectionOutcome::Bound);
                self.events.push_back(Event::Bound(Bound {
                    client: *client,
                    connection: id,
                }));
                self.succeed(&request.asked, reply, |_| {})
            }
            Err(BindError::WrongUser) => {
                self.report_failure(client, &request.holder.user, AuthFailureReason::WrongUser);
                self.fail(&request.asked, ErrorCode::WrongCredentials, reply)
            }
            Err(BindError::Unknown) => self.fail(&request.asked, ErrorCode::BadRequest, reply),
        }
    }

    /// A connection with a peer, of whichever worker, unless it is over.
    #[must_use]
    pub fn tcp_connection(&self, id: ConnectionId) -> Option<Arc<TcpConnection>> {
        self.shared.connections.get(id)
    }

    /// Forgets a connection whose socket with the peer is closed. Any worker's engine may be told.
    pub fn connection_ended(&mut self, id: ConnectionId) {
        self.shared.connections.end(id);
    }

    /// Ends what took too long: attempts are answered 447, connections that nobody bound are closed.
    pub(super) fn end_overdue_connections(&mut self, now: Now, slot: Slot) {
        self.forget_closed(slot);
        let Some(connections) = self.connections(slot) else {
            return;
        };
        let overdue = |held: &&mut Held| held.deadline.is_some_and(|at| at <= now.instant);
        let mut stuck = Vec::new();
        let mut waiting = Vec::new();
        for held in connections.iter_mut().filter(overdue) {
            if held.asked.is_some() {
                stuck.push(held.id);
            } else {
                held.deadline = None;
                waiting.push((held.id, held.shared.clone()));
            }
        }
        for id in stuck {
            self.peer_connected(now, id, Err(ConnectError::Failed));
            self.events.push_back(Event::CloseConnection(id));
        }
        for (id, connection) in waiting {
            if self.shared.connections.give_up(id, &connection) {
                self.counters.tcp_connection(ConnectionOutcome::NeverBound);
                self.events.push_back(Event::CloseConnection(id));
            }
        }
        self.forget_closed(slot);
    }

    /// Ends the connections with peers that may not be reached any more.
    pub(super) fn judge_connections_again(&mut self) {
        let rules = self.shared.rules.clone();
        for (_, allocation) in &mut self.allocations {
            let denied = |held: &Held| rules.tcp_scope(held.peer).is_none();
            end_connections(allocation, denied, &self.shared, &mut self.events);
        }
    }

    /// Takes connections off that are over, and counts their bytes as the allocation's.
    fn forget_closed(&mut self, slot: Slot) {
        if let Some(allocation) = self.allocations.get_mut(slot as usize) {
            forget_closed(allocation);
        }
    }

    fn connections(&mut self, slot: Slot) -> Option<&mut Vec<Held>> {
        let allocation = self.allocations.get_mut(slot as usize)?;
        Some(&mut allocation.connections.as_mut()?.0)
    }

    fn held(&mut self, slot: Slot, id: ConnectionId) -> Option<(ClientPath, &mut Held)> {
        let allocation = self.allocations.get_mut(slot as usize)?;
        let held = allocation.connections.as_mut()?.find(id)?;
        Some((allocation.client, held))
    }

    fn tell(&mut self, client: ClientPath, bytes: &[u8]) {
        self.events.push_back(Event::Tell(Box::new(Message {
            client,
            bytes: bytes.into(),
        })));
    }
}

fn forget_closed(allocation: &mut Allocation) {
    if let Some(connections) = &mut allocation.connections {
        let (to_peer, to_client) = connections.forget_closed();
        allocation.usage.bytes_to_peers += to_peer;
        allocation.usage.bytes_to_client += to_client;
    }
}

/// Ends an allocation's connections, of which `which` says those meant.
pub(super) fn end_connections(
    allocation: &mut Allocation,
    which: impl Fn(&Held) -> bool,
    shared: &super::Shared,
    events: &mut std::collections::VecDeque<Event>,
) {
    let Some(connections) = &allocation.connections else {
        return;
    };
    for held in connections.0.iter().filter(|held| which(held)) {
        if held.shared.stage() != Stage::Closed {
            shared.connections.end(held.id);
            events.push_back(Event::CloseConnection(held.id));
        }
    }
    forget_closed(allocation);
}
