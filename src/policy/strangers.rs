//! How much is answered to whoever has not proved a credential.
//!
//! The source of a datagram can be forged, and then the answer hits somebody who never asked. An answer to a stranger
//! is longer than its request (401 has 100 bytes for 28, a Binding 32 for 20), so what counts is bytes, and the victim:
//! a network may be sent [`burst`](StrangerLimits::burst) bytes at once and
//! [`rate`](StrangerLimits::rate) bytes a second, and beyond that half of what comes in under its name. So a network
//! that is flooded gets fewer bytes from here than came under its name, soon after the burst is used up. One more bucket
//! bounds all networks together.
//!
//! Whoever proves a credential pays back what the way to it cost: a site with hundreds of clients behind one address
//! does not use its allowance up.
//!
//! Memory is constant: a table of buckets that a keyed hash of the network picks from, so that strangers can neither fill
//! it nor aim at another's bucket. Networks may share one; each then has less. There is no lock, and the workers share
//! the table, as the system spreads one network's clients over all of them.
//!
//! Not here: streams, whose source is no forgery, and what counts as proved. Main type: [`Strangers`].

use super::bucket::Bucket;
use super::prefix::Prefixes;
use ahash::RandomState;
use std::net::IpAddr;

/// Buckets, a power of two: 256 KiB.
const BUCKETS: usize = 1 << 15;

/// What one client is answered on its way to a credential, in bytes: a 401, perhaps a 438, and a few Binding answers.
const WAY_TO_A_CREDENTIAL: u64 = 256;

/// Upper bounds on answers to strangers. Bytes are those of UDP payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrangerLimits {
    /// Which sources are counted together.
    pub prefixes: Prefixes,
    /// Bytes that a network may be sent at once; 0 for no bound of networks at all.
    pub burst: u32,
    /// Bytes a second that a network may be sent beyond what its own requests are worth.
    pub rate: u32,
    /// Bytes a second that all networks together may be sent, and as many at once; 0 for no bound.
    pub total: u32,
}

impl Default for StrangerLimits {
    /// 64 KiB and 3 KiB a second for a network, 4 MiB a second in total.
    fn default() -> Self {
        Self {
            prefixes: Prefixes::default(),
            burst: 64 << 10,
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
    limits: StrangerLimits,
    networks: Box<[Bucket]>,
    total: Bucket,
    hasher: RandomState,
}

impl Strangers {
    /// Nobody was answered yet.
    #[must_use]
    pub fn new(limits: StrangerLimits) -> Self {
        let buckets = if limits.burst == 0 { 0 } else { BUCKETS };
        Self {
            limits,
            networks: (0..buckets).map(|_| Bucket::default()).collect(),
            total: Bucket::default(),
            hasher: RandomState::with_seeds(
                rand::random(),
                rand::random(),
                rand::random(),
                rand::random(),
            ),
        }
    }

    /// Whether a request of so many bytes may be answered. `now` is in milliseconds of a monotonic clock.
    ///
    /// # Errors
    /// What forbids it.
    pub fn ask(&self, now: u64, source: IpAddr, request: usize) -> Result<(), Suppressed> {
        let credit = request as u64 / 2;
        if let Some(network) = self.network(source) {
            let rate = self.limits.rate.into();
            let level = network.update(now, rate, |level| level.saturating_sub(credit));
            if level.saturating_sub(credit) >= self.limits.burst.into() {
                return Err(Suppressed::Prefix);
            }
        }
        let total = u64::from(self.limits.total);
        if total > 0 && self.total.level(now, total) >= total {
            return Err(Suppressed::Total);
        }
        Ok(())
    }

    /// Counts an answer of so many bytes.
    pub fn answered(&self, now: u64, source: IpAddr, answer: usize) {
        let answer = answer as u64;
        if let Some(network) = self.network(source) {
            let rate = self.limits.rate.into();
            network.update(now, rate, |level| level.saturating_add(answer));
        }
        let total = u64::from(self.limits.total);
        if total > 0 {
            let add = |level: u64| level.saturating_add(answer);
            self.total.update(now, total, add);
        }
    }

    /// A client proved a credential, and that it is where it says: what it was sent on the way hit nobody else.
    pub fn proved(&self, now: u64, source: IpAddr) {
        if let Some(network) = self.network(source) {
            let rate = self.limits.rate.into();
            network.update(now, rate, |level| level.saturating_sub(WAY_TO_A_CREDENTIAL));
        }
    }

    fn network(&self, source: IpAddr) -> Option<&Bucket> {
        let last = self.networks.len().checked_sub(1)?;
        let hash = self.hasher.hash_one(self.limits.prefixes.of(source));
        self.networks.get(hash as usize & last)
    }
}
