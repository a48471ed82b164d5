//! What a running command works with.
//!
//! Owns: the way to the store: lookups gather barriers, writes tell watchers and listeners.
//! Never knows: sockets, when the reply leaves.
//! Invariant: whatever a command has observed or written is covered by `barrier`, and nothing is
//! looked up cold after the first write.

use emberlog_engine::format::record::KEY_BYTES_MAX;
use emberlog_engine::{
    Found, Key, Label, Lookup, Lsn, Namespace, Refused, Room, Shard, UnixMillis,
};

use super::event::Message;
use super::overlay::{Overlay, Written};
use super::prefix::{Seal, Seals};
use super::{Stop, parse, text};
use crate::notify;
use crate::resp::Reply;
use crate::serve::client::Session;
use crate::serve::clients::Clients;
use crate::serve::state::State;
use crate::value::Kind;

/// Bytes that a record may take beyond its key and value.
pub const RECORD_OVERHEAD: usize = 128;

/// Everything that a command may use. Lives for one command, or for all of a transaction.
pub struct Context<'a> {
    /// What all clients share.
    pub state: &'a mut State,
    /// The other clients.
    pub clients: &'a mut Clients,
    /// The client.
    pub session: &'a mut Session,
    /// Where the reply goes.
    pub reply: Reply<'a>,
    /// The time, the same for all of a transaction.
    pub now: UnixMillis,
    /// LSN that must be acknowledged before the reply may leave.
    pub barrier: Lsn,
    /// Position within a transaction.
    pub slot: usize,
    /// Whether this is within EXEC or a script: nothing may wait.
    pub atomic: bool,
    /// Whether something has been written.
    pub wrote: bool,
    /// Microseconds of a clock that never goes back.
    pub clock_us: fn() -> u64,
    /// Writes that wait for the end of a script.
    pub(crate) overlay: Option<Box<Overlay>>,
    /// Whether the reply waits for the disk whatever `ack` says.
    pub durable: bool,
    /// Keys that the command has met and that others may not be written to.
    pub seals: Seals,
    /// Messages that leave when the writes of a transaction are complete.
    pub messages: Vec<Message>,
    pub(crate) shard: Option<&'a mut Shard>,
}

impl<'a> Context<'a> {
    /// The store.
    ///
    /// # Errors
    /// It is still recovering.
    pub fn shard(&mut self) -> Result<&mut Shard, Stop> {
        self.shard.as_deref_mut().ok_or(text::LOADING)
    }

