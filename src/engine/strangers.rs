//! Answers to whoever has not proved a credential: counted, and kept back where they are too many or take too long.
//!
//! This is about datagrams, whose source can be forged. A 5-tuple with an allocation is no stranger, nor is anyone on a
//! connection or behind a DTLS cookie.

use super::counters::SuppressedReason;
use super::{ClientPath, Engine, Now, Outcome, Transport};
use crate::policy::Suppressed;

impl Engine {
    /// Answers a request of `length` bytes by `answer`, unless its sender is a stranger and there were enough answers.
    pub(super) fn answer_stranger(
        &mut self,
        now: Now,
        client: &ClientPath,
        length: usize,
        answer: impl FnOnce(&mut Self) -> Outcome,
    ) -> Outcome {
        if !self.is_stranger(client) {
            return answer(self);
        }
        let (millis, source) = (now.instant.as_millis(), client.tuple.client().ip());
        if let Err(suppressed) = self.shared.strangers.ask(millis, source, length) {
            self.counters.suppressed(match suppressed {
                Suppressed::Prefix => SuppressedReason::Prefix,
                Suppressed::Total => SuppressedReason::Total,
            });
            return Outcome::Nothing;
        }
        let outcome = answer(self);
        if let Outcome::Reply(length) | Outcome::ReplyFrom { length, .. } = outcome {
            self.shared.strangers.answered(millis, source, length);
        }
        outcome
    }

    /// Whether there is time to work on a request. There always is for those who have an allocation, or will.
    pub(super) fn has_time_for(&mut self, client: &ClientPath) -> bool {
        let Some(left) = self.strangers_left else {
            return true;
        };
        if !self.is_stranger(client) || self.paths.is_allowed(&client.tuple) {
            return true;
        }
        self.strangers_left = Some(left.saturating_sub(1));
        if left == 0 {
            self.counters.suppressed(SuppressedReason::Busy);
        }
        left > 0
    }

    /// Notes that a stranger is none any more.
    pub(super) fn stranger_proved(&self, now: Now, client: &ClientPath) {
        if self.is_stranger(client) {
            let source = client.tuple.client().ip();
            self.shared
                .strangers
                .proved(now.instant.as_millis(), source);
        }
    }

    fn is_stranger(&self, client: &ClientPath) -> bool {
        client.tuple.transport() == Transport::Udp && self.find(&client.tuple).is_none()
    }
}
