//! Each scenario delivers what it sends, and reports it.

use std::time::Duration;

use serde_json::Value;

use super::rig::{Server, bench};

/// Everything that was sent came where it should, in order, and at about the rate that was asked for.
fn all_delivered(report: &Value, per_second: u64) {
    let number = |key: &str| report[key].as_u64().unwrap();
    let sent = number("sent");
    // A busy machine may make the load late, but never early.
    let seconds = report["seconds"].as_f64().unwrap();
    let most = (per_second as f64 * (seconds + 0.05)) as u64 + 1;
    assert!(sent > 0 && sent <= most, "{report:#}");
    assert_eq!(number("delivered"), sent, "{report:#}");
    assert_eq!(number("lost"), 0);
    assert_eq!(number("reordered"), 0);
    assert_eq!(number("foreign"), 0);
    assert!((0.29..10.0).contains(&seconds), "{seconds}");
    let delay = |key: &str| report["delay_us"][key].as_f64().unwrap();
    assert!(delay("p50") > 0.0 && delay("p50") <= delay("p99"));
    assert!(delay("p99") <= delay("p99_9") && delay("p99_9") <= delay("max"));
    let server = &report["server_process"];
    assert!(server["cpu_us_per_delivered"].as_f64().unwrap() > 0.0);
    assert!(server["cpu_us_per_arrived"].as_f64().unwrap() > 0.0);
    assert!(server["memory_after"]["rss"].as_u64().unwrap() > 1 << 20);
    assert!(server["memory_after"]["pss"].as_u64().unwrap() > 1 << 20);
    assert!(report["own_process"]["cpu_seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn every_scenario_with_a_rate_delivers_what_it_sends() {
    let server = Server::start();
    for (scenario, rate, args) in [
        ("to-client", 2000, &["--clients", "4"][..]),
        ("to-client", 2000, &["--framing", "send"]),
        ("paced", 1000, &["--clients", "2", "--peers", "3"]),
        ("paced", 1000, &["--wait", "spin"]),
        ("paced", 1000, &["--direction", "both"]),
        ("many", 2000, &["--clients", "100"]),
        ("relay-to-relay", 2000, &[]),
        ("relay-to-relay", 2000, &["--framing", "send"]),
        ("video", 3200, &["--every", "5ms"]),
        ("video", 3200, &["--segments", "false", "--no-gro"]),
        ("send", 2000, &["--size", "25"]),
        ("binding", 2000, &[]),
    ] {
        let rate_text = rate.to_string();
        let given = ["-s", scenario, "--rate", &rate_text];
        let report = server.load("udp", &[&given, args].concat());
        assert_eq!(report["scenario"], scenario);
        all_delivered(&report, rate);
    }
}

#[test]
fn clients_over_tcp_and_tls_deliver_what_they_send() {
    let server = Server::start();
    for transport in ["tcp", "tls"] {
        for direction in ["to-peer", "to-client"] {
            let args = ["-s", "stream", "--rate", "1000", "--direction", direction];
            let report = server.load(transport, &args);
            assert_eq!(report["load"]["transport"], transport);
            assert_eq!(report["load"]["direction"], direction);
            all_delivered(&report, 1000);
        }
    }
}

#[test]
fn a_window_keeps_the_server_busy_and_loses_nothing() {
    let server = Server::start();
    for scenario in ["saturated", "send", "video"] {
        let report = server.load("udp", &["-s", scenario]);
        assert_eq!(report["load"]["pace"]["rate"], Value::Null);
        let sent = report["sent"].as_u64().unwrap();
        assert!(sent > 100, "{report:#}");
        assert_eq!(report["delivered"], sent, "{report:#}");
        assert_eq!(report["reordered"], 0);
    }
}

#[test]
fn allocations_come_and_go_and_are_counted_whole() {
    let server = Server::start();
    let report = server.load("udp", &["-s", "churn", "--rate", "100"]);
    all_delivered(&report, 100);
    assert_eq!(report["setup"]["allocations"], 0);
}

#[test]
fn allocations_that_are_held_are_measured_and_released() {
    let server = Server::start();
    let report = server.load("udp", &["-s", "hold", "--clients", "50"]);
    assert_eq!(report["setup"]["allocations"], 50);
    let cpu = &report["setup"]["server_cpu_us_per_allocation"];
    assert!(cpu.as_f64().unwrap() > 0.0);
    let memory = &report["server_process"]["memory_bytes_per_allocation"];
    assert!(memory.as_f64().is_some());
    let closed = || server.log().matches("allocation closed").count();
    // The log is written by a thread that takes its time.
    for _ in 0..100 {
        if closed() < 50 {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    assert_eq!(closed(), 50, "{}", server.log());
}

#[test]
fn idle_allocations_stand_beside_the_busy_ones() {
    let server = Server::start();
    let args = ["-s", "paced", "--rate", "1000", "--idle", "40"];
    let report = server.load("udp", &args);
    assert_eq!(report["setup"]["allocations"], 56);
    all_delivered(&report, 1000);
}

#[test]
fn the_table_tells_the_same_in_words() {
    let server = Server::start();
    let output = server.output("udp", &["-s", "paced", "--rate", "1000"]);
    let table = String::from_utf8(output.stdout).unwrap();
    for expected in [
        "scenario     paced, ",
        "load         16 clients x 1 peers, to-peer, channel, 160 bytes, 1000 packets a second",
        "set-up       16 allocations in ",
        "lost         0 (0.000 %)",
        "reordered    0\n",
        "delay        p50 ",
        "this load    ",
        "server       ",
        "memory       ",
    ] {
        assert!(table.contains(expected), "{expected:?} in\n{table}");
    }
}

#[test]
fn a_shared_secret_is_as_good_as_a_password() {
    let server = Server::start();
    let url = server.url("udp");
    let secret = server.path("secret");
    let output = bench(&[
        &url,
        "--secret-file",
        &secret,
        "--warm-up",
        "0s",
        "--duration",
        "100ms",
    ]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}
