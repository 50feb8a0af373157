//! The operator's page: what it is served with, and the history it draws.

use crate::client::Client;
use crate::rig::{READER, bearer, start, start_with};
use crate::server::eventually;

const FILES: [(&str, &str); 4] = [
    ("/", "text/html; charset=utf-8"),
    ("/page.js", "text/javascript; charset=utf-8"),
    ("/charts.js", "text/javascript; charset=utf-8"),
    ("/style.css", "text/css; charset=utf-8"),
];

#[test]
fn the_page_is_served_without_a_token_under_a_policy_without_exceptions() {
    let running = start();
    for (path, kind) in FILES {
        let by_socket = running.ask_bare("GET", path, &[]);
        let answer = running.ask_at(running.port, "GET", path, &[], "");
        assert_eq!(
            (answer.status, by_socket.status),
            (200, 200),
            "{path} {answer:?}"
        );
        assert_eq!(answer.header("content-type"), Some(kind));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        for directive in [
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src 'self' data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ] {
            let mut all = policy.split("; ");
            assert!(all.any(|one| one == directive), "{directive}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}

#[test]
fn the_page_asks_nobody_else_and_has_nothing_inline() {
    let running = start();
    for (path, _) in FILES {
        let text = running.ask_bare("GET", path, &[]).text;
        let allowed = text.replace("http://www.w3.org/2000/svg", "");
        for forbidden in ["http://", "https://", "innerHTML", "style=\"", "onclick="] {
            assert!(!allowed.contains(forbidden), "{path}: {forbidden}");
        }
    }
}

#[test]
fn doors_that_lead_to_less_have_no_page() {
    let running = start();
    let metrics = running.server.metrics_address().port();
    for port in [metrics, running.credentials] {
        for path in ["/", "/page.js", "/v1/history"] {
            let answer = running.ask_at(port, "GET", path, &[], "");
            assert_eq!(answer.status, 404, "{port} {path}");
        }
    }
}

#[test]
fn the_history_has_a_sample_every_few_seconds_with_a_line_for_each_worker() {
    let running = start_with(|setup| setup.set("server", "workers = 2"));
    let mut client = Client::udp(running.server.address());
    client.allocate();
    let ask = |path: &str| {
        let answer = running.ask_at(running.port, "GET", path, &[&bearer(READER)], "");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let history = eventually("a sample", || {
        let history = ask("/v1/history");
        (!history["samples"].as_array().unwrap().is_empty()).then_some(history)
    });
    assert_eq!(
        (&history["interval_seconds"], &history["kept"]),
        (&5.into(), &720.into())
    );
    let sample = &history["samples"][0];
    assert_eq!(sample["sessions"], 1);
    assert_eq!(sample["workers"].as_array().unwrap().len(), 2);
    let later = ask(&format!("/v1/history?after={}", sample["time"]));
    assert_ne!(&later["samples"][0], sample);
}
