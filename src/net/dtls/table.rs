//! The associations of one worker: whose datagram is it, what may be answered, and what time ends.

use super::super::outbox::Outbox;
use super::Dtls;
use super::association::{Arrival, Association, Broken, Moment, Origin, Plain, Progress, Sinks};
use crate::engine::counters::{Counters, DropReason, DtlsHandshake};
use crate::engine::{FiveTuple, Instant};
use crate::wire::client_hello::{
    ClientHello, HelloError, Version, fatal_alert, hello_retry_request, hello_verify_request,
    is_client_hello,
};
use hashbrown::HashTable;
use slab::Slab;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// The largest plaintext of a record (RFC 6347 §4.1.1.1, RFC 9147 §4).
const LARGEST_PLAIN: usize = 16_384;

/// Descriptions of alerts (RFC 8446 §6).
const HANDSHAKE_FAILURE: u8 = 40;
const PROTOCOL_VERSION: u8 = 70;

/// Why an association ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client said so, or it was silent for too long: it is told so.
    Closed,
    /// Its state machine failed, or a new one takes its place.
    Failed,
    /// Its handshake took too long.
    TimedOut,
}

pub(in crate::net) struct Associations {
    dtls: Arc<Dtls>,
    counters: Arc<Counters>,
    slots: Slab<Association>,
    by_tuple: HashTable<u32>,
    hasher: ahash::RandomState,
    timers: BinaryHeap<Reverse<(Instant, u32)>>,
    scratch: Vec<u8>,
    /// What is put together to be encrypted.
    outgoing: Vec<u8>,
    /// What the last datagram contained.
    plain: Plain,
    /// Those that end as soon as what they said is dealt with.
    ending: Vec<(u32, End)>,
    /// The clients of those that have ended.
    gone: Vec<FiveTuple>,
}

impl Associations {
    pub fn new(dtls: Arc<Dtls>, counters: Arc<Counters>) -> Self {
        let [a, b, c, d] = rand::random();
        Associations {
            dtls,
            counters,
            slots: Slab::new(),
            by_tuple: HashTable::new(),
            hasher: ahash::RandomState::with_seeds(a, b, c, d),
            timers: BinaryHeap::new(),
            scratch: Vec::new(),
            outgoing: Vec::new(),
            plain: Plain::default(),
            ending: Vec::new(),
            gone: Vec::new(),
        }
    }

    /// Takes a datagram. What a client said in it is in [`Associations::take_plain`], by the number that comes back.
    pub fn receive(
        &mut self,
        at: Moment,
        arrival: &Arrival,
        datagram: &[u8],
        outbox: &mut Outbox,
    ) -> Option<u32> {
        let known = self.find(&arrival.tuple);
        if is_client_hello(datagram) {
            let hello = match ClientHello::parse(datagram) {
                Ok(hello) => hello,
                Err(error) => {
                    // Known clients too: one that starts again from its port would wait for ever, and others
                    // do not believe an alert in the clear.
                    if error == HelloError::Version {
                        arrival.send(outbox, &fatal_alert(0, PROTOCOL_VERSION));
                    }
                    self.counters.dropped(DropReason::NoAssociation);
                    return None;
                }
            };
            let own = known.filter(|number| {
                let association = self.slots.get(*number as usize);
                association.is_some_and(|association| association.is_own(&hello))
            });
            match own {
                None => return self.greet(at, arrival, &hello, known, datagram.len(), outbox),
                // The first one again, which has been answered.
                Some(_) if hello.cookie.is_empty() => return None,
                Some(_) => {}
            }
        }
        let Some(number) = known else {
            self.counters.dropped(DropReason::NoAssociation);
            return None;
        };
        let (association, mut sinks) = self.with_sinks(number, outbox)?;
        // A forged datagram is no sign of life, but to forge one takes knowing the 5-tuple. Strangers win no time by
        // talking.
        if association.is_proved || association.place.is_half_open() {
            association.heard = at.now;
        }
        let progress = association.take(at, datagram, &mut sinks);
        self.went_on(at, number, progress);
        Some(number)
    }

