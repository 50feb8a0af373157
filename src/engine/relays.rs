//! The relayed transport addresses of the whole server: which ports are free, and whose the others are.
//!
//! One pool serves all workers. Taking and giving back a port locks the pool of its address and costs O(1); asking
//! whose an address is, which happens for every packet that might be a hairpin, reads one atomic. The pool opens no
//! sockets: it only says which address to try.

use super::outcome::{RelayId, RelayProtocol, WorkerId};
use super::time::Instant;
use crate::policy::{Circle, Lease, Resting, is_confined};
use crate::wire::attribute::Family;

use ahash::RandomState;
use rand::{Rng, RngExt};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// How long the port beside an even one is held for whoever shows the token (RFC 8656 §7.2).
pub const RESERVATION_TIME: Duration = Duration::from_secs(30);

/// An address of this host to relay from, and the form of it that clients are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayAddress {
    /// The address sockets are bound to.
    pub local: IpAddr,
    /// The address peers see: another one behind 1:1 NAT, otherwise the same.
    pub external: IpAddr,
}

/// Which port an allocation wants (RFC 8656 §7.2, EVEN-PORT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortWish {
    /// Any.
    Any,
    /// An even one.
    Even,
    /// An even one, and the next held back for another allocation.
    EvenAndNext,
}

/// A relayed transport address in both its forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayedAddress {
    /// What the socket is bound to.
    pub local: SocketAddr,
    /// What clients and peers use.
    pub advertised: SocketAddr,
}

impl RelayedAddress {
    /// The port after this one, on the same address.
    #[must_use]
    pub fn next_port(self) -> Self {
        // Only asked of even ports, so this does not wrap.
        let next =
            |address: SocketAddr| SocketAddr::new(address.ip(), address.port().wrapping_add(1));
        RelayedAddress {
            local: next(self.local),
            advertised: next(self.advertised),
        }
    }
}

/// Who has a relayed address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The worker.
    pub worker: WorkerId,
    /// Its relay.
    pub relay: RelayId,
    /// Who reaches it inside.
    pub circle: Circle,
}

/// A RESERVATION-TOKEN.
pub type ReservationToken = [u8; 8];

/// No port of that family, parity or range is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no relay port is free")]
pub struct NoPort;

/// How the ports of the pool stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounts {
    /// Could be given out now.
    pub free: u64,
    /// Belong to an allocation, or are about to.
    pub used: u64,
    /// Given back lately; late packets may still arrive for their last owner.
    pub quarantined: u64,
    /// Held for a reservation token.
    pub reserved: u64,
}

/// The pool. See the module.
#[derive(Debug)]
pub struct RelayPool {
    sites: Vec<Site>,
    first_port: u16,
    quarantine: Duration,
    reservations: Arc<Mutex<Reservations>>,
    /// Makes circles of names, which nobody outside can aim at.
    circles: RandomState,
}

/// A relay address with its ports.
#[derive(Debug)]
struct Site {
    address: RelayAddress,
    /// What the external form was before: allocations that were told it live on.
    former: Vec<IpAddr>,
    pool: Arc<AddressPool>,
}

/// The ports of a relay address.
#[derive(Debug)]
struct AddressPool {
    /// By port offset: 0 for none, otherwise worker + 1 above and the relay below, with [`TCP_FLAG`] for TCP relays
    /// and [`CONFINED_FLAG`] for those of confined users.
    owners: Vec<AtomicU64>,
    /// By port offset, where the owner is confined: its circle. It is written before the owner, so that whoever reads the
    /// owner first finds the circle of that one, or of a later one where that owner's relay is closed already.
    circles: OnceLock<Box<[AtomicU64]>>,
    free: Mutex<FreePorts>,
}

/// A set of port offsets with O(1) random pick, removal and insertion.
#[derive(Debug)]
struct FreePorts {
    offsets: Vec<u16>,
    /// Where in `offsets` an offset stands; `ABSENT` when it is not there.
    places: Vec<u16>,
    /// Released ports with the time from which they are free, in order.
    quarantine: VecDeque<Quarantined>,
}

