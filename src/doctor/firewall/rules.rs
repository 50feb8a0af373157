//! Firewall rules as far as they matter here, and what becomes of a packet by them.
//!
//! The packet is the first of a flow, from anywhere outside. Main types: [`Ruleset`], [`Packet`], [`Fate`].

use std::collections::HashMap;
use std::ops::RangeInclusive;

use crate::config::Family;

/// Chains that call chains deeper than this are not followed.
const DEEPEST: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Udp,
    Tcp,
}

impl Protocol {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    pub family: Family,
    pub protocol: Protocol,
    pub port: u16,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    In,
    Dropped(By),
    Unclear(String),
}

/// What drops it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct By {
    pub why: String,
    /// The chain in which a rule would let it in, as `nft` takes it; `None` for iptables.
    pub chain: Option<String>,
}

/// One thing a rule asks of a packet.
#[derive(Clone, Debug)]
pub(super) enum Test {
    Family(Family),
    Protocols(Vec<String>),
    Ports {
        protocol: Option<Protocol>,
        ranges: Vec<RangeInclusive<u16>>,
        /// Whether it asks for all but these.
        inverted: bool,
    },
    /// Holds for no packet of that kind: established flows, the loopback interface.
    Never,
    /// Not known here, or not to be known.
    Unknown(String),
}

#[derive(Clone, Debug)]
pub(super) enum Verdict {
    Accept,
    Drop,
    Return,
    /// The chain; with `goto` there is no way back.
    Jump {
        chain: String,
        goto: bool,
    },
    /// To a program, or elsewhere.
    Unknown,
}

#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub tests: Vec<Test>,
    pub verdict: Verdict,
    /// As it is shown.
    pub text: String,
}

/// Where packets that come in begin.
#[derive(Clone, Debug)]
pub(super) struct Base {
    pub chain: String,
    /// As people know it.
    pub name: String,
    /// As `nft` takes it.
    pub nft: Option<String>,
    pub family: Option<Family>,
    pub drops: bool,
    /// Whether it comes before the rules for what is let in, where rules of that kind would not mend what it drops.
    pub is_early: bool,
    /// Whether iptables made it.
    pub is_foreign: bool,
}

/// All chains that packets to this machine pass.
#[derive(Clone, Debug, Default)]
pub(super) struct Ruleset {
    pub bases: Vec<Base>,
    pub chains: HashMap<String, Vec<Rule>>,
}

impl Ruleset {
    pub(super) fn is_empty(&self) -> bool {
        let is_idle =
            |base: &Base| !base.drops && self.chains.get(&base.chain).is_none_or(Vec::is_empty);
        self.bases.iter().all(is_idle)
    }

    pub(super) fn without_foreign(mut self) -> Self {
        self.bases.retain(|base| !base.is_foreign);
        self
    }

    pub(super) fn and(mut self, other: Self) -> Self {
        self.bases.extend(other.bases);
        self.chains.extend(other.chains);
        self
    }

