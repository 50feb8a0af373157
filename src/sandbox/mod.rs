//! What the process gives up once its sockets are open: root, capabilities, files and most system calls.
//!
//! Whoever gets hold of the process by a flaw in it should find nothing to do with it: it cannot start a program, read
//! or write a file outside the few folders it named before ([`Reach`]), become another user, or load code. All of that is
//! given up for good, by the process for itself, and needs no rights to be given up.
//!
//! It has to happen before the first thread is started: most of it holds for the calling thread and for those it
//! starts. Nothing here opens a socket or writes a log. Main items: [`Account`], [`confine`], [`Confinement`].

mod account;
mod files;
mod syscalls;

pub use account::{Account, AccountError, NOBODY};
pub use files::Reach;

use nix::sys::prctl;
use std::fmt;

/// What is to be given up.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who the process becomes where it is root; `None` where it is nobody's business.
    pub account: Option<Account>,
    /// What may still be reached through the kernel's file and TCP hooks; `None` leaves files and system calls as
    /// they are.
    pub reach: Option<Reach>,
}

/// What has been given up, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// Who the process is now.
    pub user: u32,
    /// Whether it became that here.
    pub switched: bool,
    /// How far files and TCP are closed.
    pub files: Layer,
    /// How far system calls are.
    pub syscalls: Layer,
    /// What could not be given up, and why.
    pub complaints: Vec<String>,
}

/// Whether a layer of the sandbox holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// It is switched off.
    Off,
    /// The kernel does not have it.
    Unavailable,
    /// The kernel has less of it than there is.
    Partial,
    /// All of it holds.
    Full,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Unavailable => "unavailable",
            Self::Partial => "partial",
            Self::Full => "on",
        })
    }
}

/// Gives everything up, as far as the kernel goes along. To be called before any thread is started.
///
/// # Errors
/// [`AccountError`] where the process cannot become who it was told to be. What else fails is in
/// [`Confinement::complaints`]: a server without a sandbox is better than none.
pub fn confine(plan: &Plan) -> Result<Confinement, AccountError> {
    let mut complaints = Vec::new();
    let switched = account::give_up_root(plan.account.as_ref(), &mut complaints)?;
    // So that no program could give back what is given up here.
    if let Err(error) = prctl::set_no_new_privs() {
        complaints.push(format!("no_new_privs is not set: {error}"));
    }
    let (mut files, mut syscalls) = (Layer::Off, Layer::Off);
    if let Some(reach) = &plan.reach {
        files = files::restrict(reach).unwrap_or_else(|error| {
            complaints.push(format!("files stay open to the process: {error}"));
            Layer::Unavailable
        });
        // Last, since it forbids the calls made above.
        syscalls = syscalls::restrict().unwrap_or_else(|error| {
            complaints.push(format!("system calls stay open to the process: {error}"));
            Layer::Unavailable
        });
    }
    Ok(Confinement {
        user: nix::unistd::geteuid().as_raw(),
        switched,
        files,
        syscalls,
        complaints,
    })
}
