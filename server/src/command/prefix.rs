//! What protects keys from those who do not know of sessions: seals, and the policies of prefixes.
//!
//! A session leaves a tombstone when it ends. Every lookup takes the tombstone for nothing and notes
//! its key as sealed, and every write asks the seals. So a late writer is refused whatever its
//! command, and commands know nothing of it.
//!
//! Owns: [`Seals`], the application of policies, INFO's sections about both.
//! Never knows: which commands there are.
//! Invariant: a write follows a lookup of its key in the same command, so no seal is missed.

use emberlog_engine::{Key, Namespace, UnixMillis};

use super::info::Lines;
use super::session::{REVOKED, bury};
use super::table::flag::DENYOOM;
use super::{Command, Context, Stop, parse, text};
use crate::config::Prefix;
use crate::resp::Args;
use crate::value::Kind;
use crate::value::session::Ended;

/// Why a key may not be written by generic commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seal {
    /// There was a session, which has ended for good.
    Ended,
    /// There is a session.
    Session,
}

/// The sealed keys that a command has met; nearly always none.
#[derive(Debug, Default)]
pub struct Seals(Vec<(u16, Box<[u8]>, Seal)>);

impl Seals {
    /// Notes what a lookup has found. Returns whether commands may see it.
    pub fn note(&mut self, key: &Key<'_>, value_type: u8) -> bool {
        let seal = match value_type {
            tag if tag == Kind::Revoked.tag() => Seal::Ended,
            tag if tag == Kind::Session.tag() => Seal::Session,
            _ => {
                self.forget(key);
                return true;
            }
        };
        if !self.has(key, seal) {
            self.forget(key);
            self.0.push((key.namespace().0, key.bytes().into(), seal));
        }
        seal == Seal::Session
    }

    /// The key is not sealed, or not any more.
    pub fn forget(&mut self, key: &Key<'_>) {
        if !self.0.is_empty() {
            self.0.retain(|(db, name, _)| *db != key.namespace().0 || **name != *key.bytes());
        }
    }

    /// Whether a key has this seal.
    pub fn has(&self, key: &Key<'_>, seal: Seal) -> bool {
        self.of(key) == Some(seal)
    }

    fn of(&self, key: &Key<'_>) -> Option<Seal> {
        let is = |db: u16, name: &[u8]| db == key.namespace().0 && name == key.bytes();
        self.0.iter().find(|(db, name, _)| is(*db, name)).map(|(.., seal)| *seal)
    }

    fn any_ended(&self) -> bool {
        self.0.iter().any(|(.., seal)| *seal == Seal::Ended)
    }
}

/// Copies of sessions.
const NO_COPY: Stop =
    Stop::error("WRONGTYPE a session can be neither copied nor renamed; use SESSION.ROTATE");

