//! Opening a store: superblock, checkpoint, then every batch after it.
//!
//! Owns: what is believed of the bytes on disk.
//! Never knows: clients, the hot set.
//! Invariant: running it again, or being cut off in the middle of it, changes nothing: it only
//! writes footers that say what the segments already hold.
//!
//! ```text
//! superblock -> checkpoint (or the one before, or nothing) -> segment headers and trailers
//!   -> rows of every batch after the checkpoint's start, merged by sequence -> index
//! ```

#![deny(clippy::cast_possible_truncation)]

mod disk;
mod orphans;
mod replay;
mod root;
mod rows;
mod salvage;
mod scan;
mod seal;
mod segments;
mod touches;

use std::collections::VecDeque;

use crate::config::Config;
use crate::error::OpenError;
use crate::format::superblock::Superblock;
use crate::io::{Buffer, Disk};
use crate::log::SegmentTable;
use crate::space::{LOST, Space};
use crate::units::{BatchSeq, Lsn, UnixMillis};

pub(crate) use disk::READ_TRIES;
pub(crate) use rows::Rows;
pub(crate) use scan::{Proved, Subject, scan};

use disk::{Ahead, Blocking};
use replay::Replay;
use segments::Source;

/// How far a recovery has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What is being done.
    pub phase: &'static str,
    /// Steps done in this phase.
    pub done: u64,
    /// Steps of this phase.
    pub total: u64,
}

/// A store as recovery found it.
pub(crate) struct Recovered {
    pub(crate) root: Superblock,
    pub(crate) spaces: Vec<Space>,
    pub(crate) segments: SegmentTable,
    pub(crate) appended_lsn: Lsn,
    pub(crate) next_seq: BatchSeq,
    /// Sizes of the checkpoint files.
    pub(crate) checkpoint_bytes: [u64; 3],
    pub(crate) records: u64,
    /// Bytes of log that had to be replayed.
    pub(crate) replayed_bytes: u64,
    pub(crate) corrupt: u64,
    /// Chunks removed because no manifest named them.
    pub(crate) orphan_chunks: u64,
    /// A group was left unfinished: an open record must go into the log before anything else.
    pub(crate) void_group: bool,
    pub(crate) now: UnixMillis,
}

/// Recovers a store, or creates one.
pub(crate) fn recover(
    disk: &mut dyn Disk,
    config: &Config,
    now: UnixMillis,
    progress: &mut dyn FnMut(Progress),
) -> Result<Recovered, OpenError> {
    let mut disk = Blocking::new(disk);
    let files = disk.list()?;
    let (mut root, tails) = root::load(&mut disk, &files, config, now)?;
    let now = now.max(root.newest.wall);
    let mut replay = Replay::new(root.hash_seed, root.segment_bytes, now);
    let (start, spoiled) =
        root::load_checkpoint(&mut disk, &files, &mut root, config, &mut replay, progress)?;
    let mut sources = segments::discover(&mut disk, &files, &root, &tails, progress)?;
    let times = sources.iter().flat_map(|source| [Some(source.wall_max), source.created]);
    let now = times.flatten().fold(now, UnixMillis::max);
    let seq_max = sources.iter().map(|source| source.seq_max).max().unwrap_or_default();
    let lsn_max = sources.iter().map(|source| source.lsn_max).max().unwrap_or_default();
    // By segment number, because every entry asks.
    let slots = sources.iter().map(|source| source.segment.0 as usize + 1).max().unwrap_or(0);
    let mut recycled = vec![None; slots];
    for source in &sources {
        recycled[source.segment.0 as usize] = source.recycled_since(start);
    }
    replay.drop_recycled(|id| recycled.get(id.0 as usize).copied().flatten());
    if start == BatchSeq(0) {
        let rows_bytes = sources.iter().map(Source::rows_bytes).sum();
        replay.expect(rows_bytes, config.memory_bytes_max);
    }
    merge(&mut disk, &root, &mut sources, start, &mut replay, progress);
    let replayed = sources.iter().filter(|source| source.seq_max > start).count() as u64;
    let void = replay.void_group();
    if let Some(first) = void {
        // Were one of them used again, a gap would stand where the group's commit might have been.
        sources.iter_mut().filter(|source| source.lsn_max >= first).for_each(Source::keep);
    }
    if lsn_max < root.durable_lsn {
        let (found, durable) = (lsn_max.0, root.durable_lsn.0);
        tracing::error!(found, durable, "acknowledged records at the end of the log are missing");
        replay.lost += 1;
    }
    let mut has_data = vec![false; slots];
    for source in &sources {
        has_data[source.segment.0 as usize] = source.has_data();
    }
    replay.settle(|id| has_data.get(id.0 as usize).copied().unwrap_or(false));
    replay.finish();
    if replay.swept != orphans::Swept::default() {
        let orphans::Swept { orphans, ended } = replay.swept;
        tracing::info!(orphans, ended, "chunks of large values that have gone are removed");
    }
    let corrupt = replay.lost + spoiled + sources.iter().map(|s| u64::from(s.damages)).sum::<u64>();
    let known = seal::Known { start, tails: &tails };
    let segments = seal::table(&mut disk, &root, config, &sources, &replay.spaces, &known)?;
    let mut checkpoint_bytes = [0; 3];
    for (file, bytes) in files {
        if let crate::io::FileId::Checkpoint(slot @ 0..=2) = file {
            checkpoint_bytes[usize::from(slot)] = bytes;
        }
    }
    Ok(Recovered {
        spaces: replay.spaces,
        segments,
        appended_lsn: lsn_max.max(root.durable_lsn),
        next_seq: seq_max.max(root.durable_seq).max(start).next(),
        checkpoint_bytes,
        records: replay.records,
        replayed_bytes: replayed * u64::from(root.segment_bytes),
        corrupt,
        orphan_chunks: replay.swept.orphans,
        void_group: void.is_some(),
        now,
        root,
    })
}

