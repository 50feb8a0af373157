//! hairpin, a STUN and TURN server.

pub mod auth;
pub mod cli;
pub mod config;
pub mod engine;
pub mod net;
pub mod policy;
pub mod wire;
