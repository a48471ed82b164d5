//! From a key, or an identity and a location, to the entry's number.
//!
//! Owns: [`Table`].
//! Never knows: how entries are stored (comparison and hashing are the caller's closures).
//! Invariant: a number is in the part that its hash names.

use hashbrown::HashTable;

use crate::index::Identity;
use crate::units::Namespace;

/// Parts, each growing by itself: doubling a table of three million entries at once would take 150
/// milliseconds, a 512th of it a third of one. The more parts, the further apart they double.
const PARTS: usize = 512;

/// Numbers by hash.
pub(super) struct Table {
    parts: Vec<HashTable<u32>>,
    bytes: usize,
}

/// Where an entry is in the table; the keyed hash within the identity makes it unpredictable.
pub(super) fn hash(namespace: Namespace, identity: Identity) -> u64 {
    let word = u64::from(namespace.0) << Identity::BITS | identity.to_bits();
    let mixed = word.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    // The table takes its bits from both ends; a product is good at the upper end only.
    mixed ^ (mixed >> 32)
}

fn part(hash: u64) -> usize {
    // Bits that the table itself uses last: above the low ones, below the top seven.
    (hash >> 48) as usize % PARTS
}

impl Default for Table {
    fn default() -> Table {
        Table { parts: (0..PARTS).map(|_| HashTable::new()).collect(), bytes: 0 }
    }
}

impl Table {
    /// RAM of all parts.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.parts[part(hash)].find(hash, |id| is_it(*id)).copied()
    }

    /// Adds a number that is not there.
    pub(super) fn add(&mut self, hash: u64, id: u32, hash_of: impl Fn(u32) -> u64) {
        let part = &mut self.parts[part(hash)];
        let before = part.allocation_size();
        part.insert_unique(hash, id, |id| hash_of(*id));
        self.bytes += part.allocation_size();
        self.bytes -= before;
    }

    pub(super) fn remove(&mut self, hash: u64, id: u32) {
        if let Ok(found) = self.parts[part(hash)].find_entry(hash, |other| *other == id) {
            found.remove();
        }
    }
}
