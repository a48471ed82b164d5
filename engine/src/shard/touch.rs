//! Touches: an expiry that moves later is one store in the index; what a crash must not forget is
//! journaled, many rows in one record.
//!
//! What the journal says of a key covers its cell, half a quantum, and the next one: recovery grants
//! that much. A touch within its cell is not journaled at all. One into the next cell waits here: until a
//! batch is written anyway whose padding has room for it, an eighth of a cell at most; its reply does not,
//! because a crash would not take it back
//! (`docs/decisions/0021-touch-journal.md`). What is written then is what the index says then. A touch
//! beyond what is covered is journaled at once, and its reply waits for that; when many touches wait
//! here, its batch stays open for a few milliseconds until it is worth its block (0050).
//!
//! Owns: [`Touches`].
//! Never knows: what the log does with a record.
//! Invariant: the journal, durable or behind the key's barrier, covers the expiry of every key; the index
//! has the last second of a cell only where a recovery has granted it, or a limit.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::Shard;
use super::write::{Refused, Room};
use crate::format::batch::IDENTITY_BYTES;
use crate::format::record::{Head, Kind};
use crate::format::touch::{self, TOUCH_ROW_BYTES, Touch};
use crate::index::{
    Due, Entry, Expiry, Identity, TOUCH_CLASS_MAX, touch_cell, touch_cell_secs, touch_class_of,
    touch_cover_secs, touch_second,
};
use crate::key::{Key, WordHash, pack, unpack};
use crate::log::{Append, NO_KEY_MARK, USER_STREAM};
use crate::units::{Lsn, Namespace, UnixMillis};

/// Touches that share the padding of a batch, unless the first has waited for `SHARE_MS`: for fewer a
/// row in the footer is much.
const SHARE_ROWS: usize = 16;
/// How long a touch waits before it joins a batch with fewer than `SHARE_ROWS`.
const SHARE_MS: u64 = 1000;
/// How long it waits before a batch is written for it: an eighth of its cell, within these. The longer, the
/// more share the batch; but what is not durable when the next cell begins has to be waited for.
const WAIT_MS: std::ops::RangeInclusive<u64> = 2_500..=10_000;
/// Records that share the padding of one batch at most.
const SHARE_RECORDS: usize = 4;
/// Touches that wait before they are journaled without regard to time.
const ROWS_MANY: usize = 16 << 10;
/// Touches that wait at most, when the log has no room for them: 3 MiB.
const ROWS_MAX: usize = 64 << 10;
/// How long a batch of nothing but touches whose replies wait may stay open.
const LINGER_MS: u64 = 20;
/// Touches that wait while such a batch lingers, at least: with fewer, hardly any would join.
const LINGER_ROWS: usize = 64;

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
    /// The keys to be journaled and since when, by touch class, which says how long they may wait.
    dirty: [VecDeque<(u64, UnixMillis)>; CLASSES],
    dirty_len: usize,
    written: VecDeque<(Lsn, Written)>,
}

const CLASSES: usize = TOUCH_CLASS_MAX as usize + 1;

/// How long a touch of this class may wait for others.
fn patience_ms(class: usize) -> u64 {
    let cell_ms = touch_cell_secs(class as u8) * 1000;
    (cell_ms / 8).clamp(*WAIT_MS.start(), *WAIT_MS.end())
}

impl Touches {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The class whose turn it is to be journaled, and since when its first key waits.
    fn first(&self) -> Option<(usize, UnixMillis)> {
        let fronts = self.dirty.iter().enumerate();
        let fronts = fronts.filter_map(|(class, keys)| Some((class, keys.front()?.1)));
        fronts.min_by_key(|(class, since)| since.plus(patience_ms(*class)))
    }

    /// When they are to be journaled at the latest.
    pub(super) fn due_at(&self) -> Option<UnixMillis> {
        self.first().map(|(class, since)| since.plus(patience_ms(class)))
    }

