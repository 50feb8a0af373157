//! `hairpin probe` against servers that work, refuse, lie, and keep silent. All of them live in this process, on
//! loopback ports that the system chose.

// The servers are built outside of test functions.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use stun::attributes::{ATTR_NONCE, ATTR_REALM};
use stun::error_code::{CODE_UNAUTHORIZED, ErrorCode, ErrorCodeAttribute};
use stun::message::{
    CLASS_ERROR_RESPONSE, CLASS_SUCCESS_RESPONSE, METHOD_ALLOCATE, METHOD_BINDING, Message,
    MessageClass, MessageType, Setter,
};
use stun::textattrs::TextAttribute;
use stun::xoraddr::XorMappedAddress;
use turn::auth::{AuthHandler, generate_auth_key};
use turn::proto::relayaddr::RelayedAddress;
use turn::relay::relay_static::RelayAddressGeneratorStatic;
use turn::server::Server;
use turn::server::config::{ConnConfig, ServerConfig};
use webrtc_util::vnet::net::Net;

const USER: [&str; 4] = ["-u", "user", "-p", "pass"];

fn probe(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hairpin"))
        .arg("probe")
        .args(args)
        .env_remove("HAIRPIN_PASSWORD")
        .output()
        .unwrap()
}

/// Exit status and JSON report of a probe as `user`.
fn report(url: &str, args: &[&str]) -> (Option<i32>, Value) {
    let output = probe(&[&[url, "--json"], &USER[..], args].concat());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let report = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code(), report)
}

/// The only failure of a report, as step, code and message.
fn failure(report: &Value) -> (&str, Option<u64>, &str) {
    let failures = report["failures"].as_array().unwrap();
    assert_eq!(failures.len(), 1, "{report:#}");
    let failure = &failures[0];
    let text = |key: &str| failure[key].as_str().unwrap();
    (text("step"), failure["code"].as_u64(), text("message"))
}

/// A UDP server that answers each request with the packets `answer` makes of it.
struct Fake {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    fn start(answer: impl Fn(&Message, SocketAddr) -> Vec<Vec<u8>> + Send + 'static) -> Fake {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let wait = Duration::from_millis(20);
        socket.set_read_timeout(Some(wait)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2000];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let mut request = Message::new();
                request.raw = buffer[..length].to_vec();
                request.decode().unwrap();
                for packet in answer(&request, from) {
                    // The probe may be gone already.
                    let _ = socket.send_to(&packet, from).is_ok();
                }
            }
        });
        Fake {
            address,
            stop,
            thread: Some(thread),
        }
    }

    /// Answers Binding well, and everything else with what `answer` makes of it.
    fn turn(answer: impl Fn(&Message) -> Vec<u8> + Send + 'static) -> Fake {
        Fake::start(move |request, from| {
            vec![match request.typ.method {
                METHOD_BINDING => success(request, mapped(from)),
                _ => answer(request),
            }]
        })
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}:{}", self.address)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let failed = self.thread.take().is_some_and(|t| t.join().is_err());
        assert!(!failed || std::thread::panicking(), "the fake failed");
    }
}

fn answer(request: &Message, class: MessageClass, attributes: Vec<Box<dyn Setter>>) -> Vec<u8> {
    let mut message = Message::new();
    let mut setters: Vec<Box<dyn Setter>> = vec![
        Box::new(request.transaction_id),
        Box::new(MessageType::new(request.typ.method, class)),
    ];
    setters.extend(attributes);
    message.build(&setters).unwrap();
    message.raw
}

fn success(request: &Message, attribute: Box<dyn Setter>) -> Vec<u8> {
    answer(request, CLASS_SUCCESS_RESPONSE, vec![attribute])
}

fn refusal(request: &Message, code: u16, reason: &[u8]) -> Vec<u8> {
    let error = ErrorCodeAttribute {
        code: ErrorCode(code),
        reason: reason.to_vec(),
    };
    answer(request, CLASS_ERROR_RESPONSE, vec![Box::new(error)])
}

