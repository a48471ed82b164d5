//! The `emberlog` server.
fn main() {}
