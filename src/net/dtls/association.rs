//! One association: the DTLS state machine of a client that has shown its address.

use super::super::outbox::{Datagram, Exit, Outbox};
use super::gate::Place;
use crate::engine::{FiveTuple, Instant};
use crate::wire::client_hello::{COOKIE_LENGTH, ClientHello, Version, handshake_record, renumber};
use dimpl::crypto::{HashAlgorithm, HmacProvider};
use dimpl::{Config, CryptoError, Dtls, DtlsCertificate, Error, Output};
use std::cell::Cell;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The largest record, and so the most that one poll of the state machine gives.
const LARGEST: usize = 16_384 + 256;

/// Where a datagram came in, and so where answers go.
#[derive(Clone, Copy)]
pub(in crate::net) struct Arrival {
    pub tuple: FiveTuple,
    /// The listener's number.
    pub listener: u32,
    /// The address to answer from, where the listener has a wildcard's.
    pub from: Option<IpAddr>,
}

impl Arrival {
    /// Sends a datagram back.
    pub fn send(&self, outbox: &mut Outbox, bytes: &[u8]) {
        let payload = outbox.keep(bytes);
        outbox.push(Datagram {
            exit: Exit::Listener(self.listener),
            to: self.tuple.client(),
            from: self.from,
            header: None,
            payload,
            padding: 0,
            dont_fragment: false,
        });
    }
}

/// The time on both clocks.
#[derive(Clone, Copy)]
pub(in crate::net) struct Moment {
    pub now: Instant,
    pub system: std::time::Instant,
}

impl Moment {
    /// When a time of the system's clock is, rounded up.
    pub fn of(self, at: std::time::Instant) -> Instant {
        let wait = at.saturating_duration_since(self.system);
        self.now.after(wait + Duration::from_millis(1))
    }
}

/// Where the bytes of an association go.
pub(super) struct Sinks<'a> {
    /// Room for what is polled.
    pub scratch: &'a mut Vec<u8>,
    /// What the client said.
    pub plain: &'a mut Plain,
    /// Datagrams for the client; none of them leaves where this is `None`.
    pub outbox: Option<&'a mut Outbox>,
    pub fault: &'a Fault,
}

/// Makes the state machine panic once, for tests.
#[derive(Debug, Default)]
pub(super) struct Fault(AtomicBool);

impl Fault {
    pub fn arm(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn strike(&self) {
        if self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed) {
            panic!("told to panic");
        }
    }
}

/// What a client said, datagram by datagram.
#[derive(Debug, Default)]
pub(in crate::net) struct Plain {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Plain {
    fn push(&mut self, datagram: &[u8]) {
        self.bytes.extend_from_slice(datagram);
        self.ends.push(self.bytes.len());
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let ranges = starts.zip(self.ends.iter().copied());
        ranges.map(|(start, end)| self.bytes.get(start..end).unwrap_or_default())
    }
}

/// Why an association cannot go on.
#[derive(Debug)]
pub(super) enum Broken {
    /// The state machine said so.
    Failed,
    /// The state machine panicked.
    Panicked,
}

/// Calls the state machine, whose panics end one association and not a worker.
///
/// What a panic may leave half changed is the state machine, which is not called again but dropped, and the room it writes
/// to, which has no meaning before a call has returned. What the client said is forgotten by [`Association::take`]; datagrams
/// for it are put into the outbox whole, by code of ours.
fn guarded<T>(call: impl FnOnce() -> Result<T, Error>) -> Result<T, Broken> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|_| Broken::Failed),
        Err(_) => Err(Broken::Panicked),
    }
}

pub(super) struct Association {
    pub arrival: Arrival,
    pub place: Place,
    /// When the handshake began.
    pub began: Instant,
    /// When the client was last heard; since its handshake only once it has proved a credential.
    pub heard: Instant,
    /// Whether it was found with an allocation.
    pub is_proved: bool,
    /// When the worker's timer looks at this association next.
    pub timer: Instant,
    random: [u8; 32],
    dtls: Dtls,
    /// What is added to the record numbers of the handshake: RFC 6347 §4.2.1 wants them to go on from the ClientHello's.
    offset: u64,
}

/// What the state machine has to say after it was given something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// The handshake has just been done.
    pub connected: bool,
    /// The client has closed the association.
    pub closed: bool,
    /// There was something to send.
    spoke: bool,
    /// When it wants to be called.
    pub timeout: std::time::Instant,
}

/// What an association is made of.
pub(super) struct Origin<'a> {
    pub arrival: Arrival,
    pub place: Place,
    /// The second ClientHello.
    pub hello: &'a ClientHello<'a>,
    /// The first one, as a handshake message.
    pub first: &'a [u8],
    /// The cookie, which has been checked.
    pub cookie: [u8; COOKIE_LENGTH],
}

