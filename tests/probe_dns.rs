//! How `hairpin probe` finds the server that a URL names: NAPTR, SRV and addresses (RFC 5928, RFC 8489 §8.1), asked of a
//! DNS server on loopback that lives in this process.

// The servers are built outside of test functions.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hairpin::auth::{AuthSettings, Authenticator, Credential, NonceKeys, User};
use hairpin::config::{Listener, Transport};
use hairpin::engine::{RelayAddress, RelayPool, Rules, Shared};
use hairpin::net::clock::Clock;
use hairpin::net::{NetSettings, Server};
use hairpin::policy::{Limits, PeerFilter, PeerRules};
use hairpin::wire::PasswordAlgorithm;
use serde_json::Value;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const A: u16 = 1;
const SRV: u16 = 33;
const NAPTR: u16 = 35;
const NO_ERROR: u8 = 0;
const SERVER_FAILURE: u8 = 2;
const NAME_ERROR: u8 = 3;

/// A record: name, type, data as on the wire (RFC 1035 §3.2.1).
type Record = (String, u16, Vec<u8>);

fn a(name: &str, address: [u8; 4]) -> Record {
    (name.to_owned(), A, address.to_vec())
}

fn srv(name: &str, [priority, weight, port]: [u16; 3], target: &str) -> Record {
    let mut data: Vec<u8> = [priority, weight, port]
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect();
    data.extend(labels(target));
    (name.to_owned(), SRV, data)
}

fn naptr(name: &str, [order, preference]: [u16; 2], texts: [&str; 3], to: &str) -> Record {
    let mut data = [order.to_be_bytes(), preference.to_be_bytes()].concat();
    for text in texts {
        data.push(text.len() as u8);
        data.extend(text.as_bytes());
    }
    data.extend(labels(to));
    (name.to_owned(), NAPTR, data)
}

/// A name on the wire (RFC 1035 §3.1).
fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// A DNS server with a few records, which notes what it is asked.
struct Dns {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Dns {
    fn start(zone: Vec<Record>) -> Dns {
        Dns::answering(move |name, kind| {
            let of_name = || zone.iter().filter(|record| record.0 == name);
            let found: Vec<Record> = of_name().filter(|r| r.1 == kind).cloned().collect();
            let code = match of_name().count() {
                0 => NAME_ERROR,
                _ => NO_ERROR,
            };
            Some((code, found))
        })
    }

    /// With what `answer` says to a name and a type: a response code and records, or nothing at all.
    fn answering(answer: impl Fn(&str, u16) -> Option<(u8, Vec<Record>)> + Send + 'static) -> Dns {
        let socket = UdpSocket::bind((LOOPBACK, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (noted, stopped) = (Arc::clone(&asked), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2000];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let (name, kind, end) = question(&buffer[..length]);
                noted.lock().unwrap().push(format!("{name} {kind}"));
                let Some((code, records)) = answer(&name, kind) else {
                    continue;
                };
                let mut reply = buffer[..2].to_vec();
                // An answer, recursion desired and available; one question, some answers.
                reply.extend([0x81, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
                reply.extend(&buffer[12..end]);
                for (_, kind, data) in records {
                    // The name is the question's, by a pointer.
                    reply.extend([0xC0, 12]);
                    reply.extend(kind.to_be_bytes());
                    reply.extend([0, 1, 0, 0, 0, 60]);
                    reply.extend((data.len() as u16).to_be_bytes());
                    reply.extend(data);
                }
                // The probe may be gone already.
                let _ = socket.send_to(&reply, from).is_ok();
            }
        });
        Dns {
            address,
            asked,
            stop,
            thread: Some(thread),
        }
    }

    /// What was asked for services, as "name type"; addresses left out.
    fn asked_for_services(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let services = |text: &&String| text.ends_with(" 33") || text.ends_with(" 35");
        asked.iter().filter(services).cloned().collect()
    }

    /// Exit status and JSON report of a probe that asks this server.
    fn probe(&self, url: &str, args: &[&str]) -> (Option<i32>, Value) {
        let dns = self.address.to_string();
        let output = Command::new(env!("CARGO_BIN_EXE_hairpin"))
            .args(["probe", "--json", "--dns", &dns, "--count", "5", url])
            .args(args)
            .env_remove("HAIRPIN_PASSWORD")
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        let report = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), report)
    }

