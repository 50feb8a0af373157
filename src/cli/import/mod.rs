//! `hairpin import`: makes a configuration of another server's, and says line by line what became of it.
//!
//! Secrets go into the new file, which its owner alone may read, and nowhere else. Main items: [`ImportArgs`].

mod coturn;
mod draft;
mod eturnal;
mod options;
mod ranges;
mod report;
mod yaml;

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::Failure;
use crate::config::{self, Family};
use crate::net::addresses;
use draft::{Block, Draft};
use report::Report;

/// A longer file is no configuration.
const LONGEST: u64 = 1 << 20;

/// What `hairpin import` is given.
#[derive(Args)]
#[command(after_help = "\
Without --output it only says what would become of each line.

A line is
  taken     it is in the new configuration
  changed   it is, and means something else: read why
  missing   it meant something that is not there now: somebody has to look at it
  left out  it has no meaning here
  unknown   the other server has no such option")]
pub(super) struct ImportArgs {
    /// Configuration of the other server: turnserver.conf of coturn, eturnal.yml of eturnal
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Whose it is; by default, what it looks like
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Where to write hairpin's configuration: a new file, which its owner alone can read
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// turnserver.conf
    Coturn,
    /// eturnal.yml
    Eturnal,
}

impl Format {
    fn guess(file: &Path, text: &str) -> Format {
        let is_yaml = file
            .extension()
            .is_some_and(|extension| extension == "yml" || extension == "yaml");
        if is_yaml || text.lines().any(|line| line.trim_end() == "eturnal:") {
            Format::Eturnal
        } else {
            Format::Coturn
        }
    }
}

/// A configuration, and how it came about.
struct Import {
    draft: Draft,
    report: Report,
}

/// Reads, writes and reports.
pub(super) fn main(args: &ImportArgs) -> Result<(), Failure> {
    let name = args.file.display().to_string();
    let unreadable =
        |why: &dyn std::fmt::Display| Failure::usage(format!("cannot read `{name}`: {why}"));
    let text = match fs::metadata(&args.file) {
        Ok(metadata) if metadata.len() > LONGEST => {
            return Err(unreadable(&"it is longer than 1 MiB"));
        }
        Ok(_) => fs::read_to_string(&args.file).map_err(|error| unreadable(&error))?,
        Err(error) => return Err(unreadable(&error)),
    };
    let path = fs::canonicalize(&args.file).map_err(|error| unreadable(&error))?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    let import = match args
        .format
        .unwrap_or_else(|| Format::guess(&args.file, &text))
    {
        Format::Coturn => coturn::read(&text, directory),
        Format::Eturnal => eturnal::read(&text, directory).map_err(|why| {
            Failure::new(format!("`{name}` is no configuration of eturnal: {why}"))
        })?,
    };
    let Import { draft, mut report } = import;
    let new = draft.text(&name);
    let mut text = report.text(&name);
    text.push_str(&match report.open() {
        0 => "\nNothing is missing.\n".to_owned(),
        1 => "\n1 line needs a look: what is missing or unknown.\n".to_owned(),
        open => format!("\n{open} lines need a look: what is missing or unknown.\n"),
    });
    if let Some(output) = &args.output {
        write(output, &new)?;
        let output = output.display();
        text.push_str(&format!(
            "Written to {output}. Look through it, and then: hairpin check -c {output}\n"
        ));
    } else {
        text.push_str("Nothing is written; --output FILE writes the new configuration.\n");
    }
    super::print(&text)?;
    // Each part was tried on its own; together they may still be in each other's way.
    match config::parse(&new, "the new configuration") {
        Ok(_) => Ok(()),
        Err(invalid) => Err(Failure::new(format!(
            "the new configuration is not right yet:\n{invalid}"
        ))),
    }
}

/// Writes a file that was not there, for its owner alone.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let name = path.display();
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::usage(format!(
            "`{name}` is there already; nothing is written over it"
        )),
        _ => Failure::usage(format!("cannot write `{name}`: {error}")),
    })
}

/// Adds an address to relay from: `ipv4`, `ipv6`, or one that has to be this machine's, since hairpin does not start with
/// another.
fn relay_block(
    draft: &mut Draft,
    address: &str,
    external: Option<IpAddr>,
    from: &str,
) -> Result<(), String> {
    let mut lines = vec![format!("address = \"{address}\"")];
    lines.extend(external.map(|external| format!("external = \"{external}\"")));
    let block = Block {
        table: "relay.address",
        lines,
        from: from.to_owned(),
    };
    let is_here = match address.parse::<IpAddr>() {
        Ok(ip) => addresses::own().unwrap_or_default().contains(&ip),
        Err(_) => {
            let family = if address == "ipv6" {
                Family::V6
            } else {
                Family::V4
            };
            addresses::default_route(family).is_some()
        }
    };
    if is_here {
        return draft.block(block);
    }
    let why = format!("this machine has no address {address}; take the marks away where it has");
    draft.block_refused(block, Some(why.clone()));
    Err(why)
}
