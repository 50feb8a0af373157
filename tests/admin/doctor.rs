//! What `hairpin doctor` finds from inside a running server, over HTTP.

use crate::rig::{OPERATOR, READER, bearer, start, start_with};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

fn of<'f>(told: &'f Value, id: &str) -> Vec<&'f Value> {
    let findings = told["findings"].as_array().unwrap();
    findings.iter().filter(|one| one["id"] == id).collect()
}

#[test]
fn a_sandboxed_server_finds_what_the_command_finds_and_says_what_it_cannot_see() {
    let running = start();
    let told = running.get("/v1/doctor");
    // Its listeners are asked, at the ports they got.
    let answers = of(&told, "listener.answers");
    let at = running.server.address().to_string();
    assert!(
        answers
            .iter()
            .any(|one| one["what"].as_str().unwrap().contains(&at)),
        "{told}"
    );
    assert!(of(&told, "listener.none").is_empty(), "{told}");
    // It relays from where it would if it started now.
    assert!(of(&told, "relay.moved").is_empty(), "{told}");
    // What the settings tell.
    let loopback = of(&told, "listener.loopback");
    assert_eq!(loopback[0]["severity"], "problem");
    assert_ne!(told["problems"], 0);
    // The kernel's settings, though files are closed to the server.
    let ports = of(&told, "kernel.local-ports")[0]["what"].as_str().unwrap();
    assert!(ports.starts_with("the kernel gives "), "{ports}");
    assert!(!of(&told, "process.descriptors").is_empty(), "{told}");
    // What would take another program.
    let firewall = of(&told, "firewall.unknown");
    assert_eq!(firewall[0]["severity"], "note");
    assert!(
        firewall[0]["mend"]
            .as_str()
            .unwrap()
            .contains("`hairpin doctor`"),
        "{firewall:?}"
    );
    // The server lives.
    assert_eq!(running.get("/v1/status")["draining"], false);
}

#[test]
fn findings_hold_for_a_while_however_many_ask() {
    let running = start();
    let asked = Instant::now();
    let told: Vec<Value> = std::thread::scope(|scope| {
        let ask = || running.get("/v1/doctor");
        let all: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    if asked.elapsed() < Duration::from_secs(9) {
        assert!(told.iter().all(|one| one == &told[0]), "{told:?}");
        assert_eq!(running.get("/v1/doctor"), told[0]);
    }
}

#[test]
fn whoever_may_look_may_ask_and_nobody_else() {
    let running = start();
    let ask = |headers: &[&str]| {
        let answer = running.ask_at(running.port, "GET", "/v1/doctor", headers, "");
        answer.status
    };
    assert_eq!(ask(&[]), 401);
    assert_eq!(ask(&[&bearer(READER)]), 200);
    assert_eq!(ask(&[&bearer(OPERATOR)]), 200);
    let metrics = running.server.metrics_address().port();
    for port in [metrics, running.credentials] {
        let answer = running.ask_at(port, "GET", "/v1/doctor", &[], "");
        assert_eq!(answer.status, 404);
    }
}

#[test]
fn secrets_that_others_may_read_are_found_and_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, crate::rig::SECRET).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    // The rig looks for secrets in every answer.
    let running =
        start_with(|setup| setup.set("auth", &format!("nonce_key = {{ file = {file:?} }}")));
    let told = running.get("/v1/doctor");
    let readable = of(&told, "secret.readable");
    let is_meant = |one: &&Value| {
        let lines = one["lines"][0].as_str().unwrap();
        lines == format!("chmod o-rwx {}", file.display())
    };
    assert!(readable.iter().any(is_meant), "{told}");
}

#[test]
fn ctl_shows_them_as_the_command_does() {
    let running = start();
    let text = running.ctl_text(&["doctor"]);
    assert!(
        text.contains("problem  listener.loopback\n  only this machine can reach the server"),
        "{text}"
    );
    assert!(
        text.contains("\nok  listener.answers: the udp listener on"),
        "{text}"
    );
    let json: Value = serde_json::from_str(&running.ctl_text(&["doctor", "--json"])).unwrap();
    assert!(json["looked"].is_u64());
}
