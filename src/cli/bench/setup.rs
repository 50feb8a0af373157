//! Bringing up many clients at once: their sockets, and their requests with retransmissions.
//!
//! The main type is [`Seat`], a client with its end and its session.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::ends::Ends;
use super::session::{Ask, Heard, LONGEST_REQUEST, Session};
use crate::net::volley::datagram_socket;
use crate::wire::Method;

/// How many requests are under way at one time: more could be lost where the server's buffer is small.
const AT_ONCE: usize = 64;

/// How long an answer may take before the request is sent again, at first.
const RETRY: Duration = Duration::from_millis(500);

/// How often a request is sent.
const TRIES: u32 = 5;

/// Where the server is on this machine, so many clients share a source address: some servers limit them by address.
const PER_SOURCE: usize = 500;

/// A client: which end is its socket, and its state. A seat's number is its end's.
pub struct Seat {
    /// The client's state.
    pub session: Session,
    sent: Option<Instant>,
    tries: u32,
    reopened: u32,
}

impl Seat {
    /// A client that has not asked for anything.
    #[must_use]
    pub fn new(session: Session) -> Seat {
        Seat {
            session,
            sent: None,
            tries: 0,
            reopened: 0,
        }
    }

    /// Sends what is to be asked for next, as a new request.
    ///
    /// # Errors
    /// What the system says.
    pub fn ask(&mut self, ends: &mut Ends, end: usize, now: Instant) -> io::Result<()> {
        let mut buffer = [0; LONGEST_REQUEST];
        if let Some(length) = self.session.write(&mut buffer) {
            self.sent = Some(now);
            ends.send(end, &buffer[..length])?;
        }
        Ok(())
    }
}

/// The source address of a client that stays, by its number: the one that leads to the server, or one of many where that
/// is here.
#[must_use]
pub fn source(server: SocketAddr, number: usize) -> SocketAddr {
    SocketAddr::new(nth_source(server, number / PER_SOURCE), 0)
}

/// The source address of a client that comes and goes: where the server is here, no two in a row have the same, so that
/// none gets a port of which the server still remembers another client.
#[must_use]
pub fn passing_source(server: SocketAddr, number: usize) -> SocketAddr {
    SocketAddr::new(nth_source(server, number), 0)
}

fn nth_source(server: SocketAddr, number: usize) -> IpAddr {
    match server.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => {
            let (high, low) = (number / 250 % 250, number % 250 + 1);
            IpAddr::V4(Ipv4Addr::new(127, 0, high as u8, low as u8))
        }
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(ip) if ip.is_loopback() => server.ip(),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// Opens a client's UDP socket, connected to the server.
///
/// # Errors
/// What the system says.
pub fn client_socket(
    server: SocketAddr,
    source: SocketAddr,
    coalesced: bool,
) -> io::Result<UdpSocket> {
    let socket = datagram_socket(source, coalesced)?;
    socket.connect(server)?;
    Ok(socket)
}

/// Gets every client what it asks for. The seats are the first ends.
///
/// # Errors
/// A sentence about the first client that was refused or got no answer.
pub fn bring_up(ends: &mut Ends, seats: &mut [Seat], coalesced: bool) -> Result<(), String> {
    let mut next = 0;
    let mut under_way: Vec<usize> = Vec::new();
    let mut heard = Vec::new();
    loop {
        let now = Instant::now();
        while under_way.len() < AT_ONCE && next < seats.len() {
            if !seats[next].session.asks.is_empty() {
                seats[next].tries = 1;
                send(ends, seats, next, now)?;
                under_way.push(next);
            }
            next += 1;
        }
        if under_way.is_empty() {
            return Ok(());
        }
        let polled = ends.poll(Duration::from_millis(20), |end, message| {
            if let Some(seat) = seats.get_mut(end) {
                match seat.session.hear(message) {
                    Heard::Nothing => {}
                    news => heard.push((end, news)),
                }
            }
        });
        polled.map_err(|error| error.to_string())?;
        let now = Instant::now();
        for (seat, news) in heard.drain(..) {
            match news {
                Heard::More => {
                    seats[seat].tries = 1;
                    send(ends, seats, seat, now)?;
                }
                // The server still remembers another client that had this port.
                Heard::Refused(Method::ALLOCATE, 437) if seats[seat].reopened < TRIES => {
                    seats[seat].reopened += 1;
                    seats[seat].tries = 1;
                    ends.reopen(seat, coalesced)
                        .map_err(|error| format!("cannot open a client's socket: {error}"))?;
                    send(ends, seats, seat, now)?;
                }
                Heard::Refused(method, code) => return Err(refusal(method.name(), code)),
                Heard::Done | Heard::Nothing => under_way.retain(|other| *other != seat),
            }
        }
        for seat in under_way.iter().copied() {
            let patience = RETRY * seats[seat].tries;
            if seats[seat].sent.is_none_or(|sent| now < sent + patience) {
                continue;
            }
            if seats[seat].tries >= TRIES {
                return Err("the server does not answer".to_owned());
            }
            seats[seat].tries += 1;
            send(ends, seats, seat, now)?;
        }
    }
}

/// A connected socket tells once what ICMP said of an earlier packet, and takes the next one.
fn send(ends: &mut Ends, seats: &mut [Seat], seat: usize, now: Instant) -> Result<(), String> {
    match seats[seat].ask(ends, seat, now) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::WouldBlock) => {
            Err(format!("the server cannot be reached: {error}"))
        }
        _ => Ok(()),
    }
}

/// What to tell of a refusal.
pub fn refusal(method: &str, code: u16) -> String {
    let hint = match code {
        401 => ": is the credential right?",
        403 => ": the server does not allow these peers; see --peer-address",
        486 => ": the limit of allocations for a user or an address",
        508 => ": the server has no relayed address left",
        _ => "",
    };
    format!("the server refused {method} with {code}{hint}")
}

/// Ends all allocations, as far as the server answers: a load should leave nothing behind.
pub fn release(ends: &mut Ends, seats: &mut [Seat]) {
    for seat in seats.iter_mut() {
        seat.session.asks.clear();
        if seat.session.relayed.is_some() {
            seat.session.asks.push_back(Ask::Release);
        }
    }
    // Whoever measures is told what was measured, even if the server has gone.
    let _ = bring_up(ends, seats, false);
}
