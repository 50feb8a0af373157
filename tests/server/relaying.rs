//! Relaying between a client and a peer.

use crate::client::{Client, Incoming, is_silent, receive_from, socket};
use crate::server::{Setup, V4, V6};
use hairpin::wire::attribute::Family;
use hairpin::wire::{AttributeType, Class, Method};

#[test]
fn channel_data_goes_both_ways() {
    let server = Setup::new().start();
    for mut client in Client::each(server.address()) {
        let peer = socket(V4);
        let relayed = client.allocate();
        client.bind_channel(0x4001, peer.local_addr().unwrap());
        for payload in [&b"to peer"[..], b"", b"x", b"four", &[7; 1200]] {
            client.send_channel(0x4001, payload);
            assert_eq!(receive_from(&peer), (payload.to_vec(), relayed));
            peer.send_to(payload, relayed).unwrap();
            assert_eq!(
                client.receive(),
                Incoming::Channel(0x4001, payload.to_vec())
            );
        }
    }
}

#[test]
fn send_and_data_indications_go_both_ways() {
    let server = Setup::new().start();
    for mut client in Client::each(server.address()) {
        let peer = socket(V4);
        let peer_address = peer.local_addr().unwrap();
        let relayed = client.allocate();
        client.permit(peer_address);
        for payload in [&b"to peer"[..], b"", b"x", b"four", &[7; 1200]] {
            client.send_indication(peer_address, payload);
            assert_eq!(receive_from(&peer), (payload.to_vec(), relayed));
            peer.send_to(payload, relayed).unwrap();
            let expected = Incoming::Data(peer_address, payload.to_vec());
            assert_eq!(client.receive(), expected);
        }
    }
}

#[test]
fn what_a_peer_sent_before_it_had_a_permission_is_thrown_away() {
    let server = Setup::new().start();
    for mut client in Client::each(server.address()) {
        let peer = socket(V4);
        let relayed = client.allocate();
        for _ in 0..100 {
            peer.send_to(b"early", relayed).unwrap();
        }
        client.permit(peer.local_addr().unwrap());
        peer.send_to(b"in time", relayed).unwrap();
        let expected = Incoming::Data(peer.local_addr().unwrap(), b"in time".to_vec());
        assert_eq!(client.receive(), expected);
        client.assert_silent();
    }
}

#[test]
fn a_client_of_ipv4_relays_to_a_peer_of_ipv6() {
    let server = Setup::new().relays(&[V4, V6]).start();
    for mut client in Client::each(server.address()) {
        let peer = socket(V6);
        let relayed = client.allocate_family(Family::V6);
        assert_eq!(relayed.ip(), V6);
        client.bind_channel(0x4FFF, peer.local_addr().unwrap());
        client.send_channel(0x4FFF, b"six");
        assert_eq!(receive_from(&peer), (b"six".to_vec(), relayed));
        peer.send_to(b"four", relayed).unwrap();
        assert_eq!(
            client.receive(),
            Incoming::Channel(0x4FFF, b"four".to_vec())
        );
    }
}

#[test]
fn payloads_larger_than_any_packet_are_fragmented_and_arrive_whole() {
    let server = Setup::new().hosts(&[V4, V6]).relays(&[V4, V6]).start();
    // What fits one datagram with a ChannelData header, and what fits with a Data indication for IPv6.
    for (ip, family) in [(V4, Family::V4), (V6, Family::V6)] {
        for mut client in Client::each(server.at(ip)) {
            let peer = socket(ip);
            let peer_address = peer.local_addr().unwrap();
            let relayed = client.allocate_family(family);
            client.bind_channel(0x4000, peer_address);
            for size in [1473, 9000, 60_001, 65_500] {
                let payload: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
                client.send_channel(0x4000, &payload);
                let (got, from) = receive_from(&peer);
                assert_eq!((got == payload, from), (true, relayed), "{size}");
                peer.send_to(&payload, relayed).unwrap();
                let got = client.receive();
                assert!(got == Incoming::Channel(0x4000, payload), "{size}");
            }
            let other = socket(ip);
            let other_address = other.local_addr().unwrap();
            client.permit(other_address);
            for size in [9000, 60_002] {
                let payload = vec![3; size];
                client.send_indication(other_address, &payload);
                assert!(receive_from(&other) == (payload.clone(), relayed), "{size}");
                other.send_to(&payload, relayed).unwrap();
                assert!(
                    client.receive() == Incoming::Data(other_address, payload),
                    "{size}"
                );
            }
        }
    }
}

