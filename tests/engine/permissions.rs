//! Permissions: 300 s for an address, whatever the port.

use crate::client::{Ask, allocate, bind, permit, refresh, send};
use crate::world::{SERVER, Setup, World, address, peer, peer_v6};
use hairpin::engine::counters::{DropReason, RefusalReason};
use hairpin::wire::Method;

/// Whether data passes between a client and a peer, the same in both directions.
fn passes(
    world: &mut World,
    client: &mut crate::client::Client,
    peer: std::net::SocketAddr,
) -> bool {
    let relayed = world.live[&client.path.tuple].relayed.advertised;
    client.tell(world, &send(peer, b"out"));
    let out = !world.take_sent().is_empty();
    world.peer_sends(peer, relayed, b"in");
    let back = !client.received(world).is_empty();
    assert_eq!(out, back, "one direction only");
    out
}

#[test]
fn t_perm_01_a_permission_lasts_300_seconds() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    assert_eq!(client.code(&mut world, &permit(&[peer(1, 1)])), 0);
    world.advance_millis(299_999);
    assert!(passes(&mut world, &mut client, peer(1, 1)));
    world.advance_millis(1);
    assert!(!passes(&mut world, &mut client, peer(1, 1)));
    assert_eq!(world.drops(DropReason::NoPermission), 2);
}

#[test]
fn t_perm_02_it_is_for_an_address_and_any_port() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    client.ask(&mut world, &permit(&[peer(1, 1)]));
    for port in [1, 2, 1023, 65535] {
        assert!(passes(&mut world, &mut client, peer(1, port)));
    }
    world.advance(200);
    client.ask(&mut world, &permit(&[peer(1, 9)]));
    world.advance(200);
    assert!(passes(&mut world, &mut client, peer(1, 1)));
    // Nor does the port 0 matter, as clients write that have no port to name.
    let mut other = world.client(2);
    other.allocated(&mut world);
    assert_eq!(other.code(&mut world, &permit(&[peer(1, 0)])), 0);
    assert!(passes(&mut world, &mut other, peer(1, 1)));
}

#[test]
fn t_perm_03_14_at_least_one_peer_is_needed() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    let reply = client.ask(&mut world, &permit(&[]));
    assert_eq!(reply.code(), 400);
    assert!(reply.is_signed());
    let reply = client.ask(&mut world, &permit(&[peer(1, 1)]));
    assert_eq!(reply.kinds().len(), 1, "nothing but the integrity");
}

#[test]
fn t_perm_04_05_06_08_all_peers_of_a_request_or_none() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    let good = peer(1, 1);
    let bad_form = permit(&[good]).raw(
        hairpin::wire::AttributeType::XOR_PEER_ADDRESS,
        &[0, 3, 0, 0, 0, 0, 0, 0],
    );
    assert_eq!(client.code(&mut world, &bad_form), 400);
    assert_eq!(
        client.code(&mut world, &permit(&[good, peer_v6(1, 1)])),
        443
    );
    let denied = address("127.0.0.1:80");
    assert_eq!(client.code(&mut world, &permit(&[good, denied])), 403);
    assert!(!passes(&mut world, &mut client, good));
    let three = [peer(1, 1), peer(2, 1), peer(3, 1)];
    assert_eq!(client.code(&mut world, &permit(&three)), 0);
    for peer in three {
        assert!(passes(&mut world, &mut client, peer));
    }
}

#[test]
fn t_perm_06_ipv6_relays_take_ipv6_peers_only() {
    let mut world = World::new();
    let mut client = world.client(1);
    assert_eq!(client.code(&mut world, &allocate().family(2)), 0);
    assert_eq!(client.code(&mut world, &permit(&[peer(1, 1)])), 443);
    assert_eq!(client.code(&mut world, &permit(&[peer_v6(1, 1)])), 0);
    assert!(passes(&mut world, &mut client, peer_v6(1, 2)));
}

#[test]
fn t_perm_08_15_x_sec_03_04_05_06_x_cve_01_02_03_08_denied_peers_are_403() {
    let mut world = World::new();
    let mut v4 = world.client(1);
    let mut v6 = world.client(2);
    v4.allocated(&mut world);
    assert_eq!(v6.code(&mut world, &allocate().family(2)), 0);
    let denied = [
        "0.0.0.0:1",
        "0.1.2.3:1",
        "127.0.0.1:1",
        "127.1.2.3:1",
        "10.0.0.1:1",
        "172.16.0.1:1",
        "192.168.1.1:1",
        "100.64.0.1:1",
        "169.254.169.254:80",
        "224.0.0.1:1",
        "240.0.0.1:1",
        "255.255.255.255:1",
        SERVER,
        "20.0.0.1:80",
        "[::]:1",
        "[::1]:1",
        "[fe80::1]:1",
        "[fd00:ec2::254]:80",
        "[ff02::1]:1",
        "[::ffff:127.0.0.1]:1",
        "[::ffff:169.254.169.254]:80",
        "[::127.0.0.1]:1",
        "[64:ff9b::7f00:1]:1",
        "[64:ff9b::a9fe:a9fe]:80",
        "[2002:7f00:1::]:1",
        "[2002:2800:1::1]:1",
        "[2001:0:1::1]:1",
        "[2600:1::1]:3478",
    ];
    for text in denied {
        let peer = address(text);
        let client = if peer.is_ipv4() { &mut v4 } else { &mut v6 };
        assert_eq!(client.code(&mut world, &permit(&[peer])), 403, "{text}");
        assert_eq!(client.code(&mut world, &bind(0x4000, peer)), 403, "{text}");
        client.tell(&mut world, &send(peer, b"x"));
    }
    assert_eq!(world.take_sent(), []);
    assert_eq!(v4.code(&mut world, &bind(0x4000, peer(1, 0))), 403);
}

