//! EVEN-PORT and RESERVATION-TOKEN.

use crate::client::{allocate, refresh};
use crate::world::{Setup, World};
use hairpin::policy::Limits;
use hairpin::wire::AttributeType;

fn with_ports(first: u16, last: u16) -> World {
    World::with(Setup {
        ports: first..=last,
        ..Setup::default()
    })
}

fn reserved(world: &World) -> u64 {
    world.shared.relays.counts(world.now().instant).reserved
}

#[test]
fn t_alloc_10_a_token_goes_with_no_other_wish_for_an_address() {
    let mut world = World::new();
    let mut client = world.client(1);
    let token = client.ask(&mut world, &allocate().even_port(true)).token();
    let mut other = world.client(2);
    let ask = allocate().token(&token);
    for ask in [
        ask.clone().even_port(false),
        ask.clone().even_port(true),
        ask.clone().family(1),
        ask.clone()
            .raw(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]),
    ] {
        assert_eq!(other.code(&mut world, &ask), 400);
    }
    assert_eq!(other.code(&mut world, &ask), 0, "the token is still good");
}

#[test]
fn t_alloc_11_unknown_used_and_expired_tokens_are_508() {
    let mut world = World::new();
    let mut clients: Vec<_> = (0..5).map(|host| world.client(host)).collect();
    assert_eq!(clients[0].code(&mut world, &allocate().token(&[9; 8])), 508);
    let token = clients[0]
        .ask(&mut world, &allocate().even_port(true))
        .token();
    assert_eq!(clients[1].code(&mut world, &allocate().token(&token)), 0);
    assert_eq!(clients[2].code(&mut world, &allocate().token(&token)), 508);
    let token = clients[3]
        .ask(&mut world, &allocate().even_port(true))
        .token();
    world.advance(30);
    assert_eq!(clients[4].code(&mut world, &allocate().token(&token)), 508);
    assert_eq!(reserved(&world), 0);
}

