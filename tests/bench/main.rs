//! `hairpin bench` against `hairpin run`: every scenario for a moment at a low rate, and what the arguments allow.

#![allow(clippy::unwrap_used, missing_docs)]

mod rig;

mod arguments;
mod scenarios;
