//! The hairpin: relayed addresses of this server are reached inside, by the rules that hold for every peer.

use crate::client::{Client, allocate, bind, permit, refresh, send};
use crate::world::{RELAY_LOCAL, Setup, World, address, peer};
use hairpin::engine::counters::DropReason;
use hairpin::engine::{Delivery, Outcome, WorkerId};
use std::net::SocketAddr;

/// Two clients with allocations, on the same worker or on two, and their relayed addresses.
fn pair(workers: u32) -> (World, [Client; 2], [SocketAddr; 2]) {
    let mut world = World::with(Setup {
        workers,
        ..Setup::default()
    });
    let mut clients = [world.client(1), world.bob(2)];
    clients[1].worker = workers as usize - 1;
    let relayed = [0, 1].map(|at| clients[at].allocated(&mut world));
    (world, clients, relayed)
}

#[test]
fn t_data_08_x_sec_06_two_clients_of_the_server_talk_through_it() {
    for workers in [1, 2] {
        let (mut world, mut clients, relayed) = pair(workers);
        for at in [0, 1] {
            let ask = permit(&[relayed[1 - at]]);
            assert_eq!(clients[at].code(&mut world, &ask), 0);
        }
        for at in [0, 1] {
            let other = 1 - at;
            clients[at].tell(&mut world, &send(relayed[other], b"hello"));
            let arrivals = clients[other].received(&mut world);
            assert_eq!(arrivals.len(), 1);
            assert_eq!((arrivals[0].from, arrivals[0].channel), (relayed[at], None));
            assert_eq!(arrivals[0].data, b"hello");
        }
        for at in [0, 1] {
            let ask = bind(0x4000 + at as u16, relayed[1 - at]);
            assert_eq!(clients[at].code(&mut world, &ask), 0);
        }
        for at in [0, 1] {
            let other = 1 - at;
            clients[at].push(&mut world, 0x4000 + at as u16, b"frame");
            let arrivals = clients[other].received(&mut world);
            assert_eq!(arrivals[0].channel, Some(0x4000 + other as u16));
        }
        assert_eq!(world.take_sent(), [], "nothing touches the network");
        let hairpins: u64 = world.counters.iter().map(|c| c.hairpin.packets.get()).sum();
        assert_eq!(hairpins, 4);
        world.expect_nothing_left();
    }
}

#[test]
fn t_perm_12_the_receivers_permission_counts() {
    for workers in [1, 2] {
        let (mut world, mut clients, relayed) = pair(workers);
        clients[0].ask(&mut world, &permit(&[relayed[1]]));
        clients[0].tell(&mut world, &send(relayed[1], b"hello"));
        assert_eq!(clients[1].received(&mut world), []);
        assert_eq!(world.drops(DropReason::NoPermission), 1);
        clients[1].ask(&mut world, &permit(&[relayed[0]]));
        world.advance(299);
        clients[0].ask(&mut world, &permit(&[relayed[1]]));
        world.advance(1);
        clients[0].tell(&mut world, &send(relayed[1], b"hello"));
        assert_eq!(clients[1].received(&mut world), []);
        assert_eq!(world.drops(DropReason::NoPermission), 2);
    }
}

#[test]
fn the_senders_permission_counts() {
    let (mut world, mut clients, relayed) = pair(1);
    clients[1].ask(&mut world, &permit(&[relayed[0]]));
    clients[0].tell(&mut world, &send(relayed[1], b"hello"));
    assert_eq!(clients[1].received(&mut world), []);
}

#[test]
fn t_alloc_35_the_local_form_of_a_relayed_address_is_found_too() {
    let (mut world, mut clients, relayed) = pair(2);
    let local = SocketAddr::new(RELAY_LOCAL.parse().unwrap(), relayed[1].port());
    clients[1].ask(&mut world, &permit(&[relayed[0]]));
    assert_eq!(clients[0].code(&mut world, &permit(&[local])), 0);
    clients[0].tell(&mut world, &send(local, b"hello"));
    let arrivals = clients[1].received(&mut world);
    // The sender is known by the form clients are told.
    assert_eq!(arrivals[0].from, relayed[0]);
}

#[test]
fn x_sec_06_a_permission_for_a_relay_address_reaches_relays_and_nothing_else_of_that_host() {
    let (mut world, mut clients, relayed) = pair(1);
    let host = relayed[1].ip();
    let [client, other] = &mut clients;
    assert_eq!(client.code(&mut world, &permit(&[relayed[1]])), 0);
    for port in [22, 80, 3478, 9641] {
        let socket = SocketAddr::new(host, port);
        client.tell(&mut world, &send(socket, b"x"));
        assert_eq!(client.code(&mut world, &bind(0x4000, socket)), 403);
    }
    assert_eq!(
        client.code(&mut world, &permit(&[SocketAddr::new(host, 3478)])),
        403
    );
    // A port of the range that belongs to nobody, or no longer to anybody.
    let free = SocketAddr::new(host, relayed[1].port() ^ 1);
    client.tell(&mut world, &send(free, b"x"));
    assert_eq!(client.code(&mut world, &bind(0x4001, free)), 0);
    client.push(&mut world, 0x4001, b"x");
    assert_eq!(other.code(&mut world, &refresh().lifetime(0)), 0);
    client.tell(&mut world, &send(relayed[1], b"x"));
    assert_eq!(world.take_sent(), []);
    assert_eq!(world.drops(DropReason::StaleRelay), 3);
    // And nothing that claims to come from there over the network is let in.
    world.peer_sends(SocketAddr::new(host, 53), relayed[0], b"x");
    world.peer_sends(relayed[1], relayed[0], b"x");
    assert_eq!(clients[0].received(&mut world), []);
}

