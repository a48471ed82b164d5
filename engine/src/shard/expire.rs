//! Expiry carried out: entries leave when they are due, and whoever listens is told their keys.
//!
//! Owns: the removal of expired entries, [`Expired`].
//! Never knows: who listens.
//! Invariant: an event is made exactly where an entry is removed, so there is at most one for each
//! expiry, and none for a key that was touched, deleted or overwritten before.

use super::Shard;
use super::ahead::Known;
use crate::hot::HotEntry;
use crate::index::{Due, Entry, Identity};
use crate::key::{pack, unpack};
use crate::units::{Location, Lsn, Namespace, UnixMillis};

/// Entries expired in one tick before others get their turn.
const EXPIRE_MAX: usize = 2000;
/// Pause before an entry is looked at again whose key cannot be asked for now.
pub(super) const RETRY_MS: u64 = 50;

/// A key that has expired.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expired {
    /// Its namespace.
    pub namespace: Namespace,
    /// The key.
    pub key: Box<[u8]>,
    /// The type of its value; `None` for a key of the side table or of an owner whose value is not
    /// in RAM.
    pub value_type: Option<u8>,
    /// Whether its label named an owner.
    pub has_owner: bool,
    /// When it was due: to the millisecond, except that a touched key whose value had left RAM is due
    /// at the end of its second.
    pub due: UnixMillis,
    /// What tells of it must not leave before this LSN is acknowledged.
    pub barrier: Lsn,
}

/// A key and its type, where an expired entry's key is known to the caller.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) key: &'a [u8],
    pub(super) value_type: Option<u8>,
}

impl Shard {
    /// Removes what has expired, in the order in which it expired.
    pub(super) fn expire_due(&mut self, now: UnixMillis) {
        let mut last = None;
        for _ in 0..EXPIRE_MAX {
            let Some(item) = self.wheel.due(now) else { break };
            // The sweep puts an entry there on every pass.
            if last.replace(item) == Some(item) {
                continue;
            }
            let (namespace, identity, _) = item;
            let entry = self.space(namespace).and_then(|space| space.index.get(identity));
            match entry {
                Some(entry) => self.expire_if_due(namespace, identity, &entry, now),
                None => drop(self.ahead.forget(pack(namespace, identity))),
            }
        }
    }

    fn expire_if_due(&mut self, ns: Namespace, identity: Identity, entry: &Entry, now: UnixMillis) {
        self.ahead.forget_unless(pack(ns, identity), entry);
        // Where its milliseconds have left RAM with its value: the end of the second.
        let second = match entry.expiry.due(now) {
            Due::At(seconds) => Some(UnixMillis(seconds * 1000)),
            Due::Never | Due::Far => None,
        };
        let limit = self.space(ns).and_then(|space| space.label_of(identity)?.label.limit);
        let exact = self.exact_due(ns, identity, entry);
        // Within its second the record knows better, for whoever listens.
        let ask = exact.is_none() && entry.touch == 0 && entry.expiry.may_have_passed(now);
        if ask && !self.can_name(ns, identity, entry) && self.ask_key(ns, identity, entry) {
            return;
        }
        let Some(due) = exact.or(second) else { return };
        let due = limit.map_or(due, |limit| due.min(limit));
        if due > now {
            self.schedule(ns, identity, Some(due));
        } else if self.can_name(ns, identity, entry) {
            self.expire_entry(ns, identity, entry.location, Some(due), None);
        } else if !self.ask_key(ns, identity, entry) {
            self.wheel.schedule(now.plus(RETRY_MS), now, ns, identity);
        }
    }

    /// When an entry is due to the millisecond, where RAM knows that. What was read ahead of a touched one
    /// may be older than a touch within the same second.
    fn exact_due(&self, ns: Namespace, identity: Identity, entry: &Entry) -> Option<UnixMillis> {
        let hot = self.hot.peek_at(ns, identity, entry.location).and_then(HotEntry::expires_at);
        hot.or_else(|| match self.ahead.known(pack(ns, identity), entry)? {
            Known { named: Some(named), .. } if entry.touch == 0 => Some(named.expires_at),
            Known { .. } => None,
        })
    }

    /// Removes expired keys of the side tables: a handful, so they are all looked at.
    pub(super) fn expire_side(&mut self, now: UnixMillis) {
        for number in 0..self.spaces.len() {
            let namespace = Namespace::of_slot(number);
            let side = self.spaces[number].side.iter();
            let past = side.filter(|(_, side)| side.entry.expiry.surely_passed(now));
            let past: Vec<_> = past.map(|(key, side)| (key.clone(), *side)).collect();
            for (key, side) in past {
                let named = Named { key: &key, value_type: None };
                let location = side.entry.location;
                self.expire_entry(namespace, side.identity, location, None, Some(named));
            }
        }
    }

