//! A server that cannot start says why in one line and leaves nothing half-started; one without a configuration starts.

use crate::client::Client;
use crate::server::{Process, Setup, V4, free_ports};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

fn hairpin(args: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hairpin"));
    command.args(args);
    Process::start(command)
}

/// Runs with a configuration; everything it said before it gave up, and its exit status.
fn failure(config: &str) -> (Vec<String>, Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hairpin.toml");
    std::fs::write(&path, config).unwrap();
    ended(hairpin(&["run", "-c", path.to_str().unwrap()]))
}

fn ended(process: Process) -> (Vec<String>, Option<i32>) {
    let (status, output, lines) = process.ended();
    assert_eq!(output, "");
    (lines, status.code())
}

/// One line that says all of this.
fn assert_one_line(lines: &[String], says: &[&str]) {
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].starts_with("hairpin: error: "), "{lines:#?}");
    for word in says {
        assert!(lines[0].contains(word), "{word:?} is not in {lines:#?}");
    }
}

#[test]
fn a_port_in_use_is_named_with_its_transport() {
    for workers in [1, 2] {
        for transport in ["udp", "tcp"] {
            let setup = Setup::new().set("server", &format!("workers = {workers}"));
            let address = SocketAddr::new(V4, setup.port());
            let _udp = (transport == "udp").then(|| UdpSocket::bind(address).unwrap());
            let _tcp = (transport == "tcp").then(|| TcpListener::bind(address).unwrap());
            let (lines, status) = failure(&setup.text());
            assert_eq!(status, Some(1));
            assert_one_line(&lines, &[&address.to_string(), transport, "in use"]);
        }
    }
}

#[test]
fn a_second_server_on_the_same_ports_does_not_share_them() {
    let first = Setup::new().set("server", "workers = 2");
    let text = first.text();
    let server = first.start();
    let (lines, status) = failure(&text.replace(
        &server.metrics_address().to_string(),
        &SocketAddr::new(V4, free_ports(1)).to_string(),
    ));
    assert_eq!(status, Some(1));
    assert_one_line(&lines, &[&server.address().to_string(), "in use"]);
    Client::udp(server.address()).binding();
}

#[test]
fn a_restart_does_not_wait_for_connections_of_the_last_run() {
    let setup = Setup::new();
    let text = setup.text();
    let server = setup.start();
    let address = server.address();
    let mut client = Client::tcp(address);
    client.allocate();
    // The server closes first, so that its side lingers in TIME_WAIT.
    let (status, _) = server.stop();
    assert_eq!(status.code(), Some(0));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hairpin.toml");
    std::fs::write(&path, text).unwrap();
    let process = hairpin(&["-c", path.to_str().unwrap()]);
    process.wait_for_log("ready", |line| line.contains("\"ready\""));
    Client::tcp(address).binding();
    assert_eq!(process.stop().0.code(), Some(0));
}

#[test]
fn a_metrics_port_in_use_is_named() {
    let setup = Setup::new();
    let address = SocketAddr::new(V4, setup.metrics_port());
    let _other = TcpListener::bind(address).unwrap();
    let (lines, status) = failure(&setup.text());
    assert_eq!(status, Some(1));
    assert_one_line(&lines, &[&address.to_string(), "metrics", "in use"]);
}

