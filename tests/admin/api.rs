//! The description and the server agree, and what is shown is so.

use crate::client::Client;
use crate::rig::{KEY, bearer, description, start, start_with};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[test]
fn every_route_is_described_and_every_described_route_exists() {
    let document = description();
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            described.insert((method.to_uppercase(), path.clone()));
        }
    }
    let served = hairpin::admin::routes().into_iter();
    let served: BTreeSet<_> = served.map(|(m, p)| (m.to_owned(), p.to_owned())).collect();
    assert_eq!(served, described);
}

#[test]
fn every_operation_answers_as_it_is_described() {
    let running = start_with(|setup| setup.set("server", "workers = 2"));
    let mut client = Client::udp(running.server.address());
    client.allocate();
    client.bind_channel(0x4000, "127.0.0.1:9".parse().unwrap());
    let key = bearer(KEY);
    let mut asked = BTreeSet::new();
    let mut ask = |method: &str, template: &str, path: &str, body: &str, status: u16| {
        let answer = match template.contains("/turn/") {
            false => running.ask(method, path, body),
            true => running.ask_at(running.credentials, method, path, &[&key], body),
        };
        assert_eq!(answer.status, status, "{method} {path} {answer:?}");
        asked.insert((method.to_owned(), template.to_owned()));
        answer
    };
    for path in [
        "/",
        "/page.js",
        "/charts.js",
        "/style.css",
        "/test",
        "/test/page.js",
        "/test/measure.js",
        "/test/report.js",
        "/test/style.css",
        "/test/words.json",
        "/livez",
        "/readyz",
        "/metrics",
        "/v1/openapi.json",
        "/v1/status",
        "/v1/history",
        "/v1/doctor",
        "/v1/settings",
        "/v1/limits",
        "/v1/log",
        "/v1/revocations",
        "/v1/refusals",
    ] {
        ask("GET", path, path, "", 200);
    }
    let listed = ask("GET", "/v1/sessions", "/v1/sessions?sort=age", "", 200).json();
    let id = listed["sessions"][0]["id"].as_str().unwrap().to_owned();
    let session = format!("/v1/sessions/{id}");
    let shown = ask("GET", "/v1/sessions/{id}", &session, "", 200).json();
    assert_eq!(shown["bound_channels"][0]["number"], "0x4000");
    ask("GET", "/v1/peers", "/v1/peers?peer=10.0.0.1:80", "", 200);
    ask("DELETE", "/v1/sessions/{id}", &session, "", 200);
    ask("DELETE", "/v1/sessions", "/v1/sessions?user=user", "", 200);
    ask(
        "POST",
        "/v1/drain",
        "/v1/drain",
        "{\"draining\":false}",
        200,
    );
    ask("PUT", "/v1/log", "/v1/log", "{\"level\":\"info\"}", 200);
    ask("POST", "/v1/credentials", "/v1/credentials", "", 201);
    ask("POST", "/v1/test", "/v1/test", "", 201);
    ask(
        "POST",
        "/v1/revocations",
        "/v1/revocations",
        "{\"user\":\"eve/1\"}",
        201,
    );
    ask(
        "DELETE",
        "/v1/revocations/{user}",
        "/v1/revocations/eve%2F1",
        "",
        200,
    );
    ask("POST", "/v1/reload", "/v1/reload", "", 200);
    let base = "/v1/turn/keys/{key}/credentials/";
    for tail in ["generate", "generate-ice-servers"] {
        let template = format!("{base}{tail}");
        let path = template.replace("{key}", "web");
        ask("POST", &template, &path, "", 201);
        ask("OPTIONS", &template, &path, "", 204);
    }
    let template = format!("{base}{{username}}/revoke");
    let soon = SystemTime::now() + Duration::from_secs(3600);
    let expiry = soon.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let path = template
        .replace("{key}", "web")
        .replace("{username}", &format!("{expiry}:web:x"));
    ask("POST", &template, &path, "", 204);
    ask("OPTIONS", &template, &path, "", 204);
    let all = hairpin::admin::routes().into_iter();
    let all: BTreeSet<_> = all.map(|(m, p)| (m.to_owned(), p.to_owned())).collect();
    assert_eq!(asked, all);
}

