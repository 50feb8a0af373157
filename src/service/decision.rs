//! Would this peer be relayed to, and which rule decides?
//!
//! Asks the peer filter and puts its answer in words; decides nothing of its own. Main items: [`Peer`], [`Decision`],
//! [`decide`].

use crate::policy::{PeerFilter, Reason, Verdict};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// A peer as somebody asks for it: an address, with a port or any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The address.
    pub ip: IpAddr,
    /// The port, if it matters.
    pub port: Option<u16>,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Peer, String> {
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return Ok(Peer {
                ip: socket.ip(),
                port: Some(socket.port()),
            });
        }
        let ip = text.trim_start_matches('[').trim_end_matches(']');
        match ip.parse() {
            Ok(ip) => Ok(Peer { ip, port: None }),
            Err(_) => Err(
                "expected an IP address, with a port or without; names are not looked up".into(),
            ),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

/// What is decided, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// In a word or a few.
    pub verdict: &'static str,
    /// The rule that decided.
    pub rule: String,
    /// Whether it may be.
    pub allowed: bool,
}

/// What the filter says of a peer, and then what else there is to say of it. `denied_tcp_ports` are those that relays
/// for TCP do not connect to; `None` where there are no such relays.
#[must_use]
pub fn decide(filter: &PeerFilter, denied_tcp_ports: Option<&[u16]>, peer: Peer) -> Vec<Decision> {
    let mut decisions = vec![judge(filter, peer)];
    if let (Some(port), Some(denied)) = (peer.port, denied_tcp_ports)
        && denied.contains(&port)
        && decisions.iter().all(|decision| decision.allowed)
    {
        // Over UDP it stays allowed, so this is a remark and no decision.
        decisions.push(Decision {
            verdict: "allowed over UDP only",
            rule: format!("port {port} is in `denied_ports` under [tcp_relay]"),
            allowed: true,
        });
    }
    decisions
}

fn judge(filter: &PeerFilter, peer: Peer) -> Decision {
    let verdict = match peer.port {
        Some(port) => filter.judge(SocketAddr::new(peer.ip, port)),
        None => filter.judge_address(peer.ip),
    };
    match verdict {
        Verdict::Allow => Decision {
            verdict: "allowed",
            rule: match filter.reason_to_allow(peer.ip) {
                Reason::Entry(entry) => format!("the allow entry {entry}"),
                Reason::NoRule => "a global unicast address that no rule denies".to_owned(),
            },
            allowed: true,
        },
        Verdict::HairpinOnly => Decision {
            verdict: "allowed",
            rule: "a relay address of this server: other clients are reached at it, the network is not"
                .to_owned(),
            allowed: true,
        },
        Verdict::Deny(reason) => Decision {
            verdict: "denied",
            rule: reason.to_string(),
            allowed: false,
        },
    }
}
