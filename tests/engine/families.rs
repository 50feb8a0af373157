//! Two relays for one allocation, an IPv4 and an IPv6 one.

use crate::client::{Ask, Client, Reply, allocate, bind, permit, refresh, send};
use crate::world::{RELAY, RELAY_V6, Setup, World, peer, peer_v6};
use hairpin::engine::counters::DropReason;
use hairpin::wire::AttributeType;
use std::net::{IpAddr, SocketAddr};

fn both() -> Ask {
    allocate().raw(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0])
}

/// All relayed addresses of an answer, in order.
fn relayed(reply: &Reply) -> Vec<SocketAddr> {
    let message = reply.message();
    message
        .attributes()
        .filter(|attribute| attribute.kind == AttributeType::XOR_RELAYED_ADDRESS)
        .map(|attribute| attribute.xor_address(message.transaction()).unwrap())
        .collect()
}

fn with_both(world: &mut World) -> (Client, SocketAddr, SocketAddr) {
    let mut client = world.client(1);
    let reply = client.ask(world, &both());
    assert_eq!(reply.code(), 0);
    let addresses = relayed(&reply);
    (client, addresses[0], addresses[1])
}

#[test]
fn t_alloc_22_w_rtc_10_an_additional_family_gives_two_addresses_ipv4_first() {
    let mut world = World::new();
    let mut client = world.client(1);
    let reply = client.ask(&mut world, &both());
    let ips: Vec<IpAddr> = relayed(&reply).iter().map(SocketAddr::ip).collect();
    let wanted: Vec<IpAddr> = [RELAY, RELAY_V6]
        .iter()
        .map(|t| t.parse().unwrap())
        .collect();
    assert_eq!(ips, wanted);
    assert!(!reply.has(AttributeType::ADDRESS_ERROR_CODE));
    assert_eq!(reply.lifetime(), 600);
    world.expect_nothing_left();
}

#[test]
fn t_alloc_04_a_retransmission_gets_both_addresses_again() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.get_nonce(&mut world);
    let request = client.signed(&both());
    let first = client.send_bytes(&mut world, &request).unwrap();
    let second = client.send_bytes(&mut world, &request).unwrap();
    assert_eq!(first, second);
    assert_eq!(relayed(&second).len(), 2);
}

#[test]
fn t_alloc_21_only_ipv6_can_be_additional() {
    let mut world = World::new();
    let mut client = world.client(1);
    for family in [0, 1, 3] {
        let ask = allocate().raw(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[family, 0, 0, 0]);
        assert_eq!(client.code(&mut world, &ask), 400, "family {family}");
    }
    let short = allocate().raw(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2]);
    assert_eq!(client.code(&mut world, &short), 400);
}

#[test]
fn t_alloc_12_16_an_additional_family_excludes_a_requested_one_and_a_reservation() {
    let mut world = World::new();
    let mut client = world.client(1);
    assert_eq!(client.code(&mut world, &both().family(1)), 400);
    assert_eq!(client.code(&mut world, &both().even_port(true)), 400);
    assert_eq!(client.code(&mut world, &both().even_port(false)), 0);
}

#[test]
fn t_alloc_23_one_family_that_cannot_be_had_is_told_beside_the_other() {
    let mut world = World::with(Setup {
        has_v6: false,
        ..Setup::default()
    });
    let mut client = world.client(1);
    let reply = client.ask(&mut world, &both());
    assert_eq!((reply.code(), relayed(&reply).len()), (0, 1));
    let value = reply.value(AttributeType::ADDRESS_ERROR_CODE).unwrap();
    assert_eq!(value, [2, 0, 4, 40]);

    let mut world = World::with(Setup {
        has_v4: false,
        ..Setup::default()
    });
    let mut client = world.client(1);
    let reply = client.ask(&mut world, &both());
    assert_eq!(relayed(&reply)[0].ip(), RELAY_V6.parse::<IpAddr>().unwrap());
    let value = reply.value(AttributeType::ADDRESS_ERROR_CODE).unwrap();
    assert_eq!(value, [1, 0, 4, 40]);
}