#[test]
fn t_perm_15_an_ipv4_mapped_peer_never_becomes_a_second_name_of_a_peer() {
    let mut world = World::new();
    let mut client = world.client(1);
    assert_eq!(client.code(&mut world, &allocate().family(2)), 0);
    let mapped = address("[::ffff:40.0.0.1]:1");
    assert_eq!(client.code(&mut world, &permit(&[mapped])), 403);
    assert_eq!(client.code(&mut world, &bind(0x4000, mapped)), 403);
}

#[test]
fn t_perm_09_x_cve_14_so_many_permissions_and_no_more() {
    let mut world = World::with(Setup {
        max_permissions: 3,
        ..Setup::default()
    });
    let mut client = world.client(1);
    client.allocated(&mut world);
    let four: Vec<_> = (1..5).map(|host| peer(host, 1)).collect();
    assert_eq!(client.code(&mut world, &permit(&four)), 508);
    assert!(!passes(&mut world, &mut client, four[0]));
    assert_eq!(client.code(&mut world, &permit(&four[..3])), 0);
    assert_eq!(client.code(&mut world, &permit(&four[3..])), 508);
    assert_eq!(client.code(&mut world, &bind(0x4000, four[3])), 508);
    // Known ones can be renewed, also several times in one request.
    let twice: Vec<_> = four[..3].iter().chain(&four[..3]).copied().collect();
    assert_eq!(client.code(&mut world, &permit(&twice)), 0);
    world.sleep_through(300);
    assert_eq!(client.code(&mut world, &permit(&four[3..])), 0);
    let refused = world.counters[0].refusals();
    let refused = refused.filter(|(r, _)| *r == RefusalReason::PermissionLimit);
    assert_eq!(refused.map(|(_, n)| n).sum::<u64>(), 3);
}

#[test]
fn t_perm_09_a_peer_named_often_counts_once() {
    let mut world = World::with(Setup {
        max_permissions: 20,
        ..Setup::default()
    });
    let mut client = world.client(1);
    client.allocated(&mut world);
    let peers: Vec<_> = (0..3)
        .flat_map(|_| (1..=20).map(|host| peer(host, 1)))
        .collect();
    assert_eq!(client.code(&mut world, &permit(&peers)), 0);
}

#[test]
fn t_perm_10_w_rtc_12_asking_again_starts_300_seconds_anew() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.ask(&mut world, &allocate().lifetime(3600));
    for _ in 0..10 {
        client.ask(&mut world, &permit(&[peer(1, 1)]));
        world.advance(240);
        assert!(passes(&mut world, &mut client, peer(1, 1)));
    }
    world.advance(60);
    assert!(!passes(&mut world, &mut client, peer(1, 1)));
}

#[test]
fn t_perm_11_t_send_06_t_cd_10_data_keeps_no_permission() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    client.ask(&mut world, &bind(0x4000, peer(1, 1)));
    for _ in 0..299 {
        world.advance(1);
        assert!(passes(&mut world, &mut client, peer(1, 1)));
        assert!(passes(&mut world, &mut client, peer(1, 2)));
        client.push(&mut world, 0x4000, b"x");
        assert_eq!(world.take_sent().len(), 1);
    }
    client.ask(&mut world, &refresh());
    world.advance(1);
    assert!(!passes(&mut world, &mut client, peer(1, 1)));
    client.push(&mut world, 0x4000, b"x");
    assert_eq!(world.take_sent(), []);
}

#[test]
fn t_perm_12_t_data_05_who_has_no_permission_is_not_heard() {
    let mut world = World::new();
    let mut client = world.client(1);
    let relayed = client.allocated(&mut world);
    client.ask(&mut world, &permit(&[peer(1, 1)]));
    world.peer_sends(peer(2, 1), relayed, b"hello");
    world.peer_sends(peer_v6(1, 1), relayed, b"hello");
    assert_eq!(client.received(&mut world), []);
    assert_eq!(world.drops(DropReason::NoPermission), 2);
}

#[test]
fn t_perm_13_t_cd_12_permissions_and_channels_belong_to_one_allocation() {
    let mut world = World::new();
    let mut first = world.client(1);
    let mut second = world.client(2);
    first.allocated(&mut world);
    let relayed = second.allocated(&mut world);
    first.ask(&mut world, &bind(0x4000, peer(1, 1)));
    assert!(!passes(&mut world, &mut second, peer(1, 1)));
    second.push(&mut world, 0x4000, b"x");
    assert_eq!(world.take_sent(), []);
    world.peer_sends(peer(1, 1), relayed, b"x");
    assert_eq!(first.received(&mut world), []);
}

#[test]
fn w_rtc_13_a_refused_peer_leaves_the_others_alone() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    client.ask(&mut world, &permit(&[peer(1, 1)]));
    let denied = address("192.168.1.1:1");
    assert_eq!(client.code(&mut world, &permit(&[denied])), 403);
    assert!(passes(&mut world, &mut client, peer(1, 1)));
    let twice = Ask::new(Method::CREATE_PERMISSION)
        .peer(peer(2, 1))
        .lifetime(1);
    assert_eq!(client.code(&mut world, &twice), 0);
}

#[test]
fn a_permission_that_is_refused_has_nobody_heard() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    assert_ne!(
        client.code(&mut world, &permit(&[address("127.0.0.1:5000")])),
        0
    );
    assert!(world.heard.is_empty());
}
