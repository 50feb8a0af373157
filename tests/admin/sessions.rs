//! The list of sessions, one of them, and their end.

use crate::client::{Client, receive_from, socket};
use crate::rig::{Running, SECRET, start, start_with};
use crate::server::{V4, eventually};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hairpin::auth::mint_ephemeral;
use serde_json::Value;
use std::time::{Duration, Instant};

fn client(running: &Running, user: &str) -> Client {
    let mut client = Client::udp(running.server.address());
    let minted = mint_ephemeral(SECRET.as_bytes(), Some(user), 4_000_000_000);
    (client.user, client.password) = minted;
    client
}

fn users(list: &Value) -> Vec<String> {
    let sessions = list["sessions"].as_array().unwrap().iter();
    sessions
        .map(|s| {
            s["user"]
                .as_str()
                .unwrap()
                .split_once(':')
                .unwrap()
                .1
                .to_owned()
        })
        .collect()
}

#[test]
fn sessions_are_found_sorted_and_paged() {
    let running = start_with(|setup| setup.set("server", "workers = 2"));
    let peer = socket(V4);
    let mut clients: Vec<Client> = ["dave", "alice", "carol", "bob", "alice"]
        .iter()
        .map(|user| client(&running, user))
        .collect();
    let relayed: Vec<_> = clients
        .iter_mut()
        .map(|client| {
            let relayed = client.allocate();
            // Ages are told apart by milliseconds, and each worker looks at the clock once a batch.
            std::thread::sleep(Duration::from_millis(5));
            relayed
        })
        .collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.bind_channel(0x4000, peer.local_addr().unwrap());
        for _ in 0..number {
            client.send_channel(0x4000, &[0; 500]);
            receive_from(&peer);
        }
    }
    let list = eventually("all bytes", || {
        let list = running.get("/v1/sessions?sort=bytes");
        (list["sessions"][0]["to_peers"]["bytes"] == 2000).then_some(list)
    });
    assert_eq!(users(&list), ["alice", "bob", "carol", "alice", "dave"]);
    assert_eq!(list["total"], 5);
    assert_eq!(list["next"], Value::Null);
    assert_eq!(
        users(&running.get("/v1/sessions?sort=user"))
            .first()
            .unwrap(),
        "alice"
    );
    assert_eq!(
        users(&running.get("/v1/sessions?sort=age"))
            .first()
            .unwrap(),
        "dave"
    );
    assert_eq!(
        users(&running.get("/v1/sessions?user=alice")),
        ["alice", "alice"]
    );
    let whole = running.get(&format!(
        "/v1/sessions?user={}",
        clients[3].user.replace(':', "%3A")
    ));
    assert_eq!(users(&whole), ["bob"]);
    for address in [clients[0].local(), relayed[0]] {
        assert_eq!(
            users(&running.get(&format!("/v1/sessions?address={address}"))),
            ["dave"]
        );
    }
    assert_eq!(running.get("/v1/sessions?address=127.0.0.1")["total"], 5);
    assert_eq!(running.get("/v1/sessions?address=192.0.2.1")["total"], 0);

    for sort in ["rate", "bytes", "age", "user"] {
        let mut seen = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = running.get(&format!("/v1/sessions?limit=2&sort={sort}{cursor}"));
            let sessions = page["sessions"].as_array().unwrap();
            assert!(sessions.len() <= 2);
            seen.extend(
                sessions
                    .iter()
                    .map(|s| s["id"].as_str().unwrap().to_owned()),
            );
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!((count, seen.len()), (5, 5), "{sort}");
    }
}

