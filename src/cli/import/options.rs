//! The options of coturn that become nothing here, each with the reason.
//!
//! Together with those that [`super::coturn`] takes they are all that coturn knows, up to version 4.17, and some of older
//! versions. Main item: [`reason`].

use super::report::Fate::{self, LeftOut, Missing, Taken};

/// What to say of options that are not taken, or that say what hairpin does anyway.
const REASONS: &[(&[&str], Fate, &str)] = &[
    (
        &["listening-device", "relay-device"],
        Missing,
        "hairpin knows addresses and no devices: give the device's under [[listener]] or [[relay.address]]",
    ),
    (
        &["udp-self-balance"],
        LeftOut,
        "the kernel spreads clients over all workers by itself",
    ),
    (
        &["udp-recvmmsg", "udp-gso"],
        LeftOut,
        "packets are read and sent in batches anyway",
    ),
    (
        &["udp-recvmmsg-log", "udp-sendmmsg-log"],
        LeftOut,
        "the metrics tell, hairpin does not log it",
    ),
    (
        &[
            "multiplex-peer",
            "multiplex-peer-port",
            "multiplex-peer-max-peers",
        ],
        LeftOut,
        "each allocation has a relay port of its own, as RFC 8656 has it",
    ),
    (
        &["fingerprint"],
        LeftOut,
        "answers have a FINGERPRINT where the request has one",
    ),
    (
        &["lt-cred-mech"],
        Taken,
        "relaying always needs a long-term credential",
    ),
    (
        &["no-auth"],
        Missing,
        "relaying without a credential cannot be had: an open relay is found and abused within days. Give out credentials",
    ),
    (
        &["unauthorized-ratelimit", "unauthorized-ratelimit-rps"],
        LeftOut,
        "answers to strangers are limited anyway, by bytes and by network; see [strangers]",
    ),
    (&["stateless-nonce"], LeftOut, "nonces are never stored"),
    (&["prometheus-path"], LeftOut, "the path is always /metrics"),
    (
        &["prometheus-username-labels"],
        LeftOut,
        "no label of a metric is one that a client can choose; the log has a line for each allocation",
    ),
    (
        &["prometheus-tls", "prometheus-cert", "prometheus-key"],
        Missing,
        "metrics are served without TLS: keep them on loopback, or put a proxy in front",
    ),
    (
        &["no-auth-pings", "no-dynamic-ip-list", "no-dynamic-realms"],
        LeftOut,
        "it is about a database, and hairpin has none",
    ),
    (
        &["oauth", "server-name"],
        Missing,
        "keys for access tokens are in coturn's database; write them as [[oauth.key]], with `server_name` under [oauth]",
    ),
    (
        &[
            "userdb",
            "db",
            "psql-userdb",
            "sql-userdb",
            "mysql-userdb",
            "mongo-userdb",
            "redis-userdb",
        ],
        Missing,
        "databases are not read: write their users as [[auth.user]] (`turnadmin -l` lists them) and their secrets under \
         `secrets` in [auth] (`turnadmin -S`), or use ephemeral credentials",
    ),
    (
        &["secret-key-file"],
        LeftOut,
        "it is about a database, and hairpin has none",
    ),
    (
        &["redis-statsdb"],
        Missing,
        "sessions are not written to Redis: the log and the metrics tell of them",
    ),
    (
        &["check-origin-consistency"],
        LeftOut,
        "there is one realm, whatever the ORIGIN",
    ),
    (
        &["no-udp-relay"],
        Missing,
        "relaying over UDP cannot be switched off; without a credential nobody relays",
    ),
    (
        &["channel-lifetime", "permission-lifetime"],
        LeftOut,
        "they live as long as RFC 8656 says: 10 and 5 minutes",
    ),
    (
        &["raw-public-keys"],
        LeftOut,
        "TLS clients are shown certificates only",
    ),
    (
        &["pkey-pwd"],
        Missing,
        "private keys have no pass phrase: `openssl pkey -in FILE -out PLAIN` takes it off",
    ),
    (
        &["cipher-list", "ec-curve-name", "dh566", "dh1066", "dh-file"],
        LeftOut,
        "TLS 1.2 and 1.3 with forward secrecy and authenticated ciphers is all there is; there is nothing to choose",
    ),
    (
        &["CA-file"],
        Missing,
        "TLS clients are not asked for certificates",
    ),
    (&["tlsv1", "tlsv1_1"], LeftOut, "there is no TLS before 1.2"),
    (
        &["no-tlsv1", "no-tlsv1_1", "no-sslv2", "no-sslv3"],
        Taken,
        "there is no TLS before 1.2",
    ),
    (
        &["no-tlsv1_2", "no-tlsv1_3"],
        Missing,
        "TLS 1.2 and 1.3 are both spoken",
    ),
    (
        &[
            "no-stdout-log",
            "log-file",
            "syslog",
            "syslog-facility",
            "simple-log",
        ],
        LeftOut,
        "log lines go to standard error, and the service manager keeps them",
    ),
    (
        &["new-log-timestamp", "new-log-timestamp-format"],
        LeftOut,
        "each line begins with the time in UTC",
    ),
    (
        &["log-binding"],
        LeftOut,
        "Binding requests are counted and not logged",
    ),
    (
        &["no-software-attribute"],
        Taken,
        "there is no SOFTWARE attribute unless `software` is set",
    ),
    (
        &["no-stun"],
        Missing,
        "STUN is always answered; [strangers] keeps that from being abused",
    ),
    (
        &["no-multicast-peers", "no-loopback-peers"],
        Taken,
        "such peers are denied anyway",
    ),
    (
        &["drain-min-allocations"],
        LeftOut,
        "there is no such number",
    ),
    (
        &["pidfile"],
        LeftOut,
        "the service manager knows the process",
    ),
    (
        &["secure-stun"],
        Missing,
        "STUN needs no credential here; [strangers] keeps that from being abused",
    ),
    (
        &["keep-address-family"],
        Missing,
        "clients that do not ask for a family get IPv4, as RFC 8656 has it",
    ),
    (
        &[
            "cli",
            "no-cli",
            "cli-ip",
            "cli-port",
            "cli-password",
            "cli-max-output-sessions",
        ],
        LeftOut,
        "there is no telnet interface",
    ),
    (
        &[
            "web-admin",
            "web-admin-ip",
            "web-admin-port",
            "web-admin-listen-on-workers",
        ],
        LeftOut,
        "there is no such web page",
    ),
    (
        &["acme-redirect"],
        LeftOut,
        "HTTP is not answered on the listeners' ports",
    ),
    (
        &["server-relay"],
        Missing,
        "peers always need a permission: without that the relay would be open to anybody",
    ),
    (&["ne"], LeftOut, "there is one way to run"),
    (
        &["no-rfc5780"],
        Taken,
        "NAT behaviour discovery is off unless there is [[discovery]]",
    ),
    (
        &["stun-backward-compatibility"],
        LeftOut,
        "only XOR-MAPPED-ADDRESS is sent, which every client since 2008 reads",
    ),
    (
        &[
            "no-stun-backward-compatibility",
            "response-origin-only-with-rfc5780",
        ],
        Taken,
        "so it is anyway",
    ),
    (
        &["respond-http-unsupported", "no-http"],
        LeftOut,
        "what speaks HTTP is closed without an answer",
    ),
    (
        &["drop-invalid-packets", "drop-invalid-packets-log"],
        LeftOut,
        "such packets are dropped and counted anyway",
    ),
    (
        &["include-reason-string"],
        LeftOut,
        "answers have the standard reason only, to stay small; the log says more",
    ),
    (
        &["daemon", "version"],
        LeftOut,
        "it is for the command line; the service manager runs hairpin",
    ),
];

/// What is to be said of an option that is not taken; `None` where there is no such option.
pub(super) fn reason(option: &str) -> Option<(Fate, &'static str)> {
    let of = |(names, ..): &&(&[&str], Fate, &'static str)| names.contains(&option);
    REASONS
        .iter()
        .find(of)
        .map(|(_, fate, words)| (*fate, *words))
}
