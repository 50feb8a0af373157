//! `hairpin doctor`: looks at the machine a server runs on, or is to run on, for what keeps calls from working.
//!
//! What is looked at is [`crate::doctor`]'s concern; here is what is asked of it, and how people read it.

use super::Failure;
use super::plain;
use crate::config::{Loaded, Settings};
use crate::doctor::{Machine, Questions, Report, examine};
use clap::Args;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;
use std::process::ExitCode;

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
    asked: Asked,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// What may be asked over the network, and how.
#[derive(Args)]
struct Asked {
    /// Address of this machine to ask the listeners from, as a client elsewhere would: one that the server does not use
    /// itself. May be given for IPv4 and for IPv6
    #[arg(long, value_name = "ADDRESS")]
    from: Vec<IpAddr>,
    /// STUN server elsewhere to ask by which address the world sees this machine
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    stun: Option<String>,
    /// PEM file with the authorities that clients trust; by default `SSL_CERT_FILE`, or those of the system
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Leave the listeners alone: for a server that does not run yet
    #[arg(long, conflicts_with = "from")]
    no_listeners: bool,
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
    for from in &args.asked.from {
        UdpSocket::bind((*from, 0)).map_err(|error| {
            Failure::usage(format!(
                "nothing can be asked from {from}: {error}; give an address of this machine"
            ))
        })?;
    }
    let report = Report::of(examine(&loaded, &Machine::this(), &args.asked.questions()));
    let told = json!(report);
    super::print(&if args.json {
        format!("{told}\n")
    } else {
        text(&told)
    })?;
    Ok(if report.has_problems() {
        ExitCode::from(PROBLEMS)
    } else {
        ExitCode::SUCCESS
    })
}

impl Asked {
    fn questions(&self) -> Questions {
        Questions {
            from: self.from.clone(),
            stun: self.stun.clone(),
            ca: self.ca.clone(),
            no_listeners: self.no_listeners,
            relays: None,
        }
    }
}

/// A report as people read it: what is wrong with all that belongs to it, the worst first, then what is not.
pub(super) fn text(report: &Value) -> String {
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let said = |value: &Value, key: &str| plain(value[key].as_str().unwrap_or_default());
    let findings = list(report, "findings");
    let (fine, others): (Vec<_>, Vec<_>) = findings
        .iter()
        .partition(|finding| finding["severity"] == "ok");
    let mut text = String::new();
    for finding in others {
        let (why, mend) = (said(finding, "why"), said(finding, "mend"));
        let lines = list(finding, "lines");
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:7}  {}",
            said(finding, "severity"),
            said(finding, "id")
        );
        let _ = writeln!(text, "  {}", said(finding, "what"));
        if !why.is_empty() {
            let _ = writeln!(text, "  why:  {why}");
        }
        if !mend.is_empty() || !lines.is_empty() {
            let _ = writeln!(text, "{}", format!("  mend: {mend}").trim_end());
        }
        for line in &lines {
            let _ = writeln!(text, "      {}", plain(line.as_str().unwrap_or_default()));
        }
        text.push('\n');
    }
    for finding in &fine {
        let mut sentence = said(finding, "what");
        if finding["why"].is_string() {
            let _ = write!(sentence, ": {}", said(finding, "why"));
        }
        let _ = writeln!(text, "ok  {}: {sentence}", said(finding, "id"));
    }
    let of = |severity: &str| {
        findings
            .iter()
            .filter(|finding| finding["severity"] == severity)
            .count()
    };
    let plural = |number: usize, what: &str| match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    };
    let _ = writeln!(
        text,
        "\n{}, {}, {}, {} ok",
        plural(of("problem"), "problem"),
        plural(of("warning"), "warning"),
        plural(of("note"), "note"),
        of("ok")
    );
    text
}
