//! How many bytes may be relayed: of one allocation, of one user, of a group of users, of the whole server, each way for
//! itself.
//!
//! A [`Meter`] belongs to an allocation and is asked for each payload, so there is no lock in it. Where nothing is
//! limited there is no meter. What passes may be a burst above the rate; datagrams beyond it are dropped by whoever asks,
//! and streams are read from later.
//!
//! # Fairness
//! When the total is nearly used up, a user's payload passes only as long as the user has had less than an equal share
//! of it, by the number of users that relayed anything in the last second. What some leave of their shares the total
//! does not miss, and it is everybody's again.
//!
//! Main types: [`Bandwidth`], [`Meter`].

use super::bucket::Bucket;
use ahash::RandomState;
use hashbrown::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How long a user counts as active, in milliseconds.
const WINDOW: u64 = 1000;

/// How much of a stream is counted at once, at most.
const LONGEST_READ: u64 = 128 << 10;

/// Bytes a second each way; 0 means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BandwidthLimits {
    /// Of one allocation.
    pub per_allocation: u64,
    /// Of one user.
    pub per_user: u64,
    /// Of the whole server.
    pub total: u64,
    /// How much may pass at once, as time at the full rate.
    pub burst: Duration,
}

impl Default for BandwidthLimits {
    /// No limits, and half a second of burst where there are some.
    fn default() -> Self {
        Self {
            per_allocation: 0,
            per_user: 0,
            total: 0,
            burst: Duration::from_millis(500),
        }
    }
}

/// Which way a payload goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a client to a peer.
    ToPeer,
    /// From a peer to a client.
    ToClient,
}

/// The bandwidth of the server. Clones share it.
#[derive(Clone, Debug)]
pub struct Bandwidth {
    server: Arc<Server>,
}

#[derive(Debug)]
struct Server {
    limits: Current,
    ways: [TotalWay; 2],
    users: Mutex<HashMap<Arc<str>, Weak<User>, RandomState>>,
    groups: Mutex<HashMap<Arc<str>, Arc<Group>, RandomState>>,
    /// Whether any group has a limit.
    has_groups: AtomicBool,
}

/// Users that share a limit.
#[derive(Debug, Default)]
struct Group {
    rate: AtomicU64,
    ways: [Bucket; 2],
}

/// The limits in force, which every payload asks for.
#[derive(Debug, Default)]
struct Current {
    per_allocation: AtomicU64,
    per_user: AtomicU64,
    total: AtomicU64,
    burst_millis: AtomicU64,
}

impl Current {
    fn set(&self, limits: BandwidthLimits) {
        let BandwidthLimits {
            per_allocation,
            per_user,
            total,
            burst,
        } = limits;
        let burst = u64::try_from(burst.as_millis()).unwrap_or(u64::MAX);
        for (place, value) in [
            (&self.per_allocation, per_allocation),
            (&self.per_user, per_user),
            (&self.total, total),
            (&self.burst_millis, burst),
        ] {
            place.store(value, Ordering::Relaxed);
        }
    }

    #[inline]
    fn get(&self) -> BandwidthLimits {
        let get = |place: &AtomicU64| place.load(Ordering::Relaxed);
        BandwidthLimits {
            per_allocation: get(&self.per_allocation),
            per_user: get(&self.per_user),
            total: get(&self.total),
            burst: Duration::from_millis(get(&self.burst_millis)),
        }
    }
}

/// One way of the whole server.
#[derive(Debug, Default)]
struct TotalWay {
    bucket: Bucket,
    /// The number of a window above, then how many users were active in it so far, then in the window before.
    active: AtomicU64,
}

#[derive(Debug)]
struct User {
    name: Arc<str>,
    server: Weak<Server>,
    ways: [UserWay; 2],
}

#[derive(Debug, Default)]
struct UserWay {
    bucket: Bucket,
    /// What it had of its equal share.
    share: Bucket,
    /// The window it was active in last.
    seen: AtomicU32,
}

impl Bandwidth {
    /// Nothing has passed yet.
    #[must_use]
    pub fn new(limits: BandwidthLimits) -> Self {
        let hasher = RandomState::with_seeds(
            rand::random(),
            rand::random(),
            rand::random(),
            rand::random(),
        );
        let current = Current::default();
        current.set(limits);
        Self {
            server: Arc::new(Server {
                limits: current,
                ways: Default::default(),
                users: Mutex::new(HashMap::with_hasher(hasher.clone())),
                groups: Mutex::new(HashMap::with_hasher(hasher)),
                has_groups: AtomicBool::new(false),
            }),
        }
    }

