//! From no certificate to the first one.

use std::fs;
use std::net::{Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::client::{binding, decode, mapped};
use crate::rig::{NAME, PATIENCE, Rig, free_port, http, plain};

#[test]
fn a_name_is_proved_by_tls_and_its_certificate_is_shown() {
    let rig = Rig::new();
    let server = rig.start(&format!("{}\ncontact = [\"admin@example.org\"]", plain()));
    server.has_certificate();
    server.shown();
    let seen = rig.authority.seen();
    assert_eq!(seen.accounts, [["mailto:admin@example.org"]]);
    assert_eq!(seen.orders, [[NAME]]);
    assert_eq!(seen.proofs, [format!("tls-alpn-01 {NAME} true")]);
    assert_eq!(seen.faults, Vec::<String>::new());
    assert_eq!(
        server.metric("hairpin_acme_orders_total{outcome=\"issued\"}"),
        1
    );
    let file = rig.kept();
    let sample = "hairpin_certificate_expiry_timestamp_seconds";
    let end = server.metric(&format!("{sample}{{file=\"{}\"}}", file.display()));
    // Two thirds of 90 days, less the hour for which it was good already, and up to a fiftieth of them.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert!(
        (now + 90 * 86400 - 3700..now + 90 * 86400).contains(&end),
        "{end} at {now}"
    );
    let next = server.metric("hairpin_acme_next_attempt_timestamp_seconds");
    let due = now + 60 * 86400 - 3600;
    assert!(
        (due - 60..due + 2 * 86400).contains(&next),
        "{next} for {due}"
    );
    assert!(
        server.log().contains(&format!("names=\"{NAME}\"")),
        "{}",
        server.log()
    );
}

#[test]
fn a_name_is_proved_over_http_and_nothing_else_is_served_there() {
    let rig = Rig::new();
    let http = format!(
        "{}\nchallenge = \"http-01\"\nhttp_addresses = [\"HTTP\"]",
        plain()
    );
    let server = rig.start(&http);
    server.has_certificate();
    server.shown();
    assert_eq!(
        rig.authority.seen().proofs,
        [format!("http-01 {NAME} true")]
    );
    for path in [
        "/",
        "/.well-known/acme-challenge/",
        "/.well-known/acme-challenge/x",
        "/metrics",
    ] {
        assert!(server.http(path).starts_with("HTTP/1.1 404 "), "{path}");
    }
}

#[test]
fn authorities_are_answered_over_both_families_at_one_port() {
    let rig = Rig::new();
    let port = free_port();
    let server = rig.start(&format!(
        "{}\nchallenge = \"http-01\"\nhttp_addresses = [\"0.0.0.0:{port}\", \"[::]:{port}\"]",
        plain()
    ));
    for ip in [server.at(0).ip(), Ipv6Addr::LOCALHOST.into()] {
        let answer = http(SocketAddr::new(ip, port), "/");
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }
}

#[test]
fn connections_that_say_nothing_do_not_keep_authorities_out() {
    let rig = Rig::new();
    rig.authority.conduct(|conduct| conduct.is_down = true);
    let server = rig.start(&format!(
        "{}\nchallenge = \"http-01\"\nhttp_addresses = [\"HTTP\"]",
        plain()
    ));
    let silent: Vec<_> = (0..100)
        .map(|_| TcpStream::connect(server.at(8080)).unwrap())
        .collect();
    let begin = Instant::now();
    assert!(server.http("/").starts_with("HTTP/1.1 404 "));
    assert!(begin.elapsed() < Duration::from_secs(5));
    drop(silent);
}

#[test]
fn several_names_come_in_one_certificate() {
    let rig = Rig::new();
    let server = rig.start("domains = [\"turn.example.org\", \"STUN.example.org\"]");
    server.has_certificate();
    server.client("turn.example.org").binding();
    server.client("stun.example.org").binding();
    assert_eq!(
        rig.authority.seen().orders,
        [["turn.example.org", "stun.example.org"]]
    );
}

