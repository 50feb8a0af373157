//! The `hairpin` command.

fn main() {}
