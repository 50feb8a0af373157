//! What the answer to an Allocate says.

use crate::client::{allocate, refresh};
use crate::world::{RELAY, RELAY_LOCAL, Setup, World, peer};
use hairpin::wire::AttributeType;

#[test]
fn t_alloc_30_31_32_lifetimes_are_at_least_the_default_and_at_most_the_maximum() {
    let mut world = World::new();
    let cases = [
        (None, 600),
        (Some(0), 600),
        (Some(1), 600),
        (Some(599), 600),
        (Some(600), 600),
        (Some(601), 601),
        (Some(3600), 3600),
        (Some(3601), 3600),
        (Some(7200), 3600),
        (Some(u32::MAX), 3600),
    ];
    for (host, (wanted, given)) in cases.into_iter().enumerate() {
        let mut client = world.client(host as u8);
        let ask = match wanted {
            Some(seconds) => allocate().lifetime(seconds),
            None => allocate(),
        };
        assert_eq!(client.ask(&mut world, &ask).lifetime(), given);
    }
}

#[test]
fn t_alloc_33_t_gen_10_the_lifetime_is_the_time_it_lasts() {
    let mut world = World::new();
    let mut client = world.client(1);
    let lifetime = client.ask(&mut world, &allocate().lifetime(700)).lifetime();
    world.advance(u64::from(lifetime) - 1);
    assert!(client.is_allocated(&world));
    assert_eq!(world.sockets.len(), 1);
    world.advance(1);
    assert!(!client.is_allocated(&world));
    assert!(world.sockets.is_empty());
    assert_eq!(client.code(&mut world, &refresh()), 437);
}

#[test]
fn t_alloc_34_w_rtc_09_success_has_relayed_address_lifetime_and_reflexive_address() {
    let mut world = World::new();
    for mut client in [world.client(1), world.tcp_client(2), world.v6_client(3)] {
        let reply = client.ask(&mut world, &allocate());
        assert_eq!(
            reply.address(AttributeType::XOR_MAPPED_ADDRESS),
            client.path.tuple.client()
        );
        assert_eq!(
            reply.relayed(),
            world.live[&client.path.tuple].relayed.advertised
        );
        assert!(reply.has(AttributeType::LIFETIME));
        assert!(reply.message().authenticate(&client.login.key()).is_some());
    }
}

#[test]
fn t_alloc_35_clients_are_told_the_public_form_and_sockets_get_the_local_one() {
    let mut world = World::new();
    let mut client = world.client(1);
    let relayed = client.allocated(&mut world);
    assert_eq!(relayed.ip(), RELAY.parse::<std::net::IpAddr>().unwrap());
    let socket = *world.sockets.values().next().unwrap();
    assert_eq!(
        socket.ip(),
        RELAY_LOCAL.parse::<std::net::IpAddr>().unwrap()
    );
    assert_eq!(socket.port(), relayed.port());
}

#[test]
fn t_alloc_36_a_new_allocation_lets_nobody_in() {
    let mut world = World::new();
    let mut client = world.client(1);
    let relayed = client.allocated(&mut world);
    assert!(world.peer_sends(peer(1, 1), relayed, b"hello"));
    assert_eq!(client.received(&mut world), []);
    client.push(&mut world, 0x4000, b"hello");
    assert_eq!(world.take_sent(), []);
}

#[test]
fn w_rtc_11_the_maximum_lifetime_can_be_shorter_than_the_default() {
    let mut world = World::with(Setup {
        max_lifetime: 300,
        ..Setup::default()
    });
    let mut client = world.client(1);
    assert_eq!(client.ask(&mut world, &allocate()).lifetime(), 300);
    world.advance(300);
    assert!(!client.is_allocated(&world));
}
