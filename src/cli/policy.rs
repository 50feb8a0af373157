//! `hairpin policy`: would this peer be relayed to, and which rule decides?
//!
//! Asks the filter that the server would run with; opens no socket, so that it can be asked beside a running server.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Failure;
use crate::config::Settings;
use crate::net::addresses;
use crate::policy::{PeerFilter, Reason, Verdict};
use crate::service::assembly;

/// The exit status for a peer that is denied.
const DENIED: u8 = 3;

/// What `hairpin policy` is given.
#[derive(Args)]
#[command(after_help = "Exit status:\n  \
    0  the peer would be relayed to\n  \
    1  hairpin failed, or the configuration is wrong\n  \
    2  the command line is wrong, or a file it names cannot be read\n  \
    3  the peer, or the user, is denied")]
pub(super) struct PolicyArgs {
    /// Peer: an IP address, or an IP address and a port, [2001:db8::1]:443 with IPv6
    #[arg(value_name = "PEER", value_parser = peer)]
    peer: Peer,
    /// Configuration file; without one, the defaults
    #[arg(short, long, value_name = "FILE", env = "HAIRPIN_CONFIG")]
    config: Option<PathBuf>,
    /// User name as a client shows it: says whether it is revoked
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy)]
struct Peer {
    ip: IpAddr,
    port: Option<u16>,
}

fn peer(text: &str) -> Result<Peer, String> {
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Ok(Peer {
            ip: socket.ip(),
            port: Some(socket.port()),
        });
    }
    let ip = text.trim_start_matches('[').trim_end_matches(']');
    match ip.parse() {
        Ok(ip) => Ok(Peer { ip, port: None }),
        Err(_) => {
            Err("expected an IP address, with a port or without; names are not looked up".into())
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

/// What is decided, and why.
struct Decision {
    verdict: &'static str,
    rule: String,
    allowed: bool,
}

/// Says what would be; the status to exit with.
pub(super) fn main(args: &PolicyArgs) -> Result<ExitCode, Failure> {
    let settings = match &args.config {
        Some(path) => super::load(path)?.settings,
        None => Settings::default(),
    };
    let relays = addresses::relays(&settings.relay)
        .map_err(|error| Failure::new(format!("relay addresses: {error}")))?;
    let filter = assembly::filter(&settings, &relays);
    let mut decisions = vec![judge(&filter, args.peer)];
    if let Some(port) = args.peer.port
        && settings.tcp_relay.enabled
        && settings.tcp_relay.denied_ports.contains(&port)
        && decisions.iter().all(|decision| decision.allowed)
    {
        // Over UDP it stays allowed, so this is a remark and no decision.
        decisions.push(Decision {
            verdict: "allowed over UDP only",
            rule: format!("port {port} is in `denied_ports` under [tcp_relay]"),
            allowed: true,
        });
    }
    if let Some(user) = &args.user {
        decisions.push(of_user(&settings, user)?);
    }
    let decision = decisions
        .iter()
        .find(|decision| !decision.allowed)
        .or(decisions.first());
    let allowed = decisions.iter().all(|decision| decision.allowed);
    let text = if args.json {
        let line = json!({
            "peer": args.peer.to_string(),
            "allowed": allowed,
            "verdict": decision.map(|decision| decision.verdict),
            "rule": decision.map(|decision| decision.rule.as_str()),
        });
        format!("{line}\n")
    } else {
        let lines = decisions
            .iter()
            .map(|Decision { verdict, rule, .. }| format!("{}: {verdict}: {rule}\n", args.peer));
        lines.collect()
    };
    super::print(&text)?;
    Ok(if allowed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DENIED)
    })
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

fn of_user(settings: &Settings, user: &str) -> Result<Decision, Failure> {
    let authenticator = assembly::authenticator(settings)?;
    let part = user.split_once(':').map(|(_, part)| part);
    let revoked = authenticator.is_revoked(user, part);
    Ok(Decision {
        verdict: if revoked { "denied" } else { "allowed" },
        rule: if revoked {
            format!("user {user:?} is revoked")
        } else {
            format!("user {user:?} is not revoked, and the same peers are allowed for all users")
        },
        allowed: !revoked,
    })
}