impl Context<'_> {
    /// Whether a value of `kind` and `bytes` bytes may be written to `key`.
    ///
    /// # Errors
    /// Why not.
    pub fn may_put(&mut self, key: &Key<'_>, kind: Kind, bytes: usize) -> Result<(), Stop> {
        match self.seals.of(key) {
            Some(Seal::Ended) => {
                self.count_prefix(key, |stats| stats.revoked_writes += 1);
                self.state.stats.revoked_writes += 1;
                return Err(REVOKED);
            }
            Some(Seal::Session) => return Err(text::WRONG_TYPE),
            None => {}
        }
        if matches!(kind, Kind::Session | Kind::Revoked) {
            return Err(NO_COPY);
        }
        let Some(policy) = self.policy(key) else { return Ok(()) };
        let max = policy.max_value;
        if max > 0 && bytes > max {
            self.count_prefix(key, |stats| stats.too_large += 1);
            return Err(parse::error(format!(
                "ERR the value of {bytes} bytes is longer than max-value of its prefix, {max} bytes"
            )));
        }
        self.count_prefix(key, |stats| stats.writes += 1);
        Ok(())
    }

    /// Refuses where writes of a script wait, which the user index does not know.
    ///
    /// # Errors
    /// A script runs, or is part of the transaction.
    pub fn without_script(&self) -> Result<(), Stop> {
        if self.overlay.is_none() {
            return Ok(());
        }
        Err(Stop::error("ERR a user's sessions cannot be listed or limited beside a script"))
    }

    /// A command with several keys that may write is refused as a whole if one of them is sealed:
    /// none of its writes may come before the refusal.
    ///
    /// # Errors
    /// One of the keys looked up is sealed.
    pub fn refuse_ended(&mut self, command: &Command) -> Result<(), Stop> {
        if command.flags.has(DENYOOM)
            && !command.name.starts_with("session.")
            && self.seals.any_ended()
        {
            self.state.stats.revoked_writes += 1;
            return Err(REVOKED);
        }
        Ok(())
    }

    /// As [`Context::refuse_ended`], for a command within a transaction: looks its keys up first.
    ///
    /// # Errors
    /// One of its keys is sealed.
    pub fn refuse_ended_in(&mut self, command: &Command, args: Args<'_>) -> Result<(), Stop> {
        if !command.keys.may_be_many() || !command.flags.has(DENYOOM) {
            return Ok(());
        }
        for name in command.keys.of(args) {
            if let Ok(key) = self.key(name) {
                self.find_to_replace(&key)?;
                if self.seals.has(&key, Seal::Ended) {
                    return self.refuse_ended(command);
                }
            }
        }
        Ok(())
    }

    /// The policy for `key`, if there is one.
    fn policy(&self, key: &Key<'_>) -> Option<&Prefix> {
        self.state.config.prefixes.iter().find(|prefix| key.bytes().starts_with(&prefix.prefix))
    }

    /// Counts what the policy for `key` has done.
    pub(super) fn count_prefix(
        &mut self,
        key: &Key<'_>,
        count: impl FnOnce(&mut crate::config::PrefixStats),
    ) {
        let prefixes = &self.state.config.prefixes;
        let found = prefixes.iter().position(|prefix| key.bytes().starts_with(&prefix.prefix));
        if let Some(stats) = found.and_then(|at| self.state.prefixes.get_mut(at)) {
            count(stats);
        }
    }

    /// An expiry as the policy for `key` has it.
    pub(super) fn within_policy(
        &mut self,
        key: &Key<'_>,
        expires_at: Option<UnixMillis>,
    ) -> Option<UnixMillis> {
        let Some(policy) = self.policy(key) else { return expires_at };
        let after = |seconds: u32| self.now.plus(u64::from(seconds) * 1000);
        let mut at = expires_at;
        if at.is_none() && policy.default_ttl > 0 {
            at = Some(after(policy.default_ttl));
        }
        if policy.max_ttl > 0 {
            let latest = after(policy.max_ttl);
            at = Some(at.map_or(latest, |at| at.min(latest)));
        }
        if at != expires_at {
            self.count_prefix(key, |stats| stats.ttl_changes += 1);
        }
        at
    }

    /// Deletes a key on a user's word: DEL and UNLINK. With final logout it leaves a tombstone.
    ///
    /// # Errors
    /// Refused by the store.
    pub fn delete_for_good(&mut self, key: &Key<'_>) -> Result<bool, Stop> {
        let policy = self.policy(key).filter(|policy| policy.final_logout);
        let Some(ttl_s) = policy.map(|policy| policy.revoked_ttl) else {
            return self.delete(key);
        };
        if self.seals.has(key, Seal::Session) {
            return self.delete(key);
        }
        let until = (ttl_s > 0).then(|| self.now.plus(u64::from(ttl_s) * 1000));
        bury(self, key, Ended::Destroyed, until)?;
        self.count_prefix(key, |stats| stats.logouts += 1);
        Ok(true)
    }
}

/// INFO's section about sessions.
pub(super) fn sessions(cx: &mut Context<'_>, lines: &mut Lines) {
    let databases = cx.state.config.databases;
    let (locks, waiting) = cx.state.locks.len();
    let Some(shard) = cx.shard.as_deref() else { return };
    let all = || (0..databases).map(Namespace);
    lines.put("session_users", all().map(|db| shard.owners_len(db)).sum::<usize>());
    lines.put("session_tombstones", all().map(|db| shard.hidden_len(db)).sum::<usize>());
    lines.put("session_index_bytes", shard.label_bytes());
    lines.put("session_locks", locks);
    lines.put("session_lock_waiters", waiting);
    lines.put("session_revoked_writes", cx.state.stats.revoked_writes);
}

/// INFO's section about the policies of prefixes.
pub(super) fn prefixes(cx: &mut Context<'_>, lines: &mut Lines) {
    for (prefix, stats) in cx.state.config.prefixes.iter().zip(&cx.state.prefixes) {
        let name = prefix.prefix.escape_ascii();
        lines.put(
            &format!("prefix_{name}"),
            format_args!(
                "writes={},identical_sets={},logouts={},revoked_writes={},too_large={},ttl_changes={}",
                stats.writes,
                stats.identical_sets,
                stats.logouts,
                stats.revoked_writes,
                stats.too_large,
                stats.ttl_changes
            ),
        );
    }
}
