//! One namespace: its index, the side table for keys whose index identity another key owns, and the
//! labels of both.
//!
//! Invariant: an entry comes and goes with its label, in one step, here.

use std::collections::BTreeMap;

use crate::format::label::Label;
use crate::index::{Entry, Identity, Index};
use crate::key::Key;
use crate::labels::{Labelled, Labels, Place};
use crate::units::{Location, Lsn, UnixMillis};

/// Location of an entry whose newest version was lost to corruption.
pub(crate) const LOST: Location = Location(0);

/// An entry of the side table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SideEntry {
    pub(crate) identity: Identity,
    pub(crate) entry: Entry,
}

/// Where a key's entry is, or would go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slot {
    /// The identity is free: the key is absent and would go into the index.
    Free,
    /// The index has an entry for the identity; whether it is this key's must be checked.
    Index(Entry),
    /// The side table has this very key.
    Side(Entry),
}

/// One namespace of a shard.
#[derive(Default)]
pub(crate) struct Space {
    pub(crate) index: Index,
    /// Keys whose identity (47 hash bits) was owned by another key when they were first written:
    /// about 70 among 100 M. Held whole, so that they are exact.
    pub(crate) side: BTreeMap<Box<[u8]>, SideEntry>,
    /// Owners, limits, hidden keys and large values.
    pub(crate) labels: Labels,
    /// The last clear of this namespace.
    pub(crate) cleared: Lsn,
}

impl Space {
    /// Entries, those of hidden keys included.
    pub(crate) fn entries(&self) -> u64 {
        self.index.len() as u64 + self.side.len() as u64
    }

    /// Keys that are not hidden.
    pub(crate) fn len(&self) -> u64 {
        self.entries() - self.labels.hidden_len() as u64
    }

    /// Entries that expire, those of hidden keys included.
    pub(crate) fn expiring_len(&self) -> u64 {
        let side = self.side.values().filter(|side| side.entry.expiry.is_some()).count();
        self.index.expiring_len() as u64 + side as u64
    }

    /// Enters a key's entry with its label; `owner_hash` is the owner's under the store's seed.
    pub(crate) fn insert(
        &mut self,
        place: &Place<'_>,
        entry: Entry,
        label: &Label<'_>,
        owner_hash: u64,
    ) {
        if place.aside {
            let identity = place.identity;
            self.side.insert(place.key.into(), SideEntry { identity, entry });
        } else {
            self.index.insert(place.identity, entry);
        }
        self.labels.set(place, label, owner_hash);
    }

    /// Removes a key's entry and label.
    pub(crate) fn remove(&mut self, place: &Place<'_>) -> Option<Entry> {
        self.labels.remove(place);
        if place.aside {
            self.side.remove(place.key).map(|side| side.entry)
        } else {
            self.index.remove(place.identity)
        }
    }

    /// Marks what the index has of an identity as lost; whose it was is not known any more.
    pub(crate) fn lose(&mut self, identity: Identity, lost: Entry) {
        self.labels.remove(&Place { identity, aside: false, key: &[] });
        self.index.insert(identity, lost);
    }

