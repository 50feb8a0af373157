//! The engine's path of one packet, so many times over, for counting its instructions.
//!
//! `benches/instructions` runs this under callgrind with some packets and with twice as many, so that what the start
//! costs cancels out. Arguments: a scenario and a number of packets.

#![allow(missing_docs, clippy::print_stderr, clippy::unwrap_used)]

mod rig;

use hairpin::engine::{Outcome, Transport};
use rig::{Client, Rig, frame, peer, send_indication};
use std::hint::black_box;

/// So many clients take turns.
const CLIENTS: u32 = 16;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [scenario, packets] = arguments.as_slice() else {
        // `cargo bench` comes here.
        eprintln!("benches/instructions counts with this");
        return;
    };
    let packets: u64 = packets.parse().unwrap();
    let mut rig = Rig::default();
    let mut clients: Vec<Client> = (1..=CLIENTS)
        .map(|number| rig.allocate(number, Transport::Udp))
        .collect();
    let relays: Vec<_> = clients.iter().map(|client| client.relayed).collect();
    let (frame, send) = (frame(160), send_indication(peer(), 160));
    for (number, client) in clients.iter_mut().enumerate() {
        match scenario.as_str() {
            // Each has its neighbour for a peer.
            "hairpin" => rig.bind(client, relays[number ^ 1]),
            "peer-to-data" => rig.permit(client, peer()),
            _ => rig.bind(client, peer()),
        }
    }
    let mut relayed = 0;
    for packet in 0..packets {
        let client = &clients[packet as usize % clients.len()];
        let outcome = match scenario.as_str() {
            "channel-to-peer" | "hairpin" => rig.client_sends(client, black_box(&frame)),
            "send-to-peer" => rig.client_sends(client, black_box(&send)),
            "peer-to-channel" | "peer-to-data" => rig.peer_sends(client, black_box(peer()), 160),
            other => panic!("no scenario is called {other}"),
        };
        relayed += u64::from(black_box(outcome) != Outcome::Nothing);
    }
    assert_eq!(relayed, packets);
}
