//! What keeps calls from working: looks at the machine a server runs on, or is to run on, and at its settings.
//!
//! It reads, and asks the server's own listeners; nobody else is asked anything unless a STUN server is named. Nothing is
//! changed, and nothing that is secret stands in what was found. `hairpin doctor` looks from outside and shows the most; a
//! running server looks from where its sandbox leaves it ([`Machine::kept`]) and says what it cannot see. What the
//! settings alone tell is [`advice`]. Main items: [`examine`], [`Questions`], [`Machine`], [`Finding`], [`Report`].

mod addresses;
pub mod advice;
mod ask;
mod certificate;
mod finding;
mod firewall;
mod kernel;
mod listeners;
mod machine;
mod process;
mod secrets;
mod state;

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Serialize;

use crate::config::{Loaded, Settings};
use crate::net::addresses::{RelayAddress, relays};
use crate::net::authorities;
use advice::Surroundings;

pub use finding::{Finding, Severity};
pub use machine::Machine;

/// What may be asked over the network, and how.
#[derive(Clone, Debug, Default)]
pub struct Questions {
    /// Addresses of this machine to ask the listeners from, as clients elsewhere would.
    pub from: Vec<IpAddr>,
    /// A STUN server elsewhere, `host:port`, that is asked by which address the world sees this machine.
    pub stun: Option<String>,
    /// PEM file with the authorities that clients trust; by default `SSL_CERT_FILE`, or those of the system.
    pub ca: Option<PathBuf>,
    /// Leaves the listeners alone.
    pub no_listeners: bool,
    /// Where a running server relays from; by default where one would that started now.
    pub relays: Option<Vec<RelayAddress>>,
}

/// What was found, for programs.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    problems: usize,
    warnings: usize,
    findings: Vec<Finding>,
}

impl Report {
    /// Of these.
    #[must_use]
    pub fn of(findings: Vec<Finding>) -> Report {
        let count = |severity| {
            let of = |finding: &&Finding| finding.severity == severity;
            findings.iter().filter(of).count()
        };
        Report {
            problems: count(Severity::Problem),
            warnings: count(Severity::Warning),
            findings,
        }
    }

    /// Whether calls fail.
    #[must_use]
    pub fn has_problems(&self) -> bool {
        self.problems > 0
    }
}

/// Everything that can be found out, the worst first. It may take some seconds, where listeners do not answer.
///
/// A process that has closed itself in must not look at [`Machine::this`], which starts programs, but at one of [`keep`].
pub fn examine(loaded: &Loaded, machine: &Machine, questions: &Questions) -> Vec<Finding> {
    let settings = &loaded.settings;
    let mut found = Vec::new();
    let now = relays(&settings.relay).unwrap_or_else(|error| {
        let why = match questions.relays {
            Some(_) => "calls fail where the server relays from there, and it does not start again",
            None => "hairpin does not start",
        };
        found.push(Finding::problem("relay.unusable", error.to_string()).why(why));
        Vec::new()
    });
    let relays = match &questions.relays {
        Some(bound) => {
            found.extend(addresses::moved(bound, &now));
            bound.clone()
        }
        None => now,
    };
    let surroundings = Surroundings {
        receive_limit: kernel::limit(machine, "rmem_max"),
        send_limit: kernel::limit(machine, "wmem_max"),
        ..Surroundings::of_this_machine(relays.clone())
    };
    found.extend(advice::findings(settings, &surroundings));
    found.extend(secrets::examine(loaded));
    found.extend(addresses::examine(settings, &relays, machine));
    if let Some(server) = &questions.stun {
        found.extend(addresses::mapping(server, settings, &relays));
    }
    found.extend(certificate::examine(
        settings,
        questions.ca.as_deref(),
        machine,
    ));
    found.extend(state::examine(settings));
    found.extend(kernel::examine(settings, &relays, &surroundings, machine));
    found.extend(process::examine(settings, &relays, machine));
    found.extend(firewall::examine(settings, &relays, machine));
    if !questions.no_listeners {
        found.extend(listeners::examine(settings, &relays, &questions.from));
    }
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    found
}

/// Opens what [`examine`] will look at once files cannot be opened any more, and keeps it open.
#[must_use]
pub fn keep(settings: &Settings, relays: &[RelayAddress]) -> Machine {
    let machine = Machine::kept();
    // What is found does not matter yet, but what it takes.
    let surroundings = Surroundings {
        receive_limit: kernel::limit(&machine, "rmem_max"),
        send_limit: kernel::limit(&machine, "wmem_max"),
        ..Surroundings::default()
    };
    let _ = addresses::examine(settings, relays, &machine);
    let _ = kernel::examine(settings, relays, &surroundings, &machine);
    let _ = process::examine(settings, relays, &machine);
    let _ = authorities::load_by(None, |file| machine.open(file).map(|_| Vec::new()));
    machine
}
