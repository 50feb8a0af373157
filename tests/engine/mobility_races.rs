//! Allocations that move while the letters between the workers take their time: whatever comes first, nothing is
//! delivered to the wrong place and nothing is left.

use crate::client::{Client, bind, frame, permit, refresh, send};
use crate::mobility::{at, mobile_world, move_to, refresh_with, settle, tcp_at};
use crate::world::{World, peer};
use hairpin::engine::counters::DropReason;
use hairpin::engine::{FiveTuple, WorkerId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::net::SocketAddr;

/// A client with a channel and a permission on worker 0, and the same at a new address of worker 1.
struct Scene {
    world: World,
    old: Client,
    new: Client,
    relayed: SocketAddr,
    ticket: Vec<u8>,
}

fn scene(new: fn(&World, u8, usize) -> Client) -> Scene {
    let mut world = mobile_world();
    let mut old = world.tcp_client(1);
    let (relayed, ticket) = settle(&mut world, &mut old);
    old.ask(&mut world, &bind(0x4000, peer(1, 1)));
    let mut new = new(&world, 2, 1);
    new.get_nonce(&mut world);
    world.holds_letters = true;
    Scene {
        world,
        old,
        new,
        relayed,
        ticket,
    }
}

impl Scene {
    /// Sends the Refresh with the ticket, whose letter is on its way then.
    fn ask(&mut self) -> Vec<u8> {
        let request = self.new.signed(&refresh_with(&self.ticket));
        assert_eq!(self.new.send_bytes(&mut self.world, &request), None);
        request
    }

    fn answer(&mut self, request: &[u8]) -> Option<u16> {
        let reply = self.world.take_told(&self.new.path, request);
        reply.map(|reply| reply.code())
    }

    fn deliver_all(&mut self) {
        while self.world.deliver_letter(0) {}
    }

    fn moved(&mut self) {
        let request = self.ask();
        self.deliver_all();
        assert_eq!(self.answer(&request), Some(0));
    }

    /// What the peer sends reaches this client and no other.
    fn expect_at(&mut self, is_new: bool) {
        for client in [&self.old, &self.new] {
            client.received(&mut self.world);
        }
        assert!(self.world.peer_sends(peer(1, 1), self.relayed, b"in"));
        let [old, new] = [&self.old, &self.new].map(|c| c.received(&mut self.world).len());
        assert_eq!((old, new), if is_new { (0, 1) } else { (1, 0) });
    }

    fn end(mut self) {
        self.deliver_all();
        self.world.holds_letters = false;
        self.world.expect_nothing_left();
    }
}

#[test]
fn a_request_waits_for_the_other_worker_and_its_repetition_gets_the_same_answer() {
    let mut scene = scene(at);
    let request = scene.ask();
    assert_eq!(scene.new.send_bytes(&mut scene.world, &request), None);
    assert_eq!(scene.world.engines[1].waiting_paths(), 1);
    scene.deliver_all();
    let first = scene.world.take_told(&scene.new.path, &request).unwrap();
    let second = scene.world.take_told(&scene.new.path, &request).unwrap();
    assert_eq!((first.code(), &first), (0, &second));
    scene.end();
}

#[test]
fn data_on_the_new_path_waits_for_the_allocation_in_order() {
    let mut scene = scene(at);
    scene.moved();
    for data in [b"1", b"2", b"3"] {
        scene.new.push(&mut scene.world, 0x4000, data);
    }
    let request = scene.new.signed(&permit(&[peer(2, 1)]));
    assert_eq!(scene.new.send_bytes(&mut scene.world, &request), None);
    // The old path works until the allocation is gone.
    scene.expect_at(false);
    scene.old.push(&mut scene.world, 0x4000, b"0");
    assert!(
        scene.world.deliver_letter(0),
        "the word that the new path is used"
    );
    scene.old.push(&mut scene.world, 0x4000, b"stray");
    assert_eq!(scene.world.drops(DropReason::NoAllocation), 1);
    assert!(scene.world.deliver_letter(0), "the allocation");
    assert!(scene.world.letters.is_empty());
    let sent: Vec<_> = scene
        .world
        .take_sent()
        .into_iter()
        .map(|s| s.data)
        .collect();
    assert_eq!(sent, [b"0", b"1", b"2", b"3"]);
    assert_eq!(scene.answer(&request), Some(0));
    scene.expect_at(true);
    scene.end();
}

#[test]
fn what_waits_for_an_allocation_is_bounded() {
    let mut scene = scene(at);
    scene.moved();
    for _ in 0..1000 {
        scene.new.push(&mut scene.world, 0x4000, &[0; 1200]);
    }
    assert_eq!(scene.world.letters.len(), 1);
    scene.deliver_all();
    let sent = scene.world.take_sent().len();
    assert!((32..=64).contains(&sent), "{sent}");
    let dropped = scene.world.drops(DropReason::WorkerBusy);
    assert_eq!(dropped as usize, 1000 - sent);
    scene.end();
}

#[test]
fn an_allocation_that_ends_before_it_is_asked_about_is_437() {
    let mut scene = scene(at);
    let request = scene.ask();
    scene.old.ask(&mut scene.world, &refresh().lifetime(0));
    scene.deliver_all();
    assert_eq!(scene.answer(&request), Some(437));
    assert_eq!(scene.world.engines[1].waiting_paths(), 0);
    scene.end();
}

#[test]
fn an_allocation_that_ends_while_its_new_path_calls_for_it_does_not_come() {
    let mut scene = scene(at);
    scene.moved();
    scene.new.push(&mut scene.world, 0x4000, b"x");
    scene.old.ask(&mut scene.world, &refresh().lifetime(0));
    scene.deliver_all();
    assert_eq!(scene.world.take_sent(), []);
    assert_eq!(scene.world.engines[1].waiting_paths(), 0);
    scene.end();
}

#[test]
fn an_allocation_that_expires_on_its_way_is_over_when_it_arrives() {
    let mut scene = scene(at);
    scene.moved();
    scene.world.advance(599);
    scene.old.ask(&mut scene.world, &bind(0x4000, peer(1, 1)));
    scene.new.push(&mut scene.world, 0x4000, b"x");
    assert!(scene.world.deliver_letter(0));
    scene.world.advance(1);
    scene.deliver_all();
    assert_eq!(scene.world.take_sent(), []);
    scene.world.run_timers(1);
    assert!(scene.world.live.is_empty());
    scene.end();
}

#[test]
fn a_connection_that_closes_before_the_answer_gets_neither_answer_nor_allocation() {
    let mut scene = scene(tcp_at);
    let request = scene.ask();
    scene.world.client_gone(&scene.new.clone());
    scene.deliver_all();
    assert_eq!(scene.answer(&request), None);
    scene.expect_at(false);
    // The old connection closes as well: nobody is there.
    scene.world.client_gone(&scene.old.clone());
    scene.deliver_all();
    assert!(scene.world.peer_sends(peer(1, 1), scene.relayed, b"in"));
    assert_eq!(scene.world.drops(DropReason::ClientAway), 1);
    scene.end();
}

#[test]
fn a_connection_that_closes_while_the_allocation_is_on_its_way_leaves_it_waiting() {
    let mut scene = scene(tcp_at);
    scene.moved();
    scene.new.push(&mut scene.world, 0x4000, b"x");
    assert!(
        scene.world.deliver_letter(0),
        "the word that the new path is used"
    );
    scene.world.client_gone(&scene.new.clone());
    scene.deliver_all();
    assert_eq!(scene.world.take_sent(), []);
    assert!(scene.world.peer_sends(peer(1, 1), scene.relayed, b"in"));
    assert_eq!(scene.world.drops(DropReason::ClientAway), 1);
    // Another connection of the worker is not taken for the one that closed.
    assert_eq!(scene.new.received(&mut scene.world), []);
    scene.end();
}

#[test]
fn a_question_that_is_faster_than_the_allocation_waits_for_it() {
    let mut scene = scene(at);
    scene.moved();
    let latest = scene.ask_from_third();
    scene.deliver_all();
    assert_eq!(latest(&mut scene), 400, "the old ticket");
    scene.end();
}

impl Scene {
    /// Lets the allocation go to worker 1, and while it is on its way, asks for it from worker 2.
    fn ask_from_third(&mut self) -> impl FnOnce(&mut Scene) -> u16 + use<> {
        let mut third = at(&self.world, 3, 2);
        third.get_nonce(&mut self.world);
        self.new.push(&mut self.world, 0x4000, b"x");
        assert!(
            self.world.deliver_letter(0),
            "the word that the new path is used"
        );
        let request = third.signed(&refresh_with(&self.ticket));
        assert_eq!(third.send_bytes(&mut self.world, &request), None);
        assert_eq!(self.world.letters.len(), 2);
        assert_eq!(self.world.letters[1].0.to, WorkerId(1));
        assert!(
            self.world.deliver_letter(1),
            "the question overtakes the allocation"
        );
        move |scene| {
            let reply = scene.world.take_told(&third.path, &request);
            reply.expect("it is answered").code()
        }
    }
}

#[test]
fn a_path_that_was_replaced_calls_in_vain() {
    let mut scene = scene(at);
    let request = scene.ask();
    scene.deliver_all();
    let reply = scene.world.take_told(&scene.new.path, &request).unwrap();
    let ticket = reply.value(crate::mobility::TICKET).unwrap();
    let mut third = at(&scene.world, 3, 0);
    scene.new.push(&mut scene.world, 0x4000, b"x");
    // The third path is allowed while that call is under way.
    move_to(&mut scene.world, &mut third, &ticket);
    scene.deliver_all();
    assert_eq!(scene.world.take_sent(), []);
    scene.expect_at(false);
    third.push(&mut scene.world, 0x4000, b"x");
    assert_eq!(scene.world.take_sent().len(), 1);
    scene.end();
}

#[test]
fn a_connection_with_the_addresses_of_one_that_closed_does_not_repeat_its_success() {
    // It closes before it is used, and after the allocation has come.
    for is_used in [false, true] {
        let mut scene = scene(tcp_at);
        let request = scene.ask();
        scene.deliver_all();
        assert_eq!(scene.answer(&request), Some(0));
        if is_used {
            scene.new.push(&mut scene.world, 0x4000, b"x");
            scene.deliver_all();
        }
        scene.world.client_gone(&scene.new);
        scene.deliver_all();
        let reply = scene.new.send_bytes(&mut scene.world, &request);
        scene.deliver_all();
        let code = reply.map(|reply| reply.code());
        assert_eq!(code.or_else(|| scene.answer(&request)), Some(400));
        assert_eq!(scene.world.engines[1].waiting_paths(), 0);
        scene.world.take_sent();
        scene.end();
    }
}

/// What one client did in a random run.
struct Roamer {
    paths: Vec<Client>,
    tickets: Vec<Vec<u8>>,
    relayed: SocketAddr,
    peer: SocketAddr,
}

/// Three clients of one user wander among five paths each on three workers, over datagrams and streams, while letters
/// between workers arrive late. What a peer sends reaches its client or nobody; what a client sends leaves from its own
/// relay or not at all; in the end nothing is left.
#[test]
fn t_mob_05_whatever_the_order_of_moves_and_letters_nothing_goes_astray() {
    let mut moves = 0;
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = mobile_world();
        let mut roamers: Vec<Roamer> = (0..3u8)
            .map(|number| {
                let paths: Vec<Client> = (0..5u8)
                    .map(|path| {
                        let host = 1 + number * 20 + path;
                        let make = if path % 2 == 1 { tcp_at } else { at };
                        let mut client = make(&world, host, usize::from(path % 3));
                        client.get_nonce(&mut world);
                        client
                    })
                    .collect();
                let mut roamer = Roamer {
                    paths,
                    tickets: Vec::new(),
                    relayed: peer(0, 0),
                    peer: peer(number + 1, 7),
                };
                let (relayed, ticket) = settle(&mut world, &mut roamer.paths[0]);
                roamer.relayed = relayed;
                roamer.tickets.push(ticket);
                let at = roamer.peer;
                assert_eq!(roamer.paths[0].code(&mut world, &bind(0x4000, at)), 0);
                roamer
            })
            .collect();
        world.holds_letters = true;
        for _ in 0..400 {
            let roamer = &mut roamers[rng.random_range(0..3)];
            let path = rng.random_range(0..5);
            let client = &mut roamer.paths[path];
            match rng.random_range(0..12) {
                0..=2 => {
                    let late = rng.random_range(0..10) == 0;
                    let known = roamer.tickets.len();
                    let which = if late {
                        rng.random_range(0..known)
                    } else {
                        known - 1
                    };
                    let request = client.signed(&refresh_with(&roamer.tickets[which]));
                    if let Some(reply) = client.send_bytes(&mut world, &request)
                        && let Some(ticket) = reply.value(crate::mobility::TICKET)
                    {
                        roamer.tickets.push(ticket);
                    }
                }
                3 | 4 => {
                    client.send_bytes(&mut world, &frame(0x4000, &[path as u8]));
                }
                5 => client.tell(&mut world, &send(roamer.peer, &[path as u8])),
                6 => {
                    let request = client.signed(&bind(0x4000, roamer.peer));
                    client.send_bytes(&mut world, &request);
                }
                7 if client.path.tuple.transport().is_stream() => {
                    world.client_gone(client);
                }
                8 => {
                    world.peer_sends(roamer.peer, roamer.relayed, b"in");
                }
                9 => world.advance(rng.random_range(0..20)),
                _ => {
                    deliver_one(&mut world, &mut rng);
                }
            }
            let tickets: Vec<(FiveTuple, Vec<u8>)> = std::mem::take(&mut world.told)
                .into_iter()
                .filter_map(|(tuple, reply)| Some((tuple, reply.value(crate::mobility::TICKET)?)))
                .collect();
            for (tuple, ticket) in tickets {
                let owner = roamers
                    .iter_mut()
                    .find(|r| r.paths.iter().any(|client| client.path.tuple == tuple));
                owner.unwrap().tickets.push(ticket);
            }
            for datagram in world.take_sent() {
                let roamer = roamers.iter().find(|r| r.relayed == datagram.from).unwrap();
                assert_eq!(datagram.to, roamer.peer);
            }
            for roamer in &roamers {
                for client in &roamer.paths {
                    for arrival in client.received(&mut world) {
                        assert_eq!(arrival.from, roamer.peer);
                    }
                }
            }
        }
        let all = world.counters.iter();
        moves += all.map(|c| c.allocations_moved.get()).sum::<u64>();
        while deliver_one(&mut world, &mut rng) {}
        world.holds_letters = false;
        world.expect_nothing_left();
    }
    assert!(moves > 300, "{moves}");
}

/// Delivers one of the letters, if there are any.
fn deliver_one(world: &mut World, rng: &mut StdRng) -> bool {
    let chosen = rng.random_range(0..world.letters.len().max(1));
    world.deliver_letter(chosen)
}
