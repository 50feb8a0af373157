//! Drain, log level, revocations, credentials for operators, reload.

use crate::client::Client;
use crate::rig::{SECRET, start, start_with};
use hairpin::auth::mint_ephemeral;
use hairpin::wire::attribute::Family;

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