#[test]
fn t_alloc_23_a_family_without_a_free_port_is_told_as_508() {
    let mut world = World::with(Setup {
        ports: 50000..=50000,
        ..Setup::default()
    });
    let mut other = world.client(2);
    assert_eq!(other.code(&mut world, &allocate().family(2)), 0);
    let mut client = world.client(1);
    let reply = client.ask(&mut world, &both());
    assert_eq!(relayed(&reply).len(), 1);
    let value = reply.value(AttributeType::ADDRESS_ERROR_CODE).unwrap();
    assert_eq!(value, [2, 0, 5, 8]);
}

#[test]
fn t_alloc_24_neither_family_to_be_had_is_508_and_leaves_nothing() {
    let mut world = World::with(Setup {
        ports: 50000..=50000,
        ..Setup::default()
    });
    let mut other = world.client(2);
    assert_eq!(other.code(&mut world, &both()), 0);
    let mut client = world.client(1);
    assert_eq!(client.code(&mut world, &both()), 508);
    world.no_sockets = true;
    assert_eq!(other.code(&mut world, &refresh().lifetime(0)), 0);
    world.advance(10);
    assert_eq!(client.code(&mut world, &both()), 508);
    world.expect_nothing_left();
}

#[test]
fn t_perm_07_both_families_can_be_permitted_in_one_request() {
    let mut world = World::new();
    let (mut client, v4, v6) = with_both(&mut world);
    let ask = permit(&[peer(1, 1), peer_v6(1, 1)]);
    assert_eq!(client.code(&mut world, &ask), 0);
    world.peer_sends(peer(1, 1), v4, b"four");
    world.peer_sends(peer_v6(1, 1), v6, b"six");
    let data: Vec<_> = client
        .received(&mut world)
        .into_iter()
        .map(|a| a.data)
        .collect();
    assert_eq!(data, [b"four".to_vec(), b"six".to_vec()]);
    client.tell(&mut world, &send(peer(1, 1), b"4"));
    client.tell(&mut world, &send(peer_v6(1, 1), b"6"));
    let from: Vec<_> = world.take_sent().into_iter().map(|d| d.from).collect();
    assert_eq!(from, [v4, v6]);
}

#[test]
fn t_refr_07_one_family_is_deleted_and_the_other_goes_on() {
    let mut world = World::new();
    let (mut client, v4, v6) = with_both(&mut world);
    client.ask(&mut world, &bind(0x4000, peer(1, 1)));
    client.ask(&mut world, &bind(0x4001, peer_v6(1, 1)));
    let reply = client.ask(&mut world, &refresh().family(2).lifetime(0));
    assert_eq!((reply.code(), reply.lifetime()), (0, 0));
    assert!(client.is_allocated(&world));
    assert_eq!(world.routes.len(), 1);

    assert!(world.peer_sends(peer(1, 1), v4, b"still here"));
    assert!(!world.peer_sends(peer_v6(1, 1), v6, b"nobody"));
    assert_eq!(client.received(&mut world).len(), 1);
    client.push(&mut world, 0x4001, b"gone");
    assert_eq!(world.take_sent(), []);
    assert_eq!(world.drops(DropReason::NoChannel), 1);

    assert_eq!(client.code(&mut world, &permit(&[peer_v6(1, 1)])), 443);
    assert_eq!(client.code(&mut world, &bind(0x4002, peer_v6(2, 1))), 443);
    assert_eq!(client.code(&mut world, &refresh().family(2)), 443);
}

#[test]
fn t_refr_09_the_allocation_ends_with_the_last_family() {
    let mut world = World::new();
    let (mut client, ..) = with_both(&mut world);
    for family in [1, 2] {
        let ask = refresh().family(family).lifetime(0);
        assert_eq!(client.code(&mut world, &ask), 0);
    }
    assert!(!client.is_allocated(&world));
    assert_eq!(client.code(&mut world, &refresh()), 437);
}

