//! The settings for third-party authorization (RFC 7635), and the tokens that `hairpin credentials` makes.

#![allow(clippy::unwrap_used)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hairpin::auth::{AccessToken, Secret, TokenAlgorithm, TokenCipher, TokenKey};
use hairpin::config::{self, Settings};
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";

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

/// A configuration with one key.
fn with_key(lines: &str) -> String {
    format!("[oauth]\nserver_name = \"turn.example.org\"\n[[oauth.key]]\nid = \"k\"\n{lines}\n")
}

fn bytes(count: u8) -> Vec<u8> {
    (0..count).collect()
}

#[test]
fn every_setting_arrives() {
    assert!(Settings::default().oauth.keys.is_empty());
    let settings = accept(&format!(
        r#"
        [oauth]
        server_name = "turn.example.org"
        truncated_mac_keys = true
        [[oauth.key]]
        id = "new"
        secret = "{HEX}"
        [[oauth.key]]
        id = "old"
        algorithm = "A128GCM"
        secret = "AAECAwQFBgcICQoLDA0ODw=="
        not_before = 1970-01-01T00:00:00Z
        not_after = 2000-03-01T01:00:00+01:00
        "#
    ));
    assert_eq!(settings.oauth.server_name, "turn.example.org");
    assert!(settings.oauth.truncated_mac_keys);
    let expected = [
        TokenKey {
            id: "new".into(),
            algorithm: TokenAlgorithm::Aes256Gcm,
            secret: Secret::new(bytes(32)),
            not_before: None,
            not_after: None,
        },
        TokenKey {
            id: "old".into(),
            algorithm: TokenAlgorithm::Aes128Gcm,
            secret: Secret::new(bytes(16)),
            not_before: Some(0),
            not_after: Some(951_868_800),
        },
    ];
    assert_eq!(settings.oauth.keys, expected);
}

#[test]
fn keys_are_written_in_hexadecimal_or_base64_of_either_alphabet() {
    let key: Vec<u8> = (0..32).map(|byte| 0xFF - byte).collect();
    let standard = STANDARD.encode(&key);
    let url_safe = standard.replace('+', "-").replace('/', "_");
    assert_ne!(standard, url_safe);
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    for text in [
        standard.as_str(),
        standard.trim_end_matches('='),
        &url_safe,
        url_safe.trim_end_matches('='),
        &hex,
        &hex.to_uppercase(),
    ] {
        let settings = accept(&with_key(&format!("secret = \"{text}\"")));
        assert_eq!(settings.oauth.keys[0].secret.expose(), &key, "{text}");
    }
}

#[test]
fn keys_of_another_length_are_refused_with_the_right_one() {
    let of = |count: u8| format!("secret = \"{}\"", STANDARD.encode(bytes(count)));
    refuse(
        &with_key(&of(16)),
        &[
            "this key has 16 bytes",
            "A256GCM takes 32 bytes",
            "64 hexadecimal",
            ":5:10",
        ],
    );
    refuse(
        &with_key(&format!("algorithm = \"A128GCM\"\n{}", of(32))),
        &[
            "this key has 32 bytes",
            "A128GCM takes 16 bytes",
            "coturn uses the first 16",
        ],
    );
    for text in ["not a key at all", "0x00", &HEX[1..]] {
        refuse(&with_key(&format!("secret = \"{text}\"")), &["this key "]);
    }
    refuse(&with_key("secret = \"\""), &["this secret is empty"]);
    refuse(
        &with_key("secret = { env = \"HAIRPIN_TEST_NOT_SET\" }"),
        &["`HAIRPIN_TEST_NOT_SET` is not set"],
    );
}

