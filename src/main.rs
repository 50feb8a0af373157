//! The `hairpin` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    hairpin::cli::main()
}
