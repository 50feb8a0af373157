//! ChannelBind: 600 s for a number and a peer, with a permission of 300 s.

use crate::client::{Ask, allocate, bind, permit, refresh, send};
use crate::world::{Setup, World, peer, peer_v6};
use hairpin::engine::counters::DropReason;
use hairpin::wire::{AttributeType, Method};

#[test]
fn t_chan_01_number_and_peer_are_needed() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    let ask = Ask::new(Method::CHANNEL_BIND);
    assert_eq!(client.code(&mut world, &ask), 400);
    assert_eq!(client.code(&mut world, &ask.clone().channel(0x4000)), 400);
    assert_eq!(client.code(&mut world, &ask.peer(peer(1, 1))), 400);
    assert!(world.routes.is_empty());
}

#[test]
fn t_chan_02_w_rtc_18_numbers_are_from_0x4000_to_0x4fff() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    for number in [0, 0x3FFF, 0x5000, 0x7FFE, 0x7FFF, 0xFFFF] {
        assert_eq!(client.code(&mut world, &bind(number, peer(1, 1))), 400);
    }
    assert_eq!(client.code(&mut world, &bind(0x4000, peer(1, 1))), 0);
    assert_eq!(client.code(&mut world, &bind(0x4FFF, peer(2, 1))), 0);
}

#[test]
fn t_chan_03_04_16_a_number_and_a_peer_are_bound_to_each_other_only() {
    let mut world = World::new();
    let mut client = world.client(1);
    let relayed = client.allocated(&mut world);
    client.ask(&mut world, &bind(0x4000, peer(1, 1)));
    assert_eq!(client.code(&mut world, &bind(0x4000, peer(2, 1))), 400);
    assert_eq!(client.code(&mut world, &bind(0x4001, peer(1, 1))), 400);
    // The refused ones permit nobody and extend nothing.
    world.peer_sends(peer(2, 1), relayed, b"x");
    assert_eq!(client.received(&mut world), []);
    world.advance(200);
    assert_eq!(client.code(&mut world, &bind(0x4001, peer(1, 1))), 400);
    world.advance(100);
    world.peer_sends(peer(1, 1), relayed, b"x");
    assert_eq!(client.received(&mut world), []);
    assert_eq!(world.routes.len(), 0);
}

#[test]
fn t_chan_05_another_port_is_another_peer() {
    let mut world = World::new();
    let mut client = world.client(1);
    let relayed = client.allocated(&mut world);
    assert_eq!(client.code(&mut world, &bind(0x4000, peer(1, 1))), 0);
    assert_eq!(client.code(&mut world, &bind(0x4001, peer(1, 2))), 0);
    for (number, port) in [(0x4000, 1), (0x4001, 2)] {
        client.push(&mut world, number, b"x");
        assert_eq!(world.take_sent()[0].to, peer(1, port));
        world.peer_sends(peer(1, port), relayed, b"y");
        assert_eq!(client.received(&mut world)[0].channel, Some(number));
    }
}

#[test]
fn t_chan_06_07_11_a_binding_lasts_600_seconds_from_the_last_request() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.ask(&mut world, &allocate().lifetime(3600));
    client.ask(&mut world, &bind(0x4000, peer(1, 1)));
    world.advance(500);
    assert_eq!(client.code(&mut world, &bind(0x4000, peer(1, 1))), 0);
    world.advance(500);
    client.ask(&mut world, &permit(&[peer(1, 1)]));
    client.push(&mut world, 0x4000, b"x");
    assert_eq!(world.take_sent().len(), 1);
    world.advance_millis(99_999);
    client.push(&mut world, 0x4000, b"x");
    assert_eq!(world.take_sent().len(), 1);
    assert_eq!(client.code(&mut world, &bind(0x4000, peer(2, 1))), 400);
    world.advance_millis(1);
    client.push(&mut world, 0x4000, b"x");
    assert_eq!(world.take_sent(), []);
    assert_eq!(world.drops(DropReason::NoChannel), 1);
    // Number and peer are free for others, each by itself.
    assert_eq!(client.code(&mut world, &bind(0x4000, peer(2, 1))), 0);
    assert_eq!(client.code(&mut world, &bind(0x4001, peer(1, 1))), 0);
    assert_eq!(world.routes.len(), 2);
}

#[test]
fn t_chan_11_numbers_come_free_even_if_timers_are_late() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.ask(&mut world, &allocate().lifetime(3600));
    client.ask(&mut world, &bind(0x4000, peer(1, 1)));
    world.sleep_through(600);
    assert_eq!(client.code(&mut world, &bind(0x4000, peer(2, 1))), 0);
    assert_eq!(client.code(&mut world, &bind(0x4001, peer(1, 1))), 0);
    assert_eq!(world.routes.len(), 2);
    let peers: Vec<_> = world
        .routes
        .iter()
        .map(|r| (r.channel.get(), r.peer))
        .collect();
    assert!(peers.contains(&(0x4000, peer(2, 1))) && peers.contains(&(0x4001, peer(1, 1))));
}