    /// Where a URL leads, as "address over transport". Nobody needs to answer there.
    fn leads(&self, url: &str) -> String {
        let user: &[&str] = match url.starts_with("turn") {
            true => &["-u", "alice", "-p", "s3cret"],
            false => &[],
        };
        let (_, report) = self.probe(url, &[user, &["--timeout", "3s"]].concat());
        let text = |key: &str| report[key].as_str().unwrap_or("nowhere").to_owned();
        match report["server_address"].as_str() {
            Some(address) => format!("{address} over {}", text("transport")),
            None => report["failures"][0]["message"]
                .as_str()
                .unwrap()
                .to_owned(),
        }
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let failed = self.thread.take().is_some_and(|t| t.join().is_err());
        assert!(!failed || std::thread::panicking(), "the DNS server failed");
    }
}

/// Name, type and end of a message's question.
fn question(message: &[u8]) -> (String, u16, usize) {
    let (mut position, mut name) = (12, Vec::new());
    while message[position] != 0 {
        let end = position + 1 + usize::from(message[position]);
        name.push(String::from_utf8(message[position + 1..end].to_vec()).unwrap());
        position = end;
    }
    let kind = u16::from_be_bytes([message[position + 1], message[position + 2]]);
    (name.join(".").to_ascii_lowercase(), kind, position + 5)
}

/// A TURN server on a port of its own, over UDP and TCP.
fn turn_server() -> (Server, [u16; 2]) {
    let user = User {
        name: "alice".into(),
        credential: Credential::Password("s3cret".into()),
    };
    let rules = Rules::new(
        Authenticator::new(AuthSettings {
            realm: "example.org".into(),
            users: vec![user],
            secrets: Vec::new(),
            algorithms: vec![PasswordAlgorithm::Md5],
            ..AuthSettings::default()
        })
        .unwrap(),
        NonceKeys::new([1; 32], 3600),
        PeerFilter::new(PeerRules {
            allow: vec!["127.0.0.0/8".parse().unwrap()],
            ..PeerRules::default()
        }),
    );
    let relay = RelayAddress {
        local: LOOPBACK,
        external: LOOPBACK,
    };
    let shared = Shared::new(
        rules,
        Limits::default(),
        RelayPool::new(&[relay], 40000..=48000, Duration::ZERO),
    );
    let any = SocketAddr::new(LOOPBACK, 0);
    let settings = NetSettings::new(vec![
        Listener::direct(Transport::Udp, any),
        Listener::direct(Transport::Tcp, any),
    ]);
    let server = Server::start(settings, &shared, Clock::start()).unwrap();
    let ports = [0, 1].map(|number| server.listeners()[number].address.port());
    (server, ports)
}

/// The example of RFC 5928 §4.1, in shape.
fn example() -> Vec<Record> {
    let top = "example.test";
    vec![
        naptr(
            top,
            [200, 10],
            ["", "RELAY:turn.tcp:turn.tls", ""],
            "stream.example.test",
        ),
        naptr(
            top,
            [100, 10],
            ["", "RELAY:turn.udp", ""],
            "datagram.example.test",
        ),
        naptr(
            top,
            [50, 10],
            ["s", "SIP+D2U", ""],
            "_sip._udp.example.test",
        ),
        naptr(
            "datagram.example.test",
            [100, 10],
            ["S", "RELAY:turn.udp", ""],
            "_turn._udp.example.test",
        ),
        naptr(
            "stream.example.test",
            [100, 10],
            ["s", "RELAY:turn.tcp", ""],
            "_turn._tcp.example.test",
        ),
        naptr(
            "stream.example.test",
            [200, 10],
            ["A", "relay:turn.tls", ""],
            "tls.example.test",
        ),
        srv("_turn._udp.example.test", [0, 0, 7001], "a.example.test"),
        srv("_turn._tcp.example.test", [0, 0, 7002], "a.example.test"),
        srv("_turns._tcp.example.test", [0, 0, 7003], "a.example.test"),
        srv("_stun._udp.example.test", [0, 0, 7004], "a.example.test"),
        srv("_stuns._tcp.example.test", [0, 0, 7005], "a.example.test"),
        a(top, [127, 0, 0, 2]),
        a("a.example.test", [127, 0, 0, 3]),
        a("tls.example.test", [127, 0, 0, 4]),
    ]
}

