//! 64 KiB of index: 512 buckets of nine entries, in which an entry has two places to be.
//!
//! Partial-key cuckoo hashing: the other bucket of an entry follows from its own `x`, so entries
//! are displaced without reading any key, and never out of their page. A page fills to about 98 %
//! before an entry finds no place; the index is grown long before.
//!
//! Owns: [`Page`].
//! Never knows: other pages, what to do with an entry that has no place.
//! Invariant: an entry is in one of the two buckets of its identity, once.

use super::entry::Packed;
use super::identity::{BUCKETS, Identity, stride};

/// Entries in a bucket.
pub(super) const SLOTS: usize = 9;
/// Entries in a page: 4,608.
pub(super) const PAGE_SLOTS: usize = BUCKETS * SLOTS;

/// Two cache lines: what a lookup compares comes first.
#[repr(C, align(128))]
#[derive(Clone, Copy)]
struct Bucket {
    /// Low 32 bits of each entry's `x`; stale where not occupied.
    x_low: [u32; SLOTS],
    /// Bit `i`: slot `i` holds an entry.
    occupied: u16,
    rest: [[u8; 10]; SLOTS],
}

const _: () = assert!(size_of::<Bucket>() == 128, "9 * 14 + 2");

impl Bucket {
    const EMPTY: Bucket = Bucket { x_low: [0; SLOTS], occupied: 0, rest: [[0; 10]; SLOTS] };
    const FULL: u16 = (1 << SLOTS) - 1;

    /// Slots whose low `x` bits are these, as a bit set.
    fn candidates(&self, x_low: u32) -> u16 {
        let mut equal = 0;
        for slot in 0..SLOTS {
            equal |= u16::from(self.x_low[slot] == x_low) << slot;
        }
        equal & self.occupied
    }

    fn packed(&self, slot: usize) -> Packed {
        Packed { x_low: self.x_low[slot], rest: self.rest[slot] }
    }

    fn set(&mut self, slot: usize, packed: Packed) {
        self.x_low[slot] = packed.x_low;
        self.rest[slot] = packed.rest;
        self.occupied |= 1 << slot;
    }

    /// The first free slot, `SLOTS` or more if there is none.
    fn free_slot(&self) -> usize {
        self.occupied.trailing_ones() as usize
    }
}

/// The other bucket that an entry in `bucket` may be in.
#[expect(clippy::cast_possible_truncation, reason = "buckets are 9 bits")]
fn other_bucket(bucket: usize, packed: &Packed) -> usize {
    bucket ^ stride(packed.x()) as usize
}

/// Where in its page an entry was found; stale after the next change of the page.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    bucket: usize,
    slot: usize,
}

/// A page of the index.
pub(super) struct Page {
    buckets: Box<[Bucket; BUCKETS]>,
    live: u16,
}

impl Page {
    pub(super) fn new() -> Page {
        let buckets = vec![Bucket::EMPTY; BUCKETS].into_boxed_slice().try_into();
        let Ok(buckets) = buckets else { unreachable!("exactly {BUCKETS}") };
        Page { buckets, live: 0 }
    }

    /// Entries in it.
    pub(super) fn live(&self) -> usize {
        usize::from(self.live)
    }

    #[expect(clippy::cast_possible_truncation, reason = "x is cut on purpose; buckets are 9 bits")]
    pub(super) fn find(&self, identity: Identity) -> Option<Spot> {
        let x = identity.x();
        let (a, b) = identity.buckets();
        let (a, b) = (a as usize, b as usize);
        // Both before any branch, so that their cache misses overlap.
        let in_a = self.buckets[a].candidates(x as u32);
        let in_b = self.buckets[b].candidates(x as u32);
        let mut left = u32::from(in_a) | u32::from(in_b) << 16;
        while left != 0 {
            let bit = left.trailing_zeros() as usize;
            let (bucket, slot) = if bit < 16 { (a, bit) } else { (b, bit - 16) };
            if self.buckets[bucket].packed(slot).x() == x {
                return Some(Spot { bucket, slot });
            }
            left &= left - 1;
        }
        None
    }

