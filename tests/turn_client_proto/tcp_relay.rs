//! TCP to peers (RFC 6062), over TCP and over TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use hairpin::config::Transport;
use turn_client_proto::api::{TurnConfig, TurnEvent};
use turn_client_proto::prelude::*;
use turn_client_proto::stun::types::TransportType;

use crate::driver::{Driver, PATIENCE, alice};
use crate::server::{LOOPBACK, Setup};

fn config() -> TurnConfig {
    let mut config = TurnConfig::new(alice());
    config.set_allocation_transport(TransportType::Tcp);
    config
}

/// Connects to a peer that speaks first, or waits to be spoken to, and exchanges with it. One peer a client: its nonce
/// is refused on the new connection, as one that another connection was given (RFC 8489 §9.2), and of the refusals of
/// a nonce that follow on the old one the library does not get over that of Connect.
fn connects_to_a_peer(mut driver: Driver, speaks_first: bool) {
    let relayed = driver.allocate().unwrap();
    driver.permit(TransportType::Tcp, LOOPBACK);
    let peer = TcpListener::bind(SocketAddr::new(LOOPBACK, 0)).unwrap();
    let address = peer.local_addr().unwrap();
    let now = driver.now();
    driver.client.tcp_connect(address, now).unwrap();
    let speaker = std::thread::spawn(move || {
        let (mut stream, from) = peer.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        if speaks_first {
            stream.write_all(b"welcome").unwrap();
        }
        let mut heard = [0; 5];
        stream.read_exact(&mut heard).unwrap();
        stream.write_all(&heard).unwrap();
        (stream, from)
    });
    driver
        .until(|_, event| match event {
            Some(TurnEvent::TcpConnected(peer)) => Some(*peer),
            Some(TurnEvent::TcpConnectFailed(_)) => panic!("{event:?}"),
            _ => None,
        })
        .unwrap();
    driver.send_to(TransportType::Tcp, address, b"hello");
    let expected: &[u8] = match speaks_first {
        true => b"welcomehello",
        false => b"hello",
    };
    driver
        .until(|driver, _| {
            let from_peer = driver.relayed.iter().filter(|(from, _)| *from == address);
            let data: Vec<u8> = from_peer.flat_map(|(_, data)| data.clone()).collect();
            assert!(expected.starts_with(&data), "{data:?}");
            (data == expected).then_some(())
        })
        .unwrap();
    let (_, from) = speaker.join().unwrap();
    assert_eq!(from, relayed);
}

#[test]
fn t_tcp_01_10_12_17_18_it_connects_to_peers_over_tcp() {
    let (server, address) = Setup {
        transport: Transport::Tcp,
        ..Setup::default()
    }
    .start();
    for speaks_first in [true, false] {
        connects_to_a_peer(Driver::tcp(address, config()), speaks_first);
    }
    server.stop().unwrap();
}

#[test]
fn t_tcp_01_10_12_17_18_it_connects_to_peers_over_tls() {
    let (server, address, certificate) = Setup {
        transport: Transport::Tls,
        ..Setup::default()
    }
    .start_tls();
    for speaks_first in [true, false] {
        let driver = Driver::tls(address, certificate.clone(), config());
        connects_to_a_peer(driver, speaks_first);
    }
    server.stop().unwrap();
}
