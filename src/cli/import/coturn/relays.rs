//! Where is relayed from: ports, addresses, and what those look like from outside.
//!
//! Steps of the [`Reader`] of a `turnserver.conf`.

use super::super::relay_block;
use super::super::report::Fate::{Changed, Missing, Taken};
use super::Reader;
use crate::config::Family;
use crate::net::addresses;
use std::net::IpAddr;

impl Reader<'_> {
    pub(super) fn relays(&mut self) {
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
}
