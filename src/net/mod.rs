//! Sockets and addresses.

pub mod addresses;
