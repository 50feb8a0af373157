//! Files and TCP ports: closed by Landlock, but for what is named.

use super::Layer;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use std::path::PathBuf;

/// What is still needed when everything is closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Files, and directories with all below them, that are read. What is not there when the process is confined is
    /// left out.
    pub readable: Vec<PathBuf>,
    /// The same for what is written, and created within directories.
    pub writable: Vec<PathBuf>,
    /// Whether TCP connections are made and TCP ports are bound. What listens already goes on to.
    pub tcp: bool,
    /// Ports, of this machine and of others, that connections are made to all the same.
    pub own_ports: Vec<u16>,
}

/// What is handled. Newer kernels can deny more: each version has to be looked at first, as the ninth, which would
/// close the socket of the service manager.
const VERSION: ABI = ABI::V6;

pub(super) fn restrict(reach: &Reach) -> Result<Layer, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(VERSION))?
        .scope(Scope::Signal)?;
    if !reach.tcp {
        ruleset = ruleset.handle_access(AccessNet::from_all(VERSION))?;
    }
    let mut created = ruleset.create()?;
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    // Everything but what makes devices and sockets or runs programs.
    let writing = AccessFs::from_write(VERSION)
        & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeSock | AccessFs::MakeFifo);
    let files = reach.readable.iter().map(|path| (path, reading));
    let files = files.chain(reach.writable.iter().map(|path| (path, reading | writing)));
    for (path, access) in files {
        let Ok(file) = PathFd::new(path) else {
            continue;
        };
        // Rights that make no sense for a file are refused for one.
        let access = if path.is_dir() {
            access
        } else {
            access & AccessFs::from_file(VERSION)
        };
        created = created.add_rule(PathBeneath::new(file, access))?;
    }
    if !reach.tcp {
        for port in &reach.own_ports {
            created = created.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
    }
    Ok(match created.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Layer::Full,
        RulesetStatus::PartiallyEnforced => Layer::Partial,
        RulesetStatus::NotEnforced => Layer::Unavailable,
    })
}
