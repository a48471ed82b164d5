//! One namespace: its index, and the side table for keys whose index identity another key owns.

use std::collections::BTreeMap;

use crate::index::{Entry, Identity, Index};
use crate::key::Key;
use crate::units::{Location, Lsn};

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
    /// The last clear of this namespace.
    pub(crate) cleared: Lsn,
}

impl Space {
    pub(crate) fn len(&self) -> u64 {
        self.index.len() as u64 + self.side.len() as u64
    }

    pub(crate) fn expiring_len(&self) -> u64 {
        let side = self.side.values().filter(|side| side.entry.expiry.is_some()).count();
        self.index.expiring_len() as u64 + side as u64
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
            return self.index.remove(identity);
        }
        let at = |side: &SideEntry| side.identity == identity && side.entry.location == location;
        let key = self.side.iter().find(|(_, side)| at(side)).map(|(key, _)| key.clone())?;
        self.side.remove(&key).map(|side| side.entry)
    }
}