/// A released port, the time from which it is free, and on whose account it rests.
#[derive(Debug)]
struct Quarantined {
    until: Instant,
    offset: u16,
    _resting: Option<Resting>,
}

#[derive(Debug, Default)]
struct Reservations {
    by_token: HashMap<ReservationToken, Reservation>,
    by_time: VecDeque<(Instant, ReservationToken)>,
}

#[derive(Debug)]
struct Reservation {
    relayed: RelayedAddress,
    user: Box<str>,
    /// A held port counts like the allocation it is held for, or reservations would be a way around quotas.
    lease: Lease,
}

const ABSENT: u16 = u16::MAX;

/// The top bits, which no worker's number reaches.
const TCP_FLAG: u64 = 1 << 63;
const CONFINED_FLAG: u64 = 1 << 62;

/// How many random picks are tried before the whole set is searched for a pair or an even port.
const RANDOM_TRIES: usize = 16;

impl AddressPool {
    fn keep_circle(&self, offset: u16, circle: NonZeroU64) {
        let none = || self.owners.iter().map(|_| AtomicU64::new(0)).collect();
        let place = self.circles.get_or_init(none).get(usize::from(offset));
        if let Some(place) = place {
            place.store(circle.get(), Ordering::Release);
        }
    }

    /// The circle of a confined owner.
    fn circle(&self, offset: u16) -> Option<Circle> {
        let place = self.circles.get()?.get(usize::from(offset))?;
        NonZeroU64::new(place.load(Ordering::Acquire)).map(|circle| Circle(Some(circle)))
    }
}

impl FreePorts {
    fn new(count: u16) -> Self {
        FreePorts {
            offsets: (0..count).collect(),
            places: (0..count).collect(),
            quarantine: VecDeque::new(),
        }
    }

    fn contains(&self, offset: u16) -> bool {
        self.places
            .get(usize::from(offset))
            .is_some_and(|place| *place != ABSENT)
    }

    fn remove(&mut self, offset: u16) -> bool {
        let Some(place) = self.places.get_mut(usize::from(offset)) else {
            return false;
        };
        let place = std::mem::replace(place, ABSENT);
        if place == ABSENT {
            return false;
        }
        self.offsets.swap_remove(usize::from(place));
        if let Some(moved) = self.offsets.get(usize::from(place))
            && let Some(slot) = self.places.get_mut(usize::from(*moved))
        {
            *slot = place;
        }
        true
    }

    fn insert(&mut self, offset: u16) {
        if let Some(place) = self.places.get_mut(usize::from(offset))
            && *place == ABSENT
        {
            // There are at most 64512 ports, so the place fits and is never ABSENT.
            *place = self.offsets.len() as u16;
            self.offsets.push(offset);
        }
    }

    fn end_quarantines(&mut self, now: Instant) {
        while let Some(over) = self.quarantine.pop_front_if(|port| port.until <= now) {
            self.insert(over.offset);
        }
    }

    fn random(&self, rng: &mut impl Rng) -> Option<u16> {
        if self.offsets.is_empty() {
            return None;
        }
        self.offsets
            .get(rng.random_range(0..self.offsets.len()))
            .copied()
    }

    /// Picks and removes an offset; for `EvenAndNext` also the next one.
    fn take(&mut self, wish: PortWish, first_port: u16, rng: &mut impl Rng) -> Option<u16> {
        let fits = |set: &Self, offset: u16| match wish {
            PortWish::Any => true,
            PortWish::Even => is_even(first_port, offset),
            PortWish::EvenAndNext => is_even(first_port, offset) && set.contains(offset + 1),
        };
        let lucky = (0..RANDOM_TRIES)
            .map_while(|_| self.random(rng))
            .find(|offset| fits(self, *offset));
        let offset = match lucky {
            Some(offset) => offset,
            None => self.offsets.iter().copied().find(|o| fits(self, *o))?,
        };
        self.remove(offset);
        if wish == PortWish::EvenAndNext {
            self.remove(offset + 1);
        }
        Some(offset)
    }
}

