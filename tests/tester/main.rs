//! The report of a test: its wording against samples, which the page's script is held against too (tests/interop/tester),
//! and `hairpin probe --report` against the real server.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

#[path = "../server/server.rs"]
#[allow(dead_code)]
mod server;

use hairpin::cli::probe::wording::{Findings, Words};
use serde::Deserialize;
use serde_json::Value;
use server::{PASSWORD, Server, Setup, USER};
use std::process::{Command, Output};

const SAMPLES: &str = include_str!("reports.json");

#[derive(Deserialize)]
struct Sample {
    name: String,
    findings: Findings,
    report: Vec<String>,
}

fn samples() -> Vec<Sample> {
    serde_json::from_str(SAMPLES).unwrap()
}

#[test]
fn findings_are_worded_as_the_page_words_them() {
    let words = Words::read().unwrap();
    for Sample {
        name,
        findings,
        report,
    } in samples()
    {
        let expected = format!("{}\n", report.join("\n"));
        assert_eq!(words.text(&findings), expected, "{name}");
    }
}

#[test]
fn whatever_is_found_there_is_a_verdict_and_whatever_does_not_work_is_told() {
    let words = Words::read().unwrap();
    let mut findings = samples().remove(0).findings;
    let outcomes = [
        "works",
        "lossy",
        "broken",
        "refused",
        "blocked",
        "unmeasured",
        "none",
    ];
    for number in 0..7_usize.pow(4) {
        let of = |place: usize| outcomes[number / 7_usize.pow(place as u32) % 7];
        for (place, result) in findings.results.iter_mut().enumerate() {
            of(place).clone_into(&mut result.outcome);
        }
        let told = words.judge(&findings);
        let of_all: Vec<_> = (0..4).map(of).collect();
        assert!(["good", "fair", "bad"].contains(&&*told.is), "{of_all:?}");
        assert!(!told.verdict.is_empty(), "{of_all:?}");
        let is_good = |outcome: &&&str| ["works", "lossy"].contains(outcome);
        let relays = &of_all[1..];
        assert_eq!(told.is == "good", of_all[1] == "works", "{of_all:?}");
        if relays.iter().any(|outcome| is_good(&outcome)) {
            assert_ne!(told.is, "bad", "{of_all:?}");
        }
        // A browser that fails says nothing of the server.
        let is_server = |outcome: &&str| ["broken", "refused", "blocked"].contains(outcome);
        if relays.contains(&"unmeasured") && !relays.iter().any(is_server) {
            assert_ne!(told.is, "bad", "{of_all:?}");
        }
        // STUN is never refused, nor anything else but answered.
        let wrong = relays
            .iter()
            .filter(|outcome| !is_good(outcome) && **outcome != "none");
        let wrong = wrong.count() + usize::from(of_all[0] == "blocked");
        assert_eq!(told.blocked.len(), wrong, "{of_all:?} {told:?}");
        if relays
            .iter()
            .any(|outcome| !is_good(&outcome) && *outcome != "none")
        {
            assert!(!told.tell.is_empty(), "{of_all:?}");
        }
        let all = [told.works, told.blocked, told.tell].concat().join(" ");
        assert!(!all.contains(['{', '}']), "{all}");
    }
}

fn report(server: &Server, password: &str, args: &[&str]) -> Output {
    let url = format!("turn:{}", server.address());
    let quick = ["--count", "20", "--timeout", "2s"];
    let credential = ["-u", USER, "-p", password, "--report"];
    Command::new(env!("CARGO_BIN_EXE_hairpin"))
        .args(["probe", &url])
        .args(args)
        .args(quick)
        .args(credential)
        .env_remove("HAIRPIN_PASSWORD")
        .output()
        .unwrap()
}

#[test]
fn the_probe_measures_each_way_and_says_what_does_not_work() {
    let server = Setup::new().start();
    let output = report(&server, PASSWORD, &["--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let results = report["findings"]["results"].as_array().unwrap();
    let outcomes: Vec<_> = results
        .iter()
        .map(|result| {
            (
                result["kind"].as_str().unwrap(),
                result["outcome"].as_str().unwrap(),
            )
        })
        .collect();
    // Nobody listens for TLS.
    let expected = [
        ("stun", "works"),
        ("udp", "works"),
        ("tcp", "works"),
        ("tls", "blocked"),
    ];
    assert_eq!(outcomes, expected, "{report:#}");
    for result in &results[1..3] {
        for figure in [
            "set_up_ms",
            "round_trip_ms",
            "jitter_ms",
            "throughput_bits",
            "media_bits",
        ] {
            assert!(result[figure].as_f64().unwrap() > 0.0, "{figure}: {result}");
        }
        assert_eq!(result["loss_percent"], 0.0, "{result}");
    }
    assert_eq!(report["findings"]["network"]["mapping"], "none");
    assert_eq!(report["told"]["is"], "good");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_wrong_password_is_a_refusal_with_its_reason_and_stands_in_no_report() {
    let server = Setup::new().start();
    let url = format!("turn:{}?transport=tcp", server.address());
    let output = report(&server, "not-the-password", &[&url]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("calls through it do not work"), "{text}");
    assert!(
        text.contains("reason            the server refuses: 401"),
        "{text}"
    );
    assert!(!text.contains("not-the-password"), "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn further_urls_are_for_reports_alone() {
    let output = Command::new(env!("CARGO_BIN_EXE_hairpin"))
        .args(["probe", "stun:127.0.0.1", "stun:127.0.0.2"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--report"));
}
