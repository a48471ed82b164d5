//! The compaction job: read a victim's footer, copy what is alive to the survivor streams, release
//! the segment once the copies are durable.
//!
//! One victim at a time, one window of it in RAM, one batch in flight per survivor stream.
//! Liveness is checked and the copy appended in the same step, so the order of batches is the order
//! of truth; the index turns to the copies when they are on stable storage.

use super::drive::Pending;
use super::load::{RecordPlace, exact_expiry};
use super::{Shard, supply};
use crate::compact::{self, Horizon};
use crate::format::bytes::Seed;
use crate::format::record::{self, EXTENDED, Head, Kind, RELOCATED, SIDE};
use crate::format::segment::{self, RecordRow, Row, TRAILER_BYTES, Trailer};
use crate::format::touch::{self, Touch};
use crate::index::{Due, Entry};
use crate::io::{Buffer, FileId, IoRequest, IoResult};
use crate::key::unpack;
use crate::log::{Append, Batch, Moved, NO_KEY_MARK, SURVIVOR_STREAMS, SegmentState};
use crate::recover::{Subject, scan};
use crate::units::{BatchSeq, Location, Lsn, SegmentId};

/// Bytes of the victim read at a time.
const WINDOW_BYTES: usize = 256 << 10;

/// What a read of the job was for.
pub(super) enum Step {
    Trailer,
    Rows(Trailer),
    Window {
        start: u32,
        bytes: usize,
    },
    /// All of a victim whose footer does not read.
    Whole,
}

/// A victim being copied.
pub(super) struct Copy {
    victim: SegmentId,
    seed: Seed,
    /// The footer's rows.
    rows: Vec<u8>,
    /// Next row.
    at: usize,
    /// Batch of the rows at `at`.
    seq: BatchSeq,
    /// Part of the victim in RAM.
    window: Option<(u32, usize, Buffer)>,
}

/// The compaction job.
#[derive(Default)]
pub(super) enum Job {
    #[default]
    Idle,
    /// The footer is being read.
    Footer(SegmentId),
    /// Rows are being worked through; a window may be on its way.
    Copy(Box<Copy>, bool),
    /// All rows are done; the last copies are on their way to stable storage, and the mutations up
    /// to this LSN, which made the other records obsolete.
    Drain(SegmentId, Lsn),
}

/// What compaction has tried since it last gained something.
#[derive(Default)]
pub(super) struct Effort {
    appended: Lsn,
    live_bytes: u64,
    at_hand: usize,
    victims: usize,
}

impl Job {
    pub(super) fn is_active(&self) -> bool {
        !matches!(self, Job::Idle)
    }
}

/// What to do with a row.
enum Verdict {
    Drop,
    /// Copy the record; its entry, and the place it was found.
    Move(Entry),
    /// Carry a delete on.
    Bury,
    /// Carry the current state of these touched entries on.
    Touch,
}

impl Shard {
    fn horizon(&self) -> Horizon {
        let older = self.root.older;
        Horizon {
            seq: older.start_seq,
            durable_lsn: self.log.durable_lsn(),
            next_seq: self.log.next_seq(),
            segment_bytes: self.root.segment_bytes,
        }
    }

    /// Segments at hand below which compaction works.
    fn low_water(&self) -> usize {
        let usual = (supply::RESERVE + 2).max(self.log.segments.limit() / 16);
        usual.max(self.supply.goal)
    }

    /// Writers are waiting for space: compacts, and if what pins segments is that the checkpoints
    /// are too old, takes a new one.
    pub(super) fn press_on(&mut self) {
        self.compact();
        let newest_possible = BatchSeq(self.log.unapplied_seq().0 - 1);
        if !self.compaction.is_active() && self.root.older.start_seq < newest_possible {
            self.checkpointing.want();
            self.checkpoint();
        }
    }

    /// Starts or continues compaction, as far as it can go without waiting.
    pub(super) fn compact(&mut self) {
        if self.poisoned {
            return;
        }
        match std::mem::take(&mut self.compaction) {
            Job::Idle => self.choose_victim(),
            Job::Copy(copy, false) if self.closing => self.give_up(*copy),
            Job::Copy(copy, false) => self.copy_rows(copy),
            Job::Drain(victim, lsn) => self.drain(victim, lsn),
            waiting => self.compaction = waiting,
        }
    }