    /// The label of the key whose entry the index has for `identity`.
    pub(crate) fn label_of(&self, identity: Identity) -> Option<Labelled<'_>> {
        self.labels.get(&Place { identity, aside: false, key: &[] })
    }

    /// The entry of a labelled key.
    pub(crate) fn entry_of(&self, labelled: &Labelled<'_>) -> Option<Entry> {
        if labelled.aside {
            self.side.get(labelled.key).map(|side| side.entry)
        } else {
            self.index.get(labelled.identity)
        }
    }

    /// The label of the key whose entry is at `location`, wherever that is held.
    pub(crate) fn labelled_at(
        &self,
        identity: Identity,
        location: Location,
    ) -> Option<Labelled<'_>> {
        if self.labels.len() == 0 {
            return None;
        }
        if self.index.get(identity).is_some_and(|entry| entry.location == location) {
            return self.label_of(identity);
        }
        let key = self.side_key_at(identity, location)?;
        self.labels.get(&Place { identity, aside: true, key: &key })
    }

    /// Whether the index's entry for `identity` is of a hidden key.
    pub(crate) fn hides(&self, identity: Identity) -> bool {
        self.labels.hidden_len() > 0 && self.label_of(identity).is_some_and(|l| l.label.hidden)
    }

    /// Whether RAM has the key of the index's entry for `identity`, or nobody may be told of it.
    pub(crate) fn names(&self, identity: Identity) -> bool {
        self.labels.len() > 0
            && self.label_of(identity).is_some_and(|l| l.label.hidden || !l.label.owner.is_empty())
    }

    /// The limit of the key whose entry the index has for `identity`, if it has passed.
    pub(crate) fn limit_passed(&self, identity: Identity, now: UnixMillis) -> bool {
        self.labels.len() > 0
            && self.label_of(identity).and_then(|l| l.label.limit).is_some_and(|at| at <= now)
    }

    /// Drops labels that recovery has left without an entry, or whose entry was lost.
    pub(crate) fn drop_stale_labels(&mut self) {
        if planted!(KeepStaleLabels) {
            return;
        }
        let (index, side) = (&self.index, &self.side);
        self.labels.retain(|labelled| {
            let entry = if labelled.aside {
                side.get(labelled.key).map(|side| side.entry)
            } else {
                index.get(labelled.identity)
            };
            entry.is_some_and(|entry| entry.location != LOST)
        });
    }

    /// Finds the slot of a key.
    pub(crate) fn slot(&self, key: &Key<'_>) -> Slot {
        if !self.side.is_empty()
            && let Some(side) = self.side.get(key.bytes)
        {
            return Slot::Side(side.entry);
        }
        self.index.get(key.identity).map_or(Slot::Free, Slot::Index)
    }

    /// The entry at `location`, wherever it is held.
    pub(crate) fn entry_at(&self, identity: Identity, location: Location) -> Option<Entry> {
        let main = self.index.get(identity).filter(|entry| entry.location == location);
        main.or_else(|| {
            let mut side = self.side.values();
            side.find(|s| s.identity == identity && s.entry.location == location).map(|s| s.entry)
        })
    }

    /// Changes the entry at `location`, wherever it is held; false if there is none.
    pub(crate) fn update_at(
        &mut self,
        identity: Identity,
        location: Location,
        change: impl FnOnce(&mut Entry),
    ) -> bool {
        match self.index.get(identity) {
            Some(entry) if entry.location == location => self.index.update(identity, change),
            _ => {
                let mut side = self.side.values_mut();
                let found = side.find(|s| s.identity == identity && s.entry.location == location);
                found.map(|s| change(&mut s.entry)).is_some()
            }
        }
    }

    /// Removes the entry at `location`, wherever it is held.
    pub(crate) fn remove_at(&mut self, identity: Identity, location: Location) -> Option<Entry> {
        if self.index.get(identity).is_some_and(|entry| entry.location == location) {
            return self.remove(&Place { identity, aside: false, key: &[] });
        }
        let key = self.side_key_at(identity, location)?;
        self.remove(&Place { identity, aside: true, key: &key })
    }

    /// Marks the entry at `location` as lost, wherever it is held, and drops its label; whether it
    /// had one.
    pub(crate) fn lose_at(&mut self, identity: Identity, location: Location) -> bool {
        let labels = self.labels.len();
        let lost = |entry: &mut Entry| entry.location = LOST;
        if self.index.get(identity).is_some_and(|entry| entry.location == location) {
            self.labels.remove(&Place { identity, aside: false, key: &[] });
        } else if let Some(key) = self.side_key_at(identity, location) {
            self.labels.remove(&Place { identity, aside: true, key: &key });
        }
        self.update_at(identity, location, lost);
        self.labels.len() < labels
    }

    fn side_key_at(&self, identity: Identity, location: Location) -> Option<Box<[u8]>> {
        let at = |side: &SideEntry| side.identity == identity && side.entry.location == location;
        self.side.iter().find(|(_, side)| at(side)).map(|(key, _)| key.clone())
    }
}
