//! One worker: an engine, its sockets, and the way of bytes between them.
//!
//! Everything here runs on one thread and nothing waits: the tasks in [`super::tasks`] wait and call in.

use super::NetSettings;
use super::clock::Clock;
use super::dtls::{Arrival, Associations, Moment};
use super::icmp;
use super::mailbox::{Inbox, Post};
use super::outbox::{Datagram, Exit, Outbox, Payload};
use super::proxy;
use super::receiver::{Receiver, SLOTS};
use super::relay_set::RelaySet;
use super::report::Reporter;
use super::send_queue::SendQueue;
use super::tcp_relay::{PeerSockets, TcpRelays};
use crate::engine::counters::DropReason;
use crate::engine::{
    ClientPath, ConnectError, ConnectionId, Counters, Engine, Event, FiveTuple, Link, Now,
    OpenRelay, Outcome, REPLY_LENGTH, RelayError, RelayId, RelayProtocol, TcpConnection, ToClient,
    Transport,
};
use crate::wire::proxy_protocol::Origin;
use ipnet::IpNet;
use slab::Slab;
use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// How many messages are read from one relay before the next has its turn.
const RELAY_SHARE: usize = 8;

/// How many ICMP errors are read from one relay before the next has its turn.
const ERRORS_SHARE: usize = 32;

/// How many payloads are taken from one other worker before clients have their turn.
const INBOX_SHARE: usize = 64;

/// A UDP listener's socket of this worker.
pub(super) struct Listener {
    pub socket: UdpSocket,
    pub address: SocketAddr,
    /// The proxies whose PROXY header each datagram has to start with; empty for none.
    pub proxies: Vec<IpNet>,
    /// Whether datagrams belong to DTLS associations.
    pub is_dtls: bool,
}

/// What a stream connection's task and the worker share.
pub(super) struct Connection {
    pub queue: SendQueue,
    /// Told when there is something to write.
    pub wake: Rc<Notify>,
    /// Set when the connection cannot go on.
    pub broken: bool,
    /// The connection with a peer whose bytes it carries from here on.
    pub bound: Option<ConnectionId>,
}

impl Connection {
    fn push_answer(&mut self, bytes: &[u8]) {
        self.broken |= !self.queue.push_answer(bytes);
        self.wake.notify_one();
    }
}

pub(super) struct Worker {
    receiver: Receiver,
    inbox: Inbox,
    core: Core,
}

/// The worker without its incoming buffers, so that those can be read while it works.
pub(super) struct Core {
    engine: Engine,
    clock: Clock,
    settings: Arc<NetSettings>,
    listeners: Vec<Listener>,
    relays: RelaySet,
    tcp: TcpRelays,
    connections: Slab<Connection>,
    dtls: Option<Associations>,
    outbox: Outbox,
    post: Post,
    reporter: Reporter,
    reply: Box<[u8; REPLY_LENGTH]>,
    /// Told when the next deadline came nearer.
    timer: Rc<Notify>,
    armed: Option<crate::engine::Instant>,
}

/// Bytes that came in, and where they stand in the receiver's memory if they do.
#[derive(Clone, Copy)]
struct Input<'a> {
    bytes: &'a [u8],
    at: Option<usize>,
    /// The receiver's memory, which what was collected before may still be in.
    memory: &'a [u8],
}

impl<'a> Input<'a> {
    /// A datagram in the receiver's memory.
    fn received(memory: &'a [u8], range: Range<usize>) -> Self {
        Input {
            at: Some(range.start),
            bytes: &memory[range],
            memory,
        }
    }

    /// Bytes from elsewhere.
    const fn other(memory: &'a [u8], bytes: &'a [u8]) -> Self {
        Input {
            bytes,
            at: None,
            memory,
        }
    }
}

