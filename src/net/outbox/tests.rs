//! How datagrams are put together to runs, and that they arrive as they were.

#![allow(clippy::unwrap_used)]

use super::*;
use std::time::Duration;

fn to(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Datagrams of these sizes to one destination, not yet sent.
fn filled(sizes: &[usize]) -> Outbox {
    let mut outbox = Outbox::new();
    for size in sizes {
        let payload = outbox.keep(&vec![0; *size]);
        outbox.push(datagram(to(9), payload));
    }
    outbox.order = (0..sizes.len() as u32).collect();
    outbox
}

fn datagram(to: SocketAddr, payload: Payload) -> Datagram {
    Datagram {
        exit: Exit::Relay(0),
        to,
        from: None,
        header: None,
        payload,
        padding: 0,
        dont_fragment: false,
    }
}

/// How many datagrams each run has, and its segment size.
fn runs(outbox: &Outbox) -> Vec<(usize, usize)> {
    let end = outbox.order.len();
    let mut runs = Vec::new();
    let mut next = 0;
    while next < end {
        let run = outbox.run_from(next, end);
        assert_eq!(run.datagrams.start, next);
        next = run.datagrams.end;
        runs.push((run.datagrams.len(), run.segment));
    }
    runs
}

#[test]
fn equal_sizes_make_a_run_that_a_shorter_one_ends() {
    assert_eq!(runs(&filled(&[100; 5])), [(5, 100)]);
    assert_eq!(
        runs(&filled(&[100, 100, 40, 100, 100])),
        [(3, 100), (2, 100)]
    );
    assert_eq!(runs(&filled(&[100, 40, 40])), [(2, 100), (1, 40)]);
    assert_eq!(runs(&filled(&[40, 100, 100])), [(1, 40), (2, 100)]);
    assert_eq!(runs(&filled(&[7])), [(1, 7)]);
}

#[test]
fn datagrams_of_one_flow_make_a_run_wherever_they_stand_in_a_batch() {
    let mut outbox = Outbox::new();
    for number in 0..12_u16 {
        let payload = outbox.keep(&[0; 10]);
        let mut datagram = datagram(to(9 + number % 3), payload);
        datagram.exit = Exit::Relay(u32::from(number % 2));
        outbox.push(datagram);
    }
    outbox.flows.take_in_order(&mut outbox.order);
    // Sockets 0 and 1 with three destinations each, in the order of their first datagram.
    assert_eq!(outbox.order, [0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11]);
    assert_eq!(runs(&outbox)[..2], [(2, 10), (2, 10)]);
    outbox.flows.take_in_order(&mut outbox.order);
    assert!(outbox.order.is_empty());
}

#[test]
fn flows_beyond_the_index_keep_their_order() {
    let mut outbox = Outbox::new();
    for number in 0..1200_u16 {
        let payload = outbox.keep(&[0; 10]);
        outbox.push(datagram(to(1 + number % 400), payload));
    }
    outbox.flows.take_in_order(&mut outbox.order);
    let mut places = outbox.order.clone();
    for flow in 0..400 {
        let of_flow = places.iter().filter(|place| **place % 400 == flow);
        assert!(of_flow.is_sorted(), "{flow}");
    }
    places.sort_unstable();
    assert!(places.into_iter().eq(0..1200));
}

#[test]
fn empty_datagrams_stand_alone() {
    // A segment of no bytes would vanish.
    assert_eq!(runs(&filled(&[0, 0])), [(1, 0), (1, 0)]);
    assert_eq!(runs(&filled(&[10, 10, 0, 10])), [(2, 10), (1, 0), (1, 10)]);
}

#[test]
fn a_run_has_64_segments_and_the_bytes_of_one_datagram_at_most() {
    assert_eq!(runs(&filled(&[10; 130])), [(64, 10), (64, 10), (2, 10)]);
    assert_eq!(runs(&filled(&[1400; 50])), [(46, 1400), (4, 1400)]);
    assert_eq!(runs(&filled(&[32_753, 32_753])), [(2, 32_753)]);
    assert_eq!(runs(&filled(&[32_754, 32_754])), [(1, 32_754); 2]);
    assert_eq!(runs(&filled(&[32_754, 32_753])), [(2, 32_754)]);
    assert_eq!(runs(&filled(&[65_507, 1])), [(1, 65_507), (1, 1)]);
}

#[test]
fn headers_and_padding_count_and_other_ways_end_a_run() {
    let mut outbox = filled(&[10; 8]);
    outbox.datagrams[1].to = to(10);
    outbox.datagrams[3].from = Some([127, 0, 0, 1].into());
    outbox.datagrams[5].dont_fragment = true;
    outbox.datagrams[6].padding = 2;
    let expected = [
        (1, 10),
        (1, 10),
        (1, 10),
        (1, 10),
        (1, 10),
        (1, 10),
        (2, 12),
    ];
    assert_eq!(runs(&outbox), expected);
}

#[test]
fn a_flush_sends_from_each_socket_in_order_what_was_collected_for_it() {
    let socket = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        socket
    };
    let (senders, receivers) = ([socket(), socket()], [socket(), socket()]);
    let counters = Counters::default();
    let mut outbox = Outbox::new();
    let received: Vec<u8> = (0..200).collect();
    for round in 0..3_usize {
        for number in 0..40_usize {
            let (sender, receiver) = (number % 2, number / 2 % 2);
            let payload = match number % 3 {
                0 => outbox.keep(&[number as u8; 20]),
                _ => Payload::Received(number..number + 20 - round),
            };
            let mut datagram = datagram(receivers[receiver].local_addr().unwrap(), payload);
            datagram.exit = match sender {
                0 => Exit::Listener(0),
                _ => Exit::Relay(1),
            };
            outbox.push(datagram);
        }
        // Nobody has this one any more.
        let payload = outbox.keep(b"late");
        outbox.push(Datagram {
            exit: Exit::Relay(7),
            ..datagram(to(9), payload)
        });
        let socket_of = |exit| match exit {
            Exit::Listener(0) => Some(&senders[0]),
            Exit::Relay(1) => Some(&senders[1]),
            _ => None,
        };
        outbox.flush(&received, socket_of, &counters);
        for (receiver, socket) in receivers.iter().enumerate() {
            let mut got = [Vec::new(), Vec::new()];
            for _ in 0..20 {
                let mut buffer = [0; 100];
                let (length, from) = socket.recv_from(&mut buffer).unwrap();
                let sender = usize::from(from == senders[1].local_addr().unwrap());
                got[sender].push(buffer[..length].to_vec());
            }
            for (sender, got) in got.into_iter().enumerate() {
                let numbers = (0..40).filter(|n| n % 2 == sender && n / 2 % 2 == receiver);
                let expected: Vec<_> = numbers
                    .map(|number| match number % 3 {
                        0 => vec![number as u8; 20],
                        _ => received[number..number + 20 - round].to_vec(),
                    })
                    .collect();
                assert!(got == expected, "{round}");
            }
        }
    }
    let stale = counters
        .drops()
        .find(|(reason, _)| *reason == DropReason::StaleRelay);
    assert_eq!(stale.unwrap().1, 3);
    assert!(outbox.datagrams.is_empty() && outbox.kept.is_empty());
}