#[test]
fn a_metrics_address_of_all_ipv6_leaves_the_port_to_a_listener_of_ipv4() {
    let setup = Setup::new();
    let given = format!("127.0.0.1:{}", setup.metrics_port());
    let text = setup
        .text()
        .replace(&given, &format!("[::]:{}", setup.port()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hairpin.toml");
    std::fs::write(&path, text).unwrap();
    let process = hairpin(&["run", "-c", path.to_str().unwrap()]);
    process.wait_for_log("start", |line| line.contains("\"message\":\"ready\""));
}

#[test]
fn addresses_of_other_hosts_are_named() {
    // RFC 5737: nobody has it.
    let elsewhere: IpAddr = "203.0.113.77".parse().unwrap();
    let (lines, status) = failure(&Setup::new().hosts(&[elsewhere]).text());
    assert_eq!(status, Some(1));
    assert_one_line(&lines, &["203.0.113.77", "no interface of this host"]);
    let (lines, status) = failure(&Setup::new().relays(&[elsewhere]).text());
    assert_eq!(status, Some(1));
    assert_one_line(
        &lines,
        &["relay address 203.0.113.77", "not an address of this"],
    );
}

#[test]
fn a_bad_address_is_shown_in_its_file_and_line() {
    let text = Setup::new()
        .text()
        .replace("address = \"127.0.0.1:", "address = \"127.0.0.999:");
    let (lines, status) = failure(&text);
    assert_eq!(status, Some(1));
    let text = lines.join("\n");
    assert!(lines[0].starts_with("hairpin: error: "), "{text}");
    assert!(text.contains("hairpin.toml:"), "{text}");
    assert!(text.contains("127.0.0.999"), "{text}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let (lines, status) = ended(hairpin(&["run", "-c", "/nowhere/hairpin.toml"]));
    assert_eq!(status, Some(2));
    assert_one_line(&lines, &["/nowhere/hairpin.toml"]);
}

/// What needs another user only root can try.
fn is_root() -> bool {
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    if !is_root {
        eprintln!("skipped: needs root");
    }
    is_root
}

/// Runs as a user without rights.
fn failure_of_nobody(config: &str, mode: u32) -> (Vec<String>, Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let readable = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    readable(folder.path(), 0o755);
    // Where the program stands, that user may not go.
    let program = folder.path().join("hairpin");
    let origin = env!("CARGO_BIN_EXE_hairpin");
    if std::fs::hard_link(origin, &program).is_err() {
        std::fs::copy(origin, &program).unwrap();
    }
    let path = folder.path().join("hairpin.toml");
    std::fs::write(&path, config).unwrap();
    readable(&path, mode);
    let mut command = Command::new(&program);
    command.arg("-c").arg(&path).uid(65_534).gid(65_534);
    ended(Process::start(command))
}

#[test]
fn a_right_that_is_missing_is_named() {
    if !is_root() {
        return;
    }
    let limit = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if limit.trim().parse::<u16>().unwrap() <= 80 {
        eprintln!("skipped: port 80 is anybody's here");
        return;
    }
    let setup = Setup::new();
    let port = format!("127.0.0.1:{}", setup.port());
    let (lines, status) = failure_of_nobody(&setup.text().replace(&port, "127.0.0.1:80"), 0o644);
    assert_eq!(status, Some(1));
    let says = ["127.0.0.1:80", "permission denied", "CAP_NET_BIND_SERVICE"];
    assert_one_line(&lines, &says);
}

#[test]
fn users_and_groups_that_do_not_exist_are_named() {
    for (key, what) in [("user", "there is no user"), ("group", "there is no group")] {
        let setup = Setup::new().set("server", &format!("{key} = \"no-such-name\""));
        let (lines, status) = failure(&setup.text());
        assert_eq!(status, Some(1));
        assert_one_line(&lines, &[what, "no-such-name"]);
    }
}

#[test]
fn nobody_but_root_becomes_someone_else() {
    if !is_root() {
        return;
    }
    let setup = Setup::new().set("server", "user = \"4321\"");
    let (lines, status) = failure_of_nobody(&setup.text(), 0o644);
    assert_eq!(status, Some(1));
    assert_one_line(&lines, &["cannot become user", "4321", "CAP_SETUID"]);
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    if !is_root() {
        return;
    }
    let (lines, status) = failure_of_nobody(&Setup::new().text(), 0o600);
    assert_eq!(status, Some(2));
    assert_one_line(&lines, &["hairpin.toml", "ermission denied"]);
}

#[test]
fn with_too_few_descriptors_the_server_starts_whole_or_not_at_all() {
    let mut failed = 0;
    let mut started = 0;
    for descriptors in (10..50).step_by(3) {
        let setup = Setup::new().set("server", "workers = 2");
        match setup.try_start_with_descriptors(descriptors) {
            Ok(server) => {
                started += 1;
                for _ in 0..20 {
                    Client::udp(server.address()).binding();
                }
            }
            Err((status, lines)) => {
                failed += 1;
                assert_eq!(status.code(), Some(1), "{descriptors}: {lines:#?}");
                assert_one_line(&lines, &["file"]);
            }
        }
    }
    assert!(failed > 0 && started > 0, "{failed} {started}");
}

#[test]
fn without_a_configuration_the_printed_ice_servers_work() {
    let mut process = hairpin(&["--json"]);
    let line = process.read_line();
    if line.is_empty() {
        // Another server has the ports on this machine; then it says so.
        let (lines, status) = ended(process);
        assert_eq!(status, Some(1));
        assert_one_line(&lines, &["in use"]);
        assert!(
            lines[0].contains(":3478") || lines[0].contains(":9641"),
            "{lines:?}"
        );
        return;
    }
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    let server = &json["iceServers"][0];
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let mut tried = 0;
    for url in server["urls"].as_array().unwrap() {
        let Some(rest) = text(url).strip_prefix("turn:").map(str::to_owned) else {
            continue;
        };
        let (address, transport) = rest.split_once("?transport=").unwrap();
        let address: SocketAddr = address.parse().unwrap();
        // The wildcard listener is asked on loopback, so that nothing leaves this machine.
        let address = SocketAddr::new(crate::client::loopback_of(address), address.port());
        let mut client = match transport {
            "udp" => Client::udp(address),
            _ => Client::tcp(address),
        };
        client.user = text(&server["username"]);
        client.password = text(&server["credential"]);
        let family = hairpin::wire::attribute::Family::of(&address);
        assert_ne!(client.allocate_family(family).port(), 0);
        tried += 1;
    }
    assert!(tried >= 2, "{line}");
    let (status, _, lines) = process.stop();
    assert_eq!(status.code(), Some(0));
    let secret = text(&server["credential"]);
    assert!(
        !lines.iter().any(|line| line.contains(&secret)),
        "{lines:#?}"
    );
}