#[test]
fn a_nonce_that_the_authority_does_not_want_is_replaced() {
    let rig = Rig::new();
    rig.authority.conduct(|conduct| conduct.bad_nonces = 2);
    let server = rig.start(&plain());
    server.has_certificate();
    assert_eq!(rig.authority.seen().refused_nonces, 2);
}

#[test]
fn until_there_is_a_certificate_handshakes_fail_and_everything_else_works() {
    let rig = Rig::new();
    rig.authority.conduct(|conduct| conduct.is_down = true);
    let server = rig.start(&plain());
    server.expect_in_log("TLS handshakes fail until there is one");
    let mut client = server.client(NAME);
    assert!(
        client
            .stream
            .conn
            .complete_io(&mut client.stream.sock)
            .is_err()
    );
    let sample = "hairpin_tls_handshake_failures_total{reason=\"no_certificate\"}";
    server.wait_until(sample, || server.metric(sample) == 1);
    let socket = UdpSocket::bind((server.at(0).ip(), 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(&binding().raw, server.at(3478)).unwrap();
    let mut answer = [0; 1500];
    let length = socket.recv(&mut answer).unwrap();
    mapped(&decode(&answer[..length]));
}

#[test]
fn what_is_kept_is_for_the_servers_user_alone() {
    let rig = Rig::new();
    let server = rig.start(&plain());
    server.has_certificate();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(rig.path("state")), 0o700);
    let files: Vec<_> = fs::read_dir(rig.path("state"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 2, "{files:?}");
    for file in files {
        assert_eq!(mode(file.clone()), 0o600, "{}", file.display());
    }
    for secret in ["PRIVATE KEY", "key_pkcs8"] {
        assert!(!server.log().contains(secret));
    }
}

#[test]
fn a_file_that_others_may_read_by_now_is_for_the_servers_user_alone_again() {
    let rig = Rig::new();
    rig.authority.conduct(|conduct| conduct.is_down = true);
    let server = rig.start(&plain());
    drop(server);
    // As a volume does that is given to a group.
    let left: Vec<_> = fs::read_dir(rig.path("state")).unwrap().collect();
    let left = left.into_iter().map(|entry| entry.unwrap().path());
    let left = left
        .filter(|file| file.extension().is_some_and(|end| end == "new"))
        .inspect(|file| fs::set_permissions(file, fs::Permissions::from_mode(0o660)).unwrap());
    assert_eq!(left.count(), 1);
    rig.authority.conduct(|conduct| conduct.is_down = false);
    let server = rig.start(&plain());
    server.has_certificate();
    let mode = fs::metadata(rig.kept()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_server_that_starts_again_uses_what_it_has_kept_and_asks_for_nothing() {
    let rig = Rig::new();
    let server = rig.start(&plain());
    server.has_certificate();
    let first = server.shown();
    drop(server);
    rig.authority.conduct(|conduct| conduct.is_down = true);
    let server = rig.start(&plain());
    assert!(server.shown() == first);
    assert!(!server.log().contains("asking for a certificate"));
    assert_eq!(rig.authority.seen().orders.len(), 1);
}

#[test]
fn a_certificate_that_was_kept_for_fewer_names_is_shown_until_there_is_one_for_all() {
    let rig = Rig::new();
    drop({
        let server = rig.start(&plain());
        server.has_certificate();
        server
    });
    let server = rig.start("domains = [\"turn.example.org\", \"stun.example.org\"]");
    server.has_certificate();
    server.client("stun.example.org").binding();
    let seen = rig.authority.seen();
    assert_eq!(seen.orders.len(), 2);
    assert_eq!(seen.accounts.len(), 1, "the account was kept too");
}

#[test]
fn an_account_is_bound_to_that_which_the_operator_has_already() {
    let rig = Rig::new();
    let key = b"0123456789abcdef0123456789abcdef";
    rig.authority
        .conduct(|conduct| conduct.external_account = Some(("mine".to_owned(), key.to_vec())));
    fs::write(
        rig.path("eab"),
        "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n",
    )
    .unwrap();
    let bound = "external_account = { id = \"mine\", key = { file = \"eab\" } }";
    let server = rig.start(&format!("{}\n{bound}", plain()));
    server.has_certificate();
    assert!(!server.log().contains("MDEyMzQ1"));
}