#[test]
fn the_url_decides_which_records_are_followed() {
    let dns = Dns::start(example());
    for (url, leads) in [
        // NAPTR, its first choice.
        ("turn:example.test", "127.0.0.3:7001 over udp"),
        // The only choice that TLS leaves.
        ("turns:example.test", "127.0.0.4:5349 over tls"),
        // SRV, for the transport is given.
        ("turn:example.test?transport=udp", "127.0.0.3:7001 over udp"),
        ("turn:example.test?transport=tcp", "127.0.0.3:7002 over tcp"),
        (
            "turns:example.test?transport=tcp",
            "127.0.0.3:7003 over tls",
        ),
        ("stun:example.test", "127.0.0.3:7004 over udp"),
        ("stuns:example.test", "127.0.0.3:7005 over tls"),
        // Neither, for the port is given.
        ("turn:example.test:99", "127.0.0.2:99 over udp"),
        (
            "turn:example.test:99?transport=tcp",
            "127.0.0.2:99 over tcp",
        ),
        ("turns:example.test:99", "127.0.0.2:99 over tls"),
        ("stun:example.test:99", "127.0.0.2:99 over udp"),
        // A name without such records.
        ("turn:a.example.test", "127.0.0.3:3478 over udp"),
        (
            "turn:a.example.test?transport=tcp",
            "127.0.0.3:3478 over tcp",
        ),
        ("turns:a.example.test", "127.0.0.3:5349 over tls"),
        ("stun:a.example.test", "127.0.0.3:3478 over udp"),
        ("turn:127.0.0.5", "127.0.0.5:3478 over udp"),
        ("turns:[::1]", "[::1]:5349 over tls"),
    ] {
        assert_eq!(dns.leads(url), leads, "{url}");
    }
}

#[test]
fn a_port_or_an_address_in_the_url_asks_dns_for_no_service() {
    let dns = Dns::start(example());
    for url in [
        "turn:example.test:99",
        "stun:example.test:99",
        "turn:127.0.0.5",
    ] {
        dns.leads(url);
    }
    assert_eq!(dns.asked_for_services(), [""; 0]);
    dns.leads("turn:a.example.test?transport=tcp");
    assert_eq!(dns.asked_for_services(), ["_turn._tcp.a.example.test 33"]);
}

#[test]
fn a_name_outside_ascii_is_asked_for_in_its_ascii_form() {
    let dns = Dns::start(vec![
        srv("_stun._udp.xn--bcher-kva.test", [0, 0, 7001], "a.test"),
        a("a.test", [127, 0, 0, 3]),
    ]);
    assert_eq!(dns.leads("stun:bücher.test"), "127.0.0.3:7001 over udp");
}

#[test]
fn without_naptr_the_srv_records_of_the_transports_are_taken_udp_before_tcp_before_tls() {
    let host = a("a.test", [127, 0, 0, 3]);
    let udp = srv("_turn._udp.x.test", [0, 0, 7001], "a.test");
    let tcp = srv("_turn._tcp.x.test", [0, 0, 7002], "a.test");
    let tls = srv("_turns._tcp.x.test", [0, 0, 7003], "a.test");
    for (zone, leads) in [
        (vec![&tls, &tcp, &udp], "127.0.0.3:7001 over udp"),
        (vec![&tls, &tcp], "127.0.0.3:7002 over tcp"),
        (vec![&tls], "127.0.0.3:7003 over tls"),
    ] {
        let mut zone: Vec<Record> = zone.into_iter().cloned().collect();
        zone.push(host.clone());
        assert_eq!(Dns::start(zone).leads("turn:x.test"), leads);
    }
}

#[test]
fn srv_records_are_taken_by_priority_and_a_host_without_address_is_passed_over() {
    let dns = Dns::start(vec![
        srv("_stun._udp.x.test", [30, 0, 7003], "c.test"),
        srv("_stun._udp.x.test", [10, 0, 7001], "gone.test"),
        srv("_stun._udp.x.test", [20, 0, 7002], "b.test"),
        a("b.test", [127, 0, 0, 3]),
        a("c.test", [127, 0, 0, 4]),
    ]);
    let (_, report) = dns.probe("stun:x.test", &["--timeout", "3s"]);
    assert_eq!(report["server_address"], "127.0.0.3:7002");
    let records = report["dns_records"].as_array().unwrap();
    assert_eq!(records[0], "_stun._udp.x.test SRV 10 0 7001 gone.test");
    assert_eq!(records.len(), 3);
    let notes = report["notes"].to_string();
    assert!(notes.contains("no address for gone.test"), "{notes}");
    assert!(notes.contains("127.0.0.4:7003 over udp"), "{notes}");
}

#[test]
fn a_service_that_its_srv_record_denies_is_not_looked_for_at_the_name_itself() {
    let dns = Dns::start(vec![
        srv("_turn._udp.x.test", [0, 0, 0], ""),
        srv("_stun._udp.x.test", [0, 0, 0], ""),
        a("x.test", [127, 0, 0, 3]),
    ]);
    let denied = "x.test has no such server: its SRV records say so";
    assert_eq!(dns.leads("turn:x.test?transport=udp"), denied);
    assert_eq!(dns.leads("stun:x.test"), denied);
    assert_eq!(dns.leads("turn:x.test"), "127.0.0.3:3478 over tcp");
}

