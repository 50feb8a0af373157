//! What the engines of two workers have to say to each other about an allocation that moves, and the new paths of such
//! allocations as the worker sees them that clients reach on them.
//!
//! A [`Letter`] is the caller's to carry: each arrives, and those from one worker to another arrive in order. Nothing else
//! is taken for granted. A path may close, an allocation end or move elsewhere while a letter is under way; so each names
//! the allocation and the number of the ticket that it is about, and is void where that is not the latest.
//!
//! | letter | from | to | what happens there |
//! |---|---|---|---|
//! | `Ask` | where the Refresh came in | owner | it judges and answers |
//! | `Answer` | owner | there | the client is told, the path noted |
//! | `Use` | there, at the first use | owner | it hands the allocation over |
//! | `Closed` | there, when the path closed | owner | it forgets the path |
//! | `Forget` | owner | there | it forgets the path |
//! | `HandOver` | owner | there, the next owner | it goes on with the allocation |
//!
//! Main types: [`Letter`], [`Paths`].

use super::allocation::Allocation;
use super::authenticate::Holder;
use super::counters::DropReason;
use super::mobility::Answer;
use super::outcome::{AllocationId, Arrived, Message, RelayId, WorkerId};
use super::requests::RefreshWish;
use super::respond::Asked;
use super::timers::Slot;
use super::{ClientPath, Engine, Event, FiveTuple, Now, Outcome};
use std::collections::HashMap;
use std::fmt;

/// How much a client may send on its new path while the allocation is on its way there.
const HELD_FRAMES: usize = 64;
const HELD_BYTES: usize = 64 << 10;

/// What one worker's engine tells another's. See the module.
pub struct Letter {
    /// Whose [`super::Engine::from_letter`] is to have it.
    pub to: WorkerId,
    from: WorkerId,
    content: Content,
}

impl Letter {
    /// The relays whose sockets go along, by the sender's numbers.
    pub fn relays(&self) -> impl Iterator<Item = RelayId> + '_ {
        let allocation = match &self.content {
            Content::HandOver(allocation) => Some(allocation),
            _ => None,
        };
        let relays = allocation.into_iter().flat_map(|a| a.relays.iter());
        relays.map(|relay| relay.id)
    }
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = match &self.content {
            Content::Ask(_) => "Ask",
            Content::Answer(_) => "Answer",
            Content::Use(_) => "Use",
            Content::Closed(_) => "Closed",
            Content::Forget(..) => "Forget",
            Content::HandOver(_) => "HandOver",
        };
        let (from, to) = (self.from.0, self.to.0);
        write!(f, "Letter({content} from {from} to {to})")
    }
}

/// What a letter says.
pub(super) enum Content {
    Ask(Box<Ask>),
    Answer(Box<Answered>),
    Use(About),
    Closed(About),
    Forget(FiveTuple, About),
    HandOver(Box<Allocation>),
}

/// A path of an allocation: that of the Refresh which got the ticket of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct About {
    pub id: AllocationId,
    pub serial: u32,
}

/// A Refresh with a ticket, on its way to the allocation. Its sender is known, and its ticket was opened.
pub(super) struct Ask {
    pub id: AllocationId,
    pub serial: u32,
    /// Where it came in, and at which worker.
    pub client: ClientPath,
    pub worker: WorkerId,
    pub asked: Asked,
    pub holder: Holder,
    pub wish: RefreshWish,
}

pub(super) struct Answered {
    id: AllocationId,
    client: ClientPath,
    /// The number of the new ticket, if it got one.
    serial: Option<u32>,
    bytes: Box<[u8]>,
}

/// What became of a client's use of a path that no allocation has.
pub(super) enum FirstUse {
    /// It is the new path of an allocation, which is here now.
    Here(Slot),
    /// The same, but the allocation has yet to come, and the bytes wait for it.
    Held,
    /// It is no allocation's.
    Unknown,
}

/// The paths on which clients were with a ticket and have not sent anything else yet. There are none without a proved
/// credential, and those that the owner allowed are at most one an allocation.
#[derive(Default)]
pub(super) struct Paths {
    by_tuple: HashMap<FiveTuple, Expected>,
    /// Questions about allocations that are on their way here.
    early: Vec<Ask>,
}

struct Expected {
    id: AllocationId,
    client: ClientPath,
    /// Who asked, proved by the Refresh.
    holder: Holder,
    /// Questions that are not answered yet.
    asks: u32,
    /// Who has the allocation, and the number of the ticket, once it may come.
    allowed: Option<(WorkerId, u32)>,
    /// Whether the owner was told that the path is in use.
    is_used: bool,
    held: Vec<Message>,
}

