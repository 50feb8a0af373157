//! Secrets come from where the configuration says, and never show up in what is printed about it.

use std::fs;
use std::path::Path;
use std::process::Command;

use hairpin::auth::Credential;
use hairpin::config::{self, ConfigError};
use proptest::prelude::*;

#[test]
fn secrets_come_from_the_file_itself_another_file_and_the_environment() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("hairpin.toml");
    fs::write(directory.path().join("secret"), "from another file\n").expect("a secret file");
    let text = "[auth]\nallow_weak = true\nsecrets = [\"inline\", { file = \"secret\" }, { env = \"CARGO_PKG_NAME\" }]\n\
        [[auth.user]]\nname = \"u\"\npassword = { file = \"secret\" }\n";
    fs::write(&path, text).expect("a configuration");
    let settings = config::load(&path).expect("a right configuration").settings;
    let secrets: Vec<_> = settings
        .auth
        .secrets
        .iter()
        .map(|secret| secret.expose().as_str())
        .collect();
    assert_eq!(secrets, ["inline", "from another file", "hairpin"]);
    let Credential::Password(password) = &settings.auth.users[0].credential else {
        panic!("no password")
    };
    assert_eq!(password.expose(), "from another file");
    assert!(!format!("{settings:?}").contains("from another file"));
}

#[test]
fn a_secret_that_cannot_be_had_names_its_source() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("hairpin.toml");
    fs::write(directory.path().join("empty"), "\n").expect("a file");
    fs::write(directory.path().join("lines"), "one\ntwo\n").expect("a file");
    let text = "[auth]\nsecrets = [{ file = \"missing\" }, { file = \"empty\" }, { file = \"lines\" }, \
        { file = \"/dev/zero\" }, { env = \"HAIRPIN_TEST_NOT_SET\" }, \"\", \"a\", \"a\"]\n";
    fs::write(&path, text).expect("a configuration");
    let error = config::load(&path)
        .expect_err("secrets are missing")
        .to_string();
    for words in [
        "missing`: No such file",
        "empty` is empty",
        "lines` has more than one line",
        "`/dev/zero` is longer than",
        "`HAIRPIN_TEST_NOT_SET` is not set",
        "this secret is empty",
        "this secret is given twice",
    ] {
        assert!(error.contains(words), "{words} not in:\n{error}");
    }
}

#[test]
fn a_secret_has_one_source() {
    for source in [
        "{ file = \"a\", env = \"b\" }",
        "{ credential = \"a\", file = \"b\" }",
        "{ }",
        "{ fil = \"a\" }",
        "12345",
        "[\"a\"]",
        "true",
    ] {
        let invalid = config::parse(&format!("[auth]\nsecrets = [{source}]\n"), "hairpin.toml")
            .expect_err(source);
        assert_eq!(invalid.problems().len(), 1, "{invalid}");
    }
}

#[test]
fn secrets_come_from_the_credentials_that_systemd_hands_over() {
    let directory = tempfile::tempdir().expect("a directory");
    let credentials = directory.path().join("credentials");
    fs::create_dir(&credentials).expect("a directory");
    fs::write(credentials.join("turn"), "a secret of sixteen bytes\n").expect("a secret file");
    let path = directory.path().join("hairpin.toml");
    let check = |name: &str, variable: Option<&Path>| {
        let text = format!("[auth]\nsecrets = [{{ credential = \"{name}\" }}]\n");
        fs::write(&path, text).expect("a configuration");
        let mut command = Command::new(env!("CARGO_BIN_EXE_hairpin"));
        command.arg("credentials").arg("-c").arg(&path);
        command.env_remove("CREDENTIALS_DIRECTORY");
        command.envs(variable.map(|value| ("CREDENTIALS_DIRECTORY", value)));
        let output = command.output().expect("the program");
        let said = String::from_utf8_lossy(&output.stderr).replace("\n", " ");
        (output.status.success(), said)
    };
    let (is_right, said) = check("turn", Some(&credentials));
    assert!(is_right, "{said}");
    for (name, variable, expected) in [
        ("turn", None, "`LoadCredential=turn:/path`"),
        ("other", Some(credentials.as_path()), "credentials/other`"),
        ("../hairpin.toml", Some(&credentials), "and no path"),
        ("", Some(&credentials), "and no path"),
    ] {
        let (is_right, said) = check(name, variable);
        assert!(!is_right && said.contains(expected), "{name}: {said}");
    }
}

