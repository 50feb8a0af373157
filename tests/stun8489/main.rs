//! What RFC 8489 adds to RFC 5389, in virtual time and without a socket: password algorithms and SHA-256 integrity, hidden
//! user names, redirection, classic Binding; and clients of it that move. Clients of RFC 5389 must not notice any of it.

#![allow(clippy::unwrap_used)]

#[path = "../vector_file/mod.rs"]
mod vector_file;

mod algorithms;
mod classic;
mod hidden_names;
mod legacy;
mod mobility;
mod redirection;
mod renewal;
mod sizes;
mod transmit_counter;
mod world;
