//! What an operator changes while calls go on: other settings, other secrets, and the end of the service.

use crate::client::{Client, receive_from, socket};
use crate::server::{PASSWORD, Server, Setup, V4, eventually};
use hairpin::wire::attribute::Family;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// A client with a channel to a peer.
struct Call {
    client: Client,
    peer: UdpSocket,
    relayed: SocketAddr,
}

impl Call {
    fn through(server: &Server) -> Call {
        let peer = socket(V4);
        let mut client = Client::udp(server.address());
        let relayed = client.allocate();
        client.bind_channel(0x4000, peer.local_addr().unwrap());
        Call {
            client,
            peer,
            relayed,
        }
    }

    /// A packet there and one back.
    fn goes_on(&mut self, number: usize) {
        let text = format!("{number} there");
        self.client.send_channel(0x4000, text.as_bytes());
        let (payload, from) = receive_from(&self.peer);
        assert_eq!((payload.as_slice(), from), (text.as_bytes(), self.relayed));
        let text = format!("{number} back");
        self.peer.send_to(text.as_bytes(), self.relayed).unwrap();
        let expected = crate::client::Incoming::Channel(0x4000, text.into_bytes());
        assert_eq!(self.client.receive(), expected);
    }
}

fn reload(server: &Server, count: usize) -> serde_json::Value {
    server.signal("HUP");
    let done = server.wait_for_events("configuration read anew", count);
    done.last().unwrap().clone()
}

#[test]
fn a_call_loses_nothing_to_a_hundred_reloads() {
    let setup = Setup::new();
    let server = setup.clone().start();
    let mut call = Call::through(&server);
    for number in 1..=100 {
        let limit = format!("allocations_per_user = {}", 10 + number % 2);
        server.rewrite(&setup.clone().set("limits", &limit).text());
        let done = reload(&server, number);
        assert_eq!(
            (&done["changed"], &done["needs_restart"]),
            (&1.into(), &0.into())
        );
        call.goes_on(number);
    }
    assert_eq!(call.client.refresh(600).code, None);
    let lines = server.events("reloaded");
    assert_eq!(lines.len(), 100);
    assert_eq!(
        lines[99]["change"], "limits.allocations_per_user: 11 is now 10",
        "{}",
        lines[99]
    );
}

#[test]
fn limits_credentials_peers_and_the_log_are_others_after_a_reload() {
    let setup = Setup::new();
    let server = setup.clone().start();
    let mut call = Call::through(&server);
    let other = "another password, long enough";
    let text = setup
        .clone()
        .set("limits", "allocations = 2")
        .set("peers", "allow = []")
        .set("allocation", "max_lifetime = \"601s\"")
        .set("bandwidth", "per_user = \"16kbit/s\"")
        .set("log", "level = \"debug\"")
        .text()
        .replace(PASSWORD, other);
    server.rewrite(&text);
    reload(&server, 1);
    let log = server.log().join("\n");
    assert!(!log.contains(other) && !log.contains(PASSWORD));
    for key in [
        "auth.user",
        "limits.allocations",
        "peers.allow",
        "log.level",
    ] {
        assert!(log.contains(&format!("\"{key}")), "{key}");
    }

    assert_eq!(
        Client::udp(server.address()).try_allocate(Family::V4).code,
        Some(401)
    );
    let renewed = || {
        let mut client = Client::udp(server.address());
        client.password = other.to_owned();
        client
    };
    assert_eq!(renewed().try_allocate(Family::V4).code, None);
    // Two there are: the old call's, which goes on with the credential it began with, and this one.
    assert_eq!(renewed().try_allocate(Family::V4).code, Some(508));
    assert_eq!(call.client.refresh(3600).lifetime, Some(601));
    // Its peer is one that may not be reached any more.
    call.client.send_channel(0x4000, b"lost");
    assert!(crate::client::is_silent(&call.peer));
}

