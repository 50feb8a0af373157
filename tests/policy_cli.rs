//! `hairpin policy`: what it says of a peer, and how it exits.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::{Command, Output};

const CONFIG: &str = r#"
[[listener]]
transport = "udp"
address = "203.0.113.1:3478"
[[relay.address]]
address = "127.0.0.1"
external = "198.18.7.7"
[relay]
ports = "50000-50999"
[auth]
revoked = ["mallory"]
[peers]
allow = ["10.1.0.0/16"]
deny = ["8.8.0.0/16"]
[tcp_relay]
enabled = true
[[listener]]
transport = "tcp"
address = "203.0.113.1:3478"
"#;

fn policy(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.toml");
    fs::write(&file, CONFIG).unwrap();
    Command::new(env!("CARGO_BIN_EXE_hairpin"))
        .args(["policy", "-c"])
        .arg(&file)
        .args(arguments)
        .output()
        .unwrap()
}

#[track_caller]
fn says(arguments: &[&str], status: i32, words: &str) {
    let output = policy(arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{text}{error}");
    assert!(
        text.contains(words) || error.contains(words),
        "{text}{error}"
    );
}

#[test]
fn it_names_the_rule_that_decides_and_exits_with_0_or_3() {
    says(
        &["1.1.1.1"],
        0,
        "1.1.1.1: allowed: a global unicast address",
    );
    says(&["1.1.1.1:443"], 0, "allowed");
    says(&["10.1.2.3"], 0, "the allow entry 10.1.0.0/16");
    says(&["10.2.0.1"], 3, "denied: closed by default: 10.0.0.0/8");
    says(&["8.8.8.8"], 3, "the deny entry 8.8.0.0/16");
    says(&["169.254.169.254"], 3, "cloud instance metadata");
    says(&["::ffff:1.1.1.1"], 3, "always closed");
    says(
        &["64:ff9b::10.9.0.1"],
        3,
        "carries the IPv4 address 10.9.0.1",
    );
    says(&["64:ff9b::10.1.0.1"], 0, "the allow entry 10.1.0.0/16");
    says(&["[2606:4700::1]:443"], 0, "allowed");
    says(&["1.1.1.1:0"], 3, "port 0");
    says(&["198.18.7.7:3478"], 3, "an address of this server");
    says(&["198.18.7.7:50001"], 0, "other clients are reached at it");
    says(&["1.1.1.1:25"], 0, "denied_ports");
}

#[test]
fn a_revoked_user_is_denied_whatever_the_peer() {
    says(&["1.1.1.1", "--user", "alice"], 0, "not revoked");
    says(&["1.1.1.1", "--user", "mallory"], 3, "is revoked");
    says(
        &["1.1.1.1", "--user", "1700000000:mallory"],
        3,
        "is revoked",
    );
    says(&["10.2.0.1", "--user", "alice"], 3, "10.0.0.0/8");
}

#[test]
fn json_is_one_line() {
    let output = policy(&["10.2.0.1:80", "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["allowed"], false);
    assert_eq!(value["verdict"], "denied");
    assert!(value["rule"].as_str().unwrap().contains("10.0.0.0/8"));
}

#[test]
fn what_is_no_address_is_a_mistake_of_the_command_line() {
    says(&["example.org"], 2, "names are not looked up");
    says(&["1.1.1.1:99999"], 2, "expected an IP address");
}
