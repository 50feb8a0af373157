//! What an operator reads about a mistake in the configuration.

use hairpin::config::{self, Invalid};

fn refuse(text: &str) -> Invalid {
    match config::parse(text, "hairpin.toml") {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(invalid) => invalid,
    }
}

/// Text, where the caret points, and what must be said.
#[track_caller]
fn says(text: &str, place: &str, words: &[&str]) {
    let invalid = refuse(text);
    let report = invalid
        .reports()
        .into_iter()
        .find(|report| words.iter().all(|word| report.contains(word)))
        .unwrap_or_else(|| panic!("nothing says {words:?} in:\n{invalid}"));
    assert!(
        report.contains(&format!("hairpin.toml:{place}\n")),
        "not at {place}:\n{report}"
    );
}

#[test]
fn a_report_shows_file_line_text_caret_and_the_nearest_spelling() {
    let invalid = refuse("[relay]\nprots = \"50000-60000\"\n");
    let expected = "\
unknown key `prots`
 --> hairpin.toml:2:1
  |
2 | prots = \"50000-60000\"
  | ^^^^^
  |
  = help: did you mean `ports`?";
    assert_eq!(invalid.to_string(), expected);
}

#[test]
fn an_unknown_key_without_a_neighbour_lists_what_there_is() {
    says(
        "[metrics]\nport = 1\n",
        "2:1",
        &["unknown key `port`", "known here: `address`"],
    );
    says(
        "[serverr]\n",
        "1:2",
        &["unknown key `serverr`", "did you mean `server`?"],
    );
    says(
        "[[auth.user]]\nname = \"a\"\npasswrd = \"b\"\n",
        "3:1",
        &["did you mean `password`?"],
    );
}

