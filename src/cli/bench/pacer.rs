//! When the next packets of a load with a rate are due.
//!
//! A load that was late catches up slowly, never with a burst. The main type is [`Pacer`].

use std::time::Duration;

use super::scenario::Pace;

/// What is overdue for longer is not sent any more, in nanoseconds.
const MAX_DEBT: u64 = 20_000_000;

/// Counts what is due. Times are in nanoseconds.
#[derive(Clone, Debug)]
pub struct Pacer {
    /// Between two bursts, or groups of them.
    interval: u64,
    /// How many bursts each time, where several are due at once.
    group: f64,
    /// What was not a whole burst the last time.
    rest: f64,
    ideal: u64,
    next: u64,
    missed: u64,
}

impl Pacer {
    /// The pace of bursts of so many packets, from a time on. A window has no pace.
    #[must_use]
    pub fn new(pace: Pace, burst: usize, start: u64) -> Pacer {
        let (interval, group) = match pace {
            Pace::Window(_) => (0, 0.0),
            Pace::Rate { rate, every } => {
                let bursts = f64::from(rate) / burst as f64;
                if every.is_zero() {
                    ((1e9 / bursts) as u64, 1.0)
                } else {
                    (every.as_nanos() as u64, bursts * every.as_secs_f64())
                }
            }
        };
        Pacer {
            interval,
            group,
            rest: 0.0,
            ideal: start,
            next: start,
            missed: 0,
        }
    }

    /// How many bursts are to be sent now.
    pub fn due(&mut self, now: u64) -> usize {
        if now < self.next || self.is_window() {
            return 0;
        }
        self.ideal += self.interval;
        if now > self.ideal + MAX_DEBT {
            let skipped = (now - self.ideal) / self.interval;
            self.missed += (skipped as f64 * self.group) as u64;
            self.ideal += skipped * self.interval;
        }
        // At least half an interval lies between two, so that what is overdue does not become a burst.
        self.next = self.ideal.max(now + self.interval / 2);
        self.rest += self.group;
        let whole = self.rest.floor();
        self.rest -= whole;
        whole as usize
    }

    /// Whether deliveries alone set the pace.
    #[must_use]
    pub fn is_window(&self) -> bool {
        self.interval == 0
    }

    /// How long nothing is due.
    #[must_use]
    pub fn pause(&self, now: u64) -> Duration {
        if self.is_window() {
            return Duration::MAX;
        }
        Duration::from_nanos(self.next.saturating_sub(now))
    }

    /// How many bursts were never sent, since the load was too late for them; then none.
    pub fn take_missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pacer(rate: u32, every: Duration, burst: usize) -> Pacer {
        Pacer::new(Pace::Rate { rate, every }, burst, 0)
    }

    #[test]
    fn a_rate_is_kept_one_burst_at_a_time() {
        let mut pacer = pacer(80_000, Duration::ZERO, 8);
        let sent: usize = (0..100_000_000_u64)
            .step_by(1000)
            .map(|now| {
                let due = pacer.due(now);
                assert!(due <= 1);
                due
            })
            .sum();
        assert!((999..=1001).contains(&sent), "{sent}");
    }

    #[test]
    fn groups_keep_the_rate_though_it_does_not_divide_evenly() {
        let mut pacer = pacer(7_777, Duration::from_micros(200), 1);
        let sent: usize = (0..1_000_000_000_u64)
            .step_by(10_000)
            .map(|now| pacer.due(now))
            .sum();
        assert!((7_770..=7_780).contains(&sent), "{sent}");
    }

    #[test]
    fn a_load_that_was_late_catches_up_without_a_burst() {
        let mut pacer = pacer(50_000, Duration::ZERO, 1);
        // For 2 ms nothing could be sent: 100 packets are overdue.
        let mut last = None;
        let mut sent = 0;
        for now in (2_000_000..10_000_000_u64).step_by(500) {
            if pacer.due(now) == 1 {
                assert!(last.is_none_or(|last| now - last >= 10_000));
                last = Some(now);
                sent += 1;
            }
        }
        assert!((498..=502).contains(&sent), "{sent}");
        assert_eq!(pacer.take_missed(), 0);
    }

    #[test]
    fn what_is_overdue_for_long_is_missed() {
        let mut pacer = pacer(1000, Duration::ZERO, 1);
        assert_eq!(pacer.due(1_000_000_000), 1);
        assert!((998..=1000).contains(&pacer.take_missed()));
    }
}
