//! `hairpin man`: manual pages, made from the command line's own definition.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use clap_mangen::Man;

use super::Failure;

/// What `hairpin man` is given.
#[derive(Args)]
pub(super) struct ManArgs {
    /// Directory to write the pages of all commands to; made where it is missing
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(super) fn main(args: &ManArgs, command: clap::Command) -> Result<(), Failure> {
    let Some(directory) = &args.directory else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page)?;
        return super::print(&String::from_utf8_lossy(&page));
    };
    fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(command, directory))
        .map_err(|error| {
            Failure::new(format!(
                "cannot write manual pages to `{}`: {error}",
                directory.display()
            ))
        })
}
