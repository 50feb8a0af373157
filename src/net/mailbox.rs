//! Payloads between workers: a hairpin whose two allocations live on different threads. And letters between their
//! engines, with the sockets of allocations that move.
//!
//! Each ordered pair of workers has a lock-free ring of bytes. A ring that is full drops, as a network would. Letters are
//! few and never dropped: a worker has one queue of them from all others, and each comes from a client that proved its
//! credential.

use super::relay_set::RelaySocket;
use crate::engine::{Delivery, Letter, RelayId, WorkerId};
use rtrb::{Consumer, Producer, RingBuffer};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::Notify;

/// The bytes all rings into one worker have together, at most; a single one has at least [`MIN_RING`].
const RINGS_OF_A_WORKER: usize = 4 << 20;
const MIN_RING: usize = 128 << 10;

/// relay, two addresses, payload length.
const HEAD: usize = 4 + 2 * ADDRESS + 2;
/// 16 bytes of address, IPv4 in mapped form, and the port.
const ADDRESS: usize = 18;

/// The ways out of one worker.
pub(super) struct Post {
    ways: Vec<Option<Way>>,
}

/// A letter with the sockets of its relays.
pub(super) struct Parcel {
    pub letter: Letter,
    pub sockets: Vec<Option<RelaySocket>>,
}

struct Way {
    ring: Producer<u8>,
    letters: Sender<Parcel>,
    wake: Arc<Notify>,
    used: bool,
}

/// The ways into one worker.
pub(super) struct Inbox {
    rings: Vec<Consumer<u8>>,
    letters: Receiver<Parcel>,
    /// Told when something was put into a ring.
    pub wake: Arc<Notify>,
}

/// The mailboxes of so many workers, in their order.
pub(super) fn mailboxes(workers: usize) -> Vec<(Post, Inbox)> {
    let size = (RINGS_OF_A_WORKER / workers.max(1)).max(MIN_RING);
    let wakes: Vec<Arc<Notify>> = (0..workers).map(|_| Arc::default()).collect();
    let (letters, mut inboxes): (Vec<Sender<Parcel>>, Vec<Inbox>) = wakes
        .iter()
        .map(|wake| {
            let (sender, letters) = channel();
            let inbox = Inbox {
                rings: Vec::new(),
                letters,
                wake: wake.clone(),
            };
            (sender, inbox)
        })
        .unzip();
    let posts: Vec<Post> = (0..workers)
        .map(|from| Post {
            ways: (0..workers)
                .map(|to| {
                    if from == to {
                        return None;
                    }
                    let (ring, consumer) = RingBuffer::new(size);
                    inboxes[to].rings.push(consumer);
                    Some(Way {
                        ring,
                        letters: letters[to].clone(),
                        wake: wakes[to].clone(),
                        used: false,
                    })
                })
                .collect(),
        })
        .collect();
    posts.into_iter().zip(inboxes).collect()
}

impl Post {
    /// Puts a payload into a worker's inbox; `false` when it is full. [`Post::dispatch`] wakes the worker.
    pub fn put(&mut self, to: WorkerId, delivery: &Delivery, payload: &[u8]) -> bool {
        let Some(Some(way)) = self.ways.get_mut(to.0 as usize) else {
            return false;
        };
        let Ok(length) = u16::try_from(payload.len()) else {
            return false;
        };
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(&delivery.relay.0.to_be_bytes());
        head[4..4 + ADDRESS].copy_from_slice(&encode(delivery.to));
        head[4 + ADDRESS..4 + 2 * ADDRESS].copy_from_slice(&encode(delivery.from));
        head[HEAD - 2..].copy_from_slice(&length.to_be_bytes());

        let Ok(mut chunk) = way.ring.write_chunk(HEAD + payload.len()) else {
            return false;
        };
        let (first, second) = chunk.as_mut_slices();
        let room = first.iter_mut().chain(second);
        for (to, from) in room.zip(head.iter().chain(payload)) {
            *to = *from;
        }
        chunk.commit_all();
        way.used = true;
        true
    }

    /// Puts a letter into a worker's inbox. Only a worker that has stopped does not get it.
    pub fn put_letter(&mut self, parcel: Parcel) {
        if let Some(Some(way)) = self.ways.get_mut(parcel.letter.to.0 as usize) {
            let _ = way.letters.send(parcel);
            way.used = true;
        }
    }

    /// Wakes the workers that got something.
    pub fn dispatch(&mut self) {
        for way in self.ways.iter_mut().flatten().filter(|way| way.used) {
            way.used = false;
            way.wake.notify_one();
        }
    }
}

impl Inbox {
    /// The next letter.
    pub fn next_letter(&mut self) -> Option<Parcel> {
        self.letters.try_recv().ok()
    }

    /// Takes up to `at_most` payloads from each ring; whether any was there.
    pub fn take(&mut self, at_most: usize, mut each: impl FnMut(&Delivery, &[u8])) -> bool {
        let mut payload = Vec::new();
        let mut any = false;
        for ring in &mut self.rings {
            for _ in 0..at_most {
                let Ok(chunk) = ring.read_chunk(HEAD) else {
                    break;
                };
                let mut head = [0; HEAD];
                let (first, second) = chunk.as_slices();
                head[..first.len()].copy_from_slice(first);
                head[first.len()..].copy_from_slice(second);
                let length = usize::from(u16::from_be_bytes([head[HEAD - 2], head[HEAD - 1]]));
                chunk.commit_all();
                // Records are put in whole, so the payload is there.
                let Ok(chunk) = ring.read_chunk(length) else {
                    break;
                };
                let (first, second) = chunk.as_slices();
                payload.clear();
                payload.extend_from_slice(first);
                payload.extend_from_slice(second);
                chunk.commit_all();
                any = true;
                let delivery = Delivery {
                    relay: RelayId(u32::from_be_bytes([head[0], head[1], head[2], head[3]])),
                    to: decode(&head[4..4 + ADDRESS]),
                    from: decode(&head[4 + ADDRESS..4 + 2 * ADDRESS]),
                };
                each(&delivery, &payload);
            }
        }
        any
    }
}

fn encode(address: SocketAddr) -> [u8; ADDRESS] {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut bytes = [0; ADDRESS];
    bytes[..16].copy_from_slice(&ip.octets());
    bytes[16..].copy_from_slice(&address.port().to_be_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> SocketAddr {
    let mut ip = [0; 16];
    ip.copy_from_slice(&bytes[..16]);
    let ip = Ipv6Addr::from(ip).to_canonical();
    SocketAddr::new(ip, u16::from_be_bytes([bytes[16], bytes[17]]))
}

#[cfg(test)]
mod tests;
