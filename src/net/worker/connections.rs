//! The worker's side of stream connections: of clients, and of peers where TCP is relayed.
//!
//! The tasks that read and write them live in [`super::super::stream`] and [`super::super::tcp_relay`].

use super::{Input, Worker};
use crate::engine::counters::{ConnectionRefusal, DropReason};
use crate::engine::{
    ClientPath, ConnectError, ConnectionId, Counters, Link, Now, RelayId, TcpConnection, Transport,
};
use crate::net::nudge::Nudge;
use crate::net::send_queue::SendQueue;
use crate::net::tcp_relay::PeerSockets;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// What a stream connection's task and the worker share.
pub(in crate::net) struct Connection {
    pub queue: SendQueue,
    /// Given when there is something to write.
    pub nudge: Rc<Nudge>,
    /// Set when the connection cannot go on.
    pub broken: bool,
    /// The connection with a peer whose bytes it carries from here on.
    pub bound: Option<ConnectionId>,
}

impl Connection {
    pub(super) fn push_answer(&mut self, bytes: &[u8]) {
        self.broken |= !self.queue.push_answer(bytes);
        self.nudge.give();
    }
}

impl Worker {
    /// Takes a connection in; its number.
    pub fn connection_opened(&mut self, transport: Transport) -> (u32, Rc<Nudge>) {
        let core = &mut self.core;
        core.engine.counters().connections(transport).opened.add(1);
        let nudge = Rc::new(Nudge::default());
        let number = core.connections.insert(Connection {
            queue: SendQueue::new(
                core.settings.stream.send_buffer,
                core.settings.stream.max_queue_age,
            ),
            nudge: nudge.clone(),
            broken: false,
            bound: None,
        });
        (number as u32, nudge)
    }

    /// Forgets a connection and the allocation made on it.
    pub fn connection_closed(&mut self, client: &ClientPath) {
        let core = &mut self.core;
        let now = core.clock.now();
        core.engine.client_gone(now, &client.tuple);
        core.finish(self.receiver.memory());
        if let Link::Stream(number) = client.link {
            core.connections.try_remove(number as usize);
        }
        let counters = core.engine.counters();
        counters.connections(client.tuple.transport()).closed.add(1);
    }

    pub fn connection(&mut self, number: u32) -> Option<&mut Connection> {
        self.core.connections.get_mut(number as usize)
    }

    /// The empty buffer that connections read into.
    pub fn take_read_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.read_buffer)
    }

    /// Gives the buffer to the next connection.
    pub fn give_read_buffer(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.read_buffer = buffer;
    }

    /// Says how many frames a read of a stream brought.
    pub fn frames_taken(&mut self, frames: usize) {
        self.core.pace.took(frames, frames);
        self.core.of_streams += frames;
    }

    /// Takes the frames of a stream, one by one; what they lead to is sent by [`Worker::finish`]. Names the connection
    /// with a peer that all further bytes are for, once there is one.
    pub fn take_frame(
        &mut self,
        now: Now,
        client: &ClientPath,
        frame: &[u8],
    ) -> Option<ConnectionId> {
        let input = Input::other(self.receiver.memory(), frame);
        self.core.serve_client(now, client, input);
        let Link::Stream(number) = client.link else {
            return None;
        };
        self.connection(number)?.bound
    }

    /// Takes the end of an attempt to connect a peer.
    pub fn peer_connected(&mut self, id: ConnectionId, stream: io::Result<TcpStream>) {
        let core = &mut self.core;
        let now = core.clock.now();
        // It is there for the client before the client knows of it.
        let result = stream
            .and_then(TcpStream::into_std)
            .map(|stream| core.tcp.sockets.park(id, stream))
            .map_err(|error| match error.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                    ConnectError::NoSocket
                }
                _ => ConnectError::Failed,
            });
        if !core.engine.peer_connected(now, id, result) {
            core.tcp.sockets.close(id);
        }
        core.finish(self.receiver.memory());
    }

    /// Takes a connection that a peer made to a relay.
    pub fn peer_accepted(&mut self, relay: RelayId, stream: TcpStream, from: SocketAddr) {
        let core = &mut self.core;
        let now = core.clock.now();
        match core.engine.peer_accepted(now, relay, from) {
            Some(id) => match stream.into_std() {
                Ok(stream) => core.tcp.sockets.park(id, stream),
                Err(_) => core.engine.connection_ended(id),
            },
            None => {
                // Refused, as if nobody listened; nor does it linger.
                let socket = socket2::SockRef::from(&stream);
                let _ = socket.set_linger(Some(std::time::Duration::ZERO));
            }
        }
        core.finish(self.receiver.memory());
    }

    /// Forgets a connection with a peer that carries no more bytes.
    pub fn connection_ended(&mut self, id: ConnectionId) {
        self.core.engine.connection_ended(id);
        self.core.tcp.sockets.close(id);
    }

    pub fn sockets(&self) -> &PeerSockets {
        &self.core.tcp.sockets
    }

    pub fn tcp_connection(&self, id: ConnectionId) -> Option<Arc<TcpConnection>> {
        self.core.engine.tcp_connection(id)
    }

    /// What this worker counts.
    pub fn counters(&self) -> &Arc<Counters> {
        self.core.engine.counters()
    }

    /// Counts a stream that cannot be understood.
    pub fn stream_invalid(&mut self) {
        self.core.engine.counters().dropped(DropReason::NotStun);
    }

    /// Counts a connection that asked too much without a credential.
    pub fn stream_exhausted(&mut self) {
        let counters = self.core.engine.counters();
        counters.connection_refused(ConnectionRefusal::Requests);
    }

    /// The channel numbers that frames may have.
    pub fn channels(&self) -> crate::wire::ChannelRange {
        self.core.engine.channels()
    }

    pub fn now(&self) -> Now {
        self.core.clock.now()
    }

    /// How long nothing more is to be read from a client on a stream.
    pub fn reading_pause(&self, now: Now, client: &ClientPath) -> Duration {
        self.core.engine.reading_pause(now, &client.tuple)
    }

    /// The runtime's form of a time.
    pub fn moment_of(&self, now: Now) -> tokio::time::Instant {
        self.core.clock.system(now.instant).into()
    }

    /// Whether the client has an allocation.
    pub fn has_allocation(&self, client: &ClientPath) -> bool {
        self.core.engine.has_allocation(&client.tuple)
    }
}
