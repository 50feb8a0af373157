//! The peer filter: may a client exchange packets with this peer through the relay?
//!
//! Everything that names a peer asks it: a permission asks [`PeerFilter::judge_address`], since a permission has no
//! port; a channel binding, a Send indication and a TCP connection ask [`PeerFilter::judge`]. It does not keep
//! permissions and does not know which relayed addresses are live. It allocates nothing while it judges.
//!
//! # The rule
//!
//! Let `d` be the longest operator deny entry that holds the address, `a` the longest operator allow entry, and `b` the
//! longest [built-in range](super::special_ranges). The address is allowed if there is no `d` or `a` is longer than
//! `d`, and if there is no `b` or `a` is at least as long as `b`. So deny wins a tie with allow,
//! `allow = ["10.0.0.0/8"]` opens that network, and `allow = ["0.0.0.0/0"]` opens nothing that is special. Every
//! IPv4 address embedded in the peer's address ([`Canonical`]) must be allowed as well. 6to4, Teredo
//! and IPv4 addresses written as IPv6 ones stay closed whatever the lists say (RFC 8656 §21.4).
//!
//! An address of this server counts as a built-in entry of full length, save that one in a local range (loopback,
//! private, carrier-grade NAT, link-local) opens together with its range. A socket of this server is always closed.
//!
//! Its main types are [`PeerFilter`] and [`Verdict`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv6Net};

use super::canonical::Canonical;
use super::closed::ClosedRanges;
use super::special::{self, SpecialRange};

/// What a [`PeerFilter`] is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRules {
    /// Networks the operator opens.
    pub allow: Vec<IpNet>,
    /// Networks the operator closes.
    pub deny: Vec<IpNet>,
    /// NAT64 prefixes in use on the relay's network (RFC 6052). They say where the IPv4 address is; they open nothing.
    pub nat64_prefixes: Vec<Ipv6Net>,
    /// Addresses of this server: those of its interfaces and the external ones it is known by.
    pub own_addresses: Vec<IpAddr>,
    /// Sockets of this server that no client may reach through the relay: listeners, metrics, administration. Behind
    /// 1:1 NAT list the external form too. An unspecified IP address stands for every address of this server,
    /// loopback included.
    pub own_sockets: Vec<SocketAddr>,
    /// Addresses that relayed transport addresses have, in local and in external form.
    pub relay_addresses: Vec<IpAddr>,
    /// Ports that relayed transport addresses have.
    pub relay_ports: RangeInclusive<u16>,
}

impl Default for PeerRules {
    /// No operator entries, no address of this server known, and the dynamic ports 49152 to 65535 for relays.
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny: Vec::new(),
            nat64_prefixes: Vec::new(),
            own_addresses: Vec::new(),
            own_sockets: Vec::new(),
            relay_addresses: Vec::new(),
            relay_ports: 49152..=65535,
        }
    }
}

/// What the filter says about a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Packets may go there and come from there.
    Allow,
    /// The address belongs to this server's own relays. A permission may be installed, but the only traffic that may
    /// use it is with relayed transport addresses that are live inside this server; nothing goes to the network.
    HairpinOnly,
    /// No packet may go there: 403 (RFC 8656 §9.2).
    Deny(DenyReason),
}

/// Why a peer is denied. Its `Display` names the rule for the operator; [`name`](Self::name) is for a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenyReason {
    /// The rule that decided.
    pub rule: Rule,
    /// The IPv4 address inside the peer's IPv6 address that the rule is about, if it is not about the peer's
    /// address itself.
    pub embedded: Option<Ipv4Addr>,
}

/// A rule that can deny a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Port 0 is no peer.
    PortZero,
    /// A listener or another socket of this server.
    OwnSocket,
    /// An address of this server.
    OwnAddress,
    /// An entry of the operator's deny list.
    OperatorDeny(IpNet),
    /// A range of the built-in table.
    BuiltIn(&'static SpecialRange),
}

impl DenyReason {
    /// Stable name in snake case, out of a small fixed set.
    pub fn name(&self) -> &'static str {
        if self.embedded.is_some() {
            return "translated_ipv4";
        }
        match self.rule {
            Rule::PortZero => "port_zero",
            Rule::OwnSocket => "own_socket",
            Rule::OwnAddress => "own_address",
            Rule::OperatorDeny(_) => "operator_deny",
            Rule::BuiltIn(range) => range.class.name(),
        }
    }
}

impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(v4) = self.embedded {
            write!(f, "it carries the IPv4 address {v4}: ")?;
        }
        match self.rule {
            Rule::PortZero => write!(f, "port 0 is no peer"),
            Rule::OwnSocket => write!(f, "a socket of this server"),
            Rule::OwnAddress => write!(f, "an address of this server"),
            Rule::OperatorDeny(net) => write!(f, "the deny entry {net}"),
            Rule::BuiltIn(range) if range.can_open => {
                write!(f, "closed by default: {} ({})", range.net, range.title)
            }
            Rule::BuiltIn(range) => write!(f, "always closed: {} ({})", range.net, range.title),
        }
    }
}

/// Why a peer is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The longest allow entry that holds it.
    Entry(IpNet),
    /// No rule denies it.
    NoRule,
}

