//! How allocations end, and that nothing of them stays.

use crate::client::{allocate, bind, permit, refresh};
use crate::world::{Setup, World, peer};
use hairpin::engine::CloseReason;

#[test]
fn every_end_has_its_reason_and_leaves_nothing() {
    let mut world = World::with(Setup {
        workers: 2,
        ..Setup::default()
    });
    let mut clients: Vec<_> = (0..4).map(|host| world.tcp_client(host)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.worker = number % 2;
        client.ask(&mut world, &allocate().lifetime(600 + 600 * number as u32));
        client.ask(&mut world, &permit(&[peer(1, 1)]));
        client.ask(&mut world, &bind(0x4000, peer(2, 1)));
    }
    assert_eq!(world.routes.len(), 4);
    world.advance(600);
    assert!(!clients[0].is_allocated(&world));
    clients[1].ask(&mut world, &refresh().lifetime(0));
    world.client_gone(&clients[2]);
    world.client_gone(&clients[2]);
    world.shut_down();
    world.shut_down();
    let reasons: Vec<_> = world.closed.iter().map(|c| c.reason).collect();
    let expected = [
        CloseReason::Expired,
        CloseReason::Released,
        CloseReason::Disconnected,
        CloseReason::Shutdown,
    ];
    assert_eq!(reasons, expected);
    for (closed, client) in world.closed.iter().zip(&clients) {
        assert_eq!(closed.client, client.path);
        assert_eq!(&*closed.user, "alice");
    }
    world.expect_nothing_left();
}

#[test]
fn s_tcp_08_w_rtc_26_a_release_and_then_the_end_of_the_connection_is_one_end() {
    let mut world = World::new();
    let mut client = world.tcp_client(1);
    client.allocated(&mut world);
    client.ask(&mut world, &refresh().lifetime(0));
    world.client_gone(&client);
    assert_eq!(world.closed.len(), 1);
    assert!(world.auth_failures.is_empty());
}

#[test]
fn x_sec_09_the_record_of_an_allocation_tells_who_where_and_how_much() {
    let mut world = World::new();
    let mut client = world.client(1);
    let relayed = client.allocated(&mut world);
    client.ask(&mut world, &bind(0x4000, peer(1, 1)));
    client.push(&mut world, 0x4000, b"12345");
    world.peer_sends(peer(1, 1), relayed, b"123");
    world.peer_sends(peer(1, 1), relayed, b"");
    world.peer_sends(peer(9, 9), relayed, b"not let in");
    world.advance(7);
    client.ask(&mut world, &refresh().lifetime(0));
    let closed = world.closed.pop().unwrap();
    assert_eq!(closed.relayed.to_string(), relayed.to_string());
    assert_eq!(closed.duration.as_secs(), 7);
    let usage = closed.usage;
    assert_eq!((usage.packets_to_peers, usage.bytes_to_peers), (1, 5));
    assert_eq!((usage.packets_to_client, usage.bytes_to_client), (2, 3));
    assert!(!world.transcript.contains("s3cret"));
}

#[test]
fn allocations_have_names_that_never_come_again() {
    let mut world = World::new();
    let mut client = world.client(1);
    for _ in 0..100 {
        client.allocated(&mut world);
        client.ask(&mut world, &refresh().lifetime(0));
        world.advance(1);
    }
    let mut names: Vec<_> = world.closed.iter().map(|c| c.id.0).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 100);
}

#[test]
fn allocations_that_come_and_go_do_not_pile_up_deadlines() {
    let mut world = World::new();
    let mut client = world.client(1);
    for _ in 0..500 {
        client.ask(&mut world, &allocate().lifetime(3600));
        client.ask(&mut world, &bind(0x4000, peer(1, 1)));
        assert_eq!(client.code(&mut world, &refresh().lifetime(0)), 0);
        world.advance_millis(10);
    }
    assert_eq!(world.live.len(), 0);
    // Each wake-up costs a worker's time, so those of allocations that are over may not add up.
    let mut wake_ups = 0;
    while let Some(at) = world.engines[0].next_deadline() {
        world.millis = at.as_millis();
        world.run_timers(0);
        wake_ups += 1;
    }
    assert!(wake_ups <= 100, "{wake_ups} wake-ups for nothing");
}
