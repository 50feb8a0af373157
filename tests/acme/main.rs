//! Certificates that the server asks an authority for, by ACME, against the program itself and an authority on loopback.

// The rig is built outside of test functions.
#![allow(clippy::unwrap_used)]

mod authority;
#[allow(dead_code)]
#[path = "../tls/client.rs"]
mod client;
mod first;
mod refusals;
mod renewal;
mod rig;
mod schedule;
