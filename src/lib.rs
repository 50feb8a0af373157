//! hairpin, a STUN and TURN server.

pub mod auth;
pub mod engine;
pub mod policy;
pub mod wire;
