//! The path of a relayed packet. No heap allocation, one look-up for the allocation and one for the peer.

use super::allocation::{Allocation, Scope};
use super::counters::DropReason;
use super::letters::FirstUse;
use super::outcome::{Delivery, Header, IcmpError, RelayId, ToClient, ToWorker};
use super::requests::is_understood;
use super::timers::Slot;
use super::{ClientPath, Engine, FiveTuple, Instant, Now, Outcome};
use crate::policy::{Direction, Verdict};
use crate::wire::attribute::Family;
use crate::wire::{
    AttributeType, Class, Message, MessageType, Method, TransactionId, Writer, channel_data, padded,
};
use slab::Slab;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

/// The largest payload of a UDP datagram over IPv4; over IPv6 it is 20 bytes more, which nothing relies on.
const MAX_DATAGRAM: usize = 65_507;

/// How many ICMP errors a second an allocation's client is told. They are hints, and a peer that does not exist can
/// cause as many as there are packets.
const ICMP_PER_SECOND: u8 = 10;

/// How a payload came to a relay.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Via {
    Network,
    Hairpin,
}

impl Engine {
    #[inline]
    pub(super) fn channel_data(
        &mut self,
        clocks: Now,
        client: &ClientPath,
        frame: &[u8],
    ) -> Outcome {
        let now = clocks.instant;
        let Some((number, payload)) = channel_data::parse_in(self.rules().channels, frame) else {
            return self.drop(DropReason::Malformed);
        };
        let Some((slot, allocation)) = self
            .find(&client.tuple)
            .and_then(|slot| Some((slot, self.allocations.get(slot as usize)?)))
        else {
            return match self.first_use(clocks, client, frame) {
                FirstUse::Here(_) => self.channel_data(clocks, client, frame),
                FirstUse::Held => Outcome::Nothing,
                FirstUse::Unknown => self.drop(DropReason::NoAllocation),
            };
        };
        match allocation.channels.by_number(number) {
            Some(channel) if channel.is_bound(now) => {
                if !channel.is_permitted(now) {
                    return self.drop(DropReason::NoPermission);
                }
                let (peer, scope) = (channel.peer, channel.scope);
                self.relay_to_peer(now, slot, peer, scope, payload, false)
            }
            _ => self.drop(DropReason::NoChannel),
        }
    }

    pub(super) fn send_indication(
        &mut self,
        clocks: Now,
        client: &ClientPath,
        message: &Message<'_>,
        input: &[u8],
    ) -> Outcome {
        let now = clocks.instant;
        let slot = match self.find_live(&client.tuple, now) {
            Some(slot) => slot,
            None => match self.first_use(clocks, client, input) {
                FirstUse::Here(slot) => slot,
                FirstUse::Held => return Outcome::Nothing,
                FirstUse::Unknown => return self.drop(DropReason::NoAllocation),
            },
        };
        let (mut peer, mut data, mut dont_fragment) = (None, None, false);
        for attribute in message.attributes() {
            match attribute.kind {
                AttributeType::XOR_PEER_ADDRESS if peer.is_none() => peer = Some(attribute),
                AttributeType::DATA if data.is_none() => data = Some(attribute),
                AttributeType::DONT_FRAGMENT => {
                    if attribute.dont_fragment().is_err() {
                        return self.drop(DropReason::Malformed);
                    }
                    dont_fragment = true;
                }
                kind if !is_understood(kind) => return self.drop(DropReason::UnknownAttribute),
                _ => {}
            }
        }
        let (Some(peer), Some(data)) = (peer, data) else {
            return self.drop(DropReason::Malformed);
        };
        let Ok(peer) = peer.xor_address(message.transaction()) else {
            return self.drop(DropReason::Malformed);
        };
        let Some(allocation) = self
            .allocations
            .get(slot as usize)
            .filter(|allocation| allocation.connections.is_none())
        else {
            return self.drop(DropReason::NoAllocation);
        };
        let Some(permission) = allocation.permissions.get(peer.ip(), now) else {
            return self.drop(DropReason::NoPermission);
        };
        // A permission is for any port, so the port is judged here, where it is first named. Another allocation's
        // address is not asked about: it is reached inside.
        let scope = match self.rules().filter.judge(peer) {
            Verdict::Allow => permission.scope,
            Verdict::HairpinOnly => Scope::HairpinOnly,
            Verdict::Deny(_) => return self.drop(DropReason::PeerDenied),
        };
        let payload = data.offset..data.offset + data.value.len();
        // From datagram to datagram it is for IPv4 on both sides, and ignored with IPv6 on either (RFC 8656 §13); a stream's
        // is honoured always (§15).
        let is_ipv4 = peer.is_ipv4() && client.tuple.client().is_ipv4();
        let dont_fragment = dont_fragment && (client.tuple.transport().is_stream() || is_ipv4);
        self.relay_to_peer(now, slot, peer, scope, payload, dont_fragment)
    }

