//! Reading of what the server and the load itself have used, before and after.
//!
//! The main types are [`Gauge`] and [`Use`].

use std::time::{Duration, Instant};

use super::process::{Memory, Process};

/// Whom to read.
#[derive(Clone, Debug)]
pub struct Gauge {
    /// The server, where it runs on this machine.
    pub server: Option<Process>,
    /// This process.
    pub own: Process,
}

/// What was used up to a moment.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    at: Instant,
    server_cpu: Option<Duration>,
    server_dropped: Option<u64>,
    own_cpu: Duration,
    own_dropped: u64,
}

/// What was used between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Use {
    /// Time between them.
    pub time: Duration,
    /// The server's processor time.
    pub server_cpu: Option<Duration>,
    /// Datagrams its sockets had no room for.
    pub server_dropped: Option<u64>,
    /// The load's processor time.
    pub own_cpu: Duration,
    /// Datagrams the load's own sockets had no room for.
    pub own_dropped: u64,
}

impl Gauge {
    /// Reads at the start of a measurement: processor times last.
    #[must_use]
    pub fn start(&self) -> Reading {
        let (server_dropped, own_dropped) = self.dropped();
        self.read(server_dropped, own_dropped)
    }

    /// Reads at its end: processor times first; what was used since a start.
    #[must_use]
    pub fn since(&self, start: &Reading) -> Use {
        let mut end = self.read(None, 0);
        (end.server_dropped, end.own_dropped) = self.dropped();
        let both = |a: Option<Duration>, b: Option<Duration>| Some(a?.saturating_sub(b?));
        Use {
            time: end.at - start.at,
            server_cpu: both(end.server_cpu, start.server_cpu),
            server_dropped: (|| Some(end.server_dropped?.saturating_sub(start.server_dropped?)))(),
            own_cpu: end.own_cpu.saturating_sub(start.own_cpu),
            own_dropped: end.own_dropped.saturating_sub(start.own_dropped),
        }
    }

    /// The server's memory.
    #[must_use]
    pub fn memory(&self) -> Option<Memory> {
        self.server.as_ref()?.memory()
    }

    fn dropped(&self) -> (Option<u64>, u64) {
        let server = self.server.as_ref().and_then(Process::dropped);
        (server, self.own.dropped().unwrap_or(0))
    }

    fn read(&self, server_dropped: Option<u64>, own_dropped: u64) -> Reading {
        Reading {
            server_cpu: self.server.as_ref().and_then(Process::cpu),
            own_cpu: self.own.cpu().unwrap_or_default(),
            at: Instant::now(),
            server_dropped,
            own_dropped,
        }
    }
}
