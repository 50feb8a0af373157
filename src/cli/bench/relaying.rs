//! The load of relaying: payloads from flow to flow through the server, counted where they arrive.
//!
//! The main type is [`Relaying`].

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::ends::Ends;
use super::frame::{self, Frame};
use super::gauge::{Gauge, Use};
use super::pacer::Pacer;
use super::scenario::{Direction, Framing, Pace, Plan, Wait};
use super::session::Ask;
use super::setup::{Seat, bring_up};
use super::stamp::Stamp;
use super::tally::{Flow, Tally};
use crate::cli::probe::url::Transport;
use crate::net::volley::{Volley, datagram_socket};
use crate::wire::ChannelNumber;

/// A flow whose window stays full for this long has lost what is under way.
const LOST_AFTER: Duration = Duration::from_millis(50);

/// With a window, arrivals are looked at only this often, in nanoseconds: several at once cost the load less.
const LOOK_EVERY: u64 = 50_000;

/// In the end, packets that are still under way are waited for until there was silence for this long.
const DRAIN: Duration = Duration::from_millis(500);

/// Where a flow starts and ends, and what it sends.
struct Route {
    from: usize,
    to: usize,
    frame: Frame,
    flow: Flow,
}

/// Everything a load of relaying needs while it runs.
pub struct Relaying<'p> {
    plan: &'p Plan,
    ends: Ends,
    /// The first so many ends are clients.
    clients: usize,
    routes: Vec<Route>,
    volley: Volley,
    tally: Tally,
    epoch: Instant,
    /// Payloads count that were sent from here on, in nanoseconds since `epoch`.
    counts_from: u64,
    turn: usize,
    worked: Duration,
}

/// Opens the peers' sockets and gets the clients permissions and channels for them: the flows between. The busy clients
/// are the first of the seats.
///
/// # Errors
/// A sentence about what the system or the server refused.
pub fn prepare<'p>(
    plan: &'p Plan,
    direction: Direction,
    peer_ip: IpAddr,
    mut ends: Ends,
    seats: &mut [Seat],
) -> Result<Relaying<'p>, String> {
    let is_stream = plan.transport != Transport::Udp;
    let mut routes = Vec::new();
    let mut add = |from, to, frame| {
        routes.push(Route {
            from,
            to,
            frame,
            flow: Flow::default(),
        });
    };
    for client in 0..plan.clients {
        for number in 0..plan.peers {
            let relayed = |seat: usize| {
                let relayed = seats.get(seat).and_then(|seat| seat.session.relayed);
                relayed.ok_or_else(|| "a client has no relayed address".to_owned())
            };
            let (end, address) = if direction == Direction::RelayToRelay {
                let partner = client ^ 1;
                (partner, relayed(partner)?)
            } else {
                let end = peer(&mut ends, peer_ip, relayed(client)?, plan.coalesced)
                    .map_err(|error| format!("cannot open a peer's socket: {error}"))?;
                let address = ends.address(end).map_err(|error| error.to_string())?;
                (end, address)
            };
            let channel = channel(number)?;
            let asks = &mut seats[client].session.asks;
            let to_peer = match plan.framing {
                Framing::Channel => {
                    asks.push_back(Ask::Bind(channel, address));
                    Frame::channel(channel, plan.size, is_stream)
                }
                Framing::Send => {
                    asks.push_back(Ask::Permit(address));
                    Frame::indication(address, plan.size)
                }
            };
            if direction != Direction::ToClient {
                add(client, end, to_peer);
            }
            if matches!(direction, Direction::ToClient | Direction::Both) {
                add(end, client, Frame::bare(plan.size));
            }
        }
    }
    bring_up(&mut ends, seats, plan.coalesced)?;
    let longest = routes
        .iter()
        .map(|route| route.frame.bytes.len())
        .max()
        .unwrap_or_default();
    Ok(Relaying {
        plan,
        ends,
        clients: seats.len(),
        routes,
        volley: Volley::new(plan.burst, longest),
        tally: Tally::default(),
        epoch: Instant::now(),
        counts_from: u64::MAX,
        turn: 0,
        worked: Duration::ZERO,
    })
}

/// Opens a peer's socket, which exchanges packets with one relayed address only.
fn peer(ends: &mut Ends, ip: IpAddr, relayed: SocketAddr, coalesced: bool) -> io::Result<usize> {
    let socket = datagram_socket(SocketAddr::new(ip, 0), coalesced)?;
    socket.connect(relayed)?;
    ends.add_datagram(socket)
}

fn channel(number: usize) -> Result<ChannelNumber, String> {
    u16::try_from(number)
        .ok()
        .and_then(|number| ChannelNumber::new(ChannelNumber::MIN.get().saturating_add(number)))
        .ok_or_else(|| "there are not so many channels".to_owned())
}

