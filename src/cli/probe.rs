//! `hairpin probe`: a STUN or TURN server as a client sees it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::Failure;
use crate::auth::Secret;
use crate::config::units;

/// What `hairpin probe` is given.
#[derive(Args, Clone, Debug)]
pub struct ProbeArgs {
    /// Server to test: `stun:HOST[:PORT]` or `turn:HOST[:PORT][?transport=udp|tcp]`
    #[arg(value_name = "URL")]
    pub url: String,
    /// User name
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,
    /// Password; other users of this machine can see it, which the variable and the file avoid
    #[arg(short, long, env = "HAIRPIN_PASSWORD", hide_env_values = true, value_parser = secret)]
    pub password: Option<Secret>,
    /// File with the password
    #[arg(long, value_name = "FILE", conflicts_with = "password")]
    pub password_file: Option<PathBuf>,
    /// File with a shared secret, to make an ephemeral credential with
    #[arg(long, value_name = "FILE", conflicts_with_all = ["password", "password_file"])]
    pub secret_file: Option<PathBuf>,
    /// Packets to send through the relay
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub count: u32,
    /// Size of each packet
    #[arg(long, value_name = "BYTES", default_value_t = 160)]
    pub size: usize,
    /// Packets to send a second
    #[arg(long, value_name = "PER_SECOND", default_value_t = 50)]
    pub rate: u32,
    /// How long to wait for an answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = units::duration)]
    pub timeout: Duration,
    /// Print the results as JSON
    #[arg(long)]
    pub json: bool,
}

fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::from(text))
}

/// Probes a server; the exit status says how it went.
#[must_use]
pub fn main(_: &ProbeArgs) -> ExitCode {
    Failure::new("this build cannot probe servers yet").end()
}
