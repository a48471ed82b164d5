//! How commands write.
//!
//! Owns: the way of every write to the store: seals and policies are asked, watchers and those who wait for
//! keys are told.
//! Never knows: commands.
//! Invariant: whatever was written is covered by the context's `barrier`.

use emberlog_engine::{Key, Label, Lsn, Namespace, Refused, Room, UnixMillis};

use super::prefix::Seal;
use super::{Context, RECORD_OVERHEAD, Stop, parse, text};
use crate::value::{Kind, hash};

impl<'a> Context<'a> {
    /// Makes sure that a value of `bytes` bytes can be written now. To be called before the first
    /// write by commands whose value may be longer than their arguments.
    ///
    /// # Errors
    /// Too large, no room now, none at all, or a broken device.
    pub fn room(&mut self, bytes: usize) -> Result<(), Stop> {
        let atomic = self.atomic;
        let shard = self.shard()?;
        let max = shard.value_bytes_max();
        if bytes > max {
            return Err(too_large(bytes, max));
        }
        if self.overlay.is_some() {
            return self.room_aside(bytes + RECORD_OVERHEAD, true);
        }
        let shard = self.shard()?;
        match shard.room(bytes.saturating_add(RECORD_OVERHEAD)) {
            Room::Yes => Ok(()),
            // Room for all of a transaction was made sure of before it began.
            Room::Wait if atomic => Ok(()),
            Room::Wait => Err(Stop::Room),
            Room::Full => Err(text::FULL),
            Room::Poisoned => Err(text::POISONED),
        }
    }

    /// Writes a value. An expiry that has passed deletes the key instead, as in Redis.
    ///
    /// # Errors
    /// Refused by the store.
    pub fn put(
        &mut self,
        key: &Key<'_>,
        kind: Kind,
        value: &[u8],
        expires_at: Option<UnixMillis>,
    ) -> Result<(), Stop> {
        self.may_put(key, kind, value.len())?;
        let expires_at = self.within_policy(key, expires_at);
        if expires_at.is_some_and(|at| at <= self.now) {
            return self.delete(key).map(|_| ());
        }
        if self.overlay.is_some() {
            return self.put_aside(key, kind, value, expires_at, &Label::NONE);
        }
        self.put_now(key, kind, value, expires_at)
    }

    /// Writes a value whatever seals and policies say: they have been asked.
    pub(super) fn put_now(
        &mut self,
        key: &Key<'_>,
        kind: Kind,
        value: &[u8],
        expires_at: Option<UnixMillis>,
    ) -> Result<(), Stop> {
        let now = self.now;
        let lsn = self.shard()?.put(key, kind.tag(), value, expires_at, now).map_err(refusal)?;
        self.written(key, lsn);
        if kind == Kind::Hash {
            self.meet_hash(key, value, expires_at);
        }
        if !self.state.blocked.is_empty() && matches!(kind, Kind::List | Kind::ZSet) {
            self.state.blocked.written(key.namespace().0, key.bytes());
        }
        Ok(())
    }

    /// Deletes a key. Returns whether there was one.
    ///
    /// # Errors
    /// Refused by the store.
    pub fn delete(&mut self, key: &Key<'_>) -> Result<bool, Stop> {
        if self.seals.has(key, Seal::Session) {
            return super::session::destroy_key(self, key);
        }
        if self.overlay.is_some() {
            return self.delete_aside(key);
        }
        self.delete_now(key)
    }

    /// Deletes a key, which is no session.
    pub(super) fn delete_now(&mut self, key: &Key<'_>) -> Result<bool, Stop> {
        let now = self.now;
        let Some(lsn) = self.shard()?.delete(key, now).map_err(refusal)? else {
            return Ok(false);
        };
        self.written(key, lsn);
        Ok(true)
    }

    /// Sets or removes the expiry of an existing key; one that has passed deletes the key.
    /// Returns whether it was deleted.
    ///
    /// # Errors
    /// Refused by the store.
    pub fn expire(&mut self, key: &Key<'_>, expires_at: Option<UnixMillis>) -> Result<bool, Stop> {
        if self.seals.has(key, Seal::Session) {
            return Err(super::session::OWN_CLOCKS);
        }
        let expires_at = self.within_policy(key, expires_at);
        if expires_at.is_some_and(|at| at <= self.now) {
            return self.delete(key);
        }
        if self.overlay.is_some() {
            return self.expire_aside(key, expires_at).map(|()| false);
        }
        self.expire_now(key, expires_at).map(|()| false)
    }

