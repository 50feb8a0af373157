//! What `--report` sends from one allocation to the other beside the echo run: as much as goes through, and packets like
//! those of sound and picture, of which it says how they arrive.
//!
//! Both ends are this process's, so that one clock serves both. Main functions: [`fill`], [`media`].

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::{interval, sleep, timeout};

use super::session::Relay;
use super::tally::Jitter;

/// How long the line is filled, with how many bytes at most, in packets of which size.
const FILL: Duration = Duration::from_secs(2);
const FILL_BYTES: usize = 16 << 20;
const FILL_SIZE: usize = 1100;

/// How many of them are under way at first and at least, and at most.
const WINDOW: usize = 32;
const WIDEST: usize = 2048;

/// A queue that is full drops many at once, which is one reason to send less.
const CUT_EVERY: Duration = Duration::from_millis(50);

/// Packets under way that do not arrive for so long are lost.
const GIVEN_UP: Duration = Duration::from_millis(300);

/// Packets like those of a small picture with sound: how many, how often, of which size.
const MEDIA: usize = 200;
const MEDIA_EVERY: Duration = Duration::from_millis(10);
const MEDIA_SIZE: usize = 800;

/// How packets of media arrived.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Media {
    /// The share that did not, 0 to 100.
    pub loss_percent: f64,
    /// How much the times on the way differ, smoothed (RFC 3550 §6.4.1).
    pub jitter_ms: f64,
    /// What arrived, in bits a second.
    pub bits: f64,
}

/// How many packets may be under way: more with each that arrives, half as many where one is missing.
#[derive(Debug)]
struct Window {
    size: usize,
    /// One more than the highest number that arrived.
    reached: usize,
    received: usize,
    missing: usize,
    cut: Instant,
    last: Instant,
}

impl Window {
    fn new(now: Instant) -> Window {
        Window {
            size: WINDOW,
            reached: 0,
            received: 0,
            missing: 0,
            cut: now,
            last: now,
        }
    }

    fn arrived(&mut self, number: usize, now: Instant) {
        self.received += 1;
        self.reached = self.reached.max(number + 1);
        self.last = now;
        let missing = self.reached.saturating_sub(self.received);
        if missing > self.missing {
            self.narrow(now);
        } else {
            self.size = (self.size + 1).min(WIDEST);
        }
        self.missing = missing;
    }

    /// Once for all that a full queue drops together.
    fn narrow(&mut self, now: Instant) {
        if now.duration_since(self.cut) > CUT_EVERY {
            self.size = (self.size / 2).max(WINDOW);
            self.cut = now;
        }
    }

    /// Whether another one may follow so many.
    fn has_room(&self, sent: usize) -> bool {
        sent.saturating_sub(self.reached) < self.size
    }
}

/// How many bits a second go through from `a` to `b`; nothing where none do.
pub async fn fill(a: &Relay<'_>, b: &Relay<'_>) -> Option<f64> {
    let start = Instant::now();
    let window = RefCell::new(Window::new(start));
    let arrived = Notify::new();
    let hear = receive(b, a.address, FILL_SIZE, |number, now| {
        window.borrow_mut().arrived(number, now);
        arrived.notify_one();
    });
    let send = async {
        let mut sent = 0;
        while start.elapsed() < FILL && sent * FILL_SIZE < FILL_BYTES {
            if window.borrow().has_room(sent) {
                send(a, b, sent, FILL_SIZE).await?;
                sent += 1;
            } else if timeout(GIVEN_UP, arrived.notified()).await.is_err() {
                // What is under way is lost, all of it.
                let mut window = window.borrow_mut();
                window.narrow(Instant::now());
                window.reached = sent;
            }
        }
        sleep(GIVEN_UP).await;
        Some(())
    };
    tokio::select! {
        () = hear => {}
        _ = send => {}
    }
    let window = window.into_inner();
    let took = window.last.duration_since(start).as_secs_f64();
    (took > 0.0).then(|| (window.received * FILL_SIZE * 8) as f64 / took)
}

/// How packets of media arrive that go from `a` to `b`; nothing where none do.
pub async fn media(a: &Relay<'_>, b: &Relay<'_>) -> Option<Media> {
    let start = Instant::now();
    let left: RefCell<Vec<Option<Instant>>> = RefCell::default();
    let arrivals = RefCell::new((0_usize, Jitter::default(), start));
    let hear = receive(b, a.address, MEDIA_SIZE, |number, now| {
        let left = left.borrow_mut().get_mut(number).and_then(Option::take);
        if let Some(left) = left {
            let (received, jitter, last) = &mut *arrivals.borrow_mut();
            *received += 1;
            jitter.add(now.saturating_duration_since(left));
            *last = now;
        }
    });
    let send = async {
        let mut ticks = interval(MEDIA_EVERY);
        for number in 0..MEDIA {
            ticks.tick().await;
            left.borrow_mut().push(Some(Instant::now()));
            send(a, b, number, MEDIA_SIZE).await?;
        }
        sleep(GIVEN_UP).await;
        Some(())
    };
    tokio::select! {
        () = hear => {}
        _ = send => {}
    }
    let (received, jitter, last) = arrivals.into_inner();
    let took = last.duration_since(start).max(MEDIA_EVERY).as_secs_f64();
    (received > 0).then(|| Media {
        loss_percent: (MEDIA - received) as f64 * 100.0 / MEDIA as f64,
        jitter_ms: jitter.milliseconds(),
        bits: (received * MEDIA_SIZE * 8) as f64 / took,
    })
}

/// Sends a packet with a number; nothing where that does not go.
async fn send(a: &Relay<'_>, b: &Relay<'_>, number: usize, size: usize) -> Option<()> {
    let mut packet = (number as u64).to_be_bytes().to_vec();
    packet.resize(size, 0);
    let sent = timeout(GIVEN_UP, a.conn.send_to(&packet, b.address)).await;
    sent.ok()?.ok().map(|_| ())
}

/// Hands over the numbers of what comes to `b` from an address and has this size, until its relay ends.
async fn receive(
    b: &Relay<'_>,
    from: SocketAddr,
    size: usize,
    mut each: impl FnMut(usize, Instant),
) {
    let mut buffer = vec![0; 65535];
    while let Ok((length, sender)) = b.conn.recv_from(&mut buffer).await {
        let is_ours = length == size && sender == from;
        if let Some(number) = buffer.first_chunk().filter(|_| is_ours) {
            each(u64::from_be_bytes(*number) as usize, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_grows_with_what_arrives_and_shrinks_once_for_what_is_lost_together() {
        let start = Instant::now();
        let mut window = Window::new(start);
        assert!(window.has_room(WINDOW - 1) && !window.has_room(WINDOW));
        for number in 0..WINDOW {
            window.arrived(number, start);
        }
        assert_eq!(window.size, 2 * WINDOW);
        assert!(window.has_room(3 * WINDOW - 1) && !window.has_room(3 * WINDOW));
        let later = start + 2 * CUT_EVERY;
        for number in [40, 50, 60] {
            window.arrived(number, later);
        }
        assert_eq!((window.size, window.missing), (WINDOW, 26));
        assert!(!window.has_room(61 + WINDOW));
    }

    #[test]
    fn a_packet_that_is_late_is_no_loss() {
        let start = Instant::now();
        let mut window = Window::new(start);
        for number in [0, 2, 1, 3] {
            window.arrived(number, start + 2 * CUT_EVERY);
        }
        assert_eq!((window.received, window.missing), (4, 0));
    }
}
