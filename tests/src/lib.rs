//! Whole-system tests: they start a server as a process, use it over its sockets, hurt it, and judge.
//!
//! Owns: the blocking RESP client, the process harness, the kill -9 checker, the toy server that lies on
//! purpose so that the checker itself is proved. Must never know: anything of the engine's inside. Every test here
//! could run against any server that speaks the Redis protocol, and while the harness was written, did.

pub mod attack;
pub mod capacity;
pub mod differential;
pub mod killloop;
#[cfg(feature = "power-cut")]
pub mod powercut;
pub mod process;
pub mod resp;
pub mod server;
pub mod toy;
pub mod value;
