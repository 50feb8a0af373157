//! What operators ask of the workers of a running server: lists, ends, other rules. Runs the library's server.

use crate::client::Client;
use crate::hairpin::{allocated, rules, start_sharing};
use crate::server::{USER, V4, eventually};
use hairpin::engine::{AllocationId, Rules};
use hairpin::wire::attribute::Family;
use std::net::SocketAddr;
use std::time::Duration;

fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(future)
}

#[test]
fn sessions_of_all_workers_are_listed_shown_and_ended() {
    let (server, port, shared) = start_sharing(2, &[V4]);
    let control = server.control();
    let mut clients: Vec<_> = (0..12)
        .map(|_| allocated(&server, Client::udp(SocketAddr::new(V4, port))))
        .collect();
    let is_of = |worker| clients.iter().any(|(_, _, of)| *of == worker);
    assert!(is_of(0) && is_of(1));
    let peer: SocketAddr = "8.8.8.8:7".parse().unwrap();
    clients[0].0.bind_channel(0x4001, peer);

    let sessions = wait(control.sessions());
    assert_eq!(sessions.len(), clients.len());
    for (client, relayed, _) in &clients {
        let mut of_client = sessions
            .iter()
            .filter(|session| session.client.tuple.client() == client.local());
        let session = of_client.next().unwrap();
        assert_eq!(of_client.count(), 0);
        assert_eq!(&*session.user, USER);
        assert_eq!(session.relayed.v4.unwrap().advertised, *relayed);
    }
    let first = sessions
        .iter()
        .find(|session| session.client.tuple.client() == clients[0].0.local())
        .unwrap();
    assert_eq!((first.permissions, first.channels), (1, 1));
    let details = wait(control.session(first.id)).unwrap();
    assert_eq!(details.permissions[0].peer, peer.ip());
    assert_eq!(details.channels[0].peer, peer);
    assert_eq!(details.channels[0].number.get(), 0x4001);

    assert!(wait(control.end_session(first.id)));
    assert!(!wait(control.end_session(first.id)));
    assert!(wait(control.session(first.id)).is_none());
    assert!(!wait(control.end_session(AllocationId(1))));
    assert_eq!(clients[0].0.refresh(600).code, Some(437));
    assert_eq!(clients[1].0.refresh(600).code, None);
    assert_eq!(wait(control.end_sessions_of("somebody else")), 0);
    assert_eq!(wait(control.end_sessions_of(USER)), clients.len() - 1);
    assert_eq!(shared.quotas.in_use(), 0);
    assert!(wait(control.sessions()).is_empty());
    server.stop().unwrap();
}

#[test]
fn other_rules_hold_for_all_workers_and_for_those_started_again() {
    let (server, port, _) = start_sharing(2, &[V4]);
    let control = server.control();
    let address = SocketAddr::new(V4, port);
    let mut kept = Client::udp(address);
    kept.allocate();
    let ports = 20_000..=20_001;
    let draining = Rules {
        draining: true,
        ..rules(&ports)
    };
    wait(control.set_rules(draining));
    for _ in 0..10 {
        let refused = Client::udp(address).try_allocate(Family::V4);
        assert_eq!(refused.code, Some(508));
    }
    assert_eq!(kept.refresh(600).code, None);
    for worker in [0, 1] {
        server.make_worker_panic(worker);
        let restarts = &server.counters()[worker].worker_restarts;
        eventually("a restart", || (restarts.get() > 0).then_some(()));
    }
    std::thread::sleep(Duration::from_millis(100));
    assert!(wait(control.silent_workers()).is_empty());
    for _ in 0..10 {
        let refused = Client::udp(address).try_allocate(Family::V4);
        assert_eq!(refused.code, Some(508));
    }
    wait(control.set_rules(rules(&ports)));
    Client::udp(address).allocate();
    server.stop().unwrap();
}
