//! Chunks of large values once everything is replayed: those that no manifest names are removed, and
//! manifests whose chunks are gone are settled.
//!
//! Chunks have no tombstones. Replay brings back those of values that were overwritten, deleted or
//! cleared, and of uploads that a crash has cut off.
//!
//! Owns: which chunks stay.
//! Never knows: how they came into the index.
//! Invariant: afterwards the chunks are exactly those that the manifests name.

use hashbrown::HashMap;

use super::replay::lost_entry;
use crate::format::chunked::{chunk_key, decode_chunk_key};
use crate::index::Identity;
use crate::key::{Key, WordHash, hash};
use crate::labels::Place;
use crate::space::{Slot, Space};
use crate::units::Namespace;

/// Stands in an entry's ghost mark while its manifest is looked for; no chunk has another use for it.
const NAMED: u8 = 1;

/// What the chunks came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Swept {
    /// Chunks removed, because no manifest names them.
    pub(super) orphans: u64,
    /// Manifests removed: they had expired, for their chunks were dropped.
    pub(super) ended: u64,
}

/// Settles the chunks.
pub(super) fn sweep(spaces: &mut [Space], hash_seed: &[u8; 16]) -> Swept {
    let own = Namespace::CHUNKS.slot();
    if spaces.len() <= own {
        return Swept::default();
    }
    let mut chunks = std::mem::take(&mut spaces[own]);
    let mut swept = Swept::default();
    let mut named: HashMap<u64, u32, WordHash> = HashMap::default();
    for space in &mut spaces[Namespace::OWN..] {
        swept.ended += settle_manifests(space, &mut chunks, hash_seed, &mut named);
    }
    if !planted!(KeepOrphans) {
        swept.orphans = remove_unnamed(&mut chunks, &named);
    }
    spaces[own] = chunks;
    swept
}

/// Marks the chunks of a namespace's manifests. A chunk may be missing, other than by damage that has
/// left a mark, if its value had expired: that needs no record, and a clock that was set back makes it
/// look alive again. Otherwise it is lost.
fn settle_manifests(
    space: &mut Space,
    chunks: &mut Space,
    hash_seed: &[u8; 16],
    named: &mut HashMap<u64, u32, WordHash>,
) -> u64 {
    let mut ended: Vec<(Identity, bool, Box<[u8]>)> = Vec::new();
    for position in 0..space.labels.rows() {
        let Some(labelled) = space.labels.row(position) else { continue };
        let Some(chunked) = labelled.label.chunked else { continue };
        let names = (0..chunked.chunks()).map(|number| chunk_key(chunked.id, number));
        let missing = |name: &[u8]| matches!(chunks.slot(&key_of(hash_seed, name)), Slot::Free);
        let missing: Vec<_> = names.clone().filter(|name| missing(name)).collect();
        let expires = space.entry_of(&labelled).is_some_and(|entry| entry.expiry.is_some());
        if expires && !missing.is_empty() && !planted!(KeepEnded) {
            ended.push((labelled.identity, labelled.aside, labelled.key.into()));
            continue;
        }
        for name in missing {
            let key = key_of(hash_seed, &name);
            tracing::error!(id = chunked.id, "a chunk of a large value is missing: lost");
            chunks.index.insert(key.identity, lost_entry());
        }
        for name in names {
            let key = key_of(hash_seed, &name);
            if !matches!(chunks.slot(&key), Slot::Side(_)) {
                chunks.index.update(key.identity, |entry| entry.freq = NAMED);
            }
        }
        named.insert(chunked.id, chunked.chunks());
    }
    for (identity, aside, key) in &ended {
        space.remove(&Place { identity: *identity, aside: *aside, key });
    }
    ended.len() as u64
}

fn key_of<'a>(hash_seed: &[u8; 16], bytes: &'a [u8]) -> Key<'a> {
    let identity = Identity::of(hash(hash_seed, bytes));
    Key { namespace: Namespace::CHUNKS, identity, bytes }
}

