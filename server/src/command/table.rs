//! What there is to know about a command.
//!
//! Owns: [`Command`], [`Flags`], [`Group`].
//! Never knows: which commands there are.
//! Invariant: entries are `const`, so the table costs nothing to build and cannot change.

use super::{Handler, Keys};

/// Properties of a command, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags(pub u32);

/// The bits of [`Flags`].
pub mod flag {
    /// May change keys.
    pub const WRITE: u32 = 1;
    /// Reads keys.
    pub const READONLY: u32 = 1 << 1;
    /// May make the store larger; refused when the disk is full.
    pub const DENYOOM: u32 = 1 << 2;
    /// For operators.
    pub const ADMIN: u32 = 1 << 3;
    /// Of publish and subscribe.
    pub const PUBSUB: u32 = 1 << 4;
    /// Not for scripts.
    pub const NOSCRIPT: u32 = 1 << 5;
    /// Also while recovering.
    pub const LOADING: u32 = 1 << 6;
    /// Also on a replica whose link is down.
    pub const STALE: u32 = 1 << 7;
    /// Not shown to MONITOR.
    pub const SKIP_MONITOR: u32 = 1 << 8;
    /// Not in the slow log.
    pub const SKIP_SLOWLOG: u32 = 1 << 9;
    /// Constant time, or nearly.
    pub const FAST: u32 = 1 << 10;
    /// Before authentication.
    pub const NO_AUTH: u32 = 1 << 11;
    /// Not within MULTI.
    pub const NO_MULTI: u32 = 1 << 12;
    /// Run at once within MULTI instead of being queued.
    pub const NOT_QUEUED: u32 = 1 << 13;
    /// Could harm others: listing or deleting everything.
    pub const DANGEROUS: u32 = 1 << 14;
    /// May wait.
    pub const BLOCKING: u32 = 1 << 15;
    /// Asks for keys to be listed before it can answer.
    pub const GATHERS: u32 = 1 << 16;
    /// In RESP2, also while subscribed.
    pub const IN_PUBSUB: u32 = 1 << 17;
    /// Its time is measured: not constant, or a script.
    pub const TIMED: u32 = 1 << 18;
    /// Runs a script, so the keys that it touches are not known beforehand.
    pub const SCRIPT: u32 = 1 << 19;
}

impl Flags {
    /// Whether any bit of `mask` is set.
    pub const fn has(self, mask: u32) -> bool {
        self.0 & mask != 0
    }

    /// Names as COMMAND shows them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        const NAMES: [(u32, &str); 14] = [
            (flag::WRITE, "write"),
            (flag::READONLY, "readonly"),
            (flag::DENYOOM, "denyoom"),
            (flag::ADMIN, "admin"),
            (flag::PUBSUB, "pubsub"),
            (flag::NOSCRIPT, "noscript"),
            (flag::BLOCKING, "blocking"),
            (flag::LOADING, "loading"),
            (flag::STALE, "stale"),
            (flag::SKIP_MONITOR, "skip_monitor"),
            (flag::SKIP_SLOWLOG, "skip_slowlog"),
            (flag::FAST, "fast"),
            (flag::NO_AUTH, "no_auth"),
            (flag::NO_MULTI, "no_multi"),
        ];
        // Whether a script writes is not known beforehand.
        let shown = Flags(if self.has(flag::SCRIPT) { self.0 & !flag::WRITE } else { self.0 });
        NAMES.iter().filter(move |(bit, _)| shown.has(*bit)).map(|(_, name)| *name)
    }
}

/// Family of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// Any key.
    Generic,
    /// String values.
    String,
    /// String values as arrays of bits.
    Bitmap,
    /// String values that count different elements.
    HyperLogLog,
    /// Hash values.
    Hash,
    /// Set values.
    Set,
    /// Sorted set values.
    SortedSet,
    /// Sorted set values whose scores are places.
    Geo,
    /// List values.
    List,
    /// MULTI and friends.
    Transactions,
    /// About the connection.
    Connection,
    /// About the server.
    Server,
    /// Publish and subscribe.
    Pubsub,
    /// Scripts.
    Scripting,
    /// Sessions as objects.
    Session,
}

