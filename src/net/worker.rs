//! One worker: an engine, its sockets, and the way of bytes between them.
//!
//! Everything here runs on one thread and nothing waits: the tasks in [`super::tasks`] wait and call in. Here is what
//! comes in; `act` does what the engine makes of it, `connections` is about streams, and `datagrams` about those that
//! need something taken off first.

mod act;
mod connections;
mod datagrams;

use super::NetSettings;
use super::backlog::Backlog;
use super::clock::Clock;
use super::control::Order;
use super::dtls::{Arrival, Associations};
use super::icmp;
use super::mailbox::{Inbox, Post};
use super::outbox::{Exit, Outbox};
use super::pace::Pace;
use super::receiver::{Receiver, SLOTS};
use super::refusals::Refusals;
use super::relay_set::RelaySet;
use super::report::Reporter;
use super::tasks::{Alarm, Left};
use super::tcp_relay::{PeerSockets, TcpRelays};
use crate::engine::counters::ConnectionRefusal;
use crate::engine::{ClientPath, Engine, FiveTuple, Link, Now, REPLY_LENGTH, RelayId, Transport};
use connections::Connection;
use ipnet::IpNet;
use slab::Slab;
use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;
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

pub(super) struct Worker {
    receiver: Receiver,
    inbox: Inbox,
    /// What connections read into, one at a time.
    read_buffer: Vec<u8>,
    core: Core,
}

