//! Who has a connection to a door, and who makes room when there are too many. Doors are where HTTP comes in, for operators
//! and for authorities; the connections of clients are counted by a gate of their own.
//!
//! A door has so many places, and one source so many of them: a network over TCP, a user at the unix socket. Nobody waits
//! for a place behind somebody who says nothing: a connection that comes to a full door takes the place of the one that has
//! been there longest among those with the least claim to stay. Whoever has shown a token, or was let in by the system, and
//! whose request is being served, keeps its place. Main types: [`Places`], [`Place`], [`Standing`].

use crate::policy::Prefix;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;

/// Whom connections are counted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A network.
    Network(Prefix),
    /// A user of this machine.
    User(u32),
}

/// The places of a door.
pub struct Places {
    most: usize,
    most_of_source: usize,
    taken: Mutex<Vec<Arc<Held>>>,
    /// Connections that had to go, or were not let in.
    closed: Arc<AtomicU64>,
}

struct Held {
    source: Source,
    standing: Standing,
    /// Since when it has the place.
    since: Instant,
    leave: Notify,
}

/// What a connection has to show for itself. Clones are of the same connection.
#[derive(Clone, Default)]
pub struct Standing(Arc<State>);

#[derive(Default)]
struct State {
    is_known: AtomicBool,
    is_served: AtomicBool,
    has_asked: AtomicBool,
}

impl Standing {
    /// It is somebody's who may come in.
    pub fn is_known(&self) {
        self.0.is_known.store(true, Ordering::Relaxed);
    }

    /// A request is being served, or is not any more.
    pub fn is_served(&self, served: bool) {
        self.0.is_served.store(served, Ordering::Relaxed);
        self.0.has_asked.store(true, Ordering::Relaxed);
    }

    /// Whether the head of a request has come.
    pub fn has_asked(&self) -> bool {
        self.0.has_asked.load(Ordering::Relaxed)
    }

    /// The lowest goes first; `None` stays.
    fn claim(&self) -> Option<u8> {
        let get = |of: &AtomicBool| of.load(Ordering::Relaxed);
        match (get(&self.0.is_known), get(&self.0.is_served)) {
            (false, false) => Some(0),
            (false, true) => Some(1),
            (true, false) => Some(2),
            (true, true) => None,
        }
    }
}

impl Places {
    /// So many, and so many of one source. `closed` counts the connections that found no place, or lost it.
    pub fn new(most: usize, most_of_source: usize, closed: Arc<AtomicU64>) -> Arc<Places> {
        Arc::new(Places {
            most,
            most_of_source,
            taken: Mutex::default(),
            closed,
        })
    }

    /// A place for a connection, if need be somebody else's; `None` where nobody makes room.
    pub fn take(self: &Arc<Self>, source: Source) -> Option<Place> {
        let mut taken = self.taken();
        let of_source = taken.iter().filter(|held| held.source == source).count();
        let is_full_of_it = of_source >= self.most_of_source;
        if is_full_of_it || taken.len() >= self.most {
            self.closed.fetch_add(1, Ordering::Relaxed);
            let (place, _) = taken
                .iter()
                .enumerate()
                .filter(|(_, held)| !is_full_of_it || held.source == source)
                .filter_map(|(place, held)| Some((place, (held.standing.claim()?, held.since))))
                .min_by_key(|(_, order)| *order)?;
            taken.swap_remove(place).leave.notify_one();
        }
        let held = Arc::new(Held {
            source,
            standing: Standing::default(),
            since: Instant::now(),
            leave: Notify::new(),
        });
        taken.push(held.clone());
        Some(Place {
            held,
            places: self.clone(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, Vec<Arc<Held>>> {
        // Each change of the list is one, so a poisoned lock holds a good list.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is taken until this is dropped, or until somebody else has it.
pub struct Place {
    held: Arc<Held>,
    places: Arc<Places>,
}

impl Place {
    /// What its connection has to show.
    pub fn standing(&self) -> &Standing {
        &self.held.standing
    }

    /// Comes back when somebody else has the place.
    pub async fn lost(&self) {
        self.held.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places
            .taken()
            .retain(|held| !Arc::ptr_eq(held, &self.held));
    }
}
