//! Why a client was refused.

use crate::client::Client;
use crate::rig::{Running, SECRET, start, start_with};
use hairpin::auth::mint_ephemeral;
use hairpin::wire::attribute::Family;
use hairpin::wire::{AttributeType, Method};
use serde_json::Value;

fn refusals(running: &Running) -> Vec<Value> {
    let answer = running.get("/v1/refusals?address=127.0.0.1");
    answer["refusals"].as_array().unwrap().clone()
}

fn reasons(running: &Running) -> Vec<String> {
    let all = refusals(running);
    let mut reasons: Vec<String> = all
        .iter()
        .map(|r| r["reason"].as_str().unwrap().to_owned())
        .collect();
    reasons.sort();
    reasons
}

#[test]
fn what_a_client_did_wrong_is_told_and_what_is_protocol_is_not() {
    let running = start();
    let server = running.server.address();
    // A session as it should be, with its first 401.
    let mut good = Client::udp(server);
    good.allocate();
    assert_eq!(refusals(&running).len(), 0);
    let mut client = Client::udp(server);
    client.password = "wrong".to_owned();
    for _ in 0..3 {
        assert_eq!(client.try_allocate(Family::V4).code, Some(401));
    }
    let mut late = Client::udp(server);
    (late.user, late.password) = mint_ephemeral(SECRET.as_bytes(), Some("late"), 1_000_000_000);
    assert_eq!(late.try_allocate(Family::V4).code, Some(401));
    let denied = good.request(Method::CREATE_PERMISSION, |writer| {
        writer.xor_address(
            AttributeType::XOR_PEER_ADDRESS,
            "10.1.2.3:9".parse().unwrap(),
        );
    });
    assert_eq!(denied.code, Some(403));
    let mut lost = Client::udp(server);
    assert_eq!(lost.refresh(600).code, Some(437));
    assert_eq!(
        reasons(&running),
        [
            "allocation_mismatch",
            "expired",
            "peer_denied",
            "wrong_password"
        ]
    );
    let all = refusals(&running);
    let of = |reason: &str| all.iter().find(|r| r["reason"] == reason).unwrap();
    let denied = of("peer_denied");
    assert_eq!(
        (&denied["code"], &denied["peer"]),
        (&403.into(), &"10.1.2.3:9".into())
    );
    assert!(
        denied["what"].as_str().unwrap().contains("10.0.0.0/8"),
        "{denied}"
    );
    assert_eq!(of("wrong_password")["count"], 3);
    assert_eq!(of("expired")["user"], "1000000000:late");
    assert_eq!(
        running.get("/v1/refusals?user=late")["refusals"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        running.get("/v1/refusals?address=192.0.2.1")["refusals"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
}

#[test]
fn want_of_room_is_told_with_the_limit() {
    let running = start_with(|setup| {
        setup
            .set("limits", "allocations_per_user = 1")
            .set("limits", "channels_per_allocation = 1")
    });
    let server = running.server.address();
    let mut first = Client::udp(server);
    first.allocate();
    first.bind_channel(0x4000, "127.0.0.1:9".parse().unwrap());
    let refused = first.request(Method::CHANNEL_BIND, |writer| {
        writer.number(AttributeType::CHANNEL_NUMBER, 0x4001 << 16);
        writer.xor_address(
            AttributeType::XOR_PEER_ADDRESS,
            "127.0.0.1:10".parse().unwrap(),
        );
    });
    assert_eq!(refused.code, Some(508));
    assert_eq!(Client::udp(server).try_allocate(Family::V4).code, Some(486));
    running.ask("POST", "/v1/drain", "{\"draining\":true}");
    assert_eq!(Client::udp(server).try_allocate(Family::V4).code, Some(508));
    assert_eq!(
        reasons(&running),
        ["channel_limit", "draining", "user_quota"]
    );
    let all = refusals(&running);
    let quota = all.iter().find(|r| r["reason"] == "user_quota").unwrap();
    assert!(
        quota["advice"]
            .as_str()
            .unwrap()
            .contains("allocations_per_user")
    );
}

#[test]
fn strangers_cannot_push_out_what_proved_users_were_refused() {
    let running = start();
    let server = running.server.address();
    let mut good = Client::udp(server);
    good.allocate();
    good.request(Method::CREATE_PERMISSION, |writer| {
        writer.xor_address(
            AttributeType::XOR_PEER_ADDRESS,
            "10.1.2.3:9".parse().unwrap(),
        );
    });
    let mut stranger = Client::tcp(server);
    for number in 0..600 {
        // So many without a credential, and a connection is closed.
        if number % 50 == 0 {
            stranger = Client::tcp(server);
        }
        stranger.user = format!("nobody-{number}");
        assert_eq!(stranger.try_allocate(Family::V4).code, Some(401));
    }
    let all = refusals(&running);
    assert!(all.iter().any(|refusal| refusal["reason"] == "peer_denied"));
    assert!(all.len() <= 512, "{}", all.len());
}

#[test]
fn connections_that_were_closed_at_once_are_told() {
    let running = start_with(|setup| setup.set("tcp", "max_connections_per_prefix = 1"));
    let server = running.server.address();
    let _one = std::net::TcpStream::connect(server).unwrap();
    crate::server::eventually("a refused connection", || {
        let _other = std::net::TcpStream::connect(server).unwrap();
        reasons(&running)
            .contains(&"prefix".to_owned())
            .then_some(())
    });
}
