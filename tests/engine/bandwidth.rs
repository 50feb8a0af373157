//! Limits of bandwidth: what passes in virtual time, what is dropped, and who is held back.

use crate::client::{Client, bind};
use crate::world::{SECRET, Setup, UNIX_START, World, peer};
use hairpin::auth::mint_ephemeral;
use hairpin::engine::counters::DropReason;
use hairpin::policy::BandwidthLimits;
use std::time::Duration;

fn world(bandwidth: BandwidthLimits) -> World {
    World::with(Setup {
        bandwidth,
        ..Setup::default()
    })
}

fn connected(world: &mut World, mut client: Client) -> Client {
    client.allocated(world);
    assert_eq!(client.code(world, &bind(0x4000, peer(1, 1))), 0);
    client
}

fn dropped(world: &World) -> u64 {
    let mut drops = world.counters[0].drops();
    drops.find(|(r, _)| *r == DropReason::Bandwidth).unwrap().1
}

/// Bytes of each client that reach the peer while all send packets of 1000 bytes for ten seconds, so many a second.
fn send(world: &mut World, clients: &[(&Client, u64)]) -> Vec<usize> {
    let mut passed = vec![0; clients.len()];
    for millis in 0..10_000 {
        world.advance_millis(1);
        for (place, (client, per_second)) in clients.iter().enumerate() {
            let before = millis * per_second / 1000;
            for _ in before..(millis + 1) * per_second / 1000 {
                client.push(world, 0x4000, &[0; 1000]);
                passed[place] += world
                    .take_sent()
                    .iter()
                    .map(|d| d.data.len())
                    .sum::<usize>();
            }
        }
    }
    passed
}

fn about(bytes: usize, expected: usize) -> bool {
    bytes.abs_diff(expected) <= expected / 10
}

#[test]
fn x_sec_08_an_allocation_and_a_user_have_so_much_each_way_and_the_session_lives() {
    let mut world = world(BandwidthLimits {
        per_allocation: 100_000,
        per_user: 150_000,
        total: 0,
        burst: Duration::from_millis(100),
    });
    let client = world.client(1);
    let one = connected(&mut world, client);
    let passed = send(&mut world, &[(&one, 200)]);
    assert!(about(passed[0], 1_010_000), "{passed:?}");
    let client = world.client(2);
    let two = connected(&mut world, client);
    let passed = send(&mut world, &[(&one, 200), (&two, 200)]);
    assert!(about(passed.iter().sum(), 1_515_000), "{passed:?}");
    assert!(dropped(&world) > 0);
    // The other way has its own.
    let relayed = world.live[&one.path.tuple].relayed.advertised;
    for _ in 0..300 {
        world.advance_millis(10);
        world.peer_sends(peer(1, 1), relayed, &[0; 2000]);
    }
    let arrived: usize = one.received(&mut world).iter().map(|a| a.data.len()).sum();
    assert!(about(arrived, 310_000), "{arrived}");
    assert!(one.is_allocated(&world) && two.is_allocated(&world));
    assert_eq!(world.shared.bandwidth.users(), 1);
    // What was dropped is not counted as relayed.
    let usage = world.engines[0].sessions().map(|s| s.usage.bytes_to_client);
    assert_eq!(usage.sum::<u64>(), arrived as u64);
    world.expect_nothing_left();
    assert_eq!(world.shared.bandwidth.users(), 0);
}

#[test]
fn users_of_one_key_share_its_bandwidth_and_others_are_not_held_back() {
    let mut world = World::new();
    world.shared.bandwidth.set_groups([("shop", 100_000)]);
    world.shared.quotas.set_groups([("shop", 0)]);
    let mut of = |host: u8, user: &str| {
        let mut client = world.client(host);
        let minted = mint_ephemeral(SECRET.as_bytes(), Some(user), UNIX_START + 3600);
        client.login.user = minted.0.into();
        client.login.password = minted.1;
        connected(&mut world, client)
    };
    let clients = [
        of(1, "shop:a"),
        of(2, "shop:b"),
        of(3, "game:a"),
        of(4, "shop"),
    ];
    let all: Vec<_> = clients.iter().map(|client| (client, 200)).collect();
    let passed = send(&mut world, &all);
    assert!(about(passed[0] + passed[1], 1_050_000), "{passed:?}");
    assert_eq!(passed[2..], [2_000_000; 2]);
    // Whose key was taken away still has credentials, and is not free for that.
    world.shared.bandwidth.set_groups([]);
    let passed = send(&mut world, &all);
    assert!(about(passed[0] + passed[1], 1_050_000), "{passed:?}");
    // Without the limit all passes, and with another one that holds at once.
    world.shared.bandwidth.set_groups([("shop", 0)]);
    assert_eq!(send(&mut world, &all), [2_000_000; 4]);
    world.shared.bandwidth.set_groups([("shop", 300_000)]);
    let passed = send(&mut world, &all);
    assert!(about(passed[0] + passed[1], 3_150_000), "{passed:?}");
}

#[test]
fn a_total_that_is_short_is_shared_fairly_between_users() {
    let mut world = world(BandwidthLimits {
        total: 300_000,
        ..BandwidthLimits::default()
    });
    let (a, b, c) = (world.client(1), world.client(2), world.bob(3));
    let greedy = [connected(&mut world, a), connected(&mut world, b)];
    let modest = connected(&mut world, c);
    // One user with two allocations sends 800,000 bytes a second; the other has a call.
    send(&mut world, &[(&greedy[0], 400), (&greedy[1], 400)]);
    let passed = send(
        &mut world,
        &[(&greedy[0], 400), (&greedy[1], 400), (&modest, 100)],
    );
    assert!(
        passed[2] >= 990_000,
        "a call within its share loses nothing: {passed:?}"
    );
    let total: usize = passed.iter().sum();
    assert!((2_700_000..3_400_000).contains(&total), "{passed:?}");
    // Two that both want more than there is have the same.
    let passed = send(&mut world, &[(&greedy[0], 400), (&modest, 400)]);
    assert!(passed[0].abs_diff(passed[1]) < 300_000, "{passed:?}");
    // Alone, each has it all.
    let passed = send(&mut world, &[(&modest, 400)]);
    assert!(about(passed[0], 3_000_000), "{passed:?}");
}

#[test]
fn a_client_on_a_stream_is_read_from_later_and_loses_nothing() {
    let mut world = world(BandwidthLimits {
        per_user: 50_000,
        burst: Duration::from_millis(100),
        ..BandwidthLimits::default()
    });
    let client = world.tcp_client(1);
    let client = connected(&mut world, client);
    let mut passed = 0;
    let start = world.millis;
    while passed < 500_000 {
        let pause = world.engines[0].reading_pause(world.now(), &client.path.tuple);
        world.advance_millis(pause.as_millis() as u64);
        client.push(&mut world, 0x4000, &[0; 1000]);
        passed += world.take_sent()[0].data.len();
    }
    let seconds = (world.millis - start) as f64 / 1000.0;
    assert!((9.5..10.5).contains(&seconds), "{seconds}");
    assert_eq!(dropped(&world), 0);
}

#[test]
fn channels_of_limited_allocations_are_offered_to_no_faster_data_plane() {
    let mut world = world(BandwidthLimits {
        per_user: 50_000,
        ..BandwidthLimits::default()
    });
    let client = world.client(1);
    connected(&mut world, client);
    assert!(world.routes.is_empty());
}
