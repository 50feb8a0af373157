//! What passes between one allocation and each of its peers, for an operator who looks at it.

use crate::client::{Client, bind, permit, send};
use crate::world::{World, peer};
use hairpin::engine::watch::PeerRate;
use hairpin::engine::{AllocationId, Usage};
use std::net::SocketAddr;

fn usage(to_peers: [u64; 2], to_client: [u64; 2]) -> Usage {
    Usage {
        packets_to_peers: to_peers[0],
        bytes_to_peers: to_peers[1],
        packets_to_client: to_client[0],
        bytes_to_client: to_client[1],
    }
}

/// A client with a permission for one peer and a channel to another, its relayed address and its name.
fn ready(world: &mut World, host: u8) -> (Client, SocketAddr, AllocationId) {
    let mut client = world.client(host);
    let relayed = client.allocated(world);
    client.ask(world, &permit(&[peer(1, 1)]));
    assert_eq!(client.code(world, &bind(0x4000, peer(2, 2))), 0);
    let sessions = world.engines[0].sessions_from(0, 64).sessions;
    let of = |relayed: SocketAddr| {
        let mut all = sessions.iter();
        all.find(|session| session.relayed.v4.unwrap().advertised == relayed)
            .unwrap()
            .id
    };
    (client, relayed, of(relayed))
}

fn look(world: &mut World, id: AllocationId) -> Vec<PeerRate> {
    let now = world.now();
    let rates = world.engines[0].session(now, id).unwrap().rates;
    let mut rates = rates;
    rates.sort_by_key(|rate| rate.peer);
    rates
}

#[test]
fn whoever_looks_twice_sees_what_passed_to_and_from_each_peer_between() {
    let mut world = World::new();
    let (mut client, relayed, id) = ready(&mut world, 1);
    // Before anybody looks nothing is counted by peer.
    client.tell(&mut world, &send(peer(1, 1), &[0; 999]));
    assert_eq!(look(&mut world, id), []);
    client.tell(&mut world, &send(peer(1, 1), &[0; 100]));
    client.tell(&mut world, &send(peer(1, 9), &[0; 50]));
    client.push(&mut world, 0x4000, &[0; 300]);
    client.push(&mut world, 0x4000, &[0; 300]);
    world.peer_sends(peer(2, 2), relayed, &[0; 800]);
    world.peer_sends(peer(1, 1), relayed, &[0; 20]);
    // A peer without a permission is not told of.
    world.peer_sends(peer(3, 3), relayed, &[0; 20]);
    world.advance(2);
    let rate = |peer, per_second| PeerRate { peer, per_second };
    assert_eq!(
        look(&mut world, id),
        [
            rate(peer(1, 1), usage([0, 50], [0, 10])),
            rate(peer(1, 9), usage([0, 25], [0, 0])),
            rate(peer(2, 2), usage([1, 300], [0, 400])),
        ]
    );
    // Another look within the second finds the same; a later one, what passed since.
    client.push(&mut world, 0x4000, &[0; 600]);
    world.advance_millis(500);
    assert_eq!(look(&mut world, id)[2].per_second.bytes_to_peers, 300);
    world.advance_millis(500);
    let later = look(&mut world, id);
    assert_eq!(later[2].per_second, usage([1, 600], [0, 0]));
    assert_eq!(later[0].per_second, Usage::default());
}

#[test]
fn counting_ends_some_seconds_after_the_last_look() {
    let mut world = World::new();
    let (client, _, id) = ready(&mut world, 1);
    look(&mut world, id);
    client.push(&mut world, 0x4000, &[0; 300]);
    world.advance(14);
    assert_eq!(look(&mut world, id).len(), 1);
    world.advance(15);
    client.push(&mut world, 0x4000, &[0; 300]);
    // As at a first look.
    assert_eq!(look(&mut world, id), []);
}

#[test]
fn the_session_that_was_looked_at_longest_ago_makes_room() {
    let mut world = World::new();
    let mut all: Vec<_> = (1..=9).map(|host| ready(&mut world, host)).collect();
    for (_, _, id) in &all {
        look(&mut world, *id);
    }
    for (client, _, _) in &mut all {
        client.push(&mut world, 0x4000, b"data");
    }
    world.advance(1);
    // The second to ninth are counted; asking for the first begins anew and takes the second's place.
    assert_eq!(look(&mut world, all[8].2).len(), 1);
    assert_eq!(look(&mut world, all[0].2), []);
    assert_eq!(look(&mut world, all[1].2), []);
    assert_eq!(look(&mut world, all[7].2).len(), 1);
}

#[test]
fn many_peers_cost_no_more_than_some() {
    let mut world = World::new();
    let (mut client, _, id) = ready(&mut world, 1);
    look(&mut world, id);
    for port in 1..=100 {
        client.tell(&mut world, &send(peer(1, port), b"data"));
    }
    world.advance(1);
    assert_eq!(look(&mut world, id).len(), 64);
    // Those that are silent by now make room.
    for port in 65..=100 {
        client.tell(&mut world, &send(peer(1, port), b"data"));
    }
    world.advance(1);
    let rates = look(&mut world, id);
    let busy = rates
        .iter()
        .filter(|rate| rate.per_second.packets_to_peers > 0);
    assert_eq!((rates.len(), busy.count()), (64, 36));
}
