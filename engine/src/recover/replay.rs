//! Applying footer rows to the index, in the order in which it changed the first time.
//!
//! Every batch carries its place in one order. Replaying all batches after a checkpoint's start in
//! that order, unconditionally, repeats history: what compaction dropped was superseded by, or
//! carried on in, a later batch.

use super::orphans::{self, Swept};
use crate::format::label::Label;
use crate::format::record::{ALL_NAMESPACES, GROUPED, Head, Kind, SIDE};
use crate::format::segment::RecordRow;
use crate::format::touch;
use crate::index::{Due, Entry, Expiry, Identity, Index, SizeClass, touch_cover_secs};
use crate::key::{hash, unpack};
use crate::labels::Place;
use crate::log::{CLEAR_MARK, LOST_END_MARK};
use crate::space::{LOST, Space};
use crate::units::{Location, Lsn, Namespace, SegmentId, UnixMillis};

/// A record of a group that has not ended yet.
struct Grouped {
    head: Head,
    identity: Identity,
    location: Location,
    name: Vec<u8>,
}

/// A row with the identity of its key.
pub(super) struct Met<'a> {
    row: RecordRow<'a>,
    identity: Identity,
}

/// The state that replay builds.
pub(super) struct Replay {
    pub(super) spaces: Vec<Space>,
    hash_seed: [u8; 16],
    segment_bytes: u32,
    now: UnixMillis,
    group: Vec<Grouped>,
    /// What was lost while it went on, by the number of its records that came before.
    group_lost: Vec<(usize, u64)>,
    /// Entries that the first of the users' namespaces is expected to have.
    expected: usize,
    pub(super) records: u64,
    /// Entries that could not be recovered.
    pub(super) lost: u64,
    /// What chunks of large values came to.
    pub(super) swept: Swept,
}

impl Replay {
    pub(super) fn new(hash_seed: [u8; 16], segment_bytes: u32, now: UnixMillis) -> Replay {
        Replay {
            spaces: Vec::new(),
            hash_seed,
            segment_bytes,
            now,
            group: Vec::new(),
            group_lost: Vec::new(),
            expected: 0,
            records: 0,
            lost: 0,
            swept: Swept::default(),
        }
    }

    pub(super) fn now(&self) -> UnixMillis {
        self.now
    }

    pub(super) fn space(&mut self, namespace: Namespace) -> &mut Space {
        let at = namespace.slot();
        if self.spaces.len() <= at {
            self.spaces.resize_with(at + 1, bulk_space);
            if at >= Namespace::OWN {
                let expected = std::mem::take(&mut self.expected);
                self.spaces[at].index.reserve_empty(expected);
            }
        }
        &mut self.spaces[at]
    }

    /// Without a checkpoint: makes room for the entries of `rows_bytes` of footer rows in the first
    /// of the users' namespaces that is met, but takes no more than a quarter of the memory budget for
    /// that: many rows may be versions of few keys. What is too much is given back in the end.
    pub(super) fn expect(&mut self, rows_bytes: u64, memory_bytes_max: u64) {
        /// A row with a key of 20 bytes.
        const ROW_BYTES: u64 = 64;
        const ENTRY_BYTES: u64 = 16;
        let entries = (rows_bytes / ROW_BYTES).min(memory_bytes_max / 4 / ENTRY_BYTES);
        self.expected = usize::try_from(entries).unwrap_or(0);
    }

    /// Everything is in: the indexes take no more than they need.
    pub(super) fn finish(&mut self) {
        for space in &mut self.spaces {
            // Their chunks have gone with the orphans.
            drop(space.labels.take_dropped());
            space.index.end_bulk();
        }
    }