    /// A payload that is allowed to go to a peer goes there: inside where the peer is a relayed address of this
    /// server, over the network otherwise.
    #[inline]
    fn relay_to_peer(
        &mut self,
        now: Instant,
        slot: Slot,
        peer: SocketAddr,
        scope: Scope,
        payload: Range<usize>,
        dont_fragment: bool,
    ) -> Outcome {
        let owner = self.shared.relays.owner_of(peer);
        if owner.is_none() && scope == Scope::HairpinOnly {
            return self.drop(DropReason::StaleRelay);
        }
        let Some(allocation) = self.allocations.get_mut(slot as usize) else {
            return self.drop(DropReason::NoAllocation);
        };
        if owner.is_some_and(|owner| owner.circle != allocation.circle) {
            return self.drop(DropReason::PeerDenied);
        }
        let Some(&relay) = allocation.relays.live(Family::of(&peer), now) else {
            return self.drop(DropReason::NoAllocation);
        };
        if let Some(meter) = &allocation.meter {
            let (millis, way) = (now.as_millis(), Direction::ToPeer);
            // A stream is read from later instead: what it sent is not lost.
            if allocation.client.tuple.transport().is_stream() {
                meter.charge(millis, way, payload.len());
            } else if !meter.pass(millis, way, payload.len()) {
                return self.drop(DropReason::Bandwidth);
            }
        }
        allocation.usage.packets_to_peers += 1;
        allocation.usage.bytes_to_peers += payload.len() as u64;
        self.watches
            .count(now, allocation.id, peer, Direction::ToPeer, payload.len());
        let transport = allocation.client.tuple.transport();
        self.counters.to_peers.of(transport).add(payload.len());
        let Some(owner) = owner else {
            return Outcome::ToPeer {
                relay: relay.id,
                peer,
                payload,
                dont_fragment,
            };
        };
        let delivery = Delivery {
            relay: owner.relay,
            to: peer,
            from: relay.address.advertised,
        };
        if owner.worker == self.worker {
            return self.hairpin(now, &delivery, payload);
        }
        Outcome::ToWorker(ToWorker {
            worker: owner.worker,
            delivery,
            payload,
        })
    }

    /// How long nothing more is to be read from a client on a stream, which has sent more than its bandwidth allows.
    #[must_use]
    pub fn reading_pause(&self, now: Now, client: &FiveTuple) -> Duration {
        if self.shared.bandwidth.is_unlimited() {
            return Duration::ZERO;
        }
        self.find(client)
            .and_then(|slot| self.allocations.get(slot as usize)?.meter.as_ref())
            .map_or(Duration::ZERO, |meter| {
                meter.pause(now.instant.as_millis(), Direction::ToPeer)
            })
    }

    /// Takes a datagram that arrived at a relay's socket.
    #[inline]
    pub fn from_peer(
        &mut self,
        now: Now,
        relay: RelayId,
        peer: SocketAddr,
        payload: Range<usize>,
    ) -> Outcome {
        let peer = super::path::canonical(peer);
        self.relay_to_client(now.instant, relay, peer, payload, Via::Network)
    }

    /// Takes a payload that another worker's engine sent to one of this engine's relayed addresses.
    #[inline]
    pub fn from_worker(&mut self, now: Now, delivery: &Delivery, payload: Range<usize>) -> Outcome {
        self.hairpin(now.instant, delivery, payload)
    }

    /// Takes an ICMP error about something a relay sent to `peer`; its port is 0 where it is not known. The client hears
    /// of it if the peer has a permission (RFC 8656 §11.5).
    pub fn from_icmp(
        &mut self,
        now: Now,
        relay: RelayId,
        peer: SocketAddr,
        error: IcmpError,
    ) -> Outcome {
        let now = now.instant;
        let peer = super::path::canonical(peer);
        let is_told = match Family::of(&peer) {
            Family::V4 => matches!(error.kind, 3 | 11),
            Family::V6 => matches!(error.kind, 1..=3),
        };
        let Some(allocation) = live_at(&self.relays, &mut self.allocations, relay, now) else {
            return self.drop(DropReason::NoAllocation);
        };
        if allocation.permissions.get(peer.ip(), now).is_none() {
            return self.drop(DropReason::NoPermission);
        }
        if allocation.is_away() {
            return self.drop(DropReason::ClientAway);
        }
        let second = now.as_millis() / 1000;
        let (last, count) = allocation.icmp;
        let count = if last == second { count } else { 0 };
        if !is_told || count >= ICMP_PER_SECOND {
            return self.drop(DropReason::IcmpIgnored);
        }
        allocation.icmp = (second, count + 1);
        let has_mtu = matches!(
            (Family::of(&peer), error.kind, error.code),
            (Family::V4, 3, 4) | (Family::V6, 2, _)
        );
        let [d0, d1, d2, d3] = if has_mtu { error.data } else { 0 }.to_be_bytes();
        let tuple = allocation.client.tuple;
        let link = allocation.client.link;
        let mut bytes = [0; Header::MAX_LENGTH];
        let transaction = TransactionId(rand::RngExt::random(&mut self.rng));
        let kind = MessageType::new(Method::DATA, Class::Indication);
        let mut writer = Writer::new(&mut bytes, kind, transaction);
        writer
            .xor_address(AttributeType::XOR_PEER_ADDRESS, peer)
            .attribute(
                AttributeType::ICMP,
                &[0, 0, error.kind, error.code, d0, d1, d2, d3],
            );
        let Ok(length) = writer.finish() else {
            return self.drop(DropReason::TooLarge);
        };
        Outcome::ToClient(ToClient {
            link,
            tuple,
            header: Header::new(length, bytes),
            payload: 0..0,
            padding: 0,
        })
    }

