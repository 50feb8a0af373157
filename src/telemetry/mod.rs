//! What operators see: the log and the metrics.
//!
//! Counting itself is the engine's and the workers' work; here their counters are summed when somebody asks.
//! Main items: [`log::start`], [`panics::tell_the_log`], [`Metrics`].

mod families;
pub mod journal;
pub mod log;
mod metrics;
pub mod panics;
pub mod process;

pub use metrics::{Facts, KeyFacts, Metrics, Sources};
pub use process::Process;
