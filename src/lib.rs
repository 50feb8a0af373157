//! hairpin, a STUN and TURN server.

pub mod policy;
pub mod wire;
