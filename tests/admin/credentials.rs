//! Credentials for applications.

use crate::client::Client;
use crate::rig::{KEY, ORIGIN, OTHER_KEY, Running, bearer, start};
use hairpin::config;
use hairpin::wire::attribute::Family;
use serde_json::Value;

fn generate(running: &Running, key: &str, token: &str, body: &str) -> (u16, Value) {
    let path = format!("/v1/turn/keys/{key}/credentials/generate-ice-servers");
    let answer = running.ask_at(running.credentials, "POST", &path, &[&bearer(token)], body);
    (answer.status, answer.json())
}

fn client(running: &Running, server: &Value) -> Client {
    let mut client = Client::udp(running.server.address());
    client.user = server["username"].as_str().unwrap().to_owned();
    client.password = server["credential"].as_str().unwrap().to_owned();
    client
}

#[test]
fn an_application_gets_ice_servers_that_work() {
    let running = start();
    let body = "{\"ttl\":600,\"customIdentifier\":\"alice\"}";
    let (status, answer) = generate(&running, "web", KEY, body);
    assert_eq!(status, 201);
    let servers = answer["iceServers"].as_array().unwrap();
    let port = running.server.address().port();
    assert_eq!(
        servers[0]["urls"],
        serde_json::json!([format!("stun:turn.example.org:{port}")])
    );
    assert_eq!(servers[0].as_object().unwrap().len(), 1);
    let udp = format!("turn:turn.example.org:{port}?transport=udp");
    let tcp = format!("turn:turn.example.org:{port}?transport=tcp");
    assert_eq!(servers[1]["urls"], serde_json::json!([udp, tcp]));
    let (expiry, user) = servers[1]["username"]
        .as_str()
        .unwrap()
        .split_once(':')
        .unwrap();
    assert_eq!(user, "web:alice");
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let left = expiry.parse::<u64>().unwrap() - now.as_secs();
    assert!((580..=600).contains(&left), "{left}");
    client(&running, &servers[1]).allocate();
    let path = "/v1/turn/keys/web/credentials/generate";
    // It is there for operators' neighbours too.
    for port in [running.credentials, running.port] {
        let one = running
            .ask_at(port, "POST", path, &[&bearer(KEY)], "")
            .json();
        client(&running, &one["iceServers"]).allocate();
    }
}

#[test]
fn keys_and_tokens_cannot_be_told_apart_by_guessing() {
    let running = start();
    let (right, unknown) = (
        "/v1/turn/keys/web/credentials/generate",
        "/v1/turn/keys/nothing/credentials/generate",
    );
    let ask = |path: &str, headers: &[&str]| {
        let answer = running.ask_at(running.credentials, "POST", path, headers, "");
        (answer.status, answer.text)
    };
    let wrong = bearer(OTHER_KEY);
    let refused = ask(right, &[&wrong]);
    assert_eq!(refused.0, 401);
    assert_eq!(refused, ask(unknown, &[&wrong]));
    assert_eq!(refused, ask(unknown, &[&bearer("")]));
    assert_eq!(refused, ask(right, &[]));
    let preflights: Vec<_> = [right, unknown]
        .iter()
        .map(|path| {
            running.ask_at(
                running.credentials,
                "OPTIONS",
                path,
                &[&format!("Origin: {ORIGIN}")],
                "",
            )
        })
        .map(|answer| {
            answer
                .header("access-control-allow-origin")
                .map(str::to_owned)
        })
        .collect();
    assert_eq!(preflights[0], preflights[1]);
}

#[test]
fn lifetimes_are_bounded() {
    let running = start();
    for (body, status) in [
        ("{\"ttl\":43200}", 201),
        ("{\"ttl\":43201}", 400),
        ("{\"ttl\":0}", 400),
        ("{\"ttl\":-1}", 400),
        ("{\"ttl\":\"1h\"}", 400),
        ("{\"colour\":1}", 400),
        ("[", 400),
        ("", 201),
    ] {
        assert_eq!(generate(&running, "web", KEY, body).0, status, "{body}");
    }
    let long = format!("{{\"customIdentifier\":\"{}\"}}", "x".repeat(600));
    assert_eq!(generate(&running, "web", KEY, &long).0, 400);
}