impl Worker {
    pub fn new(
        engine: Engine,
        clock: Clock,
        settings: Arc<NetSettings>,
        listeners: Vec<Listener>,
        (post, inbox): (Post, Inbox),
        peer_sockets: Arc<PeerSockets>,
    ) -> io::Result<Self> {
        let dtls = settings
            .dtls
            .clone()
            .map(|dtls| Associations::new(dtls, engine.counters().clone()));
        Ok(Worker {
            receiver: Receiver::new(),
            inbox,
            core: Core {
                engine,
                clock,
                settings,
                listeners,
                relays: RelaySet::new()?,
                tcp: TcpRelays::new(peer_sockets),
                connections: Slab::new(),
                dtls,
                outbox: Outbox::new(),
                post,
                reporter: Reporter::new(),
                reply: Box::new([0; REPLY_LENGTH]),
                timer: Rc::default(),
                armed: None,
            },
        })
    }

    /// Names the worker itself for tasks that it starts.
    pub fn attach(&mut self, myself: Weak<RefCell<Worker>>) {
        self.core.tcp.attach(myself);
    }

    pub fn listener(&self, index: usize) -> Option<&Listener> {
        self.core.listeners.get(index)
    }

    pub fn relay_descriptor(&self) -> io::Result<OwnedFd> {
        self.core.relays.descriptor()
    }

    pub fn inbox_wake(&self) -> Arc<Notify> {
        self.inbox.wake.clone()
    }

    pub fn timer_wake(&self) -> Rc<Notify> {
        self.core.timer.clone()
    }

    pub fn settings(&self) -> Arc<NetSettings> {
        self.core.settings.clone()
    }

    pub fn reporter(&mut self) -> &mut Reporter {
        &mut self.core.reporter
    }

    /// When [`Worker::handle_timeout`] is to be called next.
    pub fn next_deadline(&mut self) -> Option<std::time::Instant> {
        self.core.armed = self.core.next_deadline();
        self.core.armed.map(|at| self.core.clock.system(at))
    }

    pub fn handle_timeout(&mut self) {
        let now = self.core.clock.now();
        self.core.engine.handle_timeout(now);
        self.core.dtls_timeout(now);
        self.core.finish(self.receiver.memory());
    }

    pub fn shut_down(&mut self) {
        let now = self.core.clock.now();
        self.core.engine.shut_down(now);
        if let Some(dtls) = &mut self.core.dtls {
            dtls.shut_down();
        }
        self.core.end_associations(now);
        self.core.finish(self.receiver.memory());
    }

    /// Reads a batch from a listener; whether there may be more.
    pub fn serve_listener(&mut self, index: usize) -> bool {
        let Worker { receiver, core, .. } = self;
        receiver.clear();
        let Some(listener) = core.listeners.get(index) else {
            return false;
        };
        let (address, is_dtls) = (listener.address, listener.is_dtls);
        let more = match receiver.receive(&listener.socket, SLOTS) {
            Ok(more) => more,
            Err(error) => {
                core.reporter.receive_failed("listener", &error);
                return error.kind() == io::ErrorKind::Interrupted;
            }
        };
        let now = core.clock.now();
        let memory = receiver.memory();
        for message in receiver.received() {
            let ip = message.to.unwrap_or(address.ip());
            let server = SocketAddr::new(ip, address.port());
            if is_dtls {
                let arrival = Arrival {
                    tuple: FiveTuple::new(message.from, server, Transport::Dtls),
                    listener: index as u32,
                    from: message.to,
                };
                for range in message.datagrams() {
                    core.serve_dtls(now, &arrival, &memory[range], memory);
                }
                continue;
            }
            let client = ClientPath {
                tuple: FiveTuple::new(message.from, server, Transport::Udp),
                link: Link::Datagram(index as u32),
            };
            let is_proxied = core.is_proxied(index);
            for range in message.datagrams() {
                let input = Input::received(memory, range);
                if is_proxied {
                    core.serve_proxied(now, index, &client.tuple, input);
                } else {
                    core.serve_client(now, &client, input);
                }
            }
        }
        core.finish(memory);
        more
    }

