//! Keys listed for a command that cannot list them in one step: SCAN, KEYS, RANDOMKEY.
//!
//! Owns: the request to the shard and the answers so far.
//! Never knows: patterns and reply shapes.
//! Invariant: a command that asks for keys has had no effect yet; it runs again with the answer.

use emberlog_engine::{Lsn, ScannedKey};

/// A request for keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// Database to list.
    pub db: u16,
    /// Position of the command in the queue of MULTI, 0 outside of one.
    pub slot: usize,
    /// Which keys.
    pub what: What,
}

/// Which keys a command asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// About `count` keys from `cursor` on.
    Scan {
        /// 0 at the start.
        cursor: u64,
        /// How many.
        count: usize,
    },
    /// One key at random.
    Random,
}

/// The answers to one command, which is command `slot` of a transaction (0 outside of one).
#[derive(Debug)]
pub struct Gathered {
    /// Position in the queue of MULTI.
    pub slot: usize,
    /// The newest answer, until the command takes it.
    pub fresh: Option<Fresh>,
    /// Keys that the command has kept of earlier answers.
    pub kept: Vec<Vec<u8>>,
    /// Whether the command needs nothing more.
    pub done: bool,
    /// LSN that must be acknowledged before what was kept is shown.
    pub barrier: Lsn,
}

/// One answer of the shard.
#[derive(Debug)]
pub struct Fresh {
    /// Some keys.
    pub keys: Vec<ScannedKey>,
    /// Where to go on, 0 at the end.
    pub next: u64,
    /// LSN that must be acknowledged before they are shown.
    pub barrier: Lsn,
}