impl Relaying<'_> {
    /// Runs the load: warms up, counts, and waits for the last packets.
    ///
    /// # Errors
    /// That a connection to the server is over.
    pub fn run(&mut self, gauge: &Gauge) -> io::Result<Use> {
        self.drive(self.plan.warm_up)?;
        let start = gauge.start();
        self.tally = Tally::default();
        self.worked = Duration::ZERO;
        self.counts_from = self.now();
        self.drive(self.plan.duration)?;
        let used = gauge.since(&start);
        let mut deadline = Instant::now() + DRAIN;
        // What was taken for lost may only be late.
        while self.routes.iter().any(|route| route.flow.awaited() > 0) && Instant::now() < deadline
        {
            if self.collect(Duration::from_millis(10))? {
                deadline = Instant::now() + DRAIN;
            }
        }
        Ok(used)
    }

    /// What was counted.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The part of the time in which the load sent or received something.
    #[must_use]
    pub fn worked(&self) -> Duration {
        self.worked
    }

    /// The sockets, for what is to be done when the load is over.
    #[must_use]
    pub fn into_ends(self) -> Ends {
        self.ends
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    fn drive(&mut self, time: Duration) -> io::Result<()> {
        let start = self.now();
        let end = start + time.as_nanos() as u64;
        let mut pacer = Pacer::new(self.plan.pace, self.plan.burst, start);
        let mut progress = start;
        let mut looked = start;
        let mut now = start;
        while now < end {
            let sent = match self.plan.pace {
                Pace::Window(window) => self.fill(window, now),
                Pace::Rate { .. } => {
                    let due = pacer.due(now);
                    for _ in 0..due {
                        self.send_next(now);
                    }
                    due > 0
                }
            };
            if self.counts_from != u64::MAX {
                self.tally.unsent += pacer.take_missed() * self.plan.burst as u64;
            }
            let patience = match self.plan.wait {
                Wait::Sleep if !sent => pacer.pause(now).min(Duration::from_millis(10)),
                _ => Duration::ZERO,
            };
            let spins = self.plan.wait == Wait::Spin;
            let received = if spins && pacer.is_window() && now < looked + LOOK_EVERY {
                false
            } else {
                looked = now;
                self.collect(patience)?
            };
            let then = self.now();
            if sent || received {
                progress = then;
                self.worked += Duration::from_nanos(then - now);
            } else if then - progress > LOST_AFTER.as_nanos() as u64 {
                progress = then;
                if matches!(self.plan.pace, Pace::Window(_)) {
                    self.routes
                        .iter_mut()
                        .for_each(|route| route.flow.give_up());
                }
            }
            now = then;
        }
        Ok(())
    }

    /// Sends a burst of each flow that has room for one.
    fn fill(&mut self, window: u32, now: u64) -> bool {
        let burst = self.plan.burst as u64;
        let each = (u64::from(window) / self.routes.len() as u64).max(burst);
        let mut sent = false;
        for number in 0..self.routes.len() {
            if self.routes[number].flow.under_way() + burst <= each {
                self.send(number, now);
                sent = true;
            }
        }
        sent
    }

    /// Sends a burst of the flow whose turn it is.
    fn send_next(&mut self, now: u64) {
        let number = self.turn;
        self.turn = (self.turn + 1) % self.routes.len();
        self.send(number, now);
    }

    fn send(&mut self, number: usize, now: u64) {
        let route = &mut self.routes[number];
        let length = route.frame.bytes.len();
        let burst = self.plan.burst;
        let datagrams = self.volley.datagrams(length).take(burst);
        for (place, datagram) in (route.flow.next..).zip(datagrams) {
            datagram.copy_from_slice(&route.frame.bytes);
            let stamp = Stamp {
                flow: number as u32,
                place,
                sent: now,
            };
            stamp.write(&mut datagram[route.frame.payload.clone()]);
        }
        let segmented = self.plan.segmented;
        let taken = self
            .ends
            .send_volley(route.from, &mut self.volley, (burst, length), segmented)
            .unwrap_or(0);
        route.flow.next += taken as u64;
        if self.counts_from <= now {
            self.tally.sent += taken as u64;
            self.tally.unsent += (burst - taken) as u64;
        }
    }

    /// Takes what has arrived.
    fn collect(&mut self, patience: Duration) -> io::Result<bool> {
        let (routes, tally) = (&mut self.routes, &mut self.tally);
        let (clients, counts_from, epoch) = (self.clients, self.counts_from, self.epoch);
        // The clock is read once for all that has arrived, when the first of it is looked at.
        let mut read = None;
        self.ends.poll(patience, |end, message| {
            let at = *read.get_or_insert_with(|| epoch.elapsed().as_nanos() as u64);
            let payload = if end < clients {
                frame::payload(message)
            } else {
                Some(message)
            };
            let found = payload.and_then(Stamp::read).and_then(|stamp| {
                let route = routes.get_mut(stamp.flow as usize)?;
                (route.to == end).then_some((stamp, &mut route.flow))
            });
            match found {
                Some((stamp, flow)) => {
                    tally.arrived(flow, stamp, at, stamp.sent >= counts_from);
                }
                None => tally.foreign += 1,
            }
        })
    }
}