#[test]
fn t_send_13_what_cannot_be_sent_does_not_end_the_allocation() {
    let server = Setup::new().start();
    for mut client in Client::each(server.address()) {
        let (gone, peer) = (socket(V4), socket(V4));
        client.allocate();
        client.bind_channel(0x4000, gone.local_addr().unwrap());
        client.bind_channel(0x4001, peer.local_addr().unwrap());
        drop(gone);
        // The kernel tells of a closed port at the next use of the relay's socket, whoever that is for.
        for payload in [[1], [2], [3], [4]] {
            client.send_channel(0x4000, &[0; 9]);
            client.send_channel(0x4001, &payload);
            assert_eq!(receive_from(&peer).0, payload);
        }
    }
}

#[test]
fn a_payload_too_large_for_its_framing_is_dropped_and_counted() {
    let server = Setup::new().start();
    let peer = socket(V4);
    let mut client = Client::udp(server.address());
    let relayed = client.allocate();
    client.permit(peer.local_addr().unwrap());
    // With 36 bytes of framing this is no UDP datagram any more.
    peer.send_to(&[1; 65_507], relayed).unwrap();
    peer.send_to(b"next", relayed).unwrap();
    let expected = Incoming::Data(peer.local_addr().unwrap(), b"next".to_vec());
    assert_eq!(client.receive(), expected);
    let drops = server.metrics();
    let drops = ["too_large", "send_failed"].map(|reason| {
        drops.get(&format!(
            "hairpin_dropped_packets_total{{reason=\"{reason}\"}}"
        ))
    });
    assert_eq!(drops.iter().sum::<u64>(), 1);
}

#[test]
fn a_send_indication_that_must_not_be_fragmented_arrives_and_changes_nothing_for_the_next() {
    let server = Setup::new().start();
    for mut client in Client::each(server.address()) {
        let peer = socket(V4);
        let address = peer.local_addr().unwrap();
        let relayed = client.allocate();
        client.permit(address);
        let message = client.plain(Method::SEND, Class::Indication, |writer| {
            writer
                .xor_address(AttributeType::XOR_PEER_ADDRESS, address)
                .attribute(AttributeType::DONT_FRAGMENT, &[])
                .attribute(AttributeType::DATA, b"whole");
        });
        client.send(&message);
        assert_eq!(receive_from(&peer), (b"whole".to_vec(), relayed));
        client.send_indication(address, &[5; 60_000]);
        assert_eq!(receive_from(&peer).0.len(), 60_000);
    }
}

#[test]
fn peers_without_a_permission_are_not_heard_and_not_reached() {
    let server = Setup::new().start();
    for mut client in Client::each(server.address()) {
        let (friend, stranger) = (socket(V4), socket([127, 0, 0, 2].into()));
        let relayed = client.allocate();
        client.permit(friend.local_addr().unwrap());
        stranger.send_to(b"let me in", relayed).unwrap();
        friend.send_to(b"hello", relayed).unwrap();
        let expected = Incoming::Data(friend.local_addr().unwrap(), b"hello".to_vec());
        assert_eq!(client.receive(), expected);
        client.send_indication(stranger.local_addr().unwrap(), b"hello");
        client.send_channel(0x4000, b"hello");
        client.binding();
        assert!(is_silent(&stranger));
    }
}

#[test]
fn many_allocations_of_one_server_do_not_hear_each_others_peers() {
    let server = Setup::new().set("server", "workers = 2").start();
    let mut pairs: Vec<_> = (0..20)
        .map(|number: u8| {
            let mut client = match number % 2 {
                0 => Client::udp(server.address()),
                _ => Client::tcp(server.address()),
            };
            let peer = socket(V4);
            let relayed = client.allocate();
            client.bind_channel(0x4000, peer.local_addr().unwrap());
            (number, client, peer, relayed)
        })
        .collect();
    for (number, client, peer, relayed) in &pairs {
        client.send_channel(0x4000, &[*number]);
        peer.send_to(&[*number], *relayed).unwrap();
    }
    for (number, client, peer, relayed) in &mut pairs {
        assert_eq!(receive_from(peer), (vec![*number], *relayed));
        assert_eq!(client.receive(), Incoming::Channel(0x4000, vec![*number]));
    }
}
