//! TCP allocations (RFC 6062): what is asked, what is answered, and when it ends. The bytes are in `tests/tcp_relay.rs`.

use crate::client::{Ask, Client, Reply, allocate, bind, permit, refresh, send};
use crate::world::{RELAY, RELAY_LOCAL, Setup, World, address, peer, peer_v6};
use hairpin::engine::counters::{ConnectionOutcome, DropReason, RefusalReason};
use hairpin::engine::{Connect, ConnectError, ConnectionId, Instant, TcpRules, Transport};
use hairpin::policy::Direction;
use hairpin::wire::{AttributeType, Class, Method};
use std::collections::HashSet;
use std::net::SocketAddr;

const FAILED: Result<(), ConnectError> = Err(ConnectError::Failed);

pub fn allocate_tcp() -> Ask {
    Ask::new(Method::ALLOCATE).raw(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0])
}

fn connect(peer: SocketAddr) -> Ask {
    Ask::new(Method::CONNECT).peer(peer)
}

pub fn connection_bind(id: ConnectionId) -> Ask {
    Ask::new(Method::CONNECTION_BIND).number(AttributeType::CONNECTION_ID, id.0)
}

fn world() -> World {
    world_of(1)
}

fn world_of(workers: u32) -> World {
    World::with(Setup {
        workers,
        tcp: TcpRules {
            enabled: true,
            max_connections: 4,
            ..TcpRules::default()
        },
        ..Setup::default()
    })
}

/// A client with a TCP allocation, and its relayed address.
fn allocated(world: &mut World, host: u8) -> (Client, SocketAddr) {
    let mut client = world.tcp_client(host);
    let reply = client.ask(world, &allocate_tcp());
    assert_eq!(reply.code(), 0);
    (client, reply.relayed())
}

fn connection_id(reply: &Reply) -> ConnectionId {
    ConnectionId(reply.number(AttributeType::CONNECTION_ID))
}

/// Sends a Connect that is not answered yet; what the caller is to connect.
fn start_connect(world: &mut World, client: &mut Client, peer: SocketAddr) -> Connect {
    let bytes = client.signed(&connect(peer));
    assert_eq!(
        client.send_bytes(world, &bytes),
        None,
        "not before the peer"
    );
    world.connects.pop().expect("a peer is to be connected").1
}

/// Says how an attempt went.
fn finish_connect(
    world: &mut World,
    client: &Client,
    connect: &Connect,
    result: Result<(), ConnectError>,
) -> bool {
    let now = world.now();
    let wanted = world.engines[client.worker].peer_connected(now, connect.connection, result);
    world.drain(client.worker);
    world.check();
    wanted
}

/// Connects a peer that takes it.
pub fn connected(world: &mut World, client: &mut Client, peer: SocketAddr) -> ConnectionId {
    let connect = start_connect(world, client, peer);
    assert!(finish_connect(world, client, &connect, Ok(())));
    let (to, reply) = world.told.pop().expect("the Connect is answered");
    assert_eq!((to, reply.code()), (client.path.tuple, 0));
    assert!(reply.is_signed());
    assert_eq!(reply.message().method(), Method::CONNECT);
    assert_eq!(connection_id(&reply), connect.connection);
    connect.connection
}

/// A peer connects to a relayed address.
pub fn peer_connects(
    world: &mut World,
    from: SocketAddr,
    relayed: SocketAddr,
) -> Option<ConnectionId> {
    let (worker, relay) = world
        .sockets
        .iter()
        .find(|(_, socket)| socket.port() == relayed.port())
        .map(|(key, _)| *key)
        .expect("a socket listens there");
    let now = world.now();
    let id = world.engines[worker].peer_accepted(now, relay, from);
    world.drain(worker);
    world.check();
    id
}

/// A new connection of the same user.
fn data_connection(world: &World, host: u8) -> Client {
    world.tcp_client(host)
}

fn end(world: &mut World, id: ConnectionId) {
    world.engines[0].connection_ended(id);
    world.check();
}

