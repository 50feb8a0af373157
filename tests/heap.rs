//! What a relayed packet must not need: memory of the heap. A global allocator counts, in the engine and in a whole
//! server with its threads.

#![allow(clippy::unwrap_used, unsafe_code)]

#[path = "../benches/rig/mod.rs"]
mod rig;

use hairpin::engine::{Outcome, Transport};
use rig::{Rig, frame, peer, send_indication};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller keeps what `alloc` demands.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, and so from the system.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often the heap is asked for memory by `work` on this thread.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

#[test]
fn the_count_counts() {
    let mut kept = None;
    assert_eq!(allocations(|| kept = Some(Box::new(7))), 1);
    assert_eq!(kept.as_deref(), Some(&7));
}

#[test]
fn the_engine_relays_a_packet_without_memory_of_the_heap() {
    let mut rig = Rig::default();
    let udp = rig.connect(1, Transport::Udp);
    let tcp = rig.connect(2, Transport::Tcp);
    let mut alice = rig.allocate(3, Transport::Udp);
    let mut bob = rig.allocate(4, Transport::Udp);
    rig.bind(&mut alice, bob.relayed);
    rig.bind(&mut bob, alice.relayed);
    let mut other = rig.connect(5, Transport::Udp);
    let stranger = ([40, 0, 0, 2], 6000).into();
    rig.permit(&mut other, stranger);

    let channel_data = frame(1200);
    let send = send_indication(peer(), 1200);
    let to_relay = send_indication(bob.relayed, 1200);
    let mut relayed = 0;
    let count = allocations(|| {
        for _ in 0..100 {
            let outcomes = [
                rig.from_client(&udp, &channel_data),
                rig.from_client(&tcp, &channel_data),
                rig.from_client(&udp, &send),
                rig.from_client(&tcp, &send),
                rig.from_client(&alice, &channel_data),
                rig.from_client(&alice, &to_relay),
                rig.from_peer(&udp, peer(), 1200),
                rig.from_peer(&tcp, peer(), 1200),
                // A permission and no channel: a Data indication.
                rig.from_peer(&other, stranger, 1200),
            ];
            relayed += outcomes
                .iter()
                .filter(|o| matches!(o, Outcome::ToPeer { .. } | Outcome::ToClient(_)))
                .count();
        }
    });
    assert_eq!(relayed, 900);
    assert_eq!(count, 0);
}
