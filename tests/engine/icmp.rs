//! ICMP errors that reach a client, and Don't Fragment.

use crate::client::{Client, allocate, bind, permit, send};
use crate::world::{World, peer, peer_v6};
use hairpin::engine::counters::DropReason;
use hairpin::engine::{IcmpError, Outcome, RelayId, ToClient};
use hairpin::wire::{AttributeType, Class, Message, Method};
use std::net::SocketAddr;

fn error(kind: u8, code: u8) -> IcmpError {
    IcmpError {
        kind,
        code,
        data: 1400,
    }
}

fn relay_of(world: &World, client: &Client) -> RelayId {
    world.live[&client.path.tuple].relays[0].0
}

/// What the client is told: the peer and the value of ICMP.
fn told(
    world: &mut World,
    client: &Client,
    peer: SocketAddr,
    error: IcmpError,
) -> Option<(SocketAddr, Vec<u8>)> {
    let (now, relay) = (world.now(), relay_of(world, client));
    let Outcome::ToClient(ToClient {
        tuple,
        header,
        payload,
        padding,
        ..
    }) = world.engines[0].from_icmp(now, relay, peer, error)
    else {
        return None;
    };
    assert_eq!((tuple, payload, padding), (client.path.tuple, 0..0, 0));
    let message = Message::parse(header.as_bytes()).unwrap();
    assert_eq!(
        (message.method(), message.class()),
        (Method::DATA, Class::Indication)
    );
    assert!(message.attribute(AttributeType::DATA).is_none());
    let from = message.attribute(AttributeType::XOR_PEER_ADDRESS).unwrap();
    let icmp = message.attribute(AttributeType::ICMP).unwrap();
    Some((
        from.xor_address(message.transaction()).unwrap(),
        icmp.value.to_vec(),
    ))
}

fn ready(world: &mut World) -> Client {
    let mut client = world.client(1);
    client.allocated(world);
    client.ask(world, &permit(&[peer(1, 1)]));
    client
}

#[test]
fn t_icmp_02_04_07_a_permitted_peers_closed_port_is_told_in_a_data_indication() {
    let mut world = World::new();
    let client = ready(&mut world);
    let (from, icmp) = told(&mut world, &client, peer(1, 9), error(3, 3)).unwrap();
    assert_eq!(from, peer(1, 9));
    assert_eq!(icmp, [0, 0, 3, 3, 0, 0, 0, 0]);
    let unknown_port = told(&mut world, &client, peer(1, 0), error(11, 0)).unwrap();
    assert_eq!(unknown_port.0.port(), 0);
}

#[test]
fn t_icmp_06_only_errors_about_size_carry_the_mtu() {
    let mut world = World::new();
    let client = ready(&mut world);
    let (_, icmp) = told(&mut world, &client, peer(1, 1), error(3, 4)).unwrap();
    assert_eq!(icmp, [0, 0, 3, 4, 0, 0, 5, 0x78]);

    let mut client = world.client(2);
    client.ask(&mut world, &allocate().family(2));
    client.ask(&mut world, &permit(&[peer_v6(1, 1)]));
    let (_, icmp) = told(&mut world, &client, peer_v6(1, 1), error(2, 0)).unwrap();
    assert_eq!(icmp, [0, 0, 2, 0, 0, 0, 5, 0x78]);
    let (_, icmp) = told(&mut world, &client, peer_v6(1, 1), error(1, 4)).unwrap();
    assert_eq!(icmp, [0, 0, 1, 4, 0, 0, 0, 0]);
}

#[test]
fn t_icmp_01_other_types_are_not_told() {
    let mut world = World::new();
    let client = ready(&mut world);
    for kind in (0..=u8::MAX).filter(|kind| ![3, 11].contains(kind)) {
        assert_eq!(told(&mut world, &client, peer(1, 1), error(kind, 0)), None);
    }
    assert_eq!(world.drops(DropReason::IcmpIgnored), 254);
}

#[test]
fn t_icmp_03_without_a_permission_nothing_is_told() {
    let mut world = World::new();
    let client = ready(&mut world);
    assert_eq!(told(&mut world, &client, peer(2, 1), error(3, 3)), None);
    world.advance(300);
    assert_eq!(told(&mut world, &client, peer(1, 1), error(3, 3)), None);
    assert_eq!(world.drops(DropReason::NoPermission), 2);
}

#[test]
fn t_icmp_05_a_bound_channel_changes_nothing() {
    let mut world = World::new();
    let mut client = ready(&mut world);
    client.ask(&mut world, &bind(0x4000, peer(1, 1)));
    assert!(told(&mut world, &client, peer(1, 1), error(3, 3)).is_some());
}

#[test]
fn t_icmp_08_a_client_is_told_at_most_ten_errors_a_second() {
    let mut world = World::new();
    let client = ready(&mut world);
    let flood = |world: &mut World| {
        (0..1000)
            .filter(|_| told(world, &client, peer(1, 1), error(3, 3)).is_some())
            .count()
    };
    assert_eq!(flood(&mut world), 10);
    world.advance(1);
    assert_eq!(flood(&mut world), 10);
}

#[test]
fn t_xlat_06_t_alloc_08_dont_fragment_is_refused_where_it_cannot_be_translated() {
    let mut world = World::new();
    let mut client = world.client(1);
    let ask = allocate().raw(AttributeType::DONT_FRAGMENT, &[]);
    let reply = client.ask(&mut world, &ask.clone().family(2));
    assert_eq!(reply.code(), 420);
    let unknown = reply.value(AttributeType::UNKNOWN_ATTRIBUTES).unwrap();
    assert_eq!(unknown, [0x00, 0x1A]);
    assert!(reply.is_signed());
    assert_eq!(client.code(&mut world, &ask.family(1)), 0);
}

#[test]
fn t_xlat_04_05_dont_fragment_is_ignored_where_the_ip_version_changes_and_kept_for_streams() {
    let mut world = World::new();
    let ask = |peer| send(peer, b"x").raw(AttributeType::DONT_FRAGMENT, &[]);
    let mut udp = world.client(1);
    udp.ask(&mut world, &allocate().family(2));
    udp.ask(&mut world, &permit(&[peer_v6(1, 1)]));
    udp.tell(&mut world, &ask(peer_v6(1, 1)));
    assert!(!world.take_sent()[0].dont_fragment);
    let mut tcp = world.tcp_client(2);
    tcp.ask(&mut world, &allocate().family(2));
    tcp.ask(&mut world, &permit(&[peer_v6(1, 1)]));
    tcp.tell(&mut world, &ask(peer_v6(1, 1)));
    assert!(world.take_sent()[0].dont_fragment);
    tcp.tell(&mut world, &send(peer_v6(1, 1), b"x"));
    assert!(!world.take_sent()[0].dont_fragment);
}
