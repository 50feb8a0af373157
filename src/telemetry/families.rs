//! Families of metrics, in the making: a name, a help, and a value for each combination of labels.
//!
//! What they say is decided in [`super::metrics`]. Main type: [`Families`].

use crate::engine::histogram::{BOUNDS, Histogram, Scale};
use prometheus::core::Collector;
use prometheus::proto::{self, Bucket, MetricFamily};
use prometheus::{CounterVec, IntCounterVec, IntGaugeVec, Opts};
use std::time::Duration;

/// Collects families one after the other.
#[derive(Default)]
pub(super) struct Families(Vec<MetricFamily>);

impl Families {
    /// All that have a value, by name.
    pub fn sorted(self) -> Vec<MetricFamily> {
        let mut families = self.0;
        families.retain(|family| !family.get_metric().is_empty());
        families.sort_by(|one, other| one.name().cmp(other.name()));
        families
    }

    /// A counter, with one value for each combination of labels.
    pub fn counters<'a, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; N],
        values: impl IntoIterator<Item = ([&'a str; N], u64)>,
    ) {
        let Ok(family) = IntCounterVec::new(Opts::new(name, help), &labels) else {
            return;
        };
        for (labels, value) in values {
            family.with_label_values(&labels).inc_by(value);
        }
        self.0.extend(family.collect());
    }

    /// A counter of time, in seconds.
    pub fn seconds<'a, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; N],
        values: impl IntoIterator<Item = ([&'a str; N], Duration)>,
    ) {
        let Ok(family) = CounterVec::new(Opts::new(name, help), &labels) else {
            return;
        };
        for (labels, value) in values {
            family
                .with_label_values(&labels)
                .inc_by(value.as_secs_f64());
        }
        self.0.extend(family.collect());
    }

    /// A histogram of durations, in seconds.
    pub fn histogram<'a, S: Scale + 'a>(
        &mut self,
        name: &str,
        help: &str,
        workers: impl Iterator<Item = &'a Histogram<S>>,
    ) {
        let mut counts = [0; BOUNDS + 1];
        let mut micros: u64 = 0;
        for histogram in workers {
            for (sum, count) in counts.iter_mut().zip(histogram.counts()) {
                *sum += count;
            }
            micros = micros.saturating_add(histogram.micros());
        }
        let mut below = 0;
        let buckets = S::BOUNDS.iter().zip(counts).map(|(bound, count)| {
            below += count;
            let mut bucket = Bucket::default();
            bucket.set_cumulative_count(below);
            bucket.set_upper_bound(bound.as_secs_f64());
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(counts.iter().sum());
        histogram.set_sample_sum(micros as f64 / 1e6);
        let mut metric = proto::Metric::default();
        metric.set_histogram(histogram);
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(proto::MetricType::HISTOGRAM);
        family.set_metric(vec![metric]);
        self.0.push(family);
    }

    /// A gauge, likewise.
    pub fn gauges<'a, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; N],
        values: impl IntoIterator<Item = ([&'a str; N], u64)>,
    ) {
        let Ok(family) = IntGaugeVec::new(Opts::new(name, help), &labels) else {
            return;
        };
        for (labels, value) in values {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            family.with_label_values(&labels).set(value);
        }
        self.0.extend(family.collect());
    }
}