fn challenge(request: &Message, reason: &[u8]) -> Vec<u8> {
    let error = ErrorCodeAttribute {
        code: CODE_UNAUTHORIZED,
        reason: reason.to_vec(),
    };
    let realm = TextAttribute::new(ATTR_REALM, "fake".to_owned());
    let nonce = TextAttribute::new(ATTR_NONCE, "0123456789".to_owned());
    answer(
        request,
        CLASS_ERROR_RESPONSE,
        vec![Box::new(error), Box::new(realm), Box::new(nonce)],
    )
}

fn mapped(from: SocketAddr) -> Box<dyn Setter> {
    let (ip, port) = (from.ip(), from.port());
    Box::new(XorMappedAddress { ip, port })
}

fn relayed() -> Box<dyn Setter> {
    let ip = "127.0.0.1".parse().unwrap();
    Box::new(RelayedAddress { ip, port: 50000 })
}

#[test]
fn a_stun_url_shows_the_mapped_address() {
    let fake = Fake::start(|request, from| vec![success(request, mapped(from))]);
    let (status, report) = report(&fake.url("stun"), &[]);
    assert_eq!(status, Some(0), "{report:#}");
    assert_ne!(report["mapped_address"], Value::Null);
    let local = report["local_address"].as_str().unwrap();
    assert_eq!(report["mapped_address"], local);
    assert_eq!(report["server_address"], fake.address.to_string());
    assert!(report["binding_round_trip_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(report["exit_code"], 0);
}

#[test]
fn text_has_one_fact_a_line() {
    let fake = Fake::start(|request, from| vec![success(request, mapped(from))]);
    let output = probe(&[&fake.url("stun")]);
    let text = String::from_utf8(output.stdout).unwrap();
    let value = |label: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(label));
        line.unwrap_or_else(|| panic!("no {label} in {text}"))
            .trim()
    };
    assert_eq!(value("url"), fake.url("stun"));
    assert_eq!(value("mapped address"), value("local address"));
    assert!(value("Binding round trip").ends_with(" ms"));
    assert_eq!(value("result"), "all well");
    assert!(output.stderr.is_empty());
}

struct OneUser;

impl AuthHandler for OneUser {
    fn auth_handle(&self, user: &str, realm: &str, _: SocketAddr) -> Result<Vec<u8>, turn::Error> {
        match user {
            "user" => Ok(generate_auth_key(user, realm, "pass")),
            _ => Err(turn::Error::ErrNoSuchUser),
        }
    }
}

