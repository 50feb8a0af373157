//! `hairpin doctor`: what it finds, on machines held up to it and on this one.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use hairpin::doctor::{Finding, Machine, Questions, Severity, examine};
use hairpin::net::addresses::RelayAddress;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::Value;
use tempfile::TempDir;

const AUTH: &str = "[auth]\nsecrets = [\"a secret that is long enough\"]\n";

/// A directory with files in it.
struct Room(TempDir);

impl Room {
    fn new(files: &[(&str, &str)]) -> Room {
        let room = Room(tempfile::tempdir().expect("a directory"));
        for (name, content) in files {
            room.write(name, content);
        }
        room
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name.trim_start_matches('/'))
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("permissions");
    }

    /// A program of that name that prints this, or fails.
    fn program(&self, name: &str, prints: Option<&str>) {
        let path = self.path(&format!("bin/{name}"));
        let says = match prints {
            Some(text) => {
                self.write(&format!("said/{name}"), text);
                format!(
                    "exec /bin/cat {}\n",
                    self.path(&format!("said/{name}")).display()
                )
            }
            None => "echo 'Operation not permitted' >&2; exit 1\n".to_owned(),
        };
        self.write(&format!("bin/{name}"), &format!("#!/bin/sh\n{says}"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("permissions");
    }

    /// `hairpin doctor`, which finds these programs only.
    fn doctor(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_hairpin"))
            .arg("doctor")
            .args(arguments)
            .current_dir(self.0.path())
            .env("PATH", self.path("bin"))
            .env_remove("HAIRPIN_CONFIG")
            .env_remove("SSL_CERT_FILE")
            .output()
            .expect("hairpin runs")
    }

    fn findings(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.doctor(&[&["--json"], arguments].concat());
        let json: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        let status = output.status.code();
        assert_eq!(
            status == Some(1),
            json["problems"] != 0,
            "{status:?} {json}"
        );
        json["findings"].as_array().expect("findings").clone()
    }

    /// What is found on a machine with these files, and this configuration.
    fn examined(&self, config: &str) -> Vec<Finding> {
        self.examined_while_relaying(config, None)
    }

    /// The same where a server is running that relays from there.
    fn examined_while_relaying(&self, config: &str, from: Option<&str>) -> Vec<Finding> {
        self.write("c.toml", config);
        let loaded = hairpin::config::load(&self.path("c.toml")).expect("a configuration");
        let relay = |address: &str| RelayAddress {
            address: address.parse().expect("an address"),
            external: None,
        };
        let questions = Questions {
            no_listeners: true,
            relays: from.map(|address| vec![relay(address)]),
            ..Questions::default()
        };
        examine(&loaded, &Machine::of_files(self.0.path()), &questions)
    }
}

#[track_caller]
fn of<'f>(found: &'f [Finding], id: &str) -> &'f Finding {
    found
        .iter()
        .find(|finding| finding.id == id)
        .unwrap_or_else(|| panic!("no {id} in {found:#?}"))
}

fn has(found: &[Finding], id: &str) -> bool {
    found.iter().any(|finding| finding.id == id)
}

#[track_caller]
fn of_json<'f>(found: &'f [Value], id: &str) -> &'f Value {
    found
        .iter()
        .find(|finding| finding["id"] == id)
        .unwrap_or_else(|| panic!("no {id} in {found:#?}"))
}

#[test]
fn relay_ports_that_the_kernel_gives_to_others_are_told_unless_they_are_reserved() {
    let range = "proc/sys/net/ipv4/ip_local_port_range";
    let reserved = "proc/sys/net/ipv4/ip_local_reserved_ports";
    let room = Room::new(&[(range, "32768\t60999\n"), (reserved, "8080\n")]);
    let found = room.examined(AUTH);
    let ports = of(&found, "kernel.local-ports");
    assert_eq!(ports.severity, Severity::Note);
    assert!(ports.what.contains("11848 of the relay ports"), "{ports:?}");
    assert!(
        ports.lines[0].contains("ip_local_reserved_ports=8080,49152-65535"),
        "{ports:?}"
    );
    room.write(reserved, "8080,49152-60999\n");
    assert_eq!(
        of(&room.examined(AUTH), "kernel.local-ports").severity,
        Severity::Ok
    );
    room.write(reserved, "\n");
    room.write(range, "32768 49151\n");
    assert_eq!(
        of(&room.examined(AUTH), "kernel.local-ports").severity,
        Severity::Ok
    );
}