#[test]
fn t_chan_08_it_permits_its_peers_address_for_300_seconds() {
    let mut world = World::new();
    let mut client = world.client(1);
    let relayed = client.allocated(&mut world);
    client.ask(&mut world, &bind(0x4000, peer(1, 1)));
    world.advance(299);
    world.peer_sends(peer(1, 2), relayed, b"x");
    assert_eq!(client.received(&mut world)[0].channel, None);
    world.advance(1);
    world.peer_sends(peer(1, 2), relayed, b"x");
    world.peer_sends(peer(1, 1), relayed, b"x");
    assert_eq!(client.received(&mut world), []);
}

#[test]
fn t_chan_09_10_a_channel_outlives_its_permission_and_waits_for_another() {
    let mut world = World::new();
    let mut client = world.client(1);
    let relayed = client.allocated(&mut world);
    client.ask(&mut world, &bind(0x4000, peer(1, 1)));
    assert_eq!(world.routes.len(), 1);
    world.advance(310);
    assert_eq!(world.routes.len(), 0);
    client.push(&mut world, 0x4000, b"x");
    world.peer_sends(peer(1, 1), relayed, b"y");
    assert_eq!(world.take_sent(), []);
    assert_eq!(client.received(&mut world), []);
    client.ask(&mut world, &permit(&[peer(1, 9)]));
    assert_eq!(world.routes.len(), 1);
    client.push(&mut world, 0x4000, b"x");
    world.peer_sends(peer(1, 1), relayed, b"y");
    assert_eq!(world.take_sent().len(), 1);
    assert_eq!(client.received(&mut world)[0].channel, Some(0x4000));
    client.ask(&mut world, &refresh());
    world.advance(290);
    assert_eq!(world.routes.len(), 0);
    world.peer_sends(peer(1, 1), relayed, b"y");
    assert_eq!(client.received(&mut world)[0].channel, None);
}

#[test]
fn t_chan_12_13_peers_of_another_family_and_denied_ones() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    assert_eq!(client.code(&mut world, &bind(0x4000, peer_v6(1, 1))), 443);
    let metadata = "169.254.169.254:80".parse().unwrap();
    assert_eq!(client.code(&mut world, &bind(0x4000, metadata)), 403);
}

#[test]
fn t_chan_14_x_cve_14_so_many_channels_and_no_more() {
    let mut world = World::with(Setup {
        max_channels: 2,
        ..Setup::default()
    });
    let mut client = world.client(1);
    client.allocated(&mut world);
    assert_eq!(client.code(&mut world, &bind(0x4000, peer(1, 1))), 0);
    assert_eq!(client.code(&mut world, &bind(0x4001, peer(1, 2))), 0);
    let reply = client.ask(&mut world, &bind(0x4002, peer(2, 1)));
    assert_eq!(reply.code(), 508);
    assert!(reply.is_signed());
    client.tell(&mut world, &send(peer(2, 1), b"x"));
    assert_eq!(world.take_sent(), [], "a refused channel permits nothing");
    assert_eq!(client.code(&mut world, &bind(0x4001, peer(1, 2))), 0);
    world.advance(599);
    assert_eq!(client.code(&mut world, &refresh()), 0);
    world.advance(1);
    assert_eq!(client.code(&mut world, &bind(0x4002, peer(2, 1))), 0);
}

#[test]
fn t_chan_18_all_4096_numbers_can_be_used_and_the_session_goes_on_without_more() {
    let mut world = World::with(Setup {
        max_channels: 5000,
        ..Setup::default()
    });
    let mut client = world.client(1);
    client.allocated(&mut world);
    // From both ends, so that the tables are filled out of order.
    for step in 0..2048_u16 {
        for number in [0x4000 + step, 0x4FFF - step] {
            let bytes = client.signed(&bind(number, peer(1, number)));
            let engine = &mut world.engines[0];
            let now = hairpin::engine::Now {
                instant: hairpin::engine::Instant::from_millis(world.millis),
                unix: 0,
            };
            let mut reply = [0; hairpin::engine::REPLY_LENGTH];
            let outcome = engine.from_client(now, &client.path, &bytes, &mut reply);
            assert!(matches!(outcome, hairpin::engine::Outcome::Reply(_)));
            assert_eq!(reply[..2], [0x01, 0x09]);
        }
    }
    world.run_timers(0);
    assert_eq!(world.routes.len(), 4096);
    assert_eq!(client.code(&mut world, &bind(0x5000, peer(1, 9))), 400);
    assert_eq!(client.code(&mut world, &refresh()), 0);
    world.advance(300);
    assert_eq!(world.routes.len(), 0);
}

#[test]
fn routes_name_client_channel_relay_and_peer() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    client.ask(&mut world, &bind(0x4000, peer(1, 1)));
    let live = &world.live[&client.path.tuple];
    let route = world.routes.iter().next().unwrap();
    assert_eq!(route.client, client.path.tuple);
    assert_eq!(route.channel.get(), 0x4000);
    assert_eq!(route.relay, live.relays[0].0);
    assert_eq!(route.peer, peer(1, 1));
    // Binding again changes nothing, so nothing is said.
    let before = world.transcript.matches("RouteAdded").count();
    client.ask(&mut world, &bind(0x4000, peer(1, 1)));
    client.ask(&mut world, &permit(&[peer(1, 1)]));
    assert_eq!(world.transcript.matches("RouteAdded").count(), before);
    let ask = bind(0x4000, peer(1, 1)).raw(AttributeType::PRIORITY, &[0; 4]);
    assert_eq!(client.code(&mut world, &ask), 0);
}