#[test]
fn a_delivery_for_a_relay_that_was_closed_or_given_to_another_is_dropped() {
    let (mut world, mut clients, relayed) = pair(2);
    clients[1].ask(&mut world, &permit(&[relayed[0]]));
    let relay = world.live[&clients[1].path.tuple].relays[0].0;
    let delivery = Delivery {
        relay,
        to: relayed[1],
        from: relayed[0],
    };
    assert!(matches!(
        world.worker_receives(1, &delivery, b"in time"),
        Outcome::ToClient(_)
    ));
    clients[1].received(&mut world);
    clients[1].ask(&mut world, &refresh().lifetime(0));
    let outcome = world.worker_receives(1, &delivery, b"late");
    assert_eq!(outcome, Outcome::Nothing);
    // The number is used again by an allocation that permits the sender.
    let mut third = world.bob(3);
    third.worker = 1;
    third.allocated(&mut world);
    third.ask(&mut world, &permit(&[relayed[0]]));
    assert_eq!(world.live[&third.path.tuple].relays[0].0, relay);
    let outcome = world.worker_receives(1, &delivery, b"late");
    assert_eq!(outcome, Outcome::Nothing);
    assert_eq!(world.drops(DropReason::StaleRelay), 2);
}

#[test]
fn one_worker_hands_another_what_is_for_it_and_only_that() {
    let (mut world, mut clients, relayed) = pair(2);
    clients[0].ask(&mut world, &bind(0x4000, relayed[1]));
    clients[1].ask(&mut world, &permit(&[relayed[0]]));
    world.transcript.clear();
    clients[0].push(&mut world, 0x4000, b"hello");
    let expected = format!("{:?}", WorkerId(1));
    assert!(world.transcript.contains("ToWorker") && world.transcript.contains(&expected));
    clients[0].ask(&mut world, &permit(&[peer(1, 1)]));
    world.transcript.clear();
    clients[0].tell(&mut world, &send(peer(1, 1), b"hello"));
    assert!(!world.transcript.contains("ToWorker"));
}

#[test]
fn a_client_can_reach_itself_through_its_own_relay() {
    let (mut world, mut clients, relayed) = pair(1);
    let client = &mut clients[0];
    client.ask(&mut world, &bind(0x4000, relayed[0]));
    client.push(&mut world, 0x4000, b"me");
    let arrivals = client.received(&mut world);
    assert_eq!((arrivals.len(), arrivals[0].from), (1, relayed[0]));
}

#[test]
fn ipv6_relays_reach_each_other_inside_and_ipv4_relays_not() {
    let mut world = World::new();
    let mut first = world.client(1);
    let mut second = world.v6_client(2);
    let mut third = world.client(3);
    let relayed = first.ask(&mut world, &allocate().family(2)).relayed();
    let other = second.ask(&mut world, &allocate().family(2)).relayed();
    let v4 = third.allocated(&mut world);
    second.ask(&mut world, &permit(&[relayed]));
    assert_eq!(first.code(&mut world, &bind(0x4000, other)), 0);
    assert_eq!(first.code(&mut world, &bind(0x4001, v4)), 443);
    first.push(&mut world, 0x4000, b"six");
    assert_eq!(second.received(&mut world)[0].from, relayed);
}

#[test]
fn t_cd_03_a_stream_client_gets_padding_for_what_came_over_a_hairpin() {
    let mut world = World::new();
    let mut udp = world.client(1);
    let mut tcp = world.tcp_client(2);
    let from = udp.allocated(&mut world);
    let to = tcp.allocated(&mut world);
    udp.ask(&mut world, &bind(0x4000, to));
    tcp.ask(&mut world, &bind(0x4abc, from));
    udp.push(&mut world, 0x4000, b"hello");
    assert_eq!(
        tcp.received(&mut world)[0].bytes,
        b"\x4a\xbc\0\x05hello\0\0\0"
    );
    tcp.send_bytes(&mut world, b"\x4a\xbc\0\x05hello");
    assert_eq!(udp.received(&mut world)[0].bytes, b"\x40\0\0\x05hello");
}

#[test]
fn x_sec_07_a_loop_of_relays_ends_at_the_first_client() {
    let (mut world, mut clients, relayed) = pair(1);
    clients[0].ask(&mut world, &permit(&[relayed[1]]));
    clients[1].ask(&mut world, &permit(&[relayed[0]]));
    let inner = clients[1].unsigned(&send(relayed[0], b"again"));
    clients[0].tell(&mut world, &send(relayed[1], &inner));
    assert_eq!(clients[1].received(&mut world)[0].data, inner);
    assert_eq!(clients[0].received(&mut world), []);
    let own = address("20.0.0.1:3478");
    assert_eq!(clients[0].code(&mut world, &permit(&[own])), 403);
}
