//! `[tls.acme]`: what is taken, and what an operator reads about a mistake in it.

use std::path::Path;

use hairpin::config::{self, ACME_STATE, Acme, Challenge, LETS_ENCRYPT, Settings, Transport};

const LEAST: &str = "[tls.acme]\ndomains = [\"turn.example.com\"]\nagree_to_terms = true\n";
const TLS: &str = "[[listener]]\ntransport = \"tls\"\naddress = \"0.0.0.0:443\"\n";

fn settings(text: &str) -> Settings {
    config::parse(text, "hairpin.toml").unwrap_or_else(|invalid| panic!("{invalid}"))
}

fn acme(text: &str) -> Acme {
    settings(text).tls.acme.unwrap_or_else(|| panic!("none"))
}

/// Text, where the caret points, and what must be said.
#[track_caller]
fn says(text: &str, place: &str, words: &[&str]) {
    let invalid = config::parse(text, "hairpin.toml").expect_err("accepted");
    let reports = invalid.reports();
    let report = reports
        .iter()
        .find(|report| words.iter().all(|word| report.contains(word)))
        .unwrap_or_else(|| panic!("nothing says {words:?} in:\n{invalid}"));
    assert!(
        report.contains(&format!("hairpin.toml:{place}\n")),
        "not at {place}:\n{report}"
    );
}

#[test]
fn names_and_the_word_that_the_terms_are_agreed_to_are_all_it_takes() {
    let acme = acme(LEAST);
    assert_eq!(acme.domains, ["turn.example.com"]);
    assert_eq!(acme.directory, LETS_ENCRYPT);
    assert_eq!(acme.state, Path::new(ACME_STATE));
    assert_eq!(acme.challenge, Challenge::TlsAlpn01);
    assert_eq!(acme.http_addresses, []);
    assert_eq!(acme.certificate, None);
}

#[test]
fn with_it_there_are_listeners_for_tls_by_default() {
    let has_tls = |text| {
        let listeners = settings(text).listeners;
        listeners.iter().any(|at| at.transport == Transport::Tls)
    };
    assert!(has_tls(LEAST));
    assert!(!has_tls(""));
}

#[test]
fn listeners_for_dtls_and_http_over_tls_need_no_other_certificate() {
    settings(&format!(
        "{TLS}[[listener]]\ntransport = \"dtls\"\naddress = \"0.0.0.0:5349\"\n{LEAST}"
    ));
}

#[test]
fn names_are_taken_in_any_form_of_writing() {
    let text = "[tls.acme]\ndomains = [\"TURN.Example.com.\"]\nagree_to_terms = true\n";
    assert_eq!(acme(text).domains, ["turn.example.com"]);
    let contact = "contact = [\"a@example.com\", \"mailto:b@example.com\"]\n";
    let contact = acme(&format!("{LEAST}{contact}")).contact;
    assert_eq!(contact, ["mailto:a@example.com", "mailto:b@example.com"]);
}

#[test]
fn challenges_over_http_are_answered_on_port_80_if_nothing_else_is_said() {
    let addresses = acme(&format!("{LEAST}challenge = \"http-01\"\n")).http_addresses;
    assert_eq!(
        addresses,
        ["0.0.0.0:80".parse().unwrap_or_else(|_| panic!())]
    );
}

#[test]
fn terms_that_were_not_agreed_to_and_names_that_are_missing_are_told() {
    says(
        "[tls.acme]\ndomains = [\"turn.example.com\"]\n",
        "1:1",
        &["`agree_to_terms` under [tls.acme] is not true", "read them"],
    );
    says(
        "[tls.acme]\nagree_to_terms = true\n",
        "1:1",
        &["names no `domains`", "turn.example.org"],
    );
}

#[test]
fn what_is_no_name_for_a_certificate_is_told_with_what_would_be_right() {
    for (name, words) in [
        ("*.example.com", ["is a wildcard", "name each host"]),
        ("192.0.2.7", ["is an address", "give the name"]),
        (
            "turn",
            ["is no name that the world knows", "give the whole name"],
        ),
        (
            "turn_1.example.com",
            ["is no name that the world knows", "whole"],
        ),
        ("turn example.com", ["is not a host name", ""]),
    ] {
        let text = format!("[tls.acme]\nagree_to_terms = true\ndomains = [\"{name}\"]\n");
        says(&text, "3:12", &words);
    }
    says(
        "[tls.acme]\nagree_to_terms = true\ndomains = [\"a.example.com\", \"A.example.com\"]\n",
        "3:29",
        &["`a.example.com` in `domains` is given twice", "first here"],
    );
}

