//! The commands around the configuration, run as an operator runs them.

use std::fs;
use std::process::{Command, Output, Stdio};

use hairpin::config::{self, Settings};
use hairpin::doctor::advice::{Surroundings, advice};
use hairpin::net::addresses::RelayAddress;
use hairpin::service::ice_servers::{Host, IceServers, urls};

/// Runs `hairpin` in a directory of its own with these files in it.
fn hairpin(files: &[(&str, &str)], arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, content) in files {
        fs::write(directory.path().join(name), content).expect("a file");
    }
    Command::new(env!("CARGO_BIN_EXE_hairpin"))
        .args(arguments)
        .current_dir(directory.path())
        .env_remove("HAIRPIN_CONFIG")
        .output()
        .expect("hairpin runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const RIGHT: &str = r#"
[[listener]]
transport = "udp"
address = "127.0.0.1:3478"
[[listener]]
transport = "tcp"
address = "127.0.0.1:3478"
[[relay.address]]
address = "127.0.0.1"
external = "203.0.113.7"
[auth]
secrets = ["the newest of all secrets", { file = "old" }]
[[auth.user]]
name = "alice"
password = "wonderland"
[peers]
allow = ["10.0.0.0/8"]
"#;

#[test]
fn check_tells_what_clients_see_but_no_secret() {
    let output = hairpin(
        &[("c.toml", RIGHT), ("old", "an older secret than that\n")],
        &["check", "-c", "c.toml"],
    );
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for words in [
        "udp 127.0.0.1:3478",
        "203.0.113.7, ports 49152-65535 (16384 of them), here bound to 127.0.0.1",
        "shared secrets: 2",
        "users: 1 with a password, 0 with keys",
        "turn:203.0.113.7:3478?transport=tcp",
        "http://127.0.0.1:9641/metrics",
        "can reach 10.0.0.0/8",
        "only this machine can reach the server",
    ] {
        assert!(text.contains(words), "{words} not in:\n{text}");
    }
    assert!(
        !text.contains("secret of") && !text.contains("older") && !text.contains("wonderland"),
        "{text}"
    );
}

#[test]
fn the_exit_status_tells_a_wrong_configuration_from_a_wrong_command() {
    let wrong = [("c.toml", "[auht]\n")];
    let cases: [(&[&str], i32, &str); 7] = [
        (
            &["check", "-c", "c.toml"],
            1,
            "hairpin: error: unknown key `auht`\n --> c.toml:1:2",
        ),
        (&["-c", "c.toml"], 1, "hairpin: error: unknown key `auht`"),
        (
            &["run", "-c", "c.toml"],
            1,
            "hairpin: error: unknown key `auht`",
        ),
        (
            &["check", "-c", "none.toml"],
            2,
            "hairpin: error: cannot read configuration `none.toml`: No such file",
        ),
        (&["check"], 2, "--config"),
        (&["chekc"], 2, "check"),
        (&["credentials"], 2, "--config"),
    ];
    for (arguments, status, words) in cases {
        let output = hairpin(&wrong, arguments);
        assert_eq!(
            output.status.code(),
            Some(status),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(words),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_relay_address_of_another_machine_is_explained() {
    let text = "[[relay.address]]\naddress = \"203.0.113.7\"\n";
    let output = hairpin(&[("c.toml", text)], &["check", "-c", "c.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.contains("c.toml: relay address 203.0.113.7 is not an address of this machine"),
        "{text}"
    );
    assert!(text.contains("set it as `external`"), "{text}");
}

#[test]
fn credentials_are_made_with_the_newest_secret_for_the_hosts_given() {
    let files = [("c.toml", RIGHT), ("old", "an older secret than that")];
    let arguments = [
        "credentials",
        "-c",
        "c.toml",
        "--user",
        "bob",
        "--json",
        "--host",
        "turn.example.org",
        "--host",
        "2001:db8::1",
        "--host",
        "198.51.100.1",
    ];
    let output = hairpin(&files, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let server = &json["iceServers"][0];
    // The listeners are IPv4 only, so that the IPv6 host is left out.
    let urls = serde_json::json!([
        "stun:turn.example.org:3478",
        "turn:turn.example.org:3478?transport=udp",
        "turn:turn.example.org:3478?transport=tcp",
        "stun:198.51.100.1:3478",
        "turn:198.51.100.1:3478?transport=udp",
        "turn:198.51.100.1:3478?transport=tcp",
    ]);
    assert_eq!(server["urls"], urls);
    let username = server["username"].as_str().expect("a name");
    let (expiry, user) = username.split_once(':').expect("expiry and user");
    assert_eq!(user, "bob");
    let secret = "the newest of all secrets".as_bytes();
    let (_, password) =
        hairpin::auth::mint_ephemeral(secret, Some("bob"), expiry.parse().expect("a time"));
    assert_eq!(server["credential"], password.as_str());
}

#[test]
fn sockets_that_only_discovery_needs_are_no_urls_for_clients() {
    let text = "[auth]\nsecrets = [\"a long enough secret\"]\n[[listener]]\ntransport = \"udp\"\n\
                address = \"127.0.0.1:3478\"\n[[relay.address]]\naddress = \"127.0.0.1\"\n[[discovery]]\n\
                primary = \"127.0.0.1:3478\"\nalternate = \"127.0.0.2:3479\"\n";
    let output = hairpin(&[("c.toml", text)], &["check", "-c", "c.toml"]);
    let text = stdout(&output);
    for words in ["127.0.0.1:3478 and 127.0.0.2:3479", "udp 127.0.0.2:3478"] {
        assert!(text.contains(words), "{words} not in:\n{text}");
    }
    assert_eq!(text.matches("stun:").count(), 1, "{text}");
}

#[test]
fn t_disc_02_dns_prints_the_records_of_each_listener() {
    let text = "[[listener]]\ntransport = \"udp\"\naddress = \"10.0.0.5:4000\"\n\
                [[listener]]\ntransport = \"udp\"\naddress = \"10.0.0.5:3478\"\n\
                [[listener]]\ntransport = \"tcp\"\naddress = \"127.0.0.1:3478\"\n\
                [[listener]]\ntransport = \"tcp\"\naddress = \"[fd00::5]:3478\"\n\
                [[relay.address]]\naddress = \"127.0.0.1\"\n\
                [[discovery]]\nprimary = \"10.0.0.5:3478\"\nalternate = \"10.0.0.6:3479\"\n";
    let arguments = [
        "dns",
        "example.org.",
        "--host",
        "a.example.org",
        "-c",
        "c.toml",
    ];
    let output = hairpin(&[("c.toml", text)], &arguments);
    assert_eq!(stderr(&output), "");
    let expected = "\
_stun._udp.example.org. 3600 IN SRV 0 0 3478 a.example.org.
_stun._udp.example.org. 3600 IN SRV 1 0 4000 a.example.org.
_stun._tcp.example.org. 3600 IN SRV 0 0 3478 a.example.org.
_turn._udp.example.org. 3600 IN SRV 0 0 3478 a.example.org.
_turn._udp.example.org. 3600 IN SRV 1 0 4000 a.example.org.
_turn._tcp.example.org. 3600 IN SRV 0 0 3478 a.example.org.
_stun-behavior._udp.example.org. 3600 IN SRV 0 0 3478 a.example.org.
example.org. 3600 IN NAPTR 100 0 \"s\" \"RELAY:turn.udp\" \"\" _turn._udp.example.org.
example.org. 3600 IN NAPTR 110 0 \"s\" \"RELAY:turn.tcp\" \"\" _turn._tcp.example.org.
";
    assert_eq!(stdout(&output), expected);

    for wrong in ["192.0.2.1", "exa mple.org", "", "a..b"] {
        let output = hairpin(&[], &["dns", wrong, "--host", "a.example.org"]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn credentials_without_a_configuration_take_a_secret_file() {
    let files = [("secret", "a secret of its own\n"), ("empty", "\n")];
    let output = hairpin(
        &files,
        &[
            "credentials",
            "--secret-file",
            "secret",
            "--host",
            "::1",
            "--ttl",
            "1h30m",
        ],
    );
    let text = stdout(&output);
    assert!(
        text.contains("good for  1h30m") && text.contains("stun:[::1]:3478"),
        "{text}{}",
        stderr(&output)
    );
    let output = hairpin(&files, &["credentials", "--secret-file", "empty"]);
    assert_eq!(
        (
            output.status.code(),
            stderr(&output).contains("`empty` is empty")
        ),
        (Some(2), true)
    );
    let output = hairpin(&[("c.toml", "")], &["credentials", "-c", "c.toml"]);
    assert_eq!(
        (
            output.status.code(),
            stderr(&output).contains("no shared secret")
        ),
        (Some(1), true)
    );
}

#[test]
fn completions_and_manual_pages_cover_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            stdout(&hairpin(&[], &["completions", shell])).contains("credentials"),
            "{shell}"
        );
    }
    assert!(stdout(&hairpin(&[], &["man"])).contains(".TH hairpin 1"));
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("man1");
    let output = hairpin(&[], &["man", path.to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for page in [
        "",
        "-run",
        "-check",
        "-credentials",
        "-doctor",
        "-import",
        "-probe",
        "-bench",
        "-completions",
        "-man",
    ] {
        assert!(path.join(format!("hairpin{page}.1")).is_file(), "{page}");
    }
}

#[test]
fn output_that_nobody_reads_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hairpin"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("hairpin runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("hairpin ends");
    assert_eq!(
        (output.status.code(), stderr(&output)),
        (Some(0), String::new())
    );
}

fn relay(address: &str, external: Option<&str>) -> RelayAddress {
    let ip = |text: &str| text.parse().expect("an address");
    RelayAddress {
        address: ip(address),
        external: external.map(ip),
    }
}

#[test]
fn wildcard_listeners_are_reached_by_the_public_relay_address_of_their_family() {
    let relays = [
        relay("10.0.0.5", Some("203.0.113.7")),
        relay("2001:db8::5", None),
    ];
    let settings = Settings::default();
    let found = urls(&settings.listeners, &[], &relays, &settings.tls);
    assert_eq!(
        found,
        [
            "stun:203.0.113.7:3478",
            "turn:203.0.113.7:3478?transport=udp",
            "turn:203.0.113.7:3478?transport=tcp",
            "stun:[2001:db8::5]:3478",
            "turn:[2001:db8::5]:3478?transport=udp",
            "turn:[2001:db8::5]:3478?transport=tcp",
        ]
    );
    let json = IceServers::new(found, "u", "p").to_json();
    assert!(
        json.starts_with(r#"{"iceServers":[{"urls":["stun:203.0.113.7:3478","#),
        "{json}"
    );
    assert!(
        json.ends_with(r#""username":"u","credential":"p"}]}"#),
        "{json}"
    );
}

#[test]
fn hosts_are_names_or_addresses_without_a_port() {
    for (text, shown) in [
        ("turn.example.org", "turn.example.org"),
        ("[::1]", "[::1]"),
        ("::1", "[::1]"),
        ("10.0.0.1", "10.0.0.1"),
    ] {
        assert_eq!(
            text.parse::<Host>().map(|host| host.to_string()).as_deref(),
            Ok(shown)
        );
    }
    for text in [
        "",
        "a b",
        "example.org:3478",
        "10.0.0.1:3478",
        "a..b",
        "https://example.org",
    ] {
        assert!(text.parse::<Host>().is_err(), "{text}");
    }
}

#[track_caller]
fn advises(text: &str, surroundings: &Surroundings, words: &str) {
    let text = format!("{text}\n[[auth.user]]\nname = \"a\"\npassword = \"wonderland\"\n");
    let settings = config::parse(&text, "c.toml").expect("a right configuration");
    let advice = advice(&settings, surroundings);
    assert!(
        advice.iter().any(|line| line.contains(words)),
        "{words} not in {advice:#?}"
    );
}

#[test]
fn nothing_is_advised_where_there_is_nothing_to_say() {
    let text = "[[auth.user]]\nname = \"a\"\npassword = \"wonderland\"\n";
    let settings = config::parse(text, "c.toml").expect("a right configuration");
    let surroundings = Surroundings {
        relays: vec![relay("10.0.0.5", Some("203.0.113.7"))],
        ..Default::default()
    };
    assert_eq!(advice(&settings, &surroundings), Vec::<String>::new());
}

#[test]
fn advice_names_what_may_not_do_what_was_meant() {
    let with = |relay: RelayAddress| Surroundings {
        relays: vec![relay],
        ..Default::default()
    };
    advises(
        "",
        &with(relay("10.0.0.5", None)),
        "10.0.0.5 is private and has no `external`",
    );
    advises(
        "",
        &with(relay("fd00::5", None)),
        "fd00::5 is private and has no `external`",
    );
    advises(
        "",
        &with(relay("100.64.0.5", None)),
        "a provider's shared address",
    );
    advises(
        "",
        &with(relay("8.8.8.8", Some("10.0.0.5"))),
        "external address 10.0.0.5 is private",
    );
    advises(
        "",
        &with(relay("127.0.0.1", None)),
        "only peers on this machine",
    );
    let narrow = Surroundings {
        receive_limit: Some(212_992),
        send_limit: Some(212_992),
        ..Default::default()
    };
    advises("", &narrow, "sysctl -w net.core.rmem_max=4194304");
    advises("", &narrow, "sysctl -w net.core.wmem_max=4194304");
    let none = Surroundings::default();
    advises(
        "peers.allow = [\"192.168.1.0/24\"]",
        &none,
        "clients can reach 192.168.1.0/24",
    );
    advises(
        "peers.allow = [\"0.0.0.0/0\"]",
        &none,
        "does not open the closed ranges in it",
    );
    advises("peers.allow = [\"2002::/16\"]", &none, "opens nothing");
    advises(
        "metrics.address = \"0.0.0.0:9641\"",
        &none,
        "can be read by everyone",
    );
    advises(
        "auth.secrets = [\"short\"]\nauth.allow_weak = true",
        &none,
        "shorter than 16 bytes",
    );
    advises("auth.allow_weak = true", &none, "allow_weak");
    advises(
        "[[listener]]\ntransport = \"udp\"\naddress = \"0.0.0.0:50000\"\n",
        &none,
        "among the relay ports",
    );
    let site = "[[discovery]]\nprimary = \"10.0.0.5:3478\"\nalternate = \"10.0.0.6:3479\"\nalternate_external = \"203.0.113.8\"\n";
    advises(site, &none, "discovery tells clients of 10.0.0.5");
    let mapped = with(relay("10.0.0.5", Some("203.0.113.7")));
    let settings = config::parse(site, "c.toml").expect("a right configuration");
    let advice_then = advice(&settings, &mapped);
    assert!(
        !advice_then.iter().any(|line| line.contains("discovery")),
        "{advice_then:#?}"
    );
    let nobody = advice(&Settings::default(), &none);
    assert!(
        nobody.iter().any(|line| line.contains("nobody can relay")),
        "{nobody:?}"
    );
}