fn outcomes(world: &World, outcome: ConnectionOutcome) -> u64 {
    let all = world.counters.iter().flat_map(|c| c.tcp_connections());
    all.filter(|(o, _)| *o == outcome).map(|(_, n)| n).sum()
}

#[test]
fn t_tcp_01_an_allocate_for_tcp_over_a_stream_gets_a_listening_relay() {
    for transport in [Transport::Tcp, Transport::Tls] {
        let mut world = world();
        let from = address("30.0.0.1:1001");
        let login = world.client(1).login;
        let mut client = Client::new(from, address("20.0.0.1:5349"), transport, login);
        let reply = client.ask(&mut world, &allocate_tcp());
        assert_eq!(reply.code(), 0);
        assert_eq!(reply.relayed().ip().to_string(), RELAY);
        assert_eq!(reply.lifetime(), 600);
        assert_eq!(reply.address(AttributeType::XOR_MAPPED_ADDRESS), from);
        assert!(world.shared.relays.tcp_relay(reply.relayed()).is_some());
        assert_eq!(world.shared.relays.owner_of(reply.relayed()), None);
        assert_eq!(client.code(&mut world, &refresh().lifetime(0)), 0);
        world.expect_nothing_left();
    }
}

#[test]
fn t_tcp_01_s_tls_06_an_allocate_for_tcp_over_datagrams_is_refused() {
    let mut world = world();
    for transport in [Transport::Udp, Transport::Dtls] {
        let login = world.client(1).login;
        let from = address("30.0.0.1:1001");
        let mut client = Client::new(from, address("20.0.0.1:3478"), transport, login);
        assert_eq!(client.code(&mut world, &allocate_tcp()), 400);
        assert_eq!(client.code(&mut world, &allocate()), 0);
    }
}

#[test]
fn t_tcp_02_where_tcp_relays_are_off_the_answer_is_442() {
    let mut world = World::new();
    let mut client = world.tcp_client(1);
    assert_eq!(client.code(&mut world, &allocate_tcp()), 442);
    let mut client = world.client(2);
    assert_eq!(client.code(&mut world, &allocate_tcp()), 442);
}

#[test]
fn t_tcp_04_what_is_for_datagrams_only_has_no_place_in_an_allocate_for_tcp() {
    let mut world = world();
    let mut client = world.tcp_client(1);
    for ask in [
        allocate_tcp().raw(AttributeType::DONT_FRAGMENT, b""),
        allocate_tcp().even_port(false),
        allocate_tcp().even_port(true),
        allocate_tcp().token(&[1; 8]),
    ] {
        assert_eq!(client.code(&mut world, &ask), 400);
    }
    let reply = client.ask(&mut world, &allocate_tcp());
    assert_eq!(reply.code(), 0);
    assert!(!reply.has(AttributeType::RESERVATION_TOKEN));
}

#[test]
fn t_tcp_05_06_connect_needs_a_tcp_allocation() {
    let mut world = world();
    let mut client = world.tcp_client(1);
    assert_eq!(client.code(&mut world, &connect(peer(1, 80))), 437);
    client.allocated(&mut world);
    assert_eq!(client.code(&mut world, &connect(peer(1, 80))), 437);
    let mut other = world.client(2);
    other.allocated(&mut world);
    assert_eq!(other.code(&mut world, &connect(peer(1, 80))), 437);
    assert!(world.connects.is_empty());
}

#[test]
fn t_tcp_07_connect_needs_a_peer_of_the_relays_family() {
    let mut world = world();
    let (mut client, _) = allocated(&mut world, 1);
    assert_eq!(client.code(&mut world, &Ask::new(Method::CONNECT)), 400);
    let malformed = Ask::new(Method::CONNECT).raw(AttributeType::XOR_PEER_ADDRESS, &[0, 1, 2]);
    assert_eq!(client.code(&mut world, &malformed), 400);
    assert_eq!(client.code(&mut world, &connect(peer_v6(1, 80))), 443);
    let mut client = world.tcp_client(2);
    assert_eq!(client.code(&mut world, &allocate_tcp().family(2)), 0);
    assert_eq!(client.code(&mut world, &connect(peer(1, 80))), 443);
    connected(&mut world, &mut client, peer_v6(1, 80));
}