#[test]
fn a_challenge_that_nobody_would_answer_is_told() {
    says(
        &format!("{LEAST}[[listener]]\ntransport = \"udp\"\naddress = \"0.0.0.0:3478\"\n"),
        "1:1",
        &[
            "needs a listener with transport \"tls\" or \"auto\"",
            "http-01",
        ],
    );
    says(
        &format!("{LEAST}http_addresses = [\"0.0.0.0:80\"]\n"),
        "4:19",
        &["`http_addresses` is for challenge = \"http-01\""],
    );
    says(
        &format!("{LEAST}challenge = \"dns-01\"\n"),
        "4:13",
        &["unknown value `dns-01`", "`tls-alpn-01`, `http-01`"],
    );
    says(
        &format!("{TLS}{LEAST}challenge = \"http-01\"\nhttp_addresses = [\"127.0.0.1:443\"]\n"),
        "4:1",
        &["`127.0.0.1:443` is taken by a listener"],
    );
}

#[test]
fn a_directory_that_cannot_be_asked_is_told() {
    for (url, why) in [
        (
            "http://acme.example.com/directory",
            "does not begin with `https://`",
        ),
        ("https://me:word@acme.example.com/", "has a user in it"),
        ("letsencrypt", "does not begin with `https://`"),
        ("https://a b", "is not a URL"),
    ] {
        says(
            &format!("{LEAST}directory = \"{url}\"\n"),
            "4:13",
            &[why, LETS_ENCRYPT],
        );
    }
    says(
        &format!("{LEAST}directory_ca = \"/nowhere/ca.pem\"\n"),
        "4:16",
        &["cannot read authorities from `/nowhere/ca.pem`"],
    );
}

#[test]
fn contacts_and_accounts_that_make_no_sense_are_told_and_keys_are_not_shown() {
    says(
        &format!("{LEAST}contact = [\"admin\"]\n"),
        "4:12",
        &["`admin` in `contact` is no mail address"],
    );
    says(
        &format!("{LEAST}external_account = {{ id = \"kid\" }}\n"),
        "4:20",
        &["needs both `id` and `key`"],
    );
    let text = format!("{LEAST}external_account = {{ id = \"kid\", key = \"not/base64!url\" }}\n");
    says(&text, "4:40", &["is not base64url"]);
    let invalid = config::parse(&text, "hairpin.toml").expect_err("accepted");
    assert!(!invalid.to_string().contains("base64!url"), "{invalid}");
}

#[test]
fn a_name_that_has_a_certificate_of_a_file_already_is_told() {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let made = rcgen::generate_simple_self_signed(vec!["turn.example.com".to_owned()]);
    let made = made.unwrap_or_else(|error| panic!("{error}"));
    let at = |name: &str| folder.path().join(name);
    for (name, text) in [
        ("c.pem", made.cert.pem()),
        ("k.pem", made.signing_key.serialize_pem()),
    ] {
        std::fs::write(at(name), text).unwrap_or_else(|error| panic!("{error}"));
    }
    let text = format!(
        "{LEAST}[[tls.certificate]]\ncertificate = \"{}\"\nkey = \"{}\"\n",
        at("c.pem").display(),
        at("k.pem").display()
    );
    says(
        &text,
        "1:1",
        &["has a certificate already, in", "leave out either"],
    );
}

#[test]
fn the_settings_in_force_are_shown_without_the_key_of_the_account() {
    let text =
        format!("{LEAST}external_account = {{ id = \"kid\", key = \"c2VjcmV0c2VjcmV0\" }}\n");
    let (shown, other) = (settings(&text), settings(&text.replace("c2Vj", "c2Vk")));
    let json = shown.shown().to_string();
    assert!(
        json.contains("\"challenge\":\"tls-alpn-01\"") && !json.contains("c2Vj"),
        "{json}"
    );
    let changes: Vec<_> = config::changes(&shown, &other)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(changes, ["tls.acme.external_account is another"]);
}