#[test]
fn the_kernels_limits_are_held_against_the_settings() {
    let room = Room::new(&[
        ("proc/sys/net/core/rmem_max", "212992\n"),
        ("proc/sys/net/core/wmem_max", "4194304\n"),
        ("proc/sys/net/netfilter/nf_conntrack_max", "10000\n"),
        ("proc/sys/net/netfilter/nf_conntrack_count", "9000\n"),
        (
            "proc/self/limits",
            "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 4096                 files\n",
        ),
        ("run/systemd/timesync/synchronized", ""),
    ]);
    let found = room.examined(AUTH);
    let buffer = of(&found, "kernel.receive-buffer");
    assert!(
        buffer.lines[0].contains("net.core.rmem_max=4194304"),
        "{buffer:?}"
    );
    assert!(!has(&found, "kernel.send-buffer"), "{found:#?}");
    assert_eq!(of(&found, "kernel.connections").severity, Severity::Warning);
    let files = of(&found, "process.descriptors");
    assert!(files.what.starts_with("4096 open files"), "{files:?}");
    assert_eq!(of(&found, "clock.synchronised").severity, Severity::Ok);
}

#[test]
fn a_unit_and_its_drop_ins_are_read_for_its_limits_and_rights() {
    let unit = "etc/systemd/system/hairpin.service";
    let low = format!("{AUTH}[[listener]]\ntransport = \"tcp\"\naddress = \"0.0.0.0:443\"\n");
    let room = Room::new(&[(
        unit,
        "[Service]\nType=notify\nLimitNOFILE=1024:2048\nDynamicUser=yes\nCapabilityBoundingSet=\nPrivateUsers=yes\n",
    )]);
    let found = room.examined(&low);
    assert!(
        of(&found, "process.descriptors")
            .what
            .contains("2048 open files"),
        "{found:#?}"
    );
    assert_eq!(of(&found, "unit.low-port").severity, Severity::Problem);
    assert!(!has(&found, "unit.type"), "{found:#?}");
    room.write(
        "etc/systemd/system/hairpin.service.d/ports.conf",
        "[Service]\nLimitNOFILE=1048576\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n\
         CapabilityBoundingSet=CAP_NET_BIND_SERVICE\nPrivateUsers=no\n",
    );
    let found = room.examined(&low);
    assert_eq!(of(&found, "process.descriptors").severity, Severity::Ok);
    assert!(!has(&found, "unit.low-port"), "{found:#?}");
    room.write(unit, "[Service]\nExecStart=/usr/bin/hairpin\n");
    assert!(has(&room.examined(AUTH), "unit.type"));
}

#[test]
fn listeners_that_systemd_opens_need_no_right_to_their_ports() {
    let room = Room::new(&[(
        "etc/systemd/system/hairpin.service",
        "[Service]\nType=notify\nDynamicUser=yes\nCapabilityBoundingSet=\n",
    )]);
    let low = format!("{AUTH}[[listener]]\ntransport = \"tcp\"\naddress = \"0.0.0.0:443\"\n");
    let socket = "etc/systemd/system/hairpin.socket";
    for other in ["ListenStream=0.0.0.0:80", "ListenDatagram=0.0.0.0:443"] {
        room.write(socket, &format!("[Socket]\n{other}\n"));
        assert!(has(&room.examined(&low), "unit.low-port"), "{other}");
    }
    room.write(socket, include_str!("../config/hairpin.socket"));
    assert!(!has(&room.examined(&low), "unit.low-port"));
}

#[test]
fn the_unit_of_this_project_is_in_order() {
    let unit = include_str!("../config/hairpin.service");
    let room = Room::new(&[("etc/systemd/system/hairpin.service", unit)]);
    let found = room.examined(AUTH);
    assert_eq!(of(&found, "process.descriptors").severity, Severity::Ok);
    assert!(
        !has(&found, "unit.low-port") && !has(&found, "unit.type"),
        "{found:#?}"
    );
}