#[test]
fn a_configuration_that_is_wrong_changes_nothing() {
    let setup = Setup::new();
    let server = setup.clone().start();
    let mut call = Call::through(&server);
    let wrong = setup
        .clone()
        .set("limits", "allocations = 0")
        .set("limits", "no_such = 1");
    server.rewrite(&wrong.text());
    server.signal("HUP");
    let line = server.wait_for_log("the error", |line| line.contains("stays as it was"));
    assert!(
        line.contains("no_such") && line.contains("hairpin.toml"),
        "{line}"
    );
    call.goes_on(1);
    Client::udp(server.address()).allocate();
    server.rewrite(&setup.text());
    let done = reload(&server, 1);
    assert_eq!(done["changed"], 0);
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_holds() {
    let setup = Setup::new();
    let server = setup.clone().start();
    let text = setup
        .clone()
        .set("server", "workers = 2")
        .set("limits", "allocations = 1")
        .text()
        .replace("transport = \"tcp\"", "transport = \"udp\"");
    // The same address twice over UDP would be wrong.
    let text = text.replacen(&format!("127.0.0.1:{}", setup.port()), "127.0.0.2:3478", 1);
    server.rewrite(&text);
    let done = reload(&server, 1);
    assert_eq!(done["changed"], 1);
    let waiting = server.events("this will hold after a restart only");
    let waiting: Vec<_> = waiting
        .iter()
        .map(|line| line["change"].to_string())
        .collect();
    for key in [
        "server.workers: 1 is now 2",
        "listener[0].address",
        "listener[1].transport",
    ] {
        assert!(
            waiting.iter().any(|line| line.contains(key)),
            "{key} {waiting:?}"
        );
    }
    Client::udp(server.address()).allocate();
    assert_eq!(
        Client::udp(server.address()).try_allocate(Family::V4).code,
        Some(508)
    );
}

#[test]
fn new_allocations_get_the_new_external_address_and_both_are_reached_inside() {
    let setup = Setup::new();
    let server = setup.clone().start();
    let mut old = Client::udp(server.address());
    let old_relayed = old.allocate();
    let external = "127.0.0.77";
    let with = |text: String| {
        let given = "[[relay.address]]\naddress = \"127.0.0.1\"\n";
        assert!(text.contains(given));
        text.replace(given, &format!("{given}external = \"{external}\"\n"))
    };
    server.rewrite(&with(setup.text()));
    reload(&server, 1);
    let mut new = Client::udp(server.address());
    let new_relayed = new.allocate();
    assert_eq!(new_relayed.ip().to_string(), external);
    old.permit(new_relayed);
    new.permit(old_relayed);
    old.send_indication(new_relayed, b"to the new one");
    let (text, from) = (b"to the new one".to_vec(), old_relayed);
    assert_eq!(new.receive(), crate::client::Incoming::Data(from, text));
    new.send_indication(old_relayed, b"to the old one");
    let (text, from) = (b"to the old one".to_vec(), new_relayed);
    assert_eq!(old.receive(), crate::client::Incoming::Data(from, text));
}

#[test]
fn told_to_stop_the_server_lets_calls_end_and_takes_no_new_ones() {
    let server = Setup::new().set("server", "drain = \"60s\"").start();
    let mut call = Call::through(&server);
    let mut waiting = Client::udp(server.address());
    waiting.allocate();
    assert!(server.page("/readyz").0.contains("200"));
    server.signal("TERM");
    eventually("a server that is not ready", || {
        server.page("/readyz").0.contains("503").then_some(())
    });
    assert!(server.page("/livez").0.contains("200"));
    assert_eq!(
        Client::udp(server.address()).try_allocate(Family::V4).code,
        Some(508)
    );
    assert_eq!(
        server
            .metrics()
            .get("hairpin_refusals_total{reason=\"draining\"}"),
        1
    );
    call.goes_on(1);
    assert_eq!(call.client.refresh(600).code, None);
    assert_eq!(waiting.refresh(0).code, None);
    std::thread::sleep(Duration::from_millis(300));
    call.goes_on(2);
    assert_eq!(call.client.refresh(0).code, None);
    let (status, _) = server.ended();
    assert!(status.success());
}

#[test]
fn told_twice_the_server_stops_at_once() {
    let server = Setup::new().set("server", "drain = \"60s\"").start();
    let _call = Call::through(&server);
    server.signal("TERM");
    eventually("a server that is not ready", || {
        server.page("/readyz").0.contains("503").then_some(())
    });
    server.signal("TERM");
    let (status, log) = server.ended();
    assert!(status.success());
    assert!(log.iter().any(|line| line.contains("\"shutdown\"")));
}
