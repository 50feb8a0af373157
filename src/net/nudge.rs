//! A word from one part of a thread to a task of the same thread. Main type: [`Nudge`].

use std::cell::Cell;
use std::task::{Context, Poll, Waker};

/// Told once, however often it is given before the task looks; one task waits for it.
#[derive(Default)]
pub(super) struct Nudge {
    is_given: Cell<bool>,
    waiting: Cell<Option<Waker>>,
}

impl Nudge {
    /// Wakes the task that waits for it, or the next that will.
    pub fn give(&self) {
        self.is_given.set(true);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    /// Ready where it was given since it was ready last.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_given.take() {
            return Poll::Ready(());
        }
        let waker = self
            .waiting
            .take()
            .filter(|waker| waker.will_wake(cx.waker()))
            .unwrap_or_else(|| cx.waker().clone());
        self.waiting.set(Some(waker));
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nudge_is_heard_once_whenever_it_was_given() {
        let nudge = Nudge::default();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(nudge.poll(&mut cx).is_pending());
        nudge.give();
        nudge.give();
        assert!(nudge.poll(&mut cx).is_ready());
        assert!(nudge.poll(&mut cx).is_pending());
    }

    #[test]
    fn a_nudge_wakes_the_task_that_waits() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};
        use std::task::Wake;

        #[derive(Default)]
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }

        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let nudge = Nudge::default();
        assert!(nudge.poll(&mut Context::from_waker(&waker)).is_pending());
        nudge.give();
        nudge.give();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
