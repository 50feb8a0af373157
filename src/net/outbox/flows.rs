//! Which datagrams of a batch belong to one flow: the same socket, the same destination.
//!
//! A batch takes turns between clients, and runs are made of neighbours only. So datagrams are chained by flow as they
//! come, in constant time each, and leave flow by flow.

use super::{Datagram, Exit};
use std::net::SocketAddr;

/// Places of the index. Flows beyond half of them are not looked for again, which only makes for shorter runs.
const INDEX: usize = 512;

/// The end of a chain.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Flow {
    exit: Exit,
    first: u32,
    last: u32,
    /// Where it stands in the index.
    place: Option<u16>,
}

/// Chains of datagrams. See the module.
pub(super) struct Flows {
    flows: Vec<Flow>,
    /// By datagram: the next one of its flow.
    next: Vec<u32>,
    /// By hash: a flow's number and one, or 0.
    index: Box<[u16; INDEX]>,
}

impl Flows {
    pub fn new() -> Self {
        Flows {
            flows: Vec::with_capacity(INDEX / 2),
            next: Vec::with_capacity(INDEX / 2),
            index: Box::new([0; INDEX]),
        }
    }

    /// Takes in the datagram that comes behind all `others`.
    pub fn add(&mut self, datagram: &Datagram, others: &[Datagram]) {
        let number = self.next.len() as u32;
        self.next.push(NONE);
        let continues = |flow: &Flow| {
            let last = &others[flow.last as usize];
            last.exit == datagram.exit && last.to == datagram.to
        };
        if let Some(flow) = self.flows.last_mut().filter(|flow| continues(flow)) {
            self.next[flow.last as usize] = number;
            flow.last = number;
            return;
        }
        let mut place = hash(datagram) % INDEX;
        let is_full = self.flows.len() >= INDEX / 2;
        loop {
            match self.index[place] {
                0 => break,
                found => {
                    let flow = &mut self.flows[usize::from(found) - 1];
                    if continues(flow) {
                        self.next[flow.last as usize] = number;
                        flow.last = number;
                        return;
                    }
                }
            }
            place = (place + 1) % INDEX;
        }
        if !is_full {
            self.index[place] = self.flows.len() as u16 + 1;
        }
        self.flows.push(Flow {
            exit: datagram.exit,
            first: number,
            last: number,
            place: (!is_full).then_some(place as u16),
        });
    }

    /// The datagrams' places: by socket, in it by flow, in that as they came. Leaves this empty.
    pub fn take_in_order(&mut self, order: &mut Vec<u32>) {
        for flow in &self.flows {
            if let Some(place) = flow.place {
                self.index[usize::from(place)] = 0;
            }
        }
        // A flow that is not in the index comes in parts, which must not change places.
        self.flows
            .sort_unstable_by_key(|flow| (flow.exit, flow.first));
        order.clear();
        for flow in &self.flows {
            let mut place = flow.first;
            while let Some(next) = self.next.get(place as usize) {
                order.push(place);
                place = *next;
            }
        }
        self.flows.clear();
        self.next.clear();
    }
}

/// Spreads destinations over the index. Clients may find some that fall on one place: a batch is short enough.
fn hash(datagram: &Datagram) -> usize {
    let address = match datagram.to {
        SocketAddr::V4(to) => u64::from(to.ip().to_bits()) << 16 | u64::from(to.port()),
        SocketAddr::V6(to) => {
            let bits = to.ip().to_bits();
            (bits >> 64) as u64 ^ (bits as u64).rotate_left(16) ^ u64::from(to.port())
        }
    };
    let exit = match datagram.exit {
        Exit::Listener(number) => u64::from(number) << 1,
        Exit::Relay(number) => u64::from(number) << 1 | 1,
    };
    let mixed = (address ^ exit.rotate_right(17)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 48) as usize
}
