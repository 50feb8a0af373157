//! The relay sockets of a worker, in an epoll set of their own.
//!
//! The worker's runtime watches one descriptor, the set's, however many relays there are, and no task belongs to any of
//! them. A relay is told once of what came in (EPOLLET), which spares the system looking at it again: whoever does not
//! read all of it says so with [`RelaySet::leave`].

use super::socket::{self, Buffers};
use crate::engine::RelayId;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// How many ready sockets are asked for at once.
const EVENTS: usize = 64;

pub(super) struct RelaySet {
    epoll: OwnedFd,
    sockets: Vec<Option<UdpSocket>>,
    events: Vec<libc::epoll_event>,
    /// What there is to read, and whether errors are: of the last [`RelaySet::poll`].
    ready: Vec<(RelayId, bool)>,
    /// What was left of that.
    left: Vec<(RelayId, bool)>,
}

impl RelaySet {
    pub fn new() -> io::Result<Self> {
        // SAFETY: the call takes no pointers; a non-negative result is a new descriptor that nobody else owns.
        #[allow(unsafe_code)]
        let epoll = unsafe {
            let descriptor = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            if descriptor < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(descriptor)
        };
        Ok(RelaySet {
            epoll,
            sockets: Vec::new(),
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS],
            ready: Vec::with_capacity(EVENTS),
            left: Vec::new(),
        })
    }

    /// A second descriptor of the set, readable when any of its sockets is.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.epoll.try_clone()
    }

    /// Binds a relay's socket and watches it.
    pub fn open(
        &mut self,
        relay: RelayId,
        address: SocketAddr,
        buffers: Buffers,
    ) -> io::Result<()> {
        self.adopt(relay, socket::relay(address, buffers)?)
    }

    /// Watches a socket that is bound already. It is closed where that fails.
    pub fn adopt(&mut self, relay: RelayId, socket: UdpSocket) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: (libc::EPOLLIN | libc::EPOLLET) as u32,
            u64: u64::from(relay.0),
        };
        // SAFETY: both descriptors are open, and the event is only read during the call.
        #[allow(unsafe_code)]
        let result = unsafe {
            libc::epoll_ctl(
                self.epoll.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                socket.as_raw_fd(),
                &raw mut event,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        let place = relay.0 as usize;
        if self.sockets.len() <= place {
            self.sockets.resize_with(place + 1, || None);
        }
        self.sockets[place] = Some(socket);
        Ok(())
    }

    /// Closes a relay's socket, which takes it out of the set too.
    pub fn close(&mut self, relay: RelayId) {
        if let Some(slot) = self.sockets.get_mut(relay.0 as usize) {
            *slot = None;
        }
    }

    /// Gives a relay's socket away, unwatched.
    pub fn take(&mut self, relay: RelayId) -> Option<UdpSocket> {
        let socket = self.sockets.get_mut(relay.0 as usize)?.take()?;
        // SAFETY: both descriptors are open; this operation takes no event. It fails for a socket that is not in the set
        // only, and all are.
        #[allow(unsafe_code)]
        unsafe {
            libc::epoll_ctl(
                self.epoll.as_raw_fd(),
                libc::EPOLL_CTL_DEL,
                socket.as_raw_fd(),
                std::ptr::null_mut(),
            );
        }
        Some(socket)
    }

    pub fn get(&self, relay: RelayId) -> Option<&UdpSocket> {
        self.sockets.get(relay.0 as usize)?.as_ref()
    }

    /// Asks which relays have something to read, without waiting; how many [`RelaySet::ready`] knows of, and whether to
    /// ask again although nothing else comes in.
    pub fn poll(&mut self) -> io::Result<(usize, bool)> {
        self.ready.clear();
        self.ready.append(&mut self.left);
        // SAFETY: the events vector has room for as many as are asked for.
        #[allow(unsafe_code)]
        let result = unsafe {
            libc::epoll_wait(
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS as libc::c_int,
                0,
            )
        };
        let count = match usize::try_from(result) {
            Ok(count) => count,
            Err(_) => {
                self.left.append(&mut self.ready);
                return Err(io::Error::last_os_error());
            }
        };
        for event in &self.events[..count] {
            let has_error = event.events & libc::EPOLLERR as u32 != 0;
            self.ready.push((RelayId(event.u64 as u32), has_error));
        }
        Ok((self.ready.len(), count == EVENTS))
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