#[test]
fn an_unknown_word_names_the_nearest() {
    says(
        "[[listener]]\ntransport = \"upd\"\naddress = \"0.0.0.0:1\"\n",
        "2:13",
        &["unknown value `upd`", "`udp`"],
    );
    says(
        "[[listener]]\ntransport = \"quic\"\naddress = \"0.0.0.0:1\"\n",
        "2:13",
        &["known here: `udp`, `tcp`, `tls`, `auto`"],
    );
    says(
        "[log]\nformat = \"Json\"\n",
        "2:10",
        &["did you mean `json`?"],
    );
    says(
        "[log]\nlevel = \"info,hairpin::net=debgu\"\n",
        "2:9",
        &["unknown level `debgu`", "`debug`"],
    );
    says(
        "[log]\nlevel = \"hairpin\"\n",
        "2:9",
        &["\"hairpin=debug\""],
    );
    says(
        "[log]\nlevel = \"info,warn\"\n",
        "2:9",
        &["more than one level"],
    );
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_the_file() {
    let types = "[relay]\nprots = \"1\"\nports = \"2-1\"\nquarantine = 10\n[server]\nworkers = -1\n[logg]\n";
    let lines: Vec<_> = refuse(types)
        .reports()
        .iter()
        .filter_map(|report| line_of(report))
        .collect();
    assert_eq!(lines, [2, 3, 4, 6, 7]);
    let sense = "[tcp]\nmax_connections = 0\n[auth]\nrealm = \"\"\n[peers]\nallow = [\"10.0.0.0/8\"]\ndeny = [\"10.0.0.0/8\"]\n";
    let lines: Vec<_> = refuse(sense)
        .reports()
        .iter()
        .filter_map(|report| line_of(report))
        .collect();
    assert_eq!(lines, [2, 4, 7]);
}

fn line_of(report: &str) -> Option<usize> {
    let (_, place) = report.split_once("hairpin.toml:")?;
    place.split(':').next()?.parse().ok()
}

#[test]
fn a_table_or_key_given_twice_is_refused() {
    says(
        "[auth]\nrealm = \"a\"\nrealm = \"b\"\n",
        "3:1",
        &["`realm` is given twice"],
    );
    says(
        "[auth]\nrealm = \"a\"\n[tcp]\n[auth]\n",
        "4:2",
        &["`auth` is given twice"],
    );
}

#[test]
fn single_brackets_for_a_table_of_a_list_are_explained() {
    says("[auth.user]\nname = \"a\"\n", "1:1", &["double brackets"]);
    says(
        "[listener]\ntransport = \"udp\"\n",
        "1:1",
        &["double brackets"],
    );
}

#[test]
fn durations_and_sizes_need_units_that_exist() {
    says(
        "[tcp]\nidle_timeout = 600\n",
        "2:16",
        &["expected a duration", "\"10s\"", "found integer `600`"],
    );
    says("[tcp]\nidle_timeout = \"600\"\n", "2:16", &["has no unit"]);
    says(
        "[tcp]\nidle_timeout = \"1.5h\"\n",
        "2:16",
        &["not a whole number"],
    );
    says(
        "[tcp]\nidle_timeout = \"10 parsec\"\n",
        "2:16",
        &["unknown unit"],
    );
    says(
        "[tcp]\nidle_timeout = \"99999999999999999999d\"\n",
        "2:16",
        &["too large"],
    );
    says("[tcp]\nidle_timeout = 10m\n", "2:16", &["in quotes"]);
    says(
        "[sockets]\nsend_buffer = \"4M\"\n",
        "2:15",
        &["unknown unit", "\"4MiB\""],
    );
    says(
        "[sockets]\nsend_buffer = \"4MiB 3\"\n",
        "2:15",
        &["not a size"],
    );
}

#[test]
fn values_out_of_range_name_the_range() {
    says(
        "[tcp]\nauth_timeout = \"1h\"\n",
        "2:16",
        &["too large", "\"1s\" to \"5m\"", "without it, \"10s\""],
    );
    says(
        "[server]\nworkers = 5000\n",
        "2:11",
        &["too large", "0 to 1024"],
    );
    says(
        "[server]\nworkers = -1\n",
        "2:11",
        &["a whole number", "`-1`"],
    );
    says(
        "[auth]\nnonce_lifetime = \"2h\"\n",
        "2:18",
        &["\"1m\" to \"1h\""],
    );
    says(
        "[limits]\nchannels_per_allocation = 0\n",
        "2:27",
        &["1 to 4096"],
    );
    says(
        "[allocation]\ndefault_lifetime = \"2h\"\n",
        "2:20",
        &["longer than `max_lifetime`", "\"1h\""],
    );
    says(
        "[allocation]\nmax_lifetime = \"5m\"\n",
        "2:16",
        &["too small", "\"10m\""],
    );
}

#[test]
fn port_ranges_must_make_sense() {
    says(
        "[relay]\nports = \"60000-50000\"\n",
        "2:9",
        &["upside down", "\"50000-60000\""],
    );
    says("[relay]\nports = \"80-90\"\n", "2:9", &["below 1024"]);
    says("[relay]\nports = \"50000\"\n", "2:9", &["not a range"]);
    says(
        "[relay]\nports = \"50000-70000\"\n",
        "2:9",
        &["not a port number"],
    );
}

#[test]
fn listeners_must_be_complete_usable_and_different() {
    let listener =
        |address: &str| format!("[[listener]]\ntransport = \"udp\"\naddress = \"{address}\"\n");
    says(
        "[[listener]]\ntransport = \"udp\"\n",
        "1:1",
        &["no `address`"],
    );
    says(
        "[[listener]]\naddress = \"0.0.0.0:1\"\n",
        "1:1",
        &["no `transport`"],
    );
    says(&listener("0.0.0.0"), "3:11", &["has no port"]);
    says(&listener("::1:3478"), "3:11", &["without brackets"]);
    says(
        &listener("example.org:3478"),
        "3:11",
        &["not an IP address"],
    );
    says(&listener("0.0.0.0:0"), "3:11", &["port 0"]);
    says(&listener("224.0.0.1:3478"), "3:11", &["multicast"]);
    says(
        &listener("[::ffff:10.0.0.1]:3478"),
        "3:11",
        &["write IPv4 addresses as IPv4"],
    );
    let twice = listener("0.0.0.0:3478").repeat(2);
    says(&twice, "6:11", &["given twice", "first here"]);
    says(
        "[metrics]\naddress = \"127.0.0.1:3478\"\n",
        "2:11",
        &["taken by the tcp listener"],
    );
}

#[test]
fn s_disc_13_discovery_needs_two_addresses_and_two_ports_a_family() {
    let site = |primary: &str, alternate: &str| {
        format!("[[discovery]]\nprimary = \"{primary}\"\nalternate = \"{alternate}\"\n")
    };
    says(
        "[[discovery]]\nprimary = \"203.0.113.1:3478\"\n",
        "1:1",
        &["`primary` and `alternate`"],
    );
    for (primary, alternate, place, words) in [
        (
            "203.0.113.1:1",
            "203.0.113.1:2",
            "3:13",
            "different IP addresses",
        ),
        ("203.0.113.1:1", "203.0.113.2:1", "3:13", "different ports"),
        (
            "203.0.113.1:1",
            "[2001:db8::1]:2",
            "3:13",
            "different families",
        ),
        ("0.0.0.0:1", "203.0.113.2:2", "2:11", "have to be named"),
        ("203.0.113.1:1", "203.0.113.2:0", "3:13", "port 0"),
    ] {
        says(&site(primary, alternate), place, &[words]);
    }
    let good = site("203.0.113.1:1", "203.0.113.2:2");
    says(
        &format!("{good}{good}"),
        "5:11",
        &["given twice for IPv4", "first here"],
    );
    says(
        &format!("{good}primary_external = \"2001:db8::1\"\n"),
        "4:20",
        &["is IPv6, the address is IPv4"],
    );
    says(
        &format!("{good}alternate_external = \"224.0.0.1\"\n"),
        "4:22",
        &["multicast"],
    );
}

#[test]
fn discovery_and_proxies_do_not_share_a_socket() {
    let text = |address: &str| {
        format!(
            "[[listener]]\ntransport = \"udp\"\naddress = \"{address}\"\nproxy_protocol_from = [\"10.0.0.1\"]\n\
             [[discovery]]\nprimary = \"203.0.113.1:3478\"\nalternate = \"203.0.113.2:3479\"\n"
        )
    };
    says(
        &text("203.0.113.2:3478"),
        "6:11",
        &["serves proxies or DTLS only", "that listener"],
    );
    let settings = config::parse(&text("0.0.0.0:3478"), "hairpin.toml").unwrap();
    assert_eq!(settings.sockets().len(), 5);
}

#[test]
fn discovery_adds_the_udp_sockets_that_no_listener_serves() {
    let listeners = |text: &str| -> Vec<String> {
        let site =
            "[[discovery]]\nprimary = \"203.0.113.1:3478\"\nalternate = \"203.0.113.2:3479\"\n";
        let settings = config::parse(&format!("{text}{site}"), "hairpin.toml").unwrap();
        assert_eq!(settings.discovery.len(), 1);
        let sockets = settings.sockets();
        sockets
            .iter()
            .map(|l| format!("{} {}", l.transport, l.address))
            .collect()
    };
    // The default ones have all addresses of port 3478.
    assert_eq!(
        listeners("")[4..],
        ["udp 203.0.113.1:3479", "udp 203.0.113.2:3479"]
    );
    assert_eq!(
        listeners("[[listener]]\ntransport = \"tcp\"\naddress = \"203.0.113.1:3478\"\n").len(),
        5
    );
    assert_eq!(
        listeners("[[listener]]\ntransport = \"udp\"\naddress = \"203.0.113.2:3478\"\n"),
        [
            "udp 203.0.113.2:3478",
            "udp 203.0.113.1:3478",
            "udp 203.0.113.1:3479",
            "udp 203.0.113.2:3479"
        ]
    );
}

#[test]
fn relay_addresses_must_fit_their_external_ones() {
    let relay = |address: &str, external: &str| {
        format!("[[relay.address]]\naddress = \"{address}\"\nexternal = \"{external}\"\n")
    };
    says(
        &relay("ipv4", "2001:db8::1"),
        "3:12",
        &["`external` is IPv6", "IPv4"],
    );
    says(
        &relay("ipv4", "turn.example.org"),
        "3:12",
        &["not an IP address"],
    );
    says(
        &relay("0.0.0.0", "203.0.113.7"),
        "2:11",
        &["unspecified", "address = \"ipv4\""],
    );
    says(&relay("ipv6", "ff02::1"), "3:12", &["multicast"]);
    says(
        "[[relay.address]]\naddress = \"10.0.0.1:5000\"\n",
        "2:11",
        &["has a port", "relay.ports"],
    );
    says(
        "[[relay.address]]\nexternal = \"203.0.113.7\"\n",
        "1:1",
        &["no `address`"],
    );
    let twice = relay("ipv4", "203.0.113.7") + &relay("ipv4", "203.0.113.8");
    says(&twice, "5:11", &["IPv4 is given twice", "first here"]);
    let shared = relay("10.0.0.1", "203.0.113.7") + &relay("10.0.0.2", "203.0.113.7");
    says(
        &shared,
        "6:12",
        &["external address `203.0.113.7` is given twice"],
    );
}

#[test]
fn peer_prefixes_must_be_prefixes() {
    let allow = |entry: &str| format!("[peers]\nallow = [\"{entry}\"]\n");
    says(
        &allow("10.0.0.1/8"),
        "2:10",
        &["bits set behind its prefix", "\"10.0.0.0/8\""],
    );
    says(&allow("10.0.0.0/33"), "2:10", &["impossible length"]);
    says(&allow("10.0.0.0-10.0.0.9"), "2:10", &["range"]);
    says(
        "[peers]\nallow = [\"10.0.0.0/8\"]\ndeny = [\"10.0.0.0/8\"]\n",
        "3:9",
        &["both denied and allowed"],
    );
    says(
        "[peers]\ndeny = [\"10.0.0.1\", \"10.0.0.1/32\"]\n",
        "2:21",
        &["given twice"],
    );
    says(
        "[peers]\nnat64_prefixes = [\"2001:db8::/97\"]\n",
        "2:19",
        &["32, 40, 48, 56, 64 or 96"],
    );
    says(
        "[peers]\nnat64_prefixes = [\"10.0.0.0/8\"]\n",
        "2:19",
        &["is IPv4"],
    );
    says(
        "[peers]\nallow = \"10.0.0.0/8\"\n",
        "2:9",
        &["expected a list"],
    );
}

#[test]
fn users_need_a_name_of_their_own_and_one_kind_of_proof() {
    let user = |rest: &str| format!("[[auth.user]]\nname = \"bob\"\n{rest}\n");
    says(&user(""), "2:8", &["neither a password nor a key"]);
    says(
        &user("password = \"x\"\nmd5_key = \"y\""),
        "3:12",
        &["both a password and keys"],
    );
    says(
        &user("md5_key = \"12\""),
        "3:11",
        &["`md5_key` is not 32 hexadecimal digits"],
    );
    says(
        &user("sha256_key = \"12\""),
        "3:14",
        &["`sha256_key` is not 64 hexadecimal digits"],
    );
    says(&user("password = \"\""), "3:12", &["empty"]);
    says(
        &user("password = \"x\"").repeat(2),
        "5:8",
        &["user `bob` is given twice"],
    );
    says("[[auth.user]]\npassword = \"x\"\n", "1:1", &["no `name`"]);
    says(
        "[[auth.user]]\nname = \"\"\npassword = \"x\"\n",
        "2:8",
        &["empty"],
    );
    let long = format!(
        "[[auth.user]]\nname = \"{}\"\npassword = \"x\"\n",
        "n".repeat(509)
    );
    says(&long, "2:8", &["509 bytes long; at most 508"]);
}

#[test]
fn realms_and_software_must_fit_into_a_message() {
    says("[auth]\nrealm = \"\"\n", "2:9", &["`realm` is empty"]);
    says("[auth]\nrealm = \"a\\\"b\"\n", "2:9", &["quote"]);
    says(
        "[auth]\nrealm = \"a\\u0007\"\n",
        "2:9",
        &["control character"],
    );
    says(
        &format!("[auth]\nrealm = \"{}\"\n", "r".repeat(128)),
        "2:9",
        &["128 bytes"],
    );
    says(
        &format!("[server]\nsoftware = \"{}\"\n", "s".repeat(128)),
        "2:12",
        &["128 bytes"],
    );
}

#[test]
fn numbers_and_words_that_are_right_are_taken_as_they_are() {
    let text = "
        [server]\nworkers = 3\nsoftware = \"relay\"
        [tcp]\nidle_timeout = \"1h30m\"
        [sockets]\nsend_buffer = \"100kB\"
        [relay]\nports = \"1024-1024\"
        [limits]\nallocations_per_user = 0\nallocations = 7
        [peers]\nallow = [\"10.1.2.3\", \"fd00::/8\"]
        [log]\nlevel = \"warn,hairpin::net=trace\"\nformat = \"json\"
        [metrics]\naddress = \"\"";
    let settings = config::parse(text, "hairpin.toml").expect("a right configuration");
    assert_eq!(settings.server.workers.map(usize::from), Some(3));
    assert_eq!(settings.server.software.as_deref(), Some("relay"));
    assert_eq!(settings.tcp.idle_timeout.as_secs(), 5400);
    assert_eq!(settings.sockets.send_buffer, 100_000);
    assert_eq!(settings.relay.ports.count(), 1);
    assert_eq!(settings.limits.allocations_per_user, None);
    assert_eq!(settings.limits.allocations, Some(7));
    assert_eq!(
        settings
            .peers
            .allow
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["10.1.2.3/32", "fd00::/8"]
    );
    assert_eq!(settings.metrics.address, None);
}

#[test]
fn an_external_address_comes_from_a_file_or_the_environment_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("hairpin.toml");
    let write = |name: &str, text: &str| {
        std::fs::write(directory.path().join(name), text).expect("a file");
    };
    let load = |external: &str| {
        let text = format!("[[relay.address]]\naddress = \"ipv4\"\nexternal = {external}\n");
        write("hairpin.toml", &text);
        config::load(&path)
    };
    write("external", "203.0.113.7\n");
    let loaded = load("{ file = \"external\" }").expect("an address");
    let external = loaded.settings.relay.addresses[0].external;
    assert_eq!(external, Some("203.0.113.7".parse().expect("an address")));
    // The sandbox leaves it readable, and a change of it is seen where files are watched.
    assert!(loaded.files.contains(&directory.path().join("external")));
    write("empty", " \n");
    write("two", "203.0.113.7\n203.0.113.8\n");
    for (external, words) in [
        (
            "{ env = \"HAIRPIN_TEST_NOT_SET\" }",
            "environment variable `HAIRPIN_TEST_NOT_SET` is not set",
        ),
        (
            "{ env = \"CARGO_PKG_NAME\" }",
            "environment variable `CARGO_PKG_NAME`: `hairpin` is not an IP address",
        ),
        ("{ file = \"missing\" }", "missing`: No such file"),
        ("{ file = \"empty\" }", "empty` is empty"),
        ("{ file = \"two\" }", "is not an IP address"),
        ("{ file = \"/dev/zero\" }", "is not an IP address"),
        (
            "{ file = \"a\", env = \"B\" }",
            "either from a `file` or from `env`",
        ),
        ("{ url = \"a\" }", "unknown key"),
        ("7", "an IP address, { file = "),
        ("\"203.0.113.7:1\"", "has a port"),
    ] {
        let error = load(external).expect_err(external).to_string();
        assert!(error.contains(words), "{external}: {error}");
    }
    // What is judged of one in the file is judged of this one too.
    write("multicast", "224.0.0.1");
    let error = load("{ file = \"multicast\" }")
        .expect_err("a group")
        .to_string();
    assert!(error.contains("cannot be an external address"), "{error}");
}

#[test]
fn a_public_tester_needs_an_address_that_users_reach_and_a_secret() {
    says(
        "[admin.tester]\npublic = true\n",
        "2:10",
        &["nobody but who may use the unix socket", "give `address`"],
    );
    says(
        "[admin.tester]\npublic = true\naddress = \"127.0.0.1:8444\"\n",
        "2:10",
        &["made with a shared secret, and there is none"],
    );
    says(
        "[admin.tester]\naddress = \"127.0.0.1:8444\"\n",
        "2:11",
        &["`address` without `public = true`"],
    );
    let secret = "[auth]\nsecrets = [\"Q2xlYXJseS1hLXNlY3JldC1vZi10ZXN0cw\"]\n";
    let fine = "[admin.tester]\npublic = true\naddress = \"127.0.0.1:8444\"\n";
    let parsed = config::parse(&format!("{secret}{fine}"), "hairpin.toml").unwrap();
    assert!(parsed.admin.tester.public);
}

#[test]
fn no_application_has_the_name_of_the_testers_users() {
    says(
        "[auth]\nsecrets = [\"Q2xlYXJseS1hLXNlY3JldC1vZi10ZXN0cw\"]\n[[credentials.key]]\nname = \"tester\"\n\
         token = \"YW4tYXBwbGljYXRpb24ncy1vd24ta2V5\"\n",
        "4:8",
        &["`tester` is the tester's"],
    );
}