    /// Identifies a row's key.
    pub(super) fn meet<'a>(&self, row: RecordRow<'a>) -> Met<'a> {
        Met { row, identity: self.identity(row.key()) }
    }

    /// Applies rows of `segment` in their order, and empties the list.
    pub(super) fn rows(&mut self, segment: SegmentId, rows: &mut Vec<Met<'_>>) {
        // More than half of the time would be spent waiting for the index's lines, one by one.
        for near in rows.chunk_by(|a, b| a.row.head.namespace == b.row.head.namespace) {
            if let Some(space) = self.spaces.get(near[0].row.head.namespace.slot()) {
                space.index.warm(near.iter().map(|met| met.identity));
            }
        }
        for met in rows.drain(..) {
            self.row(&met, segment);
        }
    }

    fn row(&mut self, met: &Met<'_>, segment: SegmentId) {
        let Met { row: RecordRow { offset, head, name }, identity } = met;
        self.records += 1;
        let location = Location::new(segment, *offset, self.segment_bytes);
        if head.flags & GROUPED != 0 {
            if self.group.last().is_some_and(|last| head.lsn != last.head.lsn.next()) {
                self.end_group();
            }
            let (head, identity, name) = (*head, *identity, name.to_vec());
            self.group.push(Grouped { head, identity, location, name });
            return;
        }
        match self.group.last().map(|last| last.head.lsn) {
            // Left unfinished by a crash.
            Some(last) if head.kind == Kind::Open && head.lsn == last.next() => self.drop_group(),
            // The commit itself, or a later record, which proves that there was one. Survivors come
            // in between and prove nothing.
            Some(last) if head.lsn > last && head.kind != Kind::Open => self.end_group(),
            _ => {}
        }
        self.apply(head, *identity, location, name);
    }

    fn end_group(&mut self) {
        let mut lost = std::mem::take(&mut self.group_lost).into_iter().peekable();
        for (before, member) in std::mem::take(&mut self.group).into_iter().enumerate() {
            while let Some((_, named)) = lost.next_if(|(at, _)| *at <= before) {
                self.mark_lost(named);
            }
            self.apply(&member.head, member.identity, member.location, &member.name);
        }
        lost.for_each(|(_, named)| self.mark_lost(named));
    }

    fn drop_group(&mut self) {
        self.group.clear();
        self.group_lost.clear();
    }

    /// The log has ended: a group without a commit never took effect. Returns its first LSN.
    pub(super) fn void_group(&mut self) -> Option<Lsn> {
        let first = self.group.first().map(|first| first.head.lsn);
        if planted!(HalfGroups) {
            self.end_group();
        }
        self.drop_group();
        first
    }

    fn apply(&mut self, head: &Head, identity: Identity, location: Location, name: &[u8]) {
        let namespace = head.namespace;
        match head.kind {
            Kind::Put => self.put(head, identity, location, name),
            Kind::Delete => {
                let aside = head.flags & SIDE != 0;
                self.space(namespace).remove(&Place { identity, aside, key: name });
            }
            Kind::Touch => self.touch(head, name),
            Kind::Clear if namespace == ALL_NAMESPACES => self.spaces.truncate(Namespace::OWN),
            Kind::Clear if planted!(IgnoreClear) => {}
            Kind::Clear => *self.space(namespace) = bulk_space(),
            Kind::Commit | Kind::Open => {}
        }
    }

    fn identity(&self, key: &[u8]) -> Identity {
        Identity::of(hash(&self.hash_seed, key))
    }

    fn put(&mut self, head: &Head, identity: Identity, location: Location, name: &[u8]) {
        let (key, extension) = head.split_name(name);
        // A row whose label does not decode is no row: it was refused before.
        let label =
            Label::decode(extension).ok().filter(|_| !planted!(IgnoreLabels)).unwrap_or_default();
        let entry = Entry {
            location,
            size: SizeClass::of(head.record_bytes().min(SizeClass::BYTES_MAX)),
            expiry: Expiry::of(head.expires_at, self.now),
            freq: 0,
            touch: head.touch,
        };
        let place = Place { identity, aside: head.flags & SIDE != 0, key };
        self.label_and_insert(head.namespace, &place, entry, &label);
    }

    fn label_and_insert(
        &mut self,
        namespace: Namespace,
        place: &Place<'_>,
        entry: Entry,
        label: &Label<'_>,
    ) {
        let hash = if label.owner.is_empty() { 0 } else { hash(&self.hash_seed, label.owner).0 };
        self.space(namespace).insert(place, entry, label, hash);
    }

    /// Enters the label of a key whose entry the checkpoint has elsewhere.
    pub(super) fn label(&mut self, namespace: Namespace, place: &Place<'_>, label: &Label<'_>) {
        let hash = hash(&self.hash_seed, label.owner).0;
        self.space(namespace).labels.set(place, label, hash);
    }

    fn touch(&mut self, head: &Head, rows: &[u8]) {
        let now = self.now;
        for row in touch::rows(head, rows) {
            let Some((_, identity)) = unpack(row.identity) else { continue };
            self.space(head.namespace).index.update(identity, |entry| {
                let at = UnixMillis(u64::from(row.expires_s) * 1000);
                entry.expiry = Expiry::near(at, now);
                entry.touch = head.touch.max(1);
            });
        }
    }

    /// Marks what a damaged batch named: reads say that the key is lost, older versions stay hidden.
    /// Within a group also those that the group has written before.
    pub(super) fn lose(&mut self, named: u64) {
        self.lost += 1;
        if named == LOST_END_MARK {
            self.end_group();
            return;
        }
        if !self.group.is_empty() {
            self.group_lost.push((self.group.len(), named));
        }
        self.mark_lost(named);
    }

    fn mark_lost(&mut self, named: u64) {
        if named & (CLEAR_MARK | 1) == CLEAR_MARK {
            let namespace = Namespace((named >> 48) as u16);
            tracing::error!(namespace = namespace.0, "the record of a clear is damaged: clearing");
            *self.space(namespace) = bulk_space();
            return;
        }
        let Some((namespace, identity)) = unpack(named) else { return };
        self.space(namespace).lose(identity, lost_entry());
    }

    /// Before replay: drops what the checkpoint says of segments that were recycled since. A segment
    /// is recycled when nothing in it is alive: a later batch, to be replayed, has overwritten or
    /// deleted what was there, or it has expired, and of that the log says nothing. An entry that has
    /// not expired and that no later batch explains is lost.
    pub(super) fn drop_recycled(&mut self, recycled: impl Fn(SegmentId) -> Option<UnixMillis>) {
        let (now, segment_bytes) = (self.now, self.segment_bytes);
        // When a stale entry's segment was recycled: the clock may have been set back since.
        let stale = |entry: &Entry| {
            let recycled = recycled(entry.location.split(segment_bytes).0);
            recycled.filter(|_| entry.location != LOST).map(|at| at.max(now))
        };
        for (slot, space) in self.spaces.iter_mut().enumerate() {
            // A chunk that was dropped left no record of that: its manifest will tell.
            let chunks = slot == Namespace::CHUNKS.slot();
            // Page by page, so that what is found takes little RAM.
            for page in 0..space.index.pages() {
                let mut found = Vec::new();
                space.index.visit_page(page, |identity, entry| {
                    if let Some(at) = stale(&entry) {
                        found.push((identity, entry.expiry, at));
                    }
                });
                for (identity, expiry, at) in found {
                    if chunks || expiry.may_have_passed(at) {
                        space.index.remove(identity);
                    } else {
                        space.index.insert(identity, Entry { expiry, ..lost_entry() });
                    }
                }
            }
            let passed =
                |e: &Entry| stale(e).is_some_and(|at| chunks || e.expiry.may_have_passed(at));
            space.side.retain(|_, side| !passed(&side.entry));
            for side in space.side.values_mut().filter(|side| stale(&side.entry).is_some()) {
                side.entry = Entry { expiry: side.entry.expiry, ..lost_entry() };
            }
        }
    }

    /// What the log leaves open is settled: touched entries get the grace of their quantum, expired
    /// ones go, and entries that point nowhere are lost.
    pub(super) fn settle(&mut self, segment_ok: impl Fn(SegmentId) -> bool) {
        let (now, segment_bytes) = (self.now, self.segment_bytes);
        let dangling = |entry: &Entry| {
            entry.location != LOST && !segment_ok(entry.location.split(segment_bytes).0)
        };
        let chunks = Namespace::CHUNKS.slot();
        let slots = (0..self.spaces.len()).filter(|slot| *slot != chunks);
        let slots: Vec<usize> = slots.chain([chunks]).collect();
        for slot in slots {
            if slot == chunks {
                // When it is known which manifests there are.
                self.swept = orphans::sweep(&mut self.spaces, &self.hash_seed);
            }
            let Some(space) = self.spaces.get_mut(slot) else { continue };
            let mut lost = 0;
            let Space { index, labels, .. } = space;
            let limit_of = |identity| {
                let place = Place { identity, aside: false, key: &[] };
                labels.get(&place).and_then(|labelled| labelled.label.limit)
            };
            for page in 0..index.pages() {
                lost += settle_page(index, page, now, limit_of, dangling);
            }
            if lost > 0 {
                tracing::error!(lost, "keys are lost: reads of them say so until they are written");
                self.lost += lost;
            }
            space.side.retain(|_, side| !side.entry.expiry.surely_passed(now));
            for side in space.side.values_mut().filter(|side| dangling(&side.entry)) {
                side.entry = lost_entry();
                self.lost += 1;
            }
            space.drop_stale_labels();
        }
    }
}