    /// Reads from the relays that have something; whether there may be more.
    pub fn serve_relays(&mut self) -> bool {
        let Worker { receiver, core, .. } = self;
        let ready = match core.relays.poll() {
            Ok(ready) => ready,
            Err(error) => {
                core.reporter.receive_failed("relay set", &error);
                return error.kind() == io::ErrorKind::Interrupted;
            }
        };
        receiver.clear();
        let now = core.clock.now();
        for place in 0..ready {
            let (relay, has_error) = core.relays.ready(place);
            if has_error {
                core.serve_errors(now, relay, receiver.memory());
            }
            if receiver.room() == 0 {
                core.finish(receiver.memory());
                receiver.clear();
            }
            let Some(socket) = core.relays.get(relay) else {
                continue;
            };
            if let Err(error) = receiver.receive(socket, RELAY_SHARE) {
                // An ICMP error told in place of a packet is read from the error queue next time.
                if !is_icmp(&error) {
                    core.reporter.receive_failed("relay", &error);
                }
                continue;
            }
            let memory = receiver.memory();
            for message in receiver.received() {
                for range in message.datagrams() {
                    let input = Input::received(memory, range.clone());
                    let outcome = core
                        .engine
                        .from_peer(now, relay, message.from, 0..range.len());
                    core.act(now, None, input, outcome);
                }
            }
        }
        core.finish(receiver.memory());
        ready > 0
    }

    /// Takes what other workers sent; whether there was anything.
    pub fn serve_inbox(&mut self) -> bool {
        let Worker {
            receiver,
            core,
            inbox,
        } = self;
        let now = core.clock.now();
        let any = inbox.take(INBOX_SHARE, |delivery, payload| {
            let outcome = core.engine.from_worker(now, delivery, 0..payload.len());
            let input = Input::other(receiver.memory(), payload);
            core.act(now, None, input, outcome);
        });
        core.finish(receiver.memory());
        any
    }

    /// Takes a connection in; its number.
    pub fn connection_opened(&mut self, transport: Transport) -> (u32, Rc<Notify>) {
        let core = &mut self.core;
        core.engine.counters().connections(transport).opened.add(1);
        let wake = Rc::new(Notify::new());
        let number = core.connections.insert(Connection {
            queue: SendQueue::new(
                core.settings.stream.send_buffer,
                core.settings.stream.max_queue_age,
            ),
            wake: wake.clone(),
            broken: false,
            bound: None,
        });
        (number as u32, wake)
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

    /// Takes the frames of a stream, one by one; what they lead to is sent by [`Worker::finish`]. Names the connection
    /// with a peer that all further bytes are for, once there is one.
    pub fn take_frame(&mut self, client: &ClientPath, frame: &[u8]) -> Option<ConnectionId> {
        let now = self.core.clock.now();
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

    /// The channel numbers that frames may have.
    pub fn channels(&self) -> crate::wire::ChannelRange {
        self.core.engine.channels()
    }

    /// Whether the client has an allocation.
    pub fn has_allocation(&self, client: &ClientPath) -> bool {
        self.core.engine.has_allocation(&client.tuple)
    }

    /// Sends what was collected.
    pub fn finish(&mut self) {
        self.core.finish(self.receiver.memory());
    }
}

/// Whether an error is one that an ICMP message about an earlier datagram caused.
fn is_icmp(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::PermissionDenied
    ) || matches!(
        error.raw_os_error(),
        Some(libc::EPROTO | libc::ENOPROTOOPT | libc::EHOSTDOWN | libc::EMSGSIZE)
    )
}

impl Core {
    fn is_proxied(&self, index: usize) -> bool {
        self.listeners
            .get(index)
            .is_some_and(|listener| !listener.proxies.is_empty())
    }

