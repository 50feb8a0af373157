//! What a load refuses to do, and what it says then.

use std::net::UdpSocket;

use super::rig::{Server, refusal};

const USER: [&str; 4] = ["-u", "user", "-p", "wrong"];

#[test]
fn options_that_do_not_fit_the_scenario_are_told() {
    for (args, expected) in [
        (
            &["-s", "binding", "--size", "100"][..],
            "--size means nothing to the scenario binding",
        ),
        (
            &["-s", "churn", "--framing", "send"],
            "--framing means nothing to the scenario churn",
        ),
        (
            &["-s", "hold", "--rate", "5"],
            "--rate means nothing to the scenario hold",
        ),
        (
            &["-s", "saturated", "--every", "2ms"],
            "--every needs a --rate",
        ),
        (
            &["-s", "relay-to-relay", "--clients", "3"],
            "an even number of --clients",
        ),
        (
            &["-s", "relay-to-relay", "--peers", "2"],
            "one peer for each client",
        ),
        (&["-s", "video", "--burst", "64"], "at most 65,000 bytes"),
        (&["--rate", "5", "--window", "5"], "cannot be used with"),
        (&["--size", "23"], "23 is not in 24..=8192"),
        (&["--burst", "65"], "65 is not in 1..=64"),
        (&["--duration", "3m"], "at most 2m"),
        (&["--every", "2s", "--rate", "5"], "at most 1s"),
        (&["--scenario", "nothing"], "possible values: saturated"),
        (&["--peer-address", "0.0.0.0"], "peers need an address"),
        (&["--pid", "4294967295"], "no process 4294967295"),
    ] {
        let all = [&["turn:127.0.0.1:1"], &USER[..], args].concat();
        let (status, text) = refusal(&all);
        assert_eq!(status, Some(2), "{args:?}: {text}");
        assert!(text.contains(expected), "{args:?}: {text}");
    }
}

#[test]
fn urls_and_credentials_that_do_not_fit_are_told() {
    for (args, expected) in [
        (
            &["stun:127.0.0.1"][..],
            "good for the scenario binding only",
        ),
        (&["turn:127.0.0.1"], "needs a credential"),
        (&["turn:127.0.0.1", "-u", "user"], "no password"),
        (&["http://127.0.0.1"], "write it as"),
        (
            &["turn:127.0.0.1?transport=tcp", "-s", "binding"],
            "for clients over UDP",
        ),
        (
            &["turn:127.0.0.1?transport=tcp", "-s", "churn"],
            "for clients over UDP",
        ),
        (
            &["turns:127.0.0.1", "-u", "a", "-p", "b", "--ca", "/nowhere"],
            "/nowhere",
        ),
    ] {
        let (status, text) = refusal(args);
        assert_eq!(status, Some(2), "{args:?}: {text}");
        assert!(text.contains(expected), "{args:?}: {text}");
    }
}

#[test]
fn a_refused_credential_ends_the_load_with_its_code() {
    let server = Server::start();
    let url = server.url("udp");
    for scenario in ["saturated", "churn"] {
        let (status, text) = refusal(&[&[&url, "-s", scenario], &USER[..]].concat());
        assert_eq!(status, Some(1));
        assert!(text.contains("refused allocate with 401"), "{text}");
    }
}

#[test]
fn peers_that_the_server_denies_end_the_load_with_a_hint() {
    let server = Server::start();
    let url = server.url("udp");
    let args = [
        &url,
        "-u",
        "user",
        "-p",
        "a password for this test",
        "--peer-address",
        "127.0.0.66",
    ];
    let (status, text) = refusal(&args);
    assert_eq!(status, Some(1));
    assert!(
        text.contains("with 403: the server does not allow these peers"),
        "{text}"
    );
}

#[test]
fn a_server_that_keeps_silent_ends_the_load() {
    // The URL of a socket that nobody reads.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let url = format!("turn:{}", socket.local_addr().unwrap());
    let (status, text) = refusal(&[&[url.as_str(), "--clients", "1"], &USER[..]].concat());
    assert_eq!(status, Some(1));
    assert!(text.contains("does not answer"), "{text}");
}