impl Association {
    /// Begins an association with a ClientHello whose cookie was found to be ours.
    ///
    /// The state machine makes cookies of its own, and only by that learns that two messages have already passed. So it
    /// is shown the first ClientHello, says what we have said in its place, which is not sent again, and
    /// then sees the second. It fails where it has no answer, for want of anything in common.
    pub fn begin(
        at: Moment,
        origin: Origin<'_>,
        config: Arc<Config>,
        certificate: DtlsCertificate,
        sinks: &mut Sinks<'_>,
    ) -> Result<(Self, Progress), Broken> {
        let Origin {
            arrival,
            place,
            hello,
            first,
            cookie,
        } = origin;
        let before = hello.record_sequence.saturating_sub(1);
        let (dtls, offset) = guarded(|| {
            Ok(match hello.version {
                Version::Dtls12 => (Dtls::new_12(config, certificate, at.system), before),
                Version::Dtls13(_) => (Dtls::new_13(config, certificate, at.system), 0),
            })
        })?;
        let mut association = Association {
            arrival,
            place,
            began: at.now,
            heard: at.now,
            is_proved: false,
            timer: Instant::default(),
            random: hello.random,
            dtls,
            offset,
        };
        let progress = with_cookie(hello.random, cookie, || {
            let mut unsent = Sinks {
                scratch: &mut *sinks.scratch,
                plain: &mut *sinks.plain,
                outbox: None,
                fault: sinks.fault,
            };
            association.take(at, &handshake_record(before, first), &mut unsent)?;
            let second = handshake_record(hello.record_sequence, hello.message());
            association.take(at, &second, sinks)
        });
        match progress? {
            progress if progress.spoke => Ok((association, progress)),
            // What it finds too strange to read it passes over in silence.
            _ => Err(Broken::Failed),
        }
    }

    /// Takes a datagram of this client.
    pub fn take(
        &mut self,
        at: Moment,
        datagram: &[u8],
        sinks: &mut Sinks<'_>,
    ) -> Result<Progress, Broken> {
        let taken = guarded(|| {
            sinks.fault.strike();
            self.dtls.handle_timeout(at.system)?;
            self.dtls.handle_packet(datagram)?;
            self.drain(at, sinks)
        });
        if matches!(taken, Err(Broken::Panicked)) {
            sinks.plain.clear();
        }
        taken
    }

    /// Whether a ClientHello is of this very handshake.
    pub fn is_own(&self, hello: &ClientHello<'_>) -> bool {
        hello.random == self.random
    }

    /// Encrypts a datagram.
    pub fn send(
        &mut self,
        at: Moment,
        plain: &[u8],
        sinks: &mut Sinks<'_>,
    ) -> Result<Progress, Broken> {
        guarded(|| {
            self.dtls.send_application_data(plain)?;
            self.drain(at, sinks)
        })
    }

    /// Does what time has brought.
    pub fn tick(&mut self, at: Moment, sinks: &mut Sinks<'_>) -> Result<Progress, Broken> {
        guarded(|| {
            self.dtls.handle_timeout(at.system)?;
            self.drain(at, sinks)
        })
    }

    /// Tells the client that it is over.
    pub fn close(&mut self, at: Moment, sinks: &mut Sinks<'_>) {
        // A client that does not hear it finds out by itself.
        let _ = guarded(|| {
            self.dtls.close()?;
            self.drain(at, sinks)
        });
    }

    fn drain(&mut self, at: Moment, sinks: &mut Sinks<'_>) -> Result<Progress, Error> {
        let mut progress = Progress {
            connected: false,
            closed: false,
            spoke: false,
            timeout: at.system,
        };
        if sinks.scratch.len() < LARGEST {
            sinks.scratch.resize(LARGEST, 0);
        }
        loop {
            let needed = match self.dtls.poll_output(sinks.scratch) {
                Output::Packet(packet) => {
                    progress.spoke = true;
                    let length = packet.len();
                    if let Some(packet) = sinks.scratch.get_mut(..length) {
                        if self.offset > 0 {
                            renumber(packet, self.offset);
                        }
                        if let Some(outbox) = sinks.outbox.as_deref_mut() {
                            self.arrival.send(outbox, packet);
                        }
                    }
                    continue;
                }
                Output::ApplicationData(data) => {
                    sinks.plain.push(data);
                    continue;
                }
                Output::Connected => {
                    progress.connected = true;
                    continue;
                }
                Output::CloseNotify => {
                    progress.closed = true;
                    continue;
                }
                Output::Timeout(timeout) => {
                    progress.timeout = timeout;
                    return Ok(progress);
                }
                Output::BufferTooSmall { needed } => needed,
                // Keys for SRTP and certificates of clients are of no use here.
                _ => continue,
            };
            sinks.scratch.resize(needed, 0);
        }
    }
}

thread_local! {
    /// The handshake whose cookie was checked already, while it is begun: the client's random bytes and the cookie.
    static CHECKED: Cell<Option<([u8; 32], [u8; COOKIE_LENGTH])>> = const { Cell::new(None) };
}

fn with_cookie<T>(random: [u8; 32], cookie: [u8; COOKIE_LENGTH], run: impl FnOnce() -> T) -> T {
    CHECKED.set(Some((random, cookie)));
    let result = run();
    CHECKED.set(None);
    result
}

/// HMAC for the state machine, which makes its cookie of the client's random bytes: while a handshake begins, that is the
/// cookie which [`super::cookie`] made and checked.
#[derive(Debug)]
pub(super) struct CookieHmac(pub &'static dyn HmacProvider);

impl HmacProvider for CookieHmac {
    fn hmac(
        &self,
        hash: HashAlgorithm,
        key: &[u8],
        data: &[u8],
        out: &mut [u8],
    ) -> Result<usize, CryptoError> {
        if let Some((random, cookie)) = CHECKED.get()
            && data == random
            && let Some(out) = out.get_mut(..COOKIE_LENGTH)
        {
            out.copy_from_slice(&cookie);
            return Ok(COOKIE_LENGTH);
        }
        self.0.hmac(hash, key, data, out)
    }
}
