//! Whether a network that asks, and asks again, without proving anything is sent more than it sends.
//!
//! A spell begins with a request after [`CALM`], and at first everything is answered, since nobody can prove anything
//! before. A network that was sent markedly more than it sent by the end of [`GRACE`], or later, is overdrawn: from
//! then on its answers have to fit into what it sends, all that it was sent before included, until it is calm again.
//! That takes the same time at any pace, so a flood that goes on for ten seconds is paid for, be it slow or fast.
//!
//! Each is one atomic word, as in [`super::bucket`]. Main type: [`Spell`].

use std::sync::atomic::{AtomicU64, Ordering};

/// Silence after which a new spell begins, in ticks.
const CALM: u64 = 1000 / TICK;

/// How long everything is answered, in ticks: time for an honest client to prove its credential. What an attacker wins
/// in it has to come in again until ten seconds are over, at up to five bytes out for each byte in.
const GRACE: u64 = 1500 / TICK;

/// How long what a network was sent is added up while it is not overdrawn, in ticks.
const LENGTH: u64 = 10_000 / TICK;

/// What a network may be sent beyond what it sends in that time, in bytes: clients that never prove anything, as those
/// who only want to know their address or what NAT they are behind.
const MARGIN: i64 = 4096;

/// What a network may be sent for each credential that is proved in it, in bytes, and how much of that it can have.
const PROOF: i64 = 1024;
const MOST_PROOFS: i64 = 32 << 10;

/// The longest answer that is waited for, in bytes, so that an overdrawn network gets it out of what it sent before.
const LONGEST: u64 = 256;

/// A tick of the clock, in milliseconds.
const TICK: u64 = 4;

/// One network's spell.
///
/// From the top: what it was sent beyond what it sent, with a sign, 24 bits; whether it is overdrawn; how long the spell
/// lasts, 12 bits; when the last request came, 27 bits, which wrap after six days. The last two are in ticks.
#[derive(Debug, Default)]
pub(super) struct Spell(AtomicU64);

#[derive(Clone, Copy)]
struct State {
    balance: i64,
    is_overdrawn: bool,
    age: u64,
    last: u64,
}

const LAST: u64 = (1 << 27) - 1;
const AGE: u64 = (1 << 12) - 1;

impl State {
    fn read(word: u64) -> Self {
        State {
            balance: word as i64 >> 40,
            is_overdrawn: word >> 39 & 1 == 1,
            age: word >> 27 & AGE,
            last: word & LAST,
        }
    }

    fn word(self) -> u64 {
        let balance = self.balance.clamp(-(1 << 23), (1 << 23) - 1);
        (balance as u64) << 40 | u64::from(self.is_overdrawn) << 39 | self.age << 27 | self.last
    }

    /// Lets time pass.
    fn at(mut self, now: u64) -> Self {
        let now = (now / TICK) & LAST;
        let elapsed = now.wrapping_sub(self.last) & LAST;
        if elapsed > LAST - CALM {
            return self; // clocks of two threads differ by a batch
        }
        self.last = now;
        self.age += elapsed.min(LENGTH);
        if elapsed >= CALM || self.age >= LENGTH && !self.is_overdrawn {
            return State {
                balance: 0,
                is_overdrawn: false,
                age: 0,
                last: now,
            };
        }
        self.age = self.age.min(LENGTH);
        self
    }
}

impl Spell {
    /// Takes a request of so many bytes; whether it may be answered, where an answer may have so many. `now` is in
    /// milliseconds.
    pub fn request(&self, now: u64, bytes: u64, answer: u64) -> bool {
        let answer = answer.min(LONGEST) as i64;
        let state = self.change(|state| {
            let mut state = state.at(now);
            // Nothing is saved up but for the next answer.
            let least = state.balance.min(-(LONGEST as i64));
            state.balance = (state.balance - bytes as i64).max(least);
            state.is_overdrawn |= state.age >= GRACE && state.balance > MARGIN;
            state
        });
        !state.is_overdrawn || state.balance + answer <= 0
    }

    /// Counts an answer of so many bytes.
    pub fn answered(&self, bytes: u64) {
        self.change(|mut state| {
            // A little more, so that no ten seconds gain from what was left over from those before.
            let margin = if state.is_overdrawn { bytes / 16 } else { 0 };
            state.balance += (bytes + margin) as i64;
            state
        });
    }

    /// Counts that a client proved a credential.
    pub fn proved(&self) {
        self.change(|mut state| {
            let least = state.balance.min(-MOST_PROOFS);
            state.balance = (state.balance - PROOF).max(least);
            state
        });
    }

    fn change(&self, change: impl Fn(State) -> State) -> State {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let changed = change(State::read(word));
            let swapped = self.0.compare_exchange_weak(
                word,
                changed.word(),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return changed,
                Err(other) => word = other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests and answers of so many bytes, `per_second` of them for ten seconds from `start` on: bytes out.
    fn flood(spell: &Spell, start: u64, per_second: u64, request: u64, answer: u64) -> u64 {
        let mut out = 0;
        for number in 0..10 * per_second {
            if spell.request(start + number * 1000 / per_second, request, answer) {
                spell.answered(answer);
                out += answer;
            }
        }
        out
    }

    #[test]
    fn whatever_the_pace_a_flood_is_paid_for_within_ten_seconds() {
        for (request, answer) in [(28, 100), (20, 32), (20, 44), (20, 104), (28, 150)] {
            for per_second in [100, 130, 500, 700, 5000] {
                // The first lets the clock wrap.
                for start in [(LAST << 2) - 5000, 7, 1 << 40] {
                    let spell = Spell::default();
                    let bytes_in = 10 * per_second * request;
                    let out = flood(&spell, start, per_second, request, answer);
                    assert!(out > 0 && out <= bytes_in, "{out} for {bytes_in}");
                    let more = flood(&spell, start + 10_000, per_second, request, answer);
                    assert!(more <= bytes_in, "{more} for {bytes_in} when it goes on");
                    assert!(more * 10 > bytes_in * 9, "{more} for {bytes_in} is too few");
                }
            }
        }
    }

    #[test]
    fn a_few_requests_are_answered_for_ever() {
        let spell = Spell::default();
        for start in (0..100).map(|number| number * 10_000) {
            assert_eq!(flood(&spell, start, 30, 20, 32), 300 * 32);
        }
        // All that RFC 5780 asks for is in the answer.
        let spell = Spell::default();
        for start in (0..100).map(|number| number * 10_000) {
            assert_eq!(flood(&spell, start, 4, 20, 104), 40 * 104);
        }
    }

    #[test]
    fn after_a_second_of_silence_all_is_forgotten() {
        let spell = Spell::default();
        flood(&spell, 0, 100, 28, 100);
        assert!(!spell.request(10_500, 28, 100));
        assert!(spell.request(11_500, 28, 100));
    }

    #[test]
    fn whoever_proves_a_credential_speaks_for_others() {
        let spell = Spell::default();
        for number in 0..1000 {
            assert!(spell.request(number * 10, 28, 100), "{number}");
            spell.answered(100);
            if number % 10 == 9 {
                spell.proved();
            }
        }
        // It is not saved up without bound.
        for _ in 0..10_000 {
            spell.proved();
        }
        assert!(flood(&spell, 10_000, 700, 28, 100) <= 10 * 700 * 28 + (32 << 10));
    }
}
