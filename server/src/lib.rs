//! Emberlog's server: the Redis protocol over the engine's shard.
//!
//! ```text
//! main -> args -> config        net -> serve -> command -> value
//!                                       serve -> connection -> resp
//!                                                  command -> script
//! ```
//! `net` moves bytes, `serve` is the server without its sockets, `command` is one table of commands
//! with their handlers, `script` runs Lua, `resp` is the protocol. All run on one thread; only recovery has its own.
//! The library is separate from the binary so that tests and fuzzers reach the parser, the table
//! and the server without sockets.

pub mod args;
pub mod command;
pub mod config;
pub mod connection;
pub mod ember;
pub mod glob;
pub mod log;
pub mod net;
pub mod notify;
pub mod output;
pub mod process;
pub mod resp;
pub mod script;
pub mod serve;
pub mod value;

/// Version of Redis whose behaviour clients may expect.
pub const REDIS_VERSION: &str = "7.2.4";
/// The same, as scripts compare it: a byte for each part.
pub const REDIS_VERSION_NUM: u32 = 0x07_02_04;
/// Version of Emberlog.
pub const EMBERLOG_VERSION: &str = env!("CARGO_PKG_VERSION");