/// An allow entry and a built-in range that it opens, wholly or in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenedRange {
    /// The operator's entry.
    pub entry: IpNet,
    /// The built-in range that holds the entry.
    pub range: &'static SpecialRange,
}

/// Judges peer addresses.
#[derive(Debug, Clone)]
pub struct PeerFilter {
    rules: PeerRules,
    closed: ClosedRanges,
}

impl PeerFilter {
    /// A filter of these rules. Addresses of this server given in IPv4-mapped form are taken as the IPv4
    /// address they mean.
    pub fn new(mut rules: PeerRules) -> Self {
        for ip in rules
            .own_addresses
            .iter_mut()
            .chain(&mut rules.relay_addresses)
        {
            *ip = ip.to_canonical();
        }
        for socket in &mut rules.own_sockets {
            socket.set_ip(socket.ip().to_canonical());
        }
        let closed = ClosedRanges::new(&rules);
        Self { rules, closed }
    }

    /// Judges a full transport address: for a channel, a Send indication, a TCP connection.
    pub fn judge(&self, peer: SocketAddr) -> Verdict {
        self.decide(peer.ip(), Some(peer.port()))
    }

    /// Judges an address for a permission, which has no port (RFC 8656 §9).
    pub fn judge_address(&self, ip: IpAddr) -> Verdict {
        self.decide(ip, None)
    }

    /// Why an address is allowed that is: for the operator, not for packets.
    pub fn reason_to_allow(&self, ip: IpAddr) -> Reason {
        let canonical = Canonical::of(ip, &self.rules.nat64_prefixes);
        let embedded = canonical.embedded().iter().map(|v4| IpAddr::V4(*v4));
        std::iter::once(ip)
            .chain(embedded)
            .find_map(|ip| longest(&self.rules.allow, ip))
            .map_or(Reason::NoRule, Reason::Entry)
    }

    /// The allow entries that open something the built-in table closes, for a warning at the start.
    pub fn opened_ranges(&self) -> impl Iterator<Item = OpenedRange> + '_ {
        self.rules.allow.iter().filter_map(|entry| {
            special::longest_around(entry)
                .filter(|range| range.can_open)
                .map(|range| OpenedRange {
                    entry: *entry,
                    range,
                })
        })
    }

    fn decide(&self, ip: IpAddr, port: Option<u16>) -> Verdict {
        let canonical;
        let embedded = match ip {
            // It carries nothing, and most peers have one.
            IpAddr::V4(_) => &[],
            IpAddr::V6(_) => {
                canonical = Canonical::of(ip, &self.rules.nat64_prefixes);
                canonical.embedded()
            }
        };
        if let Some(port) = port
            && let Some(reason) = self.closed_port(ip, embedded, port)
        {
            return Verdict::Deny(reason);
        }
        let plainly = self.closed.rule(ip).map(|rule| DenyReason {
            rule,
            embedded: None,
        });
        let Some(reason) = plainly.or_else(|| self.closed_embedded(embedded)) else {
            return Verdict::Allow;
        };
        if self.is_hairpin(ip, port, reason) {
            Verdict::HairpinOnly
        } else {
            Verdict::Deny(reason)
        }
    }

    /// The part of the judgement that looks at the port.
    fn closed_port(&self, ip: IpAddr, embedded: &[Ipv4Addr], port: u16) -> Option<DenyReason> {
        if port == 0 {
            return Some(DenyReason {
                rule: Rule::PortZero,
                embedded: None,
            });
        }
        if self.is_own_socket(ip, port) {
            return Some(DenyReason {
                rule: Rule::OwnSocket,
                embedded: None,
            });
        }
        embedded
            .iter()
            .find(|v4| self.is_own_socket(IpAddr::V4(**v4), port))
            .map(|v4| DenyReason {
                rule: Rule::OwnSocket,
                embedded: Some(*v4),
            })
    }

    fn closed_embedded(&self, embedded: &[Ipv4Addr]) -> Option<DenyReason> {
        embedded.iter().find_map(|v4| {
            self.closed.rule(IpAddr::V4(*v4)).map(|rule| DenyReason {
                rule,
                embedded: Some(*v4),
            })
        })
    }

    /// Whether a peer that the ordinary rules deny is a relay of this server. Only the plain form of the address
    /// is: a translator would take the packet elsewhere.
    fn is_hairpin(&self, ip: IpAddr, port: Option<u16>, reason: DenyReason) -> bool {
        let sealed = matches!(reason.rule, Rule::BuiltIn(range) if !range.can_open);
        !sealed
            && self.rules.relay_addresses.contains(&ip)
            && port.is_none_or(|port| self.rules.relay_ports.contains(&port))
    }

    fn is_own_socket(&self, ip: IpAddr, port: u16) -> bool {
        let is_own = || {
            ip.is_loopback()
                || self.rules.own_addresses.contains(&ip)
                || self.rules.relay_addresses.contains(&ip)
        };
        self.rules.own_sockets.iter().any(|socket| {
            socket.port() == port && (socket.ip() == ip || socket.ip().is_unspecified() && is_own())
        })
    }
}

/// The longest entry that holds `ip`.
fn longest(entries: &[IpNet], ip: IpAddr) -> Option<IpNet> {
    entries
        .iter()
        .filter(|net| net.contains(&ip))
        .max_by_key(|net| net.prefix_len())
        .copied()
}
