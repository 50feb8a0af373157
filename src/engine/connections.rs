//! TCP connections between relays and peers (RFC 6062): those of the whole server by their id, and those of one
//! allocation.
//!
//! The ids are known to all workers, since a client's ConnectionBind arrives on a new connection, which the system may
//! give to any of them. What all may change of a connection is its [`Stage`] and its byte counts, both atomic, so the
//! binding of one worker and the deadline of another cannot both win, and whoever ends a connection tells nobody: the
//! others see it when they look. Whose it is only the allocation's worker changes. Nothing here opens or closes a socket.
//!
//! Main types: [`TcpConnections`], [`TcpConnection`].

use super::authenticate::Holder;
use super::outcome::Usage;
use super::respond::Asked;
use super::time::Instant;
use super::timers::Slot;
use crate::policy::{Direction, Meter};
use rand::{Rng, RngExt};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A CONNECTION-ID (RFC 6062 §6.2.1): random, and of one live connection only in the whole server.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u32);

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The peer has not answered yet.
    Connecting,
    /// It is there, and the client has not bound it yet.
    Waiting,
    /// The client bound it: bytes flow.
    Bound,
    /// It is over.
    Closed,
}

impl Stage {
    const fn of(value: u8) -> Stage {
        match value {
            0 => Stage::Connecting,
            1 => Stage::Waiting,
            2 => Stage::Bound,
            _ => Stage::Closed,
        }
    }
}

/// What all workers know of a connection.
#[derive(Debug)]
pub struct TcpConnection {
    /// A new token may take the place of the former one while the client has not bound the connection yet.
    holder: Mutex<Holder>,
    /// Where the owner has its allocation.
    pub(super) slot: Slot,
    /// Of the allocation, where bandwidth is limited.
    meter: Option<Arc<Meter>>,
    stage: AtomicU8,
    /// When it has to be bound, in milliseconds.
    bind_until: AtomicU64,
    to_peer: AtomicU64,
    to_client: AtomicU64,
}

impl TcpConnection {
    pub(super) fn holder(&self) -> Holder {
        self.lock().clone()
    }

    pub(super) fn set_holder(&self, holder: Holder) {
        *self.lock() = holder;
    }

    fn lock(&self) -> MutexGuard<'_, Holder> {
        // It is replaced as a whole, so a poisoned lock holds a good one.
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far it is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        Stage::of(self.stage.load(Ordering::Acquire))
    }

    /// Counts bytes that went one way, and says how long to wait before more are read. The time is asked for where
    /// bandwidth is limited.
    #[must_use]
    pub fn sent(&self, now: impl FnOnce() -> Instant, way: Direction, bytes: usize) -> Duration {
        let count = match way {
            Direction::ToPeer => &self.to_peer,
            Direction::ToClient => &self.to_client,
        };
        count.fetch_add(bytes as u64, Ordering::Relaxed);
        self.meter.as_ref().map_or(Duration::ZERO, |meter| {
            let millis = now().as_millis();
            meter.charge(millis, way, bytes);
            meter.pause(millis, way)
        })
    }

    /// Bytes from the client to the peer, and from the peer to the client.
    pub(super) fn bytes(&self) -> (u64, u64) {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (get(&self.to_peer), get(&self.to_client))
    }

    /// Goes from one stage to another; `false` when somebody else was faster.
    fn advance(&self, from: Stage, to: Stage) -> bool {
        self.stage
            .compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// The peer is there: it may be bound until then.
    pub(super) fn wait(&self, until: Instant) -> bool {
        self.bind_until.store(until.as_millis(), Ordering::Release);
        self.advance(Stage::Connecting, Stage::Waiting)
    }
}

/// Why a connection cannot be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BindError {
    /// There is none of that id that could be.
    Unknown,
    /// It is another user's.
    WrongUser,
}

/// The connections of the whole server.
#[derive(Debug, Default)]
pub struct TcpConnections {
    by_id: Mutex<HashMap<ConnectionId, Arc<TcpConnection>>>,
}

