//! Which of many sockets have something to read.

use crate::net::epoll::Epoll;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// How many ready sockets are told of at once.
const EVENTS: usize = 256;

/// A set of sockets, each with a number of the caller's.
pub struct Watch {
    epoll: Epoll,
    ready: Vec<usize>,
}

impl Watch {
    /// An empty set.
    ///
    /// # Errors
    /// That the system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Watch {
            epoll: Epoll::new(EVENTS)?,
            ready: Vec::with_capacity(EVENTS),
        })
    }

    /// Watches a socket. It leaves the set when it is closed.
    ///
    /// # Errors
    /// What the system says.
    pub fn add(&mut self, socket: &impl AsFd, number: usize) -> io::Result<()> {
        self.epoll.add(socket, libc::EPOLLIN, number as u64)
    }

    /// Waits until a socket has something to read, at most so long, in whole milliseconds. How many numbers
    /// [`Watch::ready`] knows.
    ///
    /// # Errors
    /// What the system says; a signal is no error.
    pub fn wait(&mut self, at_most: Duration) -> io::Result<usize> {
        let milliseconds = libc::c_int::try_from(at_most.as_millis()).unwrap_or(libc::c_int::MAX);
        self.ready.clear();
        match self.epoll.wait(milliseconds) {
            Ok(events) => {
                let numbers = events.iter().map(|event| event.u64 as usize);
                self.ready.extend(numbers);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(self.ready.len())
    }

    /// The number of a socket that is ready, at a place below what [`Watch::wait`] returned.
    #[must_use]
    pub fn ready(&self, place: usize) -> usize {
        self.ready.get(place).copied().unwrap_or_default()
    }
}