#[test]
fn t_tcp_08_one_connection_a_peer_until_it_is_over() {
    let mut world = world();
    let (mut client, _) = allocated(&mut world, 1);
    let attempt = start_connect(&mut world, &mut client, peer(1, 80));
    assert_eq!(client.code(&mut world, &connect(peer(1, 80))), 446);
    assert!(finish_connect(&mut world, &client, &attempt, Ok(())));
    assert_eq!(client.code(&mut world, &connect(peer(1, 80))), 446);
    let mut data = data_connection(&world, 2);
    assert_eq!(
        data.code(&mut world, &connection_bind(attempt.connection)),
        0
    );
    assert_eq!(client.code(&mut world, &connect(peer(1, 80))), 446);
    // Another port is another peer, and so is the same one for somebody else.
    connected(&mut world, &mut client, peer(1, 81));
    let (mut other, _) = allocated(&mut world, 3);
    connected(&mut world, &mut other, peer(1, 80));
    end(&mut world, attempt.connection);
    connected(&mut world, &mut client, peer(1, 80));
}

#[test]
fn t_tcp_08_a_peer_that_connected_is_not_connected_once_more() {
    let mut world = world();
    let (mut client, relayed) = allocated(&mut world, 1);
    assert_eq!(client.code(&mut world, &permit(&[peer(1, 80)])), 0);
    peer_connects(&mut world, peer(1, 80), relayed).unwrap();
    assert_eq!(client.code(&mut world, &connect(peer(1, 80))), 446);
}

#[test]
fn t_tcp_09_x_cve_15_denied_peers_are_not_connected() {
    let mut world = world();
    let (mut client, relayed) = allocated(&mut world, 1);
    for denied in [
        "127.0.0.1:80",
        "10.0.0.1:80",
        "192.168.1.1:80",
        "169.254.169.254:80",
        "20.0.0.1:3478",
        "20.0.0.1:22",
        "224.0.0.1:80",
        "40.0.0.1:0",
        // Mail and DNS.
        "40.0.0.1:25",
        "40.0.0.1:53",
    ] {
        assert_eq!(
            client.code(&mut world, &connect(address(denied))),
            403,
            "{denied}"
        );
    }
    assert_eq!(client.code(&mut world, &connect(relayed)), 403);
    assert!(world.connects.is_empty());
    assert_eq!(outcomes(&world, ConnectionOutcome::PeerDenied), 11);
    let mut client = world.tcp_client(2);
    assert_eq!(client.code(&mut world, &allocate_tcp().family(2)), 0);
    for denied in [
        "[::1]:80",
        "[fd00:ec2::254]:80",
        "[64:ff9b::7f00:1]:80",
        "[::ffff:10.0.0.1]:80",
    ] {
        let code = client.code(&mut world, &connect(address(denied)));
        assert_eq!(code, 403, "{denied}");
    }
}

#[test]
fn ports_are_denied_as_the_operator_says() {
    let mut world = World::with(Setup {
        tcp: TcpRules {
            enabled: true,
            denied_ports: vec![80],
            ..TcpRules::default()
        },
        ..Setup::default()
    });
    let (mut client, _) = allocated(&mut world, 1);
    assert_eq!(client.code(&mut world, &connect(peer(1, 80))), 403);
    connected(&mut world, &mut client, peer(1, 25));
}

#[test]
fn t_tcp_10_a_connection_comes_from_the_relayed_address() {
    let mut world = world();
    let (mut client, relayed) = allocated(&mut world, 1);
    let attempt = start_connect(&mut world, &mut client, peer(1, 80));
    assert_eq!(
        attempt.from,
        SocketAddr::new(RELAY_LOCAL.parse().unwrap(), relayed.port())
    );
    assert_eq!(attempt.to, peer(1, 80));
}

