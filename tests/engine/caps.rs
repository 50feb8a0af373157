//! What a user may use up: new peers, peers in one request, ports in quarantine.

use crate::client::{Client, allocate, bind, permit, refresh};
use crate::world::{Setup, World, peer};
use hairpin::engine::CloseReason;
use hairpin::engine::counters::RefusalReason;
use hairpin::policy::Limits;
use std::net::SocketAddr;

fn refusals(world: &World, reason: RefusalReason) -> u64 {
    let all = world.counters.iter().flat_map(|c| c.refusals());
    all.filter(|(r, _)| *r == reason).map(|(_, n)| n).sum()
}

/// The `number`th peer of a network that is scanned.
fn scanned(number: u32) -> SocketAddr {
    let [_, a, b, c] = number.to_be_bytes();
    SocketAddr::from(([60 + a, 1, b, c], 80))
}

fn world(rate: u32) -> (World, Client) {
    let mut world = World::with(Setup {
        new_peers_per_second: rate,
        max_permissions: 4096,
        max_channels: 4096,
        ..Setup::default()
    });
    let mut client = world.client(1);
    client.allocated(&mut world);
    (world, client)
}

#[test]
fn x_sec_08_who_scans_is_slowed_and_then_ended() {
    let (mut world, mut client) = world(16);
    let mut met = 0;
    let mut asked = 0;
    while client.is_allocated(&world) {
        asked += 1;
        let code = client.code(&mut world, &permit(&[scanned(asked)]));
        assert!(code == 0 || code == 508, "{code}");
        met += u32::from(code == 0);
        world.advance_millis(10);
        assert!(asked < 10_000);
    }
    // 8 seconds' worth at once, and the rate beside; ended after 60 seconds' worth.
    let seconds = asked / 100;
    assert!(
        met >= 128 && met <= 128 + 16 * (seconds + 1),
        "{met} in {seconds} s"
    );
    assert!((960..1400).contains(&asked), "{asked}");
    assert_eq!(world.closed[0].reason, CloseReason::Scanning);
    assert_eq!(world.counters[0].scanners_ended.get(), 1);
    assert!(refusals(&world, RefusalReason::NewPeers) > 0);
    assert_eq!(client.code(&mut world, &refresh()), 437);
}

#[test]
fn who_scans_by_channels_or_in_networks_that_are_denied_is_ended_too() {
    let (mut world, mut client) = world(2);
    for number in 0..100 {
        client.ask(&mut world, &bind(0x4000 + number, scanned(number.into())));
    }
    assert_eq!(client.code(&mut world, &bind(0x4900, scanned(900))), 508);
    let mut denied = world.client(2);
    denied.allocated(&mut world);
    let mut codes: Vec<u16> = Vec::new();
    while denied.is_allocated(&world) {
        let at = SocketAddr::from(([192, 168, 0, codes.len() as u8], 22));
        codes.push(denied.code(&mut world, &permit(&[at])));
        assert!(codes.len() < 200);
    }
    assert_eq!((codes[0], codes.last()), (403, Some(&508)));
}

#[test]
fn a_conference_with_many_candidates_meets_no_limit() {
    let (mut world, mut client) = world(16);
    // Ten people join within a few seconds, each with ten candidates, and everything is refreshed for an hour.
    for person in 0..10 {
        for candidate in 0..10 {
            let at = scanned(person * 10 + candidate);
            assert_eq!(client.code(&mut world, &permit(&[at])), 0);
        }
        world.advance_millis(200);
    }
    for _ in 0..15 {
        world.advance(240);
        let all: Vec<_> = (0..100).map(scanned).collect();
        assert_eq!(client.code(&mut world, &permit(&all)), 0);
        assert_eq!(client.code(&mut world, &refresh()), 0);
    }
    assert_eq!(refusals(&world, RefusalReason::NewPeers), 0);
}

#[test]
fn x_cve_14_a_request_that_names_more_peers_than_may_be_is_refused_whole() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    let many: Vec<_> = (0..5400).map(scanned).collect();
    for _ in 0..3 {
        assert_eq!(client.code(&mut world, &permit(&many)), 508);
    }
    assert_eq!(refusals(&world, RefusalReason::PermissionLimit), 3);
    let path = client.path.tuple;
    assert!(world.live[&path].permissions.is_empty());
    assert_eq!(client.code(&mut world, &permit(&[peer(1, 1)])), 0);
}

#[test]
fn nobody_keeps_the_ports_of_others_in_quarantine() {
    let mut world = World::with(Setup {
        ports: 50_000..=50_399,
        quarantine: 10,
        limits: Limits {
            resting_per_user: 100,
            ..Limits::default()
        },
        ..Setup::default()
    });
    let mut churner = world.client(1);
    let mut other = world.bob(2);
    let mut refused = 0;
    for _ in 0..3000 {
        match churner.code(&mut world, &allocate()) {
            0 => assert_eq!(churner.code(&mut world, &refresh().lifetime(0)), 0),
            486 => refused += 1,
            code => panic!("{code}"),
        }
        world.advance_millis(5);
    }
    assert!(refused > 2000, "{refused}");
    assert_eq!(refusals(&world, RefusalReason::UserQuarantine), refused);
    other.allocated(&mut world);
    assert_eq!(other.code(&mut world, &refresh().lifetime(0)), 0);
    // What is over counts no more.
    world.sleep_through(10);
    churner.allocated(&mut world);
    world.expect_nothing_left();
}

#[test]
fn a_port_that_no_socket_was_there_for_is_free_again_at_once() {
    let mut world = World::with(Setup {
        ports: 50_000..=50_001,
        quarantine: 60,
        ..Setup::default()
    });
    let mut client = world.client(1);
    world.no_sockets = true;
    for _ in 0..10 {
        assert_eq!(client.code(&mut world, &allocate()), 508);
    }
    world.no_sockets = false;
    let counts = world.shared.relays.counts(world.now().instant);
    assert_eq!((counts.quarantined, counts.used), (0, 0));
    client.allocated(&mut world);
}
