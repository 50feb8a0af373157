//! What a worker tells the log: one line for an allocation opened, moved or closed, failures a few a minute.

use crate::engine::outcome::AuthenticationFailed;
use crate::engine::{CloseReason, Closed, Moved, Opened};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Lets a few lines through a minute and counts the others.
#[derive(Debug)]
pub(super) struct Limited {
    lines: u32,
    since: Option<Instant>,
    count: u32,
}

impl Limited {
    /// So many lines a minute.
    pub const fn a_minute(lines: u32) -> Self {
        Limited {
            lines,
            since: None,
            count: 0,
        }
    }

    /// Whether to write a line; how many were kept back since the last one that was written.
    pub fn allow(&mut self) -> Option<u32> {
        let now = Instant::now();
        let mut suppressed = 0;
        if self
            .since
            .is_none_or(|since| now.duration_since(since) >= Duration::from_secs(60))
        {
            suppressed = self.count.saturating_sub(self.lines);
            self.since = Some(now);
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        (self.count <= self.lines).then_some(suppressed)
    }
}

/// The log's memory of a worker.
#[derive(Debug)]
pub(super) struct Reporter {
    failures: Limited,
    sockets: Limited,
    accept: Limited,
    receive: Limited,
}

impl Reporter {
    pub const fn new() -> Self {
        Reporter {
            failures: Limited::a_minute(20),
            sockets: Limited::a_minute(1),
            accept: Limited::a_minute(1),
            receive: Limited::a_minute(1),
        }
    }

    pub fn opened(&self, opened: &Opened) {
        info!(
            allocation = %opened.id,
            user = ?opened.user,
            client = %opened.client.tuple.client(),
            server = %opened.client.tuple.server(),
            transport = opened.client.tuple.transport().name(),
            relayed = %opened.relayed,
            lifetime_seconds = opened.lifetime.as_secs(),
            "allocation opened"
        );
    }

    pub fn moved(&self, moved: &Moved) {
        info!(
            allocation = %moved.id,
            user = ?moved.user,
            former_client = %moved.from.client(),
            former_transport = moved.from.transport().name(),
            client = %moved.to.tuple.client(),
            server = %moved.to.tuple.server(),
            transport = moved.to.tuple.transport().name(),
            "allocation moved"
        );
    }

    pub fn closed(&self, closed: &Closed) {
        if closed.reason == CloseReason::Scanning {
            warn!(
                allocation = %closed.id,
                user = ?closed.user,
                client = %closed.client.tuple.client(),
                "an allocation asked for so many new peers that it was ended: is its user scanning?"
            );
        }
        info!(
            allocation = %closed.id,
            user = ?closed.user,
            client = %closed.client.tuple.client(),
            server = %closed.client.tuple.server(),
            transport = closed.client.tuple.transport().name(),
            relayed = %closed.relayed,
            packets_to_peers = closed.usage.packets_to_peers,
            bytes_to_peers = closed.usage.bytes_to_peers,
            packets_to_client = closed.usage.packets_to_client,
            bytes_to_client = closed.usage.bytes_to_client,
            duration_seconds = closed.duration.as_secs_f64(),
            reason = closed.reason.name(),
            "allocation closed"
        );
    }

    pub fn authentication_failed(&mut self, failed: &AuthenticationFailed) {
        if let Some(suppressed) = self.failures.allow() {
            warn!(
                client = %failed.client.client(),
                transport = failed.client.transport().name(),
                user = ?failed.user,
                reason = failed.reason.name(),
                suppressed,
                "authentication failed"
            );
        }
    }

    pub fn no_relay_socket(&mut self, address: std::net::SocketAddr, error: &std::io::Error) {
        if let Some(suppressed) = self.sockets.allow() {
            warn!(%address, %error, suppressed, "no socket for a relay: clients are told 508");
        }
    }

    pub fn accept_failed(&mut self, error: &std::io::Error) {
        if let Some(suppressed) = self.accept.allow() {
            warn!(%error, suppressed, "a connection could not be accepted");
        }
    }

    pub fn receive_failed(&mut self, what: &str, error: &std::io::Error) {
        if let Some(suppressed) = self.receive.allow() {
            warn!(%error, suppressed, "receiving from a {what} failed");
        }
    }
}
