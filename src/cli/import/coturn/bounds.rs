//! What clients may do and use up: lifetimes, other servers, peers, limits.
//!
//! Steps of the [`Reader`] of a `turnserver.conf`.

use super::super::draft::Block;
use super::super::ranges::prefixes;
use super::super::report::Fate::{Changed, LeftOut, Missing, Taken};
use super::Reader;
use crate::config::{PORT, TLS_PORT};
use std::net::{IpAddr, SocketAddr};

impl Reader<'_> {
    pub(super) fn lifetimes(&mut self) {
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

    pub(super) fn alternates(&mut self) {
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

    pub(super) fn peers(&mut self) {
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

    pub(super) fn limits(&mut self) {
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
}
