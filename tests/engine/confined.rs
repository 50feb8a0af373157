//! Users of the tester: each reaches relayed addresses of its own and nobody else's, and ends with its credential.

use crate::client::{Client, allocate, bind, permit, refresh, send};
use crate::tcp_relay::allocate_tcp;
use crate::world::{SECRET, Setup, UNIX_START, World, peer};
use hairpin::auth::mint_ephemeral;
use hairpin::engine::counters::DropReason;
use hairpin::engine::{CloseReason, TcpRules, Transport};
use std::net::SocketAddr;

fn of_user(mut client: Client, user: &str, expiry: u64) -> Client {
    let (name, password) = mint_ephemeral(SECRET.as_bytes(), Some(user), expiry);
    client.login.user = name.into();
    client.login.password = password;
    client
}

/// Clients of these users who all let each other in, on the same worker or by turns on two, and their relayed addresses.
fn acquainted(workers: u32, users: &[&str]) -> (World, Vec<Client>, Vec<SocketAddr>) {
    let mut world = World::with(Setup {
        workers,
        ..Setup::default()
    });
    let mut clients: Vec<_> = (1..)
        .zip(users)
        .map(|(host, user)| {
            let mut client = of_user(world.client(host), user, UNIX_START + 900);
            client.worker = usize::from(host) % workers as usize;
            client
        })
        .collect();
    let relayed: Vec<_> = clients
        .iter_mut()
        .map(|c| c.allocated(&mut world))
        .collect();
    for (at, client) in clients.iter_mut().enumerate() {
        for (other, address) in relayed.iter().enumerate().filter(|(other, _)| *other != at) {
            let number = 0x4000 + other as u16;
            assert_eq!(client.code(&mut world, &permit(&[*address])), 0);
            assert_eq!(client.code(&mut world, &bind(number, *address)), 0);
        }
    }
    (world, clients, relayed)
}

/// Whether what one client sends to another by an indication and by a channel arrives: both or neither.
fn reaches(
    world: &mut World,
    clients: &mut [Client],
    relayed: &[SocketAddr],
    way: [usize; 2],
) -> bool {
    let [from, to] = way;
    clients[from].tell(world, &send(relayed[to], b"said"));
    clients[from].push(world, 0x4000 + to as u16, b"told");
    let arrived = clients[to].received(world).len();
    assert_eq!(world.take_sent(), [], "nothing goes to the network");
    assert!(arrived == 0 || arrived == 2, "{way:?}: {arrived}");
    arrived == 2
}

#[test]
fn two_users_of_the_tester_do_not_reach_each_other_whatever_they_permit() {
    for workers in [1, 2] {
        let users = ["tester:one", "tester:one", "tester:two", "carol", "dave"];
        let (mut world, mut clients, relayed) = acquainted(workers, &users);
        for way in (0..5).flat_map(|from| (0..5).map(move |to| [from, to])) {
            let [from, to] = way;
            if from == to {
                continue;
            }
            let is_one = users[from] == users[to];
            let are_ordinary = from > 2 && to > 2;
            assert_eq!(
                reaches(&mut world, &mut clients, &relayed, way),
                is_one || are_ordinary,
                "{} to {}",
                users[from],
                users[to]
            );
        }
        assert_eq!(world.drops(DropReason::PeerDenied), 2 * (20 - 4));
    }
}

#[test]
fn a_port_that_was_of_one_user_of_the_tester_is_the_next_ones_alone() {
    let mut world = World::with(Setup {
        ports: 50_000..=50_001,
        quarantine: 0,
        ..Setup::default()
    });
    let mut first = of_user(world.client(1), "tester:one", UNIX_START + 900);
    let mut stays = of_user(world.client(2), "tester:one", UNIX_START + 900);
    let mut second = of_user(world.client(3), "tester:two", UNIX_START + 900);
    let (taken, other) = (first.allocated(&mut world), stays.allocated(&mut world));
    assert_eq!(first.code(&mut world, &refresh().lifetime(0)), 0);
    world.advance(1);
    assert_eq!(second.allocated(&mut world), taken);
    for (client, to) in [(&mut stays, taken), (&mut second, other)] {
        assert_eq!(client.code(&mut world, &permit(&[to])), 0);
        client.tell(&mut world, &send(to, b"x"));
    }
    assert_eq!(stays.received(&mut world), []);
    assert_eq!(second.received(&mut world), []);
}

#[test]
fn an_allocation_of_the_tester_ends_with_its_credential() {
    let mut world = World::new();
    let mut client = of_user(world.client(1), "tester:one", UNIX_START + 900);
    let mut ordinary = of_user(world.client(2), "carol", UNIX_START + 900);
    assert_eq!(client.ask(&mut world, &allocate()).lifetime(), 600);
    ordinary.allocated(&mut world);
    world.advance(500);
    assert_eq!(client.ask(&mut world, &refresh()).lifetime(), 401);
    assert_eq!(ordinary.ask(&mut world, &refresh()).lifetime(), 600);
    world.advance(400);
    assert!(client.is_allocated(&world));
    world.advance(1);
    assert!(!client.is_allocated(&world) && ordinary.is_allocated(&world));
    assert_eq!(world.closed[0].reason, CloseReason::CredentialExpired);
}

#[test]
fn for_the_tester_there_are_no_tcp_relays() {
    let mut world = World::with(Setup {
        tcp: TcpRules {
            enabled: true,
            ..TcpRules::default()
        },
        ..Setup::default()
    });
    let mut client = of_user(world.tcp_client(1), "tester:one", UNIX_START + 900);
    let mut ordinary = of_user(world.tcp_client(2), "carol", UNIX_START + 900);
    assert_eq!(client.code(&mut world, &allocate_tcp()), 442);
    assert_eq!(ordinary.code(&mut world, &allocate_tcp()), 0);
    // Over datagrams it is told the same, and what it is for it has.
    assert_eq!(client.path.tuple.transport(), Transport::Tcp);
    client.allocated(&mut world);
    assert_eq!(client.code(&mut world, &permit(&[peer(1, 1)])), 0);
}

#[test]
fn a_limit_of_the_testers_bandwidth_meters_nobody_else() {
    let mut world = World::new();
    world.shared.bandwidth.set_groups([("tester", 100_000)]);
    world.shared.quotas.set_groups([("tester", 0)]);
    let mut ordinary = world.client(1);
    ordinary.allocated(&mut world);
    assert_eq!(world.shared.bandwidth.users(), 0, "nobody has a meter");
    let mut client = of_user(world.client(2), "tester:one", UNIX_START + 900);
    client.allocated(&mut world);
    assert_eq!(world.shared.bandwidth.users(), 1);
    // A limit that comes later meters those it is for, and its end spares them.
    for (limit, users) in [(0, 0), (50_000, 1)] {
        world.shared.bandwidth.set_groups([("tester", limit)]);
        world.set_rules(Setup::default());
        assert_eq!(world.shared.bandwidth.users(), users);
    }
}
