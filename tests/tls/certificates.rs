//! Which certificate is shown, and what is said of files that cannot be used.

use std::fs;
use std::process::{Command, Output};
use std::sync::Arc;

use hairpin::net::authorities;
use rcgen::date_time_ymd;
use rustls::crypto::aws_lc_rs::default_provider as provider;
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};

use crate::client::tls;
use crate::rig::{Made, Server, certificate, from_params, params};

#[test]
fn the_certificate_is_chosen_by_the_name_the_client_asks_for() {
    let made = vec![
        certificate(&["first.example", "localhost"]),
        certificate(&["second.example"]),
        certificate(&["*.wild.example"]),
        certificate(&["exact.wild.example"]),
    ];
    let server = Server::start(
        made,
        "[[listener]]\ntransport = \"tls\"\naddress = \"IP:5349\"\n",
    );
    let shown = |name: &str, version| -> CertificateDer<'static> {
        let mut config = server.trust(&[version]);
        config
            .dangerous()
            .set_certificate_verifier(authorities::anybodys(Arc::new(provider())));
        let mut client = tls(server.connect(5349), config, name);
        client.binding();
        client.stream.conn.peer_certificates().unwrap()[0].clone()
    };
    for version in [&TLS12, &TLS13] {
        for (asked, expected) in [
            ("first.example", 0),
            ("localhost", 0),
            ("second.example", 1),
            ("SECOND.example", 1),
            ("a.wild.example", 2),
            ("exact.wild.example", 3),
            // A wildcard stands for one label, no less and no more.
            ("wild.example", 0),
            ("a.b.wild.example", 0),
            ("unknown.example", 0),
            // No name is sent for an address.
            ("127.0.0.1", 0),
        ] {
            let expected = &server.certificates[expected].der;
            assert!(shown(asked, version) == *expected, "{asked}");
        }
    }
}

/// What `hairpin check` says of a configuration with these two files and nothing else.
fn check(certificate: Option<&str>, key: Option<&str>, more: &str) -> (Output, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [("chain.pem", certificate), ("key.pem", key)] {
        if let Some(content) = content {
            fs::write(folder.path().join(name), content).unwrap();
        }
    }
    let text = "[[tls.certificate]]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\n".to_owned();
    let file = folder.path().join("hairpin.toml");
    fs::write(&file, text + more).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_hairpin"))
        .args(["check", "-c"])
        .arg(&file)
        .output()
        .unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    (output, String::from_utf8(said).unwrap())
}

#[test]
fn files_that_cannot_be_used_are_named_with_what_is_wrong() {
    let Made {
        certificate: chain,
        key,
        ..
    } = certificate(&["a.example"]);
    let other = certificate(&["a.example"]);
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let broken = chain.replace("-----END CERTIFICATE-----", "");
    let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let cases: [(Option<&str>, Option<&str>, &[&str]); 9] = [
        (
            None,
            Some(&key),
            &["cannot read certificate file", "chain.pem", ":2:15"],
        ),
        (
            Some(&chain),
            None,
            &["cannot read key file", "key.pem", ":3:7"],
        ),
        (Some(""), Some(&key), &["chain.pem", "holds no certificate"]),
        (
            Some(&key),
            Some(&key),
            &["chain.pem", "holds no certificate"],
        ),
        (
            Some(&chain),
            Some(&chain),
            &["key.pem", "holds no private key"],
        ),
        (
            Some(&chain),
            Some(&other.key),
            &["key.pem", "is not the key of"],
        ),
        (Some(&chain), Some(encrypted), &["key.pem", "pass phrase"]),
        (
            Some(&broken),
            Some(&key),
            &["chain.pem", "END line is missing"],
        ),
        (
            Some(junk),
            Some(&key),
            &["chain.pem", "not an X.509 certificate"],
        ),
    ];
    for (chain, key, expected) in cases {
        let (output, said) = check(chain, key, "");
        assert_eq!(output.status.code(), Some(1), "{said}");
        for part in expected {
            assert!(said.contains(part), "nothing says {part} in {said}");
        }
    }
}

