//! Send indications to peers and Data indications from them.

use crate::client::{Ask, Client, allocate, bind, permit, send};
use crate::world::{World, address, peer, peer_v6};
use hairpin::engine::Outcome;
use hairpin::engine::counters::DropReason;
use hairpin::wire::{AttributeType, Method};
use std::collections::HashSet;
use std::net::SocketAddr;

/// A client with a permission for `peer(1, _)`, and its relayed address.
fn ready(world: &mut World) -> (Client, SocketAddr) {
    let mut client = world.client(1);
    let relayed = client.allocated(world);
    client.ask(world, &permit(&[peer(1, 1)]));
    (client, relayed)
}

#[test]
fn t_send_01_peer_and_data_are_needed_and_have_to_be_well_formed() {
    let mut world = World::new();
    let (mut client, _) = ready(&mut world);
    let ask = Ask::indication(Method::SEND);
    client.tell(&mut world, &ask);
    client.tell(&mut world, &ask.clone().peer(peer(1, 1)));
    client.tell(&mut world, &ask.clone().raw(AttributeType::DATA, b"x"));
    let wrong_peer = ask
        .raw(AttributeType::XOR_PEER_ADDRESS, &[0, 1, 2])
        .raw(AttributeType::DATA, b"x");
    client.tell(&mut world, &wrong_peer);
    let wrong_flag = send(peer(1, 1), b"x").raw(AttributeType::DONT_FRAGMENT, b"no");
    client.tell(&mut world, &wrong_flag);
    assert_eq!(world.take_sent(), []);
    assert_eq!(world.drops(DropReason::Malformed), 5);
}

#[test]
fn t_send_02_03_05_payloads_of_any_length_arrive_exactly() {
    let mut world = World::new();
    let (mut client, relayed) = ready(&mut world);
    for length in [0, 1, 2, 3, 4, 5, 1200, 9000] {
        let data = vec![b'd'; length];
        client.tell(&mut world, &send(peer(1, 7), &data));
        let sent = world.take_sent().pop().unwrap();
        assert_eq!((sent.from, sent.to), (relayed, peer(1, 7)));
        assert_eq!(sent.data, data);
        assert!(!sent.dont_fragment);
    }
}

#[test]
fn t_send_04_without_a_permission_nothing_is_sent() {
    let mut world = World::new();
    let (mut client, _) = ready(&mut world);
    client.tell(&mut world, &send(peer(2, 1), b"x"));
    assert_eq!(world.take_sent(), []);
    assert_eq!(world.drops(DropReason::NoPermission), 1);
}

#[test]
fn t_send_07_the_port_is_judged_when_it_is_named() {
    let mut world = World::new();
    let (mut client, _) = ready(&mut world);
    client.tell(&mut world, &send(peer(1, 0), b"x"));
    assert_eq!(world.drops(DropReason::PeerDenied), 1);
    for denied in ["255.255.255.255:9", "224.0.0.1:9"] {
        client.tell(&mut world, &send(address(denied), b"x"));
    }
    assert_eq!(world.take_sent(), []);
}

#[test]
fn t_send_08_dont_fragment_is_passed_on() {
    let mut world = World::new();
    let (mut client, _) = ready(&mut world);
    for before in [true, false] {
        let flag = |ask: Ask| ask.raw(AttributeType::DONT_FRAGMENT, b"");
        let ask = Ask::indication(Method::SEND);
        let ask = if before { flag(ask) } else { ask };
        let ask = ask.peer(peer(1, 1)).raw(AttributeType::DATA, b"x");
        let ask = if before { ask } else { flag(ask) };
        client.tell(&mut world, &ask);
        assert!(world.take_sent()[0].dont_fragment);
    }
}

#[test]
fn t_xlat_05_dont_fragment_over_ipv6_counts_from_a_stream_only() {
    let mut world = World::new();
    let clients = [
        (world.client(1), false),
        (world.v6_client(2), false),
        (world.tcp_client(3), true),
    ];
    for (mut client, is_honoured) in clients {
        let reply = client.ask(&mut world, &allocate().family(2));
        assert_eq!(reply.code(), 0);
        client.ask(&mut world, &permit(&[peer_v6(1, 1)]));
        let ask = send(peer_v6(1, 1), b"x").raw(AttributeType::DONT_FRAGMENT, b"");
        client.tell(&mut world, &ask);
        assert_eq!(world.take_sent()[0].dont_fragment, is_honoured);
    }
}