    /// Sets or removes an expiry whatever policies say: they have been asked.
    pub(super) fn expire_now(
        &mut self,
        key: &Key<'_>,
        expires_at: Option<UnixMillis>,
    ) -> Result<(), Stop> {
        let now = self.now;
        let lsn = self.shard()?.expire(key, expires_at, now).map_err(refusal)?;
        self.written(key, lsn);
        Ok(())
    }

    /// Counts `key` as written although it already is what it should be.
    pub fn unchanged(&mut self, key: &Key<'_>) {
        if let Some(overlay) = &mut self.overlay {
            return overlay.touch(key.namespace().0, key.bytes());
        }
        self.written(key, Lsn::NONE);
    }

    pub(super) fn written(&mut self, key: &Key<'_>, lsn: Lsn) {
        self.wrote = true;
        self.note_lsn(lsn);
        if !self.state.watched.is_empty() {
            self.touch_watched(key.namespace().0, key.bytes());
        }
        if !self.state.fields.is_empty() {
            self.state.fields.forget(key.namespace().0, key.bytes());
        }
    }

    /// Remembers when fields of a hash will expire, if somebody wants to hear of it.
    pub(super) fn meet_hash(
        &mut self,
        key: &Key<'_>,
        value: &[u8],
        expires_at: Option<UnixMillis>,
    ) {
        let (db, name) = (key.namespace().0, key.bytes());
        if hash::is_expiring(value)
            && self.state.hears_of_fields()
            && !self.state.fields.knows(db, name)
        {
            let own = hash::own_expiry(value, expires_at);
            self.state.fields.remember((db, name), value, own, self.now);
        }
    }

    fn note_lsn(&mut self, lsn: Lsn) {
        self.barrier = self.barrier.max(lsn);
        self.session.last_lsn = self.session.last_lsn.max(lsn);
    }

    pub(super) fn touch_watched(&mut self, db: u16, key: &[u8]) {
        for watcher in self.state.watched.of(db, key) {
            if *watcher == self.session.key {
                self.session.transaction.dirty = true;
            } else if let Some(client) = self.clients.get(*watcher) {
                client.session.transaction.dirty = true;
            }
        }
    }

    /// Empties database `db`.
    ///
    /// # Errors
    /// Refused by the store.
    pub fn clear(&mut self, db: u16) -> Result<(), Stop> {
        if self.overlay.is_some() {
            self.clear_aside(db);
            return Ok(());
        }
        let now = self.now;
        let lsn = self.shard()?.clear(Namespace(db), now).map_err(refusal)?;
        self.state.fields.forget_all(Some(db));
        self.wrote = true;
        self.note_lsn(lsn);
        for watcher in self.state.watched.of_database(db) {
            let session = if watcher == self.session.key {
                &mut *self.session
            } else if let Some(client) = self.clients.get(watcher) {
                &mut client.session
            } else {
                continue;
            };
            // Only keys that were there have been touched.
            let transaction = &mut session.transaction;
            transaction.dirty |= transaction.watched.iter().any(|key| key.db == db && key.existed);
        }
        Ok(())
    }

    /// Runs `write`, all of whose writes survive a crash together or not at all.
    ///
    /// # Errors
    /// Those of `write`; refused by the store.
    pub fn together(
        &mut self,
        write: impl FnOnce(&mut Context<'a>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        if self.atomic {
            return write(self);
        }
        self.shard()?.begin();
        self.atomic = true;
        let outcome = write(self);
        self.atomic = false;
        let committed = self.shard()?.commit();
        self.note_lsn(committed);
        self.send_messages();
        outcome
    }
}

pub(super) fn too_large(len: usize, max: usize) -> Stop {
    parse::error(format!("ERR the value of {len} bytes is longer than the most, {max} bytes"))
}

/// The error that a refusal of the store becomes.
pub(crate) fn refusal(refused: Refused) -> Stop {
    match refused {
        Refused::Full => text::FULL,
        Refused::Poisoned => text::POISONED,
        Refused::TooLarge { len, max } => too_large(len, max),
        // Every write follows a lookup in the same step, and chunks that are read are not replaced.
        Refused::NotResident | Refused::Pinned => text::READ_FAILED,
    }
}