#[test]
fn a_key_that_stands_in_the_configuration_itself_is_not_repeated() {
    let made = certificate(&["a.example"]);
    let secret = made.key.lines().nth(1).unwrap();
    let text = format!(
        "[[tls.certificate]]\ncertificate = \"a.pem\"\nkey = \"\"\"\n{}\"\"\"\n",
        made.key
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hairpin.toml");
    fs::write(&file, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_hairpin"))
        .args(["check", "-c"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("`key` is not a path"), "{said}");
    assert!(!said.contains(secret), "{said}");
}

#[test]
fn check_shows_whom_a_certificate_is_for_and_until_when_and_nothing_of_the_key() {
    let mut params = params(&["turn.example.org", "*.example.net", "192.0.2.1"]);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2199, 2, 3);
    let made = from_params(params);
    let (output, said) = check(Some(&made.certificate), Some(&made.key), "");
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains(
            "for turn.example.org, *.example.net, 192.0.2.1; until 2199-02-03 00:00:00 UTC"
        ),
        "{said}"
    );
    assert!(said.contains("tls 0.0.0.0:5349"), "{said}");
    assert!(
        said.contains("turns:turn.example.org:5349?transport=tcp"),
        "{said}"
    );
    assert!(!said.contains("turns:*"), "{said}");
    assert!(!said.contains(made.key.lines().nth(1).unwrap()), "{said}");
}

#[test]
fn a_certificate_out_of_date_is_a_warning() {
    for (from, until, warning) in [
        (2019, 2020, "expired on 2020-01-01 00:00:00 UTC"),
        (2190, 2191, "is only good from 2190-01-01 00:00:00 UTC on"),
    ] {
        let mut params = params(&["a.example"]);
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let made = from_params(params);
        let (output, said) = check(Some(&made.certificate), Some(&made.key), "");
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(said.contains(warning), "{said}");
    }
}

#[test]
fn dtls_takes_certificates_with_ecdsa_keys_only() {
    let dtls = "[[listener]]\ntransport = \"dtls\"\naddress = \"127.0.0.1:5349\"\n";
    for (algorithm, works) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, true),
        (&rcgen::PKCS_ECDSA_P384_SHA384, true),
        (&rcgen::PKCS_ED25519, false),
        (&rcgen::PKCS_RSA_SHA256, false),
    ] {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let certificate = params(&["localhost"]).self_signed(&key).unwrap();
        let (output, said) = check(Some(&certificate.pem()), Some(&key.serialize_pem()), dtls);
        assert_eq!(output.status.success(), works, "{said}");
        let expected = if works {
            "turns:localhost:5349?transport=udp"
        } else {
            "ECDSA key on P-256 or P-384"
        };
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn listeners_and_certificates_that_do_not_fit_together_are_named() {
    let refused = |text: &str, expected: &[&str]| {
        let error = hairpin::config::parse(text, "hairpin.toml")
            .unwrap_err()
            .to_string();
        for part in expected {
            assert!(error.contains(part), "nothing says {part} in {error}");
        }
    };
    refused(
        "[[listener]]\ntransport = \"tls\"\naddress = \"0.0.0.0:5349\"\n",
        &["needs a certificate", "[[tls.certificate]]"],
    );
    refused(
        "[[listener]]\ntransport = \"dtls\"\naddress = \"0.0.0.0:5349\"\nproxy_protocol_from = [\"192.0.2.1\"]\n",
        &[
            "needs a certificate",
            "does not understand the PROXY protocol",
        ],
    );
    refused(
        "[[listener]]\ntransport = \"udp\"\naddress = \"0.0.0.0:5349\"\n\
         [[listener]]\ntransport = \"dtls\"\naddress = \"0.0.0.0:5349\"\n",
        &["is taken by a listener with transport \"udp\""],
    );
    refused(
        "[[listener]]\ntransport = \"tcp\"\naddress = \"0.0.0.0:443\"\n\
         [[listener]]\ntransport = \"auto\"\naddress = \"0.0.0.0:443\"\n",
        &[
            "is taken by a listener with transport \"tcp\"",
            "transport = \"auto\"",
        ],
    );
    refused(
        "[[tls.certificate]]\ncertificate = \"a.pem\"\n",
        &["this certificate has no `key`"],
    );
    let made = certificate(&["a.example"]);
    let udp = "[[listener]]\ntransport = \"udp\"\naddress = \"0.0.0.0:3478\"\n";
    let (output, said) = check(Some(&made.certificate), Some(&made.key), udp);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("no listener with transport \"tls\""),
        "{said}"
    );
}
