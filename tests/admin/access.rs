//! Who may ask for what, by which door.

use crate::rig::{OPERATOR, READER, bearer, start, start_with};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;

#[test]
fn over_the_network_nothing_goes_without_a_token_but_health() {
    let running = start();
    let ask = |method: &str, path: &str, headers: &[&str]| {
        running
            .ask_at(running.port, method, path, headers, "")
            .status
    };
    assert_eq!(ask("GET", "/livez", &[]), 200);
    assert_eq!(ask("GET", "/readyz", &[]), 200);
    let wrong = bearer("d3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmc");
    for (method, path) in hairpin::admin::routes() {
        if !path.starts_with("/v1/") && path != "/metrics" || path.starts_with("/v1/turn/") {
            continue;
        }
        let path = path
            .replace("{id}", "0123456789abcdef")
            .replace("{user}", "x");
        assert_eq!(ask(method, &path, &[]), 401, "{method} {path}");
        assert_eq!(
            ask(method, &path, &["X-Hairpin: 1"]),
            401,
            "{method} {path}"
        );
        assert_eq!(ask(method, &path, &[&wrong]), 401, "{method} {path}");
        if method != "GET" {
            assert_eq!(
                ask(method, &path, &[&bearer(READER)]),
                403,
                "{method} {path}"
            );
        }
    }
    for token in [READER, OPERATOR] {
        assert_eq!(ask("GET", "/v1/status", &[&bearer(token)]), 200);
        assert_eq!(ask("GET", "/metrics", &[&bearer(token)]), 200);
    }
    let ended = ask("DELETE", "/v1/sessions?user=nobody", &[&bearer(OPERATOR)]);
    assert_eq!(ended, 200);
    running.server.wait_for_log("who ordered it", |line| {
        line.contains("an operator's order") && line.contains("token operator")
    });
}

#[test]
fn a_foreign_page_cannot_order_anything() {
    let running = start();
    // What a form or a script of another origin can send without being asked for leave.
    for header in [
        "Content-Type: text/plain",
        "Origin: https://evil.example.org",
    ] {
        for (method, path) in [
            ("POST", "/v1/drain"),
            ("POST", "/v1/reload"),
            ("DELETE", "/v1/sessions?user=user"),
        ] {
            assert_eq!(
                running.ask_bare(method, path, &[header]).status,
                403,
                "{method} {path}"
            );
        }
    }
    let preflight = running.ask_bare(
        "OPTIONS",
        "/v1/drain",
        &["Origin: https://evil.example.org"],
    );
    assert_eq!(preflight.status, 405);
    assert_eq!(preflight.header("access-control-allow-origin"), None);
}

#[test]
fn a_page_of_another_name_does_not_get_in_by_a_forwarded_socket() {
    let running = start();
    let ask = |host: &str| {
        let mut stream = UnixStream::connect(&running.socket).unwrap();
        let head = format!("GET /v1/status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    for host in [
        "localhost",
        "localhost:9642",
        "hairpin",
        "127.0.0.1",
        "127.0.0.1:9642",
        "[::1]:9642",
    ] {
        assert_eq!(ask(host), "200", "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:9642",
        "127.0.0.1.evil.example",
    ] {
        assert_eq!(ask(host), "403", "{host}");
    }
}

#[test]
fn the_socket_is_for_its_owner_and_its_group() {
    let running = start();
    let socket = std::fs::metadata(&running.socket).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o660);
    // The account without rights is many programs', so that it gives nobody a way in.
    assert_ne!((socket.uid(), socket.gid()), (65534, 65534));
}

#[test]
fn the_metrics_have_their_own_door_with_nothing_else_behind_it() {
    let running = start();
    let port = running.server.metrics_address().port();
    for path in ["/metrics", "/livez", "/readyz"] {
        assert_eq!(
            running.ask_at(port, "GET", path, &[], "").status,
            200,
            "{path}"
        );
    }
    for path in ["/v1/status", "/v1/sessions", "/v1/settings"] {
        assert_eq!(
            running.ask_at(port, "GET", path, &[], "").status,
            404,
            "{path}"
        );
    }
}

#[test]
fn without_a_socket_there_is_none_and_a_stale_one_is_replaced() {
    let running = start_with(|setup| setup.set("admin", "socket = \"\""));
    assert!(!running.socket.exists());
    let running = start();
    let socket = running.socket.clone();
    let metrics = running.server.metrics();
    assert!(!metrics.body.is_empty());
    // Another server does not take it away.
    let folder = socket.parent().unwrap();
    let copy = folder.join("copy.toml");
    let ports = crate::server::free_ports(2);
    let text = format!(
        "[admin]\nsocket = {socket:?}\n[metrics]\naddress = \"\"\n[[listener]]\ntransport = \"udp\"\n\
         address = \"127.0.0.1:{ports}\"\n[[relay.address]]\naddress = \"127.0.0.1\"\n"
    );
    std::fs::write(&copy, text).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_hairpin"))
        .args(["run", "-c"])
        .arg(&copy)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("another server listens there"));
    assert_eq!(running.ask("GET", "/v1/status", "").status, 200);
}

#[test]
fn requests_beyond_all_bounds_are_turned_away() {
    let running = start();
    let many: Vec<String> = (0..100).map(|n| format!("X-Number-{n}: 1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let long = format!("X-Long: {}", "x".repeat(40_000));
    for headers in [many, vec![long.as_str()]] {
        let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            running.ask_bare("GET", "/v1/status", &headers).status
        }));
        assert!(!matches!(refused, Ok(200)), "{refused:?}");
    }
    assert_eq!(running.ask("GET", "/v1/status", "").status, 200);
}
