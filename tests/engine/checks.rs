//! What the world checks: where payloads may go, what events may say, what all answers have in common.

use crate::client::Reply;
use crate::world::{Arrival, Live, World};
use hairpin::engine::{
    AllocationId, CHANNEL_LIFETIME, ClientPath, Counters, Event, FiveTuple, Letter, Opened,
    PERMISSION_LIFETIME, RelayId, RelayedAddress, ToClient,
};
use hairpin::wire::{AttributeType, Class, Mac, Message, Method, channel_data};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::ops::Range;

/// Where an allocation is that no worker has.
const ON_THE_WAY: usize = usize::MAX;

impl World {
    pub fn deliver(&mut self, worker: usize, to_client: &ToClient, input: &[u8]) {
        let data = within(input, &to_client.payload);
        let mut bytes = to_client.header.as_bytes().to_vec();
        bytes.extend_from_slice(&data);
        bytes.resize(bytes.len() + usize::from(to_client.padding), 0);
        self.note(|| format!("{bytes:02x?}"));
        let live = &self.live[&to_client.tuple];
        assert_eq!(live.worker, worker);
        let (channel, from) = match Message::parse(&bytes) {
            Ok(message) => {
                assert_eq!(
                    (message.method(), message.class()),
                    (Method::DATA, Class::Indication)
                );
                let value = message.attribute(AttributeType::DATA).unwrap().value;
                assert_eq!(value, data);
                let peer = message.attribute(AttributeType::XOR_PEER_ADDRESS).unwrap();
                (None, peer.xor_address(message.transaction()).unwrap())
            }
            Err(_) => {
                let (number, range) = channel_data::parse(&bytes).expect("a frame");
                assert_eq!(bytes[range], data);
                let (peer, until) = live.channels[&number.get()];
                assert!(until > self.millis, "the channel is over");
                (Some(number.get()), peer)
            }
        };
        self.expect_permission(&to_client.tuple, from);
        self.arrivals
            .entry(format!("{:?}", to_client.tuple))
            .or_default()
            .push(Arrival {
                bytes,
                channel,
                from,
                data,
            });
    }

    pub fn expect_permission(&self, tuple: &FiveTuple, peer: SocketAddr) {
        let until = self.live[tuple].permissions.get(&peer.ip());
        assert!(
            until.is_some_and(|until| *until > self.millis),
            "{peer} has no permission"
        );
    }

    /// Notes what an answer granted.
    pub fn learn(&mut self, path: &ClientPath, request: &[u8], reply: &Reply) {
        let request = Message::parse(request).unwrap();
        if reply.code() != 0 {
            return;
        }
        let now = self.millis;
        let Some(live) = self.live.get_mut(&path.tuple) else {
            return;
        };
        // A channel is bound to the first peer that is named.
        let granted = match request.method() {
            Method::CREATE_PERMISSION => usize::MAX,
            Method::CHANNEL_BIND => 1,
            _ => 0,
        };
        let peers = request
            .attributes()
            .filter(|attribute| attribute.kind == AttributeType::XOR_PEER_ADDRESS);
        for attribute in peers.take(granted) {
            let peer = attribute.xor_address(request.transaction()).unwrap();
            let until = now + u64::from(PERMISSION_LIFETIME) * 1000;
            live.permissions.insert(peer.ip(), until);
            if let Some(number) = request.attribute(AttributeType::CHANNEL_NUMBER) {
                let until = now + u64::from(CHANNEL_LIFETIME) * 1000;
                let number = number.channel_number().unwrap();
                live.channels.insert(number, (peer, until));
            }
        }
    }

