//! What a load found out, as a table for people and as JSON for programs.
//!
//! The main type is [`Report`].

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::gauge::Use;
use super::process::Memory;
use super::scenario::{Direction, Framing, Pace, Plan, Work};
use super::tally::Tally;

/// What bringing up the clients took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// How many allocations were made.
    pub allocations: usize,
    /// How long that took.
    pub time: Duration,
    /// The server's processor time meanwhile.
    pub server_cpu: Option<Duration>,
}

/// What is known of one load.
#[derive(Clone, Debug)]
pub struct Report {
    plan: Plan,
    server: SocketAddr,
    /// Bringing up the clients.
    pub setup: Setup,
    /// The server's memory before its first client.
    pub memory_before: Option<Memory>,
    /// With all allocations.
    pub memory_set_up: Option<Memory>,
    /// In the end, with the allocations still there.
    pub memory_after: Option<Memory>,
    used: Use,
    worked: Duration,
    tally: Tally,
}

impl Report {
    /// Of a load that has not run yet.
    #[must_use]
    pub fn new(plan: &Plan, server: SocketAddr) -> Report {
        Report {
            plan: plan.clone(),
            server,
            setup: Setup::default(),
            memory_before: None,
            memory_set_up: None,
            memory_after: None,
            used: Use::default(),
            worked: Duration::ZERO,
            tally: Tally::default(),
        }
    }

    /// Takes what a load was: what it used, how long it worked and what it counted.
    pub fn ran(&mut self, used: Use, worked: Duration, tally: &Tally) {
        self.used = used;
        // Others may have had the core for a part of the time in which the load was at work.
        let share = used.own_cpu.as_secs_f64() / used.time.as_secs_f64().max(1e-9);
        self.worked = worked.mul_f64(share.min(1.0));
        self.tally = tally.clone();
    }

    /// Takes what was used while allocations were held.
    pub fn held(&mut self, used: Use) {
        self.used = used;
    }

    /// Packets that came to the server: those that its sockets had no room for did not.
    fn arrived(&self) -> u64 {
        let dropped = self.used.server_dropped.unwrap_or(0);
        self.tally.sent.saturating_sub(dropped)
    }

    fn lost(&self) -> u64 {
        self.tally.sent.saturating_sub(self.tally.delivered)
    }

    /// Server memory for an allocation, in bytes.
    fn memory_each(&self) -> Option<f64> {
        let grown = self
            .memory_set_up?
            .resident
            .saturating_sub(self.memory_before?.resident);
        (self.setup.allocations > 0).then(|| grown as f64 / self.setup.allocations as f64)
    }

    /// One JSON object. Durations are in the unit their name ends with, numbers that are not known `null`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let plan = &self.plan;
        let pace = match plan.pace {
            Pace::Window(window) => json!({ "window": window }),
            Pace::Rate { rate, every } => {
                json!({ "rate": rate, "every_us": every.as_micros() as u64 })
            }
        };
        let seconds = self.used.time.as_secs_f64();
        let memory = |memory: Option<Memory>| {
            memory.map(|memory| json!({ "rss": memory.resident, "pss": memory.proportional }))
        };
        let micros = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
        let delays = &self.tally.delays;
        let setup_cpu = self.setup.server_cpu;
        json!({
            "scenario": plan.scenario.name(),
            "server": self.server.to_string(),
            "load": {
                "transport": plan.transport.to_string(),
                "clients": plan.clients,
                "peers": plan.peers,
                "idle": plan.idle,
                "size": plan.size,
                "burst": plan.burst,
                "segments": plan.segmented,
                "direction": direction(plan.work),
                "framing": framing(plan.framing),
                "pace": pace,
                "gro": plan.coalesced,
            },
            "seconds": seconds,
            "sent": self.tally.sent,
            "unsent": self.tally.unsent,
            "delivered": self.tally.delivered,
            "lost": self.lost(),
            "reordered": self.tally.reordered,
            "foreign": self.tally.foreign,
            "delivered_per_second": per(self.tally.delivered as f64, seconds),
            "delay_us": {
                "p50": micros(delays.quantile(0.5)),
                "p99": micros(delays.quantile(0.99)),
                "p99_9": micros(delays.quantile(0.999)),
                "max": micros(delays.longest()),
            },
            "server_process": self.used.server_cpu.map(|cpu| json!({
                "cpu_seconds": cpu.as_secs_f64(),
                "arrived": self.arrived(),
                "dropped": self.used.server_dropped,
                "cpu_us_per_arrived": each(cpu, self.arrived()),
                "cpu_us_per_delivered": each(cpu, self.tally.delivered),
                "memory_before": memory(self.memory_before),
                "memory_set_up": memory(self.memory_set_up),
                "memory_after": memory(self.memory_after),
                "memory_bytes_per_allocation": self.memory_each(),
            })),
            "own_process": {
                "cpu_seconds": self.used.own_cpu.as_secs_f64(),
                "worked_seconds": self.worked.as_secs_f64(),
                "worked_us_per_delivered": each(self.worked, self.tally.delivered),
                "dropped": self.used.own_dropped,
            },
            "setup": {
                "allocations": self.setup.allocations,
                "seconds": self.setup.time.as_secs_f64(),
                "server_cpu_us_per_allocation":
                    setup_cpu.and_then(|cpu| each(cpu, self.setup.allocations as u64)),
            },
        })
    }
}

