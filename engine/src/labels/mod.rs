//! What RAM knows of a labelled key beside its index entry: owner, limit, whether it is hidden, where
//! its chunks are.
//!
//! Derived from the records, like the index: a label is set where an entry is set and removed where
//! it is removed (`space.rs`), so there is none without its entry and no entry without its own.
//! Keys of an owner are chained, and whole, so that they are listed without reading the disk; 32
//! bytes and a table slot per key, the key's own bytes, and 40 bytes and its name per owner.
//!
//! Owns: [`Labels`], the labels of one namespace.
//! Never knows: records, time, which entry a key has.
//! Invariant: at most one label per identity in the index, and one per key in the side table; a key
//! is in the chain of its owner exactly once.

mod blobs;
mod large;
#[cfg(test)]
mod tests;

use hashbrown::{HashMap, HashTable};

use crate::format::checkpoint::LABEL_ROW_BYTES;
use crate::format::chunked::Chunked;
use crate::format::label::{EXTENSION_BYTES_MAX, Label, OWNER_BYTES_MAX};
use crate::index::Identity;
use crate::key::WordHash;
use crate::units::UnixMillis;

use blobs::Blobs;

/// No member, owner or string.
const NONE: u32 = u32::MAX;
const ASIDE: u64 = 1 << 62;
const HIDDEN: u64 = 1 << 61;
const LARGE: u64 = 1 << 60;
const FREE: u64 = 1 << 63;
/// No limit.
const UNLIMITED: u64 = u64::MAX;

/// A labelled key.
struct Member {
    /// Identity, and flags in the upper bits.
    packed: u64,
    limit: u64,
    owner: u32,
    /// Neighbours in the owner's chain, oldest first; `next` also chains free members.
    next: u32,
    prev: u32,
    /// The key, if it has an owner or is aside.
    key: u32,
}

/// An owner with at least one key.
struct Owner {
    hash: u64,
    name: u32,
    first: u32,
    last: u32,
    /// Keys; 0 in a free slot, which `first` chains.
    keys: u32,
}

/// A label as RAM has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Labelled<'a> {
    pub(crate) identity: Identity,
    pub(crate) aside: bool,
    /// Empty if neither owner nor side table needs it.
    pub(crate) key: &'a [u8],
    pub(crate) label: Label<'a>,
}

/// A key whose label is set or looked up.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) identity: Identity,
    pub(crate) aside: bool,
    pub(crate) key: &'a [u8],
}

/// The labels of one namespace.
#[derive(Default)]
pub(crate) struct Labels {
    members: Vec<Member>,
    free_member: Option<u32>,
    by_identity: HashTable<u32>,
    owners: Vec<Owner>,
    free_owner: Option<u32>,
    by_name: HashTable<u32>,
    blobs: Blobs,
    hidden: usize,
    /// Large values, by member.
    large: HashMap<u32, Chunked, WordHash>,
    /// Bytes of all large values.
    large_bytes: u64,
    /// Large values that no label has any more; whoever removed them takes them from here.
    dropped: Vec<Chunked>,
    /// Upper bound of what all rows take in a checkpoint.
    row_bytes: usize,
}

/// Bytes of a row in a checkpoint, at most.
fn row_bytes(key: usize, owner: usize) -> usize {
    LABEL_ROW_BYTES + key + EXTENSION_BYTES_MAX - OWNER_BYTES_MAX + owner
}

