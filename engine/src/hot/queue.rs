//! First in, first out, with removal from the middle: a list through the entries themselves.
//!
//! Owns: [`Queue`].
//! Never knows: why entries come and go.
//! Invariant: from `oldest` along `newer` every entry is met once and `newest` last.

use super::arena::Arena;

/// A queue of entries. Links at the two ends are never read.
#[derive(Default)]
pub(super) struct Queue {
    oldest: u32,
    newest: u32,
    len: usize,
}

impl Queue {
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.len > 0).then_some(self.oldest)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Appends an entry that is in no queue, as the newest.
    pub(super) fn push(&mut self, arena: &mut Arena, id: u32) {
        if self.len == 0 {
            self.oldest = id;
        } else {
            arena[self.newest].newer = id;
            arena[id].older = self.newest;
        }
        self.newest = id;
        self.len += 1;
    }

    /// Takes an entry of this queue out of it.
    pub(super) fn remove(&mut self, arena: &mut Arena, id: u32) {
        let (older, newer) = (arena[id].older, arena[id].newer);
        match (id == self.oldest, id == self.newest) {
            (true, true) => {}
            (true, false) => self.oldest = newer,
            (false, true) => self.newest = older,
            (false, false) => {
                arena[older].newer = newer;
                arena[newer].older = older;
            }
        }
        self.len -= 1;
    }
}