fn direction(work: Work) -> &'static str {
    match work {
        Work::Relay(Direction::ToPeer) => "to-peer",
        Work::Relay(Direction::ToClient) => "to-client",
        Work::Relay(Direction::Both) => "both",
        Work::Relay(Direction::RelayToRelay) => "relay-to-relay",
        Work::Binding | Work::Churn | Work::Hold => "none",
    }
}

fn framing(framing: Framing) -> &'static str {
    match framing {
        Framing::Channel => "channel",
        Framing::Send => "send",
    }
}

fn per(count: f64, of: f64) -> Option<f64> {
    (of > 0.0).then(|| count / of)
}

/// Microseconds for each of so many.
fn each(time: Duration, count: u64) -> Option<f64> {
    per(time.as_secs_f64() * 1e6, count as f64)
}

/// A line of the table, where there is something to say.
fn line(f: &mut fmt::Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    writeln!(f, "{name:<12} {value}")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.plan;
        let name = plan.scenario.name();
        line(
            f,
            "scenario",
            &format!("{name}, {}/{}", self.server, plan.transport),
        )?;
        if let Work::Relay(_) = plan.work {
            let pace = match plan.pace {
                Pace::Window(window) => format!("{window} packets under way"),
                Pace::Rate { rate, every } if every.is_zero() => {
                    format!("{rate} packets a second, one burst at a time")
                }
                Pace::Rate { rate, every } => {
                    format!("{rate} packets a second, every {} us", every.as_micros())
                }
            };
            let bursts = match (plan.burst, plan.segmented) {
                (1, _) => String::new(),
                (burst, false) => format!(" in bursts of {burst}"),
                (burst, true) => format!(" in bursts of {burst} segments"),
            };
            let load = format!(
                "{} clients x {} peers, {}, {}, {} bytes{bursts}, {pace}",
                plan.clients,
                plan.peers,
                direction(plan.work),
                framing(plan.framing),
                plan.size,
            );
            line(f, "load", &load)?;
        }
        if self.setup.allocations > 0 {
            let mut text = format!(
                "{} allocations in {:.2} s",
                self.setup.allocations,
                self.setup.time.as_secs_f64()
            );
            if let Some(cpu) = self.setup.server_cpu {
                let each = each(cpu, self.setup.allocations as u64).unwrap_or_default();
                text += &format!(", {each:.0} us of the server's time each");
            }
            line(f, "set-up", &text)?;
        }
        if plan.work != Work::Hold {
            self.packets(f)?;
        }
        if let Some(cpu) = self.used.server_cpu {
            let seconds = self.used.time.as_secs_f64();
            let mut text = format!(
                "{:.1} % of a core",
                per(cpu.as_secs_f64() * 100.0, seconds).unwrap_or_default()
            );
            if let Some(each) = each(cpu, self.tally.delivered) {
                text += &format!(", {each:.2} us for each delivered");
            }
            if let Some(each) = each(cpu, self.arrived()) {
                text += &format!(", {each:.2} us for each that arrived");
            }
            if let Some(dropped) = self.used.server_dropped.filter(|dropped| *dropped > 0) {
                text += &format!(", {dropped} dropped at its sockets");
            }
            line(f, "server", &text)?;
        }
        if let (Some(before), Some(after)) = (self.memory_before, self.memory_after) {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let mut text = format!(
                "{:.1} MiB before, {:.1} MiB in the end (PSS {:.1} MiB)",
                mib(before.resident),
                mib(after.resident),
                mib(after.proportional),
            );
            // A few allocations do not show what one takes.
            if let Some(each) = self
                .memory_each()
                .filter(|_| self.setup.allocations >= 1000)
            {
                text += &format!(", {each:.0} bytes for an allocation");
            }
            line(f, "memory", &text)?;
        }
        Ok(())
    }
}

impl Report {
    fn packets(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = &self.tally;
        let seconds = self.used.time.as_secs_f64();
        let mut text = format!(
            "{} in {seconds:.2} s, {:.0} a second",
            tally.sent,
            per(tally.sent as f64, seconds).unwrap_or_default(),
        );
        if tally.unsent > 0 {
            text += &format!("; {} were due and not sent", tally.unsent);
        }
        line(f, "sent", &text)?;
        let text = format!(
            "{}, {:.0} a second",
            tally.delivered,
            per(tally.delivered as f64, seconds).unwrap_or_default(),
        );
        line(f, "delivered", &text)?;
        let share = per(self.lost() as f64 * 100.0, tally.sent as f64).unwrap_or_default();
        let mut text = format!("{} ({share:.3} %)", self.lost());
        if self.used.own_dropped > 0 {
            let dropped = self.used.own_dropped;
            text += &format!("; {dropped} had no room in the load's own sockets");
        }
        line(f, "lost", &text)?;
        let mut text = tally.reordered.to_string();
        if tally.foreign > 0 {
            text += &format!("; {} packets were none of the load's", tally.foreign);
        }
        line(f, "reordered", &text)?;
        let micros = |share: f64| tally.delays.quantile(share) as f64 / 1000.0;
        let text = format!(
            "p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us, longest {:.0} us",
            micros(0.5),
            micros(0.99),
            micros(0.999),
            tally.delays.longest() as f64 / 1000.0,
        );
        line(f, "delay", &text)?;
        let busy = per(self.worked.as_secs_f64() * 100.0, seconds).unwrap_or_default();
        let own = per(self.used.own_cpu.as_secs_f64() * 100.0, seconds).unwrap_or_default();
        let each = each(self.worked, tally.delivered).unwrap_or_default();
        let text = format!(
            "{busy:.1} % of a core to send and receive, {each:.2} us for each delivered; {own:.1} % with waiting"
        );
        line(f, "this load", &text)
    }
}