impl Group {
    /// Name as COMMAND DOCS shows it.
    pub const fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::Bitmap => "bitmap",
            Group::HyperLogLog => "hyperloglog",
            Group::Hash => "hash",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Geo => "geo",
            Group::List => "list",
            Group::Transactions => "transactions",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Pubsub => "pubsub",
            Group::Scripting => "scripting",
            Group::Session => "session",
        }
    }

    /// Its access category, if it has one.
    const fn category(self) -> Option<&'static str> {
        match self {
            Group::Generic => Some("@keyspace"),
            Group::String => Some("@string"),
            Group::Bitmap => Some("@bitmap"),
            Group::HyperLogLog => Some("@hyperloglog"),
            Group::Hash => Some("@hash"),
            Group::Set => Some("@set"),
            Group::SortedSet => Some("@sortedset"),
            Group::Geo => Some("@geo"),
            Group::List => Some("@list"),
            Group::Transactions => Some("@transaction"),
            Group::Connection => Some("@connection"),
            Group::Server => None,
            Group::Pubsub => Some("@pubsub"),
            Group::Scripting => Some("@scripting"),
            Group::Session => Some("@session"),
        }
    }
}

/// One command or subcommand.
#[derive(Debug)]
pub struct Command {
    /// Lower case. Subcommands have their own name only.
    pub name: &'static str,
    /// Exact number of arguments, name included; negative: at least so many. A subcommand counts
    /// its container's name too.
    pub arity: i16,
    /// Properties.
    pub flags: Flags,
    /// Where its keys are.
    pub keys: Keys,
    /// Family.
    pub group: Group,
    /// First version of Redis that had it.
    pub since: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Runs it.
    pub handler: Handler,
    /// Its subcommands.
    pub subcommands: &'static [Command],
}

impl Command {
    /// An entry without keys, flags or subcommands.
    pub const fn new(
        name: &'static str,
        arity: i16,
        group: Group,
        since: &'static str,
        summary: &'static str,
        handler: Handler,
    ) -> Command {
        Command {
            name,
            arity,
            flags: Flags(0),
            keys: Keys::None,
            group,
            since,
            summary,
            handler,
            subcommands: &[],
        }
    }

    /// With these flags.
    #[must_use]
    pub const fn flags(mut self, bits: u32) -> Command {
        self.flags = Flags(bits);
        self
    }

    /// With keys.
    #[must_use]
    pub const fn keys(mut self, keys: Keys) -> Command {
        self.keys = keys;
        self
    }

    /// With subcommands.
    #[must_use]
    pub const fn subcommands(mut self, subcommands: &'static [Command]) -> Command {
        self.subcommands = subcommands;
        self
    }

    /// Whether `count` arguments are as many as it takes.
    pub fn accepts(&self, count: usize) -> bool {
        let wanted = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { count >= wanted } else { count == wanted }
    }

    /// Access categories, as COMMAND INFO shows them.
    pub fn categories(&self) -> impl Iterator<Item = &'static str> {
        let flags = self.flags;
        let speed = if flags.has(flag::FAST) { "@fast" } else { "@slow" };
        [
            (flags.has(flag::WRITE) && !flags.has(flag::SCRIPT), "@write"),
            (flags.has(flag::READONLY), "@read"),
            (flags.has(flag::ADMIN), "@admin"),
            (flags.has(flag::ADMIN | flag::DANGEROUS), "@dangerous"),
            (flags.has(flag::BLOCKING), "@blocking"),
            (true, speed),
        ]
        .into_iter()
        .filter(|(applies, _)| *applies)
        .map(|(_, name)| name)
        .chain(self.group.category())
    }
}
