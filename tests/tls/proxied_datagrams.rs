//! Datagrams through a proxy that puts a PROXY header in front of each.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use stun::message::Message;

use crate::client::{allocate, bind, binding, decode, mapped, nonce, relayed};
use crate::proxied_streams::version_2;
use crate::rig::Server;

const FAILURES: &str = "hairpin_proxy_protocol_failures_total";
const ALICE: &str = "198.51.100.7:40000";
const BOB: &str = "198.51.100.8:40000";

/// Passes on what a client says.
struct Proxied<'a> {
    socket: &'a UdpSocket,
    client: &'a str,
}

impl Proxied<'_> {
    fn send(&self, bytes: &[u8]) {
        let datagram = [&version_2(1, 0x12, self.client)[..], bytes].concat();
        self.socket.send(&datagram).unwrap();
    }

    fn ask(&self, request: &Message) -> Message {
        self.send(&request.raw);
        let answer = decode(&receive(self.socket));
        assert_eq!(answer.transaction_id, request.transaction_id);
        answer
    }
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).unwrap();
    buffer[..length].to_vec()
}

#[test]
fn clients_behind_one_proxy_are_told_their_own_addresses_by_plain_answers() {
    let server = Server::behind("127.0.0.0/8");
    let socket = server.datagrams(3478);
    for client in [ALICE, BOB, ALICE] {
        let proxied = Proxied {
            socket: &socket,
            client,
        };
        assert_eq!(mapped(&proxied.ask(&binding())), client.parse().unwrap());
    }
}

#[test]
fn clients_behind_one_proxy_have_allocations_of_their_own() {
    let server = Server::behind("127.0.0.0/8");
    let socket = server.datagrams(3478);
    let [alice, bob] = [ALICE, BOB].map(|client| Proxied {
        socket: &socket,
        client,
    });
    let allocated = |client: &Proxied<'_>| {
        let nonce = nonce(&client.ask(&allocate(None)));
        (relayed(&client.ask(&allocate(Some(&nonce)))), nonce)
    };
    let (at_alice, nonce_alice) = allocated(&alice);
    let (at_bob, _) = allocated(&bob);
    assert_ne!(at_alice, at_bob);

    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let address: SocketAddr = peer.local_addr().unwrap();
    alice.ask(&bind(0x4001, address, &nonce_alice));
    alice.send(&[0x40, 1, 0, 2, b'h', b'i']);
    let mut buffer = [0; 100];
    let (length, from) = peer.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from), (&b"hi"[..], at_alice));
    peer.send_to(b"hello", at_alice).unwrap();
    assert_eq!(receive(&socket), [&[0x40, 1, 0, 5][..], b"hello"].concat());

    // The channel is Alice's and nobody else's.
    bob.send(&[0x40, 1, 0, 2, b'h', b'o']);
    server.counts("hairpin_dropped_packets_total{reason=\"no_channel\"}", 1);
}

#[test]
fn a_header_that_names_nobody_leaves_the_address_of_the_sender() {
    let server = Server::behind("127.0.0.0/8");
    let socket = server.datagrams(3478);
    let request = binding();
    let datagram = [&version_2(0, 0x00, ALICE)[..], &request.raw].concat();
    socket.send(&datagram).unwrap();
    let answer = decode(&receive(&socket));
    assert_eq!(mapped(&answer), socket.local_addr().unwrap());
}

#[test]
fn datagrams_without_a_header_of_version_2_are_dropped_and_counted() {
    let server = Server::behind("127.0.0.0/8");
    let socket = server.datagrams(3478);
    socket.send(&binding().raw).unwrap();
    socket.send(b"").unwrap();
    let text = b"PROXY TCP4 198.51.100.7 203.0.113.1 40000 3478\r\n";
    socket.send(&[&text[..], &binding().raw].concat()).unwrap();
    server.counts(&format!("{FAILURES}{{reason=\"missing\"}}"), 3);
    let header = version_2(1, 0x12, ALICE);
    socket.send(&header[..header.len() - 1]).unwrap();
    server.counts(&format!("{FAILURES}{{reason=\"malformed\"}}"), 1);
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(socket.recv(&mut [0; 100]).is_err(), "nothing was answered");
}

#[test]
fn datagrams_of_others_are_dropped_and_counted() {
    let server = Server::behind("10.0.0.0/8");
    let socket = server.datagrams(3478);
    let header = version_2(1, 0x12, ALICE);
    socket
        .send(&[&header[..], &binding().raw].concat())
        .unwrap();
    server.counts(&format!("{FAILURES}{{reason=\"untrusted\"}}"), 1);
}