#[test]
fn t_tcp_11_a_peer_that_refuses_is_447_at_once() {
    let mut world = world();
    let (mut client, _) = allocated(&mut world, 1);
    let attempt = start_connect(&mut world, &mut client, peer(1, 80));
    assert!(!finish_connect(&mut world, &client, &attempt, FAILED));
    let (to, reply) = world.told.pop().unwrap();
    assert_eq!((to, reply.code()), (client.path.tuple, 447));
    assert!(reply.is_signed());
    // Nothing is left of it.
    assert_eq!(world.shared.connections.count(), 0);
    connected(&mut world, &mut client, peer(1, 80));
}

#[test]
fn t_tcp_11_a_peer_that_is_silent_is_447_after_30_seconds() {
    let mut world = world();
    let (mut client, _) = allocated(&mut world, 1);
    let attempt = start_connect(&mut world, &mut client, peer(1, 80));
    world.advance_millis(29_999);
    assert!(world.told.is_empty() && world.hung_up.is_empty());
    world.advance_millis(1);
    assert_eq!(world.told.pop().unwrap().1.code(), 447);
    assert_eq!(world.hung_up, [attempt.connection]);
    // A late success is of no use.
    assert!(!finish_connect(&mut world, &client, &attempt, Ok(())));
    assert!(world.told.is_empty());
    connected(&mut world, &mut client, peer(1, 80));
}

#[test]
fn no_socket_for_a_connection_is_508() {
    let mut world = world();
    let (mut client, _) = allocated(&mut world, 1);
    let attempt = start_connect(&mut world, &mut client, peer(1, 80));
    finish_connect(&mut world, &client, &attempt, Err(ConnectError::NoSocket));
    assert_eq!(world.told.pop().unwrap().1.code(), 508);
}

#[test]
fn t_tcp_12_ids_are_distinct_and_random() {
    let mut world = world();
    let mut ids = HashSet::new();
    for host in 0..250 {
        let (mut client, _) = allocated(&mut world, host);
        for port in 1..5 {
            ids.insert(connected(&mut world, &mut client, peer(1, port)).0);
        }
    }
    assert_eq!(ids.len(), 1000);
    // Each bit is set in about half of them.
    for bit in 0..32 {
        let set = ids.iter().filter(|id| *id >> bit & 1 == 1).count();
        assert!((400..600).contains(&set), "bit {bit} is set in {set}");
    }
}

#[test]
fn t_tcp_13_a_connection_nobody_binds_is_closed_after_30_seconds() {
    let mut world = world();
    let (mut client, relayed) = allocated(&mut world, 1);
    let made = connected(&mut world, &mut client, peer(1, 80));
    client.code(&mut world, &permit(&[peer(2, 80)]));
    let taken = peer_connects(&mut world, peer(2, 80), relayed).unwrap();
    world.advance_millis(29_999);
    assert!(world.hung_up.is_empty());
    world.advance_millis(1);
    let hung_up: HashSet<_> = world.hung_up.drain(..).collect();
    assert_eq!(hung_up, HashSet::from([made, taken]));
    assert_eq!(outcomes(&world, ConnectionOutcome::NeverBound), 2);
    for id in [made, taken] {
        let mut data = data_connection(&world, 2);
        assert_eq!(data.code(&mut world, &connection_bind(id)), 400);
    }
    connected(&mut world, &mut client, peer(1, 80));
}

#[test]
fn t_tcp_13_a_connection_that_took_long_to_make_still_has_30_seconds_to_be_bound() {
    let mut world = world();
    let (mut client, _) = allocated(&mut world, 1);
    let attempt = start_connect(&mut world, &mut client, peer(1, 80));
    world.advance(29);
    assert!(finish_connect(&mut world, &client, &attempt, Ok(())));
    world.advance(29);
    let mut data = data_connection(&world, 2);
    assert_eq!(
        data.code(&mut world, &connection_bind(attempt.connection)),
        0
    );
    world.advance(100);
    assert!(world.hung_up.is_empty());
}

#[test]
fn t_tcp_13_a_late_timer_does_not_let_a_late_bind_through() {
    let mut world = world();
    let (mut client, _) = allocated(&mut world, 1);
    let id = connected(&mut world, &mut client, peer(1, 80));
    let mut data = data_connection(&world, 2);
    data.get_nonce(&mut world);
    world.sleep_through(30);
    assert_eq!(data.code(&mut world, &connection_bind(id)), 400);
}

