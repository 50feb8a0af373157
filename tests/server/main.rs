//! The server as a whole: `hairpin run` on loopback, real sockets, clients made of the wire room alone.
//!
//! One module a behaviour; [`server`] starts the program and reads what it tells, [`client`] is a client that can be
//! as polite or as rude as a test needs. No test waits for a protocol timer, and every wait has a deadline.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

#[path = "../vector_file/mod.rs"]
mod vector_file;

mod client;
mod server;

mod accounting;
mod bad_input;
mod batches;
mod binding;
mod control;
mod exhaustion;
mod failures;
mod faults;
mod hairpin;
mod logs;
mod metrics;
mod mobility;
mod relaying;
mod reload;
mod sandbox;
mod start_failures;
mod streams;
