//! The log: one line for an allocation opened, one for it closed, and nothing secret at any level.

use crate::client::{Client, Incoming, receive_from, socket};
use crate::server::{PASSWORD, Setup, USER, V4};
use hairpin::auth::mint_ephemeral;
use hairpin::wire::attribute::Family;
use hairpin::wire::{Key, PasswordAlgorithm};
use std::net::SocketAddr;

/// An allocation that sends 3 packets of 10 bytes, gets 2 of 7, and is released.
fn session(mut client: Client) -> (SocketAddr, SocketAddr) {
    let peer = socket(V4);
    let relayed = client.allocate();
    client.bind_channel(0x4000, peer.local_addr().unwrap());
    for _ in 0..3 {
        client.send_channel(0x4000, &[1; 10]);
        receive_from(&peer);
    }
    for _ in 0..2 {
        peer.send_to(&[2; 7], relayed).unwrap();
        assert!(matches!(client.receive(), Incoming::Channel(..)));
    }
    assert_eq!(client.refresh(0).code, None);
    (client.local(), relayed)
}

#[test]
fn json_lines_tell_an_allocation_opened_and_closed() {
    let server = Setup::new().start();
    for client in Client::each(server.address()) {
        let transport = if client.is_stream() { "tcp" } else { "udp" };
        let (local, relayed) = session(client);
        server.wait_for_log("the end", |line| {
            line.contains("allocation closed") && line.contains(&local.to_string())
        });
        let of_client = |message: &str| {
            let mut lines = server.events(message);
            lines.retain(|line| line["client"] == local.to_string());
            assert_eq!(lines.len(), 1, "{message}");
            lines.remove(0)
        };
        let (opened, closed) = (
            of_client("allocation opened"),
            of_client("allocation closed"),
        );
        for line in [&opened, &closed] {
            assert_eq!(line["level"], "INFO");
            assert_eq!(line["user"], format!("{USER:?}"));
            assert_eq!(line["server"], server.address().to_string());
            assert_eq!(line["transport"], transport);
            assert_eq!(line["relayed"], relayed.to_string());
            assert!(line["timestamp"].is_string());
        }
        assert_eq!(opened["allocation"], closed["allocation"]);
        assert_eq!(opened["lifetime_seconds"], 600);
        assert_eq!(closed["packets_to_peers"], 3);
        assert_eq!(closed["bytes_to_peers"], 30);
        assert_eq!(closed["packets_to_client"], 2);
        assert_eq!(closed["bytes_to_client"], 14);
        assert_eq!(closed["reason"], "released");
        let duration = closed["duration_seconds"].as_f64().unwrap();
        assert!((0.0..20.0).contains(&duration), "{duration}");
    }
}

#[test]
fn text_lines_tell_the_same() {
    let server = Setup::new().set("log", "format = \"text\"").start();
    let (local, relayed) = session(Client::udp(server.address()));
    let closed = server.wait_for_log("the end", |line| line.contains("allocation closed"));
    let opened = server.wait_for_log("the start", |line| line.contains("allocation opened"));
    for line in [&opened, &closed] {
        for part in [
            "INFO".to_owned(),
            format!("user={USER:?}"),
            format!("client={local}"),
            format!("server={}", server.address()),
            "transport=\"udp\"".to_owned(),
            format!("relayed={relayed}"),
        ] {
            assert!(line.contains(&part), "{part} is not in {line}");
        }
        // No colours in a file.
        assert!(!line.contains('\x1B'), "{line:?}");
    }
    for part in [
        "packets_to_peers=3",
        "bytes_to_peers=30",
        "packets_to_client=2",
        "bytes_to_client=14",
        "duration_seconds=",
        "reason=\"released\"",
    ] {
        assert!(closed.contains(part), "{part} is not in {closed}");
    }
}

#[test]
fn sessions_end_in_the_log_when_the_server_stops() {
    let server = Setup::new().start();
    Client::udp(server.address()).allocate();
    let (status, log) = server.stop();
    assert_eq!(status.code(), Some(0));
    let closed: Vec<_> = log
        .iter()
        .filter(|line| line.contains("allocation closed"))
        .collect();
    assert_eq!(closed.len(), 1, "{log:#?}");
    assert!(closed[0].contains("\"reason\":\"shutdown\""), "{closed:?}");
}

#[test]
fn authentication_failures_are_told_a_few_a_minute_without_control_characters() {
    let server = Setup::new().start();
    for number in 0..40 {
        let mut client = Client::udp(server.address());
        client.user = format!("mallory\n\x1B[31m\u{202E}{number}");
        assert_eq!(client.try_allocate(Family::V4).code, Some(401));
    }
    let lines = server.wait_for_events("authentication failed", 1);
    assert!((1..=20).contains(&lines.len()), "{}", lines.len());
    for line in lines {
        let user = line["user"].as_str().unwrap();
        assert!(user.contains("mallory"), "{user}");
        assert!(!user.contains(['\n', '\x1B', '\u{202E}']), "{user:?}");
    }
}

#[test]
fn x_sec_09_nothing_secret_is_in_the_log_at_its_finest_level() {
    let secret = "a shared secret of some length";
    for format in ["text", "json"] {
        let server = Setup::new()
            .set("auth", &format!("secrets = [\"{secret}\"]"))
            .set("log", &format!("format = \"{format}\""))
            .set("log", "level = \"trace\"")
            .start();
        let (user, password) = mint_ephemeral(secret.as_bytes(), Some("eve"), 4_000_000_000);
        let mut nonces = Vec::new();
        let mut keys = Vec::new();
        for (user, password) in [
            (USER, PASSWORD),
            (&user, &password),
            (USER, "wrong password"),
        ] {
            for mut client in Client::each(server.address()) {
                (client.user, client.password) = (user.to_owned(), password.to_owned());
                client.try_allocate(Family::V4);
                client.refresh(0);
                nonces.push(String::from_utf8(client.nonce.clone()).unwrap());
                let (user, password) = (user.as_bytes(), password.as_bytes());
                let md5 = PasswordAlgorithm::Md5;
                keys.push(Key::long_term(md5, user, &client.realm, password));
            }
        }
        let (_, log) = server.stop();
        let text = log.join("\n");
        assert!(text.contains("allocation closed"), "{text}");
        let hex = |key: &Key| -> String {
            key.as_bytes()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect()
        };
        let mut secrets = vec![
            secret.to_owned(),
            PASSWORD.to_owned(),
            password,
            "wrong password".to_owned(),
        ];
        secrets.extend(nonces);
        secrets.extend(keys.iter().map(hex));
        for secret in secrets {
            assert!(!text.contains(&secret), "{secret:?} is in {text}");
        }
    }
}
