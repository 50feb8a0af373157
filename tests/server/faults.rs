//! What the system does to a server: it goes on, says so in its counters, and is well when it is over.
//!
//! Where the network has to be changed for that, a test runs once more in a network namespace of its own, which takes
//! root or the right to make user namespaces. Descriptors and ports that run out are `exhaustion`'s.

use crate::client::{Client, Incoming, receive_from, socket};
use crate::server::{PATIENCE, Server, Setup, V4, eventually};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

/// An address of this host on an interface that leads nowhere.
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));

const ALONE: &str = "HAIRPIN_TEST_NAMESPACE";

/// Runs a test of this module in a network namespace with loopback and [`HOST`].
fn in_a_namespace(name: &str, test: impl FnOnce()) {
    if std::env::var(ALONE).is_ok_and(|alone| alone == name) {
        ip("link set lo up");
        ip("link add d0 type veth peer name d1");
        ip("link set d1 up");
        ip("addr add 10.9.0.1/24 dev d0");
        ip("link set d0 up");
        return test();
    }
    let unshare = |command: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--net", "--"]);
        unshare.arg(command);
        unshare
    };
    if !unshare("true")
        .status()
        .is_ok_and(|status| status.success())
    {
        eprintln!("skipped: no namespaces here");
        return;
    }
    let mut again = unshare(std::env::current_exe().unwrap().to_str().unwrap());
    again.args(["--exact", &format!("faults::{name}"), "--nocapture"]);
    let status = again.env(ALONE, name).status().unwrap();
    assert!(status.success(), "{name} failed in its namespace");
}

fn run(program: &str, arguments: &str) {
    let status = Command::new(program).args(arguments.split(' ')).status();
    assert!(status.unwrap().success(), "{program} {arguments}");
}

fn ip(arguments: &str) {
    run("ip", arguments);
}

fn setup() -> Setup {
    let allow = "allow = [\"127.0.0.0/8\", \"10.9.0.0/24\"]";
    Setup::new()
        .set("peers", allow)
        .hosts(&[V4, HOST])
        .relays(&[HOST])
}

/// A client of loopback with an allocation on [`HOST`], a peer, and a channel between them.
fn call(server: &Server, peer: &UdpSocket) -> Client {
    let mut client = Client::udp(server.address());
    client.allocate();
    client.bind_channel(0x4000, peer.local_addr().unwrap());
    client
}

fn talks(client: &mut Client, peer: &UdpSocket) {
    client.send_channel(0x4000, b"there");
    let (payload, relayed) = receive_from(peer);
    assert_eq!(payload, b"there");
    peer.send_to(b"back", relayed).unwrap();
    assert!(client.receive() == Incoming::Channel(0x4000, b"back".to_vec()));
}

fn failed_sends(server: &Server) -> u64 {
    server
        .metrics()
        .get("hairpin_dropped_packets_total{reason=\"send_failed\"}")
}

#[test]
fn sends_that_are_forbidden_or_lead_nowhere_harm_no_others() {
    in_a_namespace(
        "sends_that_are_forbidden_or_lead_nowhere_harm_no_others",
        || {
            let peer = socket(V4);
            // A firewall: EPERM.
            run("nft", "add table ip f");
            run(
                "nft",
                "add chain ip f out { type filter hook output priority 0 ; }",
            );
            run("nft", "add rule ip f out ip daddr 10.9.0.66 drop");
            // No route: ENETUNREACH. Told of one: EHOSTUNREACH.
            ip("route add unreachable 10.9.0.128/25");
            let server = setup().start();
            let mut client = call(&server, &peer);
            let nowhere =
                ["10.9.0.66:7", "10.9.0.200:7", "9.9.9.9:7"].map(|text| text.parse().unwrap());
            for (number, to) in nowhere.into_iter().enumerate() {
                client.bind_channel(0x4001 + number as u16, to);
            }
            for _ in 0..20 {
                for channel in 0x4001..=0x4003 {
                    client.send_channel(channel, b"lost");
                }
            }
            // What comes of the ICMP errors lies before the answer.
            client.send_channel(0x4000, b"there");
            assert_eq!(receive_from(&peer).0, b"there");
            eventually("the count", || (failed_sends(&server) >= 40).then_some(()));
            Client::udp(server.address()).binding();
        },
    );
}

#[test]
fn a_full_queue_of_the_interface_loses_packets_and_nothing_else() {
    in_a_namespace(
        "a_full_queue_of_the_interface_loses_packets_and_nothing_else",
        || {
            let peer = socket(V4);
            // A queue that takes one packet, and lets next to nothing out: ENOBUFS.
            run(
                "tc",
                "qdisc add dev d0 root tbf rate 8kbit burst 1600 limit 1600",
            );
            ip("neigh add 10.9.0.77 lladdr 02:00:00:00:00:77 dev d0");
            let server = setup().start();
            let mut client = call(&server, &peer);
            client.bind_channel(0x4001, "10.9.0.77:7".parse().unwrap());
            // Each longer than the last, so that none share a send: of those the queue would take a part.
            for length in 900..1000 {
                client.send_channel(0x4001, &vec![1; length]);
            }
            talks(&mut client, &peer);
            assert_eq!(client.refresh(600).code, None);
            assert!(failed_sends(&server) > 0);
        },
    );
}