    /// Takes up to `count` keys, those first that are due first; also says since when the first waits.
    fn take(&mut self, count: usize) -> (Vec<u64>, UnixMillis) {
        let mut keys = Vec::new();
        let mut oldest = UnixMillis::MAX;
        while keys.len() < count
            && let Some((class, since)) = self.first()
        {
            let queue = &mut self.dirty[class];
            let taken = queue.len().min(count - keys.len());
            keys.extend(queue.drain(..taken).map(|(packed, _)| packed));
            oldest = oldest.min(since);
        }
        self.dirty_len -= keys.len();
        (keys, oldest)
    }

    /// Found no room, and waits on.
    fn put_back(&mut self, packed: u64, class: u8, since: UnixMillis) {
        if let Some(waiting) = self.waiting.get_mut(&packed) {
            waiting.dirty = true;
            self.dirty[usize::from(class) % CLASSES].push_front((packed, since));
            self.dirty_len += 1;
        }
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
            self.dirty[usize::from(class) % CLASSES].push_back((packed, now));
            self.dirty_len += 1;
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

/// An expiry that moves later.
pub(super) struct Moved {
    /// The second that it had in the index.
    pub(super) old_s: u64,
    /// The second that ends with, or after, `expires_at`.
    pub(super) new_s: u64,
    pub(super) expires_at: UnixMillis,
    /// Whether it can move no further.
    pub(super) is_limit: bool,
}

impl Moved {
    /// The second to enter for a key of this class.
    fn second(&self, class: u8) -> u64 {
        if self.is_limit { self.new_s } else { touch_second(self.new_s, class) }
    }
}

impl Shard {
    /// Moves an expiry later.
    pub(super) fn touch(
        &mut self,
        key: &Key<'_>,
        entry: &Entry,
        to: &Moved,
        now: UnixMillis,
    ) -> Result<Lsn, Refused> {
        let class = touch_class_of(to.expires_at.since(now));
        let (mut kept, mut second) = (entry.touch, to.second(entry.touch));
        let mut barrier = self.barrier(key);
        if kept < class || touch_cell(to.old_s, kept) != touch_cell(second, kept) {
            (kept, second) = (class, to.second(class));
            let packed = key.packed();
            let waiting = self.touches.waiting.get(&packed);
            let covered = match waiting {
                Some(waiting) => waiting.covered_s,
                // Its record knows the millisecond, which may be nearly a second before.
                None if entry.touch == 0 => to.old_s.saturating_sub(1),
                None => touch_cover_secs(to.old_s, entry.touch),
            };
            let may_wait = second <= covered || planted!(LaxTouches);
            if may_wait && self.touches.dirty_len < ROWS_MAX {
                self.touches.wait(packed, class, covered, self.log.appended_lsn(), now);
            } else {
                let expires_s = u32::try_from(second).unwrap_or(u32::MAX);
                let identity = key.identity.to_bits();
                let touch = Touch { namespace: key.namespace, class, expires_s, identity };
                barrier = self.journal_now(&touch, packed)?;
                self.log.stream(USER_STREAM).note_patient();
            }
        }
        let index = &mut self.space_mut(key.namespace).index;
        index.update(key.identity, |entry| {
            entry.expiry = Expiry::near(UnixMillis(second * 1000), now);
            entry.touch = kept;
        });
        self.hot.set_expiry(key.namespace, key.identity, key.bytes, Some(to.expires_at));
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

    /// How long the open batch may stay open for the sake of touches: a while if it holds nothing but
    /// touches whose replies wait, and many others wait for a place, but not enough to fill its block.
    pub(super) fn touch_linger_ms(&mut self) -> u64 {
        let few = self.touches.dirty_len < LINGER_ROWS && !self.is_eager();
        if few || !self.log.stream(USER_STREAM).is_patient() {
            return 0;
        }
        if touch::rows_within(self.log.padding()) <= self.touches.dirty_len {
            return 0;
        }
        sometimes!(TouchesLinger);
        LINGER_MS
    }

    /// Whether rare things are to happen always.
    #[cfg_attr(not(feature = "sim"), expect(clippy::unused_self, reason = "simulations ask it"))]
    fn is_eager(&self) -> bool {
        #[cfg(feature = "sim")]
        return self.config.sim.eager_checkpoints;
        #[cfg(not(feature = "sim"))]
        false
    }

    /// Journals the touches that have waited long enough.
    pub(super) fn journal_touches_due(&mut self) {
        let many = self.touches.dirty_len >= ROWS_MANY;
        if many || self.touches.due_at().is_some_and(|due| due <= self.now) {
            self.journal_touches();
        }
    }

    /// Journals the touches that wait, as the index has them now. Those that find no room wait on.
    pub(super) fn journal_touches(&mut self) {
        // Small segments take few at a time.
        let rows_max = (self.root.segment_bytes as usize / 64).min(ROWS_MANY);
        let count = self.touches.dirty_len.min(rows_max);
        if count == 0 || self.group.is_some() || self.poisoned {
            return;
        }
        if self.room_for_delete(count * TOUCH_ROW_BYTES + 4096) == Room::Yes {
            self.journal_rows(count, None);
        }
    }

    /// Journals as many touches as there is room for in the padding of the open batch, which is about to
    /// be written.
    pub(super) fn fill_with_touches(&mut self) {
        let Some((_, since)) = self.touches.first() else { return };
        let few = self.touches.dirty_len < SHARE_ROWS && since.plus(SHARE_MS) > self.now;
        if few && !self.is_eager() || self.group.is_some() || self.poisoned {
            return;
        }
        let rows = touch::rows_within(self.log.padding().saturating_sub(IDENTITY_BYTES));
        if rows > 0 {
            self.journal_rows(rows, Some(SHARE_RECORDS));
        }
    }

    /// Journals up to `count` touches; within the padding of the open batch if a number of records to
    /// share it is given.
    fn journal_rows(&mut self, count: usize, mut share: Option<usize>) {
        let (keys, since) = self.touches.take(count);
        let mut rows: Vec<Touch> = keys.iter().filter_map(|key| self.take_dirty(*key)).collect();
        rows.sort_unstable();
        let mut rest = &rows[..];
        while !rest.is_empty() {
            let mut rows_max = count;
            if let Some(records) = &mut share {
                let padding = self.log.padding().saturating_sub(IDENTITY_BYTES);
                rows_max = rows_max.min(touch::rows_within(padding));
                if rows_max == 0 || *records == 0 {
                    break;
                }
                *records -= 1;
            }
            let (head, value, count) = touch::record(rest, rows_max, self.log.next_lsn());
            let record = Append { head: &head, name: &[], value: &value, identity: NO_KEY_MARK };
            if share.is_some() && !self.log.joins(&head)
                || self.log.append(USER_STREAM, &record, &mut self.pool, self.now).is_err()
            {
                break;
            }
            if share.is_some() {
                sometimes!(TouchesShare);
            }
            self.counters.touch_bytes += head.padded_bytes() as u64;
            self.note_written(head.lsn, &rest[..count]);
            rest = &rest[count..];
        }
        for row in rest {
            self.touches.put_back(packed_of(row), row.class, since);
        }
    }

    /// These rows are on their way.
    fn note_written(&mut self, lsn: Lsn, rows: &[Touch]) {
        let covers = |row: &Touch| touch_cover_secs(u64::from(row.expires_s), row.class);
        let written: Written = rows.iter().map(|row| (packed_of(row), covers(row))).collect();
        for (packed, _) in &written {
            if let Some(waiting) = self.touches.waiting.get_mut(packed) {
                waiting.in_flight += 1;
            }
        }
        self.touches.written.push_back((lsn, written));
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

fn packed_of(row: &Touch) -> u64 {
    u64::from(row.namespace.0) << 48 | row.identity
}
