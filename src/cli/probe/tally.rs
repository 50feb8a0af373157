//! What became of the packets of an echo run: round trips, loss, order, duplicates.
//!
//! It holds no clock and sends nothing; its user says when a packet left and when one came back. The main types are
//! [`Tally`] and its [`Summary`].

use std::time::{Duration, Instant};

use serde::Serialize;

use super::milliseconds;

/// The most packets a run may have, so that what is kept of each stays small.
pub const MAX_COUNT: u32 = 1_000_000;

/// The number of a packet is written into its first bytes; this is how many, at most.
const NUMBER_BYTES: usize = 4;

/// A running count of one echo run.
#[derive(Debug)]
pub struct Tally {
    size: usize,
    sent: Vec<Sent>,
    round_trips: Vec<Duration>,
    jitter: Jitter,
    highest: Option<usize>,
    reordered: u32,
    duplicated: u32,
    corrupted: u32,
}

/// How much times differ from one packet to the next (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default)]
pub struct Jitter {
    last: Option<Duration>,
    /// In milliseconds.
    level: f64,
}

impl Jitter {
    /// Counts the time that the next packet took.
    pub fn add(&mut self, took: Duration) {
        if let Some(last) = self.last.replace(took) {
            self.level += (milliseconds(took.abs_diff(last)) - self.level) / 16.0;
        }
    }

    /// In milliseconds, to the microsecond; nothing before the second packet.
    #[must_use]
    pub fn milliseconds(&self) -> f64 {
        (self.level * 1000.0).round() / 1000.0
    }
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Instant,
    back: bool,
}

/// A finished run. Round trips are in milliseconds and absent when no packet came back.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Packets that left.
    pub packets_sent: u32,
    /// Of those, how many came back, each counted once.
    pub packets_received: u32,
    /// The share that did not come back, 0 to 100.
    pub loss_percent: f64,
    /// Packets that came back after one sent later (RFC 4737 §3).
    pub packets_reordered: u32,
    /// Copies beyond the first.
    pub packets_duplicated: u32,
    /// Packets whose bytes are not those sent; they count as lost.
    pub packets_corrupted: u32,
    /// Fastest round trip.
    pub round_trip_min_ms: Option<f64>,
    /// Half of the round trips were at most this long.
    pub round_trip_median_ms: Option<f64>,
    /// 95 of a hundred round trips were at most this long.
    pub round_trip_p95_ms: Option<f64>,
    /// Slowest round trip.
    pub round_trip_max_ms: Option<f64>,
    /// How much round trips differ from one packet to the next, smoothed (RFC 3550 §6.4.1).
    pub jitter_ms: Option<f64>,
}

impl Tally {
    /// A run whose packets are `size` bytes long, at least 1.
    #[must_use]
    pub fn new(size: usize) -> Tally {
        Tally {
            size: size.max(1),
            sent: Vec::new(),
            round_trips: Vec::new(),
            jitter: Jitter::default(),
            highest: None,
            reordered: 0,
            duplicated: 0,
            corrupted: 0,
        }
    }

    /// Writes the next packet and counts it as sent at `now`.
    pub fn send(&mut self, now: Instant) -> Vec<u8> {
        let packet = self.payload(self.sent.len());
        self.sent.push(Sent {
            at: now,
            back: false,
        });
        packet
    }

    /// Counts a packet that came back at `now`.
    pub fn receive(&mut self, packet: &[u8], now: Instant) {
        let Some(number) = self.number(packet) else {
            self.corrupted += 1;
            return;
        };
        let Some(sent) = self.sent.get_mut(number) else {
            self.corrupted += 1;
            return;
        };
        if sent.back {
            self.duplicated += 1;
            return;
        }
        sent.back = true;
        let took = now.saturating_duration_since(sent.at);
        self.round_trips.push(took);
        self.jitter.add(took);
        if self.highest.is_some_and(|highest| number < highest) {
            self.reordered += 1;
        } else {
            self.highest = Some(number);
        }
    }