    fn choose_victim(&mut self) {
        let horizon = self.horizon();
        let low = self.segments_at_hand() < self.low_water();
        if std::mem::take(&mut self.log.segments.maybe_dead) || low {
            let all = self.log.segments.iter();
            let dead = all.filter(|(_, segment)| compact::is_dead(segment, &horizon));
            let dead: Vec<SegmentId> = dead.map(|(id, _)| id).collect();
            for id in dead {
                self.log.segments.release(id);
            }
        }
        if self.segments_at_hand() >= self.low_water() {
            self.supply.goal = 0;
            return;
        }
        if self.closing || !self.worth_another_victim() {
            return;
        }
        let Some(victim) = compact::victim(self.log.segments.iter(), &horizon) else { return };
        self.counters.compactions += 1;
        self.compaction = Job::Footer(victim);
        let offset = self.root.segment_bytes as usize - 4096;
        self.read_victim(victim, offset, 4096, Step::Trailer);
    }

    /// Whether compaction gains anything. Large records may fill their segments so badly that
    /// moving them wins none, and an idle store would wear its disk out with trying: once every
    /// segment has had its turn in vain, it stops until something is written or dies.
    fn worth_another_victim(&mut self) -> bool {
        let (appended, live) = (self.log.appended_lsn(), self.log.segments.live_bytes());
        let at_hand = self.segments_at_hand();
        let effort = &mut self.effort;
        if (effort.appended, effort.live_bytes) != (appended, live) || at_hand > effort.at_hand {
            *effort = Effort { appended, live_bytes: live, at_hand, victims: 0 };
        }
        effort.victims = effort.victims.saturating_add(1);
        effort.victims <= self.log.segments.count(SegmentState::Sealed)
    }

    fn read_victim(&mut self, victim: SegmentId, offset: usize, bytes: usize, step: Step) {
        let buffer = self.pool.take(bytes);
        self.counters.device_reads += 1;
        self.counters.device_bytes_read += bytes as u64;
        let file = FileId::Segment(victim);
        let request = IoRequest::Read { file, offset: offset as u64, buffer, bytes };
        self.start(Pending::Compaction(step), request);
    }

    pub(super) fn on_compaction_step(&mut self, step: &Step, result: IoResult) {
        let (Ok(_), Some(buffer)) = (&result.outcome, result.buffer) else {
            tracing::error!(outcome = ?result.outcome, "compaction cannot read its victim");
            self.abandon();
            return;
        };
        match step {
            Step::Trailer => self.on_trailer(buffer),
            Step::Rows(trailer) => self.on_rows(trailer, buffer),
            Step::Whole => self.on_whole(&buffer),
            Step::Window { start, bytes } => {
                if let Job::Copy(copy, waiting) = &mut self.compaction {
                    copy.window = Some((*start, *bytes, buffer));
                    *waiting = false;
                }
            }
        }
    }

    /// The victim cannot be read: it stays as it is until the next start looks at it.
    fn abandon(&mut self) {
        let victim = match std::mem::take(&mut self.compaction) {
            Job::Idle => return,
            Job::Footer(victim) | Job::Drain(victim, _) => victim,
            Job::Copy(copy, _) => copy.victim,
        };
        tracing::error!(segment = victim.0, "a segment's footer is damaged; it is left alone");
        self.log.segments.set_damaged(victim);
        self.counters.corrupt_records += 1;
    }

    fn on_trailer(&mut self, buffer: Buffer) {
        let Job::Footer(victim) = self.compaction else { return };
        let segment_bytes = self.root.segment_bytes;
        let incarnation = self.log.segments.get(victim).incarnation;
        let trailer = Trailer::decode(&buffer[4096 - TRAILER_BYTES..4096], segment_bytes);
        self.pool.give(buffer);
        match trailer {
            Ok(t) if t.segment == victim && t.incarnation == incarnation => {
                let block = self.root.block_bytes as usize;
                let start = t.rows_offset as usize / block * block;
                let end = segment_bytes as usize;
                self.read_victim(victim, start, end - start, Step::Rows(t));
            }
            _ => self.read_whole(victim),
        }
    }

    fn on_rows(&mut self, trailer: &Trailer, buffer: Buffer) {
        let Job::Footer(victim) = self.compaction else { return };
        let block = self.root.block_bytes as usize;
        let skip = trailer.rows_offset as usize % block;
        let rows = buffer[skip..skip + trailer.rows_bytes as usize].to_vec();
        self.pool.give(buffer);
        if crc32fast::hash(&rows) != trailer.rows_crc {
            self.read_whole(victim);
            return;
        }
        self.copy_victim(victim, rows);
    }

