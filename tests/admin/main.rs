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

// The room server of the example asks for credentials as any application does.
#[path = "../../examples/video-call/ice_servers.rs"]
#[allow(dead_code, unreachable_pub)]
mod ice_servers;
#[path = "../../examples/video-call/messages.rs"]
#[allow(dead_code, unreachable_pub)]
mod messages;
#[path = "../../examples/video-call/trial.rs"]
#[allow(dead_code, unreachable_pub)]
mod trial;

mod access;
mod api;
mod credentials;
mod crowds;
mod ctl;
mod doctor;
mod health;
mod orders;
mod page;
mod refusals;
mod rig;
mod schema;
mod sessions;
mod tester;
mod video_call;
