//! The command line of simctl.

fn main() {}