    /// Answers a ClientHello that belongs to no association.
    fn greet(
        &mut self,
        at: Moment,
        arrival: &Arrival,
        hello: &ClientHello<'_>,
        known: Option<u32>,
        length: usize,
        outbox: &mut Outbox,
    ) -> Option<u32> {
        let Some((first, cookie)) = self.dtls.cookies.check(at.now, &arrival.tuple, hello) else {
            let cookie = self.dtls.cookies.make(at.now, &arrival.tuple, hello);
            let reply = match hello.version {
                Version::Dtls12 => hello_verify_request(hello.record_sequence, &cookie),
                Version::Dtls13(suite) => hello_retry_request(suite, &cookie),
            };
            // No stranger gets more than came under its name.
            if reply.len() <= length {
                self.counters.dtls_cookies.add(1);
                arrival.send(outbox, &reply);
            }
            return None;
        };
        let Some(certificate) = self.dtls.certificate.load().as_deref().cloned() else {
            self.counters.dtls_handshake(DtlsHandshake::Failed);
            let alert = fatal_alert(hello.record_sequence, HANDSHAKE_FAILURE);
            arrival.send(outbox, &alert);
            return None;
        };
        let Some(place) = self.dtls.gate.enter(arrival.tuple.client().ip()) else {
            self.counters.dtls_handshake(DtlsHandshake::Suppressed);
            return None;
        };
        // The client has shown that it is at this address and has forgotten what was (RFC 6347 §4.2.8).
        if let Some(number) = known {
            self.remove(number, End::Failed);
        }
        let origin = Origin {
            arrival: *arrival,
            place,
            hello,
            first: &first,
            cookie,
        };
        let mut sinks = Sinks {
            scratch: &mut self.scratch,
            plain: &mut self.plain,
            outbox: Some(&mut *outbox),
            fault: &self.dtls.fault,
        };
        let config = self.dtls.config.clone();
        let begun = Association::begin(at, origin, config, certificate, &mut sinks);
        let (association, progress) = match begun {
            Ok(begun) => begun,
            Err(broken) => {
                self.count_panic(&broken);
                self.counters.dtls_handshake(DtlsHandshake::Failed);
                let alert = fatal_alert(hello.record_sequence, HANDSHAKE_FAILURE);
                arrival.send(outbox, &alert);
                return None;
            }
        };
        let number = self.slots.insert(association) as u32;
        let hash = self.hasher.hash_one(arrival.tuple);
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.by_tuple.insert_unique(hash, number, |other| {
            let tuple = slots.get(*other as usize).map(|a| a.arrival.tuple);
            tuple.map_or(0, |tuple| hasher.hash_one(tuple))
        });
        self.went_on(at, number, Ok(progress));
        Some(number)
    }

    /// What the last datagram contained. Given back with [`Associations::give_back`].
    pub fn take_plain(&mut self) -> Plain {
        std::mem::take(&mut self.plain)
    }

    /// Gives the memory back for the next datagram.
    pub fn give_back(&mut self, mut plain: Plain) {
        plain.clear();
        self.plain = plain;
    }

    /// Encrypts and sends a datagram that consists of these parts.
    pub fn send(&mut self, at: Moment, number: u32, parts: [&[u8]; 3], outbox: &mut Outbox) {
        if parts.iter().map(|part| part.len()).sum::<usize>() > LARGEST_PLAIN {
            self.counters.dropped(DropReason::TooLarge);
            return;
        }
        let mut whole = std::mem::take(&mut self.outgoing);
        whole.clear();
        for part in parts {
            whole.extend_from_slice(part);
        }
        // Nobody has an allocation before the handshake is done.
        if let Some((association, mut sinks)) = self.with_sinks(number, outbox)
            && !association.place.is_half_open()
        {
            let progress = association.send(at, &whole, &mut sinks);
            self.went_on(at, number, progress);
        } else {
            self.counters.dropped(DropReason::NoAssociation);
        }
        self.outgoing = whole;
    }

    /// Whether something is to end.
    pub fn has_ending(&self) -> bool {
        !self.ending.is_empty()
    }

    /// Ends what is to end.
    pub fn end(&mut self, at: Moment, outbox: &mut Outbox) {
        while let Some((number, end)) = self.ending.pop() {
            if end == End::Closed
                && let Some((association, mut sinks)) = self.with_sinks(number, outbox)
            {
                association.close(at, &mut sinks);
            }
            self.remove(number, end);
        }
    }

