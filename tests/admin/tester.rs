//! The tester: who may begin a test, what the page is served with, and how far a test's credential goes.

use crate::client::{Client, Incoming, is_silent, receive_from, socket};
use crate::rig::{OPERATOR, READER, Running, SECRET, bearer, start, start_with};
use crate::server::{V4, free_ports};
use hairpin::auth::mint_ephemeral;
use hairpin::policy::CONFINED_ALLOCATIONS;
use hairpin::wire::attribute::Family;
use hairpin::wire::{AttributeType, Method};

const FILES: [(&str, &str); 6] = [
    ("/test", "text/html; charset=utf-8"),
    ("/test/page.js", "text/javascript; charset=utf-8"),
    ("/test/measure.js", "text/javascript; charset=utf-8"),
    ("/test/report.js", "text/javascript; charset=utf-8"),
    ("/test/style.css", "text/css; charset=utf-8"),
    ("/test/words.json", "application/json"),
];
const OWN: &str = "X-Hairpin: 1";

/// A server with a tester for everybody, at an address of its own besides.
fn public() -> (Running, u16) {
    let port = free_ports(1);
    let tester = format!(
        "tester = {{ public = true, address = \"127.0.0.1:{port}\", ttl = \"5m\", per_source = 3 }}"
    );
    (start_with(|setup| setup.set("admin", &tester)), port)
}

fn begin(running: &Running, port: u16, headers: &[&str]) -> u16 {
    running.ask_at(port, "POST", "/v1/test", headers, "").status
}

#[test]
fn a_test_takes_a_token_that_may_make_credentials_unless_the_tester_is_public() {
    let running = start();
    let port = running.port;
    assert_eq!(begin(&running, port, &[]), 401);
    assert_eq!(begin(&running, port, &[OWN]), 401);
    assert_eq!(begin(&running, port, &[OWN, &bearer(READER)]), 403);
    assert_eq!(begin(&running, port, &[&bearer(OPERATOR)]), 201);
    assert_eq!(running.ask("POST", "/v1/test", "").status, 201);
    assert_eq!(running.ask_bare("POST", "/v1/test", &[]).status, 403);
}

#[test]
fn a_public_test_takes_a_header_that_foreign_pages_cannot_send() {
    let (running, port) = public();
    for port in [port, running.port] {
        let foreign = ["Origin: https://evil.example.org"];
        assert_eq!(begin(&running, port, &foreign), 403);
        assert_eq!(begin(&running, port, &["Content-Type: text/plain"]), 403);
        assert_eq!(begin(&running, port, &[OWN]), 201);
        let preflight = running.ask_at(port, "OPTIONS", "/v1/test", &foreign, "");
        assert_eq!(preflight.status, 405);
        assert_eq!(preflight.header("access-control-allow-origin"), None);
    }
}

#[test]
fn a_source_may_begin_so_many_public_tests_and_operators_any_number() {
    let (running, port) = public();
    for _ in 0..3 {
        assert_eq!(begin(&running, port, &[OWN]), 201);
    }
    let refused = running.ask_at(port, "POST", "/v1/test", &[OWN], "");
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(refused.text.contains("from your network"), "{refused:?}");
    assert_eq!(begin(&running, running.port, &[OWN]), 429);
    assert_eq!(begin(&running, running.port, &[&bearer(OPERATOR)]), 201);
}

#[test]
fn a_public_tester_opens_nothing_else() {
    let (running, port) = public();
    for (method, path) in hairpin::admin::routes() {
        let path = path
            .replace("{id}", "0123456789abcdef")
            .replace("{user}", "x")
            .replace("{key}", "web")
            .replace("{username}", "x");
        let of_tester = path.starts_with("/test") || path == "/v1/test";
        let at_tester = running.ask_at(port, method, &path, &[OWN, &bearer(OPERATOR)], "");
        assert_eq!(at_tester.status == 404, !of_tester, "{method} {path}");
        let needs_token = path.starts_with("/v1/") || path == "/metrics";
        if !of_tester && needs_token && method != "OPTIONS" {
            let at_admin = running.ask_at(running.port, method, &path, &[OWN], "");
            assert_eq!(at_admin.status, 401, "{method} {path}");
        }
    }
    for door in [running.credentials, running.server.metrics_address().port()] {
        assert_eq!(running.ask_at(door, "GET", "/test", &[], "").status, 404);
        assert_eq!(begin(&running, door, &[OWN]), 404);
    }
}

