//! Touches: an expiry that moves later is one store in the index; what a crash must not forget is
//! journaled, many rows in one record.
//!
//! What the journal says of a key covers its cell, half a quantum, and the next one: recovery grants
//! that much. A touch within its cell is not journaled at all. One into the next cell waits here, at
//! most `SHARE_MS` if it can share a batch with something else and an eighth of a cell if not, for one record
//! with all that wait; its reply does not, because a crash would not take it back
//! (`docs/decisions/0021-touch-journal.md`). What is written then is what the index says then. A touch
//! beyond what is covered is journaled at once, and its reply waits for that.
//!
//! Owns: [`Touches`].
//! Never knows: what the log does with a record.
//! Invariant: the journal, durable or behind the key's barrier, covers the expiry of every key.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::Shard;
use super::write::{Refused, Room};
use crate::format::record::{Head, Kind};
use crate::format::touch::{self, TOUCH_ROW_BYTES, Touch};
use crate::index::{
    Due, Entry, Expiry, Identity, touch_cell, touch_class_of, touch_cover_secs, touch_quantum_secs,
};
use crate::key::{Key, WordHash, pack, unpack};
use crate::log::{Append, NO_KEY_MARK, USER_STREAM};
use crate::units::{Lsn, Namespace, UnixMillis};

/// How long a touch waits before it joins a batch that is written anyway.
const SHARE_MS: u64 = 1000;
/// How long it waits before a batch is written for it: an eighth of its cell, within these. The longer, the
/// more share the batch; but what is not durable when the next cell begins has to be waited for.
const WAIT_MS: std::ops::RangeInclusive<u64> = 2_500..=10_000;
/// Touches that wait before they are journaled without regard to time.
const ROWS_MANY: usize = 16 << 10;
/// Touches that wait at most, when the log has no room for them: 3 MiB.
const ROWS_MAX: usize = 64 << 10;

/// A key whose journal is behind.
struct Waiting {
    /// An expiry up to this second would survive a crash now.
    covered_s: u64,
    /// Journal records up to here say nothing about it.
    since: Lsn,
    /// Whether it is to be journaled.
    dirty: bool,
    /// Its rows that are not durable yet.
    in_flight: u32,
}

/// Rows of one record that is not durable yet: packed identity, and the second that they cover.
type Written = Vec<(u64, u64)>;

/// Touches that wait to be journaled, or for their journal to be durable.
#[derive(Default)]
pub(super) struct Touches {
    waiting: HashMap<u64, Waiting, WordHash>,
    dirty: Vec<u64>,
    /// Since when the first of them waits.
    oldest: Option<UnixMillis>,
    /// When they are to be journaled, whether or not anything is written anyway.
    due: Option<UnixMillis>,
    written: VecDeque<(Lsn, Written)>,
}

/// How long a touch of this class may wait for others.
fn patience_ms(class: u8) -> u64 {
    let cell_ms = touch_quantum_secs(class) * 1000 / 2;
    (cell_ms / 8).clamp(*WAIT_MS.start(), *WAIT_MS.end())
}

impl Touches {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// When they are to be journaled at the latest.
    pub(super) fn due_at(&self) -> Option<UnixMillis> {
        self.due
    }

    /// Whether they are to be journaled now; `shared` if a batch is going to be written anyway.
    fn are_due(&self, shared: bool, now: UnixMillis) -> bool {
        self.dirty.len() >= ROWS_MANY
            || self.due.is_some_and(|due| due <= now)
            || shared && self.oldest.is_some_and(|oldest| oldest.plus(SHARE_MS) <= now)
    }

    /// The key was written: what its journal said before means nothing any more.
    pub(super) fn forget(&mut self, packed: u64) {
        if !self.waiting.is_empty() {
            self.waiting.remove(&packed);
        }
    }

    fn wait(&mut self, packed: u64, class: u8, covered_s: u64, appended: Lsn, now: UnixMillis) {
        let fresh = Waiting { covered_s, since: appended, dirty: false, in_flight: 0 };
        let waiting = self.waiting.entry(packed).or_insert(fresh);
        if !waiting.dirty {
            waiting.dirty = true;
            self.dirty.push(packed);
            self.oldest.get_or_insert(now);
            let due = now.plus(patience_ms(class));
            self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
        }
    }

    /// Records up to `durable` are on stable storage.
    pub(super) fn settle(&mut self, durable: Lsn) {
        while let Some((lsn, _)) = self.written.front()
            && *lsn <= durable
        {
            let Some((lsn, rows)) = self.written.pop_front() else { return };
            for (packed, covers_s) in rows {
                let Some(waiting) = self.waiting.get_mut(&packed) else { continue };
                if lsn <= waiting.since {
                    continue;
                }
                waiting.covered_s = waiting.covered_s.max(covers_s);
                waiting.in_flight = waiting.in_flight.saturating_sub(1);
                if !waiting.dirty && waiting.in_flight == 0 {
                    self.waiting.remove(&packed);
                }
            }
        }
    }
}

