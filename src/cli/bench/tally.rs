//! What became of the payloads: sent, delivered, out of order, and how long they took.
//!
//! The main types are [`Tally`] and [`Flow`].

use super::delays::Delays;
use super::stamp::Stamp;

/// What was counted, of payloads that were sent while it counted.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Payloads the system took.
    pub sent: u64,
    /// Payloads the system did not take, or that were due when the load was too late.
    pub unsent: u64,
    /// Payloads that arrived where they should.
    pub delivered: u64,
    /// Of these, those behind a later one of their flow.
    pub reordered: u64,
    /// Packets that are none of the load's, or came to the wrong place.
    pub foreign: u64,
    /// How long the delivered ones took.
    pub delays: Delays,
}

/// One flow's progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// The place the next payload gets.
    pub next: u64,
    /// The place behind the latest that was delivered.
    pub delivered: u64,
    /// The place behind the latest that was delivered or taken for lost.
    pub settled: u64,
}

impl Flow {
    /// How many are under way, as far as can be known.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        self.next - self.settled
    }

    /// How many have not come, up to the last that was sent.
    #[must_use]
    pub fn awaited(&self) -> u64 {
        self.next - self.delivered
    }

    /// Takes what is under way for lost.
    pub fn give_up(&mut self) {
        self.settled = self.next;
    }
}

impl Tally {
    /// Counts a payload that arrived at a time, in nanoseconds since the load's start.
    pub fn arrived(&mut self, flow: &mut Flow, stamp: Stamp, at: u64, counts: bool) {
        let is_late = stamp.place < flow.delivered;
        flow.delivered = flow.delivered.max((stamp.place + 1).min(flow.next));
        flow.settled = flow.settled.max(flow.delivered);
        if counts {
            self.delivered += 1;
            self.reordered += u64::from(is_late);
            self.delays.count(at.saturating_sub(stamp.sent));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(places: &[u64]) -> (Tally, Flow) {
        let mut tally = Tally::default();
        let mut flow = Flow {
            next: 10,
            ..Flow::default()
        };
        for place in places.iter().copied() {
            let stamp = Stamp {
                flow: 0,
                place,
                sent: 1000,
            };
            tally.arrived(&mut flow, stamp, 3000, true);
        }
        (tally, flow)
    }

    #[test]
    fn a_gap_is_no_reordering() {
        let (tally, flow) = arrivals(&[0, 1, 4, 5]);
        assert_eq!((tally.delivered, tally.reordered), (4, 0));
        assert_eq!(flow.under_way(), 4);
        assert!(tally.delays.longest() == 2000);
    }

    #[test]
    fn what_was_taken_for_lost_and_comes_late_is_in_order() {
        let (mut tally, mut flow) = arrivals(&[0, 1]);
        flow.give_up();
        assert_eq!(flow.under_way(), 0);
        for place in [2, 3] {
            let stamp = Stamp {
                flow: 0,
                place,
                sent: 1000,
            };
            tally.arrived(&mut flow, stamp, 3000, true);
        }
        assert_eq!((tally.delivered, tally.reordered), (4, 0));
    }

    #[test]
    fn what_comes_behind_a_later_one_is_reordered() {
        let (tally, _) = arrivals(&[0, 3, 1, 2, 4]);
        assert_eq!((tally.delivered, tally.reordered), (5, 2));
    }
}