#[test]
fn the_page_is_served_under_a_policy_without_exceptions_and_asks_nobody_else() {
    let (running, port) = public();
    for (path, kind) in FILES {
        let answer = running.ask_at(port, "GET", path, &[], "");
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some(kind));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        for forbidden in ["http://", "https://", "innerHTML", "style=\"", "onclick="] {
            assert!(!answer.text.contains(forbidden), "{path}: {forbidden}");
        }
    }
}

/// The credential of a test that begins now.
fn credential(running: &Running, port: u16) -> (String, String) {
    let begun = running.ask_at(port, "POST", "/v1/test", &[OWN], "").json();
    assert_eq!(begun["ttl"], 300);
    let servers = begun["iceServers"].as_array().unwrap();
    let text = |key: &str| servers.last().unwrap()[key].as_str().unwrap().to_owned();
    (text("username"), text("credential"))
}

#[test]
fn the_credential_of_a_test_relays_between_its_own_allocations_and_to_nobody_else() {
    let (running, port) = public();
    let (user, password) = credential(&running, port);
    assert!(user.contains(":tester:"), "{user}");
    let stranger = socket(V4);
    let with = |(user, password): &(String, String)| {
        let mut client = Client::udp(running.server.address());
        (client.user, client.password) = (user.clone(), password.clone());
        client
    };
    let own = (user, password);
    let [mut one, mut other] = [(); 2].map(|()| with(&own));
    let (relay_of_one, relay_of_other) = (one.allocate(), other.allocate());
    one.bind_channel(0x4000, relay_of_other);
    other.bind_channel(0x4000, relay_of_one);
    one.send_channel(0x4000, b"inside");
    assert_eq!(
        other.receive(),
        Incoming::Channel(0x4000, b"inside".to_vec())
    );
    // Loopback peers are allowed here, to whoever is no tester.
    let peer = stranger.local_addr().unwrap();
    one.bind_channel(0x4001, peer);
    one.send_channel(0x4001, b"out");
    assert!(is_silent(&stranger), "it relays to others");
    stranger.send_to(b"in", relay_of_one).unwrap();
    one.assert_silent();

    let mut user = Client::udp(running.server.address());
    let relay_of_user = user.allocate();
    user.bind_channel(0x4001, peer);
    user.send_channel(0x4001, b"out");
    assert_eq!(receive_from(&stranger).0, b"out");
    // Nor does it reach other users inside, even those who let this server's addresses in.
    user.bind_channel(0x4002, relay_of_one);
    one.bind_channel(0x4002, relay_of_user);
    one.send_channel(0x4002, b"unasked");
    user.assert_silent();
    // Nor somebody else's test, who would have it; and neither of the two comes in.
    let mut another = with(&credential(&running, port));
    let relay_of_another = another.allocate();
    another.bind_channel(0x4003, relay_of_one);
    one.bind_channel(0x4003, relay_of_another);
    one.send_channel(0x4003, b"unasked");
    another.send_channel(0x4003, b"unasked");
    user.send_channel(0x4002, b"unasked");
    another.assert_silent();
    one.assert_silent();
}

#[test]
fn what_a_test_opened_is_given_no_time_beyond_its_credential() {
    let port = free_ports(1);
    let tester =
        format!("tester = {{ public = true, address = \"127.0.0.1:{port}\", ttl = \"1m\" }}");
    let running = start_with(|setup| setup.set("admin", &tester));
    let begun = running.ask_at(port, "POST", "/v1/test", &[OWN], "").json();
    let servers = begun["iceServers"].as_array().unwrap();
    let mut client = Client::udp(running.server.address());
    client.user = servers.last().unwrap()["username"]
        .as_str()
        .unwrap()
        .to_owned();
    client.password = servers.last().unwrap()["credential"]
        .as_str()
        .unwrap()
        .to_owned();
    client.allocate();
    let refreshed = client.refresh(600);
    assert_eq!(refreshed.code, None);
    let lifetime = refreshed.lifetime.unwrap();
    assert!((30..=61).contains(&lifetime), "{lifetime}");
}

