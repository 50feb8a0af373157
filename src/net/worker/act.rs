//! What the engine says is to be done, done: by the outbox, a connection's queue, a DTLS association or another worker.

use super::{Connection, Core, Input};
use crate::engine::counters::DropReason;
use crate::engine::{
    ClientPath, Event, FiveTuple, Link, Now, OpenRelay, Outcome, RelayError, RelayId,
    RelayProtocol, ToClient,
};
use crate::net::ledger::Entry;
use crate::net::mailbox::Parcel;
use crate::net::outbox::{Datagram, Exit, Payload};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::time::Instant;

impl Core {
    /// Does what an outcome says, after the events that came with it.
    pub(super) fn act(
        &mut self,
        now: Now,
        client: Option<&ClientPath>,
        input: Input<'_>,
        outcome: Outcome,
    ) {
        let mut outcome = outcome;
        let mut began = None;
        loop {
            self.handle_events(input.memory);
            match outcome {
                Outcome::Nothing => {}
                Outcome::Reply(length) => {
                    if let Some(client) = client {
                        let reply = std::mem::take(&mut self.reply);
                        self.answer(now, client, &reply[..length]);
                        self.reply = reply;
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
                    began.get_or_insert_with(Instant::now);
                    let result = self.open_relay(&open);
                    outcome =
                        self.engine
                            .relay_opened(now, open.ticket, result, &mut self.reply[..]);
                    continue;
                }
            }
            if let Some(began) = began {
                self.engine.counters().set_ups.record(began.elapsed());
            }
            return;
        }
    }

    /// Takes a letter of another worker, with the sockets that are this worker's from here on.
    pub(super) fn take_letter(&mut self, now: Now, parcel: Parcel, received: &[u8]) {
        let arrived = self.engine.from_letter(now, parcel.letter);
        for (relay, socket) in arrived.relays.into_iter().zip(parcel.sockets) {
            let adopted = socket.map_or(Ok(()), |socket| self.relays.adopt(relay, socket));
            if let Err(error) = adopted {
                self.reporter.receive_failed("relay", &error);
            }
        }
        self.handle_events(received);
        for frame in arrived.frames {
            self.serve_client(now, &frame.client, Input::other(received, &frame.bytes));
        }
    }

    fn open_relay(&mut self, open: &OpenRelay) -> Result<(), RelayError> {
        let opened = match open.protocol {
            RelayProtocol::Udp => self.relays.open(open.relay, open.address),
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

    fn answer(&mut self, now: Now, client: &ClientPath, bytes: &[u8]) {
        match client.link {
            Link::Datagram(_) | Link::Proxied { .. } => {
                let payload = self.outbox.keep(bytes);
                self.send_to_client(client.link, &client.tuple, None, payload, 0);
            }
            Link::Dtls(number) => {
                let at = self.moment(now);
                if let Some(dtls) = &mut self.dtls {
                    let parts = [bytes, &[], &[]];
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
                    connection.nudge.give();
                    self.of_streams += 1;
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

    fn note(&self, entry: impl FnOnce() -> Entry) {
        if let Some(ledger) = &self.settings.ledger {
            ledger.put(entry());
        }
    }

    pub(super) fn handle_events(&mut self, received: &[u8]) {
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
                Event::HearPeers(relay) => {
                    let heard = self.relays.hear(relay, self.settings.relay_buffers);
                    if let Err(error) = heard {
                        self.reporter.receive_failed("relay", &error);
                    }
                }
                Event::Connect(connect) => self.tcp.connect(connect),
                Event::CloseConnection(id) => self.tcp.sockets.close(id),
                Event::Bound(bound) => {
                    if let Some(connection) = self.stream_of(&bound.client) {
                        connection.bound = Some(bound.connection);
                    }
                }
                Event::Tell(message) => {
                    self.answer(self.clock.now(), &message.client, &message.bytes);
                }
                Event::Letter(letter) => {
                    let relays: Vec<RelayId> = letter.relays().collect();
                    // What the client sent before leaves before the sockets do.
                    if relays
                        .iter()
                        .any(|relay| self.outbox.uses(Exit::Relay(relay.0)))
                    {
                        self.flush(received);
                    }
                    let sockets = relays
                        .iter()
                        .map(|relay| self.relays.take(*relay))
                        .collect();
                    self.post.put_letter(Parcel { letter, sockets });
                }
                Event::Moved(moved) => {
                    self.reporter.moved(&moved);
                    self.note(|| Entry::Moved(moved));
                }
                Event::Opened(opened) => {
                    self.reporter.opened(&opened);
                    self.note(|| Entry::Opened(opened));
                }
                Event::Closed(closed) => {
                    self.reporter.closed(&closed);
                    self.note(|| Entry::Closed(closed));
                }
                Event::AuthenticationFailed(failed) => {
                    self.reporter.authentication_failed(&failed);
                    self.refusals.authentication(self.clock.now(), &failed);
                }
                Event::Refused(refused) => self.refusals.request(self.clock.now(), &refused),
                // There is no second data plane that would listen.
                Event::RouteAdded(_) | Event::RouteRemoved(_) => {}
            }
        }
    }
}
