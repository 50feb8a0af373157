//! The relay sockets of a worker, in an epoll set of their own.
//!
//! The worker's runtime watches one descriptor, the set's, however many relays there are, and no task belongs to any of
//! them. A relay is in the set from its first permission on; what strangers send to it before wakes nobody. A relay is
//! told once of what came in (EPOLLET), which spares the system looking at it again: whoever does not read all of it
//! says so with [`RelaySet::leave`].

use super::epoll::Epoll;
use super::socket::{self, Buffers};
use crate::engine::RelayId;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;

/// How many ready sockets are asked for at once.
const EVENTS: usize = 64;

pub(super) struct RelaySet {
    epoll: Epoll,
    relays: Vec<Option<RelaySocket>>,
    /// What there is to read, and whether errors are: of the last [`RelaySet::poll`].
    ready: Vec<(RelayId, bool)>,
    /// What was left of that.
    left: Vec<(RelayId, bool)>,
}

/// A relay's socket, on its way from one set to another perhaps.
pub(super) struct RelaySocket {
    socket: UdpSocket,
    is_ipv4: bool,
    /// Whether it is ready for peers, and in the set.
    is_heard: bool,
}

impl RelaySet {
    pub fn new() -> io::Result<Self> {
        Ok(RelaySet {
            epoll: Epoll::new(EVENTS)?,
            relays: Vec::new(),
            ready: Vec::with_capacity(EVENTS),
            left: Vec::new(),
        })
    }

    /// A second descriptor of the set, readable when any of its sockets is.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.epoll.try_clone()
    }

    /// Binds a relay's socket, which is not heard yet.
    pub fn open(&mut self, relay: RelayId, address: SocketAddr) -> io::Result<()> {
        let socket = RelaySocket {
            socket: socket::relay(address)?,
            is_ipv4: address.is_ipv4(),
            is_heard: false,
        };
        self.insert(relay, socket);
        Ok(())
    }

    /// Takes what another set gave away. It is closed where that fails.
    pub fn adopt(&mut self, relay: RelayId, socket: RelaySocket) -> io::Result<()> {
        if socket.is_heard {
            watch(&self.epoll, relay, &socket.socket)?;
        }
        self.insert(relay, socket);
        Ok(())
    }

    fn insert(&mut self, relay: RelayId, socket: RelaySocket) {
        let place = relay.0 as usize;
        if self.relays.len() <= place {
            self.relays.resize_with(place + 1, || None);
        }
        self.relays[place] = Some(socket);
    }

    /// Hears a relay's peers from here on. What came in before is thrown away. A socket that does not take an option is
    /// heard all the same.
    pub fn hear(&mut self, relay: RelayId, buffers: Buffers) -> io::Result<()> {
        let Some(Some(entry)) = self.relays.get_mut(relay.0 as usize) else {
            return Ok(());
        };
        if entry.is_heard {
            return Ok(());
        }
        let prepared = socket::hear_peers(&entry.socket, entry.is_ipv4, buffers);
        watch(&self.epoll, relay, &entry.socket)?;
        entry.is_heard = true;
        prepared
    }

    /// Closes a relay's socket, which takes it out of the set too.
    pub fn close(&mut self, relay: RelayId) {
        if let Some(slot) = self.relays.get_mut(relay.0 as usize) {
            *slot = None;
        }
    }

    /// Gives a relay's socket away, unwatched.
    pub fn take(&mut self, relay: RelayId) -> Option<RelaySocket> {
        let entry = self.relays.get_mut(relay.0 as usize)?.take()?;
        if entry.is_heard {
            // It fails for a socket that is not in the set only.
            let _ = self.epoll.remove(&entry.socket);
        }
        Some(entry)
    }

    pub fn get(&self, relay: RelayId) -> Option<&UdpSocket> {
        let entry = self.relays.get(relay.0 as usize)?.as_ref()?;
        Some(&entry.socket)
    }

    /// Asks which relays have something to read, without waiting; how many [`RelaySet::ready`] knows of, and whether to
    /// ask again although nothing else comes in.
    pub fn poll(&mut self) -> io::Result<(usize, bool)> {
        let events = self.epoll.wait(0)?;
        self.ready.clear();
        self.ready.append(&mut self.left);
        for event in events {
            let has_error = event.events & libc::EPOLLERR as u32 != 0;
            self.ready.push((RelayId(event.u64 as u32), has_error));
        }
        Ok((self.ready.len(), events.len() == EVENTS))
    }

    /// The relay at a place below what [`RelaySet::poll`] returned, and whether it has errors to read.
    pub fn ready(&self, place: usize) -> (RelayId, bool) {
        self.ready[place]
    }

    /// Says that a relay was not read to its end: the next [`RelaySet::poll`] names it again.
    pub fn leave(&mut self, relay: RelayId, has_error: bool) {
        self.left.push((relay, has_error));
    }

    /// Whether anything was left.
    pub const fn has_left(&self) -> bool {
        !self.left.is_empty()
    }
}

fn watch(epoll: &Epoll, relay: RelayId, socket: &UdpSocket) -> io::Result<()> {
    epoll.add(socket, libc::EPOLLIN | libc::EPOLLET, u64::from(relay.0))
}