    pub fn drain(&mut self, worker: usize) {
        while let Some(event) = self.engines[worker].next_event() {
            self.note(|| format!("{event:?}"));
            match event {
                Event::CloseRelay(relay) => {
                    let socket = self.sockets.remove(&(worker, relay)).expect("it was open");
                    self.heard.remove(&socket);
                    let all = self.live.values_mut().chain(self.pathless.values_mut());
                    for live in all.filter(|l| l.worker == worker) {
                        if live.relays.iter().any(|(id, _)| *id == relay) {
                            live.relays.retain(|(id, _)| *id != relay);
                            live.permissions
                                .retain(|ip, _| ip.is_ipv4() != socket.is_ipv4());
                        }
                    }
                }
                Event::HearPeers(relay) => {
                    let socket = *self.sockets.get(&(worker, relay)).expect("it is open");
                    assert!(self.heard.insert(socket), "told twice");
                }
                Event::RouteAdded(route) => {
                    let is_its = |live: &Live| {
                        live.worker == worker
                            && live.relays.iter().any(|(id, _)| *id == route.relay)
                    };
                    match self.live.get(&route.client) {
                        Some(live) => assert!(is_its(live), "not its relay: {route:?}"),
                        // It moved there and ended by one and the same request, as the next events say.
                        None => {
                            let gone = self.pathless.values().find(|live| is_its(live));
                            let gone = gone.expect("it is nobody's").id;
                            let mut sessions = self.engines[worker].sessions();
                            assert!(sessions.all(|session| session.id != gone));
                        }
                    }
                    assert!(self.routes.insert(route), "added twice: {route:?}");
                }
                Event::RouteRemoved(route) => {
                    assert!(self.routes.remove(&route), "never added: {route:?}");
                }
                Event::Connect(connect) => self.connects.push((worker, connect)),
                Event::Bound(bound) => self.bound.push(bound),
                Event::CloseConnection(id) => self.hung_up.push(id),
                Event::Tell(message) => {
                    assert!(message.bytes.len() <= 548);
                    let tuple = message.client.tuple;
                    self.told.push((tuple, Reply(message.bytes.into_vec())));
                }
                Event::Letter(letter) => {
                    let relays: Vec<RelayId> = letter.relays().collect();
                    let mut sockets = Vec::new();
                    for relay in &relays {
                        let socket = self.sockets.remove(&(worker, *relay));
                        sockets.push(socket.expect("it was open"));
                    }
                    let is_taken_along = |live: &Live| {
                        live.worker == worker
                            && live.relays.iter().any(|(id, _)| relays.contains(id))
                    };
                    let gone = self.live.extract_if(|_, live| is_taken_along(live));
                    self.pathless.extend(gone.map(|(_, live)| (live.id, live)));
                    for live in self.pathless.values_mut().filter(|l| is_taken_along(l)) {
                        live.worker = ON_THE_WAY;
                    }
                    self.letters.push_back((letter, worker, sockets));
                }
                Event::Moved(moved) => {
                    let mut live = self.take(&moved.from, moved.id);
                    assert!([ON_THE_WAY, worker].contains(&live.worker));
                    live.worker = worker;
                    for (relay, relayed) in &mut live.relays {
                        *relay = self.relay_at(worker, *relayed);
                    }
                    let page = self.engines[worker].sessions_from(0, usize::MAX);
                    let mut there = page.sessions.iter().filter(|s| s.id == moved.id);
                    if there.any(|session| !session.is_away) {
                        self.enter(moved.to.tuple, live);
                    } else {
                        // That path closed meanwhile, and may be another allocation's by now.
                        self.pathless.insert(live.id, live);
                    }
                }
                Event::Opened(opened) => self.opened(worker, *opened),
                Event::Closed(closed) => {
                    let live = self.take(&closed.client.tuple, closed.id);
                    assert!(live.relays.is_empty(), "its relays are closed before");
                    let tuple = closed.client.tuple;
                    // Unless it waited for its client, and the addresses are another allocation's by now.
                    let is_anothers = self.live.contains_key(&tuple);
                    let mut routes = self.routes.iter();
                    assert!(is_anothers || !routes.any(|route| route.client == tuple));
                    self.closed.push(*closed);
                }
                Event::Refused(_) => {}
                Event::AuthenticationFailed(failed) => {
                    let text = format!("{} {}", failed.user, failed.reason.name());
                    self.auth_failures.push(text);
                }
            }
        }
        while !self.holds_letters && self.deliver_letter(0) {}
    }

    /// Delivers the letter at a place of those on their way, or the one before it: those of one worker to another stay
    /// in order.
    pub fn deliver_letter(&mut self, place: usize) -> bool {
        let way = |(letter, from, _): &(Letter, usize, _)| (*from, letter.to);
        let Some(wanted) = self.letters.get(place).map(way) else {
            return false;
        };
        let first = self.letters.iter().position(|letter| way(letter) == wanted);
        let first = self.letters.remove(first.expect("it is there"));
        let (letter, _, sockets) = first.expect("it is there");
        let worker = letter.to.0 as usize;
        let now = self.now();
        let arrived = self.engines[worker].from_letter(now, letter);
        assert_eq!(arrived.relays.len(), sockets.len());
        for (relay, socket) in arrived.relays.into_iter().zip(sockets) {
            let former = self.sockets.insert((worker, relay), socket);
            assert_eq!(former, None, "a relay number is given twice");
        }
        self.drain(worker);
        for frame in arrived.frames {
            if let Some(reply) = self.client_sends(worker, &frame.client, &frame.bytes) {
                self.told.push((frame.client.tuple, reply));
            }
        }
        true
    }

    /// The answer to a request, where it came from another worker.
    pub fn take_told(&mut self, path: &ClientPath, request: &[u8]) -> Option<Reply> {
        let transaction = Message::parse(request).ok()?.transaction();
        let place = self.told.iter().position(|(tuple, reply)| {
            *tuple == path.tuple && reply.message().transaction() == transaction
        })?;
        Some(self.told.remove(place).1)
    }

    fn relay_at(&self, worker: usize, relayed: RelayedAddress) -> RelayId {
        let all = self.sockets.iter();
        all.filter(|((w, _), socket)| *w == worker && **socket == relayed.local)
            .map(|((_, relay), _)| *relay)
            .next()
            .expect("its socket is open")
    }