    /// Reads what a lookup or an insert of this identity will read: two lines of both its buckets.
    #[expect(clippy::cast_possible_truncation, reason = "buckets are 9 bits")]
    pub(super) fn touch(&self, identity: Identity) -> u16 {
        let (a, b) = identity.buckets();
        let (a, b) = (&self.buckets[a as usize], &self.buckets[b as usize]);
        a.occupied ^ b.occupied ^ u16::from(a.rest[SLOTS - 1][0] ^ b.rest[SLOTS - 1][0])
    }

    pub(super) fn at(&self, spot: Spot) -> Packed {
        self.buckets[spot.bucket].packed(spot.slot)
    }

    /// Overwrites the entry at `spot` with one of the same identity.
    pub(super) fn replace(&mut self, spot: Spot, packed: Packed) {
        self.buckets[spot.bucket].set(spot.slot, packed);
    }

    pub(super) fn remove(&mut self, spot: Spot) {
        self.buckets[spot.bucket].occupied &= !(1 << spot.slot);
        self.live -= 1;
    }

    /// Adds an entry that is not in the page, displacing others within it if need be. `false` if
    /// no chain of displacements ends in a free slot; nothing has changed then.
    #[expect(clippy::cast_possible_truncation, reason = "buckets are 9 bits")]
    pub(super) fn add(&mut self, identity: Identity, packed: Packed) -> bool {
        let (a, b) = identity.buckets();
        let (a, b) = (a as usize, b as usize);
        let count = |bucket: usize| self.buckets[bucket].occupied.count_ones() as usize;
        let emptier = if count(b) < count(a) { b } else { a };
        let spot = if count(emptier) < SLOTS {
            Some(Spot { bucket: emptier, slot: self.buckets[emptier].free_slot() })
        } else if self.live() < PAGE_SLOTS {
            self.move_one(a).or_else(|| self.move_one(b)).or_else(|| self.move_chain(a, b))
        } else {
            None
        };
        let Some(spot) = spot else { return false };
        self.buckets[spot.bucket].set(spot.slot, packed);
        self.live += 1;
        true
    }

    /// Frees a slot in a full bucket by moving one entry to its other bucket: nearly always enough
    /// while a third of all buckets have room (load 0.92).
    fn move_one(&mut self, bucket: usize) -> Option<Spot> {
        (0..SLOTS).find_map(|slot| {
            let packed = self.buckets[bucket].packed(slot);
            let other = &mut self.buckets[other_bucket(bucket, &packed)];
            (other.occupied != Bucket::FULL).then(|| {
                other.set(other.free_slot(), packed);
                Spot { bucket, slot }
            })
        })
    }