    /// The ports of a range of which one tells of all up to the next.
    pub(super) fn telling_ports(&self, first: u16, last: u16) -> Vec<u16> {
        let mut ports = vec![first, last];
        for test in self.chains.values().flatten().flat_map(|rule| &rule.tests) {
            if let Test::Ports { ranges, .. } = test {
                for range in ranges {
                    ports.push(*range.start());
                    ports.push(range.end().saturating_add(1));
                }
            }
        }
        ports.retain(|port| (first..=last).contains(port));
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// What becomes of a packet: it has to get through all chains that it meets.
    pub(super) fn judge(&self, packet: Packet) -> Fate {
        let mut fate = Fate::In;
        for base in &self.bases {
            if base.family.is_some_and(|family| family != packet.family) {
                continue;
            }
            let mut walk = Walk::default();
            let end = self.walk(&base.chain, packet, 0, &mut walk);
            let drops_at_end = match end {
                Some(End::Accept) => None,
                Some(End::Drop(rule)) => Some(format!("by the rule `{rule}` in {}", base.name)),
                None if base.drops => {
                    Some(format!("{} drops what no rule of it accepts", base.name))
                }
                None => None,
            };
            match (drops_at_end, walk.may_accept, walk.may_drop) {
                (Some(why), None, _) if base.is_early => {
                    fate = Fate::Unclear(format!("{why}, before the rules for what comes in"));
                }
                (Some(why), None, _) => {
                    return Fate::Dropped(By {
                        why,
                        chain: base.nft.clone(),
                    });
                }
                (None, _, None) => {}
                (Some(_), Some(why), _) | (None, _, Some(why)) => fate = Fate::Unclear(why),
            }
        }
        fate
    }

    fn walk(&self, chain: &str, packet: Packet, depth: usize, walk: &mut Walk) -> Option<End> {
        if depth > DEEPEST {
            walk.unclear("chains call each other too deeply");
            return None;
        }
        for rule in self.chains.get(chain)? {
            let mut unknown = None;
            let mut holds = true;
            for test in &rule.tests {
                match test.holds(packet) {
                    Ok(true) => {}
                    Ok(false) => holds = false,
                    Err(why) => unknown = Some(why),
                }
            }
            if !holds {
                continue;
            }
            let end = match &rule.verdict {
                Verdict::Accept => Some(End::Accept),
                Verdict::Drop => Some(End::Drop(rule.text.clone())),
                Verdict::Return if unknown.is_none() => return None,
                Verdict::Return => {
                    walk.unclear(&rule.text);
                    None
                }
                Verdict::Unknown => {
                    walk.unclear(&rule.text);
                    None
                }
                Verdict::Jump { chain, goto } => {
                    let end = self.walk(chain, packet, depth + 1, walk);
                    if *goto && end.is_none() && unknown.is_none() {
                        return None;
                    }
                    end
                }
            };
            match (end, unknown) {
                (None, _) => {}
                (Some(end), None) => return Some(end),
                (Some(end), Some(what)) => walk.maybe(&end, &what, &rule.text),
            }
        }
        None
    }
}

/// How a walk through a chain ends.
enum End {
    Accept,
    Drop(String),
}

/// What could have become of a packet on the way.
#[derive(Default)]
struct Walk {
    may_accept: Option<String>,
    may_drop: Option<String>,
}

impl Walk {
    fn unclear(&mut self, rule: &str) {
        self.may_accept.get_or_insert_with(|| format!("`{rule}`"));
        self.may_drop.get_or_insert_with(|| format!("`{rule}`"));
    }

    fn maybe(&mut self, end: &End, what: &str, rule: &str) {
        let why = format!("it depends on {what} in `{rule}`");
        match end {
            End::Accept => self.may_accept.get_or_insert(why),
            End::Drop(_) => self.may_drop.get_or_insert(why),
        };
    }
}

impl Test {
    /// Whether it holds; else what it depends on.
    fn holds(&self, packet: Packet) -> Result<bool, String> {
        match self {
            Self::Family(family) => Ok(*family == packet.family),
            Self::Protocols(names) => Ok(names.iter().any(|name| name == packet.protocol.name())),
            Self::Ports {
                protocol,
                ranges,
                inverted,
            } => {
                if protocol.is_some_and(|protocol| protocol != packet.protocol) {
                    return Ok(false);
                }
                let is_in = ranges.iter().any(|range| range.contains(&packet.port));
                Ok(is_in != *inverted)
            }
            Self::Never => Ok(false),
            Self::Unknown(what) => Err(what.clone()),
        }
    }
}

/// A match of the source address: whoever is outside has no private one.
pub(super) fn source(prefix: &str, inverted: bool) -> Option<Test> {
    let address = prefix.split('/').next().and_then(|ip| ip.parse().ok());
    if prefix.ends_with("/0") {
        return inverted.then_some(Test::Never);
    }
    match address {
        Some(address) if crate::doctor::advice::confined(address).is_some() => {
            (!inverted).then_some(Test::Never)
        }
        _ => Some(Test::Unknown("the client's address".to_owned())),
    }
}