    /// Leaves a victim half copied, because there is no segment for the rest, or the store closes.
    /// What was copied is copied; compaction starts again when something has changed.
    fn give_up(&mut self, copy: Copy) {
        if let Some((_, _, buffer)) = copy.window {
            self.pool.give(buffer);
        }
        for stream in 1..=SURVIVOR_STREAMS {
            self.log.close_batch(stream, self.now);
        }
        self.effort.victims = usize::MAX;
    }

    /// A footer is derived from the batches: one that was cut off by a crash, or has rotted, is
    /// made again from them.
    fn read_whole(&mut self, victim: SegmentId) {
        tracing::warn!(segment = victim.0, "a footer does not read; scanning the segment");
        let bytes = self.root.segment_bytes as usize;
        self.read_victim(victim, 0, bytes, Step::Whole);
    }

    fn on_whole(&mut self, buffer: &Buffer) {
        let Job::Footer(victim) = self.compaction else { return };
        let subject = Subject {
            store_id: self.root.store_id,
            segment: victim,
            incarnation: self.log.segments.get(victim).incarnation,
            durable_lsn: self.root.durable_lsn,
            sealed_end: None,
        };
        let scanned = scan(&buffer[..self.root.segment_bytes as usize], &subject);
        if scanned.damages > 0 {
            self.abandon();
            return;
        }
        self.copy_victim(victim, scanned.rows);
    }

    fn copy_victim(&mut self, victim: SegmentId, rows: Vec<u8>) {
        let seed = self.log.seed(victim);
        let copy = Copy { victim, seed, rows, at: 0, seq: BatchSeq(0), window: None };
        self.compaction = Job::Copy(Box::new(copy), false);
    }

    /// Works through rows until one needs bytes that are not in RAM, or a stream has to wait.
    fn copy_rows(&mut self, mut copy: Box<Copy>) {
        while copy.at < copy.rows.len() {
            if (1..=SURVIVOR_STREAMS).any(|stream| self.log.stream(stream).has_closed()) {
                self.compaction = Job::Copy(copy, false);
                return;
            }
            let rows = std::mem::take(&mut copy.rows);
            let step = self.copy_row(&mut copy, &rows);
            copy.rows = rows;
            match step {
                RowStep::Next(at) => copy.at = at,
                RowStep::Stalled if self.segments_at_hand() == 0 => {
                    self.give_up(*copy);
                    return;
                }
                RowStep::Stalled => {
                    self.compaction = Job::Copy(copy, false);
                    return;
                }
                RowStep::Read { start, bytes } => {
                    if let Some((_, _, buffer)) = copy.window.take() {
                        self.pool.give(buffer);
                    }
                    let (victim, start_byte) = (copy.victim, start as usize);
                    self.compaction = Job::Copy(copy, true);
                    self.read_victim(victim, start_byte, bytes, Step::Window { start, bytes });
                    return;
                }
                RowStep::Damaged => {
                    self.compaction = Job::Footer(copy.victim);
                    self.abandon();
                    return;
                }
            }
        }
        if let Some((_, _, buffer)) = copy.window.take() {
            self.pool.give(buffer);
        }
        for stream in 1..=SURVIVOR_STREAMS {
            self.log.close_batch(stream, self.now);
        }
        self.drain(copy.victim, self.log.appended_lsn());
    }

    fn copy_row(&mut self, copy: &mut Copy, rows: &[u8]) -> RowStep {
        let Ok((row, next)) = segment::decode_row(rows, copy.at) else {
            return RowStep::Damaged;
        };
        let row = match row {
            Row::Batch(batch) => {
                copy.seq = batch.seq;
                return RowStep::Next(next);
            }
            Row::Record(row) => row,
        };
        let location = Location::new(copy.victim, row.offset, self.root.segment_bytes);
        let appended = match self.verdict(&row, location, copy.seq) {
            Verdict::Drop => true,
            Verdict::Bury => self.carry_delete(&row),
            Verdict::Touch => self.carry_touches(&row),
            Verdict::Move(entry) => {
                let length = row.head.record_bytes();
                let Some(bytes) = copy.bytes(row.offset, length) else {
                    return self.window_for(row.offset, length);
                };
                let bytes = bytes.to_vec();
                self.move_record(copy, &row, location, &entry, &bytes)
            }
        };
        if appended { RowStep::Next(next) } else { RowStep::Stalled }
    }

