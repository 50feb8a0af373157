//! The load of allocations that come and go: each is made by a new client, which is told a nonce, authenticates, gets a
//! relayed address and gives it back.
//!
//! Main item: [`run`].

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ends::Ends;
use super::gauge::{Gauge, Use};
use super::pacer::Pacer;
use super::scenario::{Plan, Wait};
use super::session::{Ask, Heard, Session};
use super::setup::{Seat, client_socket, passing_source};
use super::tally::Tally;
use crate::cli::probe::credentials::Credential;

/// A cycle that takes longer has failed: something was lost, and nothing is sent again here.
const PATIENCE: Duration = Duration::from_secs(1);

/// A client that is at it.
struct Cycle {
    seat: Seat,
    began: Instant,
    counts: bool,
}

/// Runs cycles of allocating and releasing at the plan's pace, at most as many at one time as the plan has clients: what
/// was used, how long the load worked, and what it counted. A cycle is sent when it begins, delivered when it ends.
///
/// # Errors
/// What the system says, or that the server refuses.
pub fn run(
    plan: &Plan,
    server: SocketAddr,
    credential: &Arc<Credential>,
    gauge: &Gauge,
) -> Result<(Use, Duration, Tally), String> {
    let failed = |error: io::Error| error.to_string();
    let epoch = Instant::now();
    let nanos = |time: Instant| (time - epoch).as_nanos() as u64;
    let mut ends = Ends::new().map_err(failed)?;
    let mut cycles: Vec<Option<Cycle>> = Vec::new();
    let mut free: VecDeque<usize> = VecDeque::new();
    let mut tally = Tally::default();
    let mut pacer = Pacer::new(plan.pace, 1, 0);
    let mut number = 0_u64;
    let mut worked = Duration::ZERO;
    let mut start = None;
    let mut used: Option<Use> = None;
    let mut begins = epoch + plan.warm_up;
    let mut heard = Vec::new();
    loop {
        let now = Instant::now();
        if start.is_none() && now >= begins {
            start = Some(gauge.start());
            begins = Instant::now();
            (tally, worked) = (Tally::default(), Duration::ZERO);
            pacer = Pacer::new(plan.pace, 1, nanos(begins));
        }
        let end = begins + plan.duration;
        if let (Some(start), None, true) = (&start, &used, now >= end) {
            used = Some(gauge.since(start));
        }
        if used.is_some() && (free.len() == cycles.len() || now > end + PATIENCE) {
            break;
        }
        let due = if used.is_none() {
            pacer.due(nanos(now))
        } else {
            0
        };
        let counts = start.is_some() && used.is_none();
        for _ in 0..due {
            let place = match free.pop_front() {
                Some(place) => place,
                None if cycles.len() < plan.clients => cycles.len(),
                None => {
                    tally.unsent += u64::from(counts);
                    continue;
                }
            };
            let source = passing_source(server, number as usize);
            let socket = client_socket(server, source, false).map_err(failed)?;
            if place == cycles.len() {
                ends.add_datagram(socket).map_err(failed)?;
                cycles.push(None);
            } else {
                ends.replace(place, socket).map_err(failed)?;
            }
            let mut session = Session::new(credential.clone(), number);
            session.asks.push_back(Ask::Release);
            let mut seat = Seat::new(session);
            let _ = seat.ask(&mut ends, place, now);
            cycles[place] = Some(Cycle {
                seat,
                began: now,
                counts,
            });
            tally.sent += u64::from(counts);
            number += 1;
        }
        let missed = pacer.take_missed();
        if counts {
            tally.unsent += missed;
        }
        let patience = match plan.wait {
            Wait::Sleep if due == 0 => pacer.pause(nanos(now)).min(Duration::from_millis(10)),
            _ => Duration::ZERO,
        };
        let received = ends
            .poll(patience, |end, message| {
                if let Some(Some(cycle)) = cycles.get_mut(end) {
                    heard.push((end, cycle.seat.session.hear(message)));
                }
            })
            .map_err(failed)?;
        let then = Instant::now();
        for (end, news) in heard.drain(..) {
            let Some(cycle) = cycles[end].as_mut() else {
                continue;
            };
            match news {
                Heard::Nothing => {}
                Heard::More => {
                    let _ = cycle.seat.ask(&mut ends, end, then);
                }
                Heard::Refused(method, code) => {
                    return Err(super::setup::refusal(method.name(), code));
                }
                Heard::Done => {
                    if cycle.counts {
                        tally.delivered += 1;
                        tally.delays.count((then - cycle.began).as_nanos() as u64);
                    }
                    cycles[end] = None;
                    ends.close(end);
                    free.push_back(end);
                }
            }
        }
        if used.is_none() && (due > 0 || received) {
            worked += then.elapsed() + (then - now);
        }
        for (end, slot) in cycles.iter_mut().enumerate() {
            if slot
                .as_ref()
                .is_some_and(|cycle| now > cycle.began + PATIENCE)
            {
                *slot = None;
                ends.close(end);
                free.push_back(end);
            }
        }
    }
    Ok((used.unwrap_or_default(), worked, tally))
}
