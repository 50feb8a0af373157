//! The command line: what can be asked of `hairpin`, one file a subcommand.
//!
//! Errors go to standard error as `hairpin: error: …`. The exit status is 0 when all went well, 1 when hairpin or its
//! configuration failed, 2 when the command line was wrong or the configuration could not be read. Main items:
//! [`main`], [`RunArgs`], [`Failure`].

pub mod bench;
mod check;
mod completions;
mod credentials;
mod ctl;
pub mod dns;
mod doctor;
mod import;
mod man;
mod notify;
mod policy;
pub mod probe;
pub mod reminder;
pub mod run;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::{ConfigError, Loaded};
use crate::service::CannotServe;

/// STUN and TURN server: tells WebRTC clients their public address and relays their media
#[derive(Parser)]
#[command(
    name = "hairpin",
    version,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
#[command(
    after_help = "Without a command, hairpin runs the server, as `hairpin run` does. Without a configuration \
    it listens on port 3478 and makes up a credential: for trying out.\n\n\
    Exit status:\n  \
      0  all well; for the server, that it was told to stop\n  \
      1  hairpin failed, or the configuration is wrong\n  \
      2  the command line is wrong, or a file it names cannot be read\n\
    `hairpin probe --help`, `hairpin policy --help` and `hairpin doctor --help` show theirs."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Run(RunArgs),
    /// Check a configuration and say what clients would see
    Check(check::CheckArgs),
    /// Find out what keeps calls from working on this machine
    Doctor(doctor::DoctorArgs),
    /// Say whether a peer would be relayed to, and which rule decides
    Policy(policy::PolicyArgs),
    /// Make an ephemeral credential and print the `iceServers` for it
    Credentials(credentials::CredentialsArgs),
    /// Print the DNS records by which clients find the server
    Dns(dns::DnsArgs),
    /// Make a configuration of another server's: coturn's or eturnal's
    Import(import::ImportArgs),
    /// Test a STUN or TURN server as a client would use it
    Probe(probe::ProbeArgs),
    /// Put a load on a TURN server and say what became of it and what it cost
    Bench(bench::BenchArgs),
    /// Ask a running server, or tell it what to do
    Ctl(ctl::CtlArgs),
    /// Print the completions for a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write all of them to a directory
    Man(man::ManArgs),
}

/// What `hairpin run` is given, and `hairpin` without a command.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct RunArgs {
    /// Configuration file; without one, a trial with a credential made up at the start
    #[arg(short, long, value_name = "FILE", env = "HAIRPIN_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print one line of JSON on standard output once the server runs: the URLs clients use, in a trial the whole
    /// `iceServers`
    #[arg(long)]
    pub json: bool,
}

/// Why a command ends without success: what to print and how to exit.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    reports: Vec<String>,
    status: u8,
}

impl Failure {
    /// Something went wrong while doing what was asked: exit status 1.
    pub fn new(report: impl Into<String>) -> Self {
        Self {
            reports: vec![report.into()],
            status: 1,
        }
    }

    /// What was asked cannot be done that way: exit status 2.
    pub fn usage(report: impl Into<String>) -> Self {
        Self {
            reports: vec![report.into()],
            status: 2,
        }
    }

    /// Prints each report to standard error; the status to exit with.
    fn end(&self) -> ExitCode {
        let mut errors = io::stderr().lock();
        for (at, report) in self.reports.iter().enumerate() {
            let gap = if at > 0 { "\n" } else { "" };
            // There is nobody left to tell where standard error is closed.
            let _ = writeln!(errors, "{gap}hairpin: error: {report}");
        }
        ExitCode::from(self.status)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let status = if matches!(error, ConfigError::Unreadable { .. }) {
            2
        } else {
            1
        };
        Self {
            reports: error.reports(),
            status,
        }
    }
}

impl From<CannotServe> for Failure {
    fn from(error: CannotServe) -> Self {
        Self::new(error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(format!("cannot write the output: {error}"))
    }
}

/// Reads the command line and does what it asks for.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        None => run::main(&cli.run),
        Some(Command::Run(args)) => run::main(&args),
        Some(Command::Check(args)) => check::main(&args),
        Some(Command::Credentials(args)) => credentials::main(&args),
        Some(Command::Dns(args)) => dns::main(&args),
        Some(Command::Ctl(args)) => ctl::main(&args),
        Some(Command::Import(args)) => import::main(&args),
        Some(Command::Policy(args)) => match policy::main(&args) {
            Ok(status) => return status,
            Err(failure) => Err(failure),
        },
        Some(Command::Doctor(args)) => match doctor::main(&args) {
            Ok(status) => return status,
            Err(failure) => Err(failure),
        },
        Some(Command::Probe(args)) => return probe::main(&args),
        Some(Command::Bench(args)) => bench::main(&args),
        Some(Command::Completions(args)) => completions::main(&args, &mut command()),
        Some(Command::Man(args)) => man::main(&args, command()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.end(),
    }
}

fn command() -> clap::Command {
    Cli::command()
}

/// Reads a configuration; what is wrong with it becomes a [`Failure`].
fn load(path: &Path) -> Result<Loaded, Failure> {
    Ok(crate::config::load(path)?)
}

/// A text without control characters, which could do something to a terminal.
fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{FFFD}' } else { c };
    text.chars().map(shown).collect()
}

/// Prints a text to standard output. That nobody reads it to its end is no error.
fn print(text: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    match output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
