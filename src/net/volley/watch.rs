//! Which of many sockets have something to read.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// How many ready sockets are told of at once.
const EVENTS: usize = 256;

/// A set of sockets, each with a number of the caller's.
pub struct Watch {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Watch {
    /// An empty set.
    ///
    /// # Errors
    /// That the system has no descriptor left.
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
        Ok(Watch {
            epoll,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS],
        })
    }

    /// Watches a socket. It leaves the set when it is closed.
    ///
    /// # Errors
    /// What the system says.
    pub fn add(&mut self, socket: &impl AsFd, number: usize) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: number as u64,
        };
        // SAFETY: both descriptors are open, and the event is only read during the call.
        #[allow(unsafe_code)]
        let result = unsafe {
            libc::epoll_ctl(
                self.epoll.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
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

    /// Waits until a socket has something to read, at most so long, in whole milliseconds. How many numbers
    /// [`Watch::ready`] knows.
    ///
    /// # Errors
    /// What the system says; a signal is no error.
    pub fn wait(&mut self, at_most: Duration) -> io::Result<usize> {
        let milliseconds = libc::c_int::try_from(at_most.as_millis()).unwrap_or(libc::c_int::MAX);
        // SAFETY: the events vector has room for as many as are asked for.
        #[allow(unsafe_code)]
        let result = unsafe {
            libc::epoll_wait(
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS as libc::c_int,
                milliseconds,
            )
        };
        match usize::try_from(result) {
            Ok(count) => Ok(count),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                error => Err(error),
            },
        }
    }

    /// The number of a socket that is ready, at a place below what [`Watch::wait`] returned.
    #[must_use]
    pub fn ready(&self, place: usize) -> usize {
        self.events.get(place).map_or(0, |event| event.u64 as usize)
    }
}