    /// A meter for an allocation of `user`, who may be of a group; `None` where nothing is limited for them.
    #[must_use]
    pub fn meter(&self, user: &str, group: Option<&str>) -> Option<Arc<Meter>> {
        if self.is_unlimited_for(group) {
            return None;
        }
        let group = group.and_then(|group| self.server.groups().get(group).cloned());
        let mut users = self.server.users();
        let known = users.get(user).and_then(Weak::upgrade);
        let user = known.unwrap_or_else(|| {
            let user = Arc::new(User {
                name: Arc::from(user),
                server: Arc::downgrade(&self.server),
                ways: Default::default(),
            });
            users.insert(Arc::clone(&user.name), Arc::downgrade(&user));
            user
        });
        Some(Arc::new(Meter {
            server: Arc::clone(&self.server),
            user,
            group,
            ways: Default::default(),
        }))
    }

    /// Whether there are no limits, so that nobody has a meter.
    #[must_use]
    #[inline]
    pub fn is_unlimited(&self) -> bool {
        self.is_unlimited_without_groups() && !self.server.has_groups.load(Ordering::Relaxed)
    }

    /// Whether there are none for users of a group, or of no group, so that those have no meters: a limit of some group
    /// costs the others nothing.
    #[must_use]
    pub fn is_unlimited_for(&self, group: Option<&str>) -> bool {
        let is_limited = |group: &str| {
            let groups = self.server.groups();
            let rate = groups.get(group).map(|group| &group.rate);
            rate.is_some_and(|rate| rate.load(Ordering::Relaxed) > 0)
        };
        self.is_unlimited() || self.is_unlimited_without_groups() && !group.is_some_and(is_limited)
    }

    fn is_unlimited_without_groups(&self) -> bool {
        let limits = self.server.limits.get();
        limits.per_allocation == 0 && limits.per_user == 0 && limits.total == 0
    }

    /// Replaces the limits. Allocations get meters, or lose them, only when whoever has them asks again.
    pub fn set_limits(&self, limits: BandwidthLimits) {
        self.server.limits.set(limits);
    }

    /// How many bytes a second the users of a group may have relayed together, for each of these; 0 means no limit. Groups
    /// that are not named any more are bounded as they were, since credentials of their users may still be about.
    /// Allocations get meters as with [`Bandwidth::set_limits`].
    pub fn set_groups<'g>(&self, groups: impl IntoIterator<Item = (&'g str, u64)>) {
        let mut known = self.server.groups();
        for (name, rate) in groups {
            let group = known.entry(Arc::from(name)).or_default();
            group.rate.store(rate, Ordering::Relaxed);
        }
        let has_limits = known
            .values()
            .any(|group| group.rate.load(Ordering::Relaxed) > 0);
        self.server.has_groups.store(has_limits, Ordering::Relaxed);
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> BandwidthLimits {
        self.server.limits.get()
    }

    /// How many users have meters.
    #[must_use]
    pub fn users(&self) -> usize {
        self.server.users().len()
    }
}

impl Server {
    fn users(&self) -> MutexGuard<'_, HashMap<Arc<str>, Weak<User>, RandomState>> {
        // Each change of the map is one, so a poisoned lock holds a good map.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn groups(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Group>, RandomState>> {
        // Whatever is left of a change that was not finished is a good map as well.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn burst(&self, rate: u64) -> u64 {
        rate.saturating_mul(self.limits.burst_millis.load(Ordering::Relaxed)) / 1000
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if let Some(server) = self.server.upgrade() {
            let mut users = server.users();
            // Somebody may have come again meanwhile.
            if users
                .get(&self.name)
                .is_some_and(|user| user.strong_count() == 0)
            {
                users.remove(&self.name);
            }
        }
    }
}

impl TotalWay {
    /// A user's equal share of a rate.
    fn share(&self, now: u64, rate: u64, user: &UserWay) -> u64 {
        (rate / self.sharers(now, user)).max(1)
    }

