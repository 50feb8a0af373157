//! Of two things wrong with a request, which one the answer names.

use crate::client::{Ask, allocate, bind, permit, refresh};
use crate::world::{Setup, World, address, peer, peer_v6};
use hairpin::policy::Limits;
use hairpin::wire::{AttributeType, Method};

const UNKNOWN: AttributeType = AttributeType(0x7001);

/// An Allocate without REQUESTED-TRANSPORT.
fn bare() -> Ask {
    Ask::new(Method::ALLOCATE)
}

fn transport(protocol: u8) -> Ask {
    bare().raw(AttributeType::REQUESTED_TRANSPORT, &[protocol, 0, 0, 0])
}

#[test]
fn of_two_faults_of_an_allocate_the_one_checked_first_is_named() {
    let mut world = World::with(Setup {
        has_v6: false,
        limits: Limits {
            per_user: 1,
            ..Limits::default()
        },
        ..Setup::default()
    });
    let mut client = world.client(1);
    let additional = |ask: Ask| ask.raw(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    let cases = [
        // An unknown attribute comes before all else but who asks.
        (bare().raw(UNKNOWN, b""), 420),
        (transport(6).raw(UNKNOWN, b"").family(2), 420),
        // No transport before a family that is not there.
        (bare().family(2), 400),
        (bare().token(&[1; 8]), 400),
        // Another transport before what the rest asks for.
        (transport(6).family(2), 442),
        (transport(6).token(&[1; 8]).even_port(true), 442),
        // A forbidden mix before an unknown token and before a family.
        (allocate().token(&[1; 8]).family(2), 400),
        (additional(allocate().family(2)), 400),
        (additional(allocate().even_port(true)), 400),
        (allocate().family(2).even_port(true), 440),
    ];
    for (ask, code) in &cases {
        assert_eq!(client.code(&mut world, ask), *code, "{ask:?}");
    }
    // With an allocation there, the 5-tuple comes before all of these but the unknown attribute.
    client.allocated(&mut world);
    for (ask, code) in &cases {
        let expected = if *code == 420 { 420 } else { 437 };
        assert_eq!(client.code(&mut world, ask), expected);
    }
    // The quota comes after what is wrong with the request itself.
    let mut second = world.client(2);
    assert_eq!(second.code(&mut world, &allocate()), 486);
    for (ask, code) in &cases {
        assert_eq!(second.code(&mut world, ask), *code, "{ask:?}");
    }
}

#[test]
fn who_asks_comes_before_what_is_asked() {
    let mut world = World::new();
    let mut alice = world.client(1);
    let mut bob = world.bob(1);
    alice.allocated(&mut world);
    bob.get_nonce(&mut world);
    let faulty = [
        permit(&[]),
        permit(&[peer_v6(1, 1)]),
        bind(0x3000, peer(1, 1)),
        refresh().family(2),
        refresh().raw(AttributeType::LIFETIME, b""),
    ];
    for ask in faulty {
        assert_eq!(alice.ask_unsigned(&mut world, &ask).unwrap().code(), 401);
        // The wrong user before what is wrong with the request, an unknown attribute before both.
        assert_eq!(bob.code(&mut world, &ask), 441);
        assert_eq!(bob.code(&mut world, &ask.clone().raw(UNKNOWN, b"")), 420);
        // No allocation before what is wrong with the request.
        let mut elsewhere = world.client(2);
        assert_eq!(elsewhere.code(&mut world, &ask), 437);
    }
}

#[test]
fn of_two_faults_of_a_permission_the_one_checked_first_is_named() {
    let mut world = World::with(Setup {
        max_permissions: 1,
        ..Setup::default()
    });
    let mut client = world.client(1);
    client.allocated(&mut world);
    let denied = address("127.0.0.1:1");
    let broken = |ask: Ask| ask.raw(AttributeType::XOR_PEER_ADDRESS, &[0, 9, 0]);
    let two = [peer(1, 1), peer(2, 1)];
    let cases = [
        (broken(permit(&[peer_v6(1, 1)])), 400),
        (broken(permit(&[denied])), 400),
        (permit(&[denied, peer_v6(1, 1)]), 443),
        (permit(&[peer(1, 1), peer(2, 1), denied]), 403),
        (permit(&two), 508),
    ];
    for (ask, code) in cases {
        assert_eq!(client.code(&mut world, &ask), code, "{ask:?}");
    }
}

#[test]
fn of_two_faults_of_a_channel_the_one_checked_first_is_named() {
    let mut world = World::with(Setup {
        max_channels: 1,
        max_permissions: 1,
        ..Setup::default()
    });
    let mut client = world.client(1);
    client.allocated(&mut world);
    assert_eq!(client.code(&mut world, &bind(0x4000, peer(1, 1))), 0);
    let denied = address("127.0.0.1:1");
    let cases = [
        (bind(0x5000, peer_v6(1, 1)), 400),
        (bind(0x5000, denied), 400),
        // A number that is taken, before the peer is looked at.
        (bind(0x4000, peer_v6(1, 1)), 400),
        (bind(0x4000, denied), 400),
        (bind(0x4001, peer(1, 1)), 400),
        (bind(0x4001, peer_v6(1, 1)), 443),
        (bind(0x4001, denied), 403),
        (bind(0x4001, peer(1, 2)), 508),
        (bind(0x4001, peer(2, 1)), 508),
    ];
    for (ask, code) in cases {
        assert_eq!(client.code(&mut world, &ask), code, "{ask:?}");
    }
}

#[test]
fn s_auth_08_of_two_faults_of_credentials_the_one_checked_first_is_named() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.get_nonce(&mut world);
    client.nonce = b"stale".to_vec();
    client.login.password = "wrong".into();
    assert_eq!(client.ask_once(&mut world, &allocate()).code(), 401);
    let ask = allocate().raw(UNKNOWN, b"");
    assert_eq!(client.ask_once(&mut world, &ask).code(), 401);
    client.login.password = "s3cret".into();
    assert_eq!(client.ask_once(&mut world, &ask).code(), 438);
    client.login.realm = "other".into();
    assert_eq!(client.ask_once(&mut world, &ask).code(), 401);
}
