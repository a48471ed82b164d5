//! The GET path in RAM: hot set, then index; never the disk.

use super::Shard;
use super::expire::Named;
use crate::format::chunked::Chunked;
use crate::hot::WARM_MAX;
use crate::index::{Entry, Identity};
use crate::key::Key;
use crate::space::{LOST, Slot, Space};
use crate::units::{KeyHash, Lsn, Namespace, UnixMillis};
use crate::value::Value;

/// What is known of a key without reading the disk.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// There is no such key.
    Absent {
        /// A reply that tells so must not leave before this LSN is acknowledged.
        barrier: Lsn,
    },
    /// The key, or another one that looks alike in the index, is on disk: [`Shard::load`] it.
    Cold,
    /// The key is resident.
    Found(Found),
    /// The newest version of the key was lost to disk corruption; a write or delete heals it.
    Lost,
}

/// A resident value.
#[derive(Clone, Debug)]
pub struct Found {
    /// The value; a reference-counted slice, not a copy.
    pub value: Value,
    /// A large value: its bytes are in chunks, and `value` is empty.
    pub chunked: Option<Chunked>,
    /// The type given to [`Shard::put`].
    pub value_type: u8,
    /// Absolute expiry.
    pub expires_at: Option<UnixMillis>,
    /// The mutation that wrote the value.
    pub lsn: Lsn,
    /// A reply that shows the value must not leave before this LSN is acknowledged.
    pub barrier: Lsn,
}

/// Whose the entry in a key's slot is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    /// The key is absent and its identity is free.
    Nobody,
    /// The key's own entry, in the index.
    Key(Entry),
    /// The key's own entry, in the side table.
    KeyAside(Entry),
    /// The key is absent; another key owns its identity.
    Other,
    /// Not known without reading the disk.
    Unknown,
}

impl Shard {
    /// Looks a key up in RAM and counts the access. O(1), no I/O.
    pub fn lookup(&mut self, key: &Key<'_>, now: UnixMillis) -> Lookup {
        let now = self.advance(now);
        self.counters.lookups += 1;
        if let Some(hot) = self.hot.get(key.namespace, key.identity, key.bytes) {
            if hot.expires_at().is_none_or(|at| at > now) {
                let found = Found {
                    value: hot.value(),
                    chunked: None,
                    value_type: hot.value_type(),
                    expires_at: hot.expires_at(),
                    lsn: hot.lsn(),
                    barrier: Lsn::NONE,
                };
                self.counters.hot_hits += 1;
                let chunked = if found.value.is_empty() { self.chunked(key) } else { None };
                return Lookup::Found(Found { barrier: self.barrier(key), chunked, ..found });
            }
            let (location, at) = (hot.location(), hot.expires_at());
            self.expire_entry(key.namespace, key.identity, location, at, None);
        }
        match self.owner(key, now) {
            Owner::Nobody | Owner::Other => Lookup::Absent { barrier: self.barrier(key) },
            Owner::Key(entry) | Owner::KeyAside(entry) if entry.location == LOST => Lookup::Lost,
            Owner::Key(_) | Owner::KeyAside(_) | Owner::Unknown => Lookup::Cold,
        }
    }

    /// Brings what lookups of these keys will read into the CPU's caches; up to 16 keys are taken.
    /// Changes nothing: worth calling before several lookups in a row. Returns how many it took.
    pub fn warm<'k>(&self, names: impl Iterator<Item = (Namespace, &'k [u8])>) -> usize {
        let mut keys = [(Namespace(0), Identity::of(KeyHash(0))); WARM_MAX];
        let mut count = 0;
        for (key, (namespace, name)) in keys.iter_mut().zip(names) {
            *key = (namespace, self.key(namespace, name).identity);
            count += 1;
        }
        self.hot.warm(&keys[..count]);
        count
    }

    /// Whose entry is in the key's slot, as far as RAM knows. Drops the entry if it has expired.
    pub(super) fn owner(&mut self, key: &Key<'_>, now: UnixMillis) -> Owner {
        let slot = self.space(key.namespace).map_or(Slot::Free, |space: &Space| space.slot(key));
        let entry = match slot {
            Slot::Free => return Owner::Nobody,
            Slot::Index(entry) | Slot::Side(entry) => entry,
        };
        let aside = matches!(slot, Slot::Side(_));
        let beyond = |space: &Space| !aside && space.limit_passed(key.identity, now);
        if entry.expiry.surely_passed(now) || self.space(key.namespace).is_some_and(beyond) {
            if !aside && !self.can_name(key.namespace, key.identity, &entry) {
                // Whoever listens must be told whose expiry it was.
                return Owner::Unknown;
            }
            let named = aside.then_some(Named { key: key.bytes, value_type: None });
            self.expire_entry(key.namespace, key.identity, entry.location, None, named);
            return Owner::Nobody;
        }
        if aside {
            return Owner::KeyAside(entry);
        }
        if entry.location == LOST {
            return Owner::Key(entry);
        }
        match self.hot.peek_at(key.namespace, key.identity, entry.location) {
            Some(hot) if hot.key() == key.bytes => Owner::Key(entry),
            Some(_) => Owner::Other,
            // An owner's keys are whole in RAM, so whose the entry is, is known without the disk.
            None => match self.space(key.namespace).and_then(|s| s.label_of(key.identity)) {
                Some(labelled) if labelled.label.owner.is_empty() => Owner::Unknown,
                Some(labelled) if labelled.key == key.bytes => Owner::Key(entry),
                Some(_) => Owner::Other,
                None => Owner::Unknown,
            },
        }
    }

    /// The LSN that must be acknowledged before anything may be told about the key.
    pub(super) fn barrier(&self, key: &Key<'_>) -> Lsn {
        self.barrier_of(key.namespace, key.packed())
    }

    pub(super) fn barrier_of(&self, namespace: Namespace, packed: u64) -> Lsn {
        let written = self.undurable.get(packed);
        let cleared = self.space(namespace).map_or(Lsn::NONE, |space| space.cleared);
        let barrier = written.max(cleared);
        let wait = barrier > self.log.durable_lsn() && !planted!(ReplyEarly);
        if wait { barrier } else { Lsn::NONE }
    }
}
