//! What a confined process can still do. Each case confines a thread of its own, or a copy of this program where it is
//! the process that ends.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

use hairpin::sandbox::{Account, AccountError, Layer, Plan, Reach, confine};
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

/// Confines a thread and runs something in it, if the kernel has all that it takes.
fn confined<T: Send>(reach: Reach, run: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let plan = Plan {
                account: None,
                reach: Some(reach),
            };
            let confinement = confine(&plan).unwrap();
            if confinement.files != Layer::Full || confinement.syscalls != Layer::Full {
                eprintln!("skipped: {confinement:?}");
                return None;
            }
            assert_eq!(confinement.complaints, Vec::<String>::new());
            Some(run())
        });
        thread.join().unwrap()
    })
}

fn kind<T>(result: io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn nothing_can_be_read_or_written_or_made_where_nothing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "text").unwrap();
    let denied = Some(ErrorKind::PermissionDenied);
    confined(Reach::default(), || {
        assert_eq!(kind(fs::read(&file)), denied);
        assert_eq!(kind(fs::read("/etc/passwd")), denied);
        assert_eq!(kind(fs::write(&file, "other")), denied);
        assert_eq!(kind(fs::write(folder.path().join("new"), "")), denied);
        assert_eq!(kind(fs::read_dir(folder.path())), denied);
        // Calls that no server makes are not there at all.
        assert_eq!(kind(fs::remove_file(&file)), Some(ErrorKind::Unsupported));
        assert_eq!(
            kind(fs::create_dir(folder.path().join("new"))),
            Some(ErrorKind::Unsupported)
        );
    });
    assert_eq!(fs::read(&file).unwrap(), b"text");
}

#[test]
fn what_is_named_can_be_read_or_written_and_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["readable", "writable"] {
        fs::create_dir(at(name)).unwrap();
    }
    for name in ["readable/a", "beside", "single"] {
        fs::write(at(name), "text").unwrap();
    }
    let reach = Reach {
        readable: vec![at("readable"), at("single"), at("not there")],
        writable: vec![at("writable")],
        tcp: false,
        own_ports: Vec::new(),
    };
    let denied = Some(ErrorKind::PermissionDenied);
    confined(reach, || {
        for name in ["readable/a", "single"] {
            assert_eq!(fs::read(at(name)).unwrap(), b"text");
            assert_eq!(kind(fs::write(at(name), "other")), denied);
        }
        assert_eq!(kind(fs::read(at("beside"))), denied);
        fs::write(at("writable/new"), "text").unwrap();
        assert_eq!(fs::read(at("writable/new")).unwrap(), b"text");
    });
}

#[test]
fn what_is_written_can_take_the_place_of_what_was_there_and_cannot_be_moved_out() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("writable")).unwrap();
    fs::write(at("writable/kept"), "old").unwrap();
    let reach = Reach {
        writable: vec![at("writable")],
        ..Reach::default()
    };
    confined(reach, || {
        fs::write(at("writable/new"), "new").unwrap();
        fs::File::open(at("writable/new"))
            .unwrap()
            .sync_all()
            .unwrap();
        fs::rename(at("writable/new"), at("writable/kept")).unwrap();
        assert_eq!(fs::read(at("writable/kept")).unwrap(), b"new");
        let kept = fs::File::open(at("writable/kept")).unwrap();
        let chmod = |mode| kept.set_permissions(fs::Permissions::from_mode(mode));
        chmod(0o600).unwrap();
        assert!(chmod(0o666).is_err());
        assert!(fs::rename(at("writable/kept"), at("out")).is_err());
    });
}

#[test]
fn sockets_that_are_open_go_on_and_tcp_connections_are_made_where_they_are_needed_only() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connect = |tcp| {
        let reach = Reach {
            tcp,
            ..Reach::default()
        };
        confined(reach, || {
            let (one, other) = (
                UdpSocket::bind("127.0.0.1:0").unwrap(),
                UdpSocket::bind("[::1]:0"),
            );
            one.send_to(b"text", one.local_addr().unwrap()).unwrap();
            assert_eq!(one.recv(&mut [0; 9]).unwrap(), 4);
            drop(other);
            (
                kind(TcpStream::connect(address)),
                kind(TcpListener::bind("127.0.0.1:0")),
            )
        })
    };
    if let Some((connected, bound)) = connect(false) {
        assert_eq!(connected, Some(ErrorKind::PermissionDenied));
        assert_eq!(bound, Some(ErrorKind::PermissionDenied));
        assert_eq!(connect(true), Some((None, None)));
        assert_eq!(kind(listener.accept()), None);
    }
}

#[test]
fn threads_that_are_started_later_are_confined_as_well() {
    confined(Reach::default(), || {
        let read = || kind(fs::read("/etc/passwd"));
        let outcome = std::thread::scope(|scope| scope.spawn(read).join().unwrap());
        assert_eq!(outcome, Some(ErrorKind::PermissionDenied));
    });
}

/// Runs a test of this program in a process of its own, with a word that tells it so.
fn on_its_own(test: &str) -> std::process::Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("HAIRPIN_TEST_ALONE", test)
        .output()
        .unwrap()
}

fn is_on_its_own(test: &str) -> bool {
    std::env::var("HAIRPIN_TEST_ALONE").is_ok_and(|name| name == test)
}

#[test]
fn starting_a_program_ends_the_process() {
    const NAME: &str = "starting_a_program_ends_the_process";
    if is_on_its_own(NAME) {
        // Not by Command, which would start another process first, and cannot.
        use std::os::unix::process::CommandExt as _;
        let error = confined(Reach::default(), || Command::new("/bin/true").exec());
        assert!(error.is_none(), "{error:?}");
        return;
    }
    let output = on_its_own(NAME);
    let text = String::from_utf8_lossy(&output.stderr);
    if text.contains("skipped") {
        return;
    }
    // SIGSYS on the processors there is a filter for.
    assert_eq!(output.status.signal(), Some(31), "{output:?}");
}

#[test]
fn no_process_and_no_namespace_can_be_made() {
    confined(Reach::default(), || {
        let error = Command::new("/bin/true").spawn().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    });
}

#[test]
fn accounts_are_found_by_name_and_by_number() {
    let root = Account::find("root", None).unwrap();
    assert_eq!(Account::find("0", None).unwrap(), root);
    assert_ne!(Account::find("0", Some("12345")).unwrap(), root);
    // Containers have no list of users.
    assert!(Account::find("nobody", None).is_ok());
    assert!(Account::find("4000000000", Some("4000000000")).is_ok());
    let unknown = "no-such-name".to_owned();
    assert_eq!(
        Account::find(&unknown, None),
        Err(AccountError::NoUser(unknown.clone()))
    );
    assert_eq!(
        Account::find("root", Some(&unknown)),
        Err(AccountError::NoGroup(unknown))
    );
}