/// Identities are hashes already; their low bits name a bucket, so they are mixed once more.
fn spread(identity: u64) -> u64 {
    identity.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Member {
    fn identity(&self) -> u64 {
        self.packed & ((1 << 48) - 1)
    }
}

impl Labels {
    /// Number of labelled keys.
    pub(crate) fn len(&self) -> usize {
        self.by_identity.len()
    }

    /// Number of hidden keys.
    pub(crate) fn hidden_len(&self) -> usize {
        self.hidden
    }

    /// Bytes that all labels take in a checkpoint, at most.
    pub(crate) fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Number of owners.
    pub(crate) fn owners_len(&self) -> usize {
        self.by_name.len()
    }

    /// RAM taken, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.members.len() * size_of::<Member>()
            + self.owners.len() * size_of::<Owner>()
            + self.by_identity.allocation_size()
            + self.by_name.allocation_size()
            + self.blobs.bytes()
            + self.large.allocation_size()
    }

    /// The label of a key, if it has one.
    pub(crate) fn get(&self, place: &Place<'_>) -> Option<Labelled<'_>> {
        self.find(place).map(|number| self.labelled(number))
    }

    /// Sets or, with [`Label::NONE`], removes the label of a key; `owner_hash` is the owner's under
    /// the store's seed. A key that stays with its owner keeps its place in the chain.
    pub(crate) fn set(&mut self, place: &Place<'_>, label: &Label<'_>, owner_hash: u64) {
        let old = if self.members.is_empty() { None } else { self.find(place) };
        if label.is_none() {
            if let Some(number) = old {
                self.remove_member(number);
            }
            return;
        }
        let before = old.and_then(|number| self.take_large(number));
        let number = match old {
            Some(number) if self.stays(number, place, label) => number,
            Some(number) => {
                self.remove_member(number);
                self.add_member(place, label, owner_hash)
            }
            None => self.add_member(place, label, owner_hash),
        };
        let member = &mut self.members[number as usize];
        let hidden = member.packed & HIDDEN != 0;
        self.hidden = self.hidden + usize::from(label.hidden) - usize::from(hidden);
        member.packed = member.packed & !HIDDEN | if label.hidden { HIDDEN } else { 0 };
        member.limit = label.limit.map_or(UNLIMITED, |limit| limit.0);
        if let Some(chunked) = label.chunked {
            member.packed |= LARGE;
            self.large_bytes += chunked.len;
            self.large.insert(number, chunked);
        }
        // Under the same id it is another version of the same value.
        let id = label.chunked.map(|chunked| chunked.id);
        self.dropped.extend(before.filter(|before| id != Some(before.id)));
    }

    /// Removes the label of a key, if it has one.
    pub(crate) fn remove(&mut self, place: &Place<'_>) {
        if !self.members.is_empty()
            && let Some(number) = self.find(place)
        {
            self.remove_member(number);
        }
    }

    /// Keys of an owner, the longest owned first.
    pub(crate) fn of_owner(&self, owner: &[u8], hash: u64) -> impl Iterator<Item = Labelled<'_>> {
        let first = self.find_owner(owner, hash).map(|at| self.owners[at as usize].first);
        std::iter::successors(first, |number| {
            let next = self.members[*number as usize].next;
            (next != NONE).then_some(next)
        })
        .map(|number| self.labelled(number))
    }

    /// Keeps only the labels that `keep` wants.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Labelled<'_>) -> bool) {
        for number in 0..self.members.len() as u32 {
            if self.row(number as usize).is_some_and(|labelled| !keep(&labelled)) {
                self.remove_member(number);
            }
        }
    }

    /// Positions that [`Labels::row`] takes; a label keeps its own for as long as it is there.
    pub(crate) fn rows(&self) -> usize {
        self.members.len()
    }

    /// The label at a position, if there is one.
    pub(crate) fn row(&self, position: usize) -> Option<Labelled<'_>> {
        let taken = self.members.get(position).is_some_and(|member| member.packed & FREE == 0);
        taken.then(|| self.labelled(position as u32))
    }

    fn labelled(&self, number: u32) -> Labelled<'_> {
        let member = &self.members[number as usize];
        let text = |at: u32| if at == NONE { &[][..] } else { self.blobs.get(at) };
        let owner = self.owners.get(member.owner as usize);
        let Some(identity) = Identity::from_bits(member.identity()) else {
            unreachable!("packed from an identity")
        };
        Labelled {
            identity,
            aside: member.packed & ASIDE != 0,
            key: text(member.key),
            label: Label {
                owner: owner.map_or(&[], |owner| text(owner.name)),
                limit: (member.limit != UNLIMITED).then_some(UnixMillis(member.limit)),
                hidden: member.packed & HIDDEN != 0,
                chunked: if member.packed & LARGE == 0 {
                    None
                } else {
                    self.large.get(&number).copied()
                },
            },
        }
    }

    fn find(&self, place: &Place<'_>) -> Option<u32> {
        let wanted = place.identity.to_bits();
        let equal = |number: &u32| {
            let member = &self.members[*number as usize];
            member.identity() == wanted
                && (member.packed & ASIDE != 0) == place.aside
                // The index has one entry per identity; the side table has whole keys.
                && (!place.aside || self.blobs.get(member.key) == place.key)
        };
        self.by_identity.find(spread(wanted), equal).copied()
    }

    /// Whether a member stays in its chain under this label.
    fn stays(&self, number: u32, place: &Place<'_>, label: &Label<'_>) -> bool {
        let old = self.labelled(number);
        old.label.owner == label.owner && (old.key.is_empty() || old.key == place.key)
            // Without an owner there is no chain, and no key unless aside.
            && (label.owner.is_empty() || !old.key.is_empty() || place.key.is_empty())
    }

    fn add_member(&mut self, place: &Place<'_>, label: &Label<'_>, owner_hash: u64) -> u32 {
        let named = !label.owner.is_empty() || place.aside;
        let key = if named { self.blobs.add(place.key) } else { NONE };
        self.row_bytes += row_bytes(if named { place.key.len() } else { 0 }, label.owner.len());
        let identity = place.identity.to_bits();
        let member = Member {
            packed: identity | if place.aside { ASIDE } else { 0 },
            limit: UNLIMITED,
            owner: NONE,
            next: NONE,
            prev: NONE,
            key,
        };
        let number = if let Some(number) = self.free_member {
            let slot = &mut self.members[number as usize];
            self.free_member = (slot.next != NONE).then_some(slot.next);
            *slot = member;
            number
        } else {
            self.members.push(member);
            self.members.len() as u32 - 1
        };
        let members = &self.members;
        let hasher = |number: &u32| spread(members[*number as usize].identity());
        self.by_identity.insert_unique(spread(identity), number, hasher);
        if !label.owner.is_empty() {
            self.link(number, label.owner, owner_hash);
        }
        number
    }

    fn remove_member(&mut self, number: u32) {
        let chunked = self.take_large(number);
        self.dropped.extend(chunked);
        let old = self.labelled(number);
        self.row_bytes -= row_bytes(old.key.len(), old.label.owner.len());
        self.unlink(number);
        let member = &self.members[number as usize];
        if member.key != NONE {
            self.blobs.free(member.key);
        }
        self.hidden -= usize::from(member.packed & HIDDEN != 0);
        let hash = spread(member.identity());
        if let Ok(entry) = self.by_identity.find_entry(hash, |other| *other == number) {
            entry.remove();
        }
        let next = self.free_member.replace(number).unwrap_or(NONE);
        let member = &mut self.members[number as usize];
        (member.packed, member.next) = (FREE, next);
        if self.by_identity.is_empty() {
            let dropped = self.take_dropped();
            *self = Labels { dropped, ..Labels::default() };
        }
    }

    fn find_owner(&self, owner: &[u8], hash: u64) -> Option<u32> {
        let equal = |at: &u32| self.blobs.get(self.owners[*at as usize].name) == owner;
        self.by_name.find(hash, equal).copied()
    }

    /// Appends a member to its owner's chain.
    fn link(&mut self, number: u32, owner: &[u8], hash: u64) {
        let at = match self.find_owner(owner, hash) {
            Some(at) => at,
            None => self.add_owner(owner, hash),
        };
        let slot = &mut self.owners[at as usize];
        let before = std::mem::replace(&mut slot.last, number);
        slot.keys += 1;
        if slot.first == NONE {
            slot.first = number;
        }
        let member = &mut self.members[number as usize];
        (member.owner, member.prev) = (at, before);
        if before != NONE {
            self.members[before as usize].next = number;
        }
    }

    fn add_owner(&mut self, owner: &[u8], hash: u64) -> u32 {
        let name = self.blobs.add(owner);
        let fresh = Owner { hash, name, first: NONE, last: NONE, keys: 0 };
        let at = if let Some(at) = self.free_owner {
            let slot = &mut self.owners[at as usize];
            self.free_owner = (slot.first != NONE).then_some(slot.first);
            *slot = fresh;
            at
        } else {
            self.owners.push(fresh);
            self.owners.len() as u32 - 1
        };
        let owners = &self.owners;
        self.by_name.insert_unique(hash, at, |at| owners[*at as usize].hash);
        at
    }

    /// Takes a member out of its owner's chain, and forgets an owner without keys.
    fn unlink(&mut self, number: u32) {
        let member = &self.members[number as usize];
        let (at, next, prev) = (member.owner, member.next, member.prev);
        if at == NONE {
            return;
        }
        if prev == NONE {
            self.owners[at as usize].first = next;
        } else {
            self.members[prev as usize].next = next;
        }
        if next == NONE {
            self.owners[at as usize].last = prev;
        } else {
            self.members[next as usize].prev = prev;
        }
        self.members[number as usize].owner = NONE;
        let owner = &mut self.owners[at as usize];
        owner.keys -= 1;
        if owner.keys > 0 {
            return;
        }
        let (hash, name) = (owner.hash, owner.name);
        owner.first = self.free_owner.replace(at).unwrap_or(NONE);
        if let Ok(entry) = self.by_name.find_entry(hash, |other| *other == at) {
            entry.remove();
        }
        self.blobs.free(name);
    }
}
