//! Drain, log level, revocations, credentials for operators, reload.

use crate::client::Client;
use crate::rig::{SECRET, start, start_with};
use hairpin::auth::mint_ephemeral;
use hairpin::wire::attribute::Family;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

#[test]
fn a_drained_server_takes_new_sessions_again_when_told() {
    let running = start();
    let mut kept = Client::udp(running.server.address());
    kept.allocate();
    running.ask("POST", "/v1/drain", "{\"draining\":true}");
    assert_eq!(running.get("/v1/status")["draining"], true);
    let mut other = Client::udp(running.server.address());
    assert_eq!(other.try_allocate(Family::V4).code, Some(508));
    assert_eq!(kept.refresh(600).code, None);
    running.ask("POST", "/v1/drain", "{\"draining\":false}");
    other.allocate();
}

#[test]
fn the_level_of_the_log_changes_at_once() {
    let running = start();
    assert_eq!(running.get("/v1/log")["level"], "info");
    running.ask("PUT", "/v1/log", "{\"level\":\"error\"}");
    let mut unseen = Client::udp(running.server.address());
    unseen.allocate();
    running.ask("PUT", "/v1/log", "{\"level\":\"info,hairpin::admin=warn\"}");
    assert_eq!(running.get("/v1/log")["level"], "info,hairpin::admin=warn");
    let mut seen = Client::udp(running.server.address());
    seen.allocate();
    let opened = running.server.wait_for_events("allocation opened", 1);
    assert_eq!(opened.len(), 1);
    assert_eq!(opened[0]["client"], seen.local().to_string());
}

#[test]
fn a_revoked_user_is_out_at_once_and_stays_out_until_let_in() {
    let running = start();
    let minted = mint_ephemeral(SECRET.as_bytes(), Some("mallory"), 4_000_000_000);
    let client = || {
        let mut client = Client::udp(running.server.address());
        (client.user, client.password) = minted.clone();
        client
    };
    let mut mallory = client();
    mallory.allocate();
    let mut other = Client::udp(running.server.address());
    other.allocate();
    let told = running
        .ask("POST", "/v1/revocations", "{\"user\":\"mallory\"}")
        .json();
    assert_eq!(told["ended"], 1);
    assert_eq!(mallory.refresh(600).code, Some(401));
    assert_eq!(client().try_allocate(Family::V4).code, Some(401));
    assert_eq!(other.refresh(600).code, None);
    assert_eq!(
        running.get("/v1/revocations")["revocations"][0]["user"],
        "mallory"
    );
    // What else changes the rules keeps it.
    for draining in [true, false] {
        running.ask("POST", "/v1/drain", &format!("{{\"draining\":{draining}}}"));
        running.ask("POST", "/v1/reload", "");
    }
    assert_eq!(client().try_allocate(Family::V4).code, Some(401));
    assert_eq!(
        running.ask("DELETE", "/v1/revocations/mallory", "").status,
        200
    );
    client().allocate();
    assert_eq!(
        running.get("/v1/revocations")["revocations"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
}

#[test]
fn an_operator_mints_credentials_that_work() {
    let running = start();
    let minted = running
        .ask("POST", "/v1/credentials", "{\"user\":\"alice\",\"ttl\":60}")
        .json();
    let mut client = Client::udp(running.server.address());
    client.user = minted["username"].as_str().unwrap().to_owned();
    client.password = minted["credential"].as_str().unwrap().to_owned();
    assert!(client.user.ends_with(":alice"));
    client.allocate();
    let servers = minted["iceServers"].as_array().unwrap();
    assert_eq!(servers.len(), 2);
    let without = start_with(|setup| {
        setup
            .set("auth", "secrets = []")
            .set("credentials", "key = []")
            .set("credentials", "address = \"\"")
    });
    assert_eq!(without.ask("POST", "/v1/credentials", "").status, 409);
}

#[test]
fn a_user_whose_name_is_a_number_stays_revoked_when_others_are() {
    let running = start();
    for user in ["42", "7:room", "mallory"] {
        let body = format!("{{\"user\":\"{user}\"}}");
        assert_eq!(running.ask("POST", "/v1/revocations", &body).status, 201);
    }
    let revoked = running.get("/v1/revocations");
    assert_eq!(revoked["revocations"].as_array().unwrap().len(), 3);
}

#[test]
fn an_order_whose_giver_hangs_up_is_carried_out_whole_or_not_at_all() {
    let running = start();
    for number in 0..20 {
        let body = format!("{{\"draining\":{}}}", number % 2 == 0);
        let mut stream = UnixStream::connect(&running.socket).unwrap();
        let head = format!(
            "POST /v1/drain HTTP/1.1\r\nHost: localhost\r\nX-Hairpin: 1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // Sometimes before it is read, sometimes while the workers are asked.
        std::thread::sleep(Duration::from_micros(number * 50));
        drop(stream);
        std::thread::sleep(Duration::from_millis(50));
        let is_draining = running.get("/v1/status")["draining"] == true;
        let code = Client::udp(running.server.address())
            .try_allocate(Family::V4)
            .code;
        assert_eq!(code, is_draining.then_some(508), "{number}");
    }
    // Those that were carried out were told of.
    assert!(!running.server.events("an operator's order").is_empty());
}
