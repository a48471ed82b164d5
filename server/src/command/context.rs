//! What a running command works with.
//!
//! Owns: what a command can reach, and lookups, which gather barriers. Writes are in `write`, messages in `event`.
//! Never knows: sockets, when the reply leaves.
//! Invariant: whatever a command has observed or written is covered by `barrier`, and nothing is
//! looked up cold after the first write.

use emberlog_engine::format::record::KEY_BYTES_MAX;
use emberlog_engine::{Found, Key, Lookup, Lsn, Namespace, Shard, UnixMillis};

use super::event::Message;
use super::overlay::{Overlay, Written};
use super::prefix::Seals;
use super::{Stop, parse, text};
use crate::resp::Reply;
use crate::serve::client::Session;
use crate::serve::clients::Clients;
use crate::serve::state::State;
use crate::value::Kind;

/// Bytes that a record may take beyond its key and value.
pub const RECORD_OVERHEAD: usize = 128;

/// Everything that a command may use. Lives for one command, or for all of a transaction.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a command")]
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
    /// Whether the commands of a queue or a script are run, so that a reply is part of another one.
    pub queued: bool,
    /// Whether this is within EXEC or a script: nothing may wait.
    pub atomic: bool,
    /// Whether a command of a script is run, whose reply the script takes.
    pub in_script: bool,
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

impl Context<'_> {
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
    /// It is cold, lost, or large.
    pub fn find(&mut self, key: &Key<'_>) -> Result<Option<Found>, Stop> {
        whole(self.find_any(key)?)
    }

    /// As [`Context::find`], for commands that are made for large values, which are not in RAM: `value` is
    /// empty, and `chunked` says where they are.
    ///
    /// # Errors
    /// It is cold, or lost.
    pub fn find_any(&mut self, key: &Key<'_>) -> Result<Option<Found>, Stop> {
        self.look(key)?.map_err(|Lost| text::CORRUPT)
    }

    /// As [`Context::find_any`], for commands that do not need the old value: a lost one is absent.
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

    /// As [`Context::find_string`], for commands that are made for large values.
    ///
    /// # Errors
    /// As [`Context::find_any`]; another type.
    pub fn find_any_string(&mut self, key: &Key<'_>) -> Result<Option<Found>, Stop> {
        of_kind(self.find_any(key)?, Kind::String)
    }

    /// The value at `key`, which must be of `kind`.
    ///
    /// # Errors
    /// As [`Context::find`]; another type.
    pub fn find_kind(&mut self, key: &Key<'_>, kind: Kind) -> Result<Option<Found>, Stop> {
        whole(of_kind(self.find_any(key)?, kind)?)
    }
}

fn of_kind(found: Option<Found>, kind: Kind) -> Result<Option<Found>, Stop> {
    if found.as_ref().is_some_and(|found| found.value_type != kind.tag()) {
        return Err(text::WRONG_TYPE);
    }
    Ok(found)
}

fn whole(found: Option<Found>) -> Result<Option<Found>, Stop> {
    match found.as_ref().and_then(|found| found.chunked) {
        Some(chunked) => Err(super::large::too_large_here(chunked.len)),
        None => Ok(found),
    }
}

/// The newest value was lost to corruption.
struct Lost;
