//! NAT behaviour discovery (RFC 5780): the engine's answers, the server's sockets, and `hairpin probe --nat`.

// Servers and requests are built outside of test functions.
#![allow(clippy::unwrap_used)]

mod engine;
mod probe;
mod server;