    /// Removes an expired entry. Nothing is logged if its record says when it expired; a touched entry
    /// would come back after a crash with the grace of its quantum, so its end is journaled.
    /// `due` is when it expired to the millisecond, if that is known.
    pub(super) fn expire_entry(
        &mut self,
        namespace: Namespace,
        identity: Identity,
        location: Location,
        due: Option<UnixMillis>,
        named: Option<Named<'_>>,
    ) {
        // Gone with the entry; but whoever is told needs what it says.
        let labelled =
            self.space(namespace).and_then(|space| space.labelled_at(identity, location));
        let (hidden, owned) = labelled.map_or((false, None), |labelled| {
            let owned = !labelled.label.owner.is_empty();
            (labelled.label.hidden, owned.then(|| Box::from(labelled.key)))
        });
        let Some(entry) = self.space_mut(namespace).remove_at(identity, location) else { return };
        let packed = pack(namespace, identity);
        let ahead = self.ahead.take(packed, &entry);
        let mut key: Option<(Box<[u8]>, Option<u8>)> = None;
        if let Some(hot) = self.hot.peek_at(namespace, identity, location) {
            let (name, value_type): (Box<[u8]>, u8) = (hot.key().into(), hot.value_type());
            self.hot.remove(namespace, identity, &name);
            key = Some((name, Some(value_type)));
        }
        self.bury(&entry);
        let ended = entry.touch == 0 || self.journal_end(namespace, identity);
        // Their segments are not used again before the end that was just logged is durable.
        if ended {
            self.drop_chunks_of(namespace);
        } else {
            self.keep_chunks_until_ended(namespace, identity);
        }
        self.counters.expired_keys += 1;
        self.expired_at = self.now;
        if let Some(due) = due {
            self.counters.expiry_lag_ms.record(self.now.since(due));
        }
        if !self.ahead.is_on() || hidden {
            return;
        }
        let has_owner = owned.is_some();
        let key = key
            .or_else(|| named.map(|named| (named.key.into(), named.value_type)))
            .or_else(|| ahead.map(|ahead| (ahead.key, Some(ahead.value_type))))
            .or_else(|| owned.map(|key| (key, None)));
        let Some((key, value_type)) = key else { return };
        let second = match entry.expiry.due(self.now) {
            Due::At(seconds) => UnixMillis(seconds * 1000),
            Due::Never | Due::Far => self.now,
        };
        let due = due.unwrap_or(second);
        let barrier = self.barrier_of(namespace, packed);
        let expired = Expired { namespace, key, value_type, has_owner, due, barrier };
        if ended {
            self.untold.push(expired);
        } else {
            self.untold.push_late(packed, expired);
        }
    }

    /// Puts an expiry that falls due soon on the wheel; the sweep finds the later ones in time.
    pub(super) fn schedule(
        &mut self,
        namespace: Namespace,
        identity: Identity,
        expires_at: Option<UnixMillis>,
    ) {
        if let Some(at) = expires_at {
            self.wheel.schedule(at, self.now, namespace, identity);
        }
    }

    /// Schedules the expiry of a key that has been written. What was there before is on the wheel, or
    /// will be swept in time; if it is due no later, the key is looked at then and scheduled again. So
    /// arming a key again and again leaves one item.
    pub(super) fn rearm(
        &mut self,
        namespace: Namespace,
        identity: Identity,
        old: Option<Entry>,
        expires_at: Option<UnixMillis>,
    ) {
        let old = old.map(|entry| entry.expiry.due(self.now));
        let armed = matches!((old, expires_at), (Some(Due::At(seconds)), Some(at))
            if seconds * 1000 <= at.0 && seconds * 1000 > self.now.0);
        if !armed {
            self.schedule(namespace, identity, expires_at);
        }
    }

    /// The next key that has expired, if [`Shard::report_expired`] asked for them. On a full disk, not
    /// before its end has found room.
    pub fn poll_expired(&mut self) -> Option<Expired> {
        if let Some((namespace, identity)) = self.untold.awaited().and_then(unpack) {
            // Its record lets the event go.
            self.journal_end(namespace, identity);
        }
        self.untold.pop()
    }

    /// Whether a key has expired of which no event can tell yet, for lack of room on the disk.
    #[cfg(feature = "sim")]
    pub(crate) fn is_untold(&self, key: &crate::key::Key<'_>) -> bool {
        self.untold.is_late(key.packed())
    }
}
