//! Working through a victim's rows: what is dead is dropped, what is alive or hides something is carried on.

use super::{Job, Step};
use crate::compact;
use crate::format::bytes::Seed;
use crate::format::record::{self, EXTENDED, Head, Kind, RELOCATED, SIDE};
use crate::format::segment::{self, RecordRow, Row};
use crate::format::touch::{self, Touch};
use crate::index::{Due, Entry};
use crate::io::Buffer;
use crate::key::unpack;
use crate::log::{Append, Moved, NO_KEY_MARK, SURVIVOR_STREAMS};
use crate::recover::Rows;
use crate::shard::Shard;
use crate::shard::load::{RecordPlace, exact_expiry};
use crate::units::{BatchSeq, Location, SegmentId};

/// Bytes of the victim read at a time.
const WINDOW_BYTES: usize = 256 << 10;
/// Rows worked through in one turn: a quarter of a millisecond.
const ROWS_PER_TURN: usize = 512;

/// A victim being copied.
pub(in crate::shard) struct Copy {
    pub(super) victim: SegmentId,
    seed: Seed,
    /// The footer's rows.
    rows: Option<Rows>,
    /// Next row.
    at: usize,
    /// Batch of the rows at `at`.
    seq: BatchSeq,
    /// Part of the victim in RAM.
    pub(super) window: Option<(u32, usize, Buffer)>,
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
    /// Works through rows until one needs bytes that are not in RAM, a stream has to wait, or its turn
    /// is over.
    pub(super) fn copy_rows(&mut self, mut copy: Box<Copy>) {
        let Some(rows) = copy.rows.take() else { return };
        let step = self.copy_slice(&mut copy, rows.bytes());
        copy.rows = Some(rows);
        match step {
            RowStep::Stalled if self.segments_at_hand() == 0 && self.leaving.is_empty() => {
                self.give_up(*copy);
            }
            RowStep::Next(_) | RowStep::Stalled => self.compaction = Job::Copy(copy, false),
            RowStep::Read { start, bytes } => {
                if let Some((_, _, buffer)) = copy.window.take() {
                    self.pool.give(buffer);
                }
                let (victim, start_byte) = (copy.victim, start as usize);
                self.compaction = Job::Copy(copy, true);
                self.read_victim(victim, start_byte, bytes, Step::Window { start, bytes });
            }
            RowStep::Damaged => {
                self.compaction = Job::Footer(copy.victim);
                self.abandon();
            }
            RowStep::Done => {
                if let Some((_, _, buffer)) = copy.window.take() {
                    self.pool.give(buffer);
                }
                self.leave(copy.victim);
            }
        }
    }

    /// A turn's worth of rows, or fewer.
    fn copy_slice(&mut self, copy: &mut Copy, rows: &[u8]) -> RowStep {
        for _ in 0..self.rows_per_turn() {
            if copy.at >= rows.len() {
                return RowStep::Done;
            }
            if (1..=SURVIVOR_STREAMS).any(|stream| self.log.stream(stream).has_closed()) {
                break;
            }
            match self.copy_row(copy, rows) {
                RowStep::Next(at) => copy.at = at,
                other => return other,
            }
        }
        RowStep::Next(copy.at)
    }

    #[cfg_attr(not(feature = "sim"), expect(clippy::unused_self, reason = "simulations ask it"))]
    fn rows_per_turn(&self) -> usize {
        #[cfg(feature = "sim")]
        if self.config.sim.eager_checkpoints {
            return 8;
        }
        ROWS_PER_TURN
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
            // Both checkpoints have the mark: `clear_seq`.
            Row::Lost(_) => return RowStep::Next(next),
            Row::Record(row) => row,
        };
        let end = u64::from(row.offset) + row.head.record_bytes() as u64;
        if end > u64::from(self.root.segment_bytes) {
            return RowStep::Damaged;
        }
        let location = Location::new(copy.victim, row.offset, self.root.segment_bytes);
        let appended = match self.verdict(&row, location, copy.seq) {
            Verdict::Drop => true,
            Verdict::Bury => self.carry_delete(&row),
            Verdict::Touch if row.name.is_empty() => {
                let length = row.head.record_bytes();
                let Some(bytes) = copy.bytes(row.offset, length) else {
                    return self.window_for(row.offset, length);
                };
                self.carry_touch_record(copy, &row, bytes)
            }
            Verdict::Touch => self.carry_touches(&row.head, row.name),
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
        let appended = self.log.append(stream, &record, &mut self.pool, self.now).is_ok();
        if appended {
            self.reflect(stream);
        }
        appended
    }

    /// What was just appended shows the present: its batch waits until that is durable.
    fn reflect(&mut self, stream: usize) {
        let appended = self.log.appended_lsn();
        if let Some(batch) = self.log.stream(stream).open_mut() {
            batch.reflect(appended);
        }
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

    /// Carries a touch record on whose value had to be read. What is damaged is lost already.
    fn carry_touch_record(&mut self, copy: &Copy, row: &RecordRow<'_>, bytes: &[u8]) -> bool {
        match record::decode(bytes, copy.seed) {
            Ok(record) if record.value_ok && record.head == row.head => {
                self.carry_touches(&row.head, record.value)
            }
            _ => {
                let (segment, offset) = (copy.victim.0, row.offset);
                tracing::error!(segment, offset, "a record of touches is damaged: they are lost");
                self.counters.corrupt_records += 1;
                true
            }
        }
    }

    /// Journals the present expiry of every entry that a touch record with these rows moved.
    fn carry_touches(&mut self, of: &Head, rows: &[u8]) -> bool {
        let namespace = of.namespace;
        let mut touches = Vec::new();
        for touch in touch::rows(of, rows) {
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
            let (head, value, count) = touch::record(rest, usize::MAX, of.lsn);
            let head = Head { flags: RELOCATED, ..head };
            let record = Append { head: &head, name: &[], value: &value, identity: NO_KEY_MARK };
            let stream = self.survivor_stream(SURVIVOR_STREAMS);
            if self.log.append(stream, &record, &mut self.pool, self.now).is_err() {
                return false;
            }
            self.reflect(stream);
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
        // A record without a touch is the same as in the victim, which is durable.
        if entry.touch > 0 {
            self.reflect(stream);
        }
        true
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
    /// There are no more.
    Done,
}

impl Copy {
    pub(super) fn new(victim: SegmentId, seed: Seed, rows: Rows) -> Copy {
        Copy { victim, seed, rows: Some(rows), at: 0, seq: BatchSeq(0), window: None }
    }

    /// The record's bytes, if the window has all of them.
    fn bytes(&self, offset: u32, length: usize) -> Option<&[u8]> {
        let (start, bytes, buffer) = self.window.as_ref()?;
        let from = offset.checked_sub(*start)? as usize;
        buffer.get(from..from + length).filter(|_| from + length <= *bytes)
    }
}