#[test]
fn t_tcp_14_a_peer_with_a_permission_is_announced_and_another_is_closed() {
    let mut world = world();
    let (mut client, relayed) = allocated(&mut world, 1);
    client.code(&mut world, &permit(&[peer(1, 0x1234)]));
    assert_eq!(peer_connects(&mut world, peer(2, 999), relayed), None);
    assert!(world.told.is_empty());
    assert_eq!(outcomes(&world, ConnectionOutcome::NoPermission), 1);
    // A permission is for an address, whatever the port.
    let id = peer_connects(&mut world, peer(1, 999), relayed).unwrap();
    let (to, told) = world.told.pop().unwrap();
    assert_eq!(to, client.path.tuple);
    let message = told.message();
    assert_eq!(
        (message.method(), message.class()),
        (Method::CONNECTION_ATTEMPT, Class::Indication)
    );
    assert_eq!(told.address(AttributeType::XOR_PEER_ADDRESS), peer(1, 999));
    assert_eq!(connection_id(&told), id);
    let mut data = data_connection(&world, 2);
    assert_eq!(data.code(&mut world, &connection_bind(id)), 0);
    world.advance(300);
    assert_eq!(peer_connects(&mut world, peer(1, 1000), relayed), None);
    // The end of the permission is not the end of the connection.
    assert!(world.hung_up.is_empty());
}

#[test]
fn x_cve_15_denied_peers_and_ports_are_not_accepted() {
    let mut world = world();
    let (mut client, relayed) = allocated(&mut world, 1);
    client.code(&mut world, &permit(&[peer(1, 1)]));
    for port in [25, 53] {
        assert_eq!(peer_connects(&mut world, peer(1, port), relayed), None);
    }
    assert_eq!(outcomes(&world, ConnectionOutcome::PeerDenied), 2);
    assert_eq!(
        peer_connects(&mut world, address("127.0.0.1:80"), relayed),
        None
    );
    assert!(world.told.is_empty());
}

#[test]
fn new_rules_hang_up_on_peers_that_are_denied_now() {
    let mut world = world();
    let (mut client, _) = allocated(&mut world, 1);
    let kept = connected(&mut world, &mut client, peer(1, 80));
    let lost = connected(&mut world, &mut client, peer(2, 80));
    let pending = start_connect(&mut world, &mut client, peer(2, 81));
    let mut data = data_connection(&world, 2);
    assert_eq!(data.code(&mut world, &connection_bind(lost)), 0);
    world.set_rules(Setup {
        tcp: world.setup.tcp.clone(),
        deny: vec!["40.0.0.2/32"],
        ..Setup::default()
    });
    assert_eq!(world.hung_up, [lost, pending.connection]);
    assert_eq!(
        data_connection(&world, 3).code(&mut world, &connection_bind(kept)),
        0
    );
}

#[test]
fn t_tcp_15_connection_bind_needs_a_stream_and_an_id_that_is_free() {
    let mut world = world();
    let (mut client, _) = allocated(&mut world, 1);
    let id = connected(&mut world, &mut client, peer(1, 80));
    let mut datagrams = world.client(9);
    assert_eq!(datagrams.code(&mut world, &connection_bind(id)), 400);
    let mut data = data_connection(&world, 2);
    assert_eq!(
        data.code(&mut world, &Ask::new(Method::CONNECTION_BIND)),
        400
    );
    let malformed = Ask::new(Method::CONNECTION_BIND).raw(AttributeType::CONNECTION_ID, &[1, 2]);
    assert_eq!(data.code(&mut world, &malformed), 400);
    let unknown = ConnectionId(id.0 ^ 1);
    assert_eq!(data.code(&mut world, &connection_bind(unknown)), 400);
    assert!(world.bound.is_empty());
    assert_eq!(data.code(&mut world, &connection_bind(id)), 0);
    assert_eq!(world.bound.len(), 1);
    assert_eq!(world.bound[0].client, data.path);
    assert_eq!(world.bound[0].connection, id);
    let mut again = data_connection(&world, 3);
    assert_eq!(again.code(&mut world, &connection_bind(id)), 400);
    // Nor while the peer has not answered.
    let attempt = start_connect(&mut world, &mut client, peer(2, 80));
    assert_eq!(
        again.code(&mut world, &connection_bind(attempt.connection)),
        400
    );
}

