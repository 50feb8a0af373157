//! What a connection goes through before its first frame: who it comes from, and whether it speaks TLS.
//!
//! In this order, each only where the listener wants it: the PROXY protocol's header, the first byte, the TLS
//! handshake. All of it shares one time limit, `auth_timeout`, with the client's proof of a credential. Once it is known
//! whose the connection is, the [`ConnectionGate`] is asked for a place. Main type: [`Entrance`].

use super::carrier::Carrier;
use super::connection_gate::ConnectionGate;
use super::proxy;
use super::stream;
use super::tasks::Shared;
use super::tls::{Tls, TlsFailure};
use crate::config::{self, Listener};
use crate::engine::counters::{ProxyFailureReason, TlsFailureReason};
use crate::engine::{FiveTuple, Transport};
use crate::wire::proxy_protocol::Origin;
use ipnet::IpNet;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

/// What every TLS connection starts with: a handshake record. STUN starts with 0 to 3, ChannelData with 0x40 to 0x4F
/// (RFC 7983, section 7).
const HANDSHAKE_RECORD: u8 = 0x16;

/// A stream listener as connections see it.
pub(super) struct Entrance {
    transport: config::Transport,
    address: SocketAddr,
    proxies: Vec<IpNet>,
    tls: Option<Arc<Tls>>,
    gate: Arc<ConnectionGate>,
}

impl Entrance {
    pub fn new(
        listener: &Listener,
        address: SocketAddr,
        tls: Option<Arc<Tls>>,
        gate: Arc<ConnectionGate>,
    ) -> Self {
        Entrance {
            transport: listener.transport,
            address,
            proxies: listener.proxy_protocol_from.clone(),
            tls,
            gate,
        }
    }

    /// Takes a connection from its first byte to its end.
    pub async fn admit(&self, worker: Shared, mut stream: TcpStream, peer: SocketAddr) {
        let opened = Instant::now();
        let patience = worker.borrow().settings().stream.auth_timeout;
        let deadline = opened + patience;
        let server = stream.local_addr().unwrap_or(self.address);
        let (mut client, mut reached) = (peer, server);
        let mut input = Vec::new();
        if !self.proxies.is_empty() {
            let header = proxy::connection(&self.proxies, peer, &mut stream, &mut input);
            let header = timeout_at(deadline, header)
                .await
                .unwrap_or(Err(ProxyFailureReason::Timeout));
            match header {
                Ok(Origin::Proxied { client: c, server }) => (client, reached) = (c, server),
                Ok(Origin::Sender) => {}
                Err(reason) => {
                    worker.borrow().counters().proxy_failure(reason);
                    debug!(%peer, listener = %self.address, reason = reason.name(), "no PROXY header");
                    return;
                }
            }
        }
        let place = match self.gate.enter(client.ip()) {
            Ok((place, limit)) => {
                if let Some(limit) = limit {
                    worker.borrow().counters().connection_refused(limit);
                }
                place
            }
            Err(limit) => {
                worker.borrow_mut().connection_refused(client, limit);
                debug!(%client, listener = %self.address, limit = limit.name(), "too many connections");
                return;
            }
        };
        let leave = place.leave();
        let is_tls = match self.transport {
            config::Transport::Udp | config::Transport::Dtls | config::Transport::Tcp => false,
            config::Transport::Tls => true,
            config::Transport::Auto => {
                let byte = timeout_at(deadline, first_byte(&mut stream, &mut input));
                let byte = tokio::select! {
                    byte = byte => byte.ok().flatten(),
                    () = leave.notified() => None,
                };
                match byte {
                    Some(byte) => byte == HANDSHAKE_RECORD,
                    // It never said what it is.
                    None => return,
                }
            }
        };
        let Some(tls) = self.tls.as_ref().filter(|_| is_tls) else {
            let tuple = FiveTuple::new(client, reached, Transport::Tcp);
            let carrier = Carrier::Tcp(stream);
            return stream::serve(worker, carrier, tuple, input, (opened, place)).await;
        };
        let handshake = tokio::select! {
            handshake = timeout_at(deadline, tls.accept(stream, input)) => handshake.ok(),
            () = leave.notified() => None,
        };
        let handshake = handshake.unwrap_or(Err(TlsFailure {
            reason: TlsFailureReason::Timeout,
            error: None,
        }));
        match handshake {
            Ok(None) => {
                debug!(%client, listener = %self.address, "an authority saw the proof of a name")
            }
            Ok(Some(stream)) => {
                let tuple = FiveTuple::new(client, reached, Transport::Tls);
                let carrier = Carrier::Tls(Box::new(stream));
                stream::serve(worker, carrier, tuple, Vec::new(), (opened, place)).await;
            }
            Err(TlsFailure { reason, error }) => {
                worker.borrow().counters().tls_failure(reason);
                let error = error.map(tracing::field::display);
                debug!(%client, listener = %self.address, reason = reason.name(), error, "no TLS handshake");
            }
        }
    }
}

/// The first byte of a connection, which stays in `input`.
async fn first_byte(stream: &mut TcpStream, input: &mut Vec<u8>) -> Option<u8> {
    while input.is_empty() {
        if stream.read_buf(input).await.ok()? == 0 {
            return None;
        }
    }
    input.first().copied()
}
