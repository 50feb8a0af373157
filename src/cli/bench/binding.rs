//! The load of Binding requests: each is answered, and the answer's transaction id says when it was sent.
//!
//! Main item: [`run`].

use std::io;
use std::time::{Duration, Instant};

use super::ends::Ends;
use super::gauge::{Gauge, Use};
use super::pacer::Pacer;
use super::scenario::{Plan, Wait};
use super::stamp::Stamp;
use super::tally::{Flow, Tally};
use crate::wire::{Class, MessageType, Method, TransactionId, Writer};

/// How long the last answers are waited for.
const DRAIN: Duration = Duration::from_millis(300);

/// A header: a request without attributes.
const LENGTH: usize = 20;

/// Room in a transaction id for the time, in nanoseconds: a bit over an hour.
const TIME_BITS: u32 = 42;

/// And for the place in the flow; the rest is the flow.
const PLACE_BITS: u32 = 38;

/// Puts a stamp into a transaction id.
fn transaction(stamp: Stamp) -> TransactionId {
    let flow = u128::from(stamp.flow) << (TIME_BITS + PLACE_BITS);
    let place = u128::from(stamp.place & ((1 << PLACE_BITS) - 1)) << TIME_BITS;
    let number = flow | place | u128::from(stamp.sent & ((1 << TIME_BITS) - 1));
    let mut id = [0; 12];
    id.copy_from_slice(&number.to_be_bytes()[4..]);
    TransactionId(id)
}

/// Reads it from a successful answer.
fn answered(message: &[u8]) -> Option<Stamp> {
    let header = message.first_chunk::<LENGTH>()?;
    let kind = MessageType::new(Method::BINDING, Class::Success).to_bits();
    if header[..2] != kind.to_be_bytes() {
        return None;
    }
    let mut number = [0; 16];
    number[4..].copy_from_slice(&header[8..]);
    let number = u128::from_be_bytes(number);
    Some(Stamp {
        flow: (number >> (TIME_BITS + PLACE_BITS)) as u32,
        place: (number >> TIME_BITS) as u64 & ((1 << PLACE_BITS) - 1),
        sent: number as u64 & ((1 << TIME_BITS) - 1),
    })
}

/// Asks from the ends in turn, at the plan's pace: what was used, how long the load worked, and what it counted.
///
/// # Errors
/// What the system says.
pub fn run(plan: &Plan, ends: &mut Ends, gauge: &Gauge) -> io::Result<(Use, Duration, Tally)> {
    let epoch = Instant::now();
    let now = || epoch.elapsed().as_nanos() as u64;
    let mut tally = Tally::default();
    let mut flows = vec![Flow::default(); plan.clients];
    let mut pacer = Pacer::new(plan.pace, 1, 0);
    let mut turn = 0;
    let mut worked = Duration::ZERO;
    let mut counts_from = u64::MAX;
    let warm = plan.warm_up.as_nanos() as u64;
    let mut end = warm + plan.duration.as_nanos() as u64;
    let mut start = None;
    let mut used = None;
    loop {
        let at = now();
        if start.is_none() && at >= warm {
            start = Some(gauge.start());
            counts_from = now();
            end = counts_from + plan.duration.as_nanos() as u64;
            worked = Duration::ZERO;
            pacer = Pacer::new(plan.pace, 1, counts_from);
            tally = Tally::default();
        }
        if let (Some(start), None, true) = (&start, &used, at >= end) {
            used = Some(gauge.since(start));
        }
        if used.is_some() {
            let waits = flows.iter().any(|flow| flow.awaited() > 0);
            if !waits || at > end + DRAIN.as_nanos() as u64 {
                break;
            }
        }
        let counts = counts_from <= at && used.is_none();
        let due = if used.is_none() { pacer.due(at) } else { 0 };
        for _ in 0..due {
            let flow = &mut flows[turn];
            let stamp = Stamp {
                flow: turn as u32,
                place: flow.next,
                sent: at,
            };
            let mut request = [0; LENGTH];
            let kind = MessageType::new(Method::BINDING, Class::Request);
            // A header always fits.
            let _ = Writer::new(&mut request, kind, transaction(stamp)).finish();
            let taken = ends.send(turn, &request).is_ok();
            flow.next += u64::from(taken);
            if counts {
                tally.sent += u64::from(taken);
                tally.unsent += u64::from(!taken);
            }
            turn = (turn + 1) % plan.clients;
        }
        let missed = pacer.take_missed();
        if counts {
            tally.unsent += missed;
        }
        let patience = match plan.wait {
            Wait::Sleep if due == 0 => pacer.pause(at).min(Duration::from_millis(10)),
            _ => Duration::ZERO,
        };
        let received = ends.poll(patience, |end, message| {
            let found = answered(message).and_then(|stamp| {
                let flow = flows.get_mut(stamp.flow as usize)?;
                (stamp.flow as usize == end).then_some((stamp, flow))
            });
            match found {
                Some((stamp, flow)) => {
                    tally.arrived(flow, stamp, now(), stamp.sent >= counts_from);
                }
                None => tally.foreign += 1,
            }
        })?;
        if (due > 0 || received) && used.is_none() {
            worked += Duration::from_nanos(now() - at);
        }
    }
    Ok((used.unwrap_or_default(), worked, tally))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_id_carries_a_stamp() {
        let stamp = Stamp {
            flow: 0x1234,
            place: 0x12_3456_7890,
            sent: 0x234_5678_9ABC,
        };
        let mut answer = [0; LENGTH];
        let kind = MessageType::new(Method::BINDING, Class::Success);
        Writer::new(&mut answer, kind, transaction(stamp))
            .finish()
            .unwrap();
        assert_eq!(answered(&answer), Some(stamp));
        answer[1] = 0x11;
        assert_eq!(answered(&answer), None, "an error");
    }
}
