//! How many allocations may live: in total, for one user, for a group of users, for one source address.
//!
//! A quota hangs on the session: whatever makes an allocation asks [`Quotas::admit`] and keeps the [`Lease`] as
//! long as the allocation lives. There is no bandwidth and no rate here. Only requests that were authenticated get this
//! far and no relayed packet does, so a mutex is cheap enough.
//!
//! Its main types are [`Quotas`] and [`Lease`].

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::confined::{CONFINED_ALLOCATIONS, TESTERS, is_confined, network_of, share_of_network};
use ahash::RandomState;
use hashbrown::HashMap;

/// Upper bounds on live allocations; 0 means no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of the whole server.
    pub total: u32,
    /// Of one user.
    pub per_user: u32,
    /// Of one user, relay ports that rest after use: nobody is to use up all ports by making and ending allocations.
    pub resting_per_user: u32,
    /// Of one source: an IPv4 address or an IPv6 /64, since one subscriber holds at least that much.
    pub per_source: u32,
}

/// The bound that refused an allocation. If several are reached, the first in this order is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuotaExceeded {
    /// The user holds as many as one user may: 486 (RFC 8656 §7.2).
    #[error("the user holds as many allocations as one user may")]
    User,
    /// As many relay ports rest on account of the user as may: 486 as well.
    #[error("as many relay ports rest on account of the user as may")]
    Resting,
    /// The users of a group hold as many together as they may: 486 too.
    #[error("the users of the group hold as many allocations together as they may")]
    Group,
    /// The source address holds as many as one source may, or the confined users of its network do.
    #[error("the source address holds as many allocations as one source may")]
    Source,
    /// The server holds as many as it may: 508 (RFC 8656 §7.2).
    #[error("the server holds as many allocations as it may")]
    Total,
}

impl QuotaExceeded {
    /// Stable name in snake case, for a metric label.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Resting => "resting",
            Self::Group => "group",
            Self::Source => "source",
            Self::Total => "total",
        }
    }
}

/// Counts live allocations. Clones share the counts, so every worker can have one.
#[derive(Debug, Clone)]
pub struct Quotas {
    book: Arc<Mutex<Book>>,
}

#[derive(Debug)]
struct Book {
    limits: Limits,
    total: u32,
    // All maps are keyed by what clients choose, hence the secret hash keys. An entry exists only
    // while a count of it is above zero.
    users: HashMap<Arc<str>, OfUser, RandomState>,
    sources: HashMap<IpAddr, u32, RandomState>,
    /// Of confined users alone, by network.
    networks: HashMap<IpAddr, u32, RandomState>,
    /// Those that were ever named.
    groups: HashMap<Arc<str>, OfGroup, RandomState>,
}

/// What the users of a group have.
#[derive(Clone, Copy, Debug, Default)]
struct OfGroup {
    live: u32,
    limit: u32,
}

/// What a user has.
#[derive(Clone, Copy, Debug, Default)]
struct OfUser {
    live: u32,
    resting: u32,
}

impl Book {
    fn change(&mut self, user: &Arc<str>, change: impl FnOnce(&mut OfUser)) {
        let of_user = self.users.entry(Arc::clone(user)).or_default();
        change(of_user);
        if of_user.live == 0 && of_user.resting == 0 {
            self.users.remove(user);
        }
    }
}

impl Quotas {
    /// Empty counts under these limits.
    pub fn new(limits: Limits) -> Self {
        let hasher = RandomState::with_seeds(
            rand::random(),
            rand::random(),
            rand::random(),
            rand::random(),
        );
        Self {
            book: Arc::new(Mutex::new(Book {
                limits,
                total: 0,
                users: HashMap::with_hasher(hasher.clone()),
                sources: HashMap::with_hasher(hasher.clone()),
                networks: HashMap::with_hasher(hasher.clone()),
                groups: HashMap::with_hasher(hasher),
            })),
        }
    }

    /// Counts one more allocation of `user` from `source`, or says which limit forbids it and counts nothing.
    ///
    /// # Errors
    /// The limit that is reached, see [`QuotaExceeded`].
    pub fn admit(&self, user: &str, source: IpAddr) -> Result<Lease, QuotaExceeded> {
        self.admit_in(None, user, source)
    }

    /// Like [`Quotas::admit`], for a user of a group. A group that [`Quotas::set_groups`] did not name is as none, so that
    /// what clients say makes no groups.
    ///
    /// # Errors
    /// The limit that is reached, see [`QuotaExceeded`].
    pub fn admit_in(
        &self,
        group: Option<&str>,
        user: &str,
        source: IpAddr,
    ) -> Result<Lease, QuotaExceeded> {
        let is_confined = is_confined(user);
        let network = is_confined.then(|| network_of(source));
        let source = counted_as(source);
        let mut book = lock(&self.book);
        let known = book.users.get_key_value(user);
        let of_user = known.map_or_else(OfUser::default, |(_, of_user)| *of_user);
        let of_source = book.sources.get(&source).copied().unwrap_or(0);
        let is_full = is_confined && of_user.live >= CONFINED_ALLOCATIONS;
        if is_full || reached(book.limits.per_user, of_user.live) {
            return Err(QuotaExceeded::User);
        }
        if reached(book.limits.resting_per_user, of_user.resting) {
            return Err(QuotaExceeded::Resting);
        }
        let group = group.and_then(|group| book.groups.get_key_value(group));
        if group.is_some_and(|(_, of_group)| reached(of_group.limit, of_group.live)) {
            return Err(QuotaExceeded::Group);
        }
        if reached(book.limits.per_source, of_source)
            || network.is_some_and(|network| book.is_full(&network))
        {
            return Err(QuotaExceeded::Source);
        }
        if reached(book.limits.total, book.total) {
            return Err(QuotaExceeded::Total);
        }
        let user = known.map_or_else(|| Arc::from(user), |(name, _)| Arc::clone(name));
        let group = group.map(|(name, _)| Arc::clone(name));
        if let Some(of_group) = group.as_ref().and_then(|group| book.groups.get_mut(group)) {
            of_group.live += 1;
        }
        book.change(&user, |of_user| of_user.live += 1);
        book.sources.insert(source, of_source + 1);
        if let Some(network) = network {
            *book.networks.entry(network).or_default() += 1;
        }
        book.total += 1;
        drop(book);
        Ok(Lease {
            book: Arc::clone(&self.book),
            user,
            group,
            source,
            network,
        })
    }

