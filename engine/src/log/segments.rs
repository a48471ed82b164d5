//! The segment table: what every segment slot is used for, and how much of it is alive.
//!
//! Derived state: rebuilt at recovery from headers, footers and the index.

use std::collections::VecDeque;

use super::batch::Batch;
use super::stream::Sealing;
use crate::format::bytes::Seed;
use crate::format::segment::HEADER_BYTES;
use crate::format::tails::{TAILS_MAX, Tail};
use crate::units::{BatchSeq, Incarnation, Lsn, SegmentId};

/// What a segment slot is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SegmentState {
    /// No file yet.
    Missing,
    /// Its file is being created and prewritten.
    Allocating,
    /// Its file exists; nothing in it is needed.
    Free,
    /// Its new header is being written.
    Preparing,
    /// Has a durable header of a fresh incarnation; may be opened.
    Ready,
    /// A stream appends to it.
    Open,
    /// Full; its footer is not durable yet.
    Sealing,
    /// Full and immutable.
    Sealed,
}

/// Number of [`SegmentState`]s.
const STATES: usize = SegmentState::Sealed as usize + 1;

/// One segment slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) state: SegmentState,
    pub(crate) incarnation: Incarnation,
    /// Upper bound of the bytes that the index still points to.
    pub(crate) live_bytes: u64,
    pub(crate) seq_min: BatchSeq,
    pub(crate) seq_max: BatchSeq,
    pub(crate) lsn_max: Lsn,
    /// Records that may hide an older version of their key (deletes, touches, puts that expire);
    /// compaction carries on what they hide while a checkpoint may lack it.
    pub(crate) killers: u32,
    /// Whether deletes or touches are among them that compaction carried on. To carry them on once more
    /// gains nothing: they are left alone until both checkpoints are past them.
    pub(crate) carries: bool,
    /// The last batch with a clear or an open; not to be compacted before both checkpoints are
    /// past it.
    pub(crate) clear_seq: BatchSeq,
    /// The newest mutation that made a record in here obsolete. Until it is durable, a crash would
    /// need the record again.
    pub(crate) buried_lsn: Lsn,
    /// Dictionaries that records in here may need, by number modulo 64.
    pub(crate) dictionaries: u64,
    /// Its survivors are on their way elsewhere; it is released when they are there.
    pub(crate) leaving: bool,
    /// Its footer could not be read: left alone until the next start rebuilds it.
    pub(crate) damaged: bool,
    /// Where the newest batch on stable storage ends, while batches are appended.
    pub(crate) durable_end: u32,
    /// Bytes of footer rows per 1024 bytes of batches: what a live byte needs beside itself.
    pub(crate) row_share: u32,
}

impl Segment {
    /// The share of footer rows in a segment whose batches end at `data_end`.
    pub(crate) fn row_share(rows_bytes: usize, data_end: u32) -> u32 {
        let batches = u64::from(data_end.saturating_sub(HEADER_BYTES)).max(1);
        (rows_bytes as u64 * 1024 / batches).min(4096) as u32
    }

    /// What its live records would take in another segment, with their footer rows and their share
    /// of headers. A segment is never all records: without this one that has lost nothing would look
    /// worth the copy.
    pub(crate) fn footprint(&self, segment_bytes: u64) -> u64 {
        if self.live_bytes == 0 {
            return 0;
        }
        let rows = self.live_bytes * u64::from(self.row_share) / 1024;
        (segment_bytes / 256 + self.live_bytes + self.live_bytes / 64 + rows).min(segment_bytes)
    }

    pub(crate) const MISSING: Segment = Segment {
        state: SegmentState::Missing,
        incarnation: Incarnation(0),
        live_bytes: 0,
        seq_min: BatchSeq(0),
        seq_max: BatchSeq(0),
        lsn_max: Lsn::NONE,
        killers: 0,
        carries: false,
        clear_seq: BatchSeq(0),
        buried_lsn: Lsn::NONE,
        dictionaries: 0,
        leaving: false,
        damaged: false,
        durable_end: 0,
        row_share: 0,
    };
}

/// All segment slots of a shard.
pub(crate) struct SegmentTable {
    store_id: u64,
    segment_bytes: u32,
    segments: Vec<Segment>,
    /// Most segment files that may exist.
    limit: usize,
    ready: VecDeque<SegmentId>,
    live_bytes: u64,
    /// Segments in each state.
    counts: [usize; STATES],
    /// Uses of slots that have begun, ever: their incarnations together. Never falls, also not across a
    /// restart.
    uses: u64,
    /// The same when recovery was done: no segment was sealed before that, as far as is known.
    restored: u64,
    /// By slot: `uses` when it was sealed; 0 if that was before the last start.
    sealed_at: Vec<u64>,
    /// A sealed segment may have become wholly dead.
    pub(crate) maybe_dead: bool,
}

impl SegmentTable {
    pub(crate) fn new(store_id: u64, segment_bytes: u32, limit: usize) -> SegmentTable {
        let ready = VecDeque::new();
        SegmentTable {
            store_id,
            segment_bytes,
            segments: Vec::new(),
            limit,
            ready,
            live_bytes: 0,
            counts: [0; STATES],
            uses: 0,
            restored: 0,
            sealed_at: Vec::new(),
            maybe_dead: true,
        }
    }