impl Paths {
    fn expect(&mut self, ask: &Ask) -> &mut Expected {
        let expected = self.by_tuple.entry(ask.client.tuple);
        expected.or_insert_with(|| Expected {
            id: ask.id,
            client: ask.client,
            holder: ask.holder.clone(),
            asks: 0,
            allowed: None,
            is_used: false,
            held: Vec::new(),
        })
    }

    /// Ends the waiting where the allocation comes: what was held back. `None` where nobody waits for it, since the path
    /// closed meanwhile.
    pub fn end(
        &mut self,
        client: &ClientPath,
        id: AllocationId,
        serial: u32,
    ) -> Option<Vec<Message>> {
        let expected = self.by_tuple.get(&client.tuple)?;
        let is_it = expected.id == id
            && expected.client == *client
            && expected
                .allowed
                .is_some_and(|(_, allowed)| allowed == serial);
        is_it
            .then(|| self.by_tuple.remove(&client.tuple))?
            .map(|expected| expected.held)
    }

    /// Takes back that an allocation may come to a path.
    fn forget(&mut self, tuple: &FiveTuple, about: About) {
        if let Some(expected) = self.by_tuple.get_mut(tuple)
            && expected.id == about.id
            && expected
                .allowed
                .is_some_and(|(_, serial)| serial == about.serial)
        {
            expected.allowed = None;
            expected.held.clear();
            if expected.asks == 0 {
                self.by_tuple.remove(tuple);
            }
        }
    }

    /// The allocation that a path is noted for.
    pub fn allocation_of(&self, tuple: &FiveTuple) -> Option<AllocationId> {
        Some(self.by_tuple.get(tuple)?.id)
    }

    /// Whose allocation a path is noted for, where that is by an access token: the key of it is nowhere else.
    pub fn token_holder(&self, tuple: &FiveTuple) -> Option<&Holder> {
        let holder = &self.by_tuple.get(tuple)?.holder;
        holder.has_token().then_some(holder)
    }

    pub fn len(&self) -> usize {
        self.by_tuple.len()
    }

    /// Whether an allocation may come to a path.
    pub fn is_allowed(&self, tuple: &FiveTuple) -> bool {
        let expected = self.by_tuple.get(tuple);
        expected.is_some_and(|expected| expected.allowed.is_some())
    }
}

impl Expected {
    fn has_room(&self, bytes: usize) -> bool {
        let held: usize = self.held.iter().map(|frame| frame.bytes.len()).sum();
        self.held.len() < HELD_FRAMES && held + bytes <= HELD_BYTES
    }
}

impl Engine {
    /// Takes a letter of another worker's engine. Where sockets of relays came along, they belong to the relays that are
    /// named, in the same order; what is to be handed to [`Engine::from_client`] comes after that.
    pub fn from_letter(&mut self, now: Now, letter: Letter) -> Arrived {
        let from = letter.from;
        match letter.content {
            Content::Ask(ask) => self.take_ask(now, *ask),
            Content::Answer(answered) => self.take_answer(from, *answered),
            Content::Use(about) => {
                if let Some(slot) = self.slot_with_path(from, about) {
                    self.go(now, slot);
                }
            }
            Content::Closed(about) => {
                if let Some(slot) = self.slot_with_path(from, about) {
                    self.drop_next(slot);
                }
            }
            Content::Forget(tuple, about) => self.paths.forget(&tuple, about),
            Content::HandOver(allocation) => {
                let id = allocation.id;
                let arrived = self.take_over(now, allocation);
                self.take_early_asks(now, id);
                return arrived;
            }
        }
        Arrived::default()
    }

    pub(super) fn post(&mut self, to: WorkerId, content: Content) {
        self.events.push_back(Event::Letter(Letter {
            to,
            from: self.worker,
            content,
        }));
    }

    /// Sends a question to where the allocation is. Where that is here, the allocation is on its way.
    pub(super) fn ask(&mut self, owner: WorkerId, ask: Ask) {
        if owner == self.worker {
            self.paths.early.push(ask);
        } else {
            self.post(owner, Content::Ask(Box::new(ask)));
        }
    }

    fn take_early_asks(&mut self, now: Now, id: AllocationId) {
        let early = std::mem::take(&mut self.paths.early);
        let (due, others) = early.into_iter().partition(|ask| ask.id == id);
        self.paths.early = others;
        for ask in due {
            self.take_ask(now, ask);
        }
    }

    fn take_ask(&mut self, now: Now, ask: Ask) {
        let is_here = self.live_mobile(ask.id, now.instant).is_some();
        if !is_here && let Some(owner) = self.shared.mobile.worker_of(ask.id) {
            return self.ask(owner, ask);
        }
        let answer = self.judge_move(now, &ask);
        let serial = answer
            .ok()
            .and_then(|a: Answer| a.ticket)
            .map(|(_, serial)| serial);
        let mut buffer = [0; super::REPLY_LENGTH];
        let length = match self.answer_move(&ask, answer, &mut buffer) {
            Outcome::Reply(length) => length,
            _ => 0,
        };
        let answered = Answered {
            id: ask.id,
            client: ask.client,
            serial,
            bytes: buffer.get(..length).unwrap_or_default().into(),
        };
        if ask.worker == self.worker {
            self.take_answer(self.worker, answered);
        } else {
            self.post(ask.worker, Content::Answer(Box::new(answered)));
        }
        self.go_if_away(now, ask.id);
    }

