//! One stream client: frames in, frames out, and an end for those who keep a connection and do nothing with it.

use super::StreamSettings;
use super::carrier::Carrier;
use super::connection_gate::Place;
use super::nudge::Nudge;
use super::tasks::Shared;
use super::tcp_relay;
use super::worker::Worker;
use crate::engine::{ClientPath, ConnectionId, FiveTuple, Link};
use crate::wire::ChannelRange;
use crate::wire::stream::{Framing, MAX_FRAME, next_frame_in};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// How much is read at once, into a buffer all connections of a worker share.
pub(super) const READ_SIZE: usize = 64 << 10;

/// What a connection keeps for frames that come in parts, once those are whole.
const PART_SIZE: usize = 16 << 10;

/// The longest frame taken from a client without an allocation: more than the longest request with every attribute at
/// its limit, less than an attacker would want.
const MAX_UNPROVED_FRAME: usize = 4096;

/// How long a client that closed its side may take to read its last answers.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// Serves a client until its end. `input` was read from the connection before, and `opened` is when it came. It holds
/// `place` as long as it lasts.
pub(super) async fn serve(
    worker: Shared,
    carrier: Carrier,
    tuple: FiveTuple,
    input: Vec<u8>,
    (opened, place): (Instant, Place),
) {
    let leave = place.leave();
    let (number, nudge) = worker.borrow_mut().connection_opened(tuple.transport());
    let client = ClientPath {
        tuple,
        link: Link::Stream(number),
    };
    let mut connection = Connection {
        worker: &worker,
        carrier,
        client,
        number,
        input,
        bound: None,
        channels: worker.borrow().channels(),
        patience: Patience::new(worker.borrow().settings().stream, opened),
        asked: 0,
        place,
        paused_until: None,
    };
    // What came in along with a header or a handshake does not make the socket readable any more.
    let mut is_open = connection.take_frames().is_ok();
    if is_open && connection.bound.is_none() && matches!(connection.carrier, Carrier::Tls(_)) {
        is_open = connection.read().await;
    }
    let timer = tokio::time::sleep_until(connection.next_time());
    tokio::pin!(timer);
    while is_open && connection.bound.is_none() {
        // The time mostly moves away, which can wait until the timer fires.
        if connection.next_time() < timer.deadline() {
            timer.as_mut().reset(connection.next_time());
        }
        let has_output = connection.has_output();
        let turn = poll_fn(|cx| connection.poll_turn(cx, has_output, &nudge, timer.as_mut()));
        let turn = if connection.patience.is_proved {
            turn.await
        } else {
            tokio::select! {
                biased;
                turn = turn => turn,
                () = leave.notified() => {
                    if !worker.borrow().has_allocation(&client) {
                        break;
                    }
                    connection.now_proved();
                    continue;
                }
            }
        };
        match turn {
            Turn::Write if connection.write().is_ok() => {}
            Turn::Write | Turn::Broken => break,
            Turn::Read => is_open = connection.read().await,
            Turn::Time => {
                let now = Instant::now();
                connection.paused_until.take_if(|until| *until <= now);
                let is_used = worker.borrow().has_allocation(&client);
                if is_used {
                    // It may have come by letter, behind the last frame (RFC 8016).
                    connection.now_proved();
                }
                if connection.patience.is_over(now, is_used) {
                    break;
                }
                timer.as_mut().reset(connection.next_time());
            }
        }
    }
    if let Some(id) = connection.bound {
        connection.pass_on(id).await;
    }
    connection.carrier.close();
    worker.borrow_mut().connection_closed(&client);
}

/// What a connection is to do next.
enum Turn {
    Write,
    Read,
    /// Its timer fired.
    Time,
    /// The runtime cannot watch it any more.
    Broken,
}

struct Connection<'a> {
    worker: &'a Shared,
    carrier: Carrier,
    client: ClientPath,
    number: u32,
    input: Vec<u8>,
    /// Set by a ConnectionBind: what follows it is for a peer.
    bound: Option<ConnectionId>,
    channels: ChannelRange,
    patience: Patience,
    /// Frames that came before it proved a credential.
    asked: usize,
    place: Place,
    /// Where bandwidth is limited: when more may be read.
    paused_until: Option<Instant>,
}

