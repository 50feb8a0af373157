//! What has to hold after each request, after each step and at the end, beyond what the simulated network checks.

use super::{DENIED, Run, Who};
use crate::client::{Ask, Part, Reply};
use crate::registry;
use crate::world::{RELAY, RELAY_LOCAL, RELAY_V6, SERVER, SERVER_V6, address};
use hairpin::engine::{FiveTuple, Usage};
use hairpin::wire::{AttributeType, Class, Method};
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

impl Run {
    /// Nobody has success with what is somebody else's.
    pub(super) fn is_rightful(
        &mut self,
        ask: &Ask,
        reply: &Reply,
        signer: Who,
        owner: Option<Who>,
    ) {
        match ask.method {
            Method::CONNECTION_BIND => {
                let bound = self.world.bound.pop().expect("what is bound is told");
                let place = self
                    .connections
                    .iter()
                    .position(|c| c.0 == bound.connection);
                let (_, _, owner) = self.connections[place.expect("it was connected")];
                assert_eq!(owner, signer, "somebody else's connection");
            }
            Method::ALLOCATE => {
                assert_eq!(owner, None, "a second one on a 5-tuple");
                let shown = value(ask, AttributeType::RESERVATION_TOKEN);
                if let Some(token) = shown {
                    let known = self.reservations.iter().find(|(known, _)| known == token);
                    assert_eq!(known.map(|(_, who)| *who), Some(signer), "not theirs");
                    assert!(self.redeemed.insert(token.to_vec()), "redeemed twice");
                }
                if let Some(token) = reply.value(AttributeType::RESERVATION_TOKEN) {
                    self.reservations.push((token, signer));
                }
            }
            _ => {
                let owner = match value(ask, AttributeType::MOBILITY_TICKET) {
                    Some(ticket) => {
                        let known = self.tickets.iter().find(|(known, _)| known == ticket);
                        known.map(|(_, who)| *who).or(owner)
                    }
                    None => owner,
                };
                assert_eq!(owner, Some(signer), "somebody else's allocation");
            }
        }
        if let Some(ticket) = reply.value(AttributeType::MOBILITY_TICKET) {
            self.tickets.push((ticket, signer));
        }
    }

    /// Whose allocation is on a 5-tuple.
    pub(super) fn owner(&self, tuple: &FiveTuple) -> Option<Who> {
        let live = self.world.live.get(tuple)?;
        Some(Who::of(live.user.as_bytes()))
    }

    /// Whose allocation ended on a 5-tuple, behind so many that had ended before.
    pub(super) fn former_owner(&self, tuple: &FiveTuple, ended: usize) -> Option<Who> {
        let mut closed = self.world.closed.iter().skip(ended);
        let closed = closed.find(|closed| closed.client.tuple == *tuple)?;
        Some(Who::of(closed.user.as_bytes()))
    }

    /// Looks at what the step led to.
    pub(super) fn settle(&mut self) {
        for sent in std::mem::take(&mut self.world.sent) {
            assert!(self.may_be_reached(sent.to), "{} is reached", sent.to);
            assert!(self.was_sent(&sent.data), "not what was sent");
        }
        for (_, arrivals) in std::mem::take(&mut self.world.arrivals) {
            for arrival in arrivals {
                assert!(self.may_be_heard(arrival.from), "{} is heard", arrival.from);
                assert!(self.was_sent(&arrival.data), "not what was sent");
            }
        }
        for (worker, connect) in std::mem::take(&mut self.world.connects) {
            let inside = self.world.shared.relays.tcp_relay(connect.to).is_some();
            assert!(inside || self.may_be_reached(connect.to), "{}", connect.to);
            assert_ne!(connect.to.port(), 25);
            let live = self.world.live.iter().find(|(_, live)| {
                let mut relays = live.relays.iter();
                relays.any(|(_, relayed)| relayed.local == connect.from)
            });
            let (_, live) = live.expect("it comes from somebody's relay");
            assert_eq!(live.worker, worker);
            let owner = Who::of(live.user.as_bytes());
            self.connections.push((connect.connection, worker, owner));
        }
        for (_, told) in self.world.told.drain(..) {
            // To Connect, and to what had to ask another worker.
            assert!(matches!(
                told.message().class(),
                Class::Success | Class::Error
            ));
        }
        self.world.hung_up.clear();
        self.world.auth_failures.clear();
        self.ended = self.world.closed.len();
        let held = self.world.shared.connections.count();
        assert!(
            held <= 3 * self.world.live.len(),
            "more connections than allocations may have"
        );
    }