    /// Tells the client, and notes that the allocation may come, unless the path closed meanwhile.
    fn take_answer(&mut self, owner: WorkerId, answered: Answered) {
        let Answered {
            id, client, serial, ..
        } = answered;
        let tell = Event::Tell(Box::new(Message {
            client,
            bytes: answered.bytes,
        }));
        let expected = self.paths.by_tuple.get_mut(&client.tuple);
        if let Some(expected) = expected.filter(|e| e.id == id && e.client == client) {
            expected.asks = expected.asks.saturating_sub(1);
            if let Some(serial) = serial
                && expected.allowed != Some((owner, serial))
            {
                expected.allowed = Some((owner, serial));
                expected.is_used = false;
                expected.held.clear();
            }
            if expected.asks == 0 && expected.allowed.is_none() {
                self.paths.by_tuple.remove(&client.tuple);
            }
            self.events.push_back(tell);
            return;
        }
        // A repeated Refresh, answered after the allocation has come.
        let own = self.find(&client.tuple);
        let own = own.and_then(|slot| self.allocations.get(slot as usize));
        if own.is_some_and(|own| own.id == id && own.client == client) {
            self.events.push_back(tell);
        } else if let Some(serial) = serial {
            self.tell_closed(owner, About { id, serial });
        }
    }

    fn tell_closed(&mut self, owner: WorkerId, about: About) {
        if owner != self.worker {
            self.post(owner, Content::Closed(about));
        } else if let Some(slot) = self.slot_with_path(owner, about) {
            self.drop_next(slot);
        }
    }

    /// The allocation whose next path is that one, at that worker.
    fn slot_with_path(&self, worker: WorkerId, about: About) -> Option<Slot> {
        let slot = *self.mobile.get(&about.id)?;
        let mobile = self.allocations.get(slot as usize)?.mobile.as_ref()?;
        let next = mobile.next?;
        (mobile.serial == about.serial && next.worker == worker).then_some(slot)
    }

    fn drop_next(&mut self, slot: Slot) {
        if let Some(allocation) = self.allocations.get_mut(slot as usize)
            && let Some(mobile) = &mut allocation.mobile
        {
            mobile.drop_next();
        }
    }

    /// Notes that a path asks another worker for an allocation.
    pub(super) fn expect_answer(&mut self, ask: &Ask) {
        self.paths.expect(ask).asks += 1;
    }

    /// Notes a path that an allocation of this worker may go to.
    pub(super) fn expect_use(&mut self, ask: &Ask, serial: u32) {
        self.paths.expect(ask).allowed = Some((self.worker, serial));
    }

    /// Tells whoever has a path noted that nothing comes to it.
    pub(super) fn forget_path(&mut self, worker: WorkerId, tuple: FiveTuple, about: About) {
        if worker == self.worker {
            self.paths.forget(&tuple, about);
        } else {
            self.post(worker, Content::Forget(tuple, about));
        }
    }

    /// The client of a path is gone.
    pub(super) fn new_path_closed(&mut self, tuple: &FiveTuple) {
        if let Some(expected) = self.paths.by_tuple.remove(tuple)
            && let Some((owner, serial)) = expected.allowed
        {
            let id = expected.id;
            self.tell_closed(owner, About { id, serial });
        }
    }

    /// A client uses a path that no allocation has: by data, or by a request of its own. If it was allowed to take its
    /// allocation there, now it comes.
    pub(super) fn first_use(&mut self, now: Now, client: &ClientPath, frame: &[u8]) -> FirstUse {
        let Some(expected) = self.paths.by_tuple.get_mut(&client.tuple) else {
            return FirstUse::Unknown;
        };
        let Some((owner, serial)) = expected.allowed else {
            return FirstUse::Unknown;
        };
        let id = expected.id;
        let about = About { id, serial };
        if owner == self.worker {
            let slot = self.live_mobile(id, now.instant);
            let Some(slot) = slot.and_then(|_| self.slot_with_path(owner, about)) else {
                return FirstUse::Unknown;
            };
            self.go(now, slot);
            return FirstUse::Here(slot);
        }
        if expected.has_room(frame.len()) {
            expected.held.push(Message {
                client: *client,
                bytes: frame.into(),
            });
        } else {
            self.counters.dropped(DropReason::WorkerBusy);
        }
        if !std::mem::replace(&mut expected.is_used, true) {
            self.post(owner, Content::Use(about));
        }
        FirstUse::Held
    }
}