#[test]
fn files_that_cannot_be_a_configuration_are_refused_in_one_sentence() {
    for path in ["/nonexistent", "/", "/dev/zero"] {
        let error = config::load(path.as_ref()).expect_err(path);
        assert!(matches!(error, ConfigError::Unreadable { .. }), "{error}");
        assert!(
            error.to_string().contains(path) && !error.to_string().contains('\n'),
            "{error}"
        );
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("latin1.toml");
    fs::write(&path, b"[auth]\npassword = \"tops\xfccret\"\n").expect("a file");
    let error = config::load(&path).expect_err("not UTF-8").to_string();
    assert!(
        error.contains("latin1.toml:2:") && !error.contains("cret"),
        "{error}"
    );
}

const SECRET: &str = "hunter2-the-secret";

/// Configurations with a secret in them, right and wrong.
const TEXTS: &[&str] = &[
    "[auth]\nrealm = \"example.org\"\nsecrets = [\"hunter2-the-secret\"]\n",
    "[auth]\nsecrets = [\n  \"hunter2-the-secret\",\n  \"hunter2-the-secret\",\n]\nrealm = \"\"\n",
    "[auth]\nsecrets = \"hunter2-the-secret\"\n",
    "[auth]\nsecret = \"hunter2-the-secret\"\n",
    "[auth]\nuser = [{ name = \"a\", password = \"hunter2-the-secret\" }]\n",
    "[[auth.user]]\nname = \"alice\"\npassword = \"hunter2-the-secret\"\n",
    "[[auth.user]]\nname = \"alice\"\nmd5_key = \"hunter2-the-secret\"\nsha256_key = 'hunter2-the-secret'\n",
    "[[auth.user]]\nname = \"alice\" password = \"hunter2-the-secret\"\n",
    "[[auth.user]]\nname = \"alice\", pw = \"hunter2-the-secret\"\n",
    "[[auth.user]]\npassword \"hunter2-the-secret\"\n",
    "[[auth.user]]\npassword = hunter2-the-secret\n",
    "[[auth.user]]\npassword\n= \"hunter2-the-secret\"\n",
    "[[auth.user]]\npasswort = \"hunter2-the-secret\"\ntoken = \"hunter2-the-secret\"\n",
    "[[auth.user]]\npassword = \"\"\"\nhunter2-the-secret\n\"\"\"\n",
    "[[auth.user]]\npassword = [\"hunter2-the-secret\"]\n",
    "[[auth.user]]\npassword = { value = \"hunter2-the-secret\" }\n",
    "auth = \"hunter2-the-secret\"\n",
    "[oauth]\nserver_name = \"a\"\n[[oauth.key]]\nid = \"k\"\nsecret = \"hunter2-the-secret\"\n",
    "[[oauth.key]]\nid = \"k\"\nalgorithm = \"A128GCM\"\nsecret = \"hunter2-the-secret\"\nnot_after = 2026-01-01\n",
    "[[oauth.key]]\nid = \"k\" secret = \"hunter2-the-secret\"\n",
    "[[oauth.key]]\nsecret = hunter2-the-secret\n",
    "[[oauth.key]]\nsecret \"hunter2-the-secret\"\n",
    "[[oauth.key]]\nk = \"hunter2-the-secret\"\nkey = \"hunter2-the-secret\"\n",
    "[[oauth.key]]\nsecret = { text = \"hunter2-the-secret\" }\n",
    "[oauth]\nkey = \"hunter2-the-secret\"\n",
    "[oauth]\nsecret = \"hunter2-the-secret\"\nkey = [\"hunter2-the-secret\"]\n",
    "oauth.key = [{ id = \"k\", secret = \"hunter2-the-secret\", not_before = 5 }]\n",
    "oauth = \"hunter2-the-secret\"\n",
    "auth.secrets = [\"hunter2-the-secret\", 1]\n",
    "secrets = [\"hunter2-the-secret\"]\n",
];

#[track_caller]
fn assert_silent(text: &str) {
    if let Err(invalid) = config::parse(text, "hairpin.toml") {
        assert!(
            !invalid.to_string().contains("hunter2"),
            "told:\n{invalid}\nabout:\n{text}"
        );
        assert!(
            !format!("{invalid:?}").contains("hunter2"),
            "Debug tells about:\n{text}"
        );
    }
}

#[test]
fn no_message_about_these_configurations_tells_the_secret() {
    for text in TEXTS {
        assert!(text.contains(SECRET));
        assert_silent(text);
    }
}

/// Every single character left out or put in, anywhere but in the secret itself.
#[test]
fn no_message_tells_a_secret_after_a_slip_of_the_finger() {
    for text in TEXTS {
        for at in 0..text.len() {
            let outside =
                |(start, secret): (usize, &str)| at <= start || at >= start + secret.len();
            if !text.match_indices(SECRET).all(outside) {
                continue;
            }
            for slip in ["\"", "'", "=", "[", "]", "}", "#", "\n", ",", "a", " "] {
                assert_silent(&format!("{}{slip}{}", &text[..at], &text[at..]));
            }
            if !text[at..].starts_with(SECRET) {
                assert_silent(&format!("{}{}", &text[..at], &text[at + 1..]));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any text at all: an answer, not a panic.
    #[test]
    fn any_text_is_answered(text in "(\\[|\\]|=|\"|'|\\{|\\}|,|\\.|#|\n| |auth|user|secrets|ports|é|\u{1F600}|1|\\\\){0,60}") {
        if let Err(invalid) = config::parse(&text, "hairpin.toml") {
            prop_assert!(!invalid.reports().is_empty());
        }
    }
}

/// What `config::parse` says of a file with these lines under `[auth]`.
fn problems(auth: &str) -> Vec<String> {
    match config::parse(&format!("[auth]\n{auth}\n"), "hairpin.toml") {
        Ok(_) => Vec::new(),
        Err(invalid) => {
            let all = invalid.problems().iter();
            all.map(|problem| problem.message().to_owned()).collect()
        }
    }
}

#[test]
fn secrets_that_anybody_could_guess_are_refused_with_the_reason() {
    let user = |password: &str| format!("user = [{{ name = \"a\", password = \"{password}\" }}]");
    for (auth, reason) in [
        (
            "secrets = [\"north\"]".to_owned(),
            "stands in documentation",
        ),
        (
            "secrets = [\"a long random text\"]".to_owned(),
            "stands in documentation",
        ),
        (
            "secrets = [\"Change-Me-123\"]".to_owned(),
            "stands in documentation",
        ),
        (
            "secrets = [\"uQ9f2kL1pX\"]".to_owned(),
            "is shorter than 16 bytes",
        ),
        (
            format!("secrets = [\"{}\"]", "x".repeat(40)),
            "over and over",
        ),
        ("nonce_key = \"1234567890123456\"".to_owned(), "in a row"),
        (user("secret"), "stands in documentation"),
        (user("uQ9f2kL"), "is shorter than 8 bytes"),
        (
            "user = [{ name = \"bob\", md5_key = \"49d971f381a574c5bf8f231360a306fd\" }]"
                .to_owned(),
            "stands in documentation",
        ),
    ] {
        let found = problems(&auth);
        assert!(
            found.len() == 1 && found[0].contains(reason),
            "{auth}: {found:?}"
        );
        assert_eq!(
            problems(&format!("allow_weak = true\n{auth}")),
            Vec::<String>::new()
        );
    }
    for auth in [
        "secrets = [\"uQ9f2kL1pXw7Zt3B\"]".to_owned(),
        user("uQ9f2kL1"),
        user("correct horse battery staple"),
    ] {
        assert_eq!(problems(&auth), Vec::<String>::new(), "{auth}");
    }
}

#[test]
fn two_relay_addresses_cannot_be_known_by_one_external_address() {
    let text = "[[relay.address]]\naddress = \"192.0.2.1\"\nexternal = \"203.0.113.7\"\n\
        [[relay.address]]\naddress = \"192.0.2.2\"\nexternal = \"203.0.113.7\"\n";
    let refused = config::parse(text, "hairpin.toml").unwrap_err().to_string();
    assert!(
        refused.contains("external address `203.0.113.7` is given twice"),
        "{refused}"
    );
    let crossed = text.replacen("203.0.113.7", "192.0.2.2", 1);
    let refused = config::parse(&crossed, "hairpin.toml")
        .unwrap_err()
        .to_string();
    assert!(refused.contains("is another relay address"), "{refused}");
}