    fn window_for(&self, offset: u32, length: usize) -> RowStep {
        let block = self.root.block_bytes;
        let start = offset / block * block;
        let room = (self.root.segment_bytes - start) as usize;
        let needed = (offset - start) as usize + length;
        let bytes = needed.next_multiple_of(block as usize).max(WINDOW_BYTES).min(room);
        RowStep::Read { start, bytes }
    }

    fn verdict(&mut self, row: &RecordRow<'_>, location: Location, seq: BatchSeq) -> Verdict {
        let replayable = seq > self.root.older.start_seq;
        let head = &row.head;
        if head.kind == Kind::Delete && planted!(DropTombstones) {
            return Verdict::Drop;
        }
        if head.kind == Kind::Touch && planted!(DropTouches) {
            return Verdict::Drop;
        }
        match head.kind {
            Kind::Put => {
                let key = self.key(head.namespace, row.key());
                let Some(space) = self.space(head.namespace) else { return Verdict::Drop };
                match space.entry_at(key.identity, location) {
                    Some(entry) => Verdict::Move(entry),
                    // It expired, and may hide an older version that replay would bring back.
                    None if planted!(DropExpired) => Verdict::Drop,
                    None if replayable && head.expires_at.is_some() => self.bury_or_drop(row),
                    None => Verdict::Drop,
                }
            }
            Kind::Delete if replayable => self.bury_or_drop(row),
            Kind::Touch if replayable => Verdict::Touch,
            _ => Verdict::Drop,
        }
    }

    /// Whether the absence of a key must be told once more: not if a newer version does it.
    fn bury_or_drop(&self, row: &RecordRow<'_>) -> Verdict {
        let key = self.key(row.head.namespace, row.key());
        let superseded = self.space(row.head.namespace).is_some_and(|space| {
            if row.head.flags & SIDE != 0 {
                space.side.contains_key(row.key())
            } else {
                space.index.get(key.identity).is_some()
            }
        });
        if superseded { Verdict::Drop } else { Verdict::Bury }
    }

    fn carry_delete(&mut self, row: &RecordRow<'_>) -> bool {
        let key = self.key(row.head.namespace, row.key());
        let head = Head {
            flags: row.head.flags & SIDE | RELOCATED,
            namespace: row.head.namespace,
            key_len: row.head.key_len,
            ..Head::new(Kind::Delete, row.head.lsn)
        };
        let identity = key.packed();
        let record = Append { head: &head, name: row.key(), value: &[], identity };
        let stream = self.survivor_stream(SURVIVOR_STREAMS);
        self.log.append(stream, &record, &mut self.pool, self.now).is_ok()
    }

    /// The stream for survivors of a class; when segments are scarce, one that is open already.
    fn survivor_stream(&mut self, class: usize) -> usize {
        if self.log.segments.available() > SURVIVOR_STREAMS
            || self.log.stream(class).open_segment().is_some()
        {
            return class;
        }
        let open = |stream: &usize| self.log.stream(*stream).open_segment().is_some();
        (1..=SURVIVOR_STREAMS).find(open).unwrap_or(class)
    }

    /// Journals the present expiry of every entry that a touch record moved.
    fn carry_touches(&mut self, row: &RecordRow<'_>) -> bool {
        let namespace = row.head.namespace;
        let mut touches = Vec::new();
        for touch in touch::rows(&row.head, row.name) {
            let Some((_, identity)) = unpack(touch.identity) else { continue };
            let entry = self.space(namespace).and_then(|space| space.index.get(identity));
            let (class, expires_s) = match entry.map(|e| (e.touch, e.expiry.due(self.now))) {
                Some((class @ 1.., Due::At(seconds))) => {
                    (class, u32::try_from(seconds).unwrap_or(u32::MAX))
                }
                Some(_) => continue,
                // Gone: so that what is older does not come back with its grace.
                None => (1, 0),
            };
            touches.push(Touch { namespace, class, expires_s, identity: touch.identity });
        }
        touches.sort_unstable();
        let mut rest = &touches[..];
        // Cut off halfway, all of them are carried again: that changes nothing.
        while !rest.is_empty() {
            let (head, value, count) = touch::record(rest, usize::MAX, row.head.lsn);
            let head = Head { flags: RELOCATED, ..head };
            let record = Append { head: &head, name: &[], value: &value, identity: NO_KEY_MARK };
            let stream = self.survivor_stream(SURVIVOR_STREAMS);
            if self.log.append(stream, &record, &mut self.pool, self.now).is_err() {
                return false;
            }
            rest = &rest[count..];
        }
        true
    }

