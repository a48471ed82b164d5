//! Fields of hashes that expire: telling whoever listens, at the moment when it happens.
//!
//! A field that has expired is not there for any command, whether or not somebody is told (see
//! `value::hash`). To tell, the server remembers when fields of the hashes that it has met since it started
//! will expire, while somebody listens. A write to a hash is met again with what it leaves.
//!
//! Owns: [`Fields`], the `hexpired` event.
//! Never knows: names of fields.
//! Invariant: what is remembered of a key is of its newest value, or nothing; memory is bounded.

use std::collections::{BTreeSet, HashMap};

use emberlog_engine::{Lookup, Lsn, Namespace, UnixMillis};

use super::Server;
use super::state::State;
use crate::command::event::encode;
use crate::notify;
use crate::value::hash::Hash;

/// Hashes remembered at most; of more nobody is told.
const HASHES_MAX: usize = 1 << 16;
/// Moments remembered of one hash; later ones are met when the last of these has come, if its value is in RAM.
const MOMENTS_MAX: usize = 64;

type Place = (u16, Box<[u8]>);

/// When fields of hashes will expire.
#[derive(Debug, Default)]
pub struct Fields {
    /// Moments to come of each hash, in order.
    moments: HashMap<Place, Vec<UnixMillis>>,
    /// The first of each.
    next: BTreeSet<(UnixMillis, Place)>,
}

impl Fields {
    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.moments.is_empty()
    }

    /// The first moment of all.
    pub fn next(&self) -> Option<UnixMillis> {
        self.next.first().map(|(at, _)| *at)
    }

    /// The key was written, or is gone: forgets what is known of it.
    pub fn forget(&mut self, db: u16, key: &[u8]) {
        let place = (db, Box::from(key));
        if let Some(moments) = self.moments.remove(&place)
            && let Some(first) = moments.first()
        {
            self.next.remove(&(*first, place));
        }
    }

    /// A database, or everything, is gone.
    pub fn forget_all(&mut self, db: Option<u16>) {
        let gone = |place: &Place| db.is_none_or(|db| db == place.0);
        self.moments.retain(|place, _| !gone(place));
        self.next.retain(|(_, place)| !gone(place));
    }

    /// Remembers the hash `value` of a key that expires at `own_expiry`.
    pub fn remember(
        &mut self,
        (db, key): (u16, &[u8]),
        value: &[u8],
        own_expiry: Option<UnixMillis>,
        now: UnixMillis,
    ) {
        let Ok(hash) = Hash::parse(value, now) else { return };
        // With its key a field goes without an event of its own.
        let lasts = |at: &UnixMillis| own_expiry.is_none_or(|own| *at < own);
        let moments: BTreeSet<UnixMillis> =
            hash.fields().filter_map(|field| field.expires_at).filter(lasts).collect();
        let moments: Vec<UnixMillis> = moments.into_iter().take(MOMENTS_MAX).collect();
        self.forget(db, key);
        if let (Some(first), true) = (moments.first(), self.moments.len() < HASHES_MAX) {
            let place: Place = (db, key.into());
            self.next.insert((*first, place.clone()));
            self.moments.insert(place, moments);
        }
    }

    /// Whether a hash is remembered.
    pub fn knows(&self, db: u16, key: &[u8]) -> bool {
        !self.moments.is_empty() && self.moments.contains_key(&(db, Box::from(key)))
    }

    /// Takes a hash of which a field has expired. Its later moments stay.
    fn take_due(&mut self, now: UnixMillis) -> Option<Place> {
        self.next.first().filter(|(at, _)| *at <= now)?;
        let (_, place) = self.next.pop_first()?;
        let moments = self.moments.get_mut(&place)?;
        moments.retain(|moment| *moment > now);
        match moments.first() {
            Some(first) => drop(self.next.insert((*first, place.clone()))),
            None => drop(self.moments.remove(&place)),
        }
        Some(place)
    }
}

impl State {
    /// Whether anybody would hear of a field that expires.
    pub fn hears_of_fields(&self) -> bool {
        let wanted = self.config.notify_keyspace_events;
        wanted & notify::HASH != 0
            && wanted & (notify::KEYSPACE | notify::KEYEVENT) != 0
            && self.pubsub.hears_of_keys()
    }
}

impl Server {
    /// Tells of fields that have expired by now.
    pub(super) fn tell_expired_fields(&mut self) {
        while let Some((db, key)) = self.state.fields.take_due(self.now) {
            let Some(shard) = &mut self.shard else { return };
            let found = shard.lookup(&shard.key(Namespace(db), &key), self.now);
            let acked = shard.acked_lsn();
            let barrier = match found {
                Lookup::Found(found) => {
                    if !self.state.fields.knows(db, &key) {
                        let own = crate::value::hash::own_expiry(&found.value, found.expires_at);
                        self.state.fields.remember((db, &key), &found.value, own, self.now);
                    }
                    found.barrier
                }
                // It has just gone with its last field, or is on the disk and as it was.
                Lookup::Absent { barrier } => barrier,
                Lookup::Cold => Lsn::NONE,
                Lookup::Lost => continue,
            };
            self.tell_fields_of(db, &key, barrier, acked);
        }
    }

    fn tell_fields_of(&mut self, db: u16, key: &[u8], barrier: Lsn, acked: Lsn) {
        let wanted = self.state.config.notify_keyspace_events;
        for (channel, message) in notify::messages(wanted, notify::HASH, db, "hexpired", key) {
            for (listener, pattern) in self.state.pubsub.listeners(&channel) {
                let Some(client) = self.clients.get(listener) else { continue };
                let bytes = encode(client.session.proto, pattern, &channel, &message);
                self.clients.deliver(listener, &bytes, barrier, acked);
            }
        }
    }
}
