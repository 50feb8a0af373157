//! Payloads cross from worker to worker as they were, or not at all.

#![allow(clippy::unwrap_used)]

use super::*;

fn delivery(number: u32) -> Delivery {
    Delivery {
        relay: RelayId(number),
        to: SocketAddr::from(([192, 0, 2, 1], 50_000)),
        from: SocketAddr::from((Ipv6Addr::LOCALHOST, 60_000)),
    }
}

fn all(inbox: &mut Inbox) -> Vec<(Delivery, Vec<u8>)> {
    let mut all = Vec::new();
    while inbox.take(7, |delivery, payload| {
        all.push((*delivery, payload.to_vec()))
    }) {}
    all
}

#[test]
fn every_worker_reaches_every_other_and_not_itself() {
    let mut boxes = mailboxes(3);
    for (from, (post, _)) in boxes.iter_mut().enumerate() {
        for to in 0..3 {
            let payload = [from as u8, to as u8];
            let put = post.put(WorkerId(to as u32), &delivery(7), &payload);
            assert_eq!(put, from != to);
        }
        assert!(!post.put(WorkerId(3), &delivery(7), b""));
    }
    for (to, (_, inbox)) in boxes.iter_mut().enumerate() {
        let mut senders: Vec<u8> = all(inbox)
            .into_iter()
            .map(|(got, payload)| {
                assert_eq!((got, payload[1]), (delivery(7), to as u8));
                payload[0]
            })
            .collect();
        senders.sort_unstable();
        let others: Vec<u8> = (0..3).filter(|from| usize::from(*from) != to).collect();
        assert_eq!(senders, others);
    }
}

#[test]
fn payloads_of_all_sizes_survive_the_end_of_the_ring() {
    let mut boxes = mailboxes(2);
    let [(post, _), (_, inbox)] = &mut boxes[..] else {
        panic!()
    };
    // Some 40 times the ring, in sizes that meet its end at ever other places.
    let sizes = [0, 1, 17, 160, 1199, 9001, 65_535];
    let mut sent = 0;
    for number in 0..1200_u32 {
        let size = sizes[number as usize % sizes.len()] - usize::from(number % 7 == 6) * 3;
        let payload: Vec<u8> = (0..size).map(|i| (i as u32 + number) as u8).collect();
        let mut addressed = delivery(number);
        addressed.to.set_port(number as u16);
        assert!(post.put(WorkerId(1), &addressed, &payload));
        sent += payload.len();
        let got = all(inbox);
        assert!(got == [(addressed, payload)], "{number}");
    }
    assert!(sent > 2 * RINGS_OF_A_WORKER);
}

#[test]
fn a_full_ring_refuses_and_loses_nothing_it_took() {
    let mut boxes = mailboxes(2);
    let [(post, _), (_, inbox)] = &mut boxes[..] else {
        panic!()
    };
    let mut total = 0;
    for round in 0..3 {
        let mut taken = 0;
        while post.put(WorkerId(1), &delivery(taken), &[round; 10_000]) {
            taken += 1;
        }
        assert!(taken > 100);
        // Smaller ones may still fit; what does not fit leaves no trace.
        assert!(!post.put(WorkerId(1), &delivery(0), &[9; 10_000]));
        let got = all(inbox);
        assert_eq!(got.len(), taken as usize);
        for (number, (got, payload)) in got.into_iter().enumerate() {
            assert_eq!(got.relay, RelayId(number as u32));
            assert!(payload == [round; 10_000]);
        }
        total += taken;
    }
    assert!(total as usize * 10_000 > RINGS_OF_A_WORKER);
}

#[test]
fn a_worker_gets_a_fair_share_of_each_ring_at_a_time() {
    let mut boxes = mailboxes(3);
    for (from, (post, _)) in boxes.iter_mut().take(2).enumerate() {
        for _ in 0..10 {
            assert!(post.put(WorkerId(2), &delivery(from as u32), b"x"));
        }
    }
    let mut got = Vec::new();
    assert!(boxes[2].1.take(4, |delivery, _| got.push(delivery.relay.0)));
    got.sort_unstable();
    assert_eq!(got, [0, 0, 0, 0, 1, 1, 1, 1]);
}
