//! What the probe found, as text while it goes or as one JSON object at the end.
//!
//! The main types are [`Report`] and [`Failure`].

use std::fmt;
use std::io::Write;
use std::net::SocketAddr;

use serde::Serialize;

use super::nat::behaviour::Behaviour;
use super::resolve::{Found, Server};
use super::tally::Summary;

/// The findings. Field names of the JSON form carry their units.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether facts are printed as they come.
    #[serde(skip)]
    text: bool,
    /// The URL.
    pub url: String,
    /// The NAPTR and SRV records that led to the server, as a zone file would have them.
    pub dns_records: Vec<String>,
    /// The server that was probed.
    pub server_address: Option<SocketAddr>,
    /// `udp`, `tcp` or `tls`, once that is known.
    pub transport: Option<String>,
    /// This machine's end of the connection the Binding went over.
    pub local_address: Option<SocketAddr>,
    /// Where the server saw that connection come from.
    pub mapped_address: Option<SocketAddr>,
    /// From the Binding request to its answer.
    pub binding_round_trip_ms: Option<f64>,
    /// What the server says it is.
    pub software: Option<String>,
    /// The realm it asks credentials for.
    pub realm: Option<String>,
    /// The two allocations, as far as they came about.
    pub allocations: Vec<Allocation>,
    /// The echo run through both of them.
    pub echo: Option<Echo>,
    /// How the NAT behaves, where that was asked.
    pub nat: Option<Behaviour>,
    /// Oddities that are no failure.
    pub notes: Vec<String>,
    /// What went wrong, in the order it did.
    pub failures: Vec<Failure>,
    /// The exit status of the process.
    pub exit_code: u8,
}

/// One allocation.
#[derive(Debug, Serialize)]
pub struct Allocation {
    /// `A` sends and measures, `B` echoes.
    pub name: char,
    /// The address the server relays at.
    pub relayed_address: SocketAddr,
    /// How long the server keeps it without a refresh.
    pub lifetime_seconds: Option<u64>,
    /// From the first Allocate request to the success, the 401 in between included.
    pub set_up_ms: f64,
    /// Whether the server confirmed that it is gone.
    pub freed: bool,
}

/// The echo run.
#[derive(Debug, Serialize)]
pub struct Echo {
    /// The size of each packet, without the headers below it.
    pub packet_size_bytes: usize,
    /// How many were sent a second.
    pub packets_per_second: u32,
    /// The figures.
    #[serde(flatten)]
    pub summary: Summary,
}

/// Something that went wrong, in words for the user.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// What was being done.
    pub step: String,
    /// The server's error code, if it gave one.
    pub code: Option<u16>,
    /// What happened.
    pub message: String,
    /// What to try.
    pub hint: Option<String>,
}

impl Report {
    /// An empty report; with `text`, facts are printed as they come.
    #[must_use]
    pub fn new(url: &super::url::ProbeUrl, text: bool) -> Report {
        Report {
            text,
            url: url.to_string(),
            dns_records: Vec::new(),
            server_address: None,
            transport: url.transport.map(|transport| transport.to_string()),
            local_address: None,
            mapped_address: None,
            binding_round_trip_ms: None,
            software: None,
            realm: None,
            allocations: Vec::new(),
            echo: None,
            nat: None,
            notes: Vec::new(),
            failures: Vec::new(),
            exit_code: 0,
        }
    }

    /// Prints one fact on a line of its own, in text form only.
    pub fn fact(&self, label: &str, value: impl fmt::Display) {
        if self.text {
            print(&format!("{label:<20}  {}", printable(&value.to_string())));
        }
    }

    /// Adds what the URL came to.
    pub fn found(&mut self, found: &Found) {
        for record in &found.records {
            self.fact("DNS record", record);
        }
        self.dns_records.clone_from(&found.records);
        for note in &found.notes {
            self.note(note.clone());
        }
        if let [server, others @ ..] = found.servers.as_slice() {
            self.server_address = Some(server.address);
            self.transport = Some(server.transport.to_string());
            self.fact("server", server);
            if !others.is_empty() {
                let others: Vec<String> = others.iter().map(Server::to_string).collect();
                self.note(format!(
                    "there are other servers, which were not probed: {}",
                    others.join(", ")
                ));
            }
        }
    }

    /// Adds an oddity that is no failure.
    pub fn note(&mut self, note: String) {
        self.fact("note", &note);
        self.notes.push(note);
    }

    /// Adds a failure; the text form has it on standard error.
    pub fn failure(&mut self, failure: Failure) {
        if self.text {
            let mut text = format!("hairpin probe: {}: {}", failure.step, failure.message);
            if let Some(hint) = &failure.hint {
                text.push_str("; ");
                text.push_str(hint);
            }
            complain(&text);
        }
        self.failures.push(failure);
    }

    /// Adds the figures of the echo run.
    pub fn echo(&mut self, echo: Echo) {
        let summary = &echo.summary;
        let (size, rate) = (echo.packet_size_bytes, echo.packets_per_second);
        self.fact(
            "echo sent",
            format_args!(
                "{} packets of {size} bytes, {rate} a second",
                summary.packets_sent
            ),
        );
        self.fact(
            "echo received",
            format_args!("{} packets", summary.packets_received),
        );
        self.fact("loss", format_args!("{:.2} %", summary.loss_percent));
        self.fact("reordered", summary.packets_reordered);
        self.fact("duplicated", summary.packets_duplicated);
        self.fact("corrupted", summary.packets_corrupted);
        for (label, value) in [
            ("round trip, min", summary.round_trip_min_ms),
            ("round trip, median", summary.round_trip_median_ms),
            ("round trip, p95", summary.round_trip_p95_ms),
            ("round trip, max", summary.round_trip_max_ms),
            ("jitter", summary.jitter_ms),
        ] {
            if let Some(value) = value {
                self.fact(label, format_args!("{value:.2} ms"));
            }
        }
        self.echo = Some(echo);
    }

    /// Ends the report with its verdict.
    pub fn finish(&mut self, exit_code: u8) {
        self.exit_code = exit_code;
        self.fact(
            "result",
            match exit_code {
                0 => "all well",
                super::EXIT_NO_ANSWER => "no answer",
                _ => "failed",
            },
        );
        if !self.text {
            match serde_json::to_string_pretty(self) {
                Ok(json) => print(&json),
                Err(error) => complain(&format!("hairpin probe: cannot write JSON: {error}")),
            }
        }
    }
}

/// A line on standard output. Nobody reading it is no reason to stop: the exit status still tells.
fn print(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}").is_ok();
}

/// A line on standard error.
pub fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable(line)).is_ok();
}

/// Servers choose some of these texts; they shall not steer the terminal.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "?")
}
