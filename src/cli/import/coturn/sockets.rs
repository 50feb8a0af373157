//! Where clients come in: listeners, and the two addresses of NAT behaviour discovery.
//!
//! Steps of the [`Reader`] of a `turnserver.conf`.

use super::super::draft::Block;
use super::super::report::Fate::{LeftOut, Missing, Taken};
use super::Reader;
use crate::config::{Family, PORT, TLS_PORT};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

impl Reader<'_> {
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

    pub(super) fn listeners(&mut self) {
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
    pub(super) fn discovery(&mut self) {
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
}