    /// The key called `bytes` in the selected database.
    ///
    /// # Errors
    /// It is too long.
    pub fn key<'k>(&mut self, bytes: &'k [u8]) -> Result<Key<'k>, Stop> {
        self.key_in(self.session.db, bytes)
    }

    /// The key called `bytes` in database `db`.
    ///
    /// # Errors
    /// It is too long.
    pub fn key_in<'k>(&mut self, db: u16, bytes: &'k [u8]) -> Result<Key<'k>, Stop> {
        if bytes.len() > KEY_BYTES_MAX {
            return Err(parse::error(format!("ERR key is longer than {KEY_BYTES_MAX} bytes")));
        }
        Ok(self.shard()?.key(Namespace(db), bytes))
    }

    /// The value of `key`, if it has one.
    ///
    /// # Errors
    /// It is cold, or lost.
    pub fn find(&mut self, key: &Key<'_>) -> Result<Option<Found>, Stop> {
        self.look(key)?.map_err(|Lost| text::CORRUPT)
    }

    /// As [`Context::find`], for commands that do not need the old value: a lost one is absent.
    ///
    /// # Errors
    /// It is cold.
    pub fn find_to_replace(&mut self, key: &Key<'_>) -> Result<Option<Found>, Stop> {
        Ok(self.look(key)?.unwrap_or(None))
    }

    /// Whether `key` is there, a lost one included.
    ///
    /// # Errors
    /// It is cold.
    pub fn exists(&mut self, key: &Key<'_>) -> Result<bool, Stop> {
        Ok(self.look(key)?.map_or(true, |found| found.is_some()))
    }

    fn look(&mut self, key: &Key<'_>) -> Result<Result<Option<Found>, Lost>, Stop> {
        let now = self.now;
        let (db, name) = (key.namespace().0, key.bytes());
        if let Some(overlay) = self.overlay.as_deref() {
            match overlay.get(db, name) {
                Written::No => {}
                Written::Absent => {
                    self.seals.forget(key);
                    return Ok(Ok(None));
                }
                Written::Value(found) => {
                    let there = self.seals.note(key, found.value_type);
                    return Ok(Ok(there.then_some(found)));
                }
            }
        }
        let answer = self.shard()?.lookup(key, now);
        self.tell_expired();
        match answer {
            Lookup::Found(found) => {
                self.barrier = self.barrier.max(found.barrier);
                let there = self.seals.note(key, found.value_type);
                Ok(Ok(there.then_some(found)))
            }
            Lookup::Absent { barrier } => {
                self.barrier = self.barrier.max(barrier);
                self.seals.forget(key);
                Ok(Ok(None))
            }
            Lookup::Lost => Ok(Err(Lost)),
            Lookup::Cold => {
                if self.overlay.is_some() && !self.session.load_failed {
                    // Loaded before the script, or the transaction with it, runs again.
                    self.session.script.wanted.push((db, name.into()));
                    return Err(Stop::Cold);
                }
                if self.wrote {
                    tracing::error!(command = self.session.last_command, "a value left RAM midway");
                }
                let hopeless = self.wrote || self.session.load_failed;
                Err(if hopeless { text::READ_FAILED } else { Stop::Cold })
            }
        }
    }

    /// Makes the reply wait for everything written so far, because it depends on keys that it does
    /// not name.
    ///
    /// # Errors
    /// The store is still recovering.
    pub fn observe_all(&mut self) -> Result<(), Stop> {
        let appended = self.shard()?.appended_lsn();
        self.barrier = self.barrier.max(appended);
        Ok(())
    }

    /// Makes the reply wait for `barrier`.
    pub fn observe(&mut self, barrier: Lsn) {
        self.barrier = self.barrier.max(barrier);
    }

    /// Counts a read as hit or miss.
    pub fn count_read(&mut self, hit: bool) {
        if hit {
            self.state.stats.hits += 1;
        } else {
            self.state.stats.misses += 1;
        }
    }

    /// The string at `key`.
    ///
    /// # Errors
    /// As [`Context::find`]; another type.
    pub fn find_string(&mut self, key: &Key<'_>) -> Result<Option<Found>, Stop> {
        self.find_kind(key, Kind::String)
    }

    /// The value at `key`, which must be of `kind`.
    ///
    /// # Errors
    /// As [`Context::find`]; another type.
    pub fn find_kind(&mut self, key: &Key<'_>, kind: Kind) -> Result<Option<Found>, Stop> {
        let found = self.find(key)?;
        if found.as_ref().is_some_and(|found| found.value_type != kind.tag()) {
            return Err(text::WRONG_TYPE);
        }
        Ok(found)
    }

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

    /// Publishes a keyspace event, if anyone asked for its class.
    pub fn notify(&mut self, class: u32, event: &str, key: &[u8]) {
        if self.state.config.notify_keyspace_events & class != 0 {
            self.notify_in(self.session.db, class, event, key);
        }
    }

    /// As [`Context::notify`], for another database.
    pub fn notify_in(&mut self, db: u16, class: u32, event: &str, key: &[u8]) {
        let wanted = self.state.config.notify_keyspace_events;
        if wanted & class == 0 {
            return;
        }
        for (channel, message) in notify::messages(wanted, class, db, event, key) {
            self.publish(&channel, &message);
        }
    }
}

/// The newest value was lost to corruption.
struct Lost;

pub(super) fn too_large(len: usize, max: usize) -> Stop {
    parse::error(format!("ERR the value of {len} bytes is longer than the most, {max} bytes"))
}

/// The error that a refusal of the store becomes.
pub(super) fn refusal(refused: Refused) -> Stop {
    match refused {
        Refused::Full => text::FULL,
        Refused::Poisoned => text::POISONED,
        Refused::TooLarge { len, max } => too_large(len, max),
        // Every write follows a lookup in the same step.
        Refused::NotResident => text::READ_FAILED,
    }
}