impl TcpConnections {
    fn lock(&self) -> MutexGuard<'_, HashMap<ConnectionId, Arc<TcpConnection>>> {
        // Each operation is one change of the map, so a poisoned lock holds a good map.
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a connection that is [`Stage::Connecting`] and picks its id.
    pub(super) fn open(
        &self,
        holder: Holder,
        (slot, meter): (Slot, Option<Arc<Meter>>),
        rng: &mut impl Rng,
    ) -> (ConnectionId, Arc<TcpConnection>) {
        let connection = Arc::new(TcpConnection {
            holder: Mutex::new(holder),
            slot,
            meter,
            stage: AtomicU8::new(Stage::Connecting as u8),
            bind_until: AtomicU64::new(0),
            to_peer: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
        });
        let mut by_id = self.lock();
        loop {
            let id = ConnectionId(rng.random());
            if let Entry::Vacant(place) = by_id.entry(id) {
                place.insert(connection.clone());
                return (id, connection);
            }
        }
    }

    /// The connection of an id, unless it is over.
    #[must_use]
    pub fn get(&self, id: ConnectionId) -> Option<Arc<TcpConnection>> {
        self.lock().get(&id).cloned()
    }

    /// Binds a waiting connection for its owner, as `is_owner` finds; of several who try, one succeeds.
    pub(super) fn bind(
        &self,
        id: ConnectionId,
        now: Instant,
        is_owner: impl Fn(&Holder) -> bool,
    ) -> Result<(), BindError> {
        let connection = self.get(id).ok_or(BindError::Unknown)?;
        if !is_owner(&connection.holder()) {
            return Err(BindError::WrongUser);
        }
        let until = Instant::from_millis(connection.bind_until.load(Ordering::Acquire));
        if until > now && connection.advance(Stage::Waiting, Stage::Bound) {
            Ok(())
        } else {
            Err(BindError::Unknown)
        }
    }

    /// Ends a connection that nobody bound; `false` when somebody did.
    pub(super) fn give_up(&self, id: ConnectionId, connection: &TcpConnection) -> bool {
        let is_over = connection.advance(Stage::Waiting, Stage::Closed);
        if is_over {
            self.lock().remove(&id);
        }
        is_over
    }

    /// Ends a connection, whatever its stage; `false` when it was over.
    pub(super) fn end(&self, id: ConnectionId) -> bool {
        let Some(connection) = self.lock().remove(&id) else {
            return false;
        };
        let former = connection.stage.swap(Stage::Closed as u8, Ordering::AcqRel);
        Stage::of(former) != Stage::Closed
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }
}

/// A connection of an allocation.
#[derive(Debug)]
pub(super) struct Held {
    pub id: ConnectionId,
    pub peer: SocketAddr,
    pub shared: Arc<TcpConnection>,
    /// The Connect that waits for its answer.
    pub asked: Option<Asked>,
    /// When connecting or waiting for the client takes too long.
    pub deadline: Option<Instant>,
}

impl Held {
    /// What passed through it so far: bytes only.
    pub fn passed(&self) -> Usage {
        let (bytes_to_peers, bytes_to_client) = self.shared.bytes();
        Usage {
            bytes_to_peers,
            bytes_to_client,
            ..Usage::default()
        }
    }
}

/// The connections of one allocation: few, so a list.
#[derive(Debug, Default)]
pub(super) struct Connections(pub Vec<Held>);

impl Connections {
    /// Takes off those that are over, which any worker may have ended; the bytes they carried.
    pub fn forget_closed(&mut self) -> (u64, u64) {
        let mut bytes = (0, 0);
        self.0.retain(|held| {
            let is_open = held.shared.stage() != Stage::Closed;
            if !is_open {
                let (to_peer, to_client) = held.shared.bytes();
                bytes = (bytes.0 + to_peer, bytes.1 + to_client);
            }
            is_open
        });
        bytes
    }

    pub fn find(&mut self, id: ConnectionId) -> Option<&mut Held> {
        self.0.iter_mut().find(|held| held.id == id)
    }

    pub fn has_peer(&self, peer: SocketAddr) -> bool {
        self.0.iter().any(|held| held.peer == peer)
    }

    pub fn deadlines(&self) -> impl Iterator<Item = Instant> {
        self.0.iter().filter_map(|held| held.deadline)
    }
}
