//! A worker that panics ends its own allocations, gives everything back and is started again; the others notice nothing.

use crate::client::{Client, Incoming};
use crate::hairpin::{allocated, start_sharing};
use crate::server::{V4, eventually};
use hairpin::engine::counters::Counters;
use hairpin::engine::{Instant, Transport};
use hairpin::net::Server;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

struct Member {
    client: Client,
    relayed: SocketAddr,
    worker: usize,
}

fn members(server: &Server, make: impl Fn() -> Client, count: usize) -> Vec<Member> {
    (0..count)
        .map(|_| {
            let (client, relayed, worker) = allocated(server, make());
            Member {
                client,
                relayed,
                worker,
            }
        })
        .collect()
}

fn alive(counters: &Arc<Counters>) -> u64 {
    counters.allocations_opened.get() - counters.allocations_closed.get()
}

/// Lets a worker panic and waits until it is there again.
fn fail(server: &Server, worker: usize) {
    let restarts = || server.counters()[worker].worker_restarts.get();
    let before = restarts();
    server.make_worker_panic(worker);
    eventually("a restart", || (restarts() > before).then_some(()));
    // It is counted before the sockets are watched again; they keep what comes meanwhile.
    std::thread::sleep(Duration::from_millis(100));
}

#[test]
fn a_worker_that_panics_is_started_again_and_the_others_go_on() {
    let (server, port, shared) = start_sharing(2, &[V4]);
    let address = SocketAddr::new(V4, port);
    let mut all = members(&server, || Client::udp(address), 20);
    all.extend(members(&server, || Client::tcp(address), 20));
    let of = |worker| all.iter().filter(|member| member.worker == worker).count();
    let (failing, staying) = (of(0), of(1));
    assert!(failing > 0 && staying > 1, "{failing} {staying}");
    assert_eq!(shared.quotas.in_use() as usize, failing + staying);

    fail(&server, 0);

    assert!(server.is_running());
    let [first, second] = [0, 1].map(|worker: usize| &server.counters()[worker]);
    assert_eq!((alive(first), alive(second) as usize), (0, staying));
    assert_eq!(second.worker_restarts.get(), 0);
    assert_eq!(shared.quotas.in_use() as usize, staying);
    let late = Instant::from_millis(u64::MAX / 2);
    assert_eq!(shared.relays.counts(late).used as usize, staying);
    for transport in [Transport::Tcp, Transport::Tls] {
        let connections = first.connections(transport);
        assert_eq!(connections.opened.get(), connections.closed.get());
    }
    for member in &all {
        let owner = shared.relays.owner_of(member.relayed);
        assert_eq!(owner.is_some(), member.worker == 1);
    }
    for member in &mut all {
        if member.worker == 1 {
            assert_eq!(member.client.refresh(600).code, None);
        } else if !member.client.is_stream() {
            // From the same port, and so at the same worker: its sockets are those it had.
            let before = first.allocations_opened.get();
            member.relayed = member.client.allocate();
            assert_eq!(first.allocations_opened.get(), before + 1);
        }
    }
    // Datagrams flow between clients of either worker.
    let mut udp: Vec<_> = all
        .iter_mut()
        .filter(|member| !member.client.is_stream())
        .collect();
    let (old, new) = udp.split_at_mut(1);
    let (old, new) = (&mut *old[0], &mut *new[0]);
    old.client.permit(new.relayed);
    new.client.permit(old.relayed);
    old.client.send_indication(new.relayed, b"text");
    assert!(new.client.receive() == Incoming::Data(old.relayed, b"text".to_vec()));
    // New connections come to both workers.
    for _ in 0..10 {
        Client::tcp(address).binding();
    }
    server.stop().unwrap();
}

#[test]
fn a_worker_that_panics_again_and_again_is_there_each_time() {
    let (server, port, shared) = start_sharing(1, &[V4]);
    let address = SocketAddr::new(V4, port);
    for round in 1..=5 {
        let mut clients = [Client::udp(address), Client::tcp(address)];
        for client in &mut clients {
            client.allocate();
        }
        assert_eq!(alive(&server.counters()[0]), 2, "{round}");
        fail(&server, 0);
        assert_eq!(alive(&server.counters()[0]), 0, "{round}");
        assert_eq!(shared.quotas.in_use(), 0);
    }
    assert_eq!(server.counters()[0].worker_restarts.get(), 5);
    server.stop().unwrap();
}
