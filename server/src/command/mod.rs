//! The commands: one static table, and a handler for each.
//!
//! Owns: names, arity, flags, key positions, documentation and handlers; nothing else in the server
//! knows any of them.
//! Never knows: sockets, segments.
//! Invariant: a handler looks at all its keys and checks all its arguments before its first write,
//! so that it can be abandoned and run again until then.

#![expect(clippy::unnecessary_wraps, reason = "handlers share one signature")]

mod absent;
mod acl;
mod bitfield;
mod bits;
mod blocking;
mod client;
mod collection;
mod config;
mod connection;
mod context;
mod copy;
mod counter;
mod debug;
mod describe;
mod dump;
pub(crate) mod event;
mod expiry;
mod geo;
mod geo_search;
mod geohash;
mod hash;
mod hash_expire;
mod hash_read;
mod hash_setex;
mod hyperloglog;
mod info;
mod keys;
mod keyspace;
mod large;
mod large_write;
mod latency;
mod lcs;
mod list;
mod list_move;
mod list_read;
mod lookup;
mod monitor;
mod overlay;
mod parse;
mod prefix;
mod pubsub;
mod reference;
mod scan;
mod script;
mod server;
mod session;
mod set;
mod set_algebra;
mod slow;
mod sort;
mod string;
mod string_set;
mod table;
#[cfg(test)]
mod tests;
mod transaction;
mod wait;
mod write;
mod zset;
mod zset_algebra;
mod zset_bounds;
mod zset_pop;
mod zset_range;

use std::borrow::Cow;

use crate::serve::assemble::Plan;
use crate::serve::blocked::Blocked;
use crate::serve::client::Until;
use crate::serve::gather::Request;

pub use context::{Context, RECORD_OVERHEAD};
pub use event::Message;
pub use keys::{Keys, selected_by};
pub use large::streamed_argument;
pub use lookup::{Resolved, all, count, resolve};
pub use prefix::Seals;
pub use reference::reference;
pub use session::{LockWait, session_channels};
pub use table::{Command, Flags, Group, flag};
pub(crate) use write::refusal;

use crate::resp::Args;

/// Runs a command.
pub type Handler = fn(&mut Context<'_>, Args<'_>) -> Outcome;

/// How a command ended. `Ok`: its reply is complete.
pub type Outcome = Result<(), Stop>;

/// Why a command did not answer, or not with a value. Nothing has been changed, and what it has
/// written of a reply is taken back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    /// It answers this error.
    Error(Cow<'static, str>),
    /// A value that it needs is not in RAM: load those of all its keys, then run it again.
    Cold,
    /// The log has no room at the moment: run it again after the next completion.
    Room,
    /// It needs keys listed: run it again with them.
    Gather(Request),
    /// It waits: run it again then.
    Until(Until),
    /// It waits for keys to be written: run it again then.
    Block(Box<Blocked>),
    /// CLIENT PAUSE holds it: run it again when that is over.
    Pause,
    /// It needs the values of these keys, which it does not name: load them, then run it again.
    Load(Vec<(u16, Box<[u8]>)>),
    /// It needs a large value put together: run it again then.
    Assemble(Box<Plan>),
}

impl Stop {
    /// An error whose text is known.
    pub const fn error(text: &'static str) -> Stop {
        Stop::Error(Cow::Borrowed(text))
    }
}

/// Texts that clients match on, as Redis words them.
pub mod text {
    use super::Stop;

    /// Operation on a key of another type.
    pub const WRONG_TYPE: Stop =
        Stop::error("WRONGTYPE Operation against a key holding the wrong kind of value");
    /// Malformed options.
    pub const SYNTAX: Stop = Stop::error("ERR syntax error");
    /// Not an integer.
    pub const NOT_INTEGER: Stop = Stop::error("ERR value is not an integer or out of range");
    /// Not a number.
    pub const NOT_FLOAT: Stop = Stop::error("ERR value is not a valid float");
    /// No such key.
    pub const NO_KEY: Stop = Stop::error("ERR no such key");
    /// A number outside its range.
    pub const OUT_OF_RANGE: Stop = Stop::error("ERR index out of range");
    /// The disk limit is reached.
    pub const FULL: Stop = Stop::error(
        "OOM command not allowed: the disk limit is reached; delete keys or raise disk-limit",
    );
    /// A sync failed.
    pub const POISONED: Stop =
        Stop::error("IOERR the device failed to sync; writes are refused until a restart");
    /// A read failed.
    pub const READ_FAILED: Stop = Stop::error("IOERR the device failed to read the value");
    /// The value was lost.
    pub const CORRUPT: Stop = Stop::error(
        "CORRUPT the newest value of this key was lost to disk corruption; SET or DEL heals it",
    );
    /// A value that does not decode.
    pub const MALFORMED: Stop = Stop::error("CORRUPT the value of this key does not decode");
    /// Recovery is going on.
    pub const LOADING: Stop = Stop::error("LOADING Emberlog is loading the dataset in memory");
}

/// Handler of a command that only has subcommands. Its arity keeps it from being called without.
fn container(_cx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    Err(text::SYNTAX)
}