#[test]
fn t_refr_07_each_family_lives_as_long_as_it_was_refreshed_for() {
    let mut world = World::new();
    let (mut client, v4, v6) = with_both(&mut world);
    client.ask(&mut world, &refresh().family(2).lifetime(1800));
    world.advance(599);
    client.ask(&mut world, &permit(&[peer(1, 1), peer_v6(1, 1)]));
    assert!(world.peer_sends(peer(1, 1), v4, b"x"));
    world.advance(1);
    assert!(!world.peer_sends(peer(1, 1), v4, b"x"));
    assert!(world.peer_sends(peer_v6(1, 1), v6, b"x"));
    assert_eq!(client.received(&mut world).len(), 2);
    world.advance(1199);
    assert!(client.is_allocated(&world));
    world.advance(1);
    assert!(!client.is_allocated(&world));
}

#[test]
fn t_refr_07_a_late_timer_lets_nothing_through_an_expired_family() {
    let mut world = World::new();
    let (mut client, v4, _) = with_both(&mut world);
    client.ask(&mut world, &refresh().family(2).lifetime(1800));
    world.advance(400);
    client.ask(&mut world, &bind(0x4000, peer(1, 1)));
    world.sleep_through(200);
    client.push(&mut world, 0x4000, b"late");
    world.peer_sends(peer(1, 1), v4, b"late");
    assert_eq!(world.take_sent(), []);
    assert_eq!(client.received(&mut world), []);
}

#[test]
fn t_refr_08_a_refresh_without_a_family_is_for_both() {
    let mut world = World::new();
    let (mut client, ..) = with_both(&mut world);
    client.ask(&mut world, &refresh().lifetime(1800));
    world.advance(1799);
    assert_eq!(world.sockets.len(), 2);
    client.ask(&mut world, &refresh().lifetime(0));
    assert!(!client.is_allocated(&world) && world.sockets.is_empty());
}

#[test]
fn t_alloc_14_15_the_family_of_the_relay_is_the_clients_choice() {
    let mut world = World::new();
    let mut v6_client = world.v6_client(1);
    assert!(v6_client.allocated(&mut world).is_ipv4());
    let mut v4_client = world.client(1);
    let reply = v4_client.ask(&mut world, &allocate().family(2));
    assert!(reply.relayed().is_ipv6());
    v4_client.ask(&mut world, &permit(&[peer_v6(1, 1)]));
    v4_client.tell(&mut world, &send(peer_v6(1, 1), b"over"));
    assert_eq!(world.take_sent()[0].from, reply.relayed());
}

#[test]
fn t_chan_17_t_alloc_40_transition_addresses_are_refused_as_peers_and_as_clients() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.ask(&mut world, &allocate().family(2));
    for text in ["[2002:2800:1::1]:1", "[2001:0:2800:1::1]:1"] {
        let peer: SocketAddr = text.parse().unwrap();
        assert_eq!(client.code(&mut world, &bind(0x4000, peer)), 403, "{text}");
        assert_eq!(client.code(&mut world, &permit(&[peer])), 403, "{text}");
        let mut other = world.v6_client(1);
        other.path.tuple = hairpin::engine::FiveTuple::new(
            peer,
            other.path.tuple.server(),
            hairpin::engine::Transport::Udp,
        );
        assert_eq!(other.code(&mut world, &allocate()), 403, "{text}");
    }
}

#[test]
fn relays_are_heard_from_their_first_permission_on_each_family_for_itself() {
    let mut world = World::new();
    let (mut client, _, _) = with_both(&mut world);
    assert!(world.heard.is_empty());
    assert_eq!(client.code(&mut world, &permit(&[peer(1, 1)])), 0);
    assert_eq!(world.heard.len(), 1);
    // Neither another peer nor the same one again is news.
    assert_eq!(
        client.code(&mut world, &permit(&[peer(1, 1), peer(2, 1)])),
        0
    );
    assert_eq!(world.heard.len(), 1);
    assert_eq!(client.code(&mut world, &bind(0x4000, peer_v6(1, 1))), 0);
    assert_eq!(world.heard.len(), 2);
}
