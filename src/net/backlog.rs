//! Whether a listener's packets come in faster than they are worked on.
//!
//! What a socket has no room for is lost, whoever it is of: a flood of requests that each take as long as an answer would
//! cost calls their packets. To throw a request away takes a small part of that time. So a worker that has not come to
//! the end of a listener for a while works on few strangers' requests until it has, and calls go on. Main type:
//! [`Backlog`].

use crate::engine::Instant;
use std::time::Duration;

/// A listener that has had packets waiting for so long is behind: longer than a burst takes, or a site whose clients all
/// come at once, and a fraction of what the socket has room for.
const BEHIND: Duration = Duration::from_millis(20);

/// Requests of strangers that are worked on in each batch of a listener that is behind; it has up to
/// [`SLOTS`](super::receiver::SLOTS).
const FEW: u32 = 12;

/// Of one listener.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backlog {
    since: Option<Instant>,
}

impl Backlog {
    /// Notes a batch, and whether there may be more behind it. How many requests of strangers to work on in it; `None`
    /// for all.
    pub fn took(&mut self, now: Instant, more: bool) -> Option<u32> {
        if !more {
            self.since = None;
            return None;
        }
        let since = *self.since.get_or_insert(now);
        (now.since(since) >= BEHIND).then_some(FEW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn only_a_listener_that_is_never_empty_for_a_while_is_behind() {
        let mut backlog = Backlog::default();
        assert_eq!(backlog.took(at(5), true), None);
        assert_eq!(backlog.took(at(24), true), None);
        assert_eq!(backlog.took(at(25), true), Some(FEW));
        assert_eq!(backlog.took(at(26), true), Some(FEW));
        assert_eq!(backlog.took(at(27), false), None);
        assert_eq!(backlog.took(at(60), true), None);
        assert_eq!(backlog.took(at(70), true), None);
    }
}