    /// Takes a datagram with a PROXY header. The client is whom the header names; answers go back the way the datagram
    /// came, without a header.
    fn serve_proxied(&mut self, now: Now, index: usize, seen: &FiveTuple, input: Input<'_>) {
        let Some(listener) = self.listeners.get(index) else {
            return;
        };
        let header = match proxy::datagram(&listener.proxies, seen.client(), input.bytes) {
            Ok(header) => header,
            Err(reason) => return self.engine.counters().proxy_failure(reason),
        };
        let tuple = match header.origin {
            Origin::Proxied { client, server } => FiveTuple::new(client, server, Transport::Udp),
            Origin::Sender => *seen,
        };
        let client = ClientPath {
            tuple,
            link: Link::Proxied {
                listener: index as u32,
                proxy: seen.client(),
                local: seen.server().ip(),
            },
        };
        let input = Input {
            bytes: &input.bytes[header.length..],
            at: input.at.map(|at| at + header.length),
            memory: input.memory,
        };
        self.serve_client(now, &client, input);
    }

    fn next_deadline(&self) -> Option<crate::engine::Instant> {
        let dtls = self.dtls.as_ref().and_then(Associations::next_deadline);
        match (self.engine.next_deadline(), dtls) {
            (Some(engine), Some(dtls)) => Some(engine.min(dtls)),
            (engine, dtls) => engine.or(dtls),
        }
    }

    fn moment(&self, now: Now) -> Moment {
        Moment {
            now: now.instant,
            system: self.clock.system(now.instant),
        }
    }

    /// Takes a datagram of a DTLS listener: what is in it for the engine, the engine gets.
    fn serve_dtls(&mut self, now: Now, arrival: &Arrival, datagram: &[u8], memory: &[u8]) {
        let at = self.moment(now);
        let Some(dtls) = &mut self.dtls else {
            return;
        };
        let number = dtls.receive(at, arrival, datagram, &mut self.outbox);
        let plain = dtls.take_plain();
        // What an earlier client of this address had ends before the new one is heard.
        self.end_replaced(now);
        if let Some(number) = number {
            let client = ClientPath {
                tuple: arrival.tuple,
                link: Link::Dtls(number),
            };
            for bytes in plain.datagrams() {
                self.serve_client(now, &client, Input::other(memory, bytes));
            }
        }
        if let Some(dtls) = &mut self.dtls {
            dtls.give_back(plain);
        }
        self.end_associations(now);
    }

    fn dtls_timeout(&mut self, now: Now) {
        let at = self.moment(now);
        let Some(dtls) = &mut self.dtls else {
            return;
        };
        let engine = &self.engine;
        dtls.handle_timeout(at, |tuple| engine.has_allocation(tuple), &mut self.outbox);
        self.end_associations(now);
    }

    /// Ends the allocations of associations that gave way to new ones.
    fn end_replaced(&mut self, now: Now) {
        while let Some(tuple) = self.dtls.as_mut().and_then(Associations::next_gone) {
            self.engine.client_gone(now, &tuple);
        }
    }

    /// Ends associations that are over, and their allocations.
    fn end_associations(&mut self, now: Now) {
        let at = self.moment(now);
        if let Some(dtls) = &mut self.dtls {
            dtls.end(at, &mut self.outbox);
            self.end_replaced(now);
        }
    }

    fn serve_client(&mut self, now: Now, client: &ClientPath, input: Input<'_>) {
        let outcome = self
            .engine
            .from_client(now, client, input.bytes, &mut self.reply[..]);
        self.act(now, Some(client), input, outcome);
    }

    /// Tells the client of a relay about ICMP errors.
    fn serve_errors(&mut self, now: Now, relay: RelayId, received: &[u8]) {
        let nothing = Input::other(received, &[]);
        for _ in 0..ERRORS_SHARE {
            let Some((peer, error)) = self.relays.get(relay).and_then(icmp::next_error) else {
                return;
            };
            let outcome = self.engine.from_icmp(now, relay, peer, error);
            self.act(now, None, nothing, outcome);
        }
    }