    /// Whether somebody sent a payload, perhaps earlier: data waits for an allocation that moves. One of bytes that the
    /// fuzzer made up lies somewhere in them.
    fn was_sent(&self, data: &[u8]) -> bool {
        let is_part = |whole: &Vec<u8>| whole.windows(data.len()).any(|part| part == data);
        data.is_empty()
            || self.payloads.iter().any(|payload| payload == data)
            || self.made_up.iter().any(is_part)
    }

    /// Whether a packet may leave for an address.
    fn may_be_reached(&self, to: SocketAddr) -> bool {
        let own = [SERVER, SERVER_V6].map(|text| address(text).ip());
        let relays = [RELAY, RELAY_LOCAL, RELAY_V6].map(|text| text.parse::<IpAddr>().unwrap());
        let is_own = own.contains(&to.ip()) || relays.contains(&to.ip());
        let is_denied = self.denies && to.ip() == DENIED;
        to.port() != 0 && !is_own && !is_denied && !registry::is_closed(to.ip())
    }

    /// Whether a client may hear of an address: also of another client's relay, which may have ended in this step.
    pub(super) fn may_be_heard(&self, from: SocketAddr) -> bool {
        let mut live = self.world.live.values().flat_map(|live| &live.relays);
        let ended = self.world.closed.iter().skip(self.ended);
        let mut ended = ended.flat_map(|closed| [closed.relayed.v4, closed.relayed.v6]);
        live.any(|(_, relayed)| relayed.advertised == from)
            || ended.any(|relayed| relayed.is_some_and(|relayed| relayed.advertised == from))
            || self.may_be_reached(SocketAddr::new(from.ip(), from.port().max(1)))
    }

    /// All of it ends; what was reached.
    pub(super) fn end(mut self) -> HashSet<(u8, usize, u32)> {
        self.world.holds_letters = false;
        self.deliver_letters();
        self.world.expect_nothing_left();
        let closed = &self.world.closed;
        let sum =
            |of: fn(&Usage) -> u64| -> u64 { closed.iter().map(|closed| of(&closed.usage)).sum() };
        let counters = &self.world.counters;
        let packets: u64 = counters.iter().map(|c| c.to_peers.packets()).sum();
        assert_eq!(sum(|usage| usage.packets_to_peers), packets);
        let bytes: u64 = counters.iter().map(|c| c.to_clients.bytes()).sum();
        assert_eq!(sum(|usage| usage.bytes_to_client), bytes);
        self.reached()
    }

    fn reached(&self) -> HashSet<(u8, usize, u32)> {
        let mut reached = HashSet::new();
        let mut note = |family: u8, counts: &mut dyn Iterator<Item = u64>| {
            let counted = counts.enumerate().filter(|(_, count)| *count > 0);
            reached.extend(counted.map(|(place, count)| (family, place, count.ilog2())));
        };
        for counters in &self.world.counters {
            note(0, &mut counters.responses().map(|(_, _, count)| count));
            note(1, &mut counters.drops().map(|(_, count)| count));
            note(2, &mut counters.auth_failures().map(|(_, count)| count));
            note(3, &mut counters.refusals().map(|(_, count)| count));
            note(4, &mut counters.tcp_connections().map(|(_, count)| count));
            let moved = counters.allocations_moved.get();
            let traffic = [counters.to_peers.packets(), counters.to_clients.packets()];
            note(5, &mut traffic.into_iter().chain([moved]));
        }
        note(
            6,
            &mut self
                .world
                .closed
                .iter()
                .map(|closed| 1 << closed.reason as u64),
        );
        reached
    }
}

/// The value that a request has for an attribute.
fn value(ask: &Ask, wanted: AttributeType) -> Option<&[u8]> {
    ask.parts.iter().find_map(|part| match part {
        Part::Raw(kind, value) if *kind == wanted => Some(&value[..]),
        _ => None,
    })
}