#[test]
fn the_credential_of_a_test_holds_few_allocations() {
    let (running, port) = public();
    let (user, password) = credential(&running, port);
    let allocate = || {
        let mut client = Client::udp(running.server.address());
        (client.user, client.password) = (user.clone(), password.clone());
        client.try_allocate(Family::V4).code
    };
    let codes: Vec<_> = (0..17).map(|_| allocate()).collect();
    assert_eq!(codes[..16], [None; 16]);
    assert_eq!(codes[16], Some(486));
    let refusals = running.get("/v1/refusals");
    let refused = &refusals["refusals"][0];
    assert_eq!(refused["reason"], "user_quota");
    let advice = refused["advice"].as_str().unwrap();
    let most = format!("more than {CONFINED_ALLOCATIONS}, ");
    assert!(advice.contains(&most), "{advice}");
    let limits = running.get("/v1/limits");
    let mut limits = limits["limits"].as_array().unwrap().iter();
    let of_tests = limits.find(|limit| limit["name"] == "admin.tester.allocations");
    let of_tests = of_tests.unwrap();
    assert_eq!(
        (&of_tests["limit"], &of_tests["used"]),
        (&100.into(), &16.into())
    );
}

#[test]
fn refusals_of_tests_name_the_settings_of_the_tester() {
    let running = start_with(|setup| {
        setup
            .set("admin", "tester = { allocations = 51 }")
            .set("tcp_relay", "enabled = true")
    });
    let mint = |name: &str| mint_ephemeral(SECRET.as_bytes(), Some(name), 4_000_000_000);
    let with = |name: &str, mut client: Client| {
        (client.user, client.password) = mint(name);
        client
    };
    let allocate = |name: &str, times: usize| -> Vec<_> {
        let udp = || with(name, Client::udp(running.server.address()));
        (0..times)
            .map(|_| udp().try_allocate(Family::V4).code)
            .collect()
    };
    let advice = |reason: &str| {
        let refusals = running.get("/v1/refusals");
        let mut all = refusals["refusals"].as_array().unwrap().iter();
        let refusal = all.find(|refusal| refusal["reason"] == reason).unwrap();
        refusal["advice"].as_str().unwrap().to_owned()
    };
    // A third of them for one network, one user no more than 16 of that.
    assert_eq!(allocate("tester:a", 16), [None; 16]);
    assert_eq!(allocate("tester:b", 2), [None, Some(486)]);
    let advised = advice("source_quota");
    assert!(advised.contains("[admin.tester]"), "{advised}");
    let tcp = with("tester:c", Client::tcp(running.server.address())).request(
        Method::ALLOCATE,
        |writer| {
            writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
        },
    );
    assert_eq!(tcp.code, Some(442));
    let advised = advice("unsupported_transport");
    assert!(advised.contains("credential of a test"), "{advised}");
}

#[test]
fn tests_that_hold_all_that_tests_may_are_told_of_the_testers_setting() {
    let running = start_with(|setup| setup.set("admin", "tester = { allocations = 1 }"));
    for (host, code) in [("a", None), ("b", Some(486))] {
        let mut client = Client::udp(running.server.address());
        let user = format!("tester:{host}");
        (client.user, client.password) =
            mint_ephemeral(SECRET.as_bytes(), Some(&user), 4_000_000_000);
        assert_eq!(client.try_allocate(Family::V4).code, code);
    }
    let refusals = running.get("/v1/refusals");
    let refused = &refusals["refusals"][0];
    assert_eq!(refused["reason"], "key_quota");
    let advice = refused["advice"].as_str().unwrap();
    assert!(
        advice.contains("`allocations` under [admin.tester]"),
        "{advice}"
    );
}
