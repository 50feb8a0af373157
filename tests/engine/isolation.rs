//! What is one client's is nobody else's: not another user's, not another 5-tuple's, not another worker's, and not
//! whoever comes after.

use crate::client::{Ask, Client, allocate, bind, frame, permit, refresh, send};
use crate::tcp_relay::{allocate_tcp, connected, connection_bind};
use crate::third_party::{Grant, grant, setup as with_tokens};
use crate::world::{RELAY_LOCAL, Setup, UNIX_START, World, address, peer};
use hairpin::engine::counters::DropReason;
use hairpin::engine::{ConnectionId, FiveTuple, TcpRules, Transport};
use hairpin::wire::{AttributeType, Method};
use std::net::SocketAddr;

/// Every request that needs an allocation.
fn requests() -> [Ask; 4] {
    [
        refresh(),
        refresh().lifetime(0),
        permit(&[peer(9, 9)]),
        bind(0x4009, peer(9, 9)),
    ]
}

/// A client with a permission for peer 1, a channel to it, and its relayed address.
fn in_a_call(world: &mut World) -> (Client, SocketAddr) {
    let mut client = world.client(1);
    let relayed = client.allocated(world);
    assert_eq!(client.code(world, &bind(0x4000, peer(1, 1))), 0);
    (client, relayed)
}

/// Everything a client can send without a credential of its own.
fn pushes(world: &mut World, client: &mut Client) {
    client.push(world, 0x4000, b"stolen");
    client.tell(world, &send(peer(1, 1), b"stolen"));
}

#[test]
fn x_sec_01_02_another_5_tuple_of_the_same_user_has_no_part_in_an_allocation() {
    let mut world = World::new();
    let (owner, relayed) = in_a_call(&mut world);
    let from = owner.path.tuple.client();
    let server = owner.path.tuple.server();
    let elsewhere = [
        FiveTuple::new(address("30.0.0.1:2000"), server, Transport::Udp),
        FiveTuple::new(address("30.0.0.2:1001"), server, Transport::Udp),
        FiveTuple::new(from, address("20.0.0.1:5349"), Transport::Udp),
        FiveTuple::new(from, server, Transport::Dtls),
        FiveTuple::new(from, server, Transport::Tcp),
        FiveTuple::new(from, server, Transport::Tls),
    ];
    for tuple in elsewhere {
        let mut thief = owner.clone();
        thief.path.tuple = tuple;
        pushes(&mut world, &mut thief);
        for ask in requests() {
            assert_eq!(thief.code(&mut world, &ask), 437, "{tuple:?}");
        }
        pushes(&mut world, &mut thief);
    }
    assert_eq!(world.take_sent(), []);
    assert_eq!(world.live.len(), 1);
    world.peer_sends(peer(1, 1), relayed, b"for the owner");
    assert_eq!(owner.received(&mut world).len(), 1);
    owner.push(&mut world, 0x4000, b"the owner's");
    assert_eq!(world.take_sent().len(), 1);
}

#[test]
fn x_sec_01_another_worker_knows_nothing_of_an_allocation() {
    let mut world = World::with(Setup {
        workers: 2,
        ..Setup::default()
    });
    let (owner, _) = in_a_call(&mut world);
    // As if the system had given the same client's packets to another worker.
    let mut astray = owner.clone();
    astray.worker = 1;
    pushes(&mut world, &mut astray);
    for ask in requests() {
        assert_eq!(astray.code(&mut world, &ask), 437);
    }
    assert_eq!(world.drops(DropReason::NoAllocation), 2);
    assert_eq!(world.take_sent(), []);
    owner.push(&mut world, 0x4000, b"the owner's");
    assert_eq!(world.take_sent().len(), 1);
}

#[test]
fn x_sec_01_another_user_on_the_5_tuple_changes_nothing_and_hears_nothing_new() {
    let mut world = World::with(with_tokens());
    let (mut owner, relayed) = in_a_call(&mut world);
    let bearer = grant(1);
    let strangers = [world.bob(1), bearer.client(&world, 1)];
    for mut stranger in strangers {
        stranger.path = owner.path;
        stranger.get_nonce(&mut world);
        for ask in requests() {
            let code = stranger.code(&mut world, &ask);
            assert!([401, 441].contains(&code), "{code}");
            let code = stranger.code(&mut world, &bearer.shown(ask));
            assert!([401, 420, 441].contains(&code), "{code}");
        }
        assert_eq!(stranger.code(&mut world, &allocate()) / 100, 4);
    }
    // No permission came of it, and the allocation stands.
    world.peer_sends(peer(9, 9), relayed, b"x");
    assert_eq!(owner.received(&mut world), []);
    assert_eq!(owner.code(&mut world, &refresh()), 0);
}

