//! The engine in virtual time, through its public interface: no socket, no sleep, no clock.
//!
//! `world` is the simulated network around one or more engines and checks after each step what must always hold;
//! `client` builds requests and reads answers; `lossy` is a link that loses, repeats and reorders. The other modules
//! hold the tests, a file a behaviour. Names that start like `t_alloc_07` are ids of the protocol rules that hairpin
//! keeps a list of.

#![allow(clippy::unwrap_used)]

mod checks;
mod client;
mod lossy;
mod reference;
mod setup;
mod world;

mod allocate;
mod allocate_answers;
mod auth;
mod auth_ephemeral;
mod bandwidth;
mod binding;
mod caps;
mod channel_data;
mod channels;
mod confined;
mod data;
mod ends;
mod families;
mod fault_order;
mod hairpin;
mod headers;
mod icmp;
mod integrity;
mod isolation;
mod mobility;
mod mobility_races;
mod model;
mod permissions;
mod rates;
mod refresh;
mod registry;
mod reservations;
mod retransmissions;
mod rule_changes;
mod ssrf;
mod strangers;
mod tcp_relay;
mod third_party;
mod webrtc;