#[test]
fn t_send_09_x_cve_17_the_first_peer_is_the_one_checked_and_the_one_sent_to() {
    let mut world = World::new();
    let (mut client, _) = ready(&mut world);
    let both = |first, second| {
        Ask::indication(Method::SEND)
            .peer(first)
            .peer(second)
            .raw(AttributeType::DATA, b"first")
            .raw(AttributeType::DATA, b"second")
    };
    client.tell(&mut world, &both(peer(1, 1), peer(2, 1)));
    let sent = world.take_sent();
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].to, &sent[0].data[..]), (peer(1, 1), &b"first"[..]));
    client.tell(&mut world, &both(peer(2, 1), peer(1, 1)));
    assert_eq!(world.take_sent(), []);
}

#[test]
fn t_send_10_s_att_10_s_hdr_09_unknown_required_attributes_drop_the_whole_indication() {
    let mut world = World::new();
    let (mut client, _) = ready(&mut world);
    let unknown = AttributeType(0x7001);
    let before = Ask::indication(Method::SEND)
        .raw(unknown, b"x")
        .peer(peer(1, 1))
        .raw(AttributeType::DATA, b"x");
    client.tell(&mut world, &before);
    client.tell(&mut world, &send(peer(1, 1), b"x").raw(unknown, b"x"));
    assert_eq!(world.take_sent(), []);
    assert_eq!(world.drops(DropReason::UnknownAttribute), 2);
    let optional = AttributeType(0xF001);
    client.tell(&mut world, &send(peer(1, 1), b"x").raw(optional, b"x"));
    assert_eq!(world.take_sent().len(), 1);
}

#[test]
fn t_send_11_w_rtc_14_send_works_beside_a_channel_to_the_same_peer() {
    let mut world = World::new();
    let (mut client, _) = ready(&mut world);
    client.tell(&mut world, &send(peer(1, 1), b"1"));
    client.ask(&mut world, &bind(0x4000, peer(1, 1)));
    client.tell(&mut world, &send(peer(1, 1), b"2"));
    client.push(&mut world, 0x4000, b"3");
    let sent: Vec<_> = world.take_sent().into_iter().map(|d| d.data).collect();
    assert_eq!(sent, [b"1", b"2", b"3"]);
}

#[test]
fn t_send_12_a_stream_client_can_send_what_fits_a_datagram() {
    let mut world = World::new();
    let mut client = world.tcp_client(1);
    client.allocated(&mut world);
    client.ask(&mut world, &bind(0x4000, peer(1, 1)));
    let data = vec![7; 60_000];
    client.tell(&mut world, &send(peer(1, 1), &data));
    client.push(&mut world, 0x4000, &data);
    for sent in world.take_sent() {
        assert_eq!(sent.data.len(), 60_000);
    }
}

#[test]
fn t_gen_04_without_an_allocation_data_is_ignored() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.tell(&mut world, &send(peer(1, 1), b"x"));
    client.push(&mut world, 0x4000, b"x");
    assert_eq!(world.drops(DropReason::NoAllocation), 2);
}

#[test]
fn t_data_01_04_06_a_peers_datagram_becomes_a_data_indication() {
    let mut world = World::new();
    let (client, relayed) = ready(&mut world);
    for length in [0, 1, 2, 3, 4, 5, 1200] {
        let data = vec![b'd'; length];
        world.peer_sends(peer(1, 7), relayed, &data);
        let arrival = client.received(&mut world).pop().unwrap();
        assert_eq!(arrival.channel, None);
        assert_eq!((arrival.from, &arrival.data), (peer(1, 7), &data));
        // Header, address, head of DATA, and nothing else.
        let expected = 20 + 12 + 4 + length.next_multiple_of(4);
        assert_eq!(arrival.bytes.len(), expected);
    }
}

#[test]
fn t_data_02_03_exactly_the_bound_peer_uses_the_channel() {
    let mut world = World::new();
    let (mut client, relayed) = ready(&mut world);
    client.ask(&mut world, &bind(0x4000, peer(1, 1)));
    world.peer_sends(peer(1, 1), relayed, b"one");
    world.peer_sends(peer(1, 2), relayed, b"two");
    let arrivals = client.received(&mut world);
    assert_eq!(arrivals[0].channel, Some(0x4000));
    assert_eq!(arrivals[0].bytes, b"\x40\0\0\x03one");
    assert_eq!(arrivals[1].channel, None);
    assert_eq!(arrivals[1].from, peer(1, 2));
}