#[test]
fn x_sec_02_a_5_tuple_that_is_used_again_inherits_nothing() {
    let mut world = World::with(Setup {
        ports: 50000..=50000,
        quarantine: 5,
        ..Setup::default()
    });
    let (mut alice, relayed) = in_a_call(&mut world);
    alice.ask(&mut world, &permit(&[peer(2, 2)]));
    let captured = alice.signed(&permit(&[peer(3, 3)]));
    assert_eq!(alice.code(&mut world, &refresh().lifetime(0)), 0);
    // The port rests, so that late packets reach nobody.
    let mut bob = world.bob(1);
    assert_eq!(bob.code(&mut world, &allocate()), 508);
    assert!(!world.peer_sends(peer(1, 1), relayed, b"late"));
    world.advance(5);
    assert_eq!(bob.allocated(&mut world), relayed);
    assert_eq!(bob.path.tuple, alice.path.tuple);
    assert_eq!(&*world.live[&alice.path.tuple].user, "bob");
    // Neither the former client's channel nor its peers, and its requests are another user's.
    pushes(&mut world, &mut alice);
    assert_eq!(world.take_sent(), []);
    for from in [peer(1, 1), peer(2, 2)] {
        world.peer_sends(from, relayed, b"for alice");
    }
    assert_eq!(bob.received(&mut world), []);
    let reply = alice.send_bytes(&mut world, &captured).unwrap();
    assert_eq!(reply.code(), 441);
}

#[test]
fn x_sec_02_a_port_that_is_used_again_is_the_new_owners_only() {
    for workers in [1, 2] {
        let mut world = World::with(Setup {
            workers,
            ports: 50000..=50001,
            quarantine: 0,
            ..Setup::default()
        });
        // Carol's channel leads to alice's relay, which becomes bob's.
        let mut alice = world.client(1);
        let relayed = alice.allocated(&mut world);
        let mut carol = world.client(3);
        carol.worker = workers as usize - 1;
        let of_carol = carol.allocated(&mut world);
        assert_eq!(carol.code(&mut world, &bind(0x4000, relayed)), 0);
        assert_eq!(alice.code(&mut world, &permit(&[of_carol])), 0);
        carol.push(&mut world, 0x4000, b"for alice");
        assert_eq!(alice.received(&mut world).len(), 1);
        assert_eq!(alice.code(&mut world, &refresh().lifetime(0)), 0);
        carol.push(&mut world, 0x4000, b"for nobody");
        let mut bob = world.bob(2);
        assert_eq!(bob.allocated(&mut world), relayed);
        carol.push(&mut world, 0x4000, b"for alice");
        assert_eq!(bob.received(&mut world), []);
        assert_eq!(alice.received(&mut world), []);
        assert_eq!(world.take_sent(), []);
    }
}

#[test]
fn t_alloc_20_a_stolen_reservation_token_gives_nothing_and_stays_its_users() {
    let mut world = World::with(with_tokens());
    let mut alice = world.client(1);
    let token = alice.ask(&mut world, &allocate().even_port(true)).token();
    let stolen = allocate().token(&token);
    let mut bob = world.bob(2);
    assert_eq!(bob.code(&mut world, &stolen), 508);
    // Nor is it found by trying those that are near.
    for bit in 0..64 {
        let mut guess = token.clone();
        guess[bit / 8] ^= 1 << (bit % 8);
        let mut second = world.client(3);
        assert_eq!(second.code(&mut world, &allocate().token(&guess)), 508);
    }
    let mut second = world.client(3);
    assert_eq!(second.code(&mut world, &stolen), 0);
    assert_eq!(world.client(4).code(&mut world, &stolen), 508);
    world.expect_nothing_left();
}

#[test]
fn t_alloc_20_t_oauth_10_a_reservation_is_for_the_token_it_was_made_with() {
    // All bearers of one authorization server go by one name: that of its key.
    let mut world = World::with(with_tokens());
    let (owner, thief) = (grant(1), grant(2));
    let mut client = owner.client(&world, 1);
    let ask = owner.shown(allocate().even_port(true));
    let token = client.ask(&mut world, &ask).token();
    let mut other = thief.client(&world, 2);
    let ask = thief.shown(allocate().token(&token));
    assert_eq!(other.code(&mut world, &ask), 508);
    let mut second = owner.client(&world, 3);
    let ask = owner.shown(allocate().token(&token));
    assert_eq!(second.code(&mut world, &ask), 0);
    // A user with a password may even have the name of a key.
    let mut alice = world.client(4);
    let token = alice.ask(&mut world, &allocate().even_port(true)).token();
    let namesake = Grant::new("alice", 3, UNIX_START, 3600);
    let mut bearer = namesake.client(&world, 5);
    let ask = namesake.shown(allocate().token(&token));
    assert_eq!(bearer.code(&mut world, &ask), 508);
    assert_eq!(bearer.code(&mut world, &namesake.shown(allocate())), 0);
    world.expect_nothing_left();
}