/// The worker without its incoming buffers, so that those can be read while it works.
pub(super) struct Core {
    engine: Engine,
    clock: Clock,
    settings: Arc<NetSettings>,
    listeners: Vec<Listener>,
    /// Of each listener.
    backlogs: Vec<Backlog>,
    relays: RelaySet,
    pace: Arc<Pace>,
    tcp: TcpRelays,
    connections: Slab<Connection>,
    dtls: Option<Associations>,
    outbox: Outbox,
    post: Post,
    reporter: Reporter,
    refusals: Refusals,
    reply: Vec<u8>,
    /// How much media was from or for clients on streams since [`Core::finish`].
    of_streams: usize,
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
        relays: RelaySet,
        (post, inbox): (Post, Inbox),
        peer_sockets: Arc<PeerSockets>,
    ) -> Self {
        let pace = Arc::new(Pace::new(settings.rest, settings.stream.rest));
        let dtls = settings
            .dtls
            .clone()
            .map(|dtls| Associations::new(dtls, engine.counters().clone()));
        Worker {
            receiver: Receiver::new(),
            inbox,
            read_buffer: Vec::new(),
            core: Core {
                engine,
                clock,
                settings,
                backlogs: vec![Backlog::default(); listeners.len()],
                listeners,
                relays,
                pace,
                tcp: TcpRelays::new(peer_sockets),
                connections: Slab::new(),
                dtls,
                outbox: Outbox::new(),
                post,
                reporter: Reporter::new(),
                refusals: Refusals::default(),
                reply: vec![0; REPLY_LENGTH],
                of_streams: 0,
                timer: Rc::default(),
                armed: None,
            },
        }
    }

    /// Ends what it has, after a failure: its allocations are told of as any others, and nothing is sent any more.
    pub fn give_up(&mut self) {
        let now = self.core.clock.now();
        self.core.outbox = Outbox::new();
        self.core.engine.abandon(now);
        self.core.handle_events(self.receiver.memory());
    }

    /// What outlives it.
    pub fn into_sockets(self) -> (Vec<Listener>, (Post, Inbox)) {
        (self.core.listeners, (self.core.post, self.inbox))
    }

    /// What starts tasks of which the worker learns if they panic.
    pub fn alarm(&self) -> Alarm {
        self.core.tcp.alarm.clone()
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

    pub fn pace(&self) -> Arc<Pace> {
        self.core.pace.clone()
    }

    pub fn settings(&self) -> Arc<NetSettings> {
        self.core.settings.clone()
    }

    /// Notes that a connection was closed as soon as it came in.
    pub fn connection_refused(&mut self, client: SocketAddr, refusal: ConnectionRefusal) {
        let now = self.core.clock.now();
        self.core.engine.counters().connection_refused(refusal);
        self.core.refusals.connection(now, client, refusal);
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

    /// Reads a batch from a listener.
    pub fn serve_listener(&mut self, index: usize) -> Left {
        let Worker { receiver, core, .. } = self;
        receiver.clear();
        let Some(listener) = core.listeners.get(index) else {
            return Left::Nothing;
        };
        let (address, is_dtls) = (listener.address, listener.is_dtls);
        let more = match receiver.receive(&listener.socket, SLOTS) {
            Ok(more) => more,
            Err(error) => {
                core.reporter.receive_failed("listener", &error);
                return Left::Failed;
            }
        };
        core.pace
            .took(receiver.received().len(), receiver.datagrams());
        let now = core.clock.now();
        if let Some(backlog) = core.backlogs.get_mut(index) {
            let few = backlog.took(now.instant, more);
            core.engine.limit_strangers(few);
        }
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
        more.into()
    }

    /// Reads from the relays that have something.
    pub fn serve_relays(&mut self) -> Left {
        let Worker { receiver, core, .. } = self;
        let (ready, is_full) = match core.relays.poll() {
            Ok(ready) => ready,
            Err(error) => {
                core.reporter.receive_failed("relay set", &error);
                return Left::Failed;
            }
        };
        receiver.clear();
        let now = core.clock.now();
        for place in 0..ready {
            let (relay, has_error) = core.relays.ready(place);
            let mut is_left = has_error && core.serve_errors(now, relay, receiver.memory());
            let has_error = is_left;
            if receiver.room() == 0 {
                core.finish(receiver.memory());
                receiver.clear();
            }
            let Some(socket) = core.relays.get(relay) else {
                continue;
            };
            match receiver.receive(socket, RELAY_SHARE) {
                Ok(more) => is_left |= more,
                Err(error) => {
                    // An ICMP error told in place of a packet is read from the error queue next time.
                    if !is_icmp(&error) {
                        core.reporter.receive_failed("relay", &error);
                    }
                    is_left = true;
                }
            }
            if is_left {
                core.relays.leave(relay, has_error);
            }
            core.pace
                .took(receiver.received().len(), receiver.datagrams());
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
        (is_full || core.relays.has_left()).into()
    }

    /// Takes what other workers sent; whether there was anything.
    pub fn serve_inbox(&mut self) -> bool {
        let Worker {
            receiver,
            core,
            inbox,
            ..
        } = self;
        let now = core.clock.now();
        let mut any = false;
        for _ in 0..INBOX_SHARE {
            let Some(parcel) = inbox.next_letter() else {
                break;
            };
            core.take_letter(now, parcel, receiver.memory());
            any = true;
        }
        any |= inbox.take(INBOX_SHARE, |delivery, payload| {
            let outcome = core.engine.from_worker(now, delivery, 0..payload.len());
            let input = Input::other(receiver.memory(), payload);
            core.act(now, None, input, outcome);
        });
        core.finish(receiver.memory());
        any
    }

    /// Does what an operator wants.
    pub fn serve_order(&mut self, order: Order) {
        let Worker { receiver, core, .. } = self;
        match order {
            Order::Engine(what) => what(core.clock.now(), &mut core.engine),
            Order::Refusals(answer) => {
                // Whoever asked may have gone.
                let _ = answer.send(core.refusals.list());
            }
            Order::Settings(settings) => {
                core.pace.set_rests(settings.rest, settings.stream.rest);
                core.settings = settings;
            }
        }
        core.finish(receiver.memory());
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
    fn next_deadline(&self) -> Option<crate::engine::Instant> {
        let dtls = self.dtls.as_ref().and_then(Associations::next_deadline);
        match (self.engine.next_deadline(), dtls) {
            (Some(engine), Some(dtls)) => Some(engine.min(dtls)),
            (engine, dtls) => engine.or(dtls),
        }
    }

    fn serve_client(&mut self, now: Now, client: &ClientPath, input: Input<'_>) {
        let outcome = self
            .engine
            .from_client(now, client, input.bytes, &mut self.reply[..]);
        self.act(now, Some(client), input, outcome);
    }

    /// Tells the client of a relay about ICMP errors; whether there may be more.
    fn serve_errors(&mut self, now: Now, relay: RelayId, received: &[u8]) -> bool {
        let nothing = Input::other(received, &[]);
        for _ in 0..ERRORS_SHARE {
            let Some((peer, error)) = self.relays.get(relay).and_then(icmp::next_error) else {
                return false;
            };
            let outcome = self.engine.from_icmp(now, relay, peer, error);
            self.act(now, None, nothing, outcome);
        }
        true
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
        if self.of_streams > 0 {
            self.pace
                .were_of_streams(std::mem::take(&mut self.of_streams));
        }
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
