//! `hairpin probe` with `turns:` and `stuns:` URLs.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::rig::{Server, certificate};

/// Exit status and everything that was said.
fn probe(url: &str, authorities: &Path) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hairpin"))
        .args(["probe", "--count", "10", "--timeout", "3s", url, "--ca"])
        .arg(authorities)
        .args(["--username", "alice"])
        .env("HAIRPIN_PASSWORD", "wonderland")
        .output()
        .unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn a_probe_over_tls_verifies_the_certificate_and_relays() {
    let server = Server::start(
        vec![certificate(&["localhost"])],
        "[[listener]]\ntransport = \"tls\"\naddress = \"IP:5349\"\n",
    );
    // The certificate is for a name; a second server's is for its address.
    let ip = server.at(0).ip();
    let authority = server.path("0.pem");
    let (status, said) = probe(&format!("turns:{ip}"), &authority);
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("not valid for"), "{said}");

    let made = certificate(&[&ip.to_string()]);
    fs::write(server.path("other.pem"), &made.certificate).unwrap();
    let (status, said) = probe(&format!("turns:{ip}"), &server.path("other.pem"));
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("--ca"), "{said}");
}

#[test]
fn a_probe_over_tls_finds_that_all_is_well() {
    let server = Server::plain_by_address();
    let ip = server.at(0).ip();
    let authority = server.path("0.pem");
    for url in [
        format!("turns:{ip}"),
        format!("turns:{ip}:443?transport=tcp"),
        format!("stuns:{ip}"),
    ] {
        let (status, said) = probe(&url, &authority);
        assert_eq!(status, Some(0), "{said}");
        assert!(said.contains("over tls"), "{said}");
    }
}
