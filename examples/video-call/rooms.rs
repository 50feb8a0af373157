//! The rooms, and who sits in them.
//!
//! A seat belongs to a member, not to a connection: when a page's socket breaks, its seat is kept for a while, and what
//! the others send meanwhile waits in it. The page comes back with the seat's token and misses nothing. A seat that
//! nobody came back to is free again, and the others are told.
//!
//! Nothing here waits, reads a clock or knows a socket; connections call in, and are woken when a letter waits for them.
//! Everything is bounded: rooms, seats, letters that wait, and the time a seat is kept. Main types: [`Rooms`], [`Place`].

use crate::messages::{Member, MemberName, Refusal, RoomName, SeatId, ToPage, Token};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How many sit in a room. In a mesh each sends its picture to each: six of them upload five pictures each, which is about
/// what a home's line takes. Larger rooms want a server that forwards media (an SFU).
pub const SEATS: usize = 6;

/// Bounds of the whole server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rooms at one time.
    pub rooms: usize,
    /// Bytes of letters that wait for one member.
    pub waiting: usize,
    /// How long the seat of a broken connection is kept.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rooms: 200,
            waiting: 192 * 1024,
            grace: Duration::from_secs(30),
        }
    }
}

/// All rooms.
#[derive(Debug)]
pub struct Rooms {
    limits: Limits,
    rooms: HashMap<RoomName, Room>,
    /// Numbers connections, so that an old one cannot act for a seat that has a newer one.
    connections: u64,
}

#[derive(Debug, Default)]
struct Room {
    seats: BTreeMap<SeatId, Seat>,
    last_seat: u32,
}

#[derive(Debug)]
struct Seat {
    name: MemberName,
    token: Token,
    /// The connection that speaks for it, by number.
    connection: u64,
    /// Since when there is none.
    away_since: Option<Instant>,
    letters: VecDeque<String>,
    waiting: usize,
    /// More came than may wait: something is missing now, so the seat is given up.
    overflown: bool,
    wake: Arc<Notify>,
}

/// What a connection holds: a seat, as long as no newer connection takes it.
#[derive(Clone, Debug)]
pub struct Place {
    room: RoomName,
    /// The seat's number.
    pub seat: SeatId,
    connection: u64,
    /// Woken when there is something to [`collect`](Rooms::collect).
    pub wake: Arc<Notify>,
}