    /// How many users share it, this one included.
    fn sharers(&self, now: u64, user: &UserWay) -> u64 {
        const FIELD: u64 = 0xFFFF;
        let window = (now / WINDOW) as u32;
        let is_new = user.seen.swap(window, Ordering::Relaxed) != window;
        let mut word = self.active.load(Ordering::Relaxed);
        loop {
            let (of, current, previous) = ((word >> 32) as u32, word >> 16 & FIELD, word & FIELD);
            let (current, previous) = if of == window {
                (current, previous)
            } else if of.wrapping_add(1) == window {
                (0, current)
            } else {
                (0, 0)
            };
            let current = (current + u64::from(is_new)).min(FIELD);
            let sharers = current.max(previous).max(1);
            let changed = u64::from(window) << 32 | current << 16 | previous;
            if changed == word {
                return sharers;
            }
            let swapped = self.active.compare_exchange_weak(
                word,
                changed,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return sharers,
                Err(other) => word = other,
            }
        }
    }
}

/// Counts what one allocation relays.
#[derive(Debug)]
pub struct Meter {
    server: Arc<Server>,
    user: Arc<User>,
    group: Option<Arc<Group>>,
    ways: [Bucket; 2],
}

impl Meter {
    /// Whether a payload may pass; it counts if so. `now` is in milliseconds of a monotonic clock.
    #[must_use]
    pub fn pass(&self, now: u64, way: Direction, bytes: usize) -> bool {
        let free = self.pause(now, way).is_zero();
        if free {
            self.charge(now, way, bytes);
        }
        free
    }

    /// Counts what passes whatever the limits say: the bytes of a stream that were read already.
    pub fn charge(&self, now: u64, way: Direction, bytes: usize) {
        let limits = self.server.limits.get();
        let bytes = bytes as u64;
        let add = |bucket: &Bucket, rate: u64| {
            if rate > 0 {
                bucket.update(now, rate, |level| level.saturating_add(bytes));
            }
        };
        let (total, user, own) = self.way(way);
        add(own, limits.per_allocation);
        add(&user.bucket, limits.per_user);
        if let Some((bucket, rate)) = self.of_group(way) {
            add(bucket, rate);
        }
        if limits.total > 0 {
            add(&total.bucket, limits.total);
            let share = total.share(now, limits.total, user);
            // What was had while nobody missed it is forgotten soon.
            let most = 2 * self.server.burst(share);
            user.share
                .update(now, share, |level| level.saturating_add(bytes).min(most));
        }
    }

    /// How long nothing may pass; a stream is not read from for that time.
    #[must_use]
    pub fn pause(&self, now: u64, way: Direction) -> Duration {
        let limits = self.server.limits.get();
        let wait = |bucket: &Bucket, rate: u64| {
            let burst = self.server.burst(rate);
            let mut level = bucket.level(now, rate);
            // What was counted under a higher limit, before that was lowered, is forgiven; a stream's last read is not.
            let most = burst
                .saturating_mul(2)
                .max(burst.saturating_add(LONGEST_READ));
            if rate > 0 && level > most {
                bucket.update(now, rate, |level| level.min(most));
                level = most;
            }
            match level.checked_sub(burst) {
                Some(over) if rate > 0 => Duration::from_millis(over * 1000 / rate + 1),
                _ => Duration::ZERO,
            }
        };
        let (total, user, own) = self.way(way);
        let mut own = wait(own, limits.per_allocation).max(wait(&user.bucket, limits.per_user));
        if let Some((bucket, rate)) = self.of_group(way) {
            own = own.max(wait(bucket, rate));
        }
        let is_short = limits.total > 0
            && total.bucket.level(now, limits.total) >= self.server.burst(limits.total) / 2;
        if !is_short {
            return own;
        }
        let share = total.share(now, limits.total, user);
        own.max(wait(&user.share, share))
    }

    /// What the group had, and how much it may have a second.
    fn of_group(&self, way: Direction) -> Option<(&Bucket, u64)> {
        let group = self.group.as_deref()?;
        let [to_peer, to_client] = &group.ways;
        let bucket = match way {
            Direction::ToPeer => to_peer,
            Direction::ToClient => to_client,
        };
        Some((bucket, group.rate.load(Ordering::Relaxed)))
    }

    fn way(&self, way: Direction) -> (&TotalWay, &UserWay, &Bucket) {
        let (
            [total_to_peer, total_to_client],
            [user_to_peer, user_to_client],
            [to_peer, to_client],
        ) = (&self.server.ways, &self.user.ways, &self.ways);
        match way {
            Direction::ToPeer => (total_to_peer, user_to_peer, to_peer),
            Direction::ToClient => (total_to_client, user_to_client, to_client),
        }
    }
}