#[test]
fn an_interface_that_goes_down_and_up_is_used_again() {
    in_a_namespace("an_interface_that_goes_down_and_up_is_used_again", || {
        let server = setup().start();
        let peer = socket(HOST);
        let mut client = call(&server, &peer);
        let mut local = Client::udp(server.at(HOST));
        talks(&mut client, &peer);
        local.allocate();
        client.bind_channel(0x4001, "10.9.0.77:7".parse().unwrap());
        for _ in 0..3 {
            ip("link set d0 down");
            client.send_channel(0x4001, b"lost");
            Client::udp(server.address()).binding();
            ip("link set d0 up");
            talks(&mut client, &peer);
            local.binding();
            assert_eq!(local.refresh(600).code, None);
        }
    });
}

#[test]
fn an_address_that_is_taken_away_costs_its_relays_only() {
    in_a_namespace(
        "an_address_that_is_taken_away_costs_its_relays_only",
        || {
            let server = setup().start();
            let peer = socket(V4);
            let mut client = call(&server, &peer);
            talks(&mut client, &peer);
            ip("addr del 10.9.0.1/24 dev d0");
            client.send_channel(0x4000, b"lost");
            let refused =
                Client::udp(server.address()).try_allocate(hairpin::wire::attribute::Family::V4);
            assert_eq!(refused.code, Some(508));
            server.wait_for_log("a warning", |line| line.contains("no socket for a relay"));
            assert_eq!(client.refresh(600).code, None);
            ip("addr add 10.9.0.1/24 dev d0");
            talks(&mut client, &peer);
            Client::udp(server.address()).allocate();
        },
    );
}

/// The process of a server, stopped by SIGSTOP and started by SIGCONT.
fn signal(server: &Server, name: &str) {
    run("kill", &format!("-{name} {}", server.id()));
}

#[test]
fn a_server_that_was_stopped_for_a_while_goes_on() {
    let server = Setup::new().set("server", "workers = 2").start();
    let peer = socket(V4);
    let mut client = call(&server, &peer);
    let mut stream = Client::tcp(server.address());
    stream.allocate();
    signal(&server, "STOP");
    // More than the socket holds.
    for _ in 0..20_000 {
        client.send_channel(0x4001, &[1; 1000]);
    }
    std::thread::sleep(Duration::from_secs(2));
    signal(&server, "CONT");
    eventually("an answer", || {
        let mut other = Client::udp(server.address());
        let ask = other.plain(
            hairpin::wire::Method::BINDING,
            hairpin::wire::Class::Request,
            |_| {},
        );
        other.send(&ask);
        other.receive_within(Duration::from_millis(200))
    });
    talks(&mut client, &peer);
    assert_eq!(stream.refresh(600).code, None);
}

#[test]
fn after_kill_9_a_server_starts_on_its_ports_and_clients_recover() {
    let text = Setup::new().set("server", "workers = 2");
    let text = text.set("relay", "quarantine = \"10s\"");
    let mut clients = Vec::new();
    let mut address = None::<SocketAddr>;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hairpin.toml");
    std::fs::write(&path, text.text()).unwrap();
    for _ in 0..3 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hairpin"));
        command.arg("-c").arg(&path);
        let process = crate::server::Process::start(command);
        process.wait_for_log("ready", |line| line.contains("\"ready\""));
        let address = *address.get_or_insert_with(|| SocketAddr::new(V4, text.port()));
        if clients.is_empty() {
            clients.extend((0..10).map(|_| Client::udp(address)));
        }
        for client in &mut clients {
            // Of the server before nothing is left, so its nonces and allocations are not known.
            if !client.nonce_is_empty() {
                assert_eq!(client.refresh(600).code, Some(437));
            }
            client.allocate();
        }
        let mut stream = Client::tcp(address);
        stream.allocate();
        // Dropped as `kill -9` would.
        drop(process);
    }
}

#[test]
fn a_log_that_cannot_be_written_stops_nobody() {
    let setup = Setup::new().set("log", "level = \"debug\"");
    let address = SocketAddr::new(V4, setup.port());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hairpin.toml");
    std::fs::write(&path, setup.text()).unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_hairpin"))
        .arg("-c")
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(full)
        .spawn()
        .unwrap();
    eventually("the server", || {
        TcpStream::connect_timeout(&address, PATIENCE).ok()
    });
    for _ in 0..20 {
        let mut client = Client::udp(address);
        client.allocate();
        assert_eq!(client.refresh(0).code, None);
    }
    run("kill", &format!("-TERM {}", child.id()));
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0));
}
