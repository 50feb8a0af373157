//! What flows behind the handshake.

use std::io::Write as _;
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};

use crate::client::{self, channel_data, tls};
use crate::rig::Server;

#[test]
fn s_tls_12_clients_relay_to_each_other_and_channel_data_is_padded() {
    let server = Server::plain();
    for version in [&TLS12, &TLS13] {
        let connect = || tls(server.connect(5349), server.trust(&[version]), "localhost");
        let (mut a, mut b) = (connect(), connect());
        let (at_a, nonce_a) = a.allocate();
        let (at_b, nonce_b) = b.allocate();
        a.bind(0x4001, at_b, &nonce_a);
        b.bind(0x4002, at_a, &nonce_b);
        for length in [0, 1, 2, 3, 4, 5, 171, 1200, 20_000] {
            let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
            a.send(&channel_data(0x4001, &payload));
            assert_eq!(b.frame(), channel_data(0x4002, &payload), "{length}");
            b.send(&channel_data(0x4002, &payload));
            assert_eq!(a.frame(), channel_data(0x4001, &payload), "{length}");
        }
    }
    server.counts("hairpin_allocations", 0);
}

#[test]
fn frames_may_share_records_and_be_spread_over_them() {
    let server = Server::plain();
    let mut client = tls(server.connect(5349), server.trust(&[&TLS13]), "localhost");
    let requests: Vec<_> = (0..100).map(|_| client::binding()).collect();
    let bytes: Vec<u8> = requests
        .iter()
        .flat_map(|request| request.raw.clone())
        .collect();
    // All in one record.
    client.send(&bytes);
    for request in &requests {
        let answer = client::decode(&client.frame());
        assert_eq!(answer.transaction_id, request.transaction_id);
    }
    // A record for every few bytes.
    for piece in bytes.chunks(7) {
        client.stream.write_all(piece).unwrap();
    }
    for request in &requests {
        let answer = client::decode(&client.frame());
        assert_eq!(answer.transaction_id, request.transaction_id);
    }
}

#[test]
fn an_allocation_ends_with_its_connection() {
    let server = Server::plain();
    let mut client = tls(server.connect(5349), server.trust(&[&TLS13]), "localhost");
    client.allocate();
    server.counts("hairpin_allocations", 1);
    server.counts("hairpin_connections{transport=\"tls\"}", 1);
    drop(client);
    server.counts("hairpin_allocations", 0);
    server.counts("hairpin_connections{transport=\"tls\"}", 0);
    server.expect_in_log("transport=\"tls\"");
}

#[test]
fn s_tcp_10_a_client_that_does_not_read_loses_media_and_no_answer() {
    let server = Server::plain();
    let connect = || tls(server.connect(5349), server.trust(&[&TLS13]), "localhost");
    let (mut slow, mut sender) = (connect(), connect());
    let (at_slow, nonce_slow) = slow.allocate();
    let (at_sender, nonce) = sender.allocate();
    slow.bind(0x4001, at_sender, &nonce_slow);
    sender.bind(0x4001, at_slow, &nonce);
    let dropped = "hairpin_dropped_packets_total{reason=\"slow_client\"}";
    let frame = channel_data(0x4001, &[5; 1200]);
    let end = Instant::now() + Duration::from_secs(30);
    while server.metric(dropped) == 0 {
        assert!(Instant::now() < end, "nothing was dropped");
        for _ in 0..1000 {
            sender.send(&frame);
        }
    }
    // The answer comes behind what was on its way already.
    let request = client::binding();
    slow.send(&request.raw);
    loop {
        let next = slow.frame();
        if next[0] < 4 {
            assert_eq!(client::decode(&next).transaction_id, request.transaction_id);
            break;
        }
        assert_eq!(next, frame, "a frame was cut");
    }
}