#[test]
fn t_data_05_data_goes_to_the_allocations_client_only() {
    let mut world = World::new();
    let (client, relayed) = ready(&mut world);
    let mut others = [world.client(2), world.tcp_client(1), world.client(3)];
    for other in &mut others {
        other.allocated(&mut world);
        other.ask(&mut world, &permit(&[peer(1, 1)]));
    }
    world.peer_sends(peer(1, 1), relayed, b"x");
    assert_eq!(client.received(&mut world).len(), 1);
    for other in &others {
        assert_eq!(other.received(&mut world), []);
    }
}

#[test]
fn t_data_07_what_does_not_fit_is_dropped_whole() {
    let mut world = World::new();
    let (mut client, relayed) = ready(&mut world);
    let head = 20 + 12 + 4;
    for (length, fits) in [
        (2000, true),
        (65_507 - head - 3, true),
        (65_507 - head, false),
        (65_507, false),
    ] {
        world.peer_sends(peer(1, 1), relayed, &vec![1; length]);
        assert_eq!(
            client.received(&mut world).len(),
            usize::from(fits),
            "{length}"
        );
    }
    client.ask(&mut world, &bind(0x4000, peer(1, 1)));
    for (length, fits) in [
        (65_503, true),
        (65_504, false),
        (65_535, false),
        (65_536, false),
    ] {
        world.peer_sends(peer(1, 1), relayed, &vec![1; length]);
        assert_eq!(
            client.received(&mut world).len(),
            usize::from(fits),
            "{length}"
        );
    }
    assert_eq!(world.drops(DropReason::TooLarge), 5);

    let mut tcp = world.tcp_client(2);
    let relayed = tcp.allocated(&mut world);
    tcp.ask(&mut world, &permit(&[peer(1, 1)]));
    world.peer_sends(peer(1, 1), relayed, &vec![1; 65_507 - 8]);
    assert_eq!(tcp.received(&mut world).len(), 1);
    world.peer_sends(peer(1, 1), relayed, &vec![1; 65_535]);
    assert_eq!(tcp.received(&mut world).len(), 0);
}

#[test]
fn t_mux_03_what_peers_send_is_opaque() {
    let mut world = World::new();
    let (mut client, relayed) = ready(&mut world);
    let binding = client.unsigned(&crate::client::binding());
    world.peer_sends(peer(1, 1), relayed, &binding);
    assert_eq!(client.received(&mut world)[0].data, binding);
    assert_eq!(world.take_sent(), []);
}

#[test]
fn s_hdr_13_x_sec_14_transactions_of_data_indications_do_not_repeat_or_count() {
    let mut world = World::new();
    let (client, relayed) = ready(&mut world);
    let mut ids = HashSet::new();
    let mut ones = [0_u32; 96];
    for _ in 0..1000 {
        world.peer_sends(peer(1, 1), relayed, b"");
        let arrival = client.received(&mut world).pop().unwrap();
        let id: [u8; 12] = arrival.bytes[8..20].try_into().unwrap();
        for (bit, count) in ones.iter_mut().enumerate() {
            *count += u32::from(id[bit / 8] >> (bit % 8) & 1);
        }
        assert!(ids.insert(id));
    }
    // Within five standard deviations of a half.
    assert!(ones.iter().all(|count| (421..=579).contains(count)));
}

#[test]
fn a_peer_on_a_dual_stack_socket_is_the_ipv4_peer_it_is() {
    let mut world = World::new();
    let (client, relayed) = ready(&mut world);
    world.peer_sends(address("[::ffff:40.0.0.1]:5"), relayed, b"x");
    assert_eq!(client.received(&mut world)[0].from, peer(1, 5));
}

#[test]
fn a_datagram_for_a_relay_that_was_closed_is_dropped() {
    let mut world = World::new();
    let (client, _) = ready(&mut world);
    let relay = world.live[&client.path.tuple].relays[0].0;
    world.client_gone(&client);
    let outcome = world.relay_receives(0, relay, peer(1, 1), b"late");
    assert_eq!(outcome, Outcome::Nothing);
    let unknown = hairpin::engine::RelayId(77);
    let outcome = world.relay_receives(0, unknown, peer(1, 1), b"late");
    assert_eq!(outcome, Outcome::Nothing);
}