/// Removes the chunks that were not marked, and those aside that no manifest names.
fn remove_unnamed(chunks: &mut Space, named: &HashMap<u64, u32, WordHash>) -> u64 {
    let before = chunks.entries();
    for page in 0..chunks.index.pages() {
        let mut orphans = Vec::new();
        chunks.index.visit_page(page, |identity, entry| {
            if entry.freq != NAMED {
                orphans.push(identity);
            }
        });
        for identity in orphans {
            chunks.index.remove(identity);
        }
    }
    chunks.side.retain(|key, _| {
        let place = decode_chunk_key(key);
        place.is_some_and(|(id, number)| named.get(&id).is_some_and(|count| number < *count))
    });
    before - chunks.entries()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::chunked::Chunked;
    use crate::format::label::Label;
    use crate::index::{Entry, Expiry, SizeClass};
    use crate::units::{Location, UnixMillis};

    const SEED: [u8; 16] = [7; 16];

    fn entry(expires: bool) -> Entry {
        let expires = expires.then_some(UnixMillis(1_790_000_100_000));
        let expiry = Expiry::of(expires, UnixMillis(1_790_000_000_000));
        Entry { location: Location(900), size: SizeClass::of(100), expiry, freq: 0, touch: 0 }
    }

    /// Manifests of three chunks each by id, and whether they expire; chunks that are there.
    fn spaces(manifests: &[(u64, bool)], chunks: &[(u64, u32)]) -> Vec<Space> {
        let mut spaces: Vec<Space> = (0..3).map(|_| Space::default()).collect();
        for (id, expires) in manifests {
            let bytes = id.to_le_bytes();
            let place =
                Place { identity: key_of(&SEED, &bytes).identity, aside: false, key: &bytes };
            let chunked = Chunked { id: *id, len: 150, chunk_bytes: 64 };
            let label = Label { chunked: Some(chunked), ..Label::NONE };
            spaces[2].insert(&place, entry(*expires), &label, 0);
        }
        for (id, number) in chunks {
            let name = chunk_key(*id, *number);
            spaces[1].index.insert(key_of(&SEED, &name).identity, entry(false));
        }
        spaces
    }

    fn has(spaces: &[Space], id: u64, number: u32) -> Option<Location> {
        let name = chunk_key(id, number);
        spaces[1].index.get(key_of(&SEED, &name).identity).map(|entry| entry.location)
    }

    #[test]
    fn chunks_that_no_manifest_names_are_removed() {
        let there = [(1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (2, 1), (9, 0)];
        let mut spaces = spaces(&[(1, false)], &there);
        // Aside: one that is named and one that is not.
        let mut aside = |id, number| {
            let name = chunk_key(id, number);
            let identity = key_of(&SEED, &name).identity;
            spaces[1].index.remove(identity);
            let place = Place { identity, aside: true, key: &name };
            spaces[1].insert(&place, entry(false), &Label::NONE, 0);
        };
        aside(1, 2);
        aside(2, 1);
        assert_eq!(sweep(&mut spaces, &SEED), Swept { orphans: 4, ended: 0 });
        assert_eq!((spaces[1].entries(), spaces[1].side.len()), (3, 1));
        assert!((0..2).all(|number| has(&spaces, 1, number).is_some()));
        assert_eq!(sweep(&mut spaces, &SEED), Swept::default(), "once more changes nothing");
    }

    #[test]
    fn what_lacks_a_chunk_had_expired_or_has_lost_it() {
        let there = [(1, 0), (1, 2), (2, 0), (2, 1)];
        let mut spaces = spaces(&[(1, false), (2, true)], &there);
        assert_eq!(sweep(&mut spaces, &SEED), Swept { orphans: 2, ended: 1 });
        assert_eq!((spaces[2].entries(), spaces[2].labels.large_len()), (1, 1));
        assert_eq!(has(&spaces, 1, 1), Some(crate::space::LOST));
        assert_eq!(spaces[1].entries(), 3);
    }
}
