//! Large values: where their chunks are, and which values no label has any more.

use super::{LARGE, Labels};
use crate::format::chunked::Chunked;

impl Labels {
    /// Number of large values.
    pub(crate) fn large_len(&self) -> usize {
        self.large.len()
    }

    /// Bytes of all large values.
    pub(crate) fn large_bytes(&self) -> u64 {
        self.large_bytes
    }

    /// All large values, in no particular order.
    pub(crate) fn large(&self) -> impl Iterator<Item = &Chunked> {
        self.large.values()
    }

    /// The large values that have gone or were replaced since the last call.
    pub(crate) fn take_dropped(&mut self) -> Vec<Chunked> {
        std::mem::take(&mut self.dropped)
    }

    /// Takes a member's large value away.
    pub(super) fn take_large(&mut self, number: u32) -> Option<Chunked> {
        let member = &mut self.members[number as usize];
        if member.packed & LARGE == 0 {
            return None;
        }
        member.packed &= !LARGE;
        let chunked = self.large.remove(&number)?;
        self.large_bytes -= chunked.len;
        Some(chunked)
    }
}
