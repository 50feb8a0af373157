//! `hairpin completions`: completions for shells.

use clap::Args;
use clap_complete::Shell;

use super::Failure;

/// What `hairpin completions` is given.
#[derive(Args)]
pub(super) struct CompletionsArgs {
    /// Shell to complete in
    shell: Shell,
}

pub(super) fn main(args: &CompletionsArgs, command: &mut clap::Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "hairpin", &mut script);
    super::print(&String::from_utf8_lossy(&script))
}