#[test]
fn t_alloc_16_a_reservation_and_an_additional_family_exclude_each_other() {
    let mut world = World::new();
    let mut client = world.client(1);
    let ask = allocate().raw(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    assert_eq!(client.code(&mut world, &ask.even_port(true)), 400);
}

#[test]
fn t_alloc_17_even_ports_are_even_and_run_out() {
    let mut world = with_ports(50001, 50100);
    for host in 0..50 {
        let reply = world
            .client(host)
            .ask(&mut world, &allocate().even_port(false));
        assert_eq!(reply.relayed().port() % 2, 0);
        assert!(!reply.has(AttributeType::RESERVATION_TOKEN));
    }
    let mut client = world.client(99);
    assert_eq!(client.code(&mut world, &allocate().even_port(false)), 508);
    assert_eq!(client.code(&mut world, &allocate().even_port(true)), 508);
    assert_eq!(client.allocated(&mut world).port() % 2, 1);
}

#[test]
fn t_alloc_18_19_the_next_port_is_held_30_seconds_for_any_5_tuple_and_worker() {
    let mut world = World::with(Setup {
        workers: 2,
        ports: 50000..=50003,
        quarantine: 0,
        ..Setup::default()
    });
    let mut client = world.client(1);
    let reply = client.ask(&mut world, &allocate().even_port(true));
    let port = reply.relayed().port();
    assert_eq!(port % 2, 0);
    assert_eq!(reply.token().len(), 8);
    assert_eq!(reserved(&world), 1);
    // Nobody else gets it meanwhile.
    for host in 2..4 {
        let other = world.client(host).allocated(&mut world).port();
        assert_ne!(other, port + 1);
    }
    assert_eq!(world.client(4).code(&mut world, &allocate()), 508);
    world.advance(29);
    let mut tcp = world.tcp_client(9);
    tcp.worker = 1;
    let second = tcp.ask(&mut world, &allocate().token(&reply.token()));
    assert_eq!(second.code(), 0);
    assert_eq!(second.relayed().port(), port + 1);
    assert_eq!(second.relayed().ip(), reply.relayed().ip());
    assert_eq!(reserved(&world), 0);
    world.expect_nothing_left();
}

#[test]
fn t_alloc_18_a_reservation_nobody_wants_ends_by_itself() {
    let mut world = with_ports(50000, 50001);
    let mut client = world.client(1);
    client.ask(&mut world, &allocate().even_port(true));
    let mut other = world.client(2);
    assert_eq!(other.code(&mut world, &allocate()), 508);
    world.advance_millis(29_999);
    assert_eq!(other.code(&mut world, &allocate()), 508);
    world.advance_millis(1);
    assert_eq!(other.allocated(&mut world).port(), 50001);
}

#[test]
fn t_alloc_19_a_reservation_outlives_the_allocation_that_made_it() {
    let mut world = with_ports(50000, 50001);
    let mut client = world.client(1);
    let reply = client.ask(&mut world, &allocate().even_port(true));
    client.ask(&mut world, &refresh().lifetime(0));
    let mut other = world.client(2);
    let second = other.ask(&mut world, &allocate().token(&reply.token()));
    assert_eq!(second.relayed().port(), reply.relayed().port() + 1);
    world.expect_nothing_left();
}

#[test]
fn t_alloc_20_a_token_is_for_its_user() {
    let mut world = World::new();
    let mut alice = world.client(1);
    let token = alice.ask(&mut world, &allocate().even_port(true)).token();
    let mut bob = world.bob(2);
    assert_eq!(bob.code(&mut world, &allocate().token(&token)), 508);
    let mut second = world.client(3);
    assert_eq!(second.code(&mut world, &allocate().token(&token)), 0);
}

#[test]
fn a_reserved_port_that_another_program_has_is_508_and_not_some_other_port() {
    let mut world = with_ports(50000, 50009);
    let mut client = world.client(1);
    let reply = client.ask(&mut world, &allocate().even_port(true));
    world.ports_in_use.insert(reply.relayed().port() + 1);
    let mut other = world.client(2);
    assert_eq!(
        other.code(&mut world, &allocate().token(&reply.token())),
        508
    );
    world.expect_nothing_left();
}

#[test]
fn a_pair_whose_even_port_is_in_use_is_given_back_whole() {
    let mut world = with_ports(50000, 50003);
    world.ports_in_use.insert(50000);
    let mut client = world.client(1);
    let reply = client.ask(&mut world, &allocate().even_port(true));
    assert_eq!(reply.relayed().port(), 50002);
    world.advance(5);
    let counts = world.shared.relays.counts(world.now().instant);
    assert_eq!((counts.free, counts.used, counts.reserved), (6, 1, 1));
    world.expect_nothing_left();
}

#[test]
fn x_sec_08_reservations_are_no_way_around_a_quota() {
    let mut world = World::with(Setup {
        limits: Limits {
            per_user: 2,
            ..Limits::default()
        },
        ..Setup::default()
    });
    let mut client = world.client(1);
    let pair = allocate().even_port(true);
    let token = client.ask(&mut world, &pair).token();
    let mut other = world.client(2);
    // The held port counts until it is taken or its time is over.
    assert_eq!(other.code(&mut world, &allocate()), 486);
    assert_eq!(client.code(&mut world, &refresh().lifetime(0)), 0);
    assert_eq!(client.code(&mut world, &pair), 486);
    assert_eq!(other.code(&mut world, &allocate().token(&token)), 0);
    assert_eq!(client.code(&mut world, &pair), 486);
    client.allocated(&mut world);
    for client in [&mut client, &mut other] {
        assert_eq!(client.code(&mut world, &refresh().lifetime(0)), 0);
    }
    assert_eq!(client.code(&mut world, &pair), 0);
    assert_eq!(other.code(&mut world, &allocate()), 486);
    world.advance(30);
    other.allocated(&mut world);
    world.expect_nothing_left();
}