    /// A client whose association has ended, and that was not named before.
    pub fn next_gone(&mut self) -> Option<FiveTuple> {
        self.gone.pop()
    }

    /// Ends everything.
    pub fn shut_down(&mut self) {
        let all = self
            .slots
            .iter()
            .map(|(number, _)| (number as u32, End::Closed));
        self.ending.extend(all);
    }

    /// When [`Associations::handle_timeout`] is to be called next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Retransmits, and ends what is over. Associations with an allocation live as long as that.
    pub fn handle_timeout(
        &mut self,
        at: Moment,
        has_allocation: impl Fn(&FiveTuple) -> bool,
        outbox: &mut Outbox,
    ) {
        while let Some(Reverse((due, number))) = self.timers.peek().copied() {
            if due > at.now {
                return;
            }
            self.timers.pop();
            let settings = self.dtls.gate.settings();
            let Some((association, mut sinks)) = self.with_sinks(number, outbox) else {
                continue;
            };
            if association.timer != due {
                continue; // it was moved, or belongs to a former association of this number
            }
            if association.place.is_half_open() {
                if association.began.after(settings.handshake_timeout) <= at.now {
                    self.ending.push((number, End::TimedOut));
                    continue;
                }
            } else if association.heard.after(settings.idle_timeout) <= at.now {
                if !has_allocation(&association.arrival.tuple) {
                    self.ending.push((number, End::Closed));
                    continue;
                }
                association.heard = at.now;
                association.is_proved = true;
            }
            association.timer = Instant::default();
            let progress = association.tick(at, &mut sinks);
            self.went_on(at, number, progress);
        }
    }

    /// Notes what a state machine said.
    fn went_on(&mut self, at: Moment, number: u32, progress: Result<Progress, Broken>) {
        let settings = self.dtls.gate.settings();
        let Some(association) = self.slots.get_mut(number as usize) else {
            return;
        };
        let progress = match progress {
            Ok(progress) => progress,
            Err(broken) => {
                self.count_panic(&broken);
                return self.ending.push((number, End::Failed));
            }
        };
        if progress.connected && association.place.is_half_open() {
            association.place.establish();
            self.counters.dtls_handshake(DtlsHandshake::Completed);
        }
        if progress.closed {
            return self.ending.push((number, End::Closed));
        }
        let end = if association.place.is_half_open() {
            association.began.after(settings.handshake_timeout)
        } else {
            association.heard.after(settings.idle_timeout)
        };
        let next = end.min(at.of(progress.timeout));
        // A later deadline is found out when the timer comes.
        if association.timer == Instant::default() || next < association.timer {
            association.timer = next;
            self.timers.push(Reverse((next, number)));
        }
    }

    fn count_panic(&self, broken: &Broken) {
        if matches!(broken, Broken::Panicked) {
            self.counters.dtls_panics.add(1);
        }
    }

    fn find(&self, tuple: &FiveTuple) -> Option<u32> {
        let hash = self.hasher.hash_one(tuple);
        let is_it = |number: &u32| {
            self.slots
                .get(*number as usize)
                .is_some_and(|association| association.arrival.tuple == *tuple)
        };
        self.by_tuple.find(hash, is_it).copied()
    }

    fn remove(&mut self, number: u32, end: End) {
        let Some(association) = self.slots.try_remove(number as usize) else {
            return;
        };
        let hash = self.hasher.hash_one(association.arrival.tuple);
        if let Ok(entry) = self.by_tuple.find_entry(hash, |other| *other == number) {
            entry.remove();
        }
        if !association.place.is_half_open() {
            self.counters.dtls_closed.add(1);
            self.gone.push(association.arrival.tuple);
        } else if end == End::TimedOut {
            self.counters.dtls_handshake(DtlsHandshake::TimedOut);
        } else {
            self.counters.dtls_handshake(DtlsHandshake::Failed);
        }
    }

    /// An association and where its bytes go.
    fn with_sinks<'a>(
        &'a mut self,
        number: u32,
        outbox: &'a mut Outbox,
    ) -> Option<(&'a mut Association, Sinks<'a>)> {
        let association = self.slots.get_mut(number as usize)?;
        let sinks = Sinks {
            scratch: &mut self.scratch,
            plain: &mut self.plain,
            outbox: Some(outbox),
            fault: &self.dtls.fault,
        };
        Some((association, sinks))
    }
}