    pub(crate) fn segment_bytes(&self) -> u32 {
        self.segment_bytes
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    pub(crate) fn get(&self, id: SegmentId) -> &Segment {
        &self.segments[id.0 as usize]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SegmentId, &Segment)> {
        (0..).map(SegmentId).zip(&self.segments)
    }

    /// Enters what recovery found of a slot.
    pub(crate) fn restore(&mut self, id: SegmentId, segment: Segment) {
        let at = id.0 as usize;
        while self.segments.len() <= at {
            self.push_missing();
        }
        assert!(segment.state != SegmentState::Ready, "headers are written after recovery");
        self.live_bytes += segment.live_bytes;
        self.set_state(id, segment.state);
        self.segments[at] = segment;
        self.sealed_at[at] = 0;
        self.uses += u64::from(segment.incarnation.0);
        self.restored = self.uses;
    }

    fn push_missing(&mut self) {
        self.segments.push(Segment::MISSING);
        self.sealed_at.push(0);
        self.counts[SegmentState::Missing as usize] += 1;
    }

    pub(crate) fn set_state(&mut self, id: SegmentId, state: SegmentState) {
        match state {
            SegmentState::Ready => {
                self.uses += 1;
                self.ready.push_back(id);
            }
            SegmentState::Sealed => self.sealed_at[id.0 as usize] = self.uses,
            _ => {}
        }
        let segment = &mut self.segments[id.0 as usize];
        self.counts[segment.state as usize] -= 1;
        self.counts[state as usize] += 1;
        segment.state = state;
        self.maybe_dead |= state == SegmentState::Sealed && segment.live_bytes == 0;
    }

    /// A stream has filled a segment.
    pub(crate) fn seal(&mut self, sealing: &Sealing) {
        self.set_state(sealing.id, SegmentState::Sealing);
        let share = Segment::row_share(sealing.rows.len(), sealing.data_end);
        self.segments[sealing.id.0 as usize].row_share = share;
    }

    pub(crate) fn set_damaged(&mut self, id: SegmentId) {
        self.segments[id.0 as usize].damaged = true;
    }

    pub(crate) fn set_leaving(&mut self, id: SegmentId, leaving: bool) {
        self.segments[id.0 as usize].leaving = leaving;
    }

    /// Uses of slots that have begun, ever.
    pub(crate) fn uses(&self) -> u64 {
        self.uses
    }

    /// Whether a segment was sealed before `since` uses had begun, and still is in that use: nothing
    /// was written to it since, and its footer names all of it.
    pub(crate) fn is_sealed_since(&self, id: SegmentId, since: u64) -> bool {
        let at = id.0 as usize;
        self.segments.get(at).is_some_and(|segment| segment.state == SegmentState::Sealed)
            && (self.sealed_at[at].max(self.restored) < since || planted!(ScanTrustsSealed))
    }

    /// The first such segment from `from` on that has a live record.
    pub(crate) fn next_sealed_since(&self, from: SegmentId, since: u64) -> Option<SegmentId> {
        let wanted =
            |id: &SegmentId| self.is_sealed_since(*id, since) && self.get(*id).live_bytes > 0;
        (from.0..self.segments.len() as u32).map(SegmentId).find(wanted)
    }

    /// The footer of a segment does not read: from now on it counts as sealed just now.
    pub(crate) fn unlist(&mut self, id: SegmentId) {
        self.sealed_at[id.0 as usize] = u64::MAX;
    }

    /// About how many bytes the footers of the sealed segments with live records have.
    pub(crate) fn footer_bytes(&self) -> u64 {
        let sealed = self
            .segments
            .iter()
            .filter(|segment| segment.state == SegmentState::Sealed && segment.live_bytes > 0);
        let bytes = u64::from(self.segment_bytes);
        sealed.map(|segment| (bytes * u64::from(segment.row_share) / 1024).min(bytes)).sum()
    }

    /// Whether the footer of every full segment with a batch up to `seq` is durable.
    pub(crate) fn are_sealed_up_to(&self, seq: BatchSeq) -> bool {
        let sealing = |segment: &Segment| segment.state == SegmentState::Sealing;
        self.count(SegmentState::Sealing) == 0
            || !self.segments.iter().any(|segment| sealing(segment) && segment.seq_min <= seq)
    }

    pub(crate) fn count(&self, state: SegmentState) -> usize {
        self.counts[state as usize]
    }

    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Segments that could still be opened: ready, free, on their way, or not yet created.
    pub(crate) fn available(&self) -> usize {
        let used = [SegmentState::Open, SegmentState::Sealing, SegmentState::Sealed];
        self.limit.saturating_sub(used.iter().map(|state| self.count(*state)).sum())
    }

    /// How far the segments without a footer are on stable storage: those that are appended to, then
    /// those on their way to be sealed, as many as a superblock holds.
    pub(crate) fn tails(&self) -> Vec<Tail> {
        let in_state = |state| {
            self.iter()
                .filter(move |(_, segment)| segment.state == state && segment.durable_end > 0)
        };
        let both = in_state(SegmentState::Open).chain(in_state(SegmentState::Sealing));
        let tail = |(segment, found): (SegmentId, &Segment)| {
            let Segment { incarnation, seq_max, durable_end, .. } = *found;
            Tail { segment, incarnation, end: durable_end, seq: seq_max }
        };
        both.map(tail).take(TAILS_MAX).collect()
    }

    /// Files that exist or are being created.
    pub(crate) fn files(&self) -> usize {
        self.segments.len() - self.count(SegmentState::Missing)
    }

    /// A free slot whose header may be written now; it gets its new incarnation.
    pub(crate) fn prepare(&mut self) -> Option<(SegmentId, Incarnation)> {
        if self.count(SegmentState::Free) == 0 {
            return None;
        }
        let at = self.segments.iter().position(|segment| segment.state == SegmentState::Free)?;
        let id = SegmentId(at as u32);
        let incarnation =
            Incarnation(self.segments[at].incarnation.0 + 1 - u32::from(planted!(SameIncarnation)));
        self.set_state(id, SegmentState::Preparing);
        self.segments[at] =
            Segment { state: SegmentState::Preparing, incarnation, ..Segment::MISSING };
        Some((id, incarnation))
    }

    /// A slot without a file, if the limit allows one more file.
    pub(crate) fn allocate(&mut self) -> Option<SegmentId> {
        if self.files() >= self.limit {
            return None;
        }
        let missing = |segment: &Segment| segment.state == SegmentState::Missing;
        let at = self.segments.iter().position(missing).unwrap_or(self.segments.len());
        if at == self.segments.len() {
            self.push_missing();
        }
        self.set_state(SegmentId(at as u32), SegmentState::Allocating);
        Some(SegmentId(at as u32))
    }

    /// Opens a ready segment for a stream.
    pub(crate) fn open(&mut self, _stream: usize) -> Option<(SegmentId, (Incarnation, Seed))> {
        let id = self.ready.pop_front()?;
        self.set_state(id, SegmentState::Open);
        let incarnation = self.get(id).incarnation;
        Some((id, (incarnation, Seed::new(self.store_id, id, incarnation))))
    }

    /// Notes a batch that has reached stable storage.
    pub(crate) fn on_batch(&mut self, batch: &Batch) {
        let segment = &mut self.segments[batch.segment.0 as usize];
        let seq = batch.seq.expect("written batches are numbered");
        if segment.seq_min == BatchSeq(0) {
            segment.seq_min = seq;
        }
        segment.seq_max = segment.seq_max.max(seq);
        segment.durable_end = segment.durable_end.max(batch.end());
        segment.lsn_max = segment.lsn_max.max(batch.lsn_max);
        segment.killers += batch.killers;
        segment.carries |= batch.carries;
        if batch.clears {
            segment.clear_seq = seq;
        }
    }

    /// A record that needs this dictionary is appended to a segment.
    pub(crate) fn needs(&mut self, id: SegmentId, dictionary: u16) {
        self.segments[id.0 as usize].dictionaries |= 1 << (dictionary % 64);
    }

    /// Whether some segment may hold a record that needs this dictionary.
    pub(crate) fn any_needs(&self, dictionary: u16) -> bool {
        let bit = 1 << (dictionary % 64);
        self.segments.iter().any(|segment| segment.dictionaries & bit != 0)
    }

    pub(crate) fn add_live(&mut self, id: SegmentId, bytes: u64) {
        self.segments[id.0 as usize].live_bytes += bytes;
        self.live_bytes += bytes;
    }

    pub(crate) fn remove_live(&mut self, id: SegmentId, bytes: u64) {
        let segment = &mut self.segments[id.0 as usize];
        assert!(segment.live_bytes >= bytes, "more bytes died in segment {id} than lived");
        segment.live_bytes -= bytes;
        self.live_bytes -= bytes;
        self.maybe_dead |= segment.live_bytes == 0;
    }

    /// A record was made obsolete by a mutation up to `lsn`.
    pub(crate) fn bury(&mut self, id: SegmentId, bytes: u64, lsn: Lsn) {
        self.remove_live(id, bytes);
        self.obsolete(id, lsn);
    }

    /// What was made obsolete in here is so from `lsn` on.
    pub(crate) fn obsolete(&mut self, id: SegmentId, lsn: Lsn) {
        let segment = &mut self.segments[id.0 as usize];
        segment.buried_lsn = segment.buried_lsn.max(lsn);
    }

    /// Returns a sealed segment to the free slots.
    pub(crate) fn release(&mut self, id: SegmentId) {
        let segment = *self.get(id);
        assert_eq!(segment.state, SegmentState::Sealed);
        assert_eq!(segment.live_bytes, 0, "segment {id} is still needed");
        self.set_state(id, SegmentState::Free);
        let incarnation = segment.incarnation;
        self.segments[id.0 as usize] =
            Segment { state: SegmentState::Free, incarnation, ..Segment::MISSING };
    }
}
