//! The log as entries of systemd's journal, read as the journal reads them.

// Servers and entries are made outside of test functions.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hairpin::telemetry::journal::{Entries, Journal};
use tracing_subscriber::layer::SubscriberExt as _;

const PATIENCE: Duration = Duration::from_secs(20);

type Fields = BTreeMap<String, String>;

/// The fields of an entry.
fn decode(mut entry: &[u8]) -> Fields {
    let mut fields = Fields::new();
    while !entry.is_empty() {
        let end = entry.iter().position(|byte| b"=\n".contains(byte)).unwrap();
        let (name, rest) = entry.split_at(end);
        let name = String::from_utf8(name.to_vec()).unwrap();
        let (value, rest) = if rest[0] == b'=' {
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap();
            (&rest[1..end], &rest[end..])
        } else {
            let (length, rest) = rest[1..].split_first_chunk::<8>().unwrap();
            rest.split_at(u64::from_le_bytes(*length) as usize)
        };
        assert_eq!(rest[0], b'\n', "{name}");
        let value = String::from_utf8(value.to_vec()).unwrap();
        assert_eq!(fields.insert(name, value), None, "given twice");
        entry = &rest[1..];
    }
    fields
}

/// What becomes of the events of a piece of code.
fn entries(code: impl FnOnce()) -> Vec<Fields> {
    let all: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let seen = all.clone();
    let layer = Entries(move |entry| seen.lock().unwrap().push(entry));
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, code);
    let all = all.lock().unwrap();
    all.iter().map(|entry| decode(entry)).collect()
}

#[test]
fn values_are_fields_and_stand_behind_the_text_too() {
    let all = entries(|| {
        tracing::info!(target: "hairpin::engine", user = "alice", client.port = 17, error = ?Some(1), "opened");
    });
    let expected = [
        ("MESSAGE", "opened user=alice client.port=17 error=Some(1)"),
        ("PRIORITY", "6"),
        ("SYSLOG_IDENTIFIER", "hairpin"),
        ("HAIRPIN_TARGET", "hairpin::engine"),
        ("HAIRPIN_USER", "alice"),
        ("HAIRPIN_CLIENT_PORT", "17"),
        ("HAIRPIN_ERROR", "Some(1)"),
    ];
    let expected: Fields = expected.map(|(a, b)| (a.into(), b.into())).into();
    assert_eq!(all, [expected]);
}

#[test]
fn levels_are_those_of_syslog() {
    let all = entries(|| {
        tracing::error!("a");
        tracing::warn!("b");
        tracing::info!("c");
        tracing::debug!("d");
        tracing::trace!("e");
    });
    let priorities: Vec<_> = all.iter().map(|entry| entry["PRIORITY"].as_str()).collect();
    assert_eq!(priorities, ["3", "4", "6", "7", "7"]);
}

#[test]
fn a_value_cannot_pass_for_a_field_however_it_is_made() {
    let user = "eve\nPRIORITY=0\nHAIRPIN_USER=alice\n";
    let all = entries(|| tracing::info!(user, "two\nlines"));
    assert_eq!(all[0]["HAIRPIN_USER"], user);
    assert_eq!(all[0]["PRIORITY"], "6");
    assert_eq!(all[0]["MESSAGE"], format!("two\nlines user={user}"));
}

#[test]
fn a_value_that_no_datagram_would_hold_is_cut() {
    let long = "ä".repeat(1 << 20);
    let all = entries(|| tracing::info!(long, "text"));
    let cut = &all[0]["HAIRPIN_LONG"];
    assert!(cut.len() > 10_000 && cut.len() < 20_000 && long.starts_with(cut.as_str()));
}

#[test]
fn a_journal_that_is_started_again_gets_the_next_entries() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let receives = |listener: &UnixDatagram| {
        listener.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut entry = [0; 64];
        let length = listener.recv(&mut entry).unwrap();
        entry[..length].to_vec()
    };
    assert!(Journal::open(&path).is_err());
    let first = UnixDatagram::bind(&path).unwrap();
    let journal = Journal::open(&path).unwrap();
    journal.send(b"MESSAGE=1\n").unwrap();
    assert_eq!(receives(&first), b"MESSAGE=1\n");
    drop(first);
    assert!(journal.send(b"MESSAGE=2\n").is_err());
    fs::remove_file(&path).unwrap();
    let second = UnixDatagram::bind(&path).unwrap();
    journal.send(b"MESSAGE=3\n").unwrap();
    assert_eq!(receives(&second), b"MESSAGE=3\n");
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Puts a folder where the journal is, for one program alone. That takes the right to mount.
const ELSEWHERE: &str = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
                         mount --bind \"$JOURNAL\" /run/systemd/journal && exec \"$@\"";

fn start(journal: &Path, configuration: &Path) -> Running {
    let process = Command::new("unshare")
        .args(["--mount", "sh", "-c", ELSEWHERE, "sh"])
        .arg(env!("CARGO_BIN_EXE_hairpin"))
        .args(["run", "-c"])
        .arg(configuration)
        .env("JOURNAL", journal)
        .stdout(Stdio::null())
        .stderr(fs::File::create(configuration.with_extension("log")).unwrap())
        .spawn()
        .unwrap();
    Running(process)
}

#[test]
fn a_server_in_its_sandbox_writes_to_the_journal_and_not_to_standard_error() {
    let may_mount = Command::new("unshare")
        .args(["--mount", "mount", "-t", "tmpfs", "none", "/run"])
        .status();
    if !may_mount.is_ok_and(|status| status.success()) {
        // The entries themselves are tested above.
        eprintln!("skipped: no mount namespaces here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, high | 0xc0, low, 1);
    let file = folder.path().join("hairpin.toml");
    let text = format!(
        "[server]\nworkers = 1\n[[listener]]\ntransport = \"udp\"\naddress = \"{address}:3478\"\n\
         [metrics]\naddress = \"{address}:9641\"\n[relay]\nports = \"50000-50099\"\n\
         [[relay.address]]\naddress = \"{address}\"\n[log]\nformat = \"journald\"\n"
    );
    fs::write(&file, text).unwrap();
    let log = || fs::read_to_string(file.with_extension("log")).unwrap();

    let mut without = start(folder.path(), &file);
    assert!(!without.0.wait().unwrap().success());
    let expected = "the journal is not at /run/systemd/journal/socket";
    assert!(log().contains(expected), "{}", log());

    let journal = UnixDatagram::bind(folder.path().join("socket")).unwrap();
    fs::set_permissions(folder.path().join("socket"), Permissions::from_mode(0o666)).unwrap();
    journal.set_read_timeout(Some(PATIENCE)).unwrap();
    let _server = start(folder.path(), &file);
    let mut entry = vec![0; 1 << 16];
    let mut messages = Vec::new();
    loop {
        let length = journal.recv(&mut entry).expect("an entry");
        let fields = decode(&entry[..length]);
        messages.push(fields["MESSAGE"].clone());
        if fields["MESSAGE"].starts_with("ready") {
            assert_eq!(fields["HAIRPIN_WORKERS"], "1");
            break;
        }
    }
    let listening = format!("listening transport=udp address={address}:3478");
    let listens = |message: &String| message.starts_with(&listening);
    assert!(messages.iter().any(listens), "{messages:?}");
    let sandboxed = |message: &String| message.starts_with("sandboxed");
    assert!(messages.iter().any(sandboxed), "{messages:?}");
    assert_eq!(log(), "");
}
