//! Descriptors or relay ports run out: clients are told 508, operators are told why, and it passes.

use crate::client::Client;
use crate::server::{Setup, V4, eventually, free_ports};
use hairpin::wire::attribute::Family;
use std::net::{SocketAddr, UdpSocket};

#[test]
fn without_descriptors_allocations_are_refused_until_some_return() {
    let server = Setup::new()
        .set("log", "format = \"json\"")
        .start_with_descriptors(60);
    let mut clients = Vec::new();
    let refused = loop {
        let mut client = Client::udp(server.address());
        let response = client.try_allocate(Family::V4);
        clients.push(client);
        if response.code.is_some() {
            break response;
        }
        assert!(clients.len() < 60);
    };
    assert_eq!(refused.code, Some(508));
    assert!(clients.len() > 20);
    for client in clients.iter_mut().take(5) {
        // What is there goes on.
        assert_eq!(client.refresh(600).code, None);
    }
    for _ in 0..10 {
        assert_eq!(
            Client::udp(server.address()).try_allocate(Family::V4).code,
            Some(508)
        );
    }
    // A connection waits to be accepted until there is a descriptor for it.
    let mut waiting = Client::tcp(server.address());
    server.wait_for_log("accept", |line| line.contains("could not be accepted"));

    for client in clients.iter_mut().take(5) {
        assert_eq!(client.refresh(0).code, None);
    }
    waiting.binding();
    waiting.allocate();
    Client::udp(server.address()).allocate();
    let refusals = server
        .metrics()
        .get("hairpin_refusals_total{reason=\"no_socket\"}");
    assert_eq!(refusals, 11);
    let lines = server.wait_for_events("no socket for a relay: clients are told 508", 1);
    assert_eq!(lines.len(), 1, "one line a minute");
    assert!(
        lines[0]["error"].as_str().unwrap().contains("open files"),
        "{lines:?}"
    );
}

#[test]
fn without_ports_allocations_are_refused_until_one_has_rested() {
    let first = free_ports(2);
    let server = Setup::new()
        .set("relay", &format!("ports = \"{first}-{}\"", first + 1))
        .set("relay", "quarantine = \"1s\"")
        .start();
    let mut clients: Vec<_> = (0..3).map(|_| Client::udp(server.address())).collect();
    clients[0].allocate();
    clients[1].allocate();
    assert_eq!(clients[2].try_allocate(Family::V4).code, Some(508));
    let metrics = server.metrics();
    assert_eq!(metrics.get("hairpin_refusals_total{reason=\"no_port\"}"), 1);
    assert_eq!(metrics.get("hairpin_relay_ports{state=\"used\"}"), 2);

    assert_eq!(clients[0].refresh(0).code, None);
    assert_eq!(clients[2].try_allocate(Family::V4).code, Some(508));
    let quarantined = server
        .metrics()
        .get("hairpin_relay_ports{state=\"quarantined\"}");
    assert_eq!(quarantined, 1);
    let relayed = eventually("the end of the quarantine", || {
        let response = clients[2].try_allocate(Family::V4);
        assert!(matches!(response.code, None | Some(508)));
        response.relayed
    });
    assert!((first..first + 2).contains(&relayed.port()));
}

#[test]
fn ports_that_other_programs_have_are_passed_over() {
    let first = free_ports(4);
    let server = Setup::new()
        .set("relay", &format!("ports = \"{first}-{}\"", first + 3))
        .set("relay", "quarantine = \"10s\"")
        .start();
    let others = [0, 1, 3].map(|offset| UdpSocket::bind((V4, first + offset)).unwrap());
    let mut client = Client::udp(server.address());
    assert_eq!(client.allocate(), SocketAddr::new(V4, first + 2));
    // With nothing left this is a lack of ports, not of sockets.
    assert_eq!(
        Client::udp(server.address()).try_allocate(Family::V4).code,
        Some(508)
    );
    let metrics = server.metrics();
    assert_eq!(metrics.get("hairpin_refusals_total{reason=\"no_port\"}"), 1);
    assert_eq!(
        metrics.get("hairpin_refusals_total{reason=\"no_socket\"}"),
        0
    );
    drop(others);
}

#[test]
fn quotas_are_told_apart_from_a_lack_of_room() {
    let server = Setup::new()
        .set("limits", "allocations = 3")
        .set("limits", "allocations_per_user = 2")
        .start();
    let mut clients: Vec<_> = (0..3).map(|_| Client::udp(server.address())).collect();
    clients[0].allocate();
    clients[1].allocate();
    assert_eq!(clients[2].try_allocate(Family::V4).code, Some(486));
    assert_eq!(clients[0].refresh(0).code, None);
    clients[2].allocate();
    let metrics = server.metrics();
    assert_eq!(
        metrics.get("hairpin_refusals_total{reason=\"user_quota\"}"),
        1
    );
}
