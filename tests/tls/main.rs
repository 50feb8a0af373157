//! Clients that come in over TLS, over `auto` listeners and through proxies, against the program itself, on loopback
//! addresses that no two tests share.

// The rig is built outside of test functions.
#![allow(clippy::unwrap_used)]

mod auto;
mod certificates;
mod client;
mod handshake;
mod probing;
mod proxied_datagrams;
mod proxied_streams;
mod relaying;
mod reminders;
mod renewal;
mod rig;
mod tcp_relay;