#[test]
fn a_revoked_credential_ends_and_no_key_revokes_anothers() {
    let running = start();
    let made = |identifier: &str| {
        let body = format!("{{\"customIdentifier\":\"{identifier}\"}}");
        generate(&running, "web", KEY, &body).1["iceServers"][1].clone()
    };
    let (one, other) = (made("one"), made("other"));
    let (mut first, mut second) = (client(&running, &one), client(&running, &other));
    first.allocate();
    second.allocate();
    let revoke = |key: &str, token: &str, name: &str| {
        let name = name.replace(':', "%3A");
        let path = format!("/v1/turn/keys/{key}/credentials/{name}/revoke");
        let answer = running.ask_at(running.credentials, "POST", &path, &[&bearer(token)], "");
        answer.status
    };
    assert_eq!(revoke("other", OTHER_KEY, &first.user), 404);
    assert_eq!(revoke("web", KEY, "user"), 404);
    // Not minted by anybody, as far ahead as these are.
    assert_eq!(revoke("web", KEY, "9999999999999:web:one"), 404);
    assert_eq!(revoke("web", KEY, "web:one"), 404);
    assert_eq!(first.refresh(600).code, None);
    assert_eq!(revoke("web", KEY, &first.user), 204);
    assert_eq!(first.refresh(600).code, Some(401));
    assert_eq!(
        client(&running, &one).try_allocate(Family::V4).code,
        Some(401)
    );
    assert_eq!(second.refresh(600).code, None);
}

#[test]
fn pages_of_named_origins_may_ask_and_no_others() {
    let running = start();
    let path = "/v1/turn/keys/web/credentials/generate";
    let ask = |method, origin: &str| {
        let origin = format!("Origin: {origin}");
        running.ask_at(
            running.credentials,
            method,
            path,
            &[&origin, &bearer(KEY)],
            "",
        )
    };
    let allowed = ask("OPTIONS", ORIGIN);
    assert_eq!(allowed.header("access-control-allow-origin"), Some(ORIGIN));
    assert_eq!(allowed.header("access-control-allow-methods"), Some("POST"));
    assert_eq!(
        ask("POST", ORIGIN).header("access-control-allow-origin"),
        Some(ORIGIN)
    );
    let foreign = "https://evil.example.org";
    assert_eq!(
        ask("OPTIONS", foreign).header("access-control-allow-origin"),
        None
    );
    assert_eq!(ask("POST", foreign).status, 403);
}

#[test]
fn their_own_address_has_nothing_else() {
    let running = start();
    for (method, path) in hairpin::admin::routes() {
        if !path.starts_with("/v1/turn/") {
            let path = path.replace(['{', '}'], "");
            let answer = running.ask_at(running.credentials, method, &path, &[&bearer(KEY)], "");
            assert_eq!(answer.status, 404, "{path}");
        }
    }
}

#[test]
fn keys_need_a_shared_secret() {
    let text =
        "[[credentials.key]]\nname = \"web\"\ntoken = \"YW4tYXBwbGljYXRpb24ncy1vd24ta2V5\"\n";
    let error = config::parse(text, "hairpin.toml").unwrap_err().to_string();
    assert!(error.contains("`secrets` under [auth]"), "{error}");
    for (text, what) in [
        ("[admin]\naddress = \"127.0.0.1:1234\"", "without a token"),
        ("[admin]\ntls = true", "needs a certificate"),
        (
            "[[admin.token]]\nname = \"a b\"\ntoken = \"YW4tYXBwbGljYXRpb24ncy1vd24ta2V5\"",
            "letters",
        ),
        (
            "[[admin.token]]\nname = \"a\"\ntoken = \"changeme\"",
            "this token stands in documentation",
        ),
        (
            "[admin]\naddress = \"127.0.0.1:9641\"",
            "is taken by [metrics]",
        ),
        (
            "[credentials]\naddress = \"127.0.0.1:1234\"",
            "without a key",
        ),
    ] {
        let error = config::parse(text, "hairpin.toml").unwrap_err().to_string();
        assert!(error.contains(what), "{text}: {error}");
    }
}
