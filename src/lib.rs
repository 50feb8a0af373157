//! hairpin, a STUN and TURN server.

pub mod auth;
pub mod policy;
pub mod wire;
