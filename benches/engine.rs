//! What the engine does with a packet, and with a request: no sockets, no threads, memory that is already warm.
//!
//! `cargo bench --bench engine`

#![allow(missing_docs)]

mod rig;

use divan::{Bencher, black_box};
use hairpin::engine::{Instant, Now, Transport};
use hairpin::wire::Method;
use rig::{Client, Rig, allocate, frame, peer, send_indication};

fn main() {
    divan::main();
}

/// As many allocations as a busy worker has, or one.
const CLIENTS: [u32; 2] = [1, 20_000];

fn rig(clients: u32) -> (Rig, Vec<Client>) {
    let mut rig = Rig::default();
    let clients = (1..=clients)
        .map(|number| rig.connect(number, Transport::Udp))
        .collect();
    (rig, clients)
}

/// Gives each client its turn.
fn in_turns<'a>(clients: &'a [Client]) -> impl FnMut() -> &'a Client {
    let mut clients = clients.iter().cycle();
    move || clients.next().unwrap_or_else(|| unreachable!())
}

#[divan::bench(args = CLIENTS)]
fn channel_data_to_peer(bencher: Bencher, clients: u32) {
    let (mut rig, clients) = rig(clients);
    let frame = frame(160);
    let mut next = in_turns(&clients);
    bencher.bench_local(|| rig.client_sends(next(), black_box(&frame)));
}

#[divan::bench(args = CLIENTS)]
fn send_indication_to_peer(bencher: Bencher, clients: u32) {
    let (mut rig, clients) = rig(clients);
    let message = send_indication(peer(), 160);
    let mut next = in_turns(&clients);
    bencher.bench_local(|| rig.client_sends(next(), black_box(&message)));
}

#[divan::bench(args = CLIENTS)]
fn peer_to_channel(bencher: Bencher, clients: u32) {
    let (mut rig, clients) = rig(clients);
    let mut next = in_turns(&clients);
    bencher.bench_local(|| rig.peer_sends(next(), black_box(peer()), 160));
}

#[divan::bench]
fn peer_to_data_indication(bencher: Bencher) {
    let mut rig = Rig::default();
    let mut client = rig.allocate(1, Transport::Udp);
    rig.permit(&mut client, peer());
    bencher.bench_local(|| rig.peer_sends(&client, black_box(peer()), 160));
}

#[divan::bench]
fn hairpin(bencher: Bencher) {
    let mut rig = Rig::default();
    let mut alice = rig.allocate(1, Transport::Udp);
    let mut bob = rig.allocate(2, Transport::Udp);
    rig.bind(&mut alice, bob.relayed);
    rig.bind(&mut bob, alice.relayed);
    let frame = frame(160);
    bencher.bench_local(|| rig.client_sends(&alice, black_box(&frame)));
}

/// The look-up of a client that has no allocation.
#[divan::bench(args = CLIENTS)]
fn look_up_a_stranger(bencher: Bencher, clients: u32) {
    let (rig, _clients) = rig(clients);
    let stranger = Rig::default().allocate(u32::MAX, Transport::Udp).path.tuple;
    bencher.bench_local(|| rig.engine.has_allocation(black_box(&stranger)));
}

#[divan::bench]
fn authenticated_allocate_and_release(bencher: Bencher) {
    let mut rig = Rig::default();
    let mut client = rig.allocate(1, Transport::Udp);
    let release = rig.release(&client);
    rig.submit(&release, &mut client);
    bencher.bench_local(|| {
        let request = rig.request(&client, Method::ALLOCATE, allocate);
        rig.submit(&request, &mut client);
        rig.submit(&release, &mut client)
    });
}

/// A second of the timer's work where everybody keeps their allocation: refreshed, but never moved in the queue.
#[divan::bench(args = CLIENTS)]
fn timers_a_second(bencher: Bencher, clients: u32) {
    let (mut rig, _clients) = rig(clients);
    let mut now = rig.now;
    bencher.bench_local(|| {
        now = Now {
            instant: Instant::from_millis(now.instant.as_millis() + 1),
            ..now
        };
        rig.engine.handle_timeout(now);
    });
}
