//! The onetrace command.
fn main() {}