/// The ids of a page.
fn ids(page: &Value) -> Vec<String> {
    let sessions = page["sessions"].as_array().unwrap().iter();
    sessions
        .map(|session| session["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn each_session_is_on_one_page_whatever_happens_between_two_of_them() {
    let running = start_with(|setup| setup.set("server", "workers = 2"));
    let peer = socket(V4);
    let mut clients: Vec<Client> = (0..7).map(|_| client(&running, "walker")).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.allocate();
        client.bind_channel(0x4000, peer.local_addr().unwrap());
        for _ in 0..number {
            client.send_channel(0x4000, &[0; 500]);
            receive_from(&peer);
        }
    }
    let mut all = ids(&running.get("/v1/sessions"));
    all.sort();
    assert_eq!(all.len(), 7);
    for sort in ["bytes", "rate", "age", "user"] {
        let first = running.get(&format!("/v1/sessions?limit=2&sort={sort}"));
        let mut seen = ids(&first);
        let mut next = first["next"].as_str().map(str::to_owned);
        let mut visitor = client(&running, "a visitor");
        while let Some(cursor) = next {
            // Those at the end of the list come to its front, and others come and go.
            for client in &clients[..2] {
                for _ in 0..30 {
                    client.send_channel(0x4000, &[0; 1000]);
                    receive_from(&peer);
                }
            }
            visitor.allocate();
            assert_eq!(visitor.refresh(0).code, None);
            std::thread::sleep(Duration::from_millis(300));
            let page = running.get(&format!("/v1/sessions?limit=2&sort={sort}&cursor={cursor}"));
            assert_eq!(page["total"], 7, "{sort}");
            seen.extend(ids(&page));
            next = page["next"].as_str().map(str::to_owned);
        }
        seen.sort();
        assert_eq!(seen, all, "{sort}");
    }
}

#[test]
fn a_list_by_age_goes_on_when_its_moment_is_forgotten() {
    let running = start();
    let mut clients: Vec<Client> = (0..5).map(|_| client(&running, "walker")).collect();
    for client in &mut clients {
        client.allocate();
        std::thread::sleep(Duration::from_millis(5));
    }
    let first = running.get("/v1/sessions?limit=2&sort=age");
    let cursor = BASE64_URL_SAFE_NO_PAD.decode(first["next"].as_str().unwrap());
    let cursor = String::from_utf8(cursor.unwrap()).unwrap();
    let (_, place) = cursor.split_once('/').unwrap();
    let forgotten = BASE64_URL_SAFE_NO_PAD.encode(format!("1/{place}"));
    // One that was on the first page is gone, and there is a new one.
    let mut seen = ids(&first);
    assert_eq!(
        running
            .ask("DELETE", &format!("/v1/sessions/{}", seen[0]), "")
            .status,
        200
    );
    client(&running, "late").allocate();
    let rest = running.get(&format!("/v1/sessions?sort=age&cursor={forgotten}"));
    assert_eq!(rest["total"], 5);
    seen.extend(ids(&rest));
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((count, seen.len()), (6, 6));
}

#[test]
fn a_session_that_has_ended_is_not_listed_for_long() {
    let running = start();
    // On a busy machine a look takes long, and holds for as long.
    let is_gone_soon = (0..5).any(|_| {
        let mut client = client(&running, "leaver");
        client.allocate();
        std::thread::sleep(Duration::from_millis(1100));
        assert_eq!(running.get("/v1/sessions")["total"], 1);
        assert_eq!(client.refresh(0).code, None);
        std::thread::sleep(Duration::from_millis(500));
        let is_gone = running.get("/v1/sessions")["total"] == 0;
        std::thread::sleep(Duration::from_millis(1100));
        assert_eq!(running.get("/v1/sessions")["total"], 0);
        is_gone
    });
    assert!(is_gone_soon);
}

#[test]
fn what_passes_a_second_is_told_while_it_does() {
    let running = start();
    let peer = socket(V4);
    let mut client = client(&running, "streamer");
    client.allocate();
    client.bind_channel(0x4000, peer.local_addr().unwrap());
    let end = Instant::now() + Duration::from_secs(30);
    running.get("/v1/sessions");
    loop {
        for _ in 0..10 {
            client.send_channel(0x4000, &[0; 1000]);
            receive_from(&peer);
        }
        std::thread::sleep(Duration::from_millis(50));
        let list = running.get("/v1/sessions");
        let rate = list["sessions"][0]["to_peers"]["bytes_per_second"]
            .as_u64()
            .unwrap();
        let whole = running.get("/v1/status")["rates"]["to_peers"]["bytes_per_second"].clone();
        if rate > 10_000 && whole.as_u64().unwrap() > 10_000 {
            break;
        }
        assert!(Instant::now() < end, "{list} {whole}");
    }
    let id = running.get("/v1/sessions")["sessions"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let session = running.get(&format!("/v1/sessions/{id}"));
    assert_eq!(session["user"], client.user);
    assert_eq!(session["client"], client.local().to_string());
    assert_eq!(session["permitted"][0]["peer"], "127.0.0.1");
    assert_eq!(
        session["bound_channels"][0]["peer"],
        peer.local_addr().unwrap().to_string()
    );
    assert!(session["to_peers"]["packets"].as_u64().unwrap() >= 10);
    // The first look at one session begins to count by peer.
    assert_eq!(session["peers"], serde_json::json!([]));
    client.send_channel(0x4000, &[0; 1000]);
    receive_from(&peer);
    let session = running.get(&format!("/v1/sessions/{id}"));
    let of_peer = &session["peers"][0];
    assert_eq!(of_peer["peer"], peer.local_addr().unwrap().to_string());
    assert_ne!(of_peer["to_peer"]["bytes_per_second"], 0, "{session}");
    assert_eq!(of_peer["to_client"]["packets_per_second"], 0, "{session}");
    // `hairpin ctl` looks twice by itself.
    let text = running.ctl_text(&["session", &id]);
    let line = format!("traffic      {}: ", peer.local_addr().unwrap());
    assert!(text.contains(&line), "{text}");
}

#[test]
fn sessions_are_ended_one_by_one_and_by_user() {
    let running = start();
    let mut clients: Vec<Client> = ["eve", "mallory", "mallory"]
        .iter()
        .map(|user| client(&running, user))
        .collect();
    for client in &mut clients {
        client.allocate();
    }
    let id = running.get("/v1/sessions?user=eve")["sessions"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/v1/sessions/{id}");
    assert_eq!(running.ask("DELETE", &path, "").json()["ended"], 1);
    assert_eq!(running.ask("DELETE", &path, "").status, 404);
    assert_eq!(running.ask("GET", &path, "").status, 404);
    assert_eq!(clients[0].refresh(600).code, Some(437));
    assert_eq!(
        running
            .ask("DELETE", "/v1/sessions?user=mallory", "")
            .json()["ended"],
        2
    );
    assert_eq!(clients[2].refresh(600).code, Some(437));
    assert_eq!(running.get("/v1/sessions")["total"], 0);
}

#[test]
fn a_list_of_many_sessions_costs_little_and_holds_up_nobody() {
    const MANY: u16 = 2000;
    let running = start_with(|setup| {
        setup
            .set(
                "relay",
                &format!("ports = \"{}\"", crate::server::port_range(MANY)),
            )
            .set("strangers", "answers_burst = \"0B\"")
            .set("sockets", "relay_receive_buffer = \"16KiB\"")
            .set(
                "limits",
                "allocations_per_user = 0\nallocations_per_source = 0",
            )
    });
    let server = running.server.address();
    let clients: Vec<Client> = (0..MANY)
        .map(|_| {
            let mut client = Client::udp(server);
            client.allocate();
            client
        })
        .collect();
    let asked = Instant::now();
    let page = running.ask("GET", "/v1/sessions?limit=1000", "");
    let took = asked.elapsed();
    assert_eq!(page.json()["total"], clients.len());
    // Debug code on a busy machine; built for release it is a few milliseconds.
    assert!(took < Duration::from_secs(3), "{took:?}");
    let mut other = Client::udp(server);
    let asking = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            for _ in 0..10 {
                running.ask("GET", "/v1/sessions?limit=1000", "");
            }
        });
        let mut slowest = Duration::ZERO;
        while !asking.is_finished() {
            let asked = Instant::now();
            other.binding();
            slowest = slowest.max(asked.elapsed());
        }
        slowest
    });
    assert!(asking < Duration::from_secs(1), "{asking:?}");
}