fn is_even(first_port: u16, offset: u16) -> bool {
    first_port.wrapping_add(offset).is_multiple_of(2)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every operation leaves the pool consistent at each step that could panic, so a poisoned lock is usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RelayPool {
    /// A pool of `ports` on each of `addresses`. A released port is not given out again for `quarantine`.
    #[must_use]
    pub fn new(
        addresses: &[RelayAddress],
        ports: RangeInclusive<u16>,
        quarantine: Duration,
    ) -> Self {
        // 65535 ports at most: offset ABSENT is never used.
        let count = u16::try_from(ports.len()).unwrap_or(u16::MAX);
        let sites = addresses
            .iter()
            .map(|address| Site {
                address: *address,
                former: Vec::new(),
                pool: Arc::new(AddressPool {
                    owners: (0..count).map(|_| AtomicU64::new(0)).collect(),
                    circles: OnceLock::new(),
                    free: Mutex::new(FreePorts::new(count)),
                }),
            })
            .collect();
        RelayPool {
            sites,
            first_port: *ports.start(),
            quarantine,
            reservations: Arc::default(),
            circles: RandomState::with_seeds(
                rand::random(),
                rand::random(),
                rand::random(),
                rand::random(),
            ),
        }
    }

    /// The same ports, some of whose addresses are known by another external form now. Allocations keep the one they were
    /// told, and are found by it.
    #[must_use]
    pub fn known_as(&self, addresses: &[RelayAddress]) -> Self {
        let site = |site: &Site| {
            let mut known = addresses.iter().filter(|a| a.local == site.address.local);
            let address = known.next().copied().unwrap_or(site.address);
            let mut former = site.former.clone();
            former.push(site.address.external);
            former.retain(|ip| *ip != address.external && *ip != address.local);
            former.dedup();
            Site {
                address,
                former,
                pool: site.pool.clone(),
            }
        };
        RelayPool {
            sites: self.sites.iter().map(site).collect(),
            first_port: self.first_port,
            quarantine: self.quarantine,
            reservations: self.reservations.clone(),
            circles: self.circles.clone(),
        }
    }

    /// The circle of a user, by the name that quotas go by.
    #[must_use]
    pub fn circle(&self, user: &str) -> Circle {
        let own = || NonZeroU64::new(self.circles.hash_one(user)).unwrap_or(NonZeroU64::MIN);
        Circle(is_confined(user).then(own))
    }

    /// Whether there is any relay address of a family.
    #[must_use]
    pub fn supports(&self, family: Family) -> bool {
        self.sites.iter().any(|site| site.is(family))
    }

    /// The relay addresses.
    pub fn addresses(&self) -> impl Iterator<Item = RelayAddress> + '_ {
        self.sites.iter().map(|site| site.address)
    }

    /// Takes a random free port. It belongs to the caller until [`RelayPool::release`].
    ///
    /// # Errors
    /// [`NoPort`] when none fits.
    pub fn take(
        &self,
        family: Family,
        wish: PortWish,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Result<RelayedAddress, NoPort> {
        self.end_reservations(now);
        let candidates = self.sites.iter().filter(|s| s.is(family)).count();
        if candidates == 0 {
            return Err(NoPort);
        }
        let start = rng.random_range(0..candidates);
        let sites = self.sites.iter().filter(|s| s.is(family));
        for site in sites.cycle().skip(start).take(candidates) {
            let mut free = lock(&site.pool.free);
            free.end_quarantines(now);
            if let Some(offset) = free.take(wish, self.first_port, rng) {
                return Ok(site.relayed(self.first_port.wrapping_add(offset)));
            }
        }
        Err(NoPort)
    }

    /// Holds the port behind `even`, taken with [`PortWish::EvenAndNext`], for whoever shows the token. It counts
    /// under `lease` until its time is over or an allocation takes both.
    pub fn reserve_next(
        &self,
        even: RelayedAddress,
        user: &str,
        lease: Lease,
        now: Instant,
        rng: &mut impl Rng,
    ) -> ReservationToken {
        let reservation = Reservation {
            relayed: even.next_port(),
            user: user.into(),
            lease,
        };
        let token = rng.random::<u64>().to_be_bytes();
        let mut reservations = lock(&self.reservations);
        reservations.by_token.insert(token, reservation);
        reservations
            .by_time
            .push_back((now.after(RESERVATION_TIME), token));
        token
    }

    /// Takes the port that `user` reserved with `token`, and its lease; the token is used up.
    ///
    /// # Errors
    /// [`NoPort`] for a token that is unknown, used, over its time, or another user's.
    pub fn redeem(
        &self,
        token: ReservationToken,
        user: &str,
        now: Instant,
    ) -> Result<(RelayedAddress, Lease), NoPort> {
        self.end_reservations(now);
        let mut reservations = lock(&self.reservations);
        match reservations.by_token.get(&token) {
            Some(reservation) if *reservation.user == *user => {}
            _ => return Err(NoPort),
        }
        let reservation = reservations.by_token.remove(&token).ok_or(NoPort)?;
        Ok((reservation.relayed, reservation.lease))
    }

    /// Frees the ports whose reservation is over, and their leases. Everything here that asks for ports does so first.
    pub fn end_reservations(&self, now: Instant) {
        let mut reservations = lock(&self.reservations);
        while let Some(&(until, token)) = reservations.by_time.front()
            && until <= now
        {
            reservations.by_time.pop_front();
            if let Some(over) = reservations.by_token.remove(&token)
                && let Some((pool, offset)) = self.find(over.relayed.local)
            {
                // Nobody ever had this port, so there are no late packets to wait for.
                lock(&pool.free).insert(offset);
            }
        }
    }

    /// Makes a taken address known as `owner`'s: from now on it can be reached by a hairpin.
    pub fn publish(&self, relayed: RelayedAddress, protocol: RelayProtocol, owner: Owner) {
        if let Some((pool, offset)) = self.find(relayed.local)
            && let Some(slot) = pool.owners.get(usize::from(offset))
        {
            let value = (u64::from(owner.worker.0) + 1) << 32 | u64::from(owner.relay.0);
            let flag = match protocol {
                RelayProtocol::Udp => 0,
                RelayProtocol::Tcp => TCP_FLAG,
            };
            let confined = if let Circle(Some(circle)) = owner.circle {
                pool.keep_circle(offset, circle);
                CONFINED_FLAG
            } else {
                0
            };
            slot.store(value | flag | confined, Ordering::Release);
        }
    }

    /// Frees the ports whose quarantine is over, so that they rest on nobody's account any more.
    pub fn end_quarantines(&self, now: Instant) {
        for site in &self.sites {
            lock(&site.pool.free).end_quarantines(now);
        }
    }

    /// Gives back an address that never had a socket: it can be given out again at once.
    pub fn give_back(&self, relayed: RelayedAddress) {
        if let Some((pool, offset)) = self.find(relayed.local) {
            lock(&pool.free).insert(offset);
        }
    }

    /// Gives an address back. It rests for the quarantine before it is given out again.
    pub fn release(&self, relayed: RelayedAddress, now: Instant) {
        self.rest(relayed, now, None);
    }

    /// The same, on somebody's account.
    pub fn rest(&self, relayed: RelayedAddress, now: Instant, resting: Option<Resting>) {
        if let Some((pool, offset)) = self.find(relayed.local) {
            if let Some(slot) = pool.owners.get(usize::from(offset)) {
                slot.store(0, Ordering::Release);
            }
            let mut free = lock(&pool.free);
            free.quarantine.push_back(Quarantined {
                until: now.after(self.quarantine),
                offset,
                _resting: resting,
            });
        }
    }

    /// Gives back all addresses of a worker that were made known as its own.
    pub fn release_all(&self, worker: WorkerId, now: Instant) {
        for site in &self.sites {
            for (offset, slot) in site.pool.owners.iter().enumerate() {
                let value = slot.load(Ordering::Acquire) & !(TCP_FLAG | CONFINED_FLAG);
                if value >> 32 == u64::from(worker.0) + 1 {
                    // An address of the pool has an offset of 16 bits.
                    self.release(
                        site.relayed(self.first_port.wrapping_add(offset as u16)),
                        now,
                    );
                }
            }
        }
    }

    /// Whose a relayed transport address of datagrams is, asked in its local or its external form.
    #[must_use]
    #[inline]
    pub fn owner_of(&self, address: SocketAddr) -> Option<Owner> {
        let ip = address.ip();
        for site in &self.sites {
            if site.is_at(ip) {
                let offset = address.port().checked_sub(self.first_port)?;
                let value = site
                    .pool
                    .owners
                    .get(usize::from(offset))?
                    .load(Ordering::Acquire);
                if value != 0 && value & TCP_FLAG == 0 {
                    return Some(Owner {
                        worker: WorkerId(((value & !CONFINED_FLAG) >> 32) as u32 - 1),
                        relay: RelayId(value as u32),
                        circle: match value & CONFINED_FLAG {
                            0 => Circle::default(),
                            _ => site.pool.circle(offset)?,
                        },
                    });
                }
            }
        }
        None
    }

    /// Both forms of a relayed transport address that listens for TCP connections, asked in either; `None` where no
    /// allocation has it.
    #[must_use]
    pub fn tcp_relay(&self, address: SocketAddr) -> Option<RelayedAddress> {
        let ip = address.ip();
        let offset = address.port().checked_sub(self.first_port)?;
        self.sites
            .iter()
            .filter(|site| site.is_at(ip))
            .find(|site| {
                let value = site.pool.owners.get(usize::from(offset));
                value.is_some_and(|value| value.load(Ordering::Acquire) & TCP_FLAG != 0)
            })
            .map(|site| site.relayed(address.port()))
    }

    /// How the ports stand, summed over all addresses.
    #[must_use]
    pub fn counts(&self, now: Instant) -> PortCounts {
        self.end_reservations(now);
        let mut counts = PortCounts {
            reserved: lock(&self.reservations).by_token.len() as u64,
            ..PortCounts::default()
        };
        let mut total = 0;
        for Site { pool, .. } in &self.sites {
            let mut free = lock(&pool.free);
            free.end_quarantines(now);
            total += pool.owners.len() as u64;
            counts.free += free.offsets.len() as u64;
            counts.quarantined += free.quarantine.len() as u64;
        }
        counts.used = total
            .saturating_sub(counts.free)
            .saturating_sub(counts.quarantined)
            .saturating_sub(counts.reserved);
        counts
    }

    fn find(&self, local: SocketAddr) -> Option<(&AddressPool, u16)> {
        let pool = self
            .sites
            .iter()
            .find(|site| site.address.local == local.ip())
            .map(|site| &*site.pool)?;
        let offset = local.port().checked_sub(self.first_port)?;
        (usize::from(offset) < pool.owners.len()).then_some((pool, offset))
    }
}

impl Site {
    /// Whether it is found at an address.
    #[inline]
    fn is_at(&self, ip: IpAddr) -> bool {
        self.address.local == ip || self.address.external == ip || self.former.contains(&ip)
    }

    fn is(&self, family: Family) -> bool {
        self.address.local.is_ipv4() == (family == Family::V4)
    }

    fn relayed(&self, port: u16) -> RelayedAddress {
        RelayedAddress {
            local: SocketAddr::new(self.address.local, port),
            advertised: SocketAddr::new(self.address.external, port),
        }
    }
}
