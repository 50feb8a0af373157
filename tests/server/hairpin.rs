//! The hairpin: relay to relay inside the server, on one worker and across workers. Runs the library's server, whose
//! counters tell the workers apart.

use crate::client::{Client, Incoming};
use crate::server::{PASSWORD, REALM, USER, V4, eventually, free_ports};
use hairpin::auth::{AuthSettings, Authenticator, Credential, NonceKeys, Secret, User};
use hairpin::config::{Listener, Transport};
use hairpin::engine::counters::Counters;
use hairpin::engine::{RelayAddress, RelayPool, Rules, Shared};
use hairpin::net::clock::Clock;
use hairpin::net::{NetSettings, Server};
use hairpin::policy::{Limits, PeerFilter, PeerRules};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// One user, and relays on the loopback address.
pub fn rules(ports: &RangeInclusive<u16>) -> Rules {
    Rules::new(
        Authenticator::new(AuthSettings {
            realm: REALM.to_owned(),
            users: vec![User {
                name: USER.to_owned(),
                credential: Credential::Password(Secret::from(PASSWORD)),
            }],
            ..AuthSettings::default()
        })
        .unwrap(),
        NonceKeys::new([7; 32], 600),
        PeerFilter::new(PeerRules {
            own_addresses: vec![V4],
            relay_addresses: vec![V4],
            relay_ports: ports.clone(),
            ..PeerRules::default()
        }),
    )
}

/// A server on all of these addresses, and its port.
fn start(workers: usize, hosts: &[IpAddr]) -> (Server, u16) {
    let (server, port, _) = start_sharing(workers, hosts);
    (server, port)
}

/// The same, and what its workers share.
pub fn start_sharing(workers: usize, hosts: &[IpAddr]) -> (Server, u16, Shared) {
    let first = free_ports(200);
    let ports = first..=first + 199;
    let rules = rules(&ports);
    let address = RelayAddress {
        local: V4,
        external: V4,
    };
    let shared = Shared::new(
        rules,
        Limits::default(),
        RelayPool::new(&[address], ports, Duration::ZERO),
    );
    let port = free_ports(1);
    let of_host = |host: &IpAddr| {
        let address = SocketAddr::new(*host, port);
        [Transport::Udp, Transport::Tcp].map(|transport| Listener::direct(transport, address))
    };
    let settings = NetSettings {
        workers,
        ..NetSettings::new(hosts.iter().flat_map(of_host).collect())
    };
    let server = Server::start(settings, &shared, Clock::start()).unwrap();
    (server, port, shared)
}

fn opened(server: &Server) -> Vec<u64> {
    let opened = |counters: &Arc<Counters>| counters.allocations_opened.get();
    server.counters().iter().map(opened).collect()
}

/// A client with an allocation, its relayed address, and the worker it landed on.
pub fn allocated(server: &Server, mut client: Client) -> (Client, SocketAddr, usize) {
    let before = opened(server);
    let relayed = client.allocate();
    let after = opened(server);
    let worker = (0..before.len()).find(|i| before[*i] != after[*i]).unwrap();
    (client, relayed, worker)
}

/// Two clients whose workers are the same, or differ.
fn pair(server: &Server, make: impl Fn(u32) -> Client, same: bool) -> [(Client, SocketAddr); 2] {
    let (first, first_relayed, worker) = allocated(server, make(0));
    // By chance each is right or wrong; all are kept, so that none comes from the same port again.
    let mut others = Vec::new();
    for number in 1..64 {
        let (client, relayed, other) = allocated(server, make(number));
        if (other == worker) == same {
            return [(first, first_relayed), (client, relayed)];
        }
        others.push(client);
    }
    panic!("all clients on one worker");
}

