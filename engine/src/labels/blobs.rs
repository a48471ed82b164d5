//! Short byte strings by number, in eight bytes more than their own at most.
//!
//! Owns: [`Blobs`].
//! Never knows: what the strings mean.
//! Invariant: a number stays a string's until it is freed.

use hashbrown::HashMap;

use crate::key::WordHash;

/// Strings are placed at multiples of this, so that 32 bits of number reach 32 GiB.
const UNIT: usize = 8;
/// Bytes of a page: more than the longest string, and taken from the system as they are touched.
const PAGE_BYTES: usize = 256 << 10;
const PAGE_UNITS: usize = PAGE_BYTES / UNIT;
/// Length before each string.
const LEN_BYTES: usize = 2;

/// Strings by number.
#[derive(Default)]
pub(super) struct Blobs {
    pages: Vec<Box<[u8]>>,
    /// First unit of the last page that was never used.
    end: usize,
    /// Freed strings by their length in units.
    free: HashMap<u64, Vec<u32>, WordHash>,
    live: usize,
}

fn units(len: usize) -> usize {
    (LEN_BYTES + len).div_ceil(UNIT)
}

impl Blobs {
    /// RAM taken.
    pub(super) fn bytes(&self) -> usize {
        let unused = if self.pages.is_empty() { 0 } else { PAGE_UNITS - self.end };
        let free: usize = self.free.values().map(Vec::capacity).sum();
        self.pages.len() * PAGE_BYTES - unused * UNIT + free * 4
    }

    /// Keeps a string of at most 65,535 bytes.
    #[expect(clippy::cast_possible_truncation, reason = "32 GiB of units")]
    pub(super) fn add(&mut self, bytes: &[u8]) -> u32 {
        let len = u16::try_from(bytes.len()).expect("keys are limited");
        let units = units(bytes.len());
        let number = match self.free.get_mut(&(units as u64)).and_then(Vec::pop) {
            Some(number) => number as usize,
            None => self.fresh(units),
        };
        self.live += 1;
        let at = number % PAGE_UNITS * UNIT;
        let place = &mut self.pages[number / PAGE_UNITS][at..at + LEN_BYTES + bytes.len()];
        place[..LEN_BYTES].copy_from_slice(&len.to_le_bytes());
        place[LEN_BYTES..].copy_from_slice(bytes);
        number as u32
    }

    fn fresh(&mut self, units: usize) -> usize {
        if self.pages.is_empty() || self.end + units > PAGE_UNITS {
            self.pages.push(vec![0; PAGE_BYTES].into_boxed_slice());
            self.end = 0;
        }
        let number = (self.pages.len() - 1) * PAGE_UNITS + self.end;
        self.end += units;
        number
    }

    /// The string called `number`.
    pub(super) fn get(&self, number: u32) -> &[u8] {
        let (page, at) = (number as usize / PAGE_UNITS, number as usize % PAGE_UNITS * UNIT);
        let rest = &self.pages[page][at..];
        let len = usize::from(u16::from_le_bytes([rest[0], rest[1]]));
        &rest[LEN_BYTES..LEN_BYTES + len]
    }

    /// Forgets a string.
    pub(super) fn free(&mut self, number: u32) {
        let units = units(self.get(number).len());
        self.live -= 1;
        if self.live == 0 {
            *self = Blobs::default();
        } else {
            self.free.entry(units as u64).or_default().push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_all_lengths_stay_what_they_were() {
        let mut blobs = Blobs::default();
        let text = |seed: usize| vec![seed as u8; seed * 37 % 70_000 % 65_536];
        let mut kept = Vec::new();
        for seed in 0..3_000 {
            kept.push((seed, blobs.add(&text(seed))));
            if seed % 3 == 0 {
                let (_, number) = kept.swap_remove(seed * 7 % kept.len());
                blobs.free(number);
            }
        }
        assert!(kept.iter().all(|(seed, number)| blobs.get(*number) == text(*seed)));
        let before = blobs.bytes();
        let (seed, number) = kept.swap_remove(5);
        blobs.free(number);
        kept.push((seed, blobs.add(&text(seed))));
        assert!(blobs.bytes() <= before + 64, "a freed place is used again");
        for (_, number) in kept {
            blobs.free(number);
        }
        assert_eq!(blobs.bytes(), 0);
    }
}