    fn hairpin(&mut self, now: Instant, delivery: &Delivery, payload: Range<usize>) -> Outcome {
        // The relay may have been closed and its number given to another allocation meanwhile.
        let is_current = self
            .relay_owner(delivery.relay)
            .and_then(|allocation| allocation.relays.iter().find(|r| r.id == delivery.relay))
            .map(|relay| relay.address)
            .is_some_and(|a| a.local == delivery.to || a.advertised == delivery.to);
        if !is_current {
            return self.drop(DropReason::StaleRelay);
        }
        let length = payload.len();
        let outcome =
            self.relay_to_client(now, delivery.relay, delivery.from, payload, Via::Hairpin);
        if outcome != Outcome::Nothing {
            self.counters.hairpin.add(length);
        }
        outcome
    }

    fn relay_owner(&self, relay: RelayId) -> Option<&Allocation> {
        let slot = *self.relays.get(relay.0 as usize)?;
        self.allocations.get(slot as usize)
    }

    /// A payload from a peer goes to the client if the peer has a permission.
    #[inline]
    fn relay_to_client(
        &mut self,
        now: Instant,
        relay: RelayId,
        peer: SocketAddr,
        payload: Range<usize>,
        via: Via,
    ) -> Outcome {
        let Some(allocation) = live_at(&self.relays, &mut self.allocations, relay, now) else {
            return self.drop(DropReason::NoAllocation);
        };
        let channel = allocation
            .channels
            .by_peer(peer)
            .filter(|c| c.is_bound(now));
        let permitted = match channel {
            Some(channel) => channel.is_permitted(now).then_some(channel.scope),
            None => allocation.permissions.get(peer.ip(), now).map(|p| p.scope),
        };
        match permitted {
            Some(Scope::Network) => {}
            Some(Scope::HairpinOnly) if via == Via::Hairpin => {}
            Some(Scope::HairpinOnly) => return self.drop(DropReason::PeerDenied),
            None => return self.drop(DropReason::NoPermission),
        }

        if allocation.is_away() {
            return self.drop(DropReason::ClientAway);
        }
        let tuple = allocation.client.tuple;
        let is_stream = tuple.transport().is_stream();
        let mut bytes = [0; Header::MAX_LENGTH];
        let (length, padding) = match channel {
            Some(channel) => {
                let Some(header) = channel_data::header(channel.number, payload.len()) else {
                    return self.drop(DropReason::TooLarge);
                };
                for (to, from) in bytes.iter_mut().zip(header) {
                    *to = from;
                }
                // Frames on a stream are padded (RFC 8656 §12.5); in a datagram that would be waste.
                let padding = if is_stream {
                    padded(payload.len()) - payload.len()
                } else {
                    0
                };
                (header.len(), padding)
            }
            None => {
                let transaction = TransactionId(rand::RngExt::random(&mut self.rng));
                let kind = MessageType::new(Method::DATA, Class::Indication);
                let mut writer = Writer::new(&mut bytes, kind, transaction);
                writer
                    .xor_address(AttributeType::XOR_PEER_ADDRESS, peer)
                    .data_head(payload.len());
                let Ok(length) = writer.finish() else {
                    return self.drop(DropReason::TooLarge);
                };
                (length, padded(payload.len()) - payload.len())
            }
        };
        if !is_stream && length + payload.len() + padding > MAX_DATAGRAM {
            return self.drop(DropReason::TooLarge);
        }
        if let Some(meter) = &allocation.meter
            && !meter.pass(now.as_millis(), Direction::ToClient, payload.len())
        {
            return self.drop(DropReason::Bandwidth);
        }
        allocation.usage.packets_to_client += 1;
        allocation.usage.bytes_to_client += payload.len() as u64;
        self.watches
            .count(now, allocation.id, peer, Direction::ToClient, payload.len());
        let transport = allocation.client.tuple.transport();
        self.counters.to_clients.of(transport).add(payload.len());
        Outcome::ToClient(ToClient {
            link: allocation.client.link,
            tuple,
            header: Header::new(length, bytes),
            payload,
            padding: padding as u8,
        })
    }
}

/// The allocation that has a relay which is not over. Takes the engine's tables one by one, so that the rest of the engine
/// stays at hand.
#[inline]
fn live_at<'a>(
    relays: &Slab<Slot>,
    allocations: &'a mut Slab<Allocation>,
    relay: RelayId,
    now: Instant,
) -> Option<&'a mut Allocation> {
    let slot = *relays.get(relay.0 as usize)?;
    allocations
        .get_mut(slot as usize)
        .filter(|allocation| allocation.relays.is_live(relay, now))
}