    /// Copies a live record; false if the survivor stream has no segment now.
    fn move_record(
        &mut self,
        copy: &Copy,
        row: &RecordRow<'_>,
        from: Location,
        entry: &Entry,
        bytes: &[u8],
    ) -> bool {
        let key = self.key(row.head.namespace, row.key());
        let decoded = record::decode(bytes, copy.seed);
        let record = match decoded {
            Ok(record) if record.value_ok && record.name == row.name => record,
            damaged => {
                let place = RecordPlace {
                    namespace: key.namespace,
                    identity: key.identity,
                    location: from,
                    segment: copy.victim,
                    incarnation: self.log.segments.get(copy.victim).incarnation,
                    seed: copy.seed,
                    skip: 0,
                };
                self.lose(&place, damaged.err());
                return true;
            }
        };
        let limit = record.label.limit;
        let expires_at = exact_expiry(entry, record.head.expires_at, limit, self.now)
            .filter(|_| !planted!(ForgetExpiry));
        let head = Head {
            flags: record.head.flags & (SIDE | EXTENDED) | RELOCATED,
            touch: entry.touch,
            expires_at,
            ..record.head
        };
        let stream = self.survivor_stream(compact::stream_of(expires_at, self.now));
        let identity = key.packed();
        let append = Append { head: &head, name: record.name, value: record.value, identity };
        let Ok(to) = self.log.append(stream, &append, &mut self.pool, self.now) else {
            return false;
        };
        let batch = self.log.stream(stream).open_mut().expect("just appended to");
        batch.moved.push(Moved { identity, from, to });
        true
    }

    /// The copies in `batch` are on stable storage: the index turns to them, unless their keys
    /// have changed since.
    pub(super) fn apply_moves(&mut self, batch: &Batch) {
        for moved in &batch.moved {
            let Some((namespace, identity)) = unpack(moved.identity) else { continue };
            let mut size = 0;
            let turned = self.space_mut(namespace).update_at(identity, moved.from, |entry| {
                entry.location = moved.to;
                size = entry.size.bytes_max() as u64;
            });
            if turned {
                let segment_bytes = self.root.segment_bytes;
                self.log.segments.remove_live(moved.from.split(segment_bytes).0, size);
                self.log.segments.add_live(moved.to.split(segment_bytes).0, size);
                self.hot.set_location(namespace, identity, moved.from, moved.to);
                self.ahead.moved(moved.identity, moved.from, moved.to);
            }
        }
    }

    /// Releases the victim once nothing is on its way any more.
    fn drain(&mut self, victim: SegmentId, obsolete: Lsn) {
        let copying = (1..=SURVIVOR_STREAMS).any(|stream| !self.log.stream(stream).is_idle());
        if copying || self.log.durable_lsn() < obsolete {
            self.flush_wanted = true;
            self.compaction = Job::Drain(victim, obsolete);
            return;
        }
        let segment = self.log.segments.get(victim);
        assert_eq!(segment.state, SegmentState::Sealed);
        if segment.live_bytes != 0 {
            let live = segment.live_bytes;
            tracing::error!(
                segment = victim.0,
                live,
                "records in a segment are damaged; it is left alone until the next start"
            );
            self.log.segments.set_damaged(victim);
            return;
        }
        self.log.segments.release(victim);
        self.refill();
    }
}

/// What came of a row.
enum RowStep {
    /// Done; the next one is here.
    Next(usize),
    /// A survivor stream has no segment; try again when one is ready.
    Stalled,
    /// Its bytes must be read first.
    Read { start: u32, bytes: usize },
    /// The rows do not decode.
    Damaged,
}

impl Copy {
    /// The record's bytes, if the window has all of them.
    fn bytes(&self, offset: u32, length: usize) -> Option<&[u8]> {
        let (start, bytes, buffer) = self.window.as_ref()?;
        let from = offset.checked_sub(*start)? as usize;
        buffer.get(from..from + length).filter(|_| from + length <= *bytes)
    }
}
