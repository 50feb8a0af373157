//! How much is answered to whoever has not proved a credential.
//!
//! The source of a datagram can be forged, and then the answer hits somebody who never asked. An answer to a stranger
//! is longer than its request (401 has 100 bytes for 28, a Binding 32 for 20), so what counts is bytes, and the victim:
//! what a network is sent beyond what came under its name. Two bounds hold for that, and one more bounds all networks
//! together:
//!
//! - Over ten seconds of a flood without pauses it is nothing, at any pace from ten requests a second on (`spell`).
//! - Whatever the pattern, it is at most [`burst`](StrangerLimits::burst) bytes at once and
//!   [`rate`](StrangerLimits::rate) bytes a second.
//!
//! Whoever proves a credential pays back what the way to it cost, and speaks for others of the same network: a site with
//! hundreds of clients behind one address meets neither.
//!
//! Memory is constant: a table of buckets that a keyed hash of the network picks from, so that strangers can neither fill
//! it nor aim at another's bucket. Networks may share one; each then has less. There is no lock, and the workers share
//! the table, as the system spreads one network's clients over all of them.
//!
//! Not here: streams, whose source is no forgery, and what counts as proved. Main type: [`Strangers`].

use super::bucket::Bucket;
use super::prefix::Prefixes;
use super::spell::Spell;
use ahash::RandomState;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Networks that are told apart, a power of two: 512 KiB.
const NETWORKS: usize = 1 << 15;

/// What one client is answered on its way to a credential, in bytes: a 401, perhaps a 438, and a few Binding answers.
const WAY_TO_A_CREDENTIAL: u64 = 256;

/// Upper bounds on answers to strangers. Bytes are those of UDP payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrangerLimits {
    /// Which sources are counted together.
    pub prefixes: Prefixes,
    /// Bytes that a network may be sent at once beyond those of its requests; 0 for no bound of networks at all.
    pub burst: u32,
    /// Bytes a second that a network may be sent beyond those of its requests.
    pub rate: u32,
    /// Bytes a second that all networks together may be sent, and as many at once; 0 for no bound.
    pub total: u32,
}

impl Default for StrangerLimits {
    /// 192 KiB and 3 KiB a second for a network, 4 MiB a second in total.
    fn default() -> Self {
        Self {
            prefixes: Prefixes::default(),
            burst: 192 << 10,
            rate: 3 << 10,
            total: 4 << 20,
        }
    }
}

/// Why a stranger is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suppressed {
    /// Its network was sent enough.
    Prefix,
    /// All strangers together were.
    Total,
}

/// Counts what strangers are answered. Shared by all workers.
#[derive(Debug)]
pub struct Strangers {
    limits: Current,
    /// Made when they are needed first.
    networks: OnceLock<Box<[Network]>>,
    total: Bucket,
    /// The longest answer there was.
    longest: AtomicU64,
    hasher: RandomState,
}

/// The limits in force.
#[derive(Debug, Default)]
struct Current {
    burst: AtomicU32,
    rate: AtomicU32,
    total: AtomicU32,
    prefix_v4: AtomicU8,
    prefix_v6: AtomicU8,
}

impl Current {
    fn set(&self, limits: StrangerLimits) {
        self.burst.store(limits.burst, Ordering::Relaxed);
        self.rate.store(limits.rate, Ordering::Relaxed);
        self.total.store(limits.total, Ordering::Relaxed);
        self.prefix_v4.store(limits.prefixes.v4, Ordering::Relaxed);
        self.prefix_v6.store(limits.prefixes.v6, Ordering::Relaxed);
    }

    fn get(&self) -> StrangerLimits {
        StrangerLimits {
            prefixes: Prefixes {
                v4: self.prefix_v4.load(Ordering::Relaxed),
                v6: self.prefix_v6.load(Ordering::Relaxed),
            },
            burst: self.burst.load(Ordering::Relaxed),
            rate: self.rate.load(Ordering::Relaxed),
            total: self.total.load(Ordering::Relaxed),
        }
    }
}

/// What a network was sent beyond what it sent.
#[derive(Debug, Default)]
struct Network {
    excess: Bucket,
    spell: Spell,
}

impl Strangers {
    /// Nobody was answered yet.
    #[must_use]
    pub fn new(limits: StrangerLimits) -> Self {
        let current = Current::default();
        current.set(limits);
        Self {
            limits: current,
            networks: OnceLock::new(),
            total: Bucket::default(),
            longest: AtomicU64::new(0),
            hasher: RandomState::with_seeds(
                rand::random(),
                rand::random(),
                rand::random(),
                rand::random(),
            ),
        }
    }

    /// Lets other limits hold from now on; what was counted stays.
    pub fn set_limits(&self, limits: StrangerLimits) {
        self.limits.set(limits);
    }

    /// Whether a request of so many bytes may be answered. `now` is in milliseconds of a monotonic clock.
    ///
    /// # Errors
    /// What forbids it.
    pub fn ask(&self, now: u64, source: IpAddr, request: usize) -> Result<(), Suppressed> {
        let limits = self.limits.get();
        let request = request as u64;
        if let Some(network) = self.network(&limits, source) {
            let (rate, burst) = (limits.rate.into(), limits.burst.into());
            let paid = |level: u64| level.saturating_sub(request);
            let level = network.excess.update(now, rate, paid);
            let longest = self.longest.load(Ordering::Relaxed);
            let is_paid = network.spell.request(now, request, longest);
            if paid(level) >= burst || !is_paid {
                return Err(Suppressed::Prefix);
            }
        }
        let total = u64::from(limits.total);
        if total > 0 && self.total.level(now, total) >= total {
            return Err(Suppressed::Total);
        }
        Ok(())
    }

    /// Counts an answer of so many bytes.
    pub fn answered(&self, now: u64, source: IpAddr, answer: usize) {
        let limits = self.limits.get();
        let answer = answer as u64;
        if let Some(network) = self.network(&limits, source) {
            let rate = limits.rate.into();
            let add = |level: u64| level.saturating_add(answer);
            network.excess.update(now, rate, add);
            network.spell.answered(answer);
            if answer > self.longest.load(Ordering::Relaxed) {
                self.longest.fetch_max(answer, Ordering::Relaxed);
            }
        }
        let total = u64::from(limits.total);
        if total > 0 {
            let add = |level: u64| level.saturating_add(answer);
            self.total.update(now, total, add);
        }
    }

    /// A client proved a credential, and that it is where it says: what it was sent on the way hit nobody else.
    pub fn proved(&self, now: u64, source: IpAddr) {
        let limits = self.limits.get();
        if let Some(network) = self.network(&limits, source) {
            let rate = limits.rate.into();
            let paid = |level: u64| level.saturating_sub(WAY_TO_A_CREDENTIAL);
            network.excess.update(now, rate, paid);
            network.spell.proved();
        }
    }

    fn network(&self, limits: &StrangerLimits, source: IpAddr) -> Option<&Network> {
        if limits.burst == 0 {
            return None;
        }
        let make = || (0..NETWORKS).map(|_| Network::default()).collect();
        let networks: &[Network] = self.networks.get_or_init(make);
        let last = networks.len().checked_sub(1)?;
        let hash = self.hasher.hash_one(limits.prefixes.of(source));
        networks.get(hash as usize & last)
    }
}
