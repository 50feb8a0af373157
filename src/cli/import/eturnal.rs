//! An `eturnal.yml` of eturnal.
//!
//! Main function: [`read`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use ipnet::IpNet;

use super::draft::{Block, Draft, quoted};
use super::report::Fate::{Changed, LeftOut, Missing, Taken, Unknown};
use super::report::{Fate, Report};
use super::yaml::{self, Node};
use super::{Import, relay_block};
use crate::config::{Family, PORT, TLS_PORT};
use crate::net::addresses;

/// Options that become nothing here, each with the reason.
const REASONS: &[(&[&str], Fate, &str)] = &[
    (
        &["tls_dh_file", "tls_options", "tls_ciphers"],
        LeftOut,
        "TLS 1.2 and 1.3 with forward secrecy and authenticated ciphers is all there is; there is nothing to choose",
    ),
    (
        &["run_dir", "log_dir", "log_rotate_size", "log_rotate_count"],
        LeftOut,
        "log lines go to standard error, and the service manager keeps them; nothing is written to files",
    ),
    (
        &["blacklist_clients", "whitelist_clients"],
        Missing,
        "clients are not told apart by their address: that is for the firewall",
    ),
];

/// Reads the text of a file in this directory.
pub(super) fn read(text: &str, directory: &Path) -> Result<Import, String> {
    let document = yaml::read(text)?;
    let root = document
        .get("eturnal")
        .ok_or("there is no `eturnal:` in it")?;
    let mut reader = Reader {
        root,
        directory,
        draft: Draft::default(),
        report: Report::default(),
    };
    reader.certificate();
    reader.listeners();
    reader.relays();
    for (key, line, node) in root.map() {
        reader.option(key, *line, node);
    }
    for (key, line, _) in document.map().iter().filter(|(key, ..)| key != "eturnal") {
        reader
            .report
            .say(*line, key, Unknown, "eturnal reads nothing but `eturnal`");
    }
    reader.defaults();
    Ok(Import {
        draft: reader.draft,
        report: reader.report,
    })
}

struct Reader<'a> {
    root: &'a Node,
    directory: &'a Path,
    draft: Draft,
    report: Report,
}

