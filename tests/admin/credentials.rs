//! Credentials for applications.

use crate::client::Client;
use crate::rig::{KEY, ORIGIN, OTHER_KEY, Running, SMALL_KEY, bearer, start, start_with};
use hairpin::config;
use hairpin::wire::attribute::Family;
use serde_json::Value;
use std::time::{Duration, Instant};

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
    let left = expiry.parse::<u64>().unwrap() - now();
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
fn a_key_has_so_many_credentials_made_at_once_and_others_are_not_kept_waiting() {
    let running = start();
    let path = "/v1/turn/keys/small/credentials/generate";
    let origin = format!("Origin: {ORIGIN}");
    let ask = |body: &str| {
        let headers = [&*bearer(SMALL_KEY), &*origin];
        running.ask_at(running.credentials, "POST", path, &headers, body)
    };
    // What is wrong does not count.
    let long = format!("{{\"customIdentifier\":\"{}\"}}", "x".repeat(600));
    for wrong in ["{\"ttl\":0}", "[", long.as_str()].repeat(3) {
        assert_eq!(ask(wrong).status, 400);
    }
    let begun = Instant::now();
    let answers: Vec<_> = (0..8).map(|_| ask("")).collect();
    let took = begun.elapsed().as_secs();
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    let refused: Vec<_> = answers.iter().filter(|a| a.status == 429).collect();
    assert_eq!(made + refused.len(), 8);
    assert!(
        (3..=4 + took as usize).contains(&made),
        "{made} in {took} s"
    );
    let last = refused.last().unwrap();
    assert_eq!(last.header("retry-after"), Some("1"));
    let readable = last.header("access-control-expose-headers");
    assert_eq!(readable, Some("Retry-After"));
    assert_eq!(generate(&running, "other", OTHER_KEY, "").0, 201);
    let metrics = running.server.metrics();
    let of = |key: &str, outcome: &str| {
        metrics.get(&format!(
            "hairpin_credentials_total{{key=\"{key}\",outcome=\"{outcome}\"}}"
        ))
    };
    assert_eq!(of("small", "made"), made as u64);
    assert_eq!(of("small", "refused"), refused.len() as u64);
    assert_eq!((of("other", "made"), of("other", "refused")), (1, 0));
    // A second later there is one more.
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(ask("").status, 201);
}

#[test]
fn credentials_of_a_key_hold_so_many_allocations_together() {
    let mut text = String::new();
    let running = start_with(|setup| {
        text = setup.text();
        setup
    });
    let made = |key: &str, token: &str| {
        let answer = generate(&running, key, token, "").1;
        client(&running, &answer["iceServers"][1])
    };
    let (mut first, mut second) = (made("small", SMALL_KEY), made("small", SMALL_KEY));
    first.allocate();
    assert_eq!(second.try_allocate(Family::V4).code, Some(486));
    made("other", OTHER_KEY).allocate();
    let metrics = running.server.metrics();
    let held = "hairpin_credential_key_allocations{key=\"small\"}";
    assert_eq!(metrics.get(held), 1);
    let limit = "hairpin_credential_key_limit{key=\"small\",limit=\"allocations\"}";
    assert_eq!(metrics.get(limit), 1);
    let limits = running.get("/v1/limits");
    let limits = limits["limits"].as_array().unwrap().iter();
    let of_keys: Vec<_> = limits
        .filter(|limit| limit["name"] == "credentials.key.allocations")
        .map(|limit| {
            (
                limit["fullest"].as_str().unwrap(),
                &limit["limit"],
                &limit["used"],
            )
        })
        .collect();
    let none = Value::Null;
    let (no, one) = (Value::from(0), Value::from(1));
    let expected = [
        ("web", &none, &no),
        ("other", &none, &one),
        ("small", &one, &one),
    ];
    assert_eq!(of_keys, expected);
    let refused = running.get("/v1/refusals");
    assert_eq!(refused["refusals"][0]["reason"], "key_quota");
    // Another limit holds after a reload, with what there is counted on.
    assert!(text.contains("allocations = 1,"));
    let text = text.replace("allocations = 1,", "allocations = 2,");
    running.server.rewrite(&text);
    assert_eq!(running.ask("POST", "/v1/reload", "").status, 200);
    second.allocate();
    let mut third = made("small", SMALL_KEY);
    assert_eq!(third.try_allocate(Family::V4).code, Some(486));
    assert_eq!(first.refresh(0).code, None);
    third.allocate();
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

/// Seconds since 1970.
fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_secs()
}

#[test]
fn applications_revoke_at_a_pace_and_what_is_over_is_not_remembered() {
    let running = start();
    let revoke = |expiry: u64, number: u32| {
        let path = format!("/v1/turn/keys/web/credentials/{expiry}%3Aweb%3A{number}/revoke");
        let ask = running.ask_at(running.credentials, "POST", &path, &[&bearer(KEY)], "");
        ask.status
    };
    let remembered = || {
        let list = running.get("/v1/revocations");
        list["revocations"].as_array().unwrap().len()
    };
    assert_eq!(revoke(1_000_000_000, 0), 204);
    assert_eq!(remembered(), 0);
    let soon = now() + 600;
    let refused = (0..400).find(|number| revoke(soon, *number) == 429);
    let refused = refused.expect("so many are not revoked at once");
    assert!(refused >= 100, "{refused}");
    assert_eq!(remembered(), refused as usize);
    // Operators are not held up by it.
    let answer = running.ask("POST", "/v1/revocations", "{\"user\":\"mallory\"}");
    assert!(answer.status < 300, "{}", answer.status);
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
fn limits_of_a_key_that_make_no_sense_are_named() {
    let key = "[auth]\nsecrets = [\"Q2xlYXJseS1hLXNlY3JldC1vZi10ZXN0cw\"]\n[[credentials.key]]\nname = \"web\"\n\
               token = \"YW4tYXBwbGljYXRpb24ncy1vd24ta2V5\"\n";
    for (lines, what) in [
        (
            "credentials_burst = 5",
            "give `credentials_per_second` as well",
        ),
        (
            "credentials_per_second = 2\ncredentials_burst = 0",
            "`credentials_burst` is too small",
        ),
        (
            "credentials_per_second = 1000000",
            "`credentials_per_second` is too large",
        ),
        ("bandwidth = \"1kbit/s\"", "`bandwidth` is too small"),
    ] {
        let error = config::parse(&format!("{key}{lines}\n"), "hairpin.toml");
        let error = error.unwrap_err().to_string();
        assert!(error.contains(what), "{lines}: {error}");
    }
    let free = "credentials_per_second = 0\nallocations = 0\nbandwidth = \"0bit/s\"\n";
    let settings = config::parse(&format!("{key}{free}"), "hairpin.toml").unwrap();
    let key = &settings.credentials.keys[0];
    assert_eq!((key.credentials_per_second, key.allocations), (None, None));
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