    fn opened(&mut self, worker: usize, opened: Opened) {
        let socket_of = |relayed: RelayedAddress| (self.relay_at(worker, relayed), relayed);
        let relays: Vec<_> = opened.relayed.iter().map(socket_of).collect();
        let (_, relayed) = relays[0];
        let live = Live {
            id: opened.id,
            worker,
            user: opened.user,
            relays,
            relayed,
            permissions: HashMap::new(),
            channels: HashMap::new(),
        };
        self.enter(opened.client.tuple, live);
    }

    fn enter(&mut self, tuple: FiveTuple, live: Live) {
        let former = self.live.insert(tuple, live);
        assert!(former.is_none(), "two allocations on one 5-tuple");
    }

    /// Takes out an allocation that was last at a 5-tuple, which may be another's by now.
    fn take(&mut self, tuple: &FiveTuple, id: AllocationId) -> Live {
        if let Some(live) = self.pathless.remove(&id) {
            return live;
        }
        let live = self.live.remove(tuple).expect("it was open");
        assert_eq!(live.id, id);
        live
    }

    /// All allocations, with a path or without.
    pub fn all_live(&self) -> impl Iterator<Item = &Live> {
        self.live.values().chain(self.pathless.values())
    }

    pub fn check(&self) {
        for (worker, engine) in self.engines.iter().enumerate() {
            let known = self.all_live().filter(|l| l.worker == worker).count();
            assert_eq!(engine.allocation_count(), known);
            assert!(known == 0 || engine.next_deadline().is_some());
        }
        let sum = |of: &dyn Fn(&Counters) -> u64| self.counters.iter().map(|c| of(c)).sum::<u64>();
        let alive = sum(&|c| c.allocations_opened.get()) - sum(&|c| c.allocations_closed.get());
        assert_eq!(alive, self.all_live().count() as u64);
        let counted = [
            sum(&|c| c.to_peers.packets()),
            sum(&|c| c.to_peers.bytes()),
            sum(&|c| c.to_clients.packets()),
            sum(&|c| c.to_clients.bytes()),
        ];
        // A payload to a relay of this server that has no permission for it counts for its sender only.
        assert!(counted[0] >= self.traffic[0] && counted[1] >= self.traffic[1]);
        assert_eq!(counted[2..], self.traffic[2..]);
        let counts = self.shared.relays.counts(self.now().instant);
        // A reserved port counts like the allocation it is held for.
        let in_use = self.shared.quotas.in_use() as usize;
        assert_eq!(in_use, self.all_live().count() + counts.reserved as usize);
        let on_the_way: usize = self
            .letters
            .iter()
            .map(|(_, _, sockets)| sockets.len())
            .sum();
        let open = self.sockets.len() + on_the_way;
        assert_eq!(counts.used as usize, open);
        let relays = || self.all_live().flat_map(|live| &live.relays);
        assert_eq!(open, relays().count());
        let advertised: HashSet<_> = relays().map(|(_, relayed)| relayed.advertised).collect();
        assert_eq!(advertised.len(), open);
    }

    pub fn drops(&self, reason: hairpin::engine::counters::DropReason) -> u64 {
        let all = self.counters.iter().flat_map(|c| c.drops());
        all.filter(|(r, _)| *r == reason).map(|(_, n)| n).sum()
    }
}

pub fn within(input: &[u8], range: &Range<usize>) -> Vec<u8> {
    let part = input.get(range.clone());
    part.expect("the range lies within the input").to_vec()
}

/// What holds for every answer.
pub fn check_reply(request: &[u8], reply: &Reply) {
    let request = Message::parse(request).unwrap();
    let answer = reply.message();
    assert_eq!(request.class(), Class::Request);
    assert_eq!(answer.method(), request.method());
    assert_eq!(answer.transaction(), request.transaction());
    assert!(reply.0.len() <= 548, "{} bytes", reply.0.len());
    assert_eq!(answer.has_fingerprint(), request.has_fingerprint());
    for (_, _, padding) in reply.raw_attributes() {
        assert!(padding.iter().all(|byte| *byte == 0));
    }
    let has = |kind| reply.has(kind);
    assert!(
        !(has(AttributeType::MESSAGE_INTEGRITY) && has(AttributeType::MESSAGE_INTEGRITY_SHA256))
    );
    if request.mac() != Some(Mac::Sha256) {
        // libwebrtc takes such an answer for one it does not understand.
        assert!(!has(AttributeType::MESSAGE_INTEGRITY_SHA256));
        assert!(!has(AttributeType::PASSWORD_ALGORITHM) && !has(AttributeType::USERHASH));
    }
    if reply.code() == 0 {
        assert_eq!(reply.is_signed(), request.method() != Method::BINDING);
        for kind in [
            AttributeType::USERNAME,
            AttributeType::REALM,
            AttributeType::NONCE,
        ] {
            assert!(!has(kind));
        }
    }
    if has(AttributeType::REALM) {
        assert!(matches!(reply.code(), 401 | 438) && !reply.is_signed());
    }
}
