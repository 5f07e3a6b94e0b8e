//! Every command of the README.
fn main() {}
