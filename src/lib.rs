//! hairpin, a STUN and TURN server.
//!
//! It tells WebRTC clients their public address, and relays their media where no direct path exists. The rooms of the
//! house, from the wire up; arrows between them point one way, from [`cli`] down to [`wire`]:
//!
//! - [`wire`]: bytes to values and back. No I/O, no clock, no state.
//! - [`auth`]: who may relay: nonces, credentials and their sources.
//! - [`policy`]: what they may do: the peer filter and quotas.
//! - [`engine`]: the TURN server as a state machine. Time and bytes come in, effects go out.
//! - [`net`]: sockets: workers, batched UDP, streams, relay sockets. The only room with `unsafe`.
//! - [`config`]: TOML to typed, checked settings.
//! - [`sandbox`]: what the process gives up once its sockets are open.
//! - [`accounting`]: what allocations carried, for whoever bills.
//! - [`acme`]: certificates that an authority is asked for.
//! - [`telemetry`]: the log and the metrics.
//! - [`service`]: a running server with its settings.
//! - [`doctor`]: what keeps calls from working, on this machine and in these settings.
//! - [`admin`]: HTTP for operators.
//! - [`cli`]: one file a subcommand.
//!
//! How a packet travels: a worker is one thread with its own sockets and its own [`engine::Engine`]. It receives a batch
//! of datagrams, asks the engine what each one means, and gets ranges of the same buffer back: a ChannelData frame
//! becomes a relay, a peer and a range; a peer's datagram becomes a client, a header and a range. What is to leave
//! collects in the worker's outbox and leaves together. A peer that is a relayed address of this very server is reached
//! inside: the packet takes one hairpin bend and never touches the network. `docs/architecture.md` has the long form.

pub mod accounting;
pub mod acme;
pub mod admin;
pub mod auth;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod engine;
pub mod net;
pub mod policy;
pub mod sandbox;
pub mod service;
pub mod telemetry;
pub mod wire;
