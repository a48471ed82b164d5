//! Chunks as records: written, entered, dropped, and let out of RAM.
//!
//! Owns: what happens to a single chunk.
//! Never knows: uploads, who reads them (`large.rs`).
//! Invariant: a chunk in RAM is not on the disk yet, or loaded for somebody.

use hashbrown::HashSet;

use super::Shard;
use super::write::Refused;
use crate::format::chunked::{CHUNKS_MAX, Chunked, chunk_key};
use crate::format::label::Label;
use crate::format::record::{self, Head, Kind};
use crate::hot::NewEntry;
use crate::index::{Entry, Expiry, Identity, SizeClass};
use crate::key::{Key, WordHash};
use crate::labels::Place;
use crate::space::Slot;
use crate::units::{Lsn, Namespace};

/// Stands for the keys of all chunks where keys that begin alike are taken to have values alike.
const KIND: &[u8] = b"chunk";

impl Shard {
    /// Appends a chunk's record and enters it, in place of the one of that number if there is one.
    pub(super) fn write_chunk(
        &mut self,
        (id, number): (u64, u32),
        is_new: bool,
        chunk_bytes: u32,
        bytes: &[u8],
    ) -> Result<Lsn, Refused> {
        let too_large = |len, max| Err(Refused::TooLarge { len, max });
        if bytes.len() > chunk_bytes as usize {
            return too_large(bytes.len(), chunk_bytes as usize);
        }
        if u64::from(number) >= CHUNKS_MAX {
            return too_large(number as usize, CHUNKS_MAX as usize);
        }
        let name = chunk_key(id, number);
        let key = self.key(Namespace::CHUNKS, &name);
        self.check_lengths(&key, &name, bytes)?;
        let (old, aside) = self.chunk_slot(&key, is_new);
        let mut head = Head {
            value_len: bytes.len() as u32,
            flags: if aside { record::SIDE } else { 0 },
            ..self.head(Kind::Put, key.namespace, key.bytes)
        };
        let packed = self.pack(&mut head, KIND, bytes);
        let stored = packed.as_deref().unwrap_or(bytes);
        let location = self.append(&head, key.bytes, stored, key.packed())?;
        self.packed(bytes, packed);
        let size = SizeClass::of(head.record_bytes());
        let entry = Entry { location, size, expiry: Expiry::NONE, freq: 0, touch: 0 };
        self.set_entry(&key, entry, old, aside, &Label::NONE);
        // Until it is on the disk it can be read from here only.
        let written = NewEntry {
            namespace: key.namespace,
            identity: key.identity,
            key: key.bytes,
            value: bytes,
            value_type: 0,
            expires_at: None,
            lsn: head.lsn,
            location,
        };
        self.hot.insert(&written, 0);
        self.large.fresh.push_back((head.lsn, name));
        Ok(head.lsn)
    }

    /// Where a chunk's entry is or goes, and whether that is the side table. If its identity is taken,
    /// then by itself, unless it is new: chunks are never looked for in vain.
    fn chunk_slot(&self, key: &Key<'_>, is_new: bool) -> (Option<Entry>, bool) {
        let slot = self.space(key.namespace).map_or(Slot::Free, |space| space.slot(key));
        match slot {
            Slot::Free => (None, false),
            Slot::Side(entry) => (Some(entry), true),
            Slot::Index(_) if is_new => (None, true),
            Slot::Index(entry) => (Some(entry), false),
        }
    }

    /// Drops the chunks of the large values that a namespace's labels have lost.
    pub(super) fn drop_chunks_of(&mut self, namespace: Namespace) {
        for chunked in self.space_mut(namespace).labels.take_dropped() {
            self.drop_chunks(chunked);
        }
    }

    /// Drops the chunks of a value that has gone, or leaves that to its last reader.
    pub(super) fn drop_chunks(&mut self, chunked: Chunked) {
        if planted!(LeakChunks) {
            return;
        }
        if let Some(pinned) = self.large.pinned.get_mut(&chunked.id)
            && !planted!(IgnorePins)
        {
            pinned.gone = Some(chunked);
            return;
        }
        self.drop_numbers(chunked.id, 0..chunked.chunks());
    }

