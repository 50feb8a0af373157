//! What leaves the queue is whole frames in order, whatever the socket takes at once.

#![allow(clippy::unwrap_used)]

use super::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

fn at(millis: u64) -> Instant {
    Instant::from_millis(1_000_000 + millis)
}

/// A frame: kind, number, length and so many bytes.
fn frame(kind: u8, number: u16, length: usize) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend(number.to_be_bytes());
    frame.extend(u16::try_from(length).unwrap().to_be_bytes());
    frame.resize(5 + length, kind);
    frame
}

fn push(queue: &mut SendQueue, now: Instant, frame: &[u8]) -> u64 {
    let (head, rest) = frame.split_at(5);
    let (payload, padding) = rest.split_at(rest.len() / 2);
    queue.push_media(now, [head, payload, padding])
}

/// Writes up to so many bytes.
fn write(queue: &mut SendQueue, limit: usize) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 6];
    let count = queue.slices(&mut slices);
    let waiting = slices[..count].iter().flat_map(|slice| slice.iter());
    let written: Vec<u8> = waiting.copied().take(limit).collect();
    queue.written(written.len());
    written
}

/// Kinds and numbers of the frames that were written, which have to be whole.
fn frames(mut stream: &[u8]) -> Vec<(u8, u16)> {
    let mut frames = Vec::new();
    while let [kind, n0, n1, l0, l1, rest @ ..] = stream {
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        assert!(rest[..length].iter().all(|byte| byte == kind));
        frames.push((*kind, u16::from_be_bytes([*n0, *n1])));
        stream = &rest[length..];
    }
    assert!(stream.is_empty());
    frames
}

#[test]
fn frames_leave_in_the_order_they_came() {
    let mut queue = SendQueue::new(10_000, Duration::from_millis(500));
    for number in 0..5 {
        assert_eq!(push(&mut queue, at(0), &frame(b'm', number, 100)), 0);
    }
    let written = write(&mut queue, usize::MAX);
    let numbers: Vec<_> = frames(&written).into_iter().map(|(_, n)| n).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    assert!(queue.is_empty());
}

#[test]
fn answers_overtake_media_but_not_in_the_middle_of_a_frame() {
    let mut queue = SendQueue::new(10_000, Duration::from_millis(500));
    push(&mut queue, at(0), &frame(b'm', 0, 100));
    push(&mut queue, at(0), &frame(b'm', 1, 100));
    let mut written = write(&mut queue, 1);
    assert!(queue.push_answer(&frame(b'a', 0, 20)));
    assert!(queue.push_answer(&frame(b'a', 1, 20)));
    written.extend(write(&mut queue, usize::MAX));
    let expected = [(b'm', 0), (b'a', 0), (b'a', 1), (b'm', 1)];
    assert_eq!(frames(&written), expected);
}

#[test]
fn beyond_the_limit_the_oldest_media_go_first() {
    let mut queue = SendQueue::new(1000, Duration::from_millis(500));
    let dropped: Vec<_> = (0..12)
        .map(|number| push(&mut queue, at(0), &frame(b'm', number, 95)))
        .collect();
    assert_eq!(dropped, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    let written = write(&mut queue, usize::MAX);
    assert_eq!(frames(&written)[0], (b'm', 2));
    assert_eq!(frames(&written).len(), 10);
}

#[test]
fn media_that_waited_too_long_go_and_the_newest_stays_whatever_its_size() {
    let mut queue = SendQueue::new(1000, Duration::from_millis(500));
    push(&mut queue, at(0), &frame(b'm', 0, 10));
    push(&mut queue, at(300), &frame(b'm', 1, 10));
    assert_eq!(push(&mut queue, at(500), &frame(b'm', 2, 10)), 0);
    assert_eq!(push(&mut queue, at(501), &frame(b'm', 3, 10)), 1);
    assert_eq!(push(&mut queue, at(2000), &frame(b'm', 4, 5000)), 3);
    assert_eq!(frames(&write(&mut queue, usize::MAX)), [(b'm', 4)]);
}

#[test]
fn a_frame_that_was_begun_is_finished_however_old_and_large() {
    let mut queue = SendQueue::new(1000, Duration::from_millis(500));
    push(&mut queue, at(0), &frame(b'm', 0, 3000));
    let mut written = write(&mut queue, 2999);
    push(&mut queue, at(0), &frame(b'm', 1, 10));
    for number in 2..40 {
        push(&mut queue, at(10_000), &frame(b'm', number, 95));
    }
    written.extend(write(&mut queue, usize::MAX));
    let frames = frames(&written);
    assert_eq!(frames[0], (b'm', 0));
    assert_eq!(*frames.last().unwrap(), (b'm', 39));
    assert!(!frames.contains(&(b'm', 1)));
}

#[test]
fn answers_are_never_dropped_and_too_many_are_refused() {
    let mut queue = SendQueue::new(1000, Duration::from_millis(500));
    let answer = frame(b'a', 0, 995);
    let taken = (0..100).take_while(|_| queue.push_answer(&answer)).count();
    assert_eq!(taken, MAX_ANSWERS / 1000);
    for _ in 0..100 {
        push(&mut queue, at(0), &frame(b'm', 0, 900));
    }
    push(&mut queue, at(100_000), &frame(b'm', 1, 900));
    let written = write(&mut queue, usize::MAX);
    assert_eq!(frames(&written).len(), taken + 1);
    assert!(queue.push_answer(&answer), "there is room again");
}

#[test]
fn memory_of_a_burst_is_given_back() {
    let mut queue = SendQueue::new(10 << 20, Duration::from_millis(500));
    for number in 0..200 {
        push(&mut queue, at(0), &frame(b'm', number, 60_000));
    }
    write(&mut queue, usize::MAX);
    assert_eq!(queue.media.capacity(), 0);
}

#[test]
fn whatever_the_socket_takes_frames_are_whole_and_all_are_accounted_for() {
    for seed in 0..200 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut queue = SendQueue::new(rng.random_range(1..20_000), Duration::from_millis(500));
        let (mut now, mut answers, mut media, mut dropped) = (0, 0, 0, 0);
        let mut written = Vec::new();
        for _ in 0..300 {
            now += rng.random_range(0..60);
            match rng.random_range(0..4) {
                0 => {
                    let answer = frame(b'a', answers, rng.random_range(0..100));
                    if queue.push_answer(&answer) {
                        answers += 1;
                    }
                }
                1 | 2 => {
                    let length = [0, 3, 160, 1200, 9000][rng.random_range(0..5)];
                    dropped += push(&mut queue, at(now), &frame(b'm', media, length));
                    media += 1;
                }
                _ => {
                    let limit = [0, 1, 5, 100, 2000, usize::MAX][rng.random_range(0..6)];
                    written.extend(write(&mut queue, limit));
                }
            }
        }
        written.extend(write(&mut queue, usize::MAX));
        assert!(queue.is_empty());
        let frames = frames(&written);
        let of_kind = |wanted: u8| -> Vec<u16> {
            let of_kind = frames.iter().filter(|(kind, _)| *kind == wanted);
            of_kind.map(|(_, number)| *number).collect()
        };
        assert_eq!(of_kind(b'a'), (0..answers).collect::<Vec<_>>());
        assert!(of_kind(b'm').is_sorted_by(|a, b| a < b));
        assert_eq!(of_kind(b'm').len() as u64 + dropped, u64::from(media));
    }
}
