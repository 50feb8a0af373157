//! What has to hold for any bytes in a MOBILITY-TICKET: those that were not sealed here are worth nothing.

use hairpin::auth::{MobilityTicket, SealedTicket, TicketKey};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// Panics when tickets break a promise. The bytes are a ticket as they stand; and they are what a ticket says, with changes
/// to make to it: 8 bytes of allocation, 4 of serial, 1 of seed, then pairs of a place and what to change there.
pub fn check(bytes: &[u8]) {
    let key = TicketKey::new([7; 32]).expect("there is AES");
    let another = TicketKey::new([8; 32]).expect("there is AES");
    // Nobody finds a good one by trying. Of a key that seals nothing, since fuzzers learn from what is compared here.
    let unused = TicketKey::new([9; 32]).expect("there is AES");
    assert_eq!(unused.open(bytes), None);

    let Some((allocation, rest)) = bytes.split_first_chunk() else {
        return;
    };
    let Some((serial, rest)) = rest.split_first_chunk() else {
        return;
    };
    let Some((seed, changes)) = rest.split_first() else {
        return;
    };
    let ticket = MobilityTicket {
        allocation: u64::from_be_bytes(*allocation),
        serial: u32::from_be_bytes(*serial),
    };
    let mut rng = StdRng::seed_from_u64(u64::from(*seed));
    let sealed = key.seal(ticket, &mut rng).expect("it can be sealed");
    let good = sealed.as_bytes();
    assert!(good.len() == SealedTicket::LENGTH && !good.contains(&0));
    assert_eq!(key.open(good), Some(ticket));
    assert_eq!(another.open(good), None);
    let again = key.seal(ticket, &mut rng).expect("it can be sealed");
    assert_ne!(again, sealed, "the same ticket twice");

    let mut changed = good.to_vec();
    for change in changes.chunks_exact(2) {
        match usize::from(change[0]) {
            place if place < changed.len() => changed[place] ^= change[1],
            place if place % 2 == 0 => changed.push(change[1]),
            _ => {
                changed.pop();
            }
        }
    }
    let expected = (changed == good).then_some(ticket);
    assert_eq!(key.open(&changed), expected);
}