#[test]
fn rights_that_the_settings_keep_are_told() {
    let room = Room::new(&[]);
    assert_eq!(
        of(&room.examined(AUTH), "process.rights").severity,
        Severity::Ok
    );
    let found = room.examined(&format!(
        "{AUTH}[server]\nuser = \"root\"\nsandbox = false\n"
    ));
    assert!(
        has(&found, "process.root") && has(&found, "process.no-sandbox"),
        "{found:#?}"
    );
}

#[test]
fn secrets_that_everybody_can_read_are_told_of_by_their_file_and_not_by_their_content() {
    let room = Room::new(&[
        ("secret", "a secret that is long enough\n"),
        ("nonce", "another secret, long enough\n"),
    ]);
    let config = "[auth]\nsecrets = [{ file = \"secret\" }]\nnonce_key = { file = \"nonce\" }\n";
    assert_eq!(
        of(&room.examined(config), "secret.files").severity,
        Severity::Ok
    );
    let open = fs::Permissions::from_mode(0o644);
    fs::set_permissions(room.path("secret"), open).expect("permissions");
    let found = room.examined(config);
    let readable: Vec<_> = found
        .iter()
        .filter(|one| one.id == "secret.readable")
        .collect();
    assert_eq!(readable.len(), 1, "{found:#?}");
    assert!(readable[0].lines[0].ends_with("/secret"), "{readable:?}");
    assert!(!format!("{found:?}").contains("long enough"));
}

#[test]
fn advice_of_the_configuration_is_among_the_findings_with_a_severity() {
    let room = Room::new(&[]);
    let config = "[[relay.address]]\naddress = \"127.0.0.1\"\nexternal = \"10.0.0.7\"\n";
    let found = room.examined(config);
    assert_eq!(of(&found, "auth.nobody").severity, Severity::Problem);
    assert_eq!(
        of(&found, "relay.private-external").severity,
        Severity::Problem
    );
    assert_eq!(of(&found, "certificate.none").severity, Severity::Note);
    let severities: Vec<_> = found.iter().map(|finding| finding.severity).collect();
    assert!(
        severities.is_sorted_by(|one, other| one >= other),
        "{severities:?}"
    );
    let found = room.examined("[[relay.address]]\naddress = \"203.0.113.77\"\n");
    assert_eq!(of(&found, "relay.unusable").severity, Severity::Problem);
}

#[test]
fn a_server_that_relays_from_an_address_that_is_gone_is_told_so() {
    let room = Room::new(&[]);
    let config = format!("{AUTH}[[relay.address]]\naddress = \"127.0.0.1\"\n");
    assert!(!has(&room.examined(&config), "relay.moved"));
    let found = room.examined_while_relaying(&config, Some("127.0.0.1"));
    assert!(!has(&found, "relay.moved"), "{found:#?}");
    // An address for documentation, which no machine has.
    let found = room.examined_while_relaying(&config, Some("203.0.113.77"));
    let moved = of(&found, "relay.moved");
    assert_eq!(moved.severity, Severity::Problem);
    for part in ["203.0.113.77", "127.0.0.1"] {
        assert!(moved.what.contains(part), "{moved:?}");
    }
    assert!(moved.mend.contains("start hairpin again"), "{moved:?}");
    // What else is found is about where it is, and not where it would be.
    assert!(!has(&found, "relay.loopback-address"), "{found:#?}");
}

#[test]
fn tokens_over_plain_http_are_told_of_where_others_can_listen() {
    let room = Room::new(&[]);
    let sections = |host: &str, tls: bool| {
        let token =
            |name: &str, token: &str| format!("{{ name = \"{name}\", token = \"{token}\" }}");
        format!(
            "{AUTH}[admin]\nsocket = \"\"\naddress = \"{host}:9642\"\ntls = {tls}\ntoken = [{}]\n\
             [admin.tester]\npublic = true\naddress = \"{host}:8444\"\n\
             [credentials]\naddress = \"{host}:9643\"\ntls = {tls}\nkey = [{}]\n\
             [tls.acme]\ndomains = [\"turn.example.com\"]\nagree_to_terms = true\nstate = \"state\"\n",
            token("ada", "b3BlcmF0aW5nLWlzLXdoYXQtdGhpcy1pcw"),
            token("shop", "c2VsbGluZy1pcy13aGF0LXRoaXMtaXM"),
        )
    };
    let open = room.examined(&sections("0.0.0.0", false));
    for (id, section) in [
        ("admin.plain", "[admin]"),
        ("credentials.plain", "[credentials]"),
    ] {
        let told = of(&open, id);
        assert_eq!(told.severity, Severity::Warning);
        assert!(told.what.contains("0.0.0.0:964"), "{told:?}");
        assert_eq!(told.lines, [section, "tls = true"]);
    }
    for (host, tls) in [("0.0.0.0", true), ("127.0.0.1", false), ("[::1]", false)] {
        let found = room.examined(&sections(host, tls));
        let plain = found.iter().find(|one| one.id.ends_with(".plain"));
        assert_eq!(plain, None, "{host} {tls}");
    }
}