#[test]
fn mistakes_are_named() {
    let secret = format!("secret = \"{HEX}\"");
    let key = format!("[[oauth.key]]\nid = \"k\"\n{secret}\n");
    refuse(
        &key,
        &["no `server_name`", "the authorization server knows"],
    );
    refuse(
        &format!("[oauth]\nserver_name = \"\"\n{key}"),
        &["no `server_name`"],
    );
    refuse(
        "[oauth]\nserver_name = \"turn.example.org\"\n",
        &["no key to open tokens with", "[[oauth.key]]"],
    );
    accept("[oauth]\nserver_name = \"\"\n");
    for name in ["a\\nb", &"a".repeat(128)] {
        refuse(
            &format!("[oauth]\nserver_name = \"{name}\"\n{key}"),
            &["`server_name`"],
        );
    }
    refuse(&with_key(""), &["this key has no `secret`"]);
    refuse(
        &format!("[oauth]\nserver_name = \"a\"\n[[oauth.key]]\n{secret}\n"),
        &["this key has no `id`", "user name"],
    );
    let with_id = |id: &str| {
        format!("[oauth]\nserver_name = \"a\"\n[[oauth.key]]\nid = \"{id}\"\n{secret}\n")
    };
    refuse(&with_id(""), &["`id` is empty"]);
    refuse(&with_id("a\\u0000"), &["control character"]);
    refuse(&with_id(&"a".repeat(509)), &["at most 508"]);
    accept(&with_id(&"a".repeat(508)));
    refuse(
        &format!("[oauth]\nserver_name = \"a\"\n{key}{key}"),
        &["key `k` is given twice"],
    );
    refuse(
        &with_key(&format!("{secret}\nalgorithm = \"A256CBC\"")),
        &["A256CBC", "A256GCM"],
    );
}

#[test]
fn times_need_an_offset_and_the_right_order() {
    let with = |lines: &str| with_key(&format!("secret = \"{HEX}\"\n{lines}"));
    for time in [
        "2026-01-01",
        "2026-01-01T00:00:00",
        "00:00:00",
        "1969-12-31T23:59:59Z",
    ] {
        refuse(
            &with(&format!("not_after = {time}")),
            &[
                "`not_after` is not a date and time with an offset",
                "2030-01-31T00:00:00Z",
            ],
        );
    }
    refuse(
        &with("not_before = 2026-01-02T00:00:00Z\nnot_after = 2026-01-01T00:00:00Z"),
        &["`not_after` is earlier than `not_before`"],
    );
    for (time, unix) in [
        ("1970-01-01T00:00:00Z", 0),
        ("2000-02-29T12:00:00Z", 951_825_600),
        ("2024-12-31T23:59:59Z", 1_735_689_599),
        ("2026-07-01T00:00:00-07:30", 1_782_891_000),
        ("2100-03-01T00:00:00Z", 4_107_542_400),
        ("9999-12-31T23:59:59Z", 253_402_300_799),
    ] {
        let settings = accept(&with(&format!("not_before = {time}")));
        assert_eq!(settings.oauth.keys[0].not_before, Some(unix), "{time}");
    }
}

fn credentials(config: &str, arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hairpin.toml");
    std::fs::write(&path, config).unwrap();
    Command::new(env!("CARGO_BIN_EXE_hairpin"))
        .args(["credentials", "--host", "turn.example.org", "--config"])
        .arg(&path)
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn hairpin_credentials_makes_a_token_that_opens() {
    let config = with_key(&format!("secret = \"{HEX}\""));
    let output = credentials(&config, &["--oauth", "k", "--ttl", "10m", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let servers = json["iceServers"].as_array().unwrap();
    let server = servers
        .iter()
        .find(|server| server["credentialType"] == "oauth")
        .unwrap();
    assert_eq!(server["username"], "k");
    let text = |name: &str| server["credential"][name].as_str().unwrap();
    let decode = |name: &str| STANDARD.decode(text(name)).unwrap();
    let cipher = TokenCipher::new(TokenAlgorithm::Aes256Gcm, &bytes(32)).unwrap();
    let token = AccessToken::open(&cipher, "turn.example.org", &decode("accessToken")).unwrap();
    assert_eq!(token.mac_key().as_bytes(), decode("macKey"));
    assert_eq!(token.lifetime(), 600);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    assert!(token.remaining(now.as_secs()).unwrap() > 500);
    // Each is another one.
    let again = credentials(&config, &["--oauth", "k", "--ttl", "10m", "--json"]);
    assert_ne!(again.stdout, output.stdout);
    let text = String::from_utf8(credentials(&config, &["--oauth", "k"]).stdout).unwrap();
    for word in ["kid", "mac_key", "access_token", "browser"] {
        assert!(text.contains(word), "{word} is not in:\n{text}");
    }
}

#[test]
fn hairpin_credentials_says_which_keys_there_are() {
    let config = with_key(&format!("secret = \"{HEX}\""));
    let output = credentials(&config, &["--oauth", "other"]);
    assert!(!output.status.success());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("`other`") && told.contains("`k`"), "{told}");
    let output = credentials("", &["--oauth", "k"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("[oauth]"), "{told}");
    let output = credentials(&config, &["--oauth", "k", "--user", "bob"]);
    assert!(!output.status.success());
}