fn talk(server: &Server, pair: [(Client, SocketAddr); 2]) {
    let [(mut a, relayed_a), (mut b, relayed_b)] = pair;
    let hairpins = || -> u64 {
        let packets = |c: &Arc<Counters>| c.hairpin.packets.get();
        server.counters().iter().map(packets).sum()
    };
    let before = hairpins();
    a.bind_channel(0x4000, relayed_b);
    b.permit(relayed_a);
    let sizes = [0, 1, 2, 3, 160, 1200, 9000, 60_000];
    for size in sizes {
        let payload = vec![size as u8; size];
        a.send_channel(0x4000, &payload);
        assert!(
            b.receive() == Incoming::Data(relayed_a, payload.clone()),
            "{size}"
        );
        b.send_indication(relayed_a, &payload);
        assert!(a.receive() == Incoming::Channel(0x4000, payload), "{size}");
    }
    // A burst keeps its order; it wraps around the ring between two workers several times.
    for round in 0..20_u8 {
        for number in 0..100_u8 {
            a.send_channel(0x4000, &[[round, number].as_slice(), &[1; 998]].concat());
        }
        for number in 0..100_u8 {
            match b.receive() {
                Incoming::Data(from, payload) => {
                    assert_eq!((from, payload.len()), (relayed_a, 1000));
                    assert_eq!(payload[..2], [round, number]);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    let count = 2 * sizes.len() as u64 + 20 * 100;
    eventually("the count of hairpins", || {
        (hairpins() == before + count).then_some(())
    });
}

#[test]
fn two_clients_of_one_worker_meet_inside_it() {
    let (server, port) = start(2, &[V4]);
    let address = SocketAddr::new(V4, port);
    talk(&server, pair(&server, |_| Client::udp(address), true));
    talk(&server, pair(&server, |_| Client::tcp(address), true));
    server.stop().unwrap();
}

#[test]
fn two_clients_of_different_workers_meet_inside_the_server() {
    let (server, port) = start(2, &[V4]);
    let address = SocketAddr::new(V4, port);
    let mixed = |number: u32| match number {
        0 => Client::tcp(address),
        _ => Client::udp(address),
    };
    talk(&server, pair(&server, |_| Client::udp(address), false));
    talk(&server, pair(&server, |_| Client::tcp(address), false));
    talk(&server, pair(&server, mixed, false));
    server.stop().unwrap();
}

#[test]
fn a_hairpin_needs_the_permission_of_the_receiver() {
    let (server, port) = start(2, &[V4]);
    let address = SocketAddr::new(V4, port);
    for same in [true, false] {
        let [(mut a, relayed_a), (mut b, relayed_b)] =
            pair(&server, |_| Client::udp(address), same);
        a.permit(relayed_b);
        a.send_indication(relayed_b, b"uninvited");
        b.assert_silent();
        b.permit(relayed_a);
        a.send_indication(relayed_b, b"invited");
        assert_eq!(b.receive(), Incoming::Data(relayed_a, b"invited".to_vec()));
        // What goes to a relay that is gone goes nowhere.
        assert_eq!(b.refresh(0).code, None);
        a.send_indication(relayed_b, b"too late");
        b.assert_silent();
    }
    server.stop().unwrap();
}

/// So many that they do not all lead to one worker.
const HOSTS: [[u8; 4]; 24] = {
    let mut hosts = [[127, 0, 0, 1]; 24];
    let mut at = 0;
    while at < hosts.len() {
        hosts[at][3] = at as u8 + 1;
        at += 1;
    }
    hosts
};

#[test]
fn a_nonce_of_one_worker_is_good_on_every_other() {
    let (server, port) = start(2, &HOSTS.map(IpAddr::from));
    // The kernel picks the worker by both addresses: from one port to several addresses of this host.
    let mut client = Client::udp(SocketAddr::new(V4, port));
    client.refresh(0);
    assert!(!client.nonce.is_empty());
    for host in &HOSTS[1..] {
        let crate::client::Link::Udp(socket) = &client.link else {
            unreachable!()
        };
        socket.connect((IpAddr::from(*host), port)).unwrap();
        let response = client.request_once(hairpin::wire::Method::ALLOCATE, |writer| {
            let udp = [17, 0, 0, 0];
            writer.attribute(hairpin::wire::AttributeType::REQUESTED_TRANSPORT, &udp);
        });
        assert_eq!(response.code, None, "{response:?}");
    }
    let opened = opened(&server);
    assert!(opened.iter().all(|count| *count > 0), "{opened:?}");
    server.stop().unwrap();
}