    /// Frees a slot in bucket `a` or `b` by the shortest chain of moves: breadth first over the
    /// buckets that can be reached, each at most once, so at most 512 * 9 entries are looked at.
    #[expect(clippy::cast_possible_truncation, reason = "buckets are 9 bits")]
    fn move_chain(&mut self, a: usize, b: usize) -> Option<Spot> {
        /// A bucket on the way, and the entry whose move leads into it.
        #[derive(Clone, Copy)]
        struct Step {
            bucket: u16,
            from: u16,
            slot: u8,
        }
        const ROOT: u16 = u16::MAX;
        let mut steps = [Step { bucket: 0, from: ROOT, slot: 0 }; BUCKETS];
        steps[0].bucket = a as u16;
        steps[1].bucket = b as u16;
        let mut seen = [false; BUCKETS];
        (seen[a], seen[b]) = (true, true);
        let (mut next, mut known) = (0, 2);
        let goal = 'search: loop {
            if next == known {
                return None;
            }
            let bucket = usize::from(steps[next].bucket);
            for slot in 0..SLOTS {
                let other = other_bucket(bucket, &self.buckets[bucket].packed(slot));
                if seen[other] {
                    continue;
                }
                seen[other] = true;
                steps[known] = Step { bucket: other as u16, from: next as u16, slot: slot as u8 };
                if self.buckets[other].occupied != Bucket::FULL {
                    break 'search known;
                }
                known += 1;
            }
            next += 1;
        };
        // From the far end back: each move fills the slot that the one before has left.
        let mut step = steps[goal];
        let mut free = self.buckets[usize::from(step.bucket)].free_slot();
        while step.from != ROOT {
            let parent = steps[usize::from(step.from)];
            let (from, slot) = (usize::from(parent.bucket), usize::from(step.slot));
            let moved = self.buckets[from].packed(slot);
            self.buckets[usize::from(step.bucket)].set(free, moved);
            free = slot;
            step = parent;
        }
        Some(Spot { bucket: usize::from(step.bucket), slot: free })
    }

    /// Calls `f` for every entry, in no order that means anything.
    pub(super) fn for_each(&self, f: impl FnMut(Identity, Packed)) {
        self.for_each_where(|_| true, f);
    }

    /// Calls `f` for every entry that `wanted` picks by its packed form.
    #[inline]
    pub(super) fn for_each_where(
        &self,
        wanted: impl Fn(&Packed) -> bool,
        mut f: impl FnMut(Identity, Packed),
    ) {
        if self.live == 0 {
            return;
        }
        for (number, bucket) in self.buckets.iter().enumerate() {
            let mut left = bucket.occupied;
            while left != 0 {
                let packed = bucket.packed(left.trailing_zeros() as usize);
                if wanted(&packed) {
                    f(Identity::at(packed.x(), number as u64), packed);
                }
                left &= left - 1;
            }
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    reason = "numbers of tests are small"
)]
mod tests {
    use super::*;
    use crate::index::{Entry, Expiry, SizeClass};
    use crate::units::{KeyHash, Location};

    fn packed(identity: Identity, location: u64) -> Packed {
        let entry = Entry {
            location: Location(location),
            size: SizeClass::of(16),
            expiry: Expiry::NONE,
            freq: 0,
            touch: 0,
        };
        Packed::new(identity.x(), entry)
    }

    fn random(seed: u64) -> impl Iterator<Item = Identity> {
        let mut state = seed;
        std::iter::repeat_with(move || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            Identity::of(KeyHash(z ^ (z >> 31)))
        })
    }

    #[test]
    fn a_page_fills_beyond_97_percent_and_keeps_every_entry() {
        for seed in 0..20 {
            let mut page = Page::new();
            let mut placed = Vec::new();
            for (i, identity) in random(seed).enumerate() {
                if !page.add(identity, packed(identity, i as u64)) {
                    break;
                }
                placed.push(identity);
            }
            let load = placed.len() as f64 / PAGE_SLOTS as f64;
            assert!(load > 0.97, "seed {seed}: first refusal at load {load}");
            assert_eq!(page.live(), placed.len());
            for (i, identity) in placed.iter().enumerate() {
                let spot = page.find(*identity).expect("placed");
                assert_eq!(page.at(spot).entry().location.0, i as u64);
            }
        }
    }

    #[test]
    fn a_refused_entry_changes_nothing() {
        // 18 entries fill the two buckets of one stride-closed pair; the 19th has nowhere to go.
        let mut page = Page::new();
        let pair: Vec<_> =
            random(1).filter(|identity| identity.buckets() == (3, 5)).take(19).collect();
        for identity in &pair[..18] {
            assert!(page.add(*identity, packed(*identity, 1)));
        }
        assert!(!page.add(pair[18], packed(pair[18], 1)));
        assert_eq!(page.live(), 18);
        assert!(pair[..18].iter().all(|identity| page.find(*identity).is_some()));
        assert!(page.find(pair[18]).is_none());
    }
}
