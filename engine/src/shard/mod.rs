//! The shard: single owner of one log, index, hot set and expiry wheel. Here everything meets.
//!
//! Sans-I/O: commands, completions and the time go in; I/O requests, events and watermarks come
//! out. Nothing here blocks, starts threads or reads a clock.
//!
//! Stations of a SET: [`Shard::room`] -> `write.rs` -> `format/record` into the open batch of
//! `log` -> index and hot set -> [`Shard::poll_io`] -> disk -> [`Shard::complete`] -> watermark
//! ([`Shard::acked_lsn`]) -> the caller releases the reply. Of a GET: `read.rs` -> hot set, or
//! [`Shard::load`] -> disk -> decode -> hot set -> [`Event::Loaded`].
//!
//! Owns: the order in which everything changes.
//! Never knows: sockets, RESP, paths, threads.
//! Invariant: dropping the hot set changes latency only; every other structure in RAM can be
//! rebuilt from the log.

mod ahead;
mod checkpointing;
mod chunks;
mod compaction;
mod compression;
mod drive;
mod expire;
mod far;
mod large;
mod listing;
mod load;
mod maintain;
mod memory;
mod open;
mod owned;
mod read;
mod root;
mod scan;
mod stats;
mod supply;
mod touch;
mod undurable;
mod untold;
mod write;

pub use expire::Expired;
pub use large::Upload;
pub use load::LoadError;
pub use owned::Owned;
pub use read::{Found, Lookup};
pub use scan::ScannedKey;
pub use stats::Stats;
pub use write::{Refused, Room};

use std::collections::VecDeque;

use crate::config::{Ack, Config};
use crate::expiry::{Sweep, Wheel};
use crate::format::superblock::Superblock;
use crate::hot::Hot;
use crate::index::Identity;
use crate::io::{BufferPool, IoId, IoRequest};
use crate::key::{self, Key};
use crate::log::Log;
use crate::space::Space;
use crate::units::{Lsn, Namespace, SegmentId, UnixMillis};

use drive::InFlight;
use load::Loads;
use scan::Scans;
use stats::Counters;
use undurable::Undurable;

/// Names a client's request across [`Shard::load`], [`Shard::scan`] and their events; chosen by
/// the caller.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ticket(pub u64);

/// What a shard tells its caller beside replies.
#[derive(Debug)]
pub enum Event {
    /// A key asked for by [`Shard::load`] is in RAM now, or known to be absent.
    Loaded {
        /// The ticket given to [`Shard::load`].
        ticket: Ticket,
        /// Why it could not be loaded.
        outcome: Result<(), LoadError>,
    },
    /// Answer to [`Shard::scan`].
    Scanned {
        /// The ticket given to [`Shard::scan`].
        ticket: Ticket,
        /// Keys found, in no particular order.
        keys: Vec<ScannedKey>,
        /// Cursor to go on with; 0 when the scan is complete.
        next: u64,
        /// Entries whose key could not be read from the disk.
        failed: usize,
        /// The answer must not leave before this LSN is acknowledged.
        barrier: Lsn,
    },
    /// A key has expired, if [`Shard::report_expired`] asked for that.
    Expired(Expired),
}

/// A single-owner store: see the module documentation.
pub struct Shard {
    config: Config,
    root: Superblock,
    /// The latest time seen; never goes back, even when the wall clock does.
    now: UnixMillis,
    pool: BufferPool,
    /// By [`Namespace::slot`].
    spaces: Vec<Space>,
    hot: Hot,
    memory: memory::Memory,
    wheel: Wheel,
    sweep: Sweep,
    ahead: ahead::Ahead,
    far: far::Far,
    /// When something last expired.
    expired_at: UnixMillis,
    /// Keys that have expired and have not been told yet.
    untold: untold::Untold,
    log: Log,
    undurable: Undurable,
    touches: touch::Touches,
    group: Option<write::Group>,
    in_flight: InFlight,
    outbox: VecDeque<(IoId, IoRequest)>,
    loads: Loads,
    scans: Scans,
    footers: listing::Footers,
    events: VecDeque<Event>,
    supply: supply::Supply,
    compaction: compaction::Job,
    /// Victims that are worked through, in the order in which they were.
    leaving: VecDeque<compaction::Leaving>,
    pace: compaction::Pace,
    checkpointing: checkpointing::Job,
    compression: compression::State,
    large: large::Large,
    /// The time that the last durable user batch tells, and its segment.
    told: (UnixMillis, Option<SegmentId>),
    /// The last batch that a later one proves durable, and when a user batch was last written.
    confirmed: (Lsn, UnixMillis),
    flush_wanted: bool,
    poisoned: bool,
    closing: bool,
    counters: Counters,
}

impl Shard {
    /// The newest LSN whose effects may be shown, by the configured [`Ack`] level.
    pub fn acked_lsn(&self) -> Lsn {
        match self.config.ack {
            Ack::Durable => self.log.durable_lsn(),
            Ack::Interval { .. } | Ack::Memory => self.log.appended_lsn(),
        }
    }

    /// Everything up to here is on stable storage.
    pub fn durable_lsn(&self) -> Lsn {
        self.log.durable_lsn()
    }

    /// The newest LSN given out.
    pub fn appended_lsn(&self) -> Lsn {
        self.log.appended_lsn()
    }

    /// Whether a write to the disk failed: nothing is acknowledged any more, and only a restart,
    /// which re-reads the disk, makes the store writable again.
    pub fn poisoned(&self) -> bool {
        self.poisoned
    }

    /// The next event, if there is one. Keys that have expired come first: an answer may tell of their
    /// absence.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.poll_expired().map(Event::Expired).or_else(|| self.events.pop_front())
    }

    /// Keys in a namespace that are not hidden, including those that expired within the last moments.
    pub fn len(&self, namespace: Namespace) -> u64 {
        self.space(namespace).map_or(0, Space::len)
    }

    /// Whether no namespace has a key.
    pub fn is_empty(&self) -> bool {
        self.user_spaces().all(|space| space.len() == 0)
    }

    /// Keys in a namespace that have an expiry.
    pub fn expiring_len(&self, namespace: Namespace) -> u64 {
        self.space(namespace).map_or(0, Space::expiring_len)
    }

    /// The longest value that can be stored in one piece, in bytes.
    pub fn value_bytes_max(&self) -> usize {
        self.root.segment_bytes as usize / 2
    }

    /// Changes the acknowledgement level from now on.
    pub fn set_ack(&mut self, ack: Ack) {
        self.config.ack = ack;
        self.flush_wanted = true;
    }

    /// Prepares a key for lookups and writes.
    pub fn key<'a>(&self, namespace: Namespace, bytes: &'a [u8]) -> Key<'a> {
        let identity = Identity::of(key::hash(&self.root.hash_seed, bytes));
        Key { namespace, identity, bytes }
    }

    fn space(&self, namespace: Namespace) -> Option<&Space> {
        self.spaces.get(namespace.slot())
    }

    /// All but the engine's own.
    fn user_spaces(&self) -> impl Iterator<Item = &Space> {
        self.spaces.iter().skip(Namespace::OWN)
    }

    /// Advances the shard's clock, which never goes back.
    fn advance(&mut self, now: UnixMillis) -> UnixMillis {
        self.now = self.now.max(now);
        self.now
    }
}
