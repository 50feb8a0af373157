//! Clients that move with their allocation, over real sockets and from worker to worker. Runs the library's server, whose
//! counters tell the workers apart.

use crate::client::{Client, Incoming, loopback_of, receive_from, socket};
use crate::server::{PASSWORD, REALM, USER, V4, free_ports};
use hairpin::auth::{AuthSettings, Authenticator, Credential, NonceKeys, Secret, TicketKey, User};
use hairpin::config::{Listener, Transport};
use hairpin::engine::{RelayAddress, RelayPool, Rules, Shared};
use hairpin::net::clock::Clock;
use hairpin::net::{NetSettings, Server};
use hairpin::policy::{Limits, PeerFilter, PeerRules};
use hairpin::wire::{AttributeType, Method};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

const WORKERS: usize = 3;

fn start() -> (Server, SocketAddr) {
    let first = free_ports(100);
    let ports = first..=first + 99;
    let mut rules = Rules::new(
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
            allow: vec!["127.0.0.0/8".parse().unwrap()],
            relay_addresses: vec![V4],
            relay_ports: ports.clone(),
            ..PeerRules::default()
        }),
    );
    rules.mobility = TicketKey::new([3; 32]);
    let relay = RelayAddress {
        local: V4,
        external: V4,
    };
    let pool = RelayPool::new(&[relay], ports, Duration::ZERO);
    let shared = Shared::new(rules, Limits::default(), pool);
    let address = SocketAddr::new(V4, free_ports(1));
    let listeners = [Transport::Udp, Transport::Tcp].map(|t| Listener::direct(t, address));
    let settings = NetSettings {
        workers: WORKERS,
        ..NetSettings::new(listeners.to_vec())
    };
    let server = Server::start(settings, &shared, Clock::start()).unwrap();
    (server, address)
}

fn settle(client: &mut Client) -> (SocketAddr, Vec<u8>) {
    let response = client.request(Method::ALLOCATE, |writer| {
        writer
            .attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
            .attribute(AttributeType::MOBILITY_TICKET, &[]);
    });
    (response.relayed.unwrap(), response.ticket.unwrap())
}

fn move_to(client: &mut Client, ticket: &[u8]) -> Vec<u8> {
    let response = client.request(Method::REFRESH, |writer| {
        writer.attribute(AttributeType::MOBILITY_TICKET, ticket);
    });
    assert_eq!(response.code, None, "{response:?}");
    response.ticket.unwrap()
}

/// What the client sends on its channel reaches the peer, all of it and in order, and what the peer answers the client.
fn talk(client: &mut Client, peer: &UdpSocket, relayed: SocketAddr) {
    for number in 0..20u8 {
        client.send_channel(0x4000, &[number; 100]);
    }
    for number in 0..20u8 {
        let (data, from) = receive_from(peer);
        assert_eq!((data, from), (vec![number; 100], relayed));
    }
    for number in 0..20u8 {
        peer.send_to(&[number; 100], relayed).unwrap();
    }
    for number in 0..20u8 {
        assert_eq!(
            client.receive(),
            Incoming::Channel(0x4000, vec![number; 100])
        );
    }
}

fn moved(server: &Server) -> Vec<u64> {
    let all = server.counters().iter();
    all.map(|counters| counters.allocations_moved.get())
        .collect()
}

#[test]
fn t_mob_04_an_allocation_follows_its_client_from_worker_to_worker_over_udp_and_tcp() {
    let (server, address) = start();
    let peer = socket(loopback_of(address));
    let mut client = Client::udp(address);
    let (relayed, mut ticket) = settle(&mut client);
    client.bind_channel(0x4000, peer.local_addr().unwrap());
    talk(&mut client, &peer, relayed);
    let mut former = Vec::new();
    for step in 0..24 {
        let mut next = if step % 3 == 2 {
            Client::tcp(address)
        } else {
            Client::udp(address)
        };
        ticket = move_to(&mut next, &ticket);
        // The old path is as good as ever until the new one is used.
        talk(&mut client, &peer, relayed);
        talk(&mut next, &peer, relayed);
        client.assert_silent();
        former.push(std::mem::replace(&mut client, next));
    }
    let moved = moved(&server);
    assert_eq!(moved.iter().sum::<u64>(), 24);
    assert!(moved.iter().all(|moves| *moves > 0), "{moved:?}");
    assert_eq!(client.refresh(0).code, None);
    server.stop().unwrap();
}

#[test]
fn t_mob_05_a_client_whose_connections_break_comes_back_for_its_allocation() {
    let (server, address) = start();
    let peer = socket(loopback_of(address));
    let mut client = Client::tcp(address);
    let (relayed, mut ticket) = settle(&mut client);
    client.bind_channel(0x4000, peer.local_addr().unwrap());
    for _ in 0..12 {
        drop(client);
        client = Client::tcp(address);
        ticket = move_to(&mut client, &ticket);
        // The server may learn of the end of the old connection later than of the new one.
        talk(&mut client, &peer, relayed);
    }
    assert_eq!(moved(&server).iter().sum::<u64>(), 12);
    server.stop().unwrap();
}
