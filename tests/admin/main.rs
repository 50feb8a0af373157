//! The HTTP side through the real binary: the unix socket, the network, applications' keys, and `hairpin ctl`.
//!
//! Whatever a test asks, [`rig`] holds the answer against `openapi.json` by [`schema`], and looks for secrets in it. One
//! module a matter.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

#[path = "../server/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "../server/server.rs"]
#[allow(dead_code)]
mod server;

mod access;
mod api;
mod credentials;
mod ctl;
mod doctor;
mod health;
mod orders;
mod page;
mod refusals;
mod rig;
mod schema;
mod sessions;