/// A CA, and a certificate of it for this name: the CA's, the server's and its key, as PEM.
fn certified(name: &str) -> (String, String, String) {
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority
        .distinguished_name
        .push(DnType::CommonName, format!("Authority for {name}"));
    let key = KeyPair::generate().expect("a key");
    let ca = authority.self_signed(&key).expect("a certificate").pem();
    let issuer = Issuer::new(authority, key);
    let mut server = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    server.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    let certificate = server
        .signed_by(&key, &issuer)
        .expect("a certificate")
        .pem();
    (ca, certificate, key.serialize_pem())
}

const CERTIFICATE: &str = "[[tls.certificate]]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n";

#[test]
fn a_certificate_is_judged_as_clients_judge_it() {
    let (ca, certificate, key) = certified("turn.example.org");
    let (other, ..) = certified("other.example.org");
    let room = Room::new(&[
        ("ca.pem", &ca),
        ("other.pem", &other),
        ("c.pem", &certificate),
        ("k.pem", &key),
    ]);
    let judged = |config: &str, ca: &str| {
        room.write("c.toml", &format!("{config}{CERTIFICATE}"));
        let loaded = hairpin::config::load(&room.path("c.toml")).expect("a configuration");
        let questions = Questions {
            no_listeners: true,
            ca: Some(room.path(ca)),
            ..Questions::default()
        };
        examine(&loaded, &Machine::of_files(room.0.path()), &questions)
    };
    let trusted = judged(AUTH, "ca.pem");
    assert!(
        of(&trusted, "certificate.trusted")
            .what
            .contains("turn.example.org")
    );
    assert!(!has(&trusted, "certificate.realm"), "{trusted:#?}");
    let incomplete = judged(AUTH, "other.pem");
    assert_eq!(
        of(&incomplete, "certificate.chain-incomplete").severity,
        Severity::Problem
    );
    let realm = judged(&format!("{AUTH}realm = \"example.com\"\n"), "ca.pem");
    assert_eq!(of(&realm, "certificate.realm").severity, Severity::Note);
    let realm = judged(&format!("{AUTH}realm = \"example.org\"\n"), "ca.pem");
    assert!(!has(&realm, "certificate.realm"), "{realm:#?}");
    let own =
        rcgen::generate_simple_self_signed(["turn.example.org".to_owned()]).expect("a certificate");
    room.write("c.pem", &own.cert.pem());
    room.write("k.pem", &own.signing_key.serialize_pem());
    assert_eq!(
        of(&judged(AUTH, "ca.pem"), "certificate.self-signed").severity,
        Severity::Problem
    );
}