    /// Does what an outcome says, after the events that came with it.
    fn act(&mut self, now: Now, client: Option<&ClientPath>, input: Input<'_>, outcome: Outcome) {
        let mut outcome = outcome;
        loop {
            self.handle_events(input.memory);
            match outcome {
                Outcome::Nothing => {}
                Outcome::Reply(length) => {
                    if let Some(client) = client {
                        self.answer(now, client, length);
                    }
                }
                Outcome::ReplyFrom { from, to, length } => self.answer_from(from, to, length),
                Outcome::ToPeer {
                    relay,
                    peer,
                    payload,
                    dont_fragment,
                } => {
                    let payload = self.payload(input, payload);
                    self.outbox.push(Datagram {
                        exit: Exit::Relay(relay.0),
                        to: peer,
                        from: None,
                        header: None,
                        payload,
                        padding: 0,
                        dont_fragment,
                    });
                }
                Outcome::ToClient(delivery) => self.deliver(now, delivery, input),
                Outcome::ToWorker(forward) => {
                    let payload = &input.bytes[forward.payload];
                    if !self.post.put(forward.worker, &forward.delivery, payload) {
                        self.engine.counters().dropped(DropReason::WorkerBusy);
                    }
                }
                Outcome::OpenRelay(open) => {
                    let result = self.open_relay(&open);
                    outcome =
                        self.engine
                            .relay_opened(now, open.ticket, result, &mut self.reply[..]);
                    continue;
                }
            }
            return;
        }
    }

