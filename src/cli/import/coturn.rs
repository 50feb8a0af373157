//! A `turnserver.conf` of coturn.
//!
//! Lines are read as coturn reads them: a name, then spaces or `=`, then a value, in quotes or not; without a value a flag
//! is on. What becomes nothing is in [`super::options`]. Main function: [`read`].

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::draft::{Block, Draft, quoted};
use super::options::reason;
use super::ranges::prefixes;
use super::report::Fate::{Changed, LeftOut, Missing, Taken, Unknown};
use super::report::{Fate, Report};
use super::{Import, relay_block};
use crate::config::{Family, PORT, TLS_PORT};
use crate::net::addresses;

/// One line.
struct Given {
    line: usize,
    name: String,
    value: String,
}

impl Given {
    fn read(line: usize, text: &str) -> Option<Given> {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            return None;
        }
        let is_mark = |c: char| c == ' ' || c == '=' || c == '\t';
        let (name, value) = match text.find(is_mark) {
            Some(at) => (&text[..at], text[at..].trim_start_matches(is_mark)),
            None => (text, ""),
        };
        let value = match value.strip_prefix('"') {
            Some(value) => value.strip_suffix('"').unwrap_or(value),
            None => value,
        };
        Some(Given {
            line,
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }

    /// Whether a flag is on.
    fn is_on(&self) -> bool {
        !matches!(self.value.chars().next(), Some('0' | 'n' | 'N' | 'f' | 'F'))
            && !self.value.eq_ignore_ascii_case("off")
    }

    /// The name of an option that nobody knows, unless it may be a secret that got out of place.
    fn harmless_name(&self) -> String {
        let is_mark = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_');
        let name = self.name.split(is_mark).next().unwrap_or_default();
        let is_plain = name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c == '-' || c == '_');
        if is_plain && !name.is_empty() && name.len() < 40 {
            name.to_owned()
        } else {
            "(not shown)".to_owned()
        }
    }

    fn number(&self) -> Option<u64> {
        self.value.parse().ok()
    }

    fn from(&self) -> String {
        format!("{} in line {}", self.name, self.line)
    }
}

/// The file, and what has been made of it.
struct Reader<'a> {
    given: Vec<Given>,
    directory: &'a Path,
    draft: Draft,
    report: Report,
    done: HashSet<usize>,
}

/// Reads the text of a file in this directory.
pub(super) fn read(text: &str, directory: &Path) -> Import {
    let lines = text.lines().enumerate();
    let mut reader = Reader {
        given: lines
            .filter_map(|(at, line)| Given::read(at + 1, line))
            .collect(),
        directory,
        draft: Draft::default(),
        report: Report::default(),
        done: HashSet::new(),
    };
    reader.process();
    reader.certificate();
    reader.listeners();
    reader.discovery();
    reader.relays();
    reader.credentials();
    reader.lifetimes();
    reader.alternates();
    reader.peers();
    reader.limits();
    reader.watching();
    reader.rest();
    reader.defaults();
    Import {
        draft: reader.draft,
        report: reader.report,
    }
}

