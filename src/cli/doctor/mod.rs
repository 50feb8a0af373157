//! `hairpin doctor`: looks at the machine a server runs on, or is to run on, for what keeps calls from working.
//!
//! It reads, and asks the server's own listeners; nobody else is asked anything unless a STUN server is named. Nothing
//! is changed. What only the configuration tells comes from [`super::advice`]. Main items: [`examine`], [`Questions`],
//! [`Machine`]; what is found is a [`Finding`].

mod addresses;
mod ask;
mod certificate;
mod firewall;
mod kernel;
mod listeners;
mod machine;
mod process;
mod secrets;

use std::fmt::Write as _;
use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Failure;
use super::advice::{self, Surroundings};
use super::finding::{Finding, Severity};
use crate::config::{Loaded, Settings};
use crate::net::addresses::relays;

pub use machine::Machine;

/// The exit status where calls fail.
const PROBLEMS: u8 = 1;

/// What `hairpin doctor` is given.
#[derive(Args)]
#[command(after_help = "\
Run it on the server's host, as root where the firewall's rules are to be read. It changes nothing,
and asks nobody but the server's own listeners, unless --stun names a STUN server.

Each finding is a problem (calls fail), a warning (they will, or some do), a note, or ok.

Exit status:
  0  no problem found
  1  there are problems, or the configuration is wrong
  2  the command line is wrong, or a file it names cannot be read")]
pub(super) struct DoctorArgs {
    /// Configuration file; without one, the defaults
    #[arg(short, long, value_name = "FILE", env = "HAIRPIN_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    questions: Questions,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// What may be asked over the network, and how.
#[derive(Args, Clone, Debug, Default)]
pub struct Questions {
    /// Address of this machine to ask the listeners from, as a client elsewhere would: one that the server does not use
    /// itself. May be given for IPv4 and for IPv6
    #[arg(long, value_name = "ADDRESS")]
    pub from: Vec<IpAddr>,
    /// STUN server elsewhere to ask by which address the world sees this machine
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    pub stun: Option<String>,
    /// PEM file with the authorities that clients trust; by default `SSL_CERT_FILE`, or those of the system
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Leave the listeners alone: for a server that does not run yet
    #[arg(long, conflicts_with = "from")]
    pub no_listeners: bool,
}

fn host_and_port(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(text.to_owned())
        }
        _ => Err("write it as stun.example.org:3478, 192.0.2.1:3478 or [2001:db8::1]:3478".into()),
    }
}

/// Looks, says what it found, and whether there are problems.
pub(super) fn main(args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let loaded = match &args.config {
        Some(path) => super::load(path)?,
        None => Loaded {
            path: PathBuf::new(),
            settings: Settings::default(),
            readable_secrets: false,
            files: Vec::new(),
        },
    };
    for from in &args.questions.from {
        UdpSocket::bind((*from, 0)).map_err(|error| {
            Failure::usage(format!(
                "nothing can be asked from {from}: {error}; give an address of this machine"
            ))
        })?;
    }
    let findings = examine(&loaded, &Machine::this(), &args.questions);
    super::print(&if args.json {
        json_text(&findings)
    } else {
        text(&findings)
    })?;
    let has_problems = findings
        .iter()
        .any(|finding| finding.severity == Severity::Problem);
    Ok(if has_problems {
        ExitCode::from(PROBLEMS)
    } else {
        ExitCode::SUCCESS
    })
}

/// Everything that can be found out, the worst first. It may take some seconds, where listeners do not answer.
///
/// A process that has closed system calls to itself must not look at [`Machine::this`], which starts programs.
pub fn examine(loaded: &Loaded, machine: &Machine, questions: &Questions) -> Vec<Finding> {
    let settings = &loaded.settings;
    let mut found = Vec::new();
    let relays = relays(&settings.relay).unwrap_or_else(|error| {
        found.push(
            Finding::problem("relay.unusable", error.to_string()).why("hairpin does not start"),
        );
        Vec::new()
    });
    let surroundings = Surroundings {
        receive_limit: kernel::limit(machine, "rmem_max"),
        send_limit: kernel::limit(machine, "wmem_max"),
        ..Surroundings::of_this_machine(relays.clone())
    };
    found.extend(advice::findings(settings, &surroundings));
    found.extend(secrets::examine(loaded));
    found.extend(addresses::examine(settings, &relays, machine));
    if let Some(server) = &questions.stun {
        found.extend(addresses::mapping(server, settings, &relays));
    }
    found.extend(certificate::examine(settings, questions.ca.as_deref()));
    found.extend(kernel::examine(settings, &relays, &surroundings, machine));
    found.extend(process::examine(settings, &relays, machine));
    found.extend(firewall::examine(settings, &relays, machine));
    if !questions.no_listeners {
        found.extend(listeners::examine(settings, &relays, &questions.from));
    }
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    found
}

fn count(findings: &[Finding], severity: Severity) -> usize {
    let of = |finding: &&Finding| finding.severity == severity;
    findings.iter().filter(of).count()
}

fn json_text(findings: &[Finding]) -> String {
    let line = json!({
        "problems": count(findings, Severity::Problem),
        "warnings": count(findings, Severity::Warning),
        "findings": findings,
    });
    format!("{line}\n")
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        if finding.severity == Severity::Ok {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:7}  {}", finding.severity.name(), finding.id);
        let _ = writeln!(text, "  {}", finding.what);
        if !finding.why.is_empty() {
            let _ = writeln!(text, "  why:  {}", finding.why);
        }
        if !finding.mend.is_empty() || !finding.lines.is_empty() {
            let _ = writeln!(text, "{}", format!("  mend: {}", finding.mend).trim_end());
        }
        for line in &finding.lines {
            let _ = writeln!(text, "      {line}");
        }
        text.push('\n');
    }
    for finding in findings {
        if finding.severity == Severity::Ok {
            let _ = writeln!(text, "ok  {}: {}", finding.id, finding.sentence());
        }
    }
    let plural = |number: usize, what: &str| match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    };
    let _ = writeln!(
        text,
        "\n{}, {}, {}, {} ok",
        plural(count(findings, Severity::Problem), "problem"),
        plural(count(findings, Severity::Warning), "warning"),
        plural(count(findings, Severity::Note), "note"),
        count(findings, Severity::Ok)
    );
    text
}
