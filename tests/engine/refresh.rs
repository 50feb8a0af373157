//! Refresh: longer, shorter, over.

use crate::client::{allocate, bind, frame, permit, refresh};
use crate::world::{World, peer};
use hairpin::engine::CloseReason;
use hairpin::engine::counters::DropReason;
use hairpin::wire::AttributeType;

#[test]
fn t_refr_01_02_lifetimes_follow_the_rules_of_allocate() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    for (wanted, given) in [
        (None, 600),
        (Some(1), 600),
        (Some(100), 600),
        (Some(1800), 1800),
        (Some(99_999), 3600),
        (Some(u32::MAX), 3600),
    ] {
        let ask = match wanted {
            Some(seconds) => refresh().lifetime(seconds),
            None => refresh(),
        };
        let reply = client.ask(&mut world, &ask);
        assert_eq!((reply.code(), reply.lifetime()), (0, given));
        assert!(reply.is_signed());
    }
}

#[test]
fn t_refr_01_the_last_refresh_decides_whether_longer_or_shorter() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    client.ask(&mut world, &refresh().lifetime(3600));
    world.advance(3500);
    assert!(client.is_allocated(&world));
    client.ask(&mut world, &refresh().lifetime(3600));
    client.ask(&mut world, &refresh());
    world.advance(599);
    assert!(client.is_allocated(&world));
    world.advance(1);
    assert!(!client.is_allocated(&world));
    assert_eq!(world.closed[0].reason, CloseReason::Expired);
    assert_eq!(world.closed[0].duration.as_secs(), 4100);
}

#[test]
fn t_refr_03_lifetime_0_ends_everything_at_once() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    client.ask(&mut world, &permit(&[peer(2, 1)]));
    client.ask(&mut world, &bind(0x4000, peer(1, 1)));
    assert_eq!(world.routes.len(), 1);
    let reply = client.ask(&mut world, &refresh().lifetime(0));
    assert_eq!((reply.code(), reply.lifetime()), (0, 0));
    assert!(world.routes.is_empty() && world.sockets.is_empty());
    assert_eq!(world.shared.quotas.in_use(), 0);
    assert_eq!(world.closed[0].reason, CloseReason::Released);
    client.push(&mut world, 0x4000, b"late");
    assert_eq!(world.take_sent(), []);
    assert_eq!(world.drops(DropReason::NoAllocation), 1);
    assert_eq!(client.code(&mut world, &permit(&[peer(2, 1)])), 437);
}

#[test]
fn t_refr_03_the_next_allocation_inherits_nothing() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    client.ask(&mut world, &bind(0x4000, peer(1, 1)));
    client.ask(&mut world, &refresh().lifetime(0));
    let relayed = client.allocated(&mut world);
    client.push(&mut world, 0x4000, b"late");
    assert_eq!(world.take_sent(), []);
    world.peer_sends(peer(1, 1), relayed, b"late");
    assert_eq!(client.received(&mut world), []);
}

#[test]
fn t_refr_04_a_repeated_delete_is_437_and_makes_nothing() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    let delete = client.signed(&refresh().lifetime(0));
    assert_eq!(client.send_bytes(&mut world, &delete).unwrap().code(), 0);
    assert_eq!(client.send_bytes(&mut world, &delete).unwrap().code(), 437);
    assert!(world.live.is_empty());
}

#[test]
fn t_refr_06_another_family_is_443_and_changes_nothing() {
    let mut world = World::new();
    let mut v4 = world.client(1);
    let mut v6 = world.client(2);
    v4.allocated(&mut world);
    assert_eq!(v6.code(&mut world, &allocate().family(2)), 0);
    for (client, own, other) in [(&mut v4, 1, 2), (&mut v6, 2, 1)] {
        assert_eq!(client.code(&mut world, &refresh().family(own)), 0);
        for family in [other, 0, 3] {
            let ask = refresh().family(family);
            assert_eq!(client.code(&mut world, &ask), 443);
            assert_eq!(client.code(&mut world, &ask.lifetime(0)), 443);
        }
        assert!(client.is_allocated(&world));
        assert_eq!(
            client.code(&mut world, &refresh().family(own).lifetime(0)),
            0
        );
    }
    assert!(world.live.is_empty());
}

#[test]
fn t_refr_10_refresh_keeps_the_relayed_address() {
    let mut world = World::new();
    let mut client = world.client(1);
    let relayed = client.allocated(&mut world);
    let reply = client.ask(&mut world, &refresh());
    assert!(!reply.has(AttributeType::XOR_RELAYED_ADDRESS));
    assert_eq!(world.live[&client.path.tuple].relayed.advertised, relayed);
}

#[test]
fn t_gen_09_data_does_not_keep_an_allocation() {
    let mut world = World::new();
    let mut client = world.client(1);
    let relayed = client.allocated(&mut world);
    for second in 0..600 {
        if second % 200 == 0 {
            client.ask(&mut world, &bind(0x4000, peer(1, 1)));
        }
        assert!(client.is_allocated(&world));
        client.send_bytes(&mut world, &frame(0x4000, b"x"));
        assert!(world.peer_sends(peer(1, 1), relayed, b"y"));
        world.advance(1);
    }
    assert!(!client.is_allocated(&world));
    assert!(!world.peer_sends(peer(1, 1), relayed, b"y"));
    assert_eq!(client.received(&mut world).len(), 600);
    let usage = world.closed[0].usage;
    assert_eq!((usage.packets_to_peers, usage.bytes_to_peers), (600, 600));
    assert_eq!((usage.packets_to_client, usage.bytes_to_client), (600, 600));
}

#[test]
fn t_gen_10_an_allocation_that_is_over_is_over_even_if_its_timer_is_late() {
    let mut world = World::new();
    let mut client = world.client(1);
    let relayed = client.allocated(&mut world);
    client.ask(&mut world, &refresh().lifetime(900));
    world.advance(700);
    client.ask(&mut world, &bind(0x4000, peer(1, 1)));
    client.ask(&mut world, &permit(&[peer(2, 1)]));
    world.sleep_through(200);
    // The first of these to come finds it over, so each way in has to look.
    world.peer_sends(peer(1, 1), relayed, b"late");
    world.peer_sends(peer(2, 1), relayed, b"late");
    assert_eq!(client.received(&mut world), []);
    client.push(&mut world, 0x4000, b"late");
    client.tell(&mut world, &crate::client::send(peer(1, 1), b"late"));
    assert_eq!(world.take_sent(), []);
    assert_eq!(client.code(&mut world, &refresh()), 437);
    assert!(world.routes.is_empty());
}