    fn open_relay(&mut self, open: &OpenRelay) -> Result<(), RelayError> {
        let buffers = self.settings.relay_buffers;
        let opened = match open.protocol {
            RelayProtocol::Udp => self.relays.open(open.relay, open.address, buffers),
            RelayProtocol::Tcp => self.tcp.open(open.relay, open.address),
        };
        opened.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => RelayError::PortInUse,
            _ => {
                self.reporter.no_relay_socket(open.address, &error);
                RelayError::Unavailable
            }
        })
    }

    fn payload(&mut self, input: Input<'_>, range: Range<usize>) -> Payload {
        match input.at {
            Some(at) => Payload::Received(at + range.start..at + range.end),
            None => self.outbox.keep(&input.bytes[range]),
        }
    }

    fn answer(&mut self, now: Now, client: &ClientPath, length: usize) {
        let bytes = &self.reply[..length];
        match client.link {
            Link::Datagram(_) | Link::Proxied { .. } => {
                let payload = self.outbox.keep(bytes);
                self.send_to_client(client.link, &client.tuple, None, payload, 0);
            }
            Link::Dtls(number) => {
                let at = self.moment(now);
                if let Some(dtls) = &mut self.dtls {
                    let parts = [&self.reply[..length], &[], &[]];
                    dtls.send(at, number, parts, &mut self.outbox);
                }
            }
            Link::Stream(number) => {
                if let Some(connection) = self.connections.get_mut(number as usize) {
                    connection.push_answer(bytes);
                }
            }
        }
    }

    /// Answers from the listener on an address, or from the wildcard one of its port.
    fn answer_from(&mut self, from: SocketAddr, to: SocketAddr, length: usize) {
        let listening = |at: SocketAddr| self.listeners.iter().position(|l| l.address == at);
        let any = match from.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let own = listening(from);
        let Some(index) = own.or_else(|| listening(SocketAddr::new(any, from.port()))) else {
            return self.engine.counters().dropped(DropReason::SendFailed);
        };
        let payload = self.outbox.keep(&self.reply[..length]);
        self.outbox.push(Datagram {
            exit: Exit::Listener(index as u32),
            to,
            from: own.is_none().then_some(from.ip()),
            header: None,
            payload,
            padding: 0,
            dont_fragment: false,
        });
    }

    fn deliver(&mut self, now: Now, delivery: ToClient, input: Input<'_>) {
        match delivery.link {
            Link::Datagram(_) | Link::Proxied { .. } => {
                let payload = self.payload(input, delivery.payload);
                self.send_to_client(
                    delivery.link,
                    &delivery.tuple,
                    Some(delivery.header),
                    payload,
                    delivery.padding,
                );
            }
            Link::Dtls(number) => {
                let at = self.moment(now);
                if let Some(dtls) = &mut self.dtls {
                    let parts = [
                        delivery.header.as_bytes(),
                        &input.bytes[delivery.payload],
                        &[0; 3][..usize::from(delivery.padding)],
                    ];
                    dtls.send(at, number, parts, &mut self.outbox);
                }
            }
            Link::Stream(number) => {
                if let Some(connection) = self.connections.get_mut(number as usize) {
                    let parts = [
                        delivery.header.as_bytes(),
                        &input.bytes[delivery.payload],
                        &[0; 3][..usize::from(delivery.padding)],
                    ];
                    let dropped = connection.queue.push_media(now.instant, parts);
                    if dropped > 0 {
                        let counters = self.engine.counters();
                        counters.dropped_many(DropReason::SlowClient, dropped);
                    }
                    connection.wake.notify_one();
                }
            }
        }
    }

    fn send_to_client(
        &mut self,
        link: Link,
        tuple: &FiveTuple,
        header: Option<crate::engine::Header>,
        payload: Payload,
        padding: u8,
    ) {
        let (index, to, from) = match link {
            Link::Datagram(index) => (index, tuple.client(), tuple.server().ip()),
            Link::Proxied {
                listener,
                proxy,
                local,
            } => (listener, proxy, local),
            Link::Stream(_) | Link::Dtls(_) => return,
        };
        let is_wildcard = self
            .listeners
            .get(index as usize)
            .is_some_and(|listener| listener.address.ip().is_unspecified());
        self.outbox.push(Datagram {
            exit: Exit::Listener(index),
            to,
            from: is_wildcard.then_some(from),
            header,
            payload,
            padding,
            dont_fragment: false,
        });
    }

    fn stream_of(&mut self, client: &ClientPath) -> Option<&mut Connection> {
        match client.link {
            Link::Stream(number) => self.connections.get_mut(number as usize),
            Link::Datagram(_) | Link::Proxied { .. } | Link::Dtls(_) => None,
        }
    }

    fn handle_events(&mut self, received: &[u8]) {
        while let Some(event) = self.engine.next_event() {
            match event {
                Event::CloseRelay(relay) => {
                    // What the client sent before still leaves from this relay, and never from the one that gets its
                    // number next.
                    if self.outbox.uses(Exit::Relay(relay.0)) {
                        self.flush(received);
                    }
                    self.relays.close(relay);
                    self.tcp.close(relay);
                }
                Event::Connect(connect) => self.tcp.connect(connect),
                Event::CloseConnection(id) => self.tcp.sockets.close(id),
                Event::Bound(bound) => {
                    if let Some(connection) = self.stream_of(&bound.client) {
                        connection.bound = Some(bound.connection);
                    }
                }
                Event::Tell(message) => {
                    if let Some(connection) = self.stream_of(&message.client) {
                        connection.push_answer(&message.bytes);
                    }
                }
                Event::Opened(opened) => self.reporter.opened(&opened),
                Event::Closed(closed) => self.reporter.closed(&closed),
                Event::AuthenticationFailed(failed) => self.reporter.authentication_failed(&failed),
                // There is no second data plane that would listen.
                Event::RouteAdded(_) | Event::RouteRemoved(_) => {}
            }
        }
    }

    /// Sends what was collected, wakes who got something, and moves the timer if need be.
    fn finish(&mut self, received: &[u8]) {
        if self.dtls.as_ref().is_some_and(Associations::has_ending) {
            let now = self.clock.now();
            self.end_associations(now);
        }
        self.handle_events(received);
        self.flush(received);
        self.post.dispatch();
        let next = self.next_deadline();
        if next.is_some() && self.armed.is_none_or(|armed| next < Some(armed)) {
            self.armed = next;
            self.timer.notify_one();
        }
    }

    fn flush(&mut self, received: &[u8]) {
        let (listeners, relays) = (&self.listeners, &self.relays);
        self.outbox.flush(
            received,
            |exit| match exit {
                Exit::Listener(index) => listeners.get(index as usize).map(|l| &l.socket),
                Exit::Relay(relay) => relays.get(RelayId(relay)),
            },
            self.engine.counters(),
        );
    }
}
