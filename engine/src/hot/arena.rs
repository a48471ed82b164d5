//! Nodes that never move: entries by number, in chunks, so that growing copies nothing.
//!
//! Owns: [`Arena`].
//! Never knows: what links the entries.
//! Invariant: a number stays an entry's until it is freed.

use std::ops::{Index, IndexMut};

use super::entry::HotEntry;

/// Entries in a chunk: about 20 KiB.
pub(super) const CHUNK: usize = 256;

/// Entries by number.
#[derive(Default)]
pub(super) struct Arena {
    chunks: Vec<Vec<HotEntry>>,
    /// Freed numbers; the freed nodes are chained through `newer`, so this needs no RAM.
    first_free: Option<u32>,
    live: usize,
}

impl Arena {
    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// RAM of all chunks, used or not.
    pub(super) fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<HotEntry>()
    }

    /// Takes the last chunk of entries out, used or freed: the arena is on its way to being dropped.
    pub(super) fn pop_chunk(&mut self) -> Option<Vec<HotEntry>> {
        self.chunks.pop()
    }

    #[expect(clippy::cast_possible_truncation, reason = "2^32 entries exceed any RAM")]
    pub(super) fn add(&mut self, entry: HotEntry) -> u32 {
        self.live += 1;
        if let Some(id) = self.first_free {
            let next = self[id].newer;
            self.first_free = (next != id).then_some(next);
            self[id] = entry;
            return id;
        }
        let id = self.live - 1;
        if id.is_multiple_of(CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks[id / CHUNK].push(entry);
        id as u32
    }

    /// Frees the number; its entry's content is dropped.
    pub(super) fn free(&mut self, id: u32) {
        self.live -= 1;
        // The last of the chain points to itself.
        let next = self.first_free.unwrap_or(id);
        let node = &mut self[id];
        node.drop_content();
        node.newer = next;
        self.first_free = Some(id);
    }
}

impl Index<u32> for Arena {
    type Output = HotEntry;
    fn index(&self, id: u32) -> &HotEntry {
        let id = id as usize;
        &self.chunks[id / CHUNK][id % CHUNK]
    }
}

impl IndexMut<u32> for Arena {
    fn index_mut(&mut self, id: u32) -> &mut HotEntry {
        let id = id as usize;
        &mut self.chunks[id / CHUNK][id % CHUNK]
    }
}