#[test]
fn mistakes_are_answered_in_words() {
    let running = start();
    let long = "x".repeat(70_000);
    for (method, path, body, status) in [
        ("GET", "/v1/nothing", "", 404),
        ("PATCH", "/v1/status", "", 405),
        ("GET", "/v1/sessions?sort=colour", "", 400),
        ("GET", "/v1/sessions?limit=0", "", 400),
        ("GET", "/v1/sessions?limit=1001", "", 400),
        ("GET", "/v1/sessions?cursor=!", "", 400),
        ("GET", "/v1/sessions?address=nowhere", "", 400),
        ("GET", "/v1/sessions?colour=red", "", 400),
        ("GET", "/v1/sessions/0123456789abcdef", "", 404),
        ("GET", "/v1/sessions/+123456789abcdef", "", 404),
        ("DELETE", "/v1/sessions", "", 400),
        ("GET", "/v1/history?after=now", "", 400),
        ("GET", "/v1/peers", "", 400),
        ("GET", "/v1/peers?peer=example.org", "", 400),
        ("GET", "/v1/refusals?address=x", "", 400),
        ("POST", "/v1/drain", "", 400),
        ("POST", "/v1/drain", "{\"draining\":1}", 400),
        ("POST", "/v1/drain", "{\"draining\":true,\"x\":1}", 400),
        ("PUT", "/v1/log", "{\"level\":\"loud\"}", 400),
        ("POST", "/v1/credentials", "{\"ttl\":0}", 400),
        ("POST", "/v1/revocations", "{\"user\":\"\"}", 400),
        ("DELETE", "/v1/revocations/nobody", "", 404),
        ("POST", "/v1/drain", long.as_str(), 413),
    ] {
        let answer = running.ask(method, path, body);
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(
            answer.json()["error"].as_str().unwrap().len() > 10,
            "{answer:?}"
        );
    }
}

#[test]
fn the_status_says_what_runs() {
    let running = start_with(|setup| setup.set("server", "workers = 2"));
    let (mut one, mut other) = (
        Client::udp(running.server.address()),
        Client::tcp(running.server.address()),
    );
    let relayed = other.allocate();
    one.allocate();
    one.bind_channel(0x4000, relayed);
    let status = running.get("/v1/status");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (&status["sessions"], &status["workers"]["count"]),
        (&2.into(), &2.into())
    );
    assert_eq!(
        (&status["ports"]["used"], &status["ports"]["free"]),
        (&2.into(), &98.into())
    );
    assert_eq!(status["listeners"].as_array().unwrap().len(), 2);
    assert_eq!(status["draining"], false);
    let limits = running.get("/v1/limits");
    let limit = |name: &str| -> Value {
        let all = limits["limits"].as_array().unwrap();
        all.iter()
            .find(|limit| limit["name"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(limit("limits.allocations")["limit"], Value::Null);
    assert_eq!(limit("limits.allocations")["used"], 2);
    assert_eq!(limit("limits.allocations_per_user")["used"], 2);
    assert_eq!(limit("limits.allocations_per_user")["fullest"], "user");
    assert_eq!(limit("tcp.max_connections")["used"], 1);
    assert_eq!(limit("limits.channels_per_allocation")["used"], 1);
    assert_eq!(limit("relay.ports")["limit"], 100);
}

#[test]
fn settings_are_shown_without_secrets_and_peers_are_judged_by_those_in_force() {
    let running = start();
    let settings = running.get("/v1/settings");
    assert_eq!(settings["auth"]["secrets"][0], "***");
    assert_eq!(settings["admin"]["token"][1]["token"], "***");
    assert_eq!(settings["credentials"]["key"][0]["token"], "***");
    assert_eq!(settings["credentials"]["key"][0]["max_ttl"], "12h");
    let denied = running.get("/v1/peers?peer=10.0.0.1");
    assert_eq!(
        (&denied["allowed"], &denied["verdict"]),
        (&false.into(), &"denied".into())
    );
    assert!(denied["rule"].as_str().unwrap().contains("10.0.0.0/8"));
    assert_eq!(running.get("/v1/peers?peer=127.0.0.9:9")["allowed"], true);
    // The doors of the HTTP side are closed to peers.
    for port in [running.port, running.credentials] {
        let judged = running.get(&format!("/v1/peers?peer=127.0.0.1:{port}"));
        assert_eq!(judged["allowed"], false, "{port}");
    }
}