#[test]
fn t_tcp_16_connection_bind_is_for_the_user_of_the_allocation() {
    let mut world = world();
    let (mut client, _) = allocated(&mut world, 1);
    let id = connected(&mut world, &mut client, peer(1, 80));
    let mut bob = data_connection(&world, 2);
    bob.login = world.bob(2).login;
    assert_eq!(bob.code(&mut world, &connection_bind(id)), 441);
    let mut nobody = data_connection(&world, 3);
    let bytes = nobody.unsigned(&connection_bind(id));
    assert_eq!(nobody.send_bytes(&mut world, &bytes).unwrap().code(), 401);
    assert!(world.bound.is_empty());
    assert_eq!(
        data_connection(&world, 4).code(&mut world, &connection_bind(id)),
        0
    );
}

#[test]
fn t_tcp_17_the_control_connection_is_no_data_connection() {
    let mut world = world();
    let (mut client, _) = allocated(&mut world, 1);
    let id = connected(&mut world, &mut client, peer(1, 80));
    assert_eq!(client.code(&mut world, &connection_bind(id)), 400);
    assert_eq!(
        data_connection(&world, 2).code(&mut world, &connection_bind(id)),
        0
    );
}

#[test]
fn t_tcp_17_a_connection_is_bound_on_any_worker() {
    let mut world = world_of(2);
    let (mut client, _) = allocated(&mut world, 1);
    let id = connected(&mut world, &mut client, peer(1, 80));
    let mut data = data_connection(&world, 2);
    data.worker = 1;
    assert_eq!(data.code(&mut world, &connection_bind(id)), 0);
    world.advance(60);
    assert!(world.hung_up.is_empty());
    // Its end there is seen here.
    world.engines[1].connection_ended(id);
    connected(&mut world, &mut client, peer(1, 80));
}

#[test]
fn t_tcp_20_the_end_of_an_allocation_is_the_end_of_its_connections() {
    for way in 0..4 {
        let mut world = world_of(2);
        let (mut client, relayed) = allocated(&mut world, 1);
        let mut ids =
            HashSet::from([start_connect(&mut world, &mut client, peer(1, 80)).connection]);
        ids.insert(connected(&mut world, &mut client, peer(2, 80)));
        client.code(&mut world, &permit(&[peer(3, 80)]));
        let bound = peer_connects(&mut world, peer(3, 80), relayed).unwrap();
        ids.insert(bound);
        let mut data = data_connection(&world, 2);
        data.worker = 1;
        assert_eq!(data.code(&mut world, &connection_bind(bound)), 0);
        match way {
            0 => assert_eq!(client.code(&mut world, &refresh().lifetime(0)), 0),
            1 => world.client_gone(&client),
            2 => world.shut_down(),
            _ => {
                world.advance(29);
                world.sleep_through(600);
                world.run_timers(0);
            }
        }
        assert_eq!(world.hung_up.iter().copied().collect::<HashSet<_>>(), ids);
        assert_eq!(world.hung_up.len(), 3);
        assert_eq!(world.shared.connections.count(), 0);
        world.expect_nothing_left();
    }
}

#[test]
fn bytes_of_connections_are_counted_with_their_allocation() {
    let mut world = world();
    let (mut client, _) = allocated(&mut world, 1);
    for (port, bytes) in [(80, 1000), (81, 2000)] {
        let id = connected(&mut world, &mut client, peer(1, port));
        let connection = world.engines[0].tcp_connection(id).unwrap();
        let _ = connection.sent(Instant::default, Direction::ToPeer, bytes);
        let _ = connection.sent(Instant::default, Direction::ToClient, 2 * bytes);
        if port == 80 {
            end(&mut world, id);
        }
    }
    // To the byte, while the session lives and when it ends.
    let usage = world.engines[0].sessions().next().unwrap().usage;
    assert_eq!((usage.bytes_to_peers, usage.bytes_to_client), (3000, 6000));
    client.code(&mut world, &refresh().lifetime(0));
    let usage = world.closed[0].usage;
    assert_eq!((usage.bytes_to_peers, usage.bytes_to_client), (3000, 6000));
    assert_eq!((usage.packets_to_peers, usage.packets_to_client), (0, 0));
}

