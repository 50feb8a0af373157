//! From one certificate to the next, while the server runs.

use std::net::UdpSocket;
use std::time::Duration;

use crate::client::channel_data;
use crate::rig::{NAME, PATIENCE, Rig, plain};

/// A certificate that is due after a few seconds, and good for long enough.
fn short(rig: &Rig) {
    rig.authority.conduct(|conduct| {
        conduct.life = Duration::from_secs(60);
        conduct.age = Duration::from_secs(36);
    });
}

#[test]
fn a_renewed_certificate_is_shown_to_new_clients_and_a_session_lives_on() {
    let rig = Rig::new();
    short(&rig);
    let server = rig.start(&plain());
    server.has_certificate();
    let mut client = server.client(NAME);
    let (relayed, nonce) = client.allocate();
    let before = client.stream.conn.peer_certificates().unwrap()[0].clone();
    let peer = UdpSocket::bind((server.at(0).ip(), 0)).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    client.bind(0x4000, peer.local_addr().unwrap(), &nonce);
    rig.authority
        .conduct(|conduct| conduct.life = Duration::from_secs(90 * 86400));
    server.wait_until("renewal", || rig.authority.seen().certificates == 2);
    server.wait_until("new certificate", || server.shown() != before);
    // The session goes both ways.
    let mut received = [0; 100];
    client.send(&channel_data(0x4000, b"still here"));
    let (length, from) = peer.recv_from(&mut received).unwrap();
    assert_eq!((&received[..length], from), (&b"still here"[..], relayed));
    peer.send_to(b"so am I", relayed).unwrap();
    assert_eq!(client.frame(), channel_data(0x4000, b"so am I"));
    assert_eq!(
        server.metric("hairpin_acme_orders_total{outcome=\"issued\"}"),
        2
    );
    assert_eq!(rig.authority.seen().accounts.len(), 1);
}

#[test]
fn the_former_certificate_stays_while_the_authority_is_away() {
    let rig = Rig::new();
    short(&rig);
    let server = rig.start(&plain());
    server.has_certificate();
    let first = server.shown();
    rig.authority.conduct(|conduct| conduct.is_down = true);
    server.expect_in_log("no new certificate, the former one stays");
    assert!(server.shown() == first);
    assert_eq!(
        server.metric("hairpin_acme_orders_total{outcome=\"unreachable\"}"),
        1
    );
    let again = server.metric("hairpin_acme_next_attempt_timestamp_seconds");
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert!((now + 60..now + 200).contains(&again), "{again} at {now}");
    // Whoever reloads does not wait for that.
    rig.authority.conduct(|conduct| {
        conduct.is_down = false;
        conduct.life = Duration::from_secs(90 * 86400);
    });
    server.reload();
    server.wait_until("new certificate", || server.shown() != first);
}

#[test]
fn a_reload_brings_other_names() {
    let rig = Rig::new();
    let server = rig.start(&plain());
    server.has_certificate();
    rig.configure("domains = [\"turn.example.org\", \"new.example.org\"]");
    server.reload();
    server.wait_until("second order", || rig.authority.seen().certificates == 2);
    server.wait_until("new name", || {
        let mut client = server.client("new.example.org");
        client
            .stream
            .conn
            .complete_io(&mut client.stream.sock)
            .is_ok()
    });
    assert!(
        server.log().contains("tls.acme.domains"),
        "{}",
        server.log()
    );
}

#[test]
fn a_reload_that_is_nothing_to_the_certificate_asks_for_none() {
    let rig = Rig::new();
    let server = rig.start(&plain());
    server.has_certificate();
    let first = server.shown();
    rig.configure(&format!("{}\n[limits]\nallocations = 7", plain()));
    server.reload();
    server.expect_in_log("configuration read anew");
    assert!(server.shown() == first);
    assert_eq!(rig.authority.seen().orders.len(), 1);
}

#[test]
fn the_authoritys_own_certificate_can_be_read_again_wherever_it_is() {
    let mut rig = Rig::new();
    // A folder of which nothing else is read.
    rig.ca = "authority/ca.pem";
    std::fs::create_dir(rig.path("authority")).unwrap();
    std::fs::rename(rig.path("ca.pem"), rig.path(rig.ca)).unwrap();
    let server = rig.start(&plain());
    server.has_certificate();
    server.reload();
    server.expect_in_log("configuration read anew");
}

#[test]
fn a_certificate_that_is_not_asked_for_any_more_when_it_comes_is_kept_and_not_said_to_be_in_force()
{
    let rig = Rig::new();
    rig.authority
        .conduct(|conduct| conduct.delay = Duration::from_millis(200));
    let server = rig.start(&plain());
    server.expect_in_log("an account with the authority was made");
    rig.edit("/directory\"", "/other-directory\"");
    server.reload();
    server.expect_in_log("kept, not in use");
    assert!(!server.log().contains("is in force"), "{}", server.log());
    assert_eq!(rig.authority.seen().certificates, 1);
}

#[test]
fn a_reload_brings_an_authority_by_its_name_where_there_was_an_address() {
    let rig = Rig::new();
    let server = rig.start(&plain());
    server.has_certificate();
    rig.edit(
        "directory = \"https://127.0.0.1:",
        "directory = \"https://localhost:",
    );
    server.reload();
    server.wait_until("second order", || rig.authority.seen().certificates == 2);
}

#[test]
fn what_the_authority_is_asked_with_changes_with_a_restart_and_the_log_says_so() {
    let rig = Rig::new();
    let server = rig.start(&plain());
    server.has_certificate();
    let first = server.shown();
    rig.configure(&format!(
        "{}\nchallenge = \"http-01\"\nhttp_addresses = [\"HTTP\"]",
        plain()
    ));
    server.reload();
    server.expect_in_log("this will hold after a restart only");
    assert!(
        server.log().contains("tls.acme.challenge"),
        "{}",
        server.log()
    );
    assert!(server.shown() == first);
}
