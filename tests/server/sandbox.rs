//! What a running server has given up, seen from outside.

use crate::client::Client;
use crate::server::{PATIENCE, Server, Setup};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::process::Command;

/// The lines of the status of each thread.
fn threads(server: &Server) -> Vec<BTreeMap<String, String>> {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.id())).unwrap();
    tasks
        .map(|task| {
            let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let lines = status.lines().filter_map(|line| line.split_once(':'));
            lines
                .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
                .collect()
        })
        .collect()
}

fn is_root() -> bool {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !is_root {
        eprintln!("skipped: needs root");
    }
    is_root
}

fn relays(server: &Server) {
    let mut client = Client::udp(server.address());
    client.allocate();
    assert!(server.metrics().get("hairpin_allocations") > 0);
}

/// The line that tells what holds.
fn sandboxed(server: &Server) -> serde_json::Value {
    server.wait_for_events("sandboxed", 1).remove(0)
}

#[test]
fn no_thread_of_a_server_keeps_capabilities_or_system_calls() {
    let server = Setup::new().set("server", "workers = 2").start();
    relays(&server);
    let said = sandboxed(&server);
    let threads = threads(&server);
    assert!(threads.len() >= 4, "{threads:#?}");
    for thread in threads {
        let is = |key: &str| thread[key].as_str();
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(is(set), "0000000000000000", "{set} of {}", is("Name"));
        }
        assert_eq!(is("NoNewPrivs"), "1");
        if said["system_calls"] == "on" {
            assert_eq!(is("Seccomp"), "2", "{}", is("Name"));
        }
    }
}

#[test]
fn a_server_started_as_root_becomes_nobody() {
    if !is_root() {
        return;
    }
    let server = Setup::new().start();
    relays(&server);
    for thread in threads(&server) {
        assert_eq!(thread["Uid"], "65534\t65534\t65534\t65534");
        assert_eq!(thread["Gid"], "65534\t65534\t65534\t65534");
        assert!(!thread["Groups"].split(' ').any(|group| group == "0"));
        assert_eq!(thread["CapBnd"], "0000000000000000");
    }
}

#[test]
fn a_server_becomes_who_it_is_told_to() {
    if !is_root() {
        return;
    }
    let setup = Setup::new()
        .set("server", "user = \"4321\"")
        .set("server", "group = \"1234\"");
    let server = setup.start();
    relays(&server);
    for thread in threads(&server) {
        assert_eq!(thread["Uid"], "4321\t4321\t4321\t4321");
        assert_eq!(thread["Gid"], "1234\t1234\t1234\t1234");
        assert_eq!(thread["Groups"], "");
    }
    let server = Setup::new().set("server", "user = \"root\"").start();
    relays(&server);
    for thread in threads(&server) {
        assert_eq!(thread["Uid"], "0\t0\t0\t0");
        assert_eq!(thread["CapEff"], "0000000000000000");
    }
}

#[test]
fn the_sandbox_can_be_switched_off_and_rights_are_given_up_all_the_same() {
    let server = Setup::new().set("server", "sandbox = false").start();
    relays(&server);
    let said = sandboxed(&server);
    assert_eq!(
        (&said["files"], &said["system_calls"]),
        (&"off".into(), &"off".into())
    );
    for thread in threads(&server) {
        assert_eq!(thread["CapEff"], "0000000000000000");
        assert_eq!(thread["NoNewPrivs"], "1");
    }
}

/// A container where root is the only user there is, and not that of the machine.
#[test]
fn where_nobody_cannot_be_become_the_server_goes_on_and_says_so() {
    let possible = Command::new("unshare")
        .args(["--user", "--map-root-user", "true"])
        .status();
    if !possible.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no user namespaces here");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", env!("CARGO_BIN_EXE_hairpin")]);
    let server = Setup::new().start_as(command);
    relays(&server);
    server.wait_for_log("a warning", |line| line.contains("goes on as root"));
    for thread in threads(&server) {
        assert_eq!(thread["CapEff"], "0000000000000000");
    }
}

#[test]
fn the_service_manager_is_told_when_the_server_is_ready_and_when_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    // Whoever the server becomes may come here.
    for path in [folder.path(), &path] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let told = || {
        let mut message = [0; 100];
        let length = socket.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_hairpin"));
    command.env("NOTIFY_SOCKET", &path);
    let server = Setup::new().start_as(command);
    assert_eq!(told().trim(), "READY=1");
    let (status, log) = server.stop();
    assert_eq!(status.code(), Some(0));
    assert_eq!(told().trim(), "STOPPING=1");
    assert!(
        !log.iter().any(|line| line.contains("cannot be told")),
        "{log:#?}"
    );
}