    /// What is on the disk now need not be in RAM any longer: a value as long as the memory passes
    /// through without pushing everything else out.
    pub(super) fn let_chunks_go(&mut self) {
        let durable = self.log.durable_lsn();
        while let Some((lsn, name)) = self.large.fresh.front().copied()
            && lsn <= durable
        {
            self.large.fresh.pop_front();
            self.let_chunk_go(&name);
        }
    }

    /// Takes a chunk that nobody holds out of RAM, if it is on the disk.
    pub(super) fn let_chunk_go(&mut self, name: &[u8]) {
        let key = self.key(Namespace::CHUNKS, name);
        let durable = self.log.durable_lsn();
        let hot = self.hot.peek(key.namespace, key.identity, key.bytes);
        if hot.is_some_and(|hot| !hot.is_pinned() && hot.lsn() <= durable) {
            self.hot.remove(key.namespace, key.identity, key.bytes);
        }
    }

    /// A key has expired whose end could not be logged: after a crash it might be back, and must then
    /// have its chunks. They are dropped when its end is logged, or it was written again.
    pub(super) fn keep_chunks_until_ended(&mut self, namespace: Namespace, identity: Identity) {
        for chunked in self.space_mut(namespace).labels.take_dropped() {
            self.large.ended.push((namespace, identity, chunked));
        }
    }

    /// Logs the ends of keys that found no room before, and drops their chunks.
    pub(super) fn end_large(&mut self) {
        if self.group.is_some() || self.poisoned {
            return;
        }
        for (namespace, identity, chunked) in std::mem::take(&mut self.large.ended) {
            let space = self.space(namespace);
            let written = space.is_some_and(|space| space.index.get(identity).is_some());
            if written || self.journal_end(namespace, identity) {
                self.drop_chunks(chunked);
            } else {
                self.large.ended.push((namespace, identity, chunked));
            }
        }
    }

    pub(super) fn drop_numbers(&mut self, id: u64, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let name = chunk_key(id, number);
            let key = self.key(Namespace::CHUNKS, &name);
            let slot = self.space(key.namespace).map_or(Slot::Free, |space| space.slot(&key));
            let (entry, aside) = match slot {
                Slot::Free => continue,
                Slot::Index(entry) => (entry, false),
                Slot::Side(entry) => (entry, true),
            };
            let place = Place { identity: key.identity, aside, key: key.bytes };
            self.space_mut(key.namespace).remove(&place);
            self.hot.remove(key.namespace, key.identity, key.bytes);
            self.bury(&entry);
        }
    }

    /// Chunks that are missing of those that must be there, and chunks that nobody has: there are none,
    /// ever.
    pub fn misplaced_chunks(&self) -> (u64, u64) {
        let large = &self.large;
        let labelled = self.user_spaces().flat_map(|space| space.labels.large());
        let gone = large.pinned.values().filter_map(|pinned| pinned.gone.as_ref());
        let values = labelled.chain(gone).chain(large.ended.iter().map(|(.., chunked)| chunked));
        let counts = values.map(|chunked| (chunked.id, chunked.chunks()));
        let mut wanted: HashSet<[u8; 12], WordHash> = HashSet::default();
        for (id, chunks) in counts.chain(large.open.iter().map(|(id, chunks)| (*id, *chunks))) {
            wanted.extend((0..chunks).map(|number| chunk_key(id, number)));
        }
        let there = |name: &[u8; 12]| {
            let key = self.key(Namespace::CHUNKS, name);
            self.space(key.namespace).is_some_and(|space| !matches!(space.slot(&key), Slot::Free))
        };
        let present = wanted.iter().filter(|name| there(name)).count() as u64;
        let entries = self.space(Namespace::CHUNKS).map_or(0, crate::space::Space::entries);
        (wanted.len() as u64 - present, entries.saturating_sub(present))
    }
}
