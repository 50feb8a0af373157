//! `hairpin probe --nat` where there is no NAT, and against servers that cannot or will not help.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::server::Server;

fn probe(server: SocketAddr, args: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_hairpin"))
        .args(["probe", "--nat", "--json", &format!("stun:{server}")])
        .args(args)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let report = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code(), report)
}

fn failure(report: &Value) -> &str {
    assert_eq!(
        report["failures"].as_array().unwrap().len(),
        1,
        "{report:#}"
    );
    report["failures"][0]["message"].as_str().unwrap()
}

#[test]
fn without_a_nat_the_probe_says_so() {
    let server = Server::start("127.0.0.1");
    let (status, report) = probe(server.sockets[0], &[]);
    assert_eq!(status, Some(0), "{report:#}");
    let nat = &report["nat"];
    assert_eq!(nat["mapping"], "no-nat");
    assert_eq!(nat["filtering"], "endpoint-independent");
    assert_eq!(nat["kind"], "none: open internet");
    assert_eq!(nat["fragments_pass"], true);
    assert_eq!(nat["hairpinning"], Value::Null);
    assert_eq!(nat["addresses_rewritten"], false);
    assert_eq!(nat["binding_lifetime_seconds"], Value::Null);
    assert_eq!(report["mapped_address"], report["local_address"]);
}

#[test]
fn from_each_of_the_four_sockets_the_discovery_is_the_same() {
    let server = Server::start("0.0.0.0");
    for socket in server.sockets {
        let (status, report) = probe(socket, &[]);
        assert_eq!(status, Some(0), "{report:#}");
        assert_eq!(report["nat"]["filtering"], "endpoint-independent");
    }
}

#[test]
fn lifetime_is_measured_no_longer_than_asked() {
    let server = Server::start("127.0.0.1");
    let start = Instant::now();
    let (status, report) = probe(server.sockets[0], &["--lifetime", "1.5s"]);
    assert_eq!(status, Some(0), "{report:#}");
    let lifetime = &report["nat"]["binding_lifetime_seconds"];
    assert_eq!(lifetime["at_least"], 1.5);
    assert_eq!(lifetime["gone_by"], Value::Null);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(1500) && took < Duration::from_secs(10));
}

#[test]
fn a_server_with_one_address_cannot_help() {
    let server = Server::start_with("127.0.0.1", false);
    let (status, report) = probe(server.sockets[0], &[]);
    assert_eq!(status, Some(1));
    assert!(failure(&report).contains("OTHER-ADDRESS"), "{report:#}");
    assert_eq!(report["mapped_address"], report["local_address"]);
}

#[test]
fn a_silent_server_is_given_up_after_the_timeout() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (status, report) = probe(socket.local_addr().unwrap(), &["--timeout", "300ms"]);
    assert_eq!(status, Some(3));
    assert!(failure(&report).contains("no answer"), "{report:#}");
}

/// A server that names another address but always answers from the one that was asked.
fn stubborn() -> (SocketAddr, JoinHandle<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let patience = Duration::from_millis(1500);
    socket.set_read_timeout(Some(patience)).unwrap();
    let thread = std::thread::spawn(move || {
        let mut buffer = [0; 2000];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let SocketAddr::V4(from) = from else { continue };
            let attribute = |answer: &mut Vec<u8>, kind: u16, port: u16, ip: [u8; 4]| {
                answer.extend(kind.to_be_bytes());
                answer.extend([0, 8, 0, 1]);
                answer.extend(port.to_be_bytes());
                answer.extend(ip);
            };
            let mut answer = vec![1, 1, 0, 24];
            answer.extend(&buffer[4..20]);
            attribute(&mut answer, 0x0001, from.port(), from.ip().octets());
            attribute(&mut answer, 0x802C, address.port() ^ 1, [127, 0, 0, 9]);
            socket.send_to(&answer, from).unwrap();
        }
    });
    (address, thread)
}

#[test]
fn an_answer_from_where_it_was_not_asked_for_is_no_sign_of_an_open_nat() {
    let (address, thread) = stubborn();
    let (status, report) = probe(address, &["--timeout", "500ms"]);
    assert_eq!(status, Some(1), "{report:#}");
    assert!(failure(&report).contains("asked to answer from 127.0.0.9"));
    assert_eq!(report["nat"]["filtering"], Value::Null);
    assert_eq!(report["nat"]["kind"], Value::Null);
    thread.join().unwrap();
}

#[test]
fn nat_discovery_is_for_stun_urls() {
    for args in [
        &["--nat", "turn:127.0.0.1"][..],
        &["--lifetime", "5s", "stun:127.0.0.1"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_hairpin"))
            .arg("probe")
            .args(args)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("--nat"), "{error}");
    }
}