/// A space that is filled by replay.
fn bulk_space() -> Space {
    let mut space = Space::default();
    space.index.begin_bulk();
    space
}

/// Settles the entries of one page; returns how many are lost.
fn settle_page(
    index: &mut Index,
    page: usize,
    now: UnixMillis,
    limit_of: impl Fn(Identity) -> Option<UnixMillis>,
    dangling: impl Fn(&Entry) -> bool,
) -> u64 {
    let mut lost = 0;
    let mut changed = Vec::new();
    index.visit_page(page, |identity, mut entry| {
        if entry.touch > 0 {
            grant_grace(&mut entry, limit_of(identity), now);
        }
        if entry.expiry.surely_passed(now) {
            changed.push((identity, None));
        } else if entry.location == LOST {
            lost += 1;
        } else if dangling(&entry) {
            tracing::error!("an entry points into a segment that is missing: lost");
            lost += 1;
            changed.push((identity, Some(lost_entry())));
        } else if entry.touch > 0 {
            changed.push((identity, Some(entry)));
        }
    });
    for (identity, entry) in changed {
        match entry {
            Some(entry) => drop(index.insert(identity, entry)),
            None => drop(index.remove(identity)),
        }
    }
    lost
}

pub(super) fn lost_entry() -> Entry {
    Entry { location: LOST, size: SizeClass::of(1), expiry: Expiry::NONE, freq: 0, touch: 0 }
}

/// A touched entry may have been touched again since what the journal says: give it what that covers,
/// so that nobody is logged out early, but never more than its limit.
fn grant_grace(entry: &mut Entry, limit: Option<UnixMillis>, now: UnixMillis) {
    if planted!(NoGrace) {
        return;
    }
    if let Due::At(seconds) = entry.expiry.due(now) {
        let end = UnixMillis(touch_cover_secs(seconds, entry.touch) * 1000);
        let end = limit.filter(|_| !planted!(GraceBeyondLimit)).map_or(end, |limit| end.min(limit));
        entry.expiry = Expiry::near(end, now);
    }
}

#[cfg(test)]
mod tests;