    /// How many packets were sent.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.sent.len()
    }

    /// Whether every packet sent is back.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.round_trips.len() == self.sent.len()
    }

    /// The figures so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut sorted = self.round_trips.clone();
        sorted.sort_unstable();
        let percentile = |hundredths: usize| {
            // Nearest rank: the smallest value that this share of all values does not exceed.
            let rank = (sorted.len() * hundredths).div_ceil(100);
            sorted.get(rank.checked_sub(1)?).copied().map(milliseconds)
        };
        let lost = self.sent.len() - self.round_trips.len();
        Summary {
            packets_sent: count(self.sent.len()),
            packets_received: count(self.round_trips.len()),
            loss_percent: if self.sent.is_empty() {
                0.0
            } else {
                f64::from(count(lost)) * 100.0 / f64::from(count(self.sent.len()))
            },
            packets_reordered: self.reordered,
            packets_duplicated: self.duplicated,
            packets_corrupted: self.corrupted,
            round_trip_min_ms: sorted.first().copied().map(milliseconds),
            round_trip_median_ms: percentile(50),
            round_trip_p95_ms: percentile(95),
            round_trip_max_ms: sorted.last().copied().map(milliseconds),
            jitter_ms: (sorted.len() > 1).then(|| self.jitter.milliseconds()),
        }
    }

    /// The packet's number, as many of its low bytes as fit, then bytes that differ from place to place.
    fn payload(&self, number: usize) -> Vec<u8> {
        let low = count(number).to_be_bytes();
        let taken = self.size.min(NUMBER_BYTES);
        let mut packet = low[NUMBER_BYTES - taken..].to_vec();
        packet.extend((taken..self.size).map(|place| (place.wrapping_mul(31) ^ number) as u8));
        packet
    }

    /// Which packet this is, if it is one of ours, whole and unchanged. In packets shorter than four bytes numbers
    /// wrap, and the latest packet with that number is meant.
    fn number(&self, packet: &[u8]) -> Option<usize> {
        if packet.len() != self.size {
            return None;
        }
        let taken = self.size.min(NUMBER_BYTES);
        let low = packet
            .iter()
            .take(taken)
            .fold(0_u64, |low, byte| low << 8 | u64::from(*byte));
        let last = self.sent.len().checked_sub(1)? as u64;
        let back = last.wrapping_sub(low) & ((1_u64 << (8 * taken)) - 1);
        let number = usize::try_from(last.checked_sub(back)?).ok()?;
        (self.payload(number) == packet).then_some(number)
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of `packets` of `size` bytes sent at once, with what was sent.
    fn run(size: usize, packets: usize) -> (Tally, Vec<Vec<u8>>, Instant) {
        let start = Instant::now();
        let mut tally = Tally::new(size);
        let sent = (0..packets).map(|_| tally.send(start)).collect();
        (tally, sent, start)
    }

    #[test]
    fn round_trips_are_summed_up_by_nearest_rank() {
        let (mut tally, sent, start) = run(160, 20);
        for (i, packet) in sent.iter().enumerate() {
            tally.receive(packet, start + Duration::from_millis(i as u64 + 1));
        }
        assert!(tally.complete());
        assert_eq!(
            tally.summary(),
            Summary {
                packets_sent: 20,
                packets_received: 20,
                round_trip_min_ms: Some(1.0),
                round_trip_median_ms: Some(10.0),
                round_trip_p95_ms: Some(19.0),
                round_trip_max_ms: Some(20.0),
                // Each differs by 1 ms from the one before, and a sixteenth of the way is gone with each.
                jitter_ms: Some(0.707),
                ..Summary::default()
            }
        );
    }

    #[test]
    fn a_run_without_any_echo_is_all_loss_and_has_no_round_trip() {
        let (tally, _, _) = run(160, 3);
        let summary = tally.summary();
        assert!(!tally.complete());
        assert_eq!((summary.packets_sent, summary.packets_received), (3, 0));
        assert_eq!(summary.loss_percent, 100.0);
        assert_eq!(summary.round_trip_min_ms, None);
        assert_eq!(summary.round_trip_p95_ms, None);
    }

    #[test]
    fn an_empty_run_has_no_loss() {
        assert_eq!(Tally::new(160).summary(), Summary::default());
    }

    #[test]
    fn loss_reordering_and_duplicates_are_told_apart() {
        let (mut tally, sent, now) = run(8, 10);
        for i in [0, 2, 1, 2, 5, 3, 4, 9] {
            tally.receive(&sent[i], now);
        }
        let summary = tally.summary();
        assert_eq!(summary.packets_received, 7);
        assert_eq!(summary.loss_percent, 30.0);
        assert_eq!(summary.packets_duplicated, 1);
        assert_eq!(summary.packets_reordered, 3, "1, 3 and 4 came late");
        assert_eq!(summary.packets_corrupted, 0);
    }

    #[test]
    fn changed_truncated_and_unknown_packets_are_corrupted_and_count_as_lost() {
        let (mut tally, sent, now) = run(160, 2);
        let mut changed = sent[0].clone();
        changed[100] ^= 1;
        tally.receive(&changed, now);
        tally.receive(&sent[0][..159], now);
        tally.receive(&[0xFF; 160], now);
        tally.receive(&[], now);
        let summary = tally.summary();
        assert_eq!(summary.packets_corrupted, 4);
        assert_eq!(summary.packets_received, 0);
    }

    #[test]
    fn packets_of_every_size_are_recognised() {
        for size in 1..=1200 {
            let (mut tally, sent, now) = run(size, 3);
            for packet in &sent {
                assert_eq!(packet.len(), size);
                tally.receive(packet, now);
            }
            assert!(tally.complete(), "size {size}");
            assert_eq!(tally.summary().packets_corrupted, 0);
        }
    }

    #[test]
    fn one_byte_packets_are_recognised_when_their_numbers_wrap() {
        let now = Instant::now();
        let mut tally = Tally::new(1);
        let mut late = Vec::new();
        for _ in 0..1000 {
            late.push(tally.send(now));
            if late.len() == 200 {
                tally.receive(&late.remove(0), now);
            }
        }
        for packet in late {
            tally.receive(&packet, now);
        }
        let summary = tally.summary();
        assert_eq!(summary.packets_received, 1000);
        assert_eq!(summary.packets_duplicated + summary.packets_reordered, 0);
    }
}
