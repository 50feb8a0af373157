//! `hairpin run`: the server itself.

use super::{Failure, RunArgs};

/// Runs the server until it is told to stop.
///
/// # Errors
/// Where the configuration is wrong or the server cannot start.
pub fn main(args: &RunArgs) -> Result<(), Failure> {
    if let Some(path) = &args.config {
        super::load(path)?;
    }
    Err(Failure::new("this build cannot run the server yet"))
}
