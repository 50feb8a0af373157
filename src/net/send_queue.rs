//! What waits to be written to a stream client.
//!
//! Answers always go out. Relayed media is of use only for a moment: when the client reads too slowly, the oldest goes
//! first, by age and by bytes, and never in the middle of a frame that was begun.

use crate::engine::Instant;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

/// How many bytes of answers may wait. A client that lets so many pile up sends requests and reads nothing.
const MAX_ANSWERS: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct SendQueue {
    answers: VecDeque<u8>,
    media: VecDeque<u8>,
    frames: VecDeque<Frame>,
    /// Whether some bytes of the first media frame are written, so that the rest has to follow at once.
    begun: bool,
    max_media: usize,
    max_age: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    /// The bytes that are left of it.
    left: usize,
    at: Instant,
}

impl SendQueue {
    /// A queue for so many bytes of media, none older than `max_age` when more comes.
    pub fn new(max_media: usize, max_age: Duration) -> Self {
        SendQueue {
            answers: VecDeque::new(),
            media: VecDeque::new(),
            frames: VecDeque::new(),
            begun: false,
            max_media,
            max_age,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.media.is_empty()
    }

    /// Queues an answer; `false` when there are too many and the connection is to be closed.
    pub fn push_answer(&mut self, bytes: &[u8]) -> bool {
        if self.answers.len() + bytes.len() > MAX_ANSWERS {
            return false;
        }
        self.answers.extend(bytes);
        true
    }

    /// Queues a frame of media; how many older ones were dropped for it.
    pub fn push_media(&mut self, now: Instant, parts: [&[u8]; 3]) -> u64 {
        let left = parts.iter().map(|part| part.len()).sum();
        for part in parts {
            self.media.extend(part);
        }
        self.frames.push_back(Frame { left, at: now });
        self.drop_old(now)
    }

    fn drop_old(&mut self, now: Instant) -> u64 {
        let mut dropped = 0;
        loop {
            let oldest = usize::from(self.begun);
            // The newest frame stays whatever its size, or nothing large could ever be sent.
            if self.frames.len() <= oldest + 1 {
                return dropped;
            }
            let Some(frame) = self.frames.get(oldest).copied() else {
                return dropped;
            };
            let is_old = now.since(frame.at) > self.max_age;
            if !is_old && self.media.len() <= self.max_media {
                return dropped;
            }
            let start = if self.begun {
                self.frames.front().map_or(0, |frame| frame.left)
            } else {
                0
            };
            self.media.drain(start..start + frame.left);
            self.frames.remove(oldest);
            dropped += 1;
        }
    }

    /// The bytes to write next, in order.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; 6]) -> usize {
        let begun = match self.frames.front() {
            Some(frame) if self.begun => frame.left,
            _ => 0,
        };
        let (first, second) = self.media.as_slices();
        let split = begun.min(first.len());
        let (begun_1, rest_1) = first.split_at(split);
        let (begun_2, rest_2) = second.split_at(begun - split);
        let (answers_1, answers_2) = self.answers.as_slices();
        let mut count = 0;
        for part in [begun_1, begun_2, answers_1, answers_2, rest_1, rest_2] {
            if !part.is_empty() {
                slices[count] = IoSlice::new(part);
                count += 1;
            }
        }
        count
    }

    /// Forgets bytes that were written.
    pub fn written(&mut self, mut count: usize) {
        if self.begun {
            count -= self.media_written(count, true);
        }
        let answers = count.min(self.answers.len());
        self.answers.drain(..answers);
        count -= answers;
        self.media_written(count, false);
        self.shrink();
    }

    /// Takes written bytes off the media, of its first frame or of all; how many that were.
    fn media_written(&mut self, count: usize, only_first: bool) -> usize {
        let mut taken = 0;
        while let Some(frame) = self.frames.front_mut() {
            let part = frame.left.min(count - taken);
            frame.left -= part;
            taken += part;
            if frame.left > 0 {
                self.begun |= part > 0;
                break;
            }
            self.frames.pop_front();
            self.begun = false;
            if only_first || taken == count {
                break;
            }
        }
        self.media.drain(..taken);
        taken
    }

    /// Gives back memory that a burst needed.
    fn shrink(&mut self) {
        if self.is_empty() && self.media.capacity() > 16 << 10 {
            self.media = VecDeque::new();
            self.frames = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests;
