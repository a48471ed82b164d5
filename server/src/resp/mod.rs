//! The Redis serialization protocol, versions 2 and 3: bytes to arguments, replies to bytes.
//!
//! Owns: framing and its limits.
//! Never knows: what a command means, sockets, the engine.
//! Invariant: no input makes it panic, and nothing is allocated because of a length that the
//! input merely claims.
//! Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/>

pub mod ahead;
mod args;
mod encode;
mod inline;
mod number;
mod parse;
#[cfg(test)]
mod tests;

pub use args::{Args, OwnedArgs, Span};
pub use encode::{Proto, Reply, error_line};
pub use number::{format_double, format_score, parse_double, parse_i64, parse_strtod};
pub use parse::{Limits, Long, Parsed, Parser, ProtocolError};
