//! What a clear has taken out of the hot set: values that nobody can find any more, given back in slices.
//! Three million at once would hold everybody up for a third of a second.
//!
//! Owns: [`Doomed`].
//! Never knows: keys, queues, budgets.
//! Invariant: the bytes that are counted are those of the arenas that are left.

use super::arena::Arena;
use super::entry::HotEntry;

/// Arenas that are being given back.
#[derive(Default)]
pub(super) struct Doomed {
    arenas: Vec<Arena>,
    /// RAM of their entries and chunks.
    bytes: usize,
}

impl Doomed {
    /// Takes an arena whose entries have `heap_bytes`.
    pub(super) fn add(&mut self, arena: Arena, heap_bytes: usize) {
        self.bytes += heap_bytes + arena.bytes();
        self.arenas.push(arena);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.arenas.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back up to so many chunks of entries.
    pub(super) fn give_back(&mut self, chunks: usize) {
        for _ in 0..chunks {
            let Some(arena) = self.arenas.last_mut() else { return };
            let before = arena.bytes();
            let chunk = arena.pop_chunk();
            let entries: usize = chunk.iter().flatten().map(HotEntry::heap_bytes).sum();
            self.bytes -= entries + before - arena.bytes();
            if chunk.is_none() {
                self.arenas.pop();
            }
        }
    }
}