#[test]
fn t_tcp_16_a_stolen_connection_id_gives_nothing_on_any_worker() {
    let mut setup = with_tokens();
    setup.workers = 2;
    setup.tcp = TcpRules {
        enabled: true,
        ..TcpRules::default()
    };
    let mut world = World::with(setup);
    let mut alice = world.tcp_client(1);
    assert_eq!(alice.code(&mut world, &allocate_tcp()), 0);
    let id = connected(&mut world, &mut alice, peer(1, 80));
    let thief = grant(1);
    for worker in 0..2 {
        let mut bob = world.tcp_client(2);
        bob.login = world.bob(2).login;
        bob.worker = worker;
        assert_eq!(bob.code(&mut world, &connection_bind(id)), 441);
        // Not by a datagram either, nor with a credential that proves nothing.
        let mut datagrams = world.bob(3);
        datagrams.worker = worker;
        assert_eq!(datagrams.code(&mut world, &connection_bind(id)), 400);
        let mut bearer = world.tcp_client(4);
        bearer.worker = worker;
        thief.give(&mut bearer);
        for ask in [connection_bind(id), thief.shown(connection_bind(id))] {
            assert_eq!(bearer.code(&mut world, &ask), 401);
        }
        // The ids beside it are nobody's.
        for near in [id.0 ^ 1, id.0.wrapping_add(1), !id.0] {
            let ask = connection_bind(ConnectionId(near));
            let mut data = world.tcp_client(5);
            data.worker = worker;
            assert_eq!(data.code(&mut world, &ask), 400);
        }
    }
    assert!(world.bound.is_empty());
    let mut data = world.tcp_client(6);
    data.worker = 1;
    assert_eq!(data.code(&mut world, &connection_bind(id)), 0);
    assert_eq!(world.bound.len(), 1);
}

#[test]
fn t_tcp_16_t_oauth_10_a_connection_of_another_bearer_is_not_bound() {
    let mut setup = with_tokens();
    setup.tcp = TcpRules {
        enabled: true,
        ..TcpRules::default()
    };
    let mut world = World::with(setup);
    let (owner, thief) = (grant(1), grant(2));
    let mut client = world.tcp_client(1);
    owner.give(&mut client);
    assert_eq!(client.code(&mut world, &owner.shown(allocate_tcp())), 0);
    let id = connected(&mut world, &mut client, peer(1, 80));
    let mut other = world.tcp_client(2);
    thief.give(&mut other);
    for ask in [connection_bind(id), thief.shown(connection_bind(id))] {
        assert_eq!(other.code(&mut world, &ask), 401);
    }
    let mut data = world.tcp_client(3);
    owner.give(&mut data);
    assert_eq!(data.code(&mut world, &connection_bind(id)), 0);
}

#[test]
fn x_sec_01_what_is_not_signed_leaves_every_allocation_as_it_is() {
    let mut world = World::new();
    let (mut owner, relayed) = in_a_call(&mut world);
    for ask in requests() {
        let bytes = owner.unsigned(&ask);
        let reply = owner.send_bytes(&mut world, &bytes).unwrap();
        assert_eq!(reply.code(), 401);
        // Nor does anything count that somebody added behind the integrity.
        let added = Ask::new(Method::REFRESH).behind(AttributeType::LIFETIME, &[0; 4]);
        assert_eq!(owner.code(&mut world, &added), 0);
        assert!(owner.is_allocated(&world));
    }
    world.peer_sends(peer(9, 9), relayed, b"x");
    assert_eq!(owner.received(&mut world), []);
    owner.send_bytes(&mut world, &frame(0x4009, b"x"));
    assert_eq!(world.take_sent(), []);
}

#[test]
fn t_refr_07_a_relay_that_is_over_is_not_brought_back_while_timers_are_late() {
    let both = allocate().raw(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    let mut world = World::new();
    let mut client = world.client(1);
    assert_eq!(client.code(&mut world, &both), 0);
    world.advance(300);
    assert_eq!(client.code(&mut world, &refresh().family(1)), 0);
    world.sleep_through(300);
    // IPv6 is over, IPv4 has five minutes left.
    assert_eq!(client.code(&mut world, &refresh().family(2)), 443);
    assert_eq!(client.code(&mut world, &refresh()), 0);
    let relays = &world.live[&client.path.tuple].relays;
    assert_eq!(relays.len(), 1);
    let local: std::net::IpAddr = RELAY_LOCAL.parse().unwrap();
    assert_eq!(relays[0].1.local.ip(), local);
    world.expect_nothing_left();
}
