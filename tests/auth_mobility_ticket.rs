//! Tickets of clients that move: what is sealed comes out again, and nothing else does.

#![allow(clippy::unwrap_used)]

use hairpin::auth::{MobilityTicket, SealedTicket, TicketKey};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

fn key(byte: u8) -> TicketKey {
    TicketKey::new([byte; 32]).unwrap()
}

fn ticket() -> impl Strategy<Value = MobilityTicket> {
    (any::<u64>(), any::<u32>())
        .prop_map(|(allocation, serial)| MobilityTicket { allocation, serial })
}

proptest! {
    #[test]
    fn t_mob_07_a_ticket_opens_with_its_key_only(ticket in ticket(), seed: u64) {
        let sealed = key(1).seal(ticket, &mut StdRng::seed_from_u64(seed)).unwrap();
        prop_assert_eq!(key(1).open(sealed.as_bytes()), Some(ticket));
        prop_assert_eq!(key(2).open(sealed.as_bytes()), None);
        // Clients keep it as a string: 32 bytes, and none of them 0.
        prop_assert_eq!(sealed.as_bytes().len(), 32);
        prop_assert!(!sealed.as_bytes().contains(&0));
    }

    #[test]
    fn t_mob_07_no_other_bytes_are_a_ticket(ticket in ticket(), seed: u64, other: [u8; SealedTicket::LENGTH]) {
        let sealed = key(1).seal(ticket, &mut StdRng::seed_from_u64(seed)).unwrap();
        for bit in 0..SealedTicket::LENGTH * 8 {
            let mut changed = sealed.as_bytes().to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(key(1).open(&changed), None);
        }
        for length in 0..SealedTicket::LENGTH {
            prop_assert_eq!(key(1).open(&sealed.as_bytes()[..length]), None);
        }
        prop_assert_eq!(key(1).open(&[sealed.as_bytes(), &[1]].concat()), None);
        prop_assert_eq!(key(1).open(&other), None);
    }

    #[test]
    fn t_mob_07_tickets_of_one_allocation_do_not_resemble_each_other(allocation: u64, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        let seals: Vec<_> = (0..2u32)
            .map(|serial| key(1).seal(MobilityTicket { allocation, serial }, &mut rng).unwrap())
            .collect();
        let pairs = seals[0].as_bytes().iter().zip(seals[1].as_bytes());
        // Of 32 pairs of random bytes, 5 are equal once in two thousand million times.
        prop_assert!(pairs.filter(|(a, b)| a == b).count() < 6);
    }
}

#[test]
fn neither_a_key_nor_a_ticket_shows_in_a_log() {
    let mut rng = StdRng::seed_from_u64(1);
    let ticket = MobilityTicket {
        allocation: 1,
        serial: 2,
    };
    let sealed = key(1).seal(ticket, &mut rng).unwrap();
    assert_eq!(
        format!("{:?} {sealed:?}", key(1)),
        "TicketKey(***) SealedTicket(***)"
    );
}