#[test]
fn t_tcp_22_channels_and_send_have_no_meaning_on_a_tcp_allocation() {
    let mut world = world();
    let (mut client, _) = allocated(&mut world, 1);
    assert_eq!(client.code(&mut world, &permit(&[peer(1, 80)])), 0);
    assert_eq!(client.code(&mut world, &bind(0x4000, peer(1, 80))), 400);
    client.tell(&mut world, &send(peer(1, 80), b"hello"));
    client.push(&mut world, 0x4000, b"hello");
    assert!(world.sent.is_empty());
    assert_eq!(world.drops(DropReason::NoAllocation), 1);
}

#[test]
fn t_tcp_23_an_allocation_has_as_many_connections_as_the_operator_allows() {
    let mut world = world();
    let (mut client, relayed) = allocated(&mut world, 1);
    client.code(&mut world, &permit(&[peer(2, 1)]));
    let first = connected(&mut world, &mut client, peer(1, 80));
    start_connect(&mut world, &mut client, peer(1, 81));
    for port in [1000, 1001] {
        peer_connects(&mut world, peer(2, port), relayed).unwrap();
    }
    assert_eq!(client.code(&mut world, &connect(peer(1, 82))), 508);
    assert_eq!(peer_connects(&mut world, peer(2, 1002), relayed), None);
    assert_eq!(outcomes(&world, ConnectionOutcome::Limit), 1);
    let refused = world.counters[0].refusals();
    let refused = refused.filter(|(reason, _)| *reason == RefusalReason::ConnectionLimit);
    assert_eq!(refused.map(|(_, n)| n).sum::<u64>(), 2);
    end(&mut world, first);
    connected(&mut world, &mut client, peer(1, 82));
}

#[test]
fn two_tcp_allocations_of_this_server_reach_each_other() {
    let mut world = world();
    let (mut one, relayed_one) = allocated(&mut world, 1);
    let (mut other, relayed_other) = allocated(&mut world, 2);
    // Seen from inside, the peer has the form the socket is bound to.
    let attempt = start_connect(&mut world, &mut one, relayed_other);
    let local: std::net::IpAddr = RELAY_LOCAL.parse().unwrap();
    assert_eq!(attempt.to, SocketAddr::new(local, relayed_other.port()));
    let from = SocketAddr::new(local, relayed_one.port());
    assert_eq!(peer_connects(&mut world, from, relayed_other), None);
    assert_eq!(other.code(&mut world, &permit(&[relayed_one])), 0);
    assert!(peer_connects(&mut world, from, relayed_other).is_some());
    let (to, told) = world.told.pop().unwrap();
    assert_eq!(to, other.path.tuple);
    assert_eq!(told.address(AttributeType::XOR_PEER_ADDRESS), relayed_one);
    // What is no relay there is not touched: not on connect, not on accept.
    let free = SocketAddr::new(relayed_one.ip(), relayed_one.port() ^ 1);
    assert_eq!(one.code(&mut world, &connect(free)), 447);
    let from = SocketAddr::new(local, free.port());
    assert_eq!(peer_connects(&mut world, from, relayed_other), None);
    assert!(world.connects.is_empty());
}

#[test]
fn datagrams_do_not_reach_a_tcp_relay() {
    let mut world = world();
    let (_, relayed) = allocated(&mut world, 1);
    let mut client = world.client(2);
    client.allocated(&mut world);
    assert_eq!(client.code(&mut world, &permit(&[relayed])), 0);
    client.tell(&mut world, &send(relayed, b"hello"));
    assert!(world.sent.is_empty());
    assert_eq!(world.drops(DropReason::StaleRelay), 1);
}
