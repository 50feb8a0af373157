//! `hairpin import`: what becomes of another server's configuration, run as an operator runs it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A directory to import in.
struct Room(TempDir);

impl Room {
    fn new() -> Room {
        Room(tempfile::tempdir().expect("a directory"))
    }

    fn hairpin(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_hairpin"))
            .args(arguments)
            .current_dir(self.0.path())
            .env_remove("HAIRPIN_CONFIG")
            .output()
            .expect("hairpin runs")
    }

    /// The report, and the new configuration, which `hairpin check` accepts.
    #[track_caller]
    fn import(&self, name: &str, content: &str) -> (String, String) {
        fs::write(self.0.path().join(name), content).expect("a file");
        let new = self.0.path().join("new.toml");
        let _ = fs::remove_file(&new);
        let output = self.hairpin(&["import", name, "--output", "new.toml"]);
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{errors}{report}");
        let check = self.hairpin(&["check", "-c", "new.toml"]);
        let text = fs::read_to_string(&new).expect("the new file");
        let errors = String::from_utf8_lossy(&check.stderr);
        assert_eq!(check.status.code(), Some(0), "{errors}{text}");
        let mode = fs::metadata(&new)
            .expect("the new file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        (report, text)
    }
}

/// All options that coturn 4.17 knows, with values that its own example has, or such as it asks for.
const COTURN: &str = "\
listening-device=eth0 listening-port=3478 tls-listening-port=5349 alt-listening-port=0 alt-tls-listening-port=0
tcp-proxy-port=5555 listening-ip=172.17.19.101 listening-ip=10.207.21.238 listening-ip=2607:f0d0:1002:51::4
aux-server=172.17.19.110:33478 aux-server=[2607:f0d0:1002:51::4]:33478 udp-self-balance relay-device=eth1
relay-ip=172.17.19.105 relay-ip=2607:f0d0:1002:51::5 external-ip=60.70.80.91 external-ip=60.70.80.91/172.17.19.101
external-ip=60.70.80.92/172.17.19.102 relay-threads=0 cpus=2 min-port=49152 max-port=65535 sock-buf-size=2097152
udp-recvmmsg=false udp-recvmmsg-log udp-sendmmsg-log udp-gso multiplex-peer multiplex-peer-port=3480
multiplex-peer-max-peers=256 verbose Verbose fingerprint lt-cred-mech no-auth unauthorized-ratelimit
unauthorized-ratelimit-rps=10 stateless-nonce=false stateless-nonce-secret=<secret> prometheus
prometheus-username-labels prometheus-port=9641 prometheus-address=127.0.0.1 prometheus-path=/m prometheus-tls
prometheus-cert=c prometheus-key=k use-auth-secret static-auth-secret=north server-name=blackdow.carleon.gov oauth
user=username1:key1 user=username2:password2 user=ninefingers:0xbc807ee29df3c9ffa736523fb2c4e8ee
user=ninefingers:youhavetoberealistic userdb=/var/db/turndb db=x psql-userdb=x sql-userdb=x mysql-userdb=x
secret-key-file=/path/ mongo-userdb=x redis-userdb=x redis-statsdb=x realm=mycompany.org check-origin-consistency
user-quota=0 total-quota=0 max-bps=0 bps-capacity=0 no-udp no-tcp no-tls dtls no-dtls no-udp-relay no-tcp-relay
stale-nonce=600 max-allocate-lifetime=3600 channel-lifetime=600 permission-lifetime=300
cert=/usr/local/etc/turn_server_cert.pem pkey=/usr/local/etc/turn_server_pkey.pem raw-public-keys pkey-pwd=...
cipher-list=\"DEFAULT\" CA-file=/etc/ssh/id_rsa.cert ec-curve-name=prime256v1 dh566 dh1066 dh-file=f no-stdout-log
log-file=/var/tmp/turn.log syslog syslog-facility=\"LOG_LOCAL1\" simple-log log-min-level=info new-log-timestamp=true
new-log-timestamp-format=\"%FT%T%z\" log-binding alternate-server=1.2.3.4:5678 alternate-server=5.6.7.8
alternate-server=[2001:db8:85a3:8d3:1319:8a2e:370:7348]:3478 tls-alternate-server=1.2.3.4:5678
udp-alternate-server=11.22.33.44:56789 tcp-alternate-server=11.22.33.44:56789 stun-only no-software-attribute
software-attribute no-stun rest-api-separator=: allow-loopback-peers no-multicast-peers max-allocate-timeout=60
drain-min-allocations=0 denied-peer-ip=83.166.64.0-83.166.95.255 allowed-peer-ip=83.166.68.45
pidfile=\"/var/run/turnserver.pid\" secure-stun mobility keep-address-family allocation-default-address-family=\"ipv4\"
proc-user=nobody proc-group=nogroup cli no-cli cli-ip=127.0.0.1 cli-port=5766 cli-password=qwerty web-admin
web-admin-ip=127.0.0.1 web-admin-port=8080 web-admin-listen-on-workers acme-redirect=http://x/ server-relay
cli-max-output-sessions ne=3 tlsv1 tlsv1_1 no-tlsv1_2 no-rfc5780 rfc5780 stun-backward-compatibility
rfc3489-compatibility rfc5766-channel-numbers response-origin-only-with-rfc5780 respond-http-unsupported
drop-invalid-packets drop-invalid-packets-log include-reason-string no-auth-pings no-dynamic-ip-list
no-dynamic-realms daemon version";

#[test]
fn every_option_of_coturn_is_taken_or_explained_and_the_result_is_accepted() {
    let content = COTURN.split_whitespace().collect::<Vec<_>>().join("\n");
    let (report, text) = Room::new().import("turnserver.conf", &content);
    assert!(!report.contains("unknown "), "{report}");
    for at in 1..=content.lines().count() {
        let line = format!("\n  {at:4}  ");
        assert_eq!(report.matches(&line).count(), 1, "line {at}:\n{report}");
    }
    // The same without what keeps the others from being used.
    let lines: Vec<_> = content
        .lines()
        .filter(|line| !["stun-only", "no-udp", "no-tcp", "no-tls"].contains(line))
        .collect();
    let (_, fuller) = Room::new().import("turnserver.conf", &lines.join("\n"));
    assert!(fuller.lines().count() > text.lines().count(), "{fuller}");
}

#[track_caller]
fn coturn(content: &str, report_has: &[&str], text_has: &[&str]) {
    let (report, text) = Room::new().import("turnserver.conf", content);
    for words in report_has {
        assert!(report.contains(words), "{words} not in:\n{report}");
    }
    for words in text_has {
        assert!(text.contains(words), "{words} not in:\n{text}");
    }
}

#[test]
fn rates_are_bytes_there_and_bits_here() {
    coturn(
        "max-bps=125000\nbps-capacity=12500000\nuser-quota=12\ntotal-quota=1200\n",
        &["bits a second here, bytes a second there"],
        &[
            "per_allocation = \"1000000bit/s\"",
            "total = \"100000000bit/s\"",
            "allocations_per_user = 12",
            "allocations = 1200",
        ],
    );
    coturn(
        "max-bps=10\n",
        &["missing   max-bps"],
        &["# per_allocation = \"80bit/s\""],
    );
}

#[test]
fn ranges_of_peers_become_prefixes() {
    coturn(
        "denied-peer-ip=83.166.64.0-83.166.95.255\ndenied-peer-ip=198.51.0.1-198.51.0.2\nallowed-peer-ip=10.1.2.3\nallowed-peer-ip=fd00::-fd00::ffff\ndenied-peer-ip=10.0.0.0/8\n",
        &["missing   denied-peer-ip"],
        &[
            "\"83.166.64.0/19\"",
            "\"198.51.0.1/32\"",
            "\"198.51.0.2/32\"",
            "\"10.1.2.3/32\"",
            "\"fd00::/112\"",
        ],
    );
}

#[test]
fn listeners_come_of_addresses_ports_and_flags() {
    coturn(
        "listening-ip=10.0.0.5\nlistening-ip=fd00::5\nlistening-port=13478\nno-tcp=yes\nno-udp=off\n",
        &["taken     listening-port"],
        &[
            "transport = \"udp\"\naddress = \"10.0.0.5:13478\"",
            "transport = \"udp\"\naddress = \"[fd00::5]:13478\"",
        ],
    );
    let (_, text) = Room::new().import("turnserver.conf", "no-tcp\n");
    assert!(!text.contains("\"tcp\""), "{text}");
    coturn(
        "rfc5780\nlistening-ip=10.0.0.5\nlistening-ip=10.0.0.6\nalt-listening-port=4000\n",
        &["taken     rfc5780"],
        &["primary = \"10.0.0.5:3478\"\nalternate = \"10.0.0.6:4000\""],
    );
}

#[test]
fn tls_comes_with_a_certificate_that_can_be_read() {
    let made =
        rcgen::generate_simple_self_signed(["turn.example.org".to_owned()]).expect("a certificate");
    let room = Room::new();
    fs::write(room.0.path().join("c.pem"), made.cert.pem()).expect("a file");
    fs::write(
        room.0.path().join("k.pem"),
        made.signing_key.serialize_pem(),
    )
    .expect("a file");
    let (report, text) = room.import(
        "t.conf",
        "cert=c.pem\npkey k.pem\ntls-listening-port=443\ndtls\n",
    );
    assert!(
        report.contains("taken     cert") && report.contains("taken     dtls"),
        "{report}"
    );
    for words in [
        "/c.pem\"",
        "transport = \"tls\"\naddress = \"0.0.0.0:443\"",
        "transport = \"dtls\"",
    ] {
        assert!(text.contains(words), "{words} not in:\n{text}");
    }
    let (report, text) = room.import("t.conf", "cert=none.pem\npkey=k.pem\n");
    assert!(
        report.contains("missing   cert: [[tls.certificate]] cannot be that: cannot read"),
        "{report}"
    );
    assert!(!text.contains("\ntransport = \"tls\""), "{text}");
}

#[test]
fn external_addresses_are_taken_with_the_relay_addresses_of_this_machine() {
    coturn(
        "external-ip=203.0.113.7/127.0.0.1\nmin-port=50000\nmax-port=50999\n",
        &["taken     external-ip"],
        &[
            "address = \"127.0.0.1\"\nexternal = \"203.0.113.7\"",
            "ports = \"50000-50999\"",
        ],
    );
    coturn(
        "relay-ip=127.0.0.1\nexternal-ip=203.0.113.7\n",
        &["taken     relay-ip", "taken     external-ip"],
        &["address = \"127.0.0.1\"\nexternal = \"203.0.113.7\""],
    );
    coturn(
        "external-ip=203.0.113.7\n",
        &["taken     external-ip"],
        &["address = \"ipv4\"\nexternal = \"203.0.113.7\""],
    );
    coturn(
        "external-ip=203.0.113.7/198.51.100.1\n",
        &["missing   external-ip", "no address 198.51.100.1"],
        &["# address = \"198.51.100.1\""],
    );
}

#[test]
fn secrets_are_in_the_new_file_and_never_in_the_report() {
    let content = "static-auth-secret=Zq8-vK3-mP1-wX7-long\nstatic-auth-secret=hunter22\nrealm=example.org\n\
                   pkey-pwd=Passphrase99\ncli-password=Telnet99\nstateless-nonce-secret=Nonce-Of-Many-Bytes-77\n\
                   redis-userdb=\"ip=x password=Database99\"\nstatic-auth-secret:Misplaced99\nMisplaced98\n";
    let (report, text) = Room::new().import("turnserver.conf", content);
    for secret in [
        "Zq8",
        "hunter22",
        "Passphrase",
        "Telnet99",
        "Nonce-Of",
        "Database",
        "Misplaced",
    ] {
        assert!(!report.contains(secret), "{secret} in:\n{report}");
    }
    assert!(text.contains("    \"Zq8-vK3-mP1-wX7-long\","), "{text}");
    assert!(
        text.contains("    # \"hunter22\",") && text.contains("nonce_key = \"Nonce-Of"),
        "{text}"
    );
    assert!(
        report.contains(
            "missing   static-auth-secret: not used: this secret is shorter than 16 bytes"
        ),
        "{report}"
    );
    assert!(
        report.contains("unknown   static-auth-secret") && report.contains("unknown   (not shown)"),
        "{report}"
    );
}

#[test]
fn static_users_are_taken_with_passwords_and_keys_unless_there_is_a_shared_secret() {
    let users = "realm=north.gov\nuser=alice:Wonder-Land-77\nuser=bob:0xbc807ee29df3c9ffa736523fb2c4e8ee\nuser=alice:Wonder-Land-78\n";
    coturn(
        users,
        &[
            "left out  user: a later line for \"alice\" wins",
            "[[auth.user]] \"bob\" with `md5_key`",
        ],
        &[
            "name = \"alice\"\npassword = \"Wonder-Land-78\"",
            "name = \"bob\"\nmd5_key = \"bc807ee29df3c9ffa736523fb2c4e8ee\"",
            "realm = \"north.gov\"",
        ],
    );
    coturn(
        "user=bob:0xbc807ee29df3c9ffa736523fb2c4e8ee\n",
        &["missing   user", "keys are made with the realm"],
        &["md5_key"],
    );
    coturn(
        &format!("{users}static-auth-secret=Zq8-vK3-mP1-wX7-long\n"),
        &["coturn takes no static users beside shared secrets"],
        &["# password = \"Wonder-Land-78\""],
    );
}

#[test]
fn what_is_not_in_the_file_and_differs_is_said() {
    coturn(
        "# nothing\n\n",
        &[
            "Differs by default",
            "Peers with private",
            "Nobody can relay as it stands",
            "no relays for TCP",
            "Nothing is missing",
        ],
        &["address = \"0.0.0.0:3478\"", "address = \"[::]:3478\""],
    );
    coturn(
        "lt-cred-mach\n",
        &[
            "unknown   lt-cred-mach: coturn has no such option",
            "1 line needs a look",
        ],
        &[],
    );
}

/// All options that eturnal 1.12 knows.
const ETURNAL: &str = r#"
eturnal:
  secret: ["long-and-cryptic", "Zq8-vK3-mP1-wX7-long"]
  listen:
    - {ip: "::", port: 3478, transport: udp}
    - {ip: "127.0.0.1", port: 3479, transport: tcp, enable_turn: false}
    - {ip: "::", port: 5349, transport: tls}
    - {ip: "::", port: 8443, transport: auto, proxy_protocol: true}
  tls_crt_file: /etc/eturnal/tls/crt.pem
  tls_key_file: /etc/eturnal/tls/key.pem
  tls_dh_file: /etc/eturnal/tls/dh.pem
  tls_options: [no_tlsv1, cipher_server_preference]
  tls_ciphers: "HIGH:!aNULL"
  relay_ipv4_addr: "203.0.113.4"
  relay_ipv6_addr: none
  relay_min_port: 50000     # a comment
  relay_max_port: 59999
  max_allocations: 10
  max_permissions: unlimited
  max_bps: 500000
  blacklist: ["192.0.32.0/20"]
  whitelist: 10.1.0.0/16
  blacklist_clients: ["198.51.100.0/24"]
  whitelist_clients: ["198.51.100.7"]
  blacklist_peers:
    - recommended
    - "203.1.0.0/16"
  whitelist_peers: [172.16.7.1]
  strict_expiry: true
  credentials:
    alice: Wonder-Land-77
  realm: example.org
  software_name: none
  run_dir: run
  log_dir: stdout
  log_level: warning
  log_rotate_size: 10485760
  log_rotate_count: 10
  modules:
    mod_log_stun: {level: info}
    mod_stats_influx: {host: localhost, port: 8089}
    mod_stats_prometheus: {ip: any, port: 8081, tls: true, tls_crt_file: c, tls_key_file: k, vm_metrics: true}
"#;

#[test]
fn every_option_of_eturnal_is_taken_or_explained_and_the_result_is_accepted() {
    let (report, text) = Room::new().import("eturnal.yml", ETURNAL);
    assert!(!report.contains("unknown "), "{report}");
    for (at, line) in ETURNAL.lines().enumerate() {
        let is_said = report.contains(&format!("\n  {:4}  ", at + 1));
        let has_parts = [
            "",
            "eturnal:",
            "listen:",
            "blacklist_peers:",
            "credentials:",
            "modules:",
        ];
        assert!(
            is_said || has_parts.contains(&line.trim()),
            "line {}, {line}:\n{report}",
            at + 1
        );
    }
    for words in [
        "    \"Zq8-vK3-mP1-wX7-long\",",
        "    # \"long-and-cryptic\",",
        "transport = \"udp\"\naddress = \"0.0.0.0:3478\"",
        "transport = \"udp\"\naddress = \"[::]:3478\"",
        "transport = \"tcp\"\naddress = \"127.0.0.1:3479\"",
        "# proxy_protocol_from = []",
        "address = \"ipv4\"\nexternal = \"203.0.113.4\"",
        "ports = \"50000-59999\"",
        "allocations_per_user = 10",
        "permissions_per_allocation = 65536",
        "per_allocation = \"4000000bit/s\"",
        "\"192.0.32.0/20\"",
        "\"10.1.0.0/16\"",
        "\"203.1.0.0/16\"",
        "\"172.16.7.1/32\"",
        "strict_expiry = true",
        "name = \"alice\"\npassword = \"Wonder-Land-77\"",
        "realm = \"example.org\"",
        "level = \"warn\"",
        "address = \"127.0.0.1:8081\"",
    ] {
        assert!(text.contains(words), "{words} not in:\n{text}");
    }
    for secret in ["long-and-cryptic", "Zq8", "Wonder-Land"] {
        assert!(!report.contains(secret), "{secret} in:\n{report}");
    }
}

#[test]
fn yaml_that_cannot_be_read_is_refused_with_its_line_and_without_its_content() {
    let room = Room::new();
    for (content, words) in [
        ("eturnal:\n  secret: [\"Zq8\n", "line"),
        (
            "eturnal:\n  secret: &a Zq8\n  realm: *a\n",
            "anchors are not understood",
        ),
        ("other: Zq8\n", "no `eturnal:`"),
        ("", "it is empty"),
    ] {
        fs::write(room.0.path().join("e.yml"), content).expect("a file");
        let output = room.hairpin(&["import", "e.yml"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(
            errors.contains(words) && !errors.contains("Zq8"),
            "{words} not in:\n{errors}"
        );
    }
}

#[test]
fn nothing_is_written_without_an_output_nor_over_a_file() {
    let room = Room::new();
    fs::write(
        room.0.path().join("t.conf"),
        "static-auth-secret=Zq8-vK3-mP1-wX7-long\n",
    )
    .expect("a file");
    let output = room.hairpin(&["import", "t.conf", "--format", "coturn"]);
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(
        report.contains("Nothing is written") && !report.contains("Zq8"),
        "{report}"
    );
    assert_eq!(fs::read_dir(room.0.path()).expect("a directory").count(), 1);
    let output = room.hairpin(&["import", "t.conf", "-o", "t.conf"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing is written over it"));
    assert_eq!(
        room.hairpin(&["import", "none.conf"]).status.code(),
        Some(2)
    );
}