impl Reader<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.root.get(key)?.scalar()
    }

    fn line(&self, key: &str) -> usize {
        let mut pairs = self.root.map().iter();
        pairs
            .find(|(name, ..)| name == key)
            .map_or(0, |(_, line, _)| *line)
    }

    /// Sets a key, and says so.
    fn set(
        &mut self,
        (option, line): (&str, usize),
        place: (&'static str, &'static str),
        value: &str,
        fate: Fate,
        more: &str,
    ) {
        let (table, key) = place;
        let from = format!("{option} in line {line}");
        match self.draft.set(table, key, value, &from) {
            Ok(()) => self
                .report
                .say(line, option, fate, format!("`{key}` under [{table}]{more}")),
            Err(why) => self.report.say(
                line,
                option,
                Missing,
                format!("`{key}` under [{table}] cannot be that: {why}"),
            ),
        }
    }

    fn certificate(&mut self) {
        let names = ["tls_crt_file", "tls_key_file"];
        let [Some(certificate), Some(key)] = names.map(|name| self.text(name)) else {
            for name in names {
                if self.root.get(name).is_some() {
                    self.report.say(
                        self.line(name),
                        name,
                        Missing,
                        "TLS needs both `tls_crt_file` and `tls_key_file`",
                    );
                }
            }
            return;
        };
        let path = |file: &str| quoted(&self.directory.join(file).display().to_string());
        let block = Block {
            table: "tls.certificate",
            lines: vec![
                format!("certificate = {}", path(certificate)),
                format!("key = {}", path(key)),
            ],
            from: format!("tls_crt_file in line {}", self.line("tls_crt_file")),
        };
        let (fate, words) = match self.draft.block(block) {
            Ok(()) => (Taken, "[[tls.certificate]]".to_owned()),
            Err(why) => (
                Missing,
                format!("[[tls.certificate]] cannot be that: {why}"),
            ),
        };
        for name in names {
            self.report.say(self.line(name), name, fate, words.clone());
        }
    }

    fn listeners(&mut self) {
        let Some(listen) = self.root.get("listen") else {
            return;
        };
        for node in listen.elements() {
            let text = |key: &str| node.get(key).and_then(Node::scalar);
            let transport = text("transport").unwrap_or("udp");
            let default = if transport == "tls" { TLS_PORT } else { PORT };
            let port = text("port").map_or(Some(default), |port| port.parse().ok());
            let ip = text("ip").map_or(Some(Ipv6Addr::UNSPECIFIED.into()), |ip| ip.parse().ok());
            let (Some(port), Some(ip)) = (port, ip) else {
                self.report.say(
                    node.line,
                    "listen",
                    Missing,
                    "this is no address or no port",
                );
                continue;
            };
            // There :: is all of IPv4 as well, here it is not.
            let ips = if ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
                vec![Ipv4Addr::UNSPECIFIED.into(), ip]
            } else {
                vec![ip]
            };
            let mut added = Ok(());
            let is_proxied = text("proxy_protocol") == Some("true");
            for ip in ips {
                let mut block = Block {
                    table: "listener",
                    lines: vec![
                        format!("transport = {}", quoted(transport)),
                        format!("address = \"{}\"", SocketAddr::new(ip, port)),
                    ],
                    from: format!("listen in line {}", node.line),
                };
                if is_proxied {
                    let why =
                        "the proxies' addresses are not known: give them as `proxy_protocol_from`"
                            .to_owned();
                    block
                        .lines
                        .push("proxy_protocol_from = []    # the proxies' addresses".to_owned());
                    self.draft.block_refused(block, Some(why.clone()));
                    added = Err(why);
                } else {
                    added = added.and(self.draft.block(block));
                }
            }
            let stun_only = text("enable_turn") == Some("false");
            let (fate, words) = match added {
                Ok(()) if stun_only => (
                    Changed,
                    format!(
                        "[[listener]] {transport}; whoever has a credential relays here too, `enable_turn` is not to be had"
                    ),
                ),
                Ok(()) => (Taken, format!("[[listener]] {transport}")),
                Err(why) => (
                    Missing,
                    format!("[[listener]] {transport} is not used: {why}"),
                ),
            };
            self.report.say(node.line, "listen", fate, words);
        }
    }

    fn relays(&mut self) {
        let own = addresses::own().unwrap_or_default();
        let mut given = false;
        let mut found = Vec::new();
        for (key, family) in [
            ("relay_ipv4_addr", Family::V4),
            ("relay_ipv6_addr", Family::V6),
        ] {
            let name = family.to_string().to_lowercase();
            let line = self.line(key);
            let from = format!("{key} in line {line}");
            match self.text(key).map(str::to_owned) {
                None => {
                    if self.root.get(key).is_some() {
                        self.report.say(line, key, Missing, "this is no address");
                    }
                    let is_there =
                        addresses::default_route(family).is_some_and(|ip| !ip.is_loopback());
                    if is_there {
                        found.push(name);
                    }
                }
                Some(none) if none == "none" => {
                    given = true;
                    self.report.say(
                        line,
                        key,
                        Taken,
                        format!("there is no [[relay.address]] of {family}"),
                    );
                }
                Some(text) => {
                    given = true;
                    let added = match text.parse::<IpAddr>() {
                        Err(_) => Err("this is no IP address".to_owned()),
                        Ok(ip) if own.contains(&ip) => {
                            relay_block(&mut self.draft, &text, None, &from)
                        }
                        // It is the public address, and this machine's is another one.
                        Ok(ip) => relay_block(&mut self.draft, &name, Some(ip), &from),
                    };
                    let (fate, words) = match added {
                        Ok(()) => (Taken, "[[relay.address]]".to_owned()),
                        Err(why) => (Missing, format!("[[relay.address]] cannot be that: {why}")),
                    };
                    self.report.say(line, key, fate, words);
                }
            }
        }
        if given {
            for family in found {
                let _ = relay_block(
                    &mut self.draft,
                    &family,
                    None,
                    "the address that eturnal finds by itself",
                );
            }
        }
        let ports = ["relay_min_port", "relay_max_port"];
        if ports.iter().any(|key| self.root.get(key).is_some()) {
            let first = self.text(ports[0]).unwrap_or("49152").to_owned();
            let last = self.text(ports[1]).unwrap_or("65535").to_owned();
            for key in ports.into_iter().filter(|key| self.root.get(key).is_some()) {
                let at = (key, self.line(key));
                self.set(
                    at,
                    ("relay", "ports"),
                    &quoted(&format!("{first}-{last}")),
                    Taken,
                    "",
                );
            }
        }
    }

    /// What the steps before have not seen to.
    fn option(&mut self, key: &str, line: usize, node: &Node) {
        let at = (key, line);
        let text = node.scalar().unwrap_or_default().to_owned();
        let count = |unlimited: &str| match text.as_str() {
            "unlimited" | "infinity" => unlimited.to_owned(),
            number => quoted(number).trim_matches(['"', '\'']).to_owned(),
        };
        match key {
            "tls_crt_file" | "tls_key_file" | "listen" | "relay_ipv4_addr" | "relay_ipv6_addr"
            | "relay_min_port" | "relay_max_port" => {}
            "secret" => {
                for node in node.elements() {
                    let secret = quoted(node.scalar().unwrap_or_default());
                    let from = format!("secret in line {}", node.line);
                    let (fate, words) = match self.draft.push("auth", "secrets", &secret, &from) {
                        Ok(()) => (Taken, "`secrets` under [auth]".to_owned()),
                        Err(why) => (
                            Missing,
                            format!(
                                "not used: {why}; make a new one (`openssl rand -base64 32`), here and in the application"
                            ),
                        ),
                    };
                    self.report.say(node.line, key, fate, words);
                }
            }
            "credentials" => {
                for (name, line, password) in node.map() {
                    let password = quoted(password.scalar().unwrap_or_default());
                    let block = Block {
                        table: "auth.user",
                        lines: vec![
                            format!("name = {}", quoted(name)),
                            format!("password = {password}"),
                        ],
                        from: format!("credentials in line {line}"),
                    };
                    let (fate, words) = match self.draft.block(block) {
                        Ok(()) => (Taken, format!("[[auth.user]] {name:?}")),
                        Err(why) => (
                            Missing,
                            format!("[[auth.user]] {name:?} is not used: {why}"),
                        ),
                    };
                    self.report.say(*line, key, fate, words);
                }
            }
            "realm" => self.set(at, ("auth", "realm"), &quoted(&text), Taken, ""),
            "strict_expiry" => {
                let value = (text == "true").to_string();
                self.set(at, ("auth", "strict_expiry"), &value, Taken, "");
            }
            "software_name" if text == "none" => {
                self.report.say(
                    line,
                    key,
                    Taken,
                    "there is no SOFTWARE attribute unless `software` is set",
                );
            }
            "software_name" => self.set(at, ("server", "software"), &quoted(&text), Taken, ""),
            "max_allocations" => self.set(
                at,
                ("limits", "allocations_per_user"),
                &count("0"),
                Taken,
                "",
            ),
            "max_permissions" => {
                self.set(
                    at,
                    ("limits", "permissions_per_allocation"),
                    &count("65536"),
                    Taken,
                    "",
                );
            }
            "max_bps" => {
                let bits = text.parse::<u64>().unwrap_or(0).saturating_mul(8);
                let more =
                    ": bits a second here, bytes a second there, where it is for TCP and TLS only";
                self.set(
                    at,
                    ("bandwidth", "per_allocation"),
                    &format!("\"{bits}bit/s\""),
                    Changed,
                    more,
                );
            }
            "log_level" => {
                let level = match text.as_str() {
                    "critical" => "error",
                    "warning" => "warn",
                    "notice" => "info",
                    other => other,
                };
                self.set(at, ("log", "level"), &quoted(level), Taken, "");
            }
            "blacklist_peers" | "blacklist" => self.peers(key, "deny", node),
            "whitelist_peers" | "whitelist" => self.peers(key, "allow", node),
            "modules" => {
                for (name, line, node) in node.map() {
                    self.module(name, *line, node);
                }
            }
            _ => match REASONS.iter().find(|(names, ..)| names.contains(&key)) {
                Some((_, fate, words)) => self.report.say(line, key, *fate, *words),
                None => self
                    .report
                    .say(line, key, Unknown, "eturnal has no such option"),
            },
        }
    }

    fn peers(&mut self, option: &str, key: &'static str, node: &Node) {
        for node in node.elements() {
            let text = node.scalar().unwrap_or_default();
            if text == "recommended" {
                self.report.say(
                    node.line,
                    option,
                    Taken,
                    "these are denied anyway, and some more",
                );
                continue;
            }
            let net = match text.parse::<IpAddr>() {
                Ok(ip) => Ok(IpNet::from(ip)),
                Err(_) => text.parse::<IpNet>(),
            };
            let Ok(net) = net else {
                self.report
                    .say(node.line, option, Missing, "this is no prefix");
                continue;
            };
            let from = format!("{option} in line {}", node.line);
            let beside = if option.ends_with("_peers") {
                ""
            } else {
                "; it is for peers only, clients are not told apart by their address"
            };
            let fate = if beside.is_empty() { Taken } else { Changed };
            let (fate, words) =
                match self
                    .draft
                    .push("peers", key, &format!("\"{}\"", net.trunc()), &from)
                {
                    Ok(()) => (fate, format!("`{key}` under [peers]{beside}")),
                    Err(why) => (
                        Missing,
                        format!("`{key}` under [peers] cannot be that: {why}"),
                    ),
                };
            self.report.say(node.line, option, fate, words);
        }
    }

    fn module(&mut self, name: &str, line: usize, node: &Node) {
        match name {
            "mod_log_stun" => self.report.say(
                line,
                name,
                LeftOut,
                "STUN requests are counted and not logged",
            ),
            "mod_stats_influx" => self.report.say(
                line,
                name,
                Missing,
                "nothing is sent to InfluxDB: its agent can read the metrics for Prometheus",
            ),
            "mod_stats_prometheus" => {
                let text = |key: &str| node.get(key).and_then(Node::scalar);
                let port: u16 = text("port")
                    .and_then(|port| port.parse().ok())
                    .unwrap_or(8081);
                let ip = text("ip").and_then(|ip| ip.parse::<IpAddr>().ok());
                let address = SocketAddr::new(ip.unwrap_or(Ipv4Addr::LOCALHOST.into()), port);
                let (fate, more) = match ip {
                    Some(_) => (Taken, ""),
                    None => (
                        Changed,
                        ", on loopback: eturnal serves them on all addresses, and there is no password",
                    ),
                };
                self.set(
                    (name, line),
                    ("metrics", "address"),
                    &format!("\"{address}\""),
                    fate,
                    more,
                );
                for (key, line, value) in node.map() {
                    match (key.as_str(), value.scalar()) {
                        ("ip" | "port", _) | ("tls", Some("false")) => {}
                        ("tls" | "tls_crt_file" | "tls_key_file", _) => self.report.say(
                            *line,
                            key,
                            Missing,
                            "metrics are served without TLS: keep them on loopback, or put a proxy in front",
                        ),
                        ("vm_metrics", _) => self.report.say(*line, key, LeftOut, "there is no Erlang VM"),
                        _ => self.report.say(*line, key, Unknown, "this module has no such option"),
                    }
                }
            }
            _ => self
                .report
                .say(line, name, Unknown, "eturnal has no such module"),
        }
    }

    fn defaults(&mut self) {
        let report = &mut self.report;
        report.by_default("Peers with private, loopback, link-local and reserved addresses are denied whatever the list says. What has to be reached goes under `allow` in [peers].");
        report.by_default(
            "Answers to whoever has shown no credential are limited (see [strangers]).",
        );
        if !self.draft.has_key("limits", "allocations_per_user") {
            self.report.by_default("One user name has 1000 allocations at most; eturnal's limit is 10 (`allocations_per_user` under [limits]).");
        }
        if !self.draft.has_key("limits", "permissions_per_allocation") {
            self.report.by_default("An allocation has 256 permissions at most; eturnal's limit is 10 (`permissions_per_allocation` under [limits]).");
        }
        if !self.draft.has_key("auth", "realm") {
            // Keys are made of passwords here, so that nobody notices but in a log.
            self.report
                .by_default("The realm is \"hairpin\"; eturnal's is \"eturnal.net\".");
        }
        if !self.draft.has_key("auth", "secrets") && !self.draft.has("auth.user") {
            self.report.by_default("Nobody can relay as it stands: there is no secret and no user. eturnal makes up a secret at each start.");
        }
        if !self.draft.has("listener") {
            self.report
                .by_default("The listeners are those for UDP and TCP on port 3478.");
        }
        if !self.draft.has_key("metrics", "address") {
            self.report
                .by_default("Metrics are served on 127.0.0.1:9641.");
        }
    }
}