    /// How many allocations the users of a group may hold together, for each of these; 0 means no bound. Live leases stay in
    /// the groups they were admitted in. Groups that are not named any more are bounded as they were, since credentials of
    /// their users may still be about.
    pub fn set_groups<'g>(&self, groups: impl IntoIterator<Item = (&'g str, u32)>) {
        let mut book = lock(&self.book);
        for (name, limit) in groups {
            book.groups.entry(Arc::from(name)).or_default().limit = limit;
        }
    }

    /// Leases alive of the users of a group.
    pub fn in_use_by(&self, group: &str) -> u32 {
        let book = lock(&self.book);
        book.groups.get(group).map_or(0, |of_group| of_group.live)
    }

    /// Replaces the limits. Live leases stay, also those above a new limit.
    pub fn set_limits(&self, limits: Limits) {
        lock(&self.book).limits = limits;
    }

    /// The limits in force.
    pub fn limits(&self) -> Limits {
        lock(&self.book).limits
    }

    /// Leases alive.
    pub fn in_use(&self) -> u32 {
        lock(&self.book).total
    }

    /// Distinct users that hold leases or have ports at rest, and distinct sources that hold leases; what the counts keep in memory.
    pub fn holders(&self) -> (usize, usize) {
        let book = lock(&self.book);
        (book.users.len(), book.sources.len())
    }
}

/// One counted allocation. Dropping it counts it back.
#[derive(Debug)]
#[must_use = "a lease that is dropped counts for nothing"]
pub struct Lease {
    book: Arc<Mutex<Book>>,
    user: Arc<str>,
    group: Option<Arc<str>>,
    source: IpAddr,
    /// Of a confined user.
    network: Option<IpAddr>,
}

impl Lease {
    /// The user it counts for.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The group it counts for.
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// Counts it for another source from here on, unless that holds as many as it may: then nothing changes.
    ///
    /// # Errors
    /// [`QuotaExceeded::Source`]; the other limits have nothing to do with it.
    pub fn move_to(&mut self, source: IpAddr) -> Result<(), QuotaExceeded> {
        let network = self.network.map(|_| network_of(source));
        let source = counted_as(source);
        if source == self.source {
            return Ok(());
        }
        let mut book = lock(&self.book);
        let of_source = book.sources.get(&source).copied().unwrap_or(0);
        let to_other = network.filter(|_| network != self.network);
        if reached(book.limits.per_source, of_source)
            || to_other.is_some_and(|network| book.is_full(&network))
        {
            return Err(QuotaExceeded::Source);
        }
        book.sources.insert(source, of_source + 1);
        leave(&mut book.sources, &self.source);
        if let (Some(network), Some(former)) = (network, self.network) {
            *book.networks.entry(network).or_default() += 1;
            leave(&mut book.networks, &former);
        }
        (self.source, self.network) = (source, network);
        Ok(())
    }

    /// Counts a relay port of the allocation that rests after use, as long as what comes back lives.
    pub fn rest(&self) -> Resting {
        lock(&self.book).change(&self.user, |of_user| {
            of_user.resting = of_user.resting.saturating_add(1);
        });
        Resting {
            book: Arc::clone(&self.book),
            user: Arc::clone(&self.user),
        }
    }
}

/// One relay port that rests on account of a user. Dropping it counts it back.
#[derive(Debug)]
#[must_use = "a port that is dropped counts for nothing"]
pub struct Resting {
    book: Arc<Mutex<Book>>,
    user: Arc<str>,
}

impl Drop for Resting {
    fn drop(&mut self) {
        lock(&self.book).change(&self.user, |of_user| {
            of_user.resting = of_user.resting.saturating_sub(1);
        });
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut book = lock(&self.book);
        book.total = book.total.saturating_sub(1);
        book.change(&self.user, |of_user| {
            of_user.live = of_user.live.saturating_sub(1);
        });
        let group = self.group.as_ref();
        if let Some(of_group) = group.and_then(|group| book.groups.get_mut(group)) {
            of_group.live = of_group.live.saturating_sub(1);
        }
        leave(&mut book.sources, &self.source);
        if let Some(network) = &self.network {
            leave(&mut book.networks, network);
        }
    }
}

impl Book {
    /// Whether the confined users of a network hold as many as they may.
    fn is_full(&self, network: &IpAddr) -> bool {
        let all = self.groups.get(TESTERS).map_or(0, |group| group.limit);
        let held = self.networks.get(network).copied().unwrap_or(0);
        reached(share_of_network(all), held)
    }
}

fn leave(counts: &mut HashMap<IpAddr, u32, RandomState>, of: &IpAddr) {
    if let Some(count) = counts.get_mut(of) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(of);
        }
    }
}

/// Every change of the book is complete before anything can panic, so a poisoned lock holds good counts.
fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

fn reached(limit: u32, count: u32) -> bool {
    count == u32::MAX || limit != 0 && count >= limit
}

fn counted_as(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let network = v6.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}
