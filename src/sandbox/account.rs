//! From root to somebody without rights: user, groups and capabilities.

use caps::{CapSet, Capability};
use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, geteuid, setgroups, setresgid, setresuid};
use std::ffi::CString;

/// The user a server that is started as root becomes if it is told nothing else.
pub const NOBODY: &str = "nobody";

/// The number of [`NOBODY`] where the system has no list of users: the kernel's overflow user.
const NOBODY_ID: u32 = 65534;

/// Somebody on this system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    name: String,
    user: Uid,
    group: Gid,
    /// Whether the supplementary groups are those the system knows of; none otherwise.
    is_listed: bool,
    /// Whether to go on as root where the kernel does not let the process become this.
    is_optional: bool,
}

/// Why the process cannot be who it is told to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// There is no such user.
    #[error(
        "there is no user {0:?} on this system; `user` under [server] takes a name or a number"
    )]
    NoUser(String),
    /// There is no such group.
    #[error(
        "there is no group {0:?} on this system; `group` under [server] takes a name or a number"
    )]
    NoGroup(String),
    /// The kernel refuses.
    #[error("cannot become user {user:?}: {error}; only root can, with CAP_SETUID and CAP_SETGID")]
    Refused {
        /// Who.
        user: String,
        /// What the system said.
        error: Errno,
    },
}

impl Account {
    /// Looks a user up, by name or number, and a group; without one it is the user's own.
    ///
    /// # Errors
    /// [`AccountError`] where there is no such user or group.
    pub fn find(user: &str, group: Option<&str>) -> Result<Account, AccountError> {
        let number = user.parse::<u32>().ok().map(Uid::from_raw);
        let listed = match number {
            Some(number) => User::from_uid(number).ok().flatten(),
            None => User::from_name(user).ok().flatten(),
        };
        let (uid, own_group) = match (&listed, number) {
            (Some(listed), _) => (listed.uid, listed.gid),
            // An image without a list of users, as small containers have it.
            (None, Some(number)) => (number, Gid::from_raw(number.as_raw())),
            (None, None) if user == NOBODY => (Uid::from_raw(NOBODY_ID), Gid::from_raw(NOBODY_ID)),
            (None, None) => return Err(AccountError::NoUser(user.to_owned())),
        };
        let gid = match group {
            None => own_group,
            Some(group) => match group.parse::<u32>() {
                Ok(number) => Gid::from_raw(number),
                Err(_) => {
                    Group::from_name(group)
                        .ok()
                        .flatten()
                        .ok_or_else(|| AccountError::NoGroup(group.to_owned()))?
                        .gid
                }
            },
        };
        Ok(Account {
            name: listed
                .as_ref()
                .map_or_else(|| user.to_owned(), |user| user.name.clone()),
            user: uid,
            group: gid,
            is_listed: listed.is_some(),
            is_optional: user == NOBODY && group.is_none(),
        })
    }

    /// The user and the group that files are to belong to which the process makes now and goes on to serve: its own from
    /// here on, but root's in place of [`NOBODY`]'s, which others are as well. `None` where the process is not root, and
    /// what it makes is its own already, or is a root that may give nothing away, as in a container without CAP_CHOWN.
    #[must_use]
    pub fn owner(&self) -> Option<(u32, u32)> {
        let owner = |id: u32| if id == NOBODY_ID { 0 } else { id };
        let (user, group) = (self.user.as_raw(), self.group.as_raw());
        let may_give = geteuid().is_root()
            && caps::has_cap(None, CapSet::Effective, Capability::CAP_CHOWN).unwrap_or(false);
        may_give.then(|| (owner(user), owner(group)))
    }

    fn become_it(&self) -> Result<(), Errno> {
        match CString::new(self.name.as_str()) {
            // So that a group of its own may give it certificates to read.
            Ok(name) if self.is_listed => nix::unistd::initgroups(&name, self.group)?,
            _ => setgroups(&[])?,
        }
        setresgid(self.group, self.group, self.group)?;
        setresuid(self.user, self.user, self.user)
    }
}

/// Becomes an account if the process is root, and gives up all capabilities in any case; whether it became it.
pub(super) fn give_up_root(
    account: Option<&Account>,
    complaints: &mut Vec<String>,
) -> Result<bool, AccountError> {
    // While there is the right to: nothing that is ever started from here can get them back.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap_or(false) {
        for capability in caps::all() {
            // Those that the kernel does not know are not there to be given up.
            let _ = caps::drop(None, CapSet::Bounding, capability);
        }
    }
    let mut switched = false;
    if let Some(account) = account {
        let now = geteuid();
        if now.is_root() && !account.user.is_root() {
            match account.become_it() {
                Ok(()) => switched = true,
                Err(error) if account.is_optional => complaints.push(format!(
                    "the server goes on as root: it cannot become {:?}: {error}",
                    account.name
                )),
                Err(error) => return Err(account.refused(error)),
            }
        } else if now != account.user && !account.is_optional {
            return Err(account.refused(Errno::EPERM));
        }
    }
    // From the ambient set down, since it needs the others.
    for set in [
        CapSet::Ambient,
        CapSet::Effective,
        CapSet::Inheritable,
        CapSet::Permitted,
    ] {
        // What the service manager took away already may not even be taken away again.
        if caps::read(None, set).is_ok_and(|left| left.is_empty()) {
            continue;
        }
        if let Err(error) = caps::clear(None, set) {
            complaints.push(format!("capabilities are not given up: {error}"));
        }
    }
    Ok(switched)
}

impl Account {
    fn refused(&self, error: Errno) -> AccountError {
        AccountError::Refused {
            user: self.name.clone(),
            error,
        }
    }
}