impl Connection<'_> {
    /// Waits for whatever comes first. Each of these keeps one waker, which costs less than futures that are made and
    /// dropped for each frame.
    fn poll_turn(
        &self,
        cx: &mut Context<'_>,
        has_output: bool,
        nudge: &Nudge,
        timer: Pin<&mut Sleep>,
    ) -> Poll<Turn> {
        let socket = self.carrier.socket();
        let turn = |ready: io::Result<()>, turn| if ready.is_ok() { turn } else { Turn::Broken };
        if has_output && let Poll::Ready(ready) = socket.poll_write_ready(cx) {
            return Poll::Ready(turn(ready, Turn::Write));
        }
        // Mostly the socket takes it at once, which saves waiting for it to say so.
        if nudge.poll(cx).is_ready() {
            return Poll::Ready(Turn::Write);
        }
        if self.paused_until.is_none()
            && let Poll::Ready(ready) = socket.poll_read_ready(cx)
        {
            return Poll::Ready(turn(ready, Turn::Read));
        }
        timer.poll(cx).map(|()| Turn::Time)
    }

    /// When the timer is to fire.
    fn next_time(&self) -> Instant {
        let end = self.patience.end();
        self.paused_until.map_or(end, |until| until.min(end))
    }

    fn has_output(&self) -> bool {
        self.carrier.wants_write()
            || self
                .worker
                .borrow_mut()
                .connection(self.number)
                .is_some_and(|connection| !connection.queue.is_empty())
    }

    /// Reads what is there and works on whole frames; `false` when that was the last.
    async fn read(&mut self) -> bool {
        match self.try_read() {
            Ok(Some(more)) => {
                // Readiness costs no budget, so a client that never pauses would keep the thread to itself.
                if more {
                    tokio::task::yield_now().await;
                }
                true
            }
            Ok(None) => {
                self.write_last().await;
                false
            }
            // What came before it is answered (RFC 8489 §6.2.2).
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.write_last().await;
                false
            }
            Err(_) => false,
        }
    }

    /// The same without waiting: whether there may be more, or `None` at the end of the stream.
    fn try_read(&mut self) -> io::Result<Option<bool>> {
        let mut buffer = self.worker.borrow_mut().take_read_buffer();
        buffer.extend_from_slice(&self.input);
        buffer.reserve(READ_SIZE);
        let read = self.carrier.try_read(&mut buffer);
        let result = match read {
            Ok((0, _)) => Ok(None),
            Ok((_, more)) => {
                self.input.clear();
                self.take_frames_of(&buffer).map(|()| Some(more))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Some(false)),
            Err(error) => Err(error),
        };
        self.worker.borrow_mut().give_read_buffer(buffer);
        result
    }

    /// Works on the whole frames of what was read before.
    fn take_frames(&mut self) -> io::Result<()> {
        let input = std::mem::take(&mut self.input);
        self.take_frames_of(&input)
    }

    /// Works on whole frames and keeps the rest.
    fn take_frames_of(&mut self, input: &[u8]) -> io::Result<()> {
        let mut worker = self.worker.borrow_mut();
        let now = worker.now();
        let (mut start, mut frames) = (0, 0);
        let needed = loop {
            match next_frame_in(self.channels, &input[start..]) {
                Framing::Complete { .. } if !self.may_ask(&worker) => {
                    worker.stream_exhausted();
                    worker.finish();
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Framing::Complete { length, consumed } => {
                    let frame = &input[start..start + length];
                    self.bound = worker.take_frame(now, &self.client, frame);
                    start += consumed;
                    frames += 1;
                    if self.bound.is_some() {
                        break 0;
                    }
                }
                Framing::Partial { needed } => break needed,
                Framing::Invalid => {
                    worker.stream_invalid();
                    worker.finish();
                    return Err(io::ErrorKind::InvalidData.into());
                }
            }
        };
        worker.frames_taken(frames);
        worker.finish();
        self.input.extend_from_slice(&input[start..]);
        let at = worker.moment_of(now);
        if start > 0 {
            self.patience.frame(at);
        }
        self.patience.partial(at, !self.input.is_empty());
        let pause = worker.reading_pause(now, &self.client);
        self.paused_until = (!pause.is_zero()).then(|| at + pause);
        if let Some(until) = self.paused_until {
            self.patience.paused(until);
        }
        // Nobody has an allocation or binds a connection without a credential.
        if !self.patience.is_proved && (self.bound.is_some() || worker.has_allocation(&self.client))
        {
            self.now_proved();
        }
        let is_too_long = needed > MAX_FRAME
            || needed > MAX_UNPROVED_FRAME && !worker.has_allocation(&self.client);
        if is_too_long {
            worker.stream_invalid();
            return Err(io::ErrorKind::InvalidData.into());
        }
        if self.input.is_empty() && self.input.capacity() > PART_SIZE {
            self.input = Vec::new();
        }
        Ok(())
    }

    /// Its client has proved a credential.
    fn now_proved(&mut self) {
        if !self.patience.is_proved {
            self.place.prove();
            self.patience.is_proved = true;
        }
    }

    /// Counts a frame, and says whether it is one too many without a credential.
    fn may_ask(&mut self, worker: &Worker) -> bool {
        if self.patience.is_proved {
            return true;
        }
        self.asked += 1;
        // One that allocates may send more in the same breath.
        self.asked <= self.patience.settings.max_unproved_requests
            || worker.has_allocation(&self.client)
    }

    /// Answers the ConnectionBind, and is a peer's stream of bytes from there on.
    async fn pass_on(&mut self, id: ConnectionId) {
        self.write_last().await;
        if self.has_output() {
            self.worker.borrow_mut().connection_ended(id);
            return;
        }
        let first = std::mem::take(&mut self.input);
        tcp_relay::splice(self.worker, &mut self.carrier, first, id).await;
    }

    /// Writes what the socket takes.
    fn write(&mut self) -> io::Result<()> {
        let mut worker = self.worker.borrow_mut();
        let Some(connection) = worker.connection(self.number) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        if connection.broken {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        match self.carrier.flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            flushed => flushed?,
        }
        while !connection.queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); 6];
            let count = connection.queue.slices(&mut slices);
            match self.carrier.try_write(&slices[..count]) {
                Ok(written) => connection.queue.written(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Answers what came before the client closed its side.
    async fn write_last(&mut self) {
        let _ = tokio::time::timeout(LAST_WRITE, async {
            while self.write().is_ok() && self.has_output() {
                if self.carrier.socket().writable().await.is_err() {
                    return;
                }
            }
        })
        .await;
    }
}

/// When a connection has been useless for too long.
struct Patience {
    settings: StreamSettings,
    opened: Instant,
    /// Whether it has proved a credential. Other frames win no time.
    is_proved: bool,
    last_frame: Instant,
    partial_since: Option<Instant>,
}

impl Patience {
    fn new(settings: StreamSettings, opened: Instant) -> Self {
        Patience {
            settings,
            opened,
            is_proved: false,
            last_frame: opened,
            partial_since: None,
        }
    }

    fn frame(&mut self, now: Instant) {
        self.last_frame = now;
        self.partial_since = None;
    }

    fn partial(&mut self, now: Instant, is_partial: bool) {
        if !is_partial {
            self.partial_since = None;
        } else if self.partial_since.is_none() {
            self.partial_since = Some(now);
        }
    }

    /// Nothing is read until then, so the rest of a frame cannot be had before.
    fn paused(&mut self, until: Instant) {
        if let Some(at) = &mut self.partial_since {
            *at = until.max(*at);
        }
    }

    /// When to ask whether it is over.
    fn end(&self) -> Instant {
        let quiet = if self.is_proved {
            self.last_frame + self.settings.idle_timeout
        } else {
            self.opened + self.settings.auth_timeout
        };
        match self.partial_since {
            Some(at) => quiet.min(at + self.settings.auth_timeout),
            None => quiet,
        }
    }

    /// Whether it is over; a connection with an allocation ends with that, not by silence.
    fn is_over(&mut self, now: Instant, has_allocation: bool) -> bool {
        if self.end() > now {
            return false;
        }
        let is_stuck = self
            .partial_since
            .is_some_and(|at| at + self.settings.auth_timeout <= now);
        if has_allocation && !is_stuck {
            self.last_frame = now;
            return false;
        }
        true
    }
}