impl Reader<'_> {
    /// The last line of an option; coturn lets it win.
    fn last(&self, name: &str) -> Option<usize> {
        self.given.iter().rposition(|given| given.name == name)
    }

    fn all(&self, name: &str) -> Vec<usize> {
        let of = |(_, given): &(usize, &Given)| given.name == name;
        let all = self.given.iter().enumerate().filter(of);
        all.map(|(at, _)| at).collect()
    }

    fn is_on(&self, name: &str) -> bool {
        self.last(name).is_some_and(|at| self.given[at].is_on())
    }

    fn say(&mut self, at: usize, fate: Fate, words: impl Into<String>) {
        let given = &self.given[at];
        self.report.say(given.line, &given.name, fate, words);
        self.done.insert(at);
    }

    /// Of a flag, and of earlier lines that a later one has overridden.
    fn say_all(&mut self, name: &str, fate: Fate, words: &str) {
        for at in self.all(name) {
            self.say(at, fate, words);
        }
    }

    /// Sets a key, and says so.
    fn set(
        &mut self,
        at: usize,
        table: &'static str,
        key: &'static str,
        value: &str,
        fate: Fate,
        more: &str,
    ) {
        let from = self.given[at].from();
        let name = self.given[at].name.clone();
        for earlier in self.all(&name) {
            if earlier != at && !self.done.contains(&earlier) {
                self.say(earlier, LeftOut, "a later line wins");
            }
        }
        match self.draft.set(table, key, value, &from) {
            Ok(()) => self.say(at, fate, format!("`{key}` under [{table}]{more}")),
            Err(why) => self.say(
                at,
                Missing,
                format!("`{key}` under [{table}] cannot be that: {why}"),
            ),
        }
    }

    fn process(&mut self) {
        let threads = self.last("relay-threads").or(self.last("cpus"));
        if let Some(at) = threads {
            let workers = self.given[at].number().unwrap_or(0).max(1);
            self.set(at, "server", "workers", &workers.to_string(), Taken, "");
        }
        if let Some(at) = self.last("cpus")
            && threads != Some(at)
        {
            self.say(
                at,
                LeftOut,
                "`relay-threads` says how many workers there are",
            );
        }
        for (name, key) in [("proc-user", "user"), ("proc-group", "group")] {
            if let Some(at) = self.last(name) {
                let value = quoted(&self.given[at].value);
                self.set(at, "server", key, &value, Taken, "");
            }
        }
        if let Some(at) = self.last("software-attribute") {
            if self.given[at].is_on() {
                self.set(at, "server", "software", "\"hairpin\"", Taken, "");
            } else {
                self.say(
                    at,
                    Taken,
                    "there is no SOFTWARE attribute unless `software` is set",
                );
            }
        }
        if let Some(at) = self.last("sock-buf-size") {
            let size = format!("\"{}B\"", self.given[at].number().unwrap_or(0));
            let from = self.given[at].from();
            let keys = ["send_buffer", "relay_receive_buffer", "relay_send_buffer"];
            self.set(
                at,
                "sockets",
                "receive_buffer",
                &size,
                Taken,
                ", and the other three",
            );
            for key in keys {
                // Refused for the same reason as the first, which was said.
                let _ = self.draft.set("sockets", key, &size, &from);
            }
        }
    }

    fn certificate(&mut self) {
        let (Some(cert), Some(key)) = (self.last("cert"), self.last("pkey")) else {
            for name in ["cert", "pkey"] {
                self.say_all(name, Missing, "TLS needs both `cert` and `pkey`");
            }
            return;
        };
        let path = |at: usize| self.directory.join(&self.given[at].value);
        let block = Block {
            table: "tls.certificate",
            lines: vec![
                format!(
                    "certificate = {}",
                    quoted(&path(cert).display().to_string())
                ),
                format!("key = {}", quoted(&path(key).display().to_string())),
            ],
            from: format!("{} and {}", self.given[cert].from(), self.given[key].from()),
        };
        let (fate, words) = match self.draft.block(block) {
            Ok(()) => (Taken, "[[tls.certificate]]".to_owned()),
            Err(why) => (
                Missing,
                format!("[[tls.certificate]] cannot be that: {why}"),
            ),
        };
        self.say(cert, fate, words.clone());
        self.say(key, fate, words);
    }

    fn port(&mut self, name: &str, default: u16) -> u16 {
        let Some(at) = self.last(name) else {
            return default;
        };
        match self.given[at].value.parse() {
            Ok(0) => {
                self.say(at, Taken, format!("port {default}"));
                default
            }
            Ok(port) => {
                self.say(
                    at,
                    Taken,
                    format!("port {port} of each [[listener]] of that kind"),
                );
                port
            }
            Err(_) => {
                self.say(at, Missing, format!("this is no port; {default} is taken"));
                default
            }
        }
    }

    fn listeners(&mut self) {
        let mut ips = Vec::new();
        for at in self.all("listening-ip") {
            let value = self.given[at].value.clone();
            let ip: Option<IpAddr> = match value.as_str() {
                "" => Some(Ipv4Addr::UNSPECIFIED.into()),
                text => text.parse().ok(),
            };
            match ip {
                Some(ip) => {
                    self.say(at, Taken, "the address of [[listener]]");
                    if !ips.contains(&ip) {
                        ips.push(ip);
                    }
                }
                None => self.say(at, Missing, "this is no IP address"),
            }
        }
        if ips.is_empty() {
            ips = vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        }
        let port = self.port("listening-port", PORT);
        let tls_port = self.port("tls-listening-port", TLS_PORT);
        for name in ["no-udp", "no-tcp", "no-tls"] {
            self.say_all(name, Taken, "there is no [[listener]] of that kind");
        }
        self.say_all(
            "no-dtls",
            Taken,
            "there is no [[listener]] with transport \"dtls\"",
        );
        let wants_dtls = self.is_on("dtls");
        let has_certificate = self.draft.has("tls.certificate");
        let mut dtls = Ok(());
        for ip in ips {
            for (transport, port, is_on) in [
                ("udp", port, !self.is_on("no-udp")),
                ("tcp", port, !self.is_on("no-tcp")),
                ("tls", tls_port, !self.is_on("no-tls") && has_certificate),
                ("dtls", tls_port, wants_dtls),
            ] {
                if is_on {
                    let added = self.listener(
                        transport,
                        SocketAddr::new(ip, port),
                        "the listening options",
                    );
                    if transport == "dtls" {
                        dtls = added;
                    }
                }
            }
        }
        match dtls {
            Ok(()) => self.say_all("dtls", Taken, "[[listener]] with transport \"dtls\""),
            Err(why) => self.say_all(
                "dtls",
                Missing,
                &format!("there is no listener for DTLS: {why}"),
            ),
        }
        for at in self.all("aux-server") {
            let added = self.given[at]
                .value
                .parse()
                .map_err(|_| "this is no address and port".to_owned());
            let from = self.given[at].from();
            let added = added.and_then(|address| {
                self.listener("udp", address, &from)?;
                self.listener("tcp", address, &from)
            });
            match added {
                Ok(()) => self.say(at, Taken, "a [[listener]] for UDP and one for TCP"),
                Err(why) => self.say(at, Missing, why),
            }
        }
        if let Some(at) = self.last("tcp-proxy-port") {
            let block = Block {
                table: "listener",
                lines: vec![
                    "transport = \"tcp\"".to_owned(),
                    format!("address = \"0.0.0.0:{}\"", self.given[at].value),
                    "proxy_protocol_from = []    # the proxies' addresses".to_owned(),
                ],
                from: self.given[at].from(),
            };
            self.draft.block_refused(
                block,
                Some("the proxies' addresses are not known".to_owned()),
            );
            self.say(
                at,
                Missing,
                "a [[listener]] takes the PROXY protocol from the proxies in `proxy_protocol_from` only: give them there",
            );
        }
    }

    fn listener(&mut self, transport: &str, address: SocketAddr, from: &str) -> Result<(), String> {
        self.draft.block(Block {
            table: "listener",
            lines: vec![
                format!("transport = \"{transport}\""),
                format!("address = \"{address}\""),
            ],
            from: from.to_owned(),
        })
    }

    /// Two addresses of a family, and two ports.
    fn discovery(&mut self) {
        let port = self
            .last("listening-port")
            .and_then(|at| self.given[at].value.parse().ok());
        let port: u16 = port.filter(|port| *port > 0).unwrap_or(PORT);
        let alternate = self
            .last("alt-listening-port")
            .and_then(|at| self.given[at].value.parse().ok());
        let alternate = alternate
            .filter(|port| *port > 0)
            .unwrap_or(port.saturating_add(1));
        let ips: Vec<IpAddr> = self
            .all("listening-ip")
            .into_iter()
            .filter_map(|at| self.given[at].value.parse().ok())
            .filter(|ip: &IpAddr| !ip.is_unspecified())
            .collect();
        let is_on = self.is_on("rfc5780");
        let mut sites = 0;
        for family in [Family::V4, Family::V6] {
            let mut of_family = ips.iter().filter(|ip| Family::of(**ip) == family);
            if let (true, Some(first), Some(second)) = (is_on, of_family.next(), of_family.next()) {
                let block = Block {
                    table: "discovery",
                    lines: vec![
                        format!("primary = \"{}\"", SocketAddr::new(*first, port)),
                        format!("alternate = \"{}\"", SocketAddr::new(*second, alternate)),
                    ],
                    from: "rfc5780".to_owned(),
                };
                sites += usize::from(self.draft.block(block).is_ok());
            }
        }
        if sites > 0 {
            self.say_all("rfc5780", Taken, "[[discovery]]");
            self.say_all(
                "alt-listening-port",
                Taken,
                "the port of `alternate` under [[discovery]]",
            );
        } else {
            self.say_all(
                "rfc5780",
                if is_on { Missing } else { Taken },
                "there is no [[discovery]]: it takes two `listening-ip` of one family, and is off without",
            );
            self.say_all(
                "alt-listening-port",
                LeftOut,
                "it is of use with NAT behaviour discovery only",
            );
        }
        self.say_all(
            "alt-tls-listening-port",
            LeftOut,
            "NAT behaviour discovery is for UDP only",
        );
    }

    fn relays(&mut self) {
        let ends = [("min-port", 49152_u16), ("max-port", 65535)].map(|(name, default)| {
            let at = self.last(name);
            let port = at.and_then(|at| self.given[at].value.parse().ok());
            (at, port.unwrap_or(default))
        });
        let [(min, first), (max, last)] = ends;
        let first_possible = first.max(1024);
        if let Some(at) = min.or(max) {
            let value = format!("\"{first_possible}-{last}\"");
            let fate = if first < 1024 { Changed } else { Taken };
            let more = if first < 1024 {
                ", from 1024 on: ports below are those of other services"
            } else {
                ""
            };
            self.set(at, "relay", "ports", &value, fate, more);
            if let (Some(at), true) = (max, min.is_some()) {
                self.say(at, Taken, "`ports` under [relay]");
            }
        }
        let mut externals: Vec<(IpAddr, Option<IpAddr>, usize)> = Vec::new();
        for at in self.all("external-ip") {
            let value = self.given[at].value.clone();
            let (public, private) = match value.split_once('/') {
                Some((public, private)) => (public.parse(), Some(private.parse::<IpAddr>())),
                None => (value.parse(), None),
            };
            match (public, private) {
                (Ok(public), None) => externals.push((public, None, at)),
                (Ok(public), Some(Ok(private))) => externals.push((public, Some(private), at)),
                _ if value.is_empty() => self.say(at, Taken, "empty is as if it was not there"),
                _ => self.say(
                    at,
                    Missing,
                    "this is no IP address, and no two with a slash between them",
                ),
            }
        }
        let mut relays: Vec<(IpAddr, usize)> = Vec::new();
        for at in self.all("relay-ip") {
            match self.given[at].value.parse() {
                Ok(ip) => relays.push((ip, at)),
                Err(_) => self.say(at, Missing, "this is no IP address"),
            }
        }
        // coturn relays from these where nothing else is said.
        for (_, private, at) in &externals {
            if let Some(private) = private
                && !relays.iter().any(|(ip, _)| ip == private)
            {
                relays.push((*private, *at));
            }
        }
        let single = externals
            .iter()
            .find(|(_, private, _)| private.is_none())
            .copied();
        for (ip, at) in &relays {
            let mapped = externals
                .iter()
                .find(|(_, private, _)| *private == Some(*ip));
            let mapped = mapped.or(single
                .as_ref()
                .filter(|(public, ..)| Family::of(*public) == Family::of(*ip)));
            let external = mapped.map(|(public, ..)| *public);
            let from = self.given[*at].from();
            let added = relay_block(&mut self.draft, &ip.to_string(), external, &from);
            let mut places = vec![*at];
            places.extend(mapped.map(|(.., at)| *at));
            self.say_relay(&places, added);
        }
        if let Some((public, None, at)) = single
            && !relays
                .iter()
                .any(|(ip, _)| Family::of(*ip) == Family::of(public))
        {
            let family = Family::of(public);
            let from = self.given[at].from();
            let added = relay_block(
                &mut self.draft,
                &family.to_string().to_lowercase(),
                Some(public),
                &from,
            );
            self.say_relay(&[at], added);
            if family == Family::V4
                && addresses::default_route(Family::V6).is_some_and(|ip| !ip.is_loopback())
            {
                let _ = relay_block(
                    &mut self.draft,
                    "ipv6",
                    None,
                    "the IPv6 address, which coturn finds by itself",
                );
            }
        }
        for (.., at) in externals {
            if !self.done.contains(&at) {
                self.say(
                    at,
                    Missing,
                    "there is one external address for each relay address; this one is too many",
                );
            }
        }
    }

    fn say_relay(&mut self, places: &[usize], added: Result<(), String>) {
        for at in places {
            if !self.done.contains(at) {
                match &added {
                    Ok(()) => self.say(*at, Taken, "[[relay.address]]"),
                    Err(why) => self.say(
                        *at,
                        Missing,
                        format!("[[relay.address]] cannot be that: {why}"),
                    ),
                }
            }
        }
    }

    fn credentials(&mut self) {
        if let Some(at) = self.last("realm") {
            let realm = quoted(&self.given[at].value);
            self.set(at, "auth", "realm", &realm, Taken, "");
        }
        let stun_only = self.is_on("stun-only");
        self.say_all(
            "stun-only",
            if stun_only { Changed } else { Taken },
            "without a credential nobody relays, and none is taken where this is on",
        );
        let unused = stun_only.then(|| "stun-only".to_owned());
        for at in self.all("static-auth-secret") {
            let secret = quoted(&self.given[at].value);
            let from = self.given[at].from();
            let added = match &unused {
                Some(why) => {
                    self.draft
                        .push_unchecked("auth", "secrets", &secret, &from, unused.clone());
                    Err(why.clone())
                }
                None => self.draft.push("auth", "secrets", &secret, &from),
            };
            match added {
                Ok(()) => self.say(at, Taken, "`secrets` under [auth]"),
                Err(why) => self.say(
                    at,
                    Missing,
                    format!("not used: {why}; make a new one (`openssl rand -base64 32`), here and in the application"),
                ),
            }
        }
        let wants_secret =
            self.is_on("use-auth-secret") || self.last("static-auth-secret").is_some();
        if self.draft.has_key("auth", "secrets") {
            self.say_all("use-auth-secret", Taken, "`secrets` under [auth]");
        } else {
            self.say_all(
                "use-auth-secret",
                Missing,
                "there is no secret to use; those of a database (`turnadmin -S`) go under `secrets` in [auth]",
            );
        }
        let beside =
            wants_secret.then(|| "coturn takes no static users beside shared secrets".to_owned());
        for at in self.all("user") {
            self.user(at, unused.clone().or(beside.clone()));
        }
        if let Some(at) = self.last("stateless-nonce-secret") {
            let key = quoted(&self.given[at].value);
            self.set(at, "auth", "nonce_key", &key, Taken, "");
        }
        if let Some(at) = self.last("rest-api-separator") {
            if self.given[at].value == ":" {
                self.say(at, Taken, "so it is anyway");
            } else {
                self.say(at, Missing, "the separator is always a colon; the application has to make user names with it");
            }
        }
    }

    fn user(&mut self, at: usize, unused: Option<String>) {
        let value = self.given[at].value.clone();
        let Some((name, password)) = value.split_once(':') else {
            self.say(
                at,
                Missing,
                "this is no user name with a password or key behind a colon",
            );
            return;
        };
        let is_again = |given: &Given| {
            let again = given.value.split_once(':').map(|(name, _)| name);
            given.name == "user" && again == Some(name)
        };
        if self.given.iter().skip(at + 1).any(is_again) {
            self.say(at, LeftOut, format!("a later line for {name:?} wins"));
            return;
        }
        let (key, secret) = match password.strip_prefix("0x") {
            Some(key) if key.len() == 64 => ("sha256_key", key),
            Some(key) => ("md5_key", key),
            None => ("password", password),
        };
        let block = Block {
            table: "auth.user",
            lines: vec![
                format!("name = {}", quoted(name)),
                format!("{key} = {}", quoted(secret)),
            ],
            from: self.given[at].from(),
        };
        let added = match unused {
            Some(why) => {
                self.draft.block_refused(block, Some(why.clone()));
                Err(why)
            }
            None => self.draft.block(block),
        };
        let keyed = if key != "password" && self.last("realm").is_none() {
            "; keys are made with the realm, and there is none here: give the one that coturn had"
        } else {
            ""
        };
        match added {
            Ok(()) if keyed.is_empty() => {
                self.say(at, Taken, format!("[[auth.user]] {name:?} with `{key}`"))
            }
            Ok(()) => self.say(
                at,
                Missing,
                format!("[[auth.user]] {name:?} with `{key}`{keyed}"),
            ),
            Err(why) => self.say(
                at,
                Missing,
                format!("[[auth.user]] {name:?} is not used: {why}"),
            ),
        }
    }

    fn lifetimes(&mut self) {
        if let Some(at) = self.last("stale-nonce") {
            let wanted = self.given[at].number().unwrap_or(600);
            let seconds = if wanted == 0 {
                3600
            } else {
                wanted.clamp(60, 3600)
            };
            let (fate, more) = if seconds == wanted || self.given[at].value.is_empty() {
                (Taken, "")
            } else {
                (Changed, ", of 1 minute to 1 hour")
            };
            self.set(
                at,
                "auth",
                "nonce_lifetime",
                &format!("\"{seconds}s\""),
                fate,
                more,
            );
        }
        if let Some(at) = self.last("max-allocate-lifetime") {
            let wanted = self.given[at].number().unwrap_or(3600);
            let seconds = wanted.clamp(600, 86_400);
            let (fate, more) = if seconds == wanted || self.given[at].value.is_empty() {
                (Taken, "")
            } else {
                (Changed, ", of 10 minutes to 1 day")
            };
            self.set(
                at,
                "allocation",
                "max_lifetime",
                &format!("\"{seconds}s\""),
                fate,
                more,
            );
        }
        if let Some(at) = self.last("max-allocate-timeout") {
            let seconds = self.given[at].number().unwrap_or(60).clamp(1, 300);
            self.set(
                at,
                "tcp",
                "auth_timeout",
                &format!("\"{seconds}s\""),
                Changed,
                ": the time for a connection to get an allocation; nothing is kept of clients over UDP before they have one",
            );
        }
        for (name, table, key) in [
            ("mobility", "allocation", "mobility"),
            ("rfc5766-channel-numbers", "allocation", "rfc5766_channels"),
            ("rfc3489-compatibility", "stun", "classic"),
        ] {
            if let Some(at) = self.last(name) {
                let value = self.given[at].is_on().to_string();
                self.set(at, table, key, &value, Taken, "");
            }
        }
        if let Some(at) = self.last("no-tcp-relay") {
            let value = (!self.given[at].is_on()).to_string();
            self.set(at, "tcp_relay", "enabled", &value, Taken, "");
        }
        if let Some(at) = self.last("allocation-default-address-family") {
            if self.given[at].value == "ipv4" {
                self.say(at, Taken, "so it is anyway");
            } else {
                self.say(
                    at,
                    Missing,
                    "clients that do not ask for a family get IPv4, as RFC 8656 has it",
                );
            }
        }
    }

    fn alternates(&mut self) {
        let mut found: Vec<(SocketAddr, Option<SocketAddr>, usize)> = Vec::new();
        for (name, port) in [
            ("alternate-server", PORT),
            ("udp-alternate-server", PORT),
            ("tcp-alternate-server", PORT),
            ("tls-alternate-server", TLS_PORT),
        ] {
            for at in self.all(name) {
                let text = self.given[at].value.clone();
                let bare = text
                    .trim_start_matches('[')
                    .trim_end_matches(']')
                    .parse::<IpAddr>();
                let address = text.parse().or(bare.map(|ip| SocketAddr::new(ip, port)));
                let Ok(address) = address else {
                    self.say(at, Missing, "this is no IP address with a port or without");
                    continue;
                };
                let is_tls = name == "tls-alternate-server";
                let same = found
                    .iter_mut()
                    .find(|(other, ..)| other.ip() == address.ip());
                match same {
                    Some((_, tls, _)) if is_tls => {
                        *tls = Some(address);
                        self.say(at, Taken, "`tls_address` of its [[alternate]]");
                    }
                    None if is_tls => self.say(
                        at,
                        Missing,
                        "an [[alternate]] has an `address` for UDP and TCP as well: give it beside this one as `tls_address`",
                    ),
                    Some((other, ..)) if *other == address => {
                        self.say(at, LeftOut, "it is there already; each alternate counts the same");
                    }
                    _ => found.push((address, None, at)),
                }
            }
        }
        for (address, tls, at) in found {
            let mut lines = vec![format!("address = \"{address}\"")];
            lines.extend(tls.map(|tls| format!("tls_address = \"{tls}\"")));
            let from = self.given[at].from();
            let only = matches!(
                self.given[at].name.as_str(),
                "udp-alternate-server" | "tcp-alternate-server"
            );
            match self.draft.block(Block {
                table: "alternate",
                lines,
                from,
            }) {
                Ok(()) if only => self.say(
                    at,
                    Changed,
                    "[[alternate]], for clients over UDP and over TCP alike",
                ),
                Ok(()) => self.say(at, Taken, "[[alternate]], and `redirect` under [server]"),
                Err(why) => self.say(at, Missing, format!("[[alternate]] cannot be that: {why}")),
            }
        }
        if self.draft.has("alternate") {
            self.draft
                .put("server", "redirect", "true", "alternate servers", None);
        }
    }

    fn peers(&mut self) {
        for (name, key) in [("allowed-peer-ip", "allow"), ("denied-peer-ip", "deny")] {
            for at in self.all(name) {
                let value = self.given[at].value.clone();
                let (first, last) = value.split_once('-').unwrap_or((&value, &value));
                let range = match (first.trim().parse(), last.trim().parse()) {
                    (Ok(first), Ok(last)) => prefixes(first, last),
                    _ => None,
                };
                let Some(range) = range else {
                    self.say(at, Missing, "this is no IP address, and no range of them");
                    continue;
                };
                let from = self.given[at].from();
                let mut added = Ok(());
                for net in &range {
                    added = added.and(self.draft.push("peers", key, &format!("\"{net}\""), &from));
                }
                let shown: Vec<_> = range.iter().map(ToString::to_string).collect();
                match added {
                    Ok(()) => self.say(
                        at,
                        Taken,
                        format!("`{key}` under [peers]: {}", shown.join(", ")),
                    ),
                    Err(why) => self.say(
                        at,
                        Missing,
                        format!("`{key}` under [peers] cannot be that: {why}"),
                    ),
                }
            }
        }
        if let Some(at) = self.last("allow-loopback-peers") {
            if self.given[at].is_on() {
                let from = self.given[at].from();
                let added = self.draft.push("peers", "allow", "\"127.0.0.0/8\"", &from);
                match added {
                    Ok(()) => self.say(
                        at,
                        Changed,
                        "`allow` under [peers], for IPv4: ::1 stays closed; for tests only",
                    ),
                    Err(why) => self.say(at, Missing, why),
                }
            } else {
                self.say(at, Taken, "so it is anyway");
            }
        }
    }

    fn limits(&mut self) {
        for (name, key) in [
            ("user-quota", "allocations_per_user"),
            ("total-quota", "allocations"),
        ] {
            if let Some(at) = self.last(name) {
                let value = self.given[at].number().unwrap_or(0).to_string();
                self.set(at, "limits", key, &value, Taken, "");
            }
        }
        for (name, key) in [("max-bps", "per_allocation"), ("bps-capacity", "total")] {
            if let Some(at) = self.last(name) {
                let bits = self.given[at].number().unwrap_or(0).saturating_mul(8);
                let value = format!("\"{bits}bit/s\"");
                let more = ": bits a second here, bytes a second there";
                self.set(at, "bandwidth", key, &value, Taken, more);
            }
        }
    }

    fn watching(&mut self) {
        let level = match self
            .last("log-min-level")
            .map(|at| (at, self.given[at].value.clone()))
        {
            Some((at, level)) => Some((
                at,
                if level == "warning" {
                    "warn".to_owned()
                } else {
                    level
                },
            )),
            None if self.is_on("Verbose") => {
                self.last("Verbose").map(|at| (at, "debug".to_owned()))
            }
            None => None,
        };
        if let Some((at, level)) = level {
            self.set(at, "log", "level", &quoted(&level), Taken, "");
        }
        for name in ["verbose", "Verbose"] {
            for at in self.all(name) {
                if !self.done.contains(&at) {
                    self.say(
                        at,
                        LeftOut,
                        "at level \"info\", the default, there is a line for each allocation",
                    );
                }
            }
        }
        let port = self.last("prometheus-port");
        let address = self.last("prometheus-address");
        if self.last("prometheus").is_some() || self.is_on("prometheus-tls") {
            let number: u16 = port
                .and_then(|at| self.given[at].value.parse().ok())
                .unwrap_or(9641);
            let ip = address.and_then(|at| self.given[at].value.parse().ok());
            let socket = SocketAddr::new(ip.unwrap_or(Ipv4Addr::LOCALHOST.into()), number);
            if let Some(at) = self.last("prometheus").or(self.last("prometheus-tls")) {
                let (fate, more) = match ip {
                    Some(_) => (Taken, ""),
                    None => (
                        Changed,
                        ", on loopback: coturn serves them on all addresses, and there is no password",
                    ),
                };
                self.set(
                    at,
                    "metrics",
                    "address",
                    &format!("\"{socket}\""),
                    fate,
                    more,
                );
            }
            for at in [port, address].into_iter().flatten() {
                self.say(at, Taken, "`address` under [metrics]");
            }
        } else {
            for at in [port, address].into_iter().flatten() {
                self.say(at, LeftOut, "coturn serves no metrics without `prometheus`");
            }
        }
    }

    /// What no other step knew.
    fn rest(&mut self) {
        for at in 0..self.given.len() {
            if self.done.contains(&at) {
                continue;
            }
            let name = self.given[at].name.clone();
            let is_overridden = self.last(&name) != Some(at) && reason(&name).is_none();
            match reason(&name) {
                Some((fate, words)) => self.say(at, fate, words),
                None if is_overridden => self.say(at, LeftOut, "a later line wins"),
                None => {
                    let given = &self.given[at];
                    let line = given.line;
                    self.report.say(
                        line,
                        &given.harmless_name(),
                        Unknown,
                        "coturn has no such option",
                    );
                }
            }
        }
    }

    fn defaults(&mut self) {
        let report = &mut self.report;
        report.by_default("Peers with private, loopback, link-local and reserved addresses are denied; coturn relays to most of them. What has to be reached goes under `allow` in [peers].");
        report.by_default("One user name and one source address have 1000 allocations at most (`allocations_per_user`, `allocations_per_source`); coturn has no limit.");
        report.by_default(
            "Answers to whoever has shown no credential are limited (see [strangers]).",
        );
        report.by_default("TLS is for `tls-listening-port` only; coturn takes it on `listening-port` too. One listener for both has transport = \"auto\".");
        if !self.draft.has_key("tcp_relay", "enabled") {
            self.report.by_default("There are no relays for TCP (RFC 6062), which browsers do not use: `enabled` under [tcp_relay].");
        }
        if !self.draft.has("tls.certificate") {
            self.report
                .by_default("Without a certificate there is no listener for TLS.");
        }
        if !self.draft.has_key("auth", "realm") {
            self.report
                .by_default("The realm is \"hairpin\"; coturn takes the domain of the machine.");
        }
        if !self.draft.has_key("auth", "secrets") && !self.draft.has("auth.user") {
            self.report.by_default("Nobody can relay as it stands: there is no secret and no user. coturn lets everybody relay then.");
        }
        if !self.draft.has_key("metrics", "address") {
            self.report
                .by_default("Metrics are served on 127.0.0.1:9641.");
        }
    }
}