/// Base chains and rules as `nft -j list ruleset` prints them.
fn nft(policy: &str, rules: &str) -> String {
    format!(
        r#"{{"nftables": [{{"metainfo": {{"json_schema_version": 1}}}},
        {{"table": {{"family": "inet", "name": "filter", "handle": 1}}}},
        {{"set": {{"family": "inet", "name": "turn", "table": "filter", "type": "inet_service", "elem": [3478, {{"range": [49152, 65535]}}]}}}},
        {{"chain": {{"family": "inet", "table": "filter", "name": "input", "handle": 1, "type": "filter", "hook": "input", "prio": 0, "policy": "{policy}"}}}},
        {{"chain": {{"family": "inet", "table": "filter", "name": "services", "handle": 2}}}},
        {{"chain": {{"family": "inet", "table": "filter", "name": "forward", "handle": 3, "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}}}}
        {rules}]}}"#
    )
}

fn rule(chain: &str, expressions: &str) -> String {
    format!(
        r#", {{"rule": {{"family": "inet", "table": "filter", "chain": "{chain}", "handle": 9, "expr": [{expressions}]}}}}"#
    )
}

fn dport(protocol: &str, right: &str) -> String {
    format!(
        r#"{{"match": {{"op": "==", "left": {{"payload": {{"protocol": "{protocol}", "field": "dport"}}}}, "right": {right}}}}}"#
    )
}

/// The firewall's findings, as ids, for a listener for UDP on port 3478 and what is relayed.
fn firewall(ruleset: Option<&str>, iptables: Option<&str>) -> Vec<Value> {
    let config = format!(
        "{AUTH}[[listener]]\ntransport = \"udp\"\naddress = \"0.0.0.0:3478\"\n[[relay.address]]\naddress = \"127.0.0.1\"\n"
    );
    let room = Room::new(&[("c.toml", &config)]);
    room.program("nft", ruleset);
    room.program("iptables-save", iptables);
    room.program("ip6tables-save", iptables.map(|_| ""));
    room.program("timedatectl", Some("yes\n"));
    let mut found = room.findings(&["-c", "c.toml", "--no-listeners"]);
    found.retain(|finding| {
        finding["id"]
            .as_str()
            .is_some_and(|id| id.starts_with("firewall."))
    });
    found
}

#[track_caller]
fn nft_says(policy: &str, rules: &[String], id: &str) -> Value {
    let found = firewall(Some(&nft(policy, &rules.concat())), None);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0]["id"], id, "{found:#?}");
    found[0].clone()
}