impl Shard {
    /// Moves an expiry from second `old` to the later second `new`.
    pub(super) fn touch(
        &mut self,
        key: &Key<'_>,
        entry: &Entry,
        (old, new): (u64, u64),
        expires_at: UnixMillis,
        now: UnixMillis,
    ) -> Result<Lsn, Refused> {
        let class = touch_class_of(expires_at.since(now));
        let leaves =
            entry.touch < class || touch_cell(old, entry.touch) != touch_cell(new, entry.touch);
        let mut kept = entry.touch;
        let mut barrier = self.barrier(key);
        if leaves {
            kept = class;
            let packed = key.packed();
            let waiting = self.touches.waiting.get(&packed);
            let covered = match waiting {
                Some(waiting) => waiting.covered_s,
                // Its record knows the millisecond, which may be nearly a second before.
                None if entry.touch == 0 => old.saturating_sub(1),
                None => touch_cover_secs(old, entry.touch),
            };
            let may_wait = new <= covered || planted!(LaxTouches);
            if may_wait && self.touches.dirty.len() < ROWS_MAX {
                self.touches.wait(packed, class, covered, self.log.appended_lsn(), now);
            } else {
                let expires_s = u32::try_from(new).unwrap_or(u32::MAX);
                let identity = key.identity.to_bits();
                let touch = Touch { namespace: key.namespace, class, expires_s, identity };
                barrier = self.journal_now(&touch, packed)?;
            }
        }
        let index = &mut self.space_mut(key.namespace).index;
        index.update(key.identity, |entry| {
            entry.expiry = Expiry::of(Some(expires_at), now);
            entry.touch = kept;
        });
        self.hot.set_expiry(key.namespace, key.identity, key.bytes, Some(expires_at));
        // The old expiry is on the wheel, or will be swept in time; the key is looked at then.
        self.counters.touches += 1;
        Ok(barrier)
    }

    /// Journals one touch in a record of its own.
    fn journal_now(&mut self, touch: &Touch, packed: u64) -> Result<Lsn, Refused> {
        let (head, value, _) = touch::record(&[*touch], 1, self.log.next_lsn());
        self.append(&head, &[], &value, packed)?;
        self.counters.touch_bytes += head.padded_bytes() as u64;
        Ok(head.lsn)
    }

    /// Journals that a touched entry has expired: a touch to the beginning of time. A crash before it is
    /// durable may bring the key back for the rest of its quantum, so replies that tell of its absence
    /// wait for it. False, and nothing journaled, when there is no room: then a reply waits for
    /// nothing, but no event is told before the end has been journaled after all.
    pub(super) fn journal_end(&mut self, namespace: Namespace, identity: Identity) -> bool {
        let head = Head { value_len: TOUCH_ROW_BYTES as u32, ..Head::new(Kind::Touch, Lsn(0)) };
        if !self.has_room_for_end(head.padded_bytes() + 128) {
            return false;
        }
        let end = Touch { namespace, class: 1, expires_s: 0, identity: identity.to_bits() };
        self.journal_now(&end, pack(namespace, identity)).is_ok()
    }

    /// Journals the touches that have waited long enough.
    pub(super) fn journal_touches_due(&mut self) {
        let shared = self.log.stream(USER_STREAM).has_open_batch();
        if self.touches.are_due(shared, self.now) {
            self.journal_touches();
        }
    }

    /// Journals the touches that wait, as the index has them now. Those that find no room wait on.
    pub(super) fn journal_touches(&mut self) {
        if self.touches.dirty.is_empty() || self.group.is_some() || self.poisoned {
            return;
        }
        // In the record and in the footer; small segments take few at a time.
        let rows_max = (self.root.segment_bytes as usize / 64).min(ROWS_MANY);
        let count = self.touches.dirty.len().min(rows_max);
        if self.room_for_delete(count * 2 * TOUCH_ROW_BYTES + 4096) != Room::Yes {
            return;
        }
        let keys = self.touches.dirty.split_off(self.touches.dirty.len() - count);
        let mut rows: Vec<Touch> = keys.iter().filter_map(|key| self.take_dirty(*key)).collect();
        rows.sort_unstable();
        let mut rest = &rows[..];
        while !rest.is_empty() {
            let (head, value, count) = touch::record(rest, rows_max, self.log.next_lsn());
            let record = Append { head: &head, name: &[], value: &value, identity: NO_KEY_MARK };
            if self.log.append(USER_STREAM, &record, &mut self.pool, self.now).is_err() {
                break;
            }
            self.counters.touch_bytes += head.padded_bytes() as u64;
            let written = rest[..count].iter().map(|row| {
                let covers = touch_cover_secs(u64::from(row.expires_s), row.class);
                (u64::from(row.namespace.0) << 48 | row.identity, covers)
            });
            let written: Written = written.collect();
            for (packed, _) in &written {
                if let Some(waiting) = self.touches.waiting.get_mut(packed) {
                    waiting.in_flight += 1;
                }
            }
            self.touches.written.push_back((head.lsn, written));
            rest = &rest[count..];
        }
        for row in rest {
            let packed = u64::from(row.namespace.0) << 48 | row.identity;
            if let Some(waiting) = self.touches.waiting.get_mut(&packed) {
                waiting.dirty = true;
                self.touches.dirty.push(packed);
            }
        }
        let left = !self.touches.dirty.is_empty();
        self.touches.oldest = left.then_some(self.now);
        self.touches.due = left.then_some(self.now.plus(*WAIT_MS.start()));
    }

    /// The row of a key that waits; `None`, and forgotten, if it was written or is gone meanwhile.
    fn take_dirty(&mut self, packed: u64) -> Option<Touch> {
        let waiting = self.touches.waiting.get_mut(&packed)?;
        if !std::mem::take(&mut waiting.dirty) {
            return None;
        }
        let row = unpack(packed).and_then(|(namespace, identity)| {
            let entry = self.spaces.get(namespace.slot())?.index.get(identity)?;
            let (1.., Due::At(seconds)) = (entry.touch, entry.expiry.due(self.now)) else {
                return None;
            };
            let expires_s = u32::try_from(seconds).unwrap_or(u32::MAX);
            let identity = identity.to_bits();
            Some(Touch { namespace, class: entry.touch, expires_s, identity })
        });
        if row.is_none() {
            self.touches.waiting.remove(&packed);
        }
        row
    }
}
