//! The settings for RFC 8489: what they mean, and which of them no client could use.

use hairpin::auth::Secret;
use hairpin::config::{self, Alternate, PasswordAlgorithm, Settings};
use std::process::Command;

fn accept(text: &str) -> Settings {
    config::parse(text, "hairpin.toml").unwrap_or_else(|invalid| panic!("{invalid}"))
}

#[track_caller]
fn refuse(text: &str, words: &[&str]) {
    let invalid = config::parse(text, "hairpin.toml")
        .expect_err(text)
        .to_string();
    for word in words {
        assert!(invalid.contains(word), "{word} is not in:\n{invalid}");
    }
}

#[test]
fn every_setting_arrives() {
    let settings = accept(
        r#"
        [server]
        redirect = true
        [auth]
        nonce_key = "sixteen bytes, at least"
        password_algorithms = ["md5"]
        match_user_part = true
        [[alternate]]
        address = "203.0.113.9:3478"
        tls_address = "203.0.113.9:443"
        domain = "b.example.org"
        [[alternate]]
        address = "[2606:4700::9]:3478"
        [stun]
        classic = true
        "#,
    );
    assert!(settings.server.redirect && settings.stun.classic);
    assert!(settings.auth.match_user_part);
    let key = Secret::from("sixteen bytes, at least");
    assert_eq!(settings.auth.nonce_key, Some(key));
    assert_eq!(settings.auth.password_algorithms, [PasswordAlgorithm::Md5]);
    let address = |text: &str| text.parse().expect("an address");
    let expected = [
        Alternate {
            address: address("203.0.113.9:3478"),
            tls_address: Some(address("203.0.113.9:443")),
            domain: Some("b.example.org".into()),
        },
        Alternate {
            address: address("[2606:4700::9]:3478"),
            tls_address: None,
            domain: None,
        },
    ];
    assert_eq!(settings.alternates, expected);
    let none = accept("[auth]\npassword_algorithms = []\n");
    assert_eq!(none.auth.password_algorithms, []);
}

#[test]
fn s_alt_07_alternates_that_no_browser_would_follow_are_refused() {
    for (address, why) in [
        ("127.0.0.1:3478", "loopback"),
        ("[::1]:3478", "loopback"),
        ("10.0.0.1:3478", "private"),
        ("192.168.1.1:3478", "private"),
        ("[fd00::1]:3478", "private"),
        ("169.254.0.1:3478", "link-local"),
        ("[fe80::1]:3478", "link-local"),
        ("224.0.0.1:3478", "multicast"),
        ("255.255.255.255:3478", "broadcast"),
        ("0.0.0.0:3478", "unspecified"),
        ("[::ffff:203.0.113.9]:3478", "write IPv4"),
        ("203.0.113.9:0", "port below 1024"),
        ("203.0.113.9:1023", "port below 1024"),
    ] {
        let text = format!("[[alternate]]\naddress = \"{address}\"\n");
        refuse(
            &text,
            &["clients cannot be sent to", why, "hairpin.toml:2:11"],
        );
        let text =
            format!("[[alternate]]\naddress = \"203.0.113.9:3478\"\ntls_address = \"{address}\"\n");
        refuse(
            &text,
            &["clients cannot be sent to", why, "hairpin.toml:3:15"],
        );
    }
    for port in [53, 80, 443, 1024, 65535] {
        accept(&format!(
            "[[alternate]]\naddress = \"203.0.113.9:{port}\"\n"
        ));
    }
}

#[test]
fn s_alt_05_alternates_that_are_this_very_server_are_refused() {
    let alternate = "[[alternate]]\naddress = \"203.0.113.9:3478\"\n";
    for own in [
        "[[listener]]\ntransport = \"udp\"\naddress = \"203.0.113.9:3478\"\n",
        "[[relay.address]]\naddress = \"203.0.113.9\"\n",
        "[[relay.address]]\naddress = \"ipv4\"\nexternal = \"203.0.113.9\"\n",
    ] {
        refuse(
            &format!("{own}{alternate}"),
            &["this very server listens there"],
        );
    }
    accept(
        "[[relay.address]]\naddress = \"203.0.113.9\"\n[[alternate]]\naddress = \"203.0.113.9:5000\"\n",
    );
}

#[test]
fn alternates_that_make_no_sense_are_refused() {
    refuse("[server]\nredirect = true\n", &["nobody to redirect to"]);
    refuse("[[alternate]]\ndomain = \"a.example\"\n", &["no `address`"]);
    let with = |more: &str| format!("[[alternate]]\naddress = \"203.0.113.9:3478\"\n{more}");
    refuse(&with(&with("")), &["given twice"]);
    refuse(
        &with("tls_address = \"[2606:4700::9]:443\"\n"),
        &["another IP version"],
    );
    for domain in [
        "",
        "b\u{fc}cher.example",
        "a..b",
        "-a.example",
        "203.0.113.9",
        "a b",
    ] {
        refuse(
            &with(&format!("domain = \"{domain}\"\n")),
            &["not a domain name"],
        );
    }
    let long = vec!["a"; 129].join(".");
    refuse(
        &with(&format!("domain = \"{long}\"\n")),
        &["longer than 255"],
    );
    accept(&with("domain = \"xn--bcher-kva.example\"\n"));
}

#[test]
fn mistakes_in_auth_are_named_and_the_key_is_not_shown() {
    refuse(
        "[auth]\npassword_algorithms = [\"sha265\"]\n",
        &["sha265", "did you mean `sha256`?"],
    );
    refuse(
        "[auth]\npassword_algorithms = [\"md5\", \"md5\"]\n",
        &["`md5` is given twice"],
    );
    let text = "[auth]\nnonce_key = \"hunter2\"\n";
    refuse(text, &["shorter than 16 bytes"]);
    let invalid = config::parse(text, "hairpin.toml").expect_err("too short");
    assert!(!invalid.to_string().contains("hunter2"));
}

#[test]
fn credentials_are_signed_with_sha256_when_asked() {
    let directory = tempfile::tempdir().expect("a directory");
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "north").expect("a file");
    let make = |algorithm: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_hairpin"))
            .args(["credentials", "--host", "turn.example.org", "--json"])
            .arg("--secret-file")
            .arg(&secret)
            .args(algorithm)
            .env_remove("HAIRPIN_CONFIG")
            .output()
            .expect("hairpin runs");
        assert!(output.status.success(), "{output:?}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        // The one server with a credential.
        let servers = json["iceServers"].as_array().expect("a list");
        let password = servers
            .iter()
            .find_map(|server| server["credential"].as_str());
        password.expect("a password").len()
    };
    assert_eq!(make(&[]), 28);
    assert_eq!(make(&["--algorithm", "sha1"]), 28);
    assert_eq!(make(&["--algorithm", "sha256"]), 44);
}
