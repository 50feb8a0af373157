//! Bursts: what the kernel segments and coalesces arrives as it was sent.

use crate::client::{Client, Incoming, receive_from, socket};
use crate::server::{Setup, V4};
use std::net::{SocketAddr, UdpSocket};

/// Payloads of these sizes, each with its number in front.
fn burst(sizes: &[usize]) -> Vec<Vec<u8>> {
    let number_first = |(number, size): (usize, &usize)| {
        let mut payload = vec![(number * 7) as u8; *size];
        payload[..2].copy_from_slice(&(number as u16).to_be_bytes());
        payload
    };
    sizes.iter().enumerate().map(number_first).collect()
}

/// Equal sizes, a shorter last one, sizes that rise and fall, and more than one segmented send may hold.
fn bursts() -> Vec<Vec<Vec<u8>>> {
    let mut shorter_last = vec![1000; 40];
    shorter_last.push(17);
    let changing: Vec<usize> = (0..120).map(|i| [900, 900, 50, 1200][i % 4]).collect();
    vec![
        burst(&[200; 60]),
        burst(&shorter_last),
        burst(&changing),
        burst(&[100; 200]),
        burst(&[9000; 20]),
        burst(&[2; 64]),
    ]
}

fn send_burst(client: &Client, channel: u16, burst: &[Vec<u8>]) {
    let frames = burst
        .iter()
        .map(|payload| client.channel_frame(channel, payload));
    if client.is_stream() {
        // In one write, so that the server works on many at once.
        client.send(&frames.collect::<Vec<_>>().concat());
    } else {
        frames.for_each(|frame| client.send(&frame));
    }
}

#[test]
fn bursts_from_a_client_reach_a_peer_whole_and_in_order() {
    let server = Setup::new().start();
    for mut client in Client::each(server.address()) {
        let peer = socket(V4);
        let relayed = client.allocate();
        client.bind_channel(0x4000, peer.local_addr().unwrap());
        for burst in bursts() {
            send_burst(&client, 0x4000, &burst);
            for (number, payload) in burst.into_iter().enumerate() {
                let (got, from) = receive_from(&peer);
                assert_eq!(from, relayed);
                assert!(got == payload, "{number}: {} bytes", got.len());
            }
        }
    }
}

#[test]
fn bursts_from_a_peer_reach_a_client_whole_and_in_order() {
    let server = Setup::new().start();
    for mut client in Client::each(server.address()) {
        let peer = socket(V4);
        let relayed = client.allocate();
        client.bind_channel(0x4000, peer.local_addr().unwrap());
        for burst in bursts() {
            for payload in &burst {
                peer.send_to(payload, relayed).unwrap();
            }
            for (number, payload) in burst.into_iter().enumerate() {
                let got = client.receive();
                assert!(got == Incoming::Channel(0x4000, payload), "{number}");
            }
        }
    }
}

#[test]
fn a_burst_to_several_peers_reaches_each_in_order() {
    let server = Setup::new().start();
    for mut client in Client::each(server.address()) {
        let relayed = client.allocate();
        let peers: Vec<UdpSocket> = (0..3).map(|_| socket(V4)).collect();
        for (number, peer) in peers.iter().enumerate() {
            client.bind_channel(0x4000 + number as u16, peer.local_addr().unwrap());
        }
        // Runs of one peer and single packets of others, so that sends end and begin in between.
        let plan: Vec<usize> = (0..150).map(|i| [0, 0, 0, 1, 2, 2][i % 6]).collect();
        let payloads = burst(&vec![300; plan.len()]);
        let frames: Vec<_> = std::iter::zip(&plan, &payloads)
            .map(|(peer, payload)| client.channel_frame(0x4000 + *peer as u16, payload))
            .collect();
        if client.is_stream() {
            client.send(&frames.concat());
        } else {
            frames.iter().for_each(|frame| client.send(frame));
        }
        for (peer, payload) in std::iter::zip(plan, payloads) {
            assert_eq!(receive_from(&peers[peer]), (payload, relayed));
        }
    }
}

/// Two servers in a row: the runs that one relay sends are what the other's relay receives, so that the kernel has
/// no reason to take them apart in between.
#[test]
fn segmented_sends_of_one_server_arrive_coalesced_at_another_and_come_out_right() {
    let servers = [Setup::new().start(), Setup::new().start()];
    let mut near = Client::tcp(servers[0].address());
    let mut far = Client::udp(servers[1].address());
    let relayed: [SocketAddr; 2] = [near.allocate(), far.allocate()];
    near.bind_channel(0x4000, relayed[1]);
    far.bind_channel(0x4000, relayed[0]);
    for burst in bursts() {
        send_burst(&near, 0x4000, &burst);
        for (number, payload) in burst.iter().enumerate() {
            let got = far.receive();
            assert!(
                got == Incoming::Channel(0x4000, payload.clone()),
                "{number}"
            );
        }
        send_burst(&far, 0x4000, &burst);
        for (number, payload) in burst.iter().enumerate() {
            let got = near.receive();
            assert!(
                got == Incoming::Channel(0x4000, payload.clone()),
                "{number}"
            );
        }
    }
}
