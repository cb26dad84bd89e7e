//! The `feedforward` program.
fn main() {}
