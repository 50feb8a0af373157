//! How long packets were under way: a histogram with a resolution of about 2 %, from nanoseconds to minutes.
//!
//! The main type is [`Delays`].

/// Each power of two is divided into so many parts.
const PARTS: u64 = 64;
const PART_BITS: u32 = PARTS.trailing_zeros();

/// A histogram of durations in nanoseconds.
#[derive(Clone, Debug)]
pub struct Delays {
    counts: Vec<u64>,
    total: u64,
    longest: u64,
}

impl Default for Delays {
    fn default() -> Self {
        Delays {
            // 40 bits of nanoseconds are 18 minutes.
            counts: vec![0; place(1 << 40) + 1],
            total: 0,
            longest: 0,
        }
    }
}

impl Delays {
    /// Counts a delay.
    pub fn count(&mut self, nanoseconds: u64) {
        let last = self.counts.len() - 1;
        self.counts[place(nanoseconds).min(last)] += 1;
        self.total += 1;
        self.longest = self.longest.max(nanoseconds);
    }

    /// The delay in nanoseconds that a share of all, such as 0.99, does not exceed; 0 where nothing was counted.
    #[must_use]
    pub fn quantile(&self, share: f64) -> u64 {
        let rank = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank && seen > 0 {
                return upper(place).min(self.longest);
            }
        }
        self.longest
    }

    /// The longest delay in nanoseconds.
    #[must_use]
    pub fn longest(&self) -> u64 {
        self.longest
    }
}

/// The place a value is counted at: exact below 64, then 64 places for each power of two.
fn place(value: u64) -> usize {
    let Some(shift) = (63 - (value | 1).leading_zeros()).checked_sub(PART_BITS) else {
        return value as usize;
    };
    (u64::from(shift) * PARTS + (value >> shift)) as usize
}

/// The largest value of a place.
fn upper(place: usize) -> u64 {
    let place = place as u64;
    if place < PARTS {
        return place;
    }
    let shift = place / PARTS - 1;
    (((place % PARTS) + PARTS + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_two_percent() {
        let mut delays = Delays::default();
        for value in 1..=100_000 {
            delays.count(value * 10);
        }
        for (share, expected) in [(0.5, 500_000.0), (0.99, 990_000.0), (0.999, 999_000.0)] {
            let found = delays.quantile(share) as f64;
            assert!((found / expected - 1.0).abs() < 0.02, "{share}: {found}");
        }
        assert_eq!(delays.longest(), 1_000_000);
    }

    #[test]
    fn every_value_lies_in_its_place() {
        for value in (0..4096).chain([1 << 20, (1 << 20) + 12345, (1 << 39) + 7]) {
            assert!(upper(place(value)) >= value);
            assert!(place(value) == 0 || upper(place(value) - 1) < value);
        }
    }

    #[test]
    fn without_packets_there_is_no_delay() {
        assert_eq!(Delays::default().quantile(0.99), 0);
    }
}