/// Replays the batches after `start` of all segments in one order. A segment's rows are in RAM only
/// while its batches are due.
fn merge(
    disk: &mut Blocking<'_>,
    root: &Superblock,
    sources: &mut [Source],
    start: BatchSeq,
    replay: &mut Replay,
    progress: &mut dyn FnMut(Progress),
) {
    let mut waiting: Vec<usize> =
        (0..sources.len()).filter(|at| sources[*at].seq_max > start).collect();
    waiting.sort_by_key(|at| std::cmp::Reverse(sources[*at].seq_min));
    let total = waiting.len() as u64;
    let mut active: Vec<rows::Cursor> = Vec::new();
    let mut ahead = Footers::default();
    loop {
        let next = active.iter().map(|cursor| cursor.seq).min();
        if let Some(at) = waiting.last().copied()
            && next.is_none_or(|next| sources[at].seq_min <= next)
        {
            ahead.start(disk, root, sources, &waiting);
            waiting.pop();
            let phase = "replaying segments";
            progress(Progress { phase, done: total - waiting.len() as u64, total });
            let footer = ahead.take(disk, at);
            if let Some(cursor) = sources[at].open(disk, root, start, footer) {
                active.push(cursor);
            }
            continue;
        }
        let Some(next) = next else { break };
        let at = active.iter().position(|cursor| cursor.seq == next).unwrap_or(0);
        if !active[at].apply(start, replay) {
            active.swap_remove(at);
        }
    }
}

/// Footers being read before their turn.
#[derive(Default)]
struct Footers {
    /// Position of the source, bytes of its footer, the read.
    under_way: VecDeque<(usize, usize, Ahead)>,
    bytes: usize,
}

/// Bytes of footers read ahead of need; at least one footer is.
const FOOTERS_AHEAD_BYTES: usize = 16 << 20;
/// Footers read ahead at most.
const FOOTERS_AHEAD: usize = 4;

impl Footers {
    /// Starts to read the next footers of those waiting, the last of which is next.
    fn start(
        &mut self,
        disk: &mut Blocking<'_>,
        root: &Superblock,
        sources: &[Source],
        waiting: &[usize],
    ) {
        let started = self.under_way.len();
        for at in waiting.iter().rev().filter(|at| sources[**at].has_footer()).skip(started) {
            let Some((offset, bytes)) = sources[*at].footer_place(root) else { break };
            let full = self.under_way.len() == FOOTERS_AHEAD || bytes > FOOTERS_AHEAD_BYTES;
            let more = self.bytes + bytes > FOOTERS_AHEAD_BYTES && !self.under_way.is_empty();
            if full || more {
                break;
            }
            let file = crate::io::FileId::Segment(sources[*at].segment);
            self.under_way.push_back((*at, bytes, disk.read_ahead(file, offset, bytes)));
            self.bytes += bytes;
        }
    }

    /// The footer of the source at `at`, if it has been read ahead.
    fn take(
        &mut self,
        disk: &mut Blocking<'_>,
        at: usize,
    ) -> Option<Result<Buffer, crate::io::IoError>> {
        self.under_way.front().filter(|(next, ..)| *next == at)?;
        let (_, bytes, ahead) = self.under_way.pop_front()?;
        self.bytes -= bytes;
        Some(disk.take(ahead))
    }
}

/// Bytes that the index still points to, by segment number.
pub(crate) fn live_bytes(spaces: &[Space], segment_bytes: u32, count: usize) -> Vec<u64> {
    let mut live = vec![0; count];
    let mut add = |entry: crate::index::Entry| {
        if entry.location != LOST
            && let Some(bytes) = live.get_mut(entry.location.split(segment_bytes).0.0 as usize)
        {
            *bytes += entry.size.bytes_max() as u64;
        }
    };
    for space in spaces {
        space.index.for_each(|_, entry| add(entry));
        space.side.values().for_each(|side| add(side.entry));
    }
    live
}
