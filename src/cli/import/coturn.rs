//! A `turnserver.conf` of coturn.
//!
//! Lines are read as coturn reads them: a name, then spaces or `=`, then a value, in quotes or not; without a value a flag
//! is on. What becomes nothing is in [`super::options`]; the larger steps are in modules of their own. Main function:
//! [`read`].

mod bounds;
mod credentials;
mod relays;
mod sockets;

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use super::Import;
use super::draft::{Block, Draft, quoted};
use super::options::reason;
use super::report::Fate::{Changed, LeftOut, Missing, Taken, Unknown};
use super::report::{Fate, Report};

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