/// A TURN server of the `turn` crate with one user.
async fn turn_server() -> (Server, String) {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let url = format!("turn:{}", socket.local_addr().unwrap());
    let relay_addr_generator = Box::new(RelayAddressGeneratorStatic {
        relay_address: "127.0.0.1".parse().unwrap(),
        address: "127.0.0.1".to_owned(),
        net: Arc::new(Net::new(None)),
    });
    let server = Server::new(ServerConfig {
        conn_configs: vec![ConnConfig {
            conn: Arc::new(socket),
            relay_addr_generator,
        }],
        realm: "realm".to_owned(),
        auth_handler: Arc::new(OneUser),
        channel_bind_timeout: Duration::ZERO,
        alloc_close_notify: None,
    });
    (server.await.unwrap(), url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_working_turn_server_relays_every_packet_both_ways() {
    let (server, url) = turn_server().await;
    for (count, size) in [("50", "160"), ("20", "1"), ("20", "1200")] {
        let run = ["--count", count, "--size", size, "--rate", "200"];
        let (status, report) = tokio::task::block_in_place(|| report(&url, &run));
        assert_eq!(status, Some(0), "{report:#}");
        let count: u64 = count.parse().unwrap();
        assert_eq!(report["echo"]["packets_sent"], count);
        assert_eq!(report["echo"]["packets_received"], count);
        assert_eq!(report["echo"]["loss_percent"], 0.0);
        assert!(report["echo"]["round_trip_p95_ms"].as_f64().unwrap() > 0.0);
        assert_eq!(report["realm"], "realm");
        let allocations = report["allocations"].as_array().unwrap();
        assert_eq!(allocations.len(), 2);
        for allocation in allocations {
            assert_eq!(allocation["freed"], true);
            assert!(allocation["lifetime_seconds"].as_u64().unwrap() > 0);
        }
        let address = |i: usize| &allocations[i]["relayed_address"];
        assert_ne!(address(0), address(1));
    }
    server.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_comes_from_the_environment_or_a_file() {
    let (server, url) = turn_server().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "pass\n").unwrap();
    let run = [url.as_str(), "-u", "user", "--count", "1"];
    tokio::task::block_in_place(|| {
        let file = ["--password-file", file.to_str().unwrap()];
        let from_file = probe(&[run.as_slice(), &file].concat());
        assert_eq!(from_file.status.code(), Some(0), "{from_file:?}");
        let from_environment = Command::new(env!("CARGO_BIN_EXE_hairpin"))
            .arg("probe")
            .args(run)
            .env("HAIRPIN_PASSWORD", "pass")
            .output()
            .unwrap();
        let status = from_environment.status.code();
        assert_eq!(status, Some(0), "{from_environment:?}");
    });
    server.close().await.unwrap();
}

#[test]
fn a_server_that_always_says_401_means_a_wrong_credential() {
    let fake = Fake::turn(|request| challenge(request, b"Unauthorized"));
    let start = Instant::now();
    let (status, report) = report(&fake.url("turn"), &[]);
    assert_eq!(status, Some(1));
    let (step, code, message) = failure(&report);
    assert_eq!((step, code), ("Allocate", Some(401)));
    assert!(message.contains("401 Unauthorized"), "{message}");
    let hint = report["failures"][0]["hint"].as_str().unwrap();
    assert!(hint.contains("password"), "{hint}");
    assert!(hint.contains("'fake'"), "{hint}");
    assert!(start.elapsed() < Duration::from_secs(4), "without waiting");
}

#[test]
fn a_refusal_before_any_challenge_keeps_its_code() {
    let fake = Fake::turn(|request| refusal(request, 508, b"Full"));
    let (status, report) = report(&fake.url("turn"), &[]);
    assert_eq!(status, Some(1));
    assert_eq!(failure(&report).1, Some(508));
}

#[test]
fn a_silent_server_is_given_up_after_the_timeout() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp_address = udp.local_addr().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp_address = tcp.local_addr().unwrap();
    for url in [
        format!("stun:{udp_address}"),
        format!("turn:{udp_address}"),
        format!("turn:{tcp_address}?transport=tcp"),
    ] {
        let start = Instant::now();
        let (status, report) = report(&url, &["--timeout", "300ms"]);
        assert_eq!(status, Some(3), "{report:#}");
        let (step, _, message) = failure(&report);
        assert_eq!(step, "Binding");
        assert!(message.contains("no answer within 0.3 s"), "{message}");
        assert!(start.elapsed() >= Duration::from_millis(300));
        assert!(start.elapsed() < Duration::from_secs(4));
    }
}

#[test]
fn a_closed_port_is_told_at_once() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp_address = udp.local_addr().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp_address = tcp.local_addr().unwrap();
    drop((udp, tcp));
    for url in [
        format!("stun:{udp_address}"),
        format!("turn:{udp_address}"),
        format!("turn:{tcp_address}?transport=tcp"),
    ] {
        let start = Instant::now();
        let (status, report) = report(&url, &[]);
        assert_eq!(status, Some(3), "{report:#}");
        let message = failure(&report).2;
        assert!(message.contains("connection refused"), "{message}");
        assert!(start.elapsed() < Duration::from_secs(4));
    }
}

