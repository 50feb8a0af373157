//! An epoll set: which of many sockets have something to read or an error. Main type: [`Epoll`].

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// A set of sockets, each with a number of the caller's.
pub(super) struct Epoll {
    descriptor: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// An empty set that tells of so many sockets at once.
    pub fn new(events: usize) -> io::Result<Self> {
        // SAFETY: the call takes no pointers; a non-negative result is a new descriptor that nobody else owns.
        #[allow(unsafe_code)]
        let descriptor = unsafe {
            let descriptor = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            if descriptor < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(descriptor)
        };
        Ok(Epoll {
            descriptor,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; events],
        })
    }

    /// A second descriptor of the set, readable when any of its sockets is.
    pub fn try_clone(&self) -> io::Result<OwnedFd> {
        self.descriptor.try_clone()
    }

    /// Watches a socket for these events. It leaves the set when it is closed.
    pub fn add(&self, socket: &impl AsFd, events: libc::c_int, number: u64) -> io::Result<()> {
        let event = libc::epoll_event {
            events: events as u32,
            u64: number,
        };
        self.control(libc::EPOLL_CTL_ADD, socket, event)
    }

    /// Watches a socket no longer that stays open.
    pub fn remove(&self, socket: &impl AsFd) -> io::Result<()> {
        let unused = libc::epoll_event { events: 0, u64: 0 };
        self.control(libc::EPOLL_CTL_DEL, socket, unused)
    }

    fn control(
        &self,
        operation: libc::c_int,
        socket: &impl AsFd,
        mut event: libc::epoll_event,
    ) -> io::Result<()> {
        // SAFETY: both descriptors are borrowed and so open, and the event is only read during the call.
        #[allow(unsafe_code)]
        let result = unsafe {
            libc::epoll_ctl(
                self.descriptor.as_raw_fd(),
                operation,
                socket.as_fd().as_raw_fd(),
                &raw mut event,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Waits so many milliseconds at most, and says which sockets are ready: as many as there is room for.
    pub fn wait(&mut self, milliseconds: libc::c_int) -> io::Result<&[libc::epoll_event]> {
        // SAFETY: the events vector has room for as many as are asked for.
        #[allow(unsafe_code)]
        let result = unsafe {
            libc::epoll_wait(
                self.descriptor.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.len() as libc::c_int,
                milliseconds,
            )
        };
        match usize::try_from(result) {
            Ok(count) => Ok(&self.events[..count]),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }
}