impl Rooms {
    /// No rooms yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            rooms: HashMap::new(),
            connections: 0,
        }
    }

    /// Takes a seat for a newcomer and tells the others.
    pub fn join(
        &mut self,
        room: RoomName,
        name: MemberName,
    ) -> Result<(Place, Token, Vec<Member>), Refusal> {
        if !self.rooms.contains_key(&room) && self.rooms.len() >= self.limits.rooms {
            return Err(Refusal::ServerFull);
        }
        let at = self.rooms.entry(room.clone()).or_default();
        if at.seats.len() >= SEATS {
            return Err(Refusal::RoomFull);
        }
        let members = at.members();
        at.last_seat += 1;
        let id = SeatId(at.last_seat);
        self.connections += 1;
        let member = Member {
            seat: id,
            name: name.clone(),
        };
        at.tell_others(id, &ToPage::MemberJoined { member }, self.limits.waiting);
        let seat = Seat {
            name,
            token: Token::random(),
            connection: self.connections,
            away_since: None,
            letters: VecDeque::new(),
            waiting: 0,
            overflown: false,
            wake: Arc::new(Notify::new()),
        };
        let place = seat.place(room, id);
        let token = seat.token.clone();
        at.seats.insert(id, seat);
        Ok((place, token, members))
    }

    /// Gives a seat to a new connection of the same member. One that still holds it is sent away: it is the old one,
    /// whose end nobody has noticed yet.
    pub fn resume(
        &mut self,
        room: RoomName,
        id: SeatId,
        token: &Token,
    ) -> Result<(Place, Vec<Member>), Refusal> {
        let at = self.rooms.get_mut(&room).ok_or(Refusal::NoSuchSeat)?;
        let seat = at
            .seats
            .get_mut(&id)
            .filter(|seat| seat.token.proves(token) && !seat.overflown)
            .ok_or(Refusal::NoSuchSeat)?;
        self.connections += 1;
        seat.connection = self.connections;
        seat.away_since = None;
        // For the old connection, which then finds out; the new one waits for another.
        seat.wake.notify_one();
        seat.wake = Arc::new(Notify::new());
        if !seat.letters.is_empty() {
            seat.wake.notify_one();
        }
        let place = seat.place(room, id);
        at.tell_others(id, &ToPage::MemberBack { seat: id }, self.limits.waiting);
        let mut members = at.members();
        members.retain(|member| member.seat != id);
        Ok((place, members))
    }

    /// Puts a letter to another member of the same room into their seat.
    pub fn post(&mut self, from: &Place, to: SeatId, letter: &ToPage) -> Result<(), Refusal> {
        let limit = self.limits.waiting;
        let at = self.held(from).ok_or(Refusal::TakenOver)?;
        let seat = at.seats.get_mut(&to).filter(|_| to != from.seat);
        seat.ok_or(Refusal::NoSuchMember)?
            .put(letter.to_json(), limit);
        Ok(())
    }

    /// Takes out what waits for the holder of a place.
    pub fn collect(&mut self, place: &Place) -> Result<VecDeque<String>, Refusal> {
        let at = self.held(place).ok_or(Refusal::TakenOver)?;
        let seat = at.seats.get_mut(&place.seat).ok_or(Refusal::TakenOver)?;
        if seat.overflown {
            return Err(Refusal::TooSlow);
        }
        seat.waiting = 0;
        Ok(std::mem::take(&mut seat.letters))
    }

    /// The member goes.
    pub fn leave(&mut self, place: &Place) {
        if self.held(place).is_some() {
            self.remove(&place.room, place.seat);
        }
    }

    /// The connection broke; the member may come back.
    pub fn away(&mut self, place: &Place, now: Instant) {
        let limit = self.limits.waiting;
        if let Some(at) = self.held(place) {
            if let Some(seat) = at.seats.get_mut(&place.seat) {
                seat.away_since = Some(now);
            }
            at.tell_others(place.seat, &ToPage::MemberAway { seat: place.seat }, limit);
        }
    }

    /// Frees the seats whose members did not come back in time. To be called about once a second.
    pub fn sweep(&mut self, now: Instant) {
        let grace = self.limits.grace;
        let is_over = |seat: &Seat| {
            seat.away_since
                .is_some_and(|since| seat.overflown || now.duration_since(since) >= grace)
        };
        let over: Vec<_> = self
            .rooms
            .iter()
            .flat_map(|(name, room)| room.seats.iter().map(move |(id, seat)| (name, id, seat)))
            .filter(|(_, _, seat)| is_over(seat))
            .map(|(name, id, _)| (name.clone(), *id))
            .collect();
        for (room, seat) in over {
            self.remove(&room, seat);
        }
    }

    /// How many rooms there are.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.rooms.len()
    }

    /// The room of a place, if its connection still is the one that speaks for the seat.
    fn held(&mut self, place: &Place) -> Option<&mut Room> {
        let room = self.rooms.get_mut(&place.room)?;
        let seat = room.seats.get(&place.seat)?;
        (seat.connection == place.connection).then_some(room)
    }

    fn remove(&mut self, name: &RoomName, id: SeatId) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        if room.seats.remove(&id).is_some() {
            room.tell_others(id, &ToPage::MemberLeft { seat: id }, self.limits.waiting);
        }
        if room.seats.is_empty() {
            self.rooms.remove(name);
        }
    }
}

impl Room {
    fn members(&self) -> Vec<Member> {
        let member = |(id, seat): (&SeatId, &Seat)| Member {
            seat: *id,
            name: seat.name.clone(),
        };
        self.seats.iter().map(member).collect()
    }

    fn tell_others(&mut self, about: SeatId, letter: &ToPage, limit: usize) {
        for (_, seat) in self.seats.iter_mut().filter(|(id, _)| **id != about) {
            seat.put(letter.to_json(), limit);
        }
    }
}

impl Seat {
    fn place(&self, room: RoomName, seat: SeatId) -> Place {
        Place {
            room,
            seat,
            connection: self.connection,
            wake: self.wake.clone(),
        }
    }

    fn put(&mut self, letter: String, limit: usize) {
        self.waiting += letter.len();
        if self.waiting > limit {
            self.overflown = true;
            self.letters.clear();
        } else {
            self.letters.push_back(letter);
        }
        self.wake.notify_one();
    }
}