#[test]
fn naptr_records_that_cannot_be_used_are_passed_over() {
    let dns = Dns::start(vec![
        // A rule to rewrite with, a flag of another application, a service of another.
        naptr("x.test", [1, 0], ["s", "RELAY:turn.udp", "!.*!b.test!"], ""),
        naptr("x.test", [2, 0], ["u", "RELAY:turn.udp", ""], "b.test"),
        naptr("x.test", [3, 0], ["a", "OTHER:turn.udp", ""], "b.test"),
        naptr("x.test", [4, 0], ["a", "RELAY:turn.dtls", ""], "b.test"),
        // It leads nowhere, the next one by preference does.
        naptr(
            "x.test",
            [5, 1],
            ["s", "RELAY:turn.udp", ""],
            "_turn._udp.b.test",
        ),
        naptr("x.test", [5, 2], ["a", "RELAY:turn.tcp", ""], "a.test"),
        a("a.test", [127, 0, 0, 3]),
        a("b.test", [127, 0, 0, 4]),
    ]);
    assert_eq!(dns.leads("turn:x.test"), "127.0.0.3:3478 over tcp");
}

#[test]
fn naptr_records_in_a_circle_are_left_for_srv() {
    let dns = Dns::start(vec![
        naptr("x.test", [1, 0], ["", "RELAY:turn.udp", ""], "y.test"),
        naptr("y.test", [1, 0], ["", "RELAY:turn.udp", ""], "x.test"),
        srv("_turn._tcp.x.test", [0, 0, 7001], "a.test"),
        a("a.test", [127, 0, 0, 3]),
    ]);
    let (_, report) = dns.probe("turn:x.test", &["-u", "alice", "-p", "s3cret"]);
    assert_eq!(report["server_address"], "127.0.0.3:7001");
    let notes = report["notes"].to_string();
    assert!(notes.contains("perhaps in a circle"), "{notes}");
    assert!(dns.asked_for_services().len() < 50);
}

#[test]
fn dns_that_refuses_or_keeps_silent_about_services_still_gives_the_name_its_address() {
    for code in [Some(SERVER_FAILURE), None] {
        let dns = Dns::answering(move |_, kind| match kind {
            A => Some((NO_ERROR, vec![a("", [127, 0, 0, 3])])),
            SRV | NAPTR => code.map(|code| (code, Vec::new())),
            _ => Some((NO_ERROR, Vec::new())),
        });
        let (_, report) = dns.probe("stun:x.test", &["--timeout", "2s"]);
        assert_eq!(report["server_address"], "127.0.0.3:3478", "{code:?}");
        let notes = report["notes"].to_string();
        assert!(
            notes.contains("not known whether x.test has more"),
            "{notes}"
        );
    }
}

#[test]
fn a_name_that_is_not_there_and_dns_that_is_not_there_are_told_apart() {
    let dns = Dns::start(Vec::new());
    let nowhere = "no address for x.test: the name has none";
    assert_eq!(dns.leads("turn:x.test"), nowhere);
    assert_eq!(dns.leads("stun:x.test:99"), nowhere);
    let silent = Dns::answering(|_, _| None);
    let (status, report) = silent.probe("stun:x.test", &["--timeout", "1s"]);
    assert_eq!(status, Some(3));
    assert_eq!(
        report["failures"][0]["message"],
        "no address for x.test: DNS does not answer"
    );
}

#[test]
fn a_server_found_by_naptr_and_srv_relays() {
    let (server, [udp, tcp]) = turn_server();
    let dns = Dns::start(vec![
        naptr(
            "x.test",
            [10, 0],
            ["s", "RELAY:turn.tcp", ""],
            "_turn._tcp.x.test",
        ),
        naptr(
            "x.test",
            [20, 0],
            ["s", "RELAY:turn.udp", ""],
            "_turn._udp.x.test",
        ),
        srv("_turn._udp.x.test", [0, 0, udp], "relay.test"),
        srv("_turn._tcp.x.test", [0, 0, tcp], "relay.test"),
        srv("_stun._udp.x.test", [0, 0, udp], "relay.test"),
        a("relay.test", [127, 0, 0, 1]),
    ]);
    let user = ["-u", "alice", "-p", "s3cret"];
    for (url, args, port, transport) in [
        ("turn:x.test", &user[..], tcp, "tcp"),
        ("turn:x.test?transport=udp", &user, udp, "udp"),
        ("stun:x.test", &[], udp, "udp"),
    ] {
        let (status, report) = dns.probe(url, args);
        assert_eq!(status, Some(0), "{report:#}");
        assert_eq!(report["server_address"], format!("127.0.0.1:{port}"));
        assert_eq!(report["transport"], transport);
    }
    server.stop().unwrap();
}
