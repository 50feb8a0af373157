//! `hairpin policy`: would this peer be relayed to, and which rule decides?
//!
//! Asks the filter that the server would run with; opens no socket, so that it can be asked beside a running server.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Failure;
use crate::config::Settings;
use crate::net::addresses;
use crate::service::assembly;
use crate::service::decision::{Decision, Peer, decide};

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
    #[arg(value_name = "PEER")]
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

/// Says what would be; the status to exit with.
pub(super) fn main(args: &PolicyArgs) -> Result<ExitCode, Failure> {
    let settings = match &args.config {
        Some(path) => super::load(path)?.settings,
        None => Settings::default(),
    };
    let relays = addresses::relays(&settings.relay)
        .map_err(|error| Failure::new(format!("relay addresses: {error}")))?;
    let filter = assembly::filter(&settings, &relays)?;
    let tcp = &settings.tcp_relay;
    let denied_ports = tcp.enabled.then_some(tcp.denied_ports.as_slice());
    let mut decisions = decide(&filter, denied_ports, args.peer);
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
