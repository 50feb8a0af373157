//! A client of RFC 8489 and RFC 8656 from another hand: `turn-client-proto`, against a server on loopback.

#![allow(clippy::unwrap_used)]

mod algorithms;
mod driver;
mod families;
mod server;
mod streams;
mod tcp_relay;