#[test]
fn nftables_are_followed_to_whether_a_listener_is_let_in() {
    let accept = r#", {"accept": null}"#;
    let established = r#"{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}, {"accept": null}"#;
    let lo = r#"{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}, {"accept": null}"#;
    let usual = [rule("input", established), rule("input", lo)].concat();
    nft_says("accept", &[], "firewall.none");
    nft_says("accept", std::slice::from_ref(&usual), "firewall.open");
    let closed = nft_says("drop", std::slice::from_ref(&usual), "firewall.closed");
    assert_eq!(closed["severity"], "problem");
    assert_eq!(
        closed["lines"][0],
        "nft insert rule inet filter input udp dport 3478 accept"
    );
    // By number, range, set, named set and in a chain that is called.
    for right in [
        "3478",
        r#"{"range": [3000, 4000]}"#,
        r#"{"set": [22, 3478]}"#,
        r#""@turn""#,
    ] {
        let open = rule("input", &format!("{}{accept}", dport("udp", right)));
        nft_says("drop", &[usual.clone(), open], "firewall.open");
    }
    let jump = rule("input", r#"{"jump": {"target": "services"}}"#);
    let open = rule(
        "services",
        &format!("{}, {{\"counter\": {{}}}}{accept}", dport("th", "3478")),
    );
    nft_says("drop", &[usual.clone(), jump, open], "firewall.open");
    // Another port, another protocol; a rule that drops before one that accepts.
    let other = rule("input", &format!("{}{accept}", dport("udp", "3479")));
    nft_says("drop", &[other], "firewall.closed");
    let other = rule("input", &format!("{}{accept}", dport("tcp", "3478")));
    nft_says("drop", &[other], "firewall.closed");
    let drop = rule(
        "input",
        &format!("{}, {{\"drop\": null}}", dport("udp", "3478")),
    );
    nft_says(
        "accept",
        &[drop, rule("input", r#"{"accept": null}"#)],
        "firewall.closed",
    );
    // Private clients are not clients; of others nothing can be told.
    let from = |prefix: &str| {
        let source = format!(
            r#"{{"match": {{"op": "==", "left": {{"payload": {{"protocol": "ip", "field": "saddr"}}}}, "right": {{"prefix": {{"addr": "{prefix}", "len": 8}}}}}}}}"#
        );
        rule(
            "input",
            &format!("{source}, {}{accept}", dport("udp", "3478")),
        )
    };
    nft_says("drop", &[from("10.0.0.0")], "firewall.closed");
    nft_says("drop", &[from("8.0.0.0")], "firewall.unclear");
    nft_says("accept", &[from("8.0.0.0")], "firewall.open");
    nft_says(
        "drop",
        &[rule(
            "input",
            r#"{"xt": {"type": "match", "name": "tls"}}, {"accept": null}"#,
        )],
        "firewall.unclear",
    );
}

#[test]
fn iptables_are_followed_as_well() {
    let save = |policy: &str, rules: &str| {
        let text = format!(
            "*filter\n:INPUT {policy} [0:0]\n:services - [0:0]\n-A INPUT -i lo -j ACCEPT\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n{rules}COMMIT\n*nat\n:INPUT DROP [0:0]\nCOMMIT\n"
        );
        let found = firewall(None, Some(&text));
        assert_eq!(found.len(), 1, "{found:#?}");
        found[0].clone()
    };
    assert_eq!(save("ACCEPT", "")["id"], "firewall.open");
    let closed = save("DROP", "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n");
    assert_eq!(closed["id"], "firewall.closed");
    assert_eq!(
        closed["lines"][0],
        "iptables -I INPUT -p udp --dport 3478 -j ACCEPT"
    );
    for open in [
        "-A INPUT -p udp -m udp --dport 3478 -m comment --comment \"TURN, for calls\" -j ACCEPT\n",
        "-A INPUT -p udp -m multiport --dports 3478,49152:65535 -j ACCEPT\n",
        "-A INPUT -j services\n-A services -p udp -m udp --dport 3000:4000 -j ACCEPT\n",
    ] {
        assert_eq!(save("DROP", open)["id"], "firewall.open", "{open}");
    }
    let reject =
        "-A INPUT -p udp -m udp --dport 3478 -j REJECT --reject-with icmp-port-unreachable\n";
    assert_eq!(save("ACCEPT", reject)["id"], "firewall.closed");
    assert_eq!(
        save("DROP", "-A INPUT -s 10.0.0.0/8 -j ACCEPT\n")["id"],
        "firewall.closed"
    );
    assert_eq!(
        save("DROP", "-A INPUT -s 8.8.0.0/16 -j ACCEPT\n")["id"],
        "firewall.unclear"
    );
}

#[test]
fn what_is_dropped_before_the_rules_for_what_comes_in_is_not_said_to_be_let_in() {
    let chain = |family: &str, name: &str, kind: &str, policy: &str| {
        format!(
            r#", {{"chain": {{"family": "{family}", "table": "early", "name": "{name}", "type": "{kind}", "hook": "{name}", "prio": -300, "policy": "{policy}"}}}}"#
        )
    };
    let in_chain = |family: &str, name: &str, expressions: &str| {
        format!(
            r#", {{"rule": {{"family": "{family}", "table": "early", "chain": "{name}", "expr": [{expressions}]}}}}"#
        )
    };
    let drop = |port: &str| format!("{}, {{\"drop\": null}}", dport("udp", port));
    for (family, name) in [
        ("inet", "prerouting"),
        ("ip", "prerouting"),
        ("inet", "ingress"),
        ("netdev", "ingress"),
    ] {
        let base = chain(family, name, "filter", "accept");
        nft_says("accept", std::slice::from_ref(&base), "firewall.none");
        let rule = in_chain(family, name, &drop("3478"));
        let told = nft_says("accept", &[base.clone(), rule.clone()], "firewall.unclear");
        let what = told["what"].as_str().expect("text");
        assert!(what.contains(&format!("{family} early {name}")), "{what}");
        // What is dropped afterwards anyway, is.
        nft_says("drop", &[base.clone(), rule], "firewall.closed");
        let rule = in_chain(family, name, &drop("9"));
        nft_says("accept", &[base, rule], "firewall.open");
    }
    let base = chain("ip", "prerouting", "filter", "drop");
    nft_says("accept", &[base], "firewall.unclear");
    // Spoofed sources and broken flows are no clients; whose addresses are translated cannot be said.
    let spoofed = r#"{"match": {"op": "==", "left": {"fib": {"result": "oif", "flags": ["saddr", "mark", "iif"]}}, "right": false}}, {"drop": null}"#;
    let broken = r#"{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "invalid"}}, {"drop": null}"#;
    let rules: String = [spoofed, broken]
        .map(|rule| in_chain("inet", "prerouting", rule))
        .concat();
    let base = chain("inet", "prerouting", "filter", "accept");
    nft_says("accept", &[base, rules], "firewall.open");

    for (table, chain) in [
        ("raw", "PREROUTING"),
        ("mangle", "PREROUTING"),
        ("mangle", "INPUT"),
    ] {
        let save = |port: u16| {
            let text = format!(
                "*{table}\n:{chain} ACCEPT [0:0]\n:services - [0:0]\n-A {chain} -j services\n\
                 -A services -p udp -m udp --dport {port} -j DROP\nCOMMIT\n\
                 *filter\n:INPUT ACCEPT [0:0]\n:services - [0:0]\n-A INPUT -j services\nCOMMIT\n"
            );
            let found = firewall(None, Some(&text));
            assert_eq!(found.len(), 1, "{found:#?}");
            found[0].clone()
        };
        let told = save(3478);
        assert_eq!(told["id"], "firewall.unclear", "{told}");
        assert!(
            told["what"]
                .as_str()
                .expect("text")
                .contains(&format!("iptables -t {table} {chain}")),
            "{told}"
        );
        assert_eq!(save(9)["id"], "firewall.open");
    }
}

#[test]
fn a_firewall_that_cannot_be_read_is_not_said_to_be_open() {
    let found = firewall(None, None);
    assert_eq!(found[0]["id"], "firewall.unknown");
    let text = found[0].to_string();
    assert!(
        text.contains("Operation not permitted") && text.contains("UDP 3478"),
        "{text}"
    );
}

/// A server that runs until the test is over.
struct Running(Child);

impl Running {
    fn start(directory: &Path) -> Running {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hairpin"))
            .args(["run", "-c", "c.toml", "--json"])
            .current_dir(directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("hairpin runs");
        let mut line = String::new();
        let output = child.stdout.as_mut().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("a line");
        assert!(line.contains("urls"), "{line}");
        Running(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that is free for UDP and TCP.
fn free_port() -> u16 {
    for _ in 0..20 {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = tcp.local_addr().expect("its address");
        if UdpSocket::bind(address).is_ok() {
            return address.port();
        }
    }
    panic!("no port is free");
}

fn listening(port: u16) -> String {
    format!(
        "{AUTH}{CERTIFICATE}[[listener]]\ntransport = \"udp\"\naddress = \"127.0.0.1:{port}\"\n[[listener]]\ntransport = \"auto\"\n\
         address = \"127.0.0.1:{port}\"\n[[listener]]\ntransport = \"tcp\"\naddress = \"127.0.0.3:{port}\"\n\
         proxy_protocol_from = [\"127.0.0.9\"]\n[[relay.address]]\naddress = \"127.0.0.1\"\n[metrics]\naddress = \"\"\n"
    )
}

#[test]
fn listeners_are_asked_from_another_address_over_each_transport() {
    let (ca, certificate, key) = certified("turn.example.org");
    let room = Room::new(&[("ca.pem", &ca), ("c.pem", &certificate), ("k.pem", &key)]);
    let port = free_port();
    room.write("c.toml", &listening(port));
    let arguments = ["-c", "c.toml", "--from", "127.0.0.2", "--ca", "ca.pem"];

    let found = room.findings(&arguments);
    assert_eq!(of_json(&found, "listener.none")["severity"], "problem");

    let server = Running::start(room.0.path());
    let stun = format!("127.0.0.1:{port}");
    let found = room.findings(&[&arguments[..], &["--stun", &stun]].concat());
    let answers: Vec<_> = found
        .iter()
        .filter(|one| one["id"] == "listener.answers")
        .collect();
    assert_eq!(answers.len(), 3, "{found:#?}");
    assert!(answers.iter().all(|one| {
        one["what"]
            .as_str()
            .is_some_and(|what| what.ends_with("from 127.0.0.2"))
    }));
    assert!(
        of_json(&found, "listener.not-asked")["what"]
            .to_string()
            .contains("127.0.0.3")
    );
    assert!(
        !found
            .iter()
            .any(|one| one["id"] == "certificate.stale" || one["id"] == "listener.translated"),
        "{found:#?}"
    );
    of_json(&found, "nat.mapping");

    // Renewed on disk, and not read again.
    let (ca, certificate, key) = certified("turn.example.org");
    for (name, content) in [("ca.pem", ca), ("c.pem", certificate), ("k.pem", key)] {
        room.write(name, &content);
    }
    of_json(&room.findings(&arguments), "certificate.stale");

    // What clients are told is not what the world sees.
    let wrong = listening(port).replace(
        "address = \"127.0.0.1\"\n[metrics]",
        "address = \"127.0.0.1\"\nexternal = \"203.0.113.9\"\n[metrics]",
    );
    room.write("c.toml", &wrong);
    let found = room.findings(&["-c", "c.toml", "--no-listeners", "--stun", &stun]);
    let external = of_json(&found, "nat.external-wrong");
    assert_eq!(external["lines"][2], "external = \"127.0.0.1\"");

    // One listener is closed, and one is somebody else's.
    drop(server);
    let stranger = UdpSocket::bind(("127.0.0.1", port)).expect("the port is free again");
    stranger
        .set_read_timeout(Some(std::time::Duration::from_millis(1)))
        .expect("a timeout");
    room.write("c.toml", &listening(port));
    let found = room.findings(&arguments);
    assert!(
        of_json(&found, "listener.silent")["what"]
            .to_string()
            .contains("udp"),
        "{found:#?}"
    );
    of_json(&found, "listener.closed");
}

#[test]
fn the_text_tells_what_why_and_how_to_mend_it_and_the_status_whether_calls_fail() {
    let room = Room::new(&[(
        "c.toml",
        &format!("{AUTH}[[relay.address]]\naddress = \"127.0.0.1\"\nexternal = \"203.0.113.9\"\n"),
    )]);
    for program in ["nft", "iptables-save", "ip6tables-save", "timedatectl"] {
        room.program(
            program,
            Some(if program == "nft" {
                "{\"nftables\": []}"
            } else {
                ""
            }),
        );
    }
    let output = room.doctor(&["-c", "c.toml", "--no-listeners"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains(
            "note     certificate.none\n  no listener speaks TLS\n  why:  clients in networks"
        ),
        "{text}"
    );
    assert!(text.contains("      [[tls.certificate]]\n"), "{text}");
    assert!(text.contains("warning  clock.adrift\n"), "{text}");
    assert!(text.contains("ok  firewall.none"), "{text}");
    room.write("c.toml", "[[relay.address]]\naddress = \"127.0.0.1\"\n");
    assert_eq!(
        room.doctor(&["-c", "c.toml", "--no-listeners"])
            .status
            .code(),
        Some(1)
    );
    for wrong in [
        &["--from", "203.0.113.77"][..],
        &["--stun", "example.org"],
        &["-c", "none.toml"],
    ] {
        assert_eq!(room.doctor(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn the_folder_of_acme_is_looked_at_before_the_server_trips_over_it() {
    let room = Room::new(&[]);
    let user = {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(room.path("")).expect("a directory").uid()
    };
    let config = |user: &str| {
        format!(
            "{AUTH}[server]\nuser = \"{user}\"\n[tls.acme]\ndomains = [\"turn.example.com\"]\nagree_to_terms = true\nstate = \"state\"\n"
        )
    };
    let own = config(&user.to_string());
    let none = room.examined(&own);
    assert_eq!(of(&none, "acme.no-state").severity, Severity::Note);
    let state = room.path("state");
    fs::create_dir(&state).expect("a directory");
    let mode = |mode| {
        fs::set_permissions(&state, fs::Permissions::from_mode(mode)).expect("permissions");
    };
    mode(0o755);
    let open = room.examined(&own);
    assert_eq!(of(&open, "acme.state-open").severity, Severity::Problem);
    mode(0o700);
    let found = room.examined(&own);
    assert_eq!(of(&found, "acme.state").severity, Severity::Ok);
    if user == 0 {
        let nobodys = room.examined(&config("nobody"));
        let owner = of(&nobodys, "acme.state-owner");
        assert!(owner.mend.contains("a user of its own"), "{owner:?}");
        // An empty one is given to another user at the start.
        let empty = room.examined(&config("1"));
        assert_eq!(of(&empty, "acme.state-empty").severity, Severity::Note);
        assert!(!has(&empty, "acme.state-owner"), "{empty:#?}");
        room.write("state/account.json", "{}");
        let full = room.examined(&config("1"));
        assert_eq!(of(&full, "acme.state-owner").severity, Severity::Problem);
    }
    assert!(
        !room
            .examined(AUTH)
            .iter()
            .any(|one| one.id.starts_with("acme."))
    );
}