#[test]
fn another_protocol_on_the_tcp_port_is_an_answer_but_not_a_relay() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("turn:{}?transport=tcp", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let streams = [(); 2].map(|()| listener.accept().unwrap().0);
        for mut stream in streams {
            // It does not look like ChannelData, as the H of HTTP would.
            stream.write_all(b"220 mail.example ESMTP\r\n").unwrap();
            // Until the probe goes away.
            let _ = stream.read_to_end(&mut Vec::new()).is_ok();
        }
    });
    let (status, report) = report(&url, &["--timeout", "2s"]);
    assert_eq!(status, Some(1), "{report:#}");
    let failures = report["failures"].to_string();
    assert!(failures.contains("does not speak STUN"), "{failures}");
    server.join().unwrap();
}

#[test]
fn an_allocation_that_is_not_signed_is_not_believed() {
    let fake = Fake::turn(|request| match request.typ.method {
        METHOD_ALLOCATE if request.contains(ATTR_NONCE) => success(request, relayed()),
        _ => challenge(request, b""),
    });
    let (status, report) = report(&fake.url("turn"), &[]);
    assert_eq!(status, Some(1), "{report:#}");
    let message = failure(&report).2;
    assert!(message.contains("MESSAGE-INTEGRITY"), "{message}");
}

#[test]
fn a_server_that_relays_for_anybody_is_called_an_open_relay() {
    let fake = Fake::turn(|request| success(request, relayed()));
    let (status, report) = report(&fake.url("turn"), &[]);
    assert_eq!(status, Some(1), "{report:#}");
    let hint = report["failures"][0]["hint"].as_str().unwrap();
    assert!(hint.contains("open relay"), "{hint}");
}

#[test]
fn reason_phrases_neither_break_the_probe_nor_steer_the_terminal() {
    let fake = Fake::turn(|request| match request.contains(ATTR_NONCE) {
        true => refusal(request, 486, b"\xFF\xFE\x1B[2Jcl\xC3eared"),
        false => challenge(request, b"\xFF"),
    });
    let output = probe(&[&[fake.url("turn").as_str()], &USER[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("486"), "{error}");
    assert!(error.contains("quota"), "{error}");
    assert!(!error.contains('\x1B'), "{error:?}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn garbage_in_front_of_an_answer_is_passed_over() {
    let fake = Fake::start(|request, from| {
        let good = success(request, mapped(from));
        let mut truncated = good.clone();
        truncated.pop();
        let mut request_back = good.clone();
        request_back[..2].copy_from_slice(&[0, 1]);
        let mut other_transaction = good.clone();
        other_transaction[10] ^= 1;
        vec![
            vec![],
            vec![0xFF; 1500],
            truncated,
            request_back,
            other_transaction,
            good,
        ]
    });
    let (status, report) = report(&fake.url("stun"), &[]);
    assert_eq!(status, Some(0), "{report:#}");
    assert_eq!(report["mapped_address"], report["local_address"]);
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    let missing = folder.path().join("missing");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (empty, missing) = (text(&empty), text(&missing));
    for (args, says) in [
        (vec![], "URL"),
        (vec!["turns:h?transport=udp"], "DTLS"),
        (vec!["stuns:h", "--ca", "/nonexistent"], "/nonexistent"),
        (vec!["turn://h"], "//"),
        (vec!["turn:h"], "--username"),
        (vec!["turn:h", "-u", "user"], "HAIRPIN_PASSWORD"),
        (vec!["turn:h", "-u", "", "-p", "x"], "empty"),
        (
            vec!["turn:h", "-u", "user", "--password-file", &missing],
            "missing",
        ),
        (vec!["turn:h", "--secret-file", &empty], "is empty"),
        (
            vec!["turn:h", "-p", "x", "--secret-file", &empty],
            "cannot be used with",
        ),
        (vec!["stun:h", "--size", "0"], "1..=1200"),
        (vec!["stun:h", "--count", "0"], "1..=1000000"),
        (vec!["stun:h", "--rate", "0"], "1..=10000"),
        (vec!["stun:h", "--timeout", "soon"], "5s or 500ms"),
        (vec!["stun:h", "--max-loss", "101"], "0 to 100"),
    ] {
        let output = probe(&args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains(says), "{args:?}: {error}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}
