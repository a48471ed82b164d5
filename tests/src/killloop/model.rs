//! What a key may hold: the history of one writer's keys, in the order in which the writer issued operations.
//!
//! Owns: states, histories, watermarks. Must never know: sockets, processes, reports.
//! Invariant: every key has exactly one writer, so a key's operations are totally ordered, and the state after the
//! first `n` operations of the writer is known for every `n`. A crash may keep any such prefix that reaches the
//! writer's floor, and nothing else: that makes MULTI groups, pipelines and unknown outcomes one rule.
//!
//! ```text
//! acked <= floor <= (what a crash keeps) <= issued        floor = what was acknowledged or seen by any reader
//! ```

use crate::value;
use fastrand::Rng;
use std::collections::{BTreeMap, VecDeque};

/// Milliseconds since 1970.
pub type Millis = i64;

/// A moment by which an operation has certainly not been answered yet.
pub const UNKNOWN: Millis = i64::MAX / 4;

/// Expiries that differ by less than this may be in either order.
pub const CLOSE: Millis = 2000;

/// How far an expiry may slide without a journal entry: max(32 s, TTL / 16).
pub fn quantum(ttl: Millis) -> Millis {
    (ttl / 16).max(32_000)
}

/// One generation of a value; its bytes follow from these two and the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Version, unique within the writer.
    pub version: u64,
    /// Length in bytes.
    pub length: usize,
}

/// What stands under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing, because it was never written or was deleted.
    Absent,
    /// Nothing, because a reader has seen that it expired.
    Expired,
    /// A string.
    Text(Stamp),
    /// A hash, by field number.
    Hash(BTreeMap<u8, Stamp>),
}

impl Content {
    /// True for the two kinds of nothing.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Absent | Self::Expired)
    }
}

/// When a key ends: the server chose a moment between the command's sending and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Earliest moment.
    pub low: Millis,
    /// Latest moment; [`UNKNOWN`] + TTL while the command is not answered.
    pub high: Millis,
    /// What a crash may add once, because the expiry was only slid along: see DESIGN §5.
    pub grace: Millis,
    /// Before this moment the key was certainly alive, so that the command which set this expiry certainly took hold.
    pub needs: Millis,
}

impl Expiry {
    /// A relative expiry of a command that is sent at `sent`.
    pub fn relative(ttl: Millis, sent: Millis) -> Self {
        Self { low: sent + ttl, high: UNKNOWN + ttl, grace: 0, needs: UNKNOWN }
    }

    /// An absolute expiry.
    pub fn absolute(at: Millis) -> Self {
        Self { low: at, high: at, grace: 0, needs: UNKNOWN }
    }

    fn answered(&mut self, at: Millis) {
        if self.high >= UNKNOWN {
            self.high = self.high - UNKNOWN + at;
        }
    }
}

/// The state of one key after some operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// What stands there.
    pub content: Content,
    /// When it ends, if it does.
    pub expiry: Option<Expiry>,
}

impl State {
    /// No such key.
    pub const ABSENT: Self = Self { content: Content::Absent, expiry: None };
}

/// What a key's name promises about its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Strings up to 2 KB.
    Small,
    /// Strings up to 64 KB.
    Middle,
    /// Strings up to 1 MB.
    Large,
    /// Hashes of up to 8 fields.
    Hash,
    /// Strings up to 2 KB that live for a moment, are slid along, and are left to die.
    Brief,
}

/// One key and all its states since the last restart.
#[derive(Clone)]
pub struct Key {
    /// Name on the wire.
    pub name: Vec<u8>,
    /// Kind of values.
    pub class: Class,
    history: Vec<(u64, State)>,
    /// The last state that was found expired, and when a reader knew. Another reader, who asked before, may judge what
    /// it saw only afterwards.
    pub ended: Option<(State, Millis)>,
}

impl Key {
    /// A key that was never written.
    pub fn new(name: Vec<u8>, class: Class) -> Self {
        Self { name, class, history: vec![(0, State::ABSENT)], ended: None }
    }

    /// The state after operation `op` has expired, as was known at `known`.
    fn end(&mut self, op: u64, known: Millis) {
        let states = self.history.iter_mut().filter(|(at, _)| *at == op).map(|(_, state)| state);
        for state in states.filter(|state| state.content != Content::Expired) {
            let expired = State { content: Content::Expired, expiry: None };
            self.ended = Some((std::mem::replace(state, expired), known));
        }
    }

    /// The state after everything issued.
    pub fn latest(&self) -> &State {
        &self.history[self.history.len() - 1].1
    }

    /// The states that the key has between two operation numbers, with the first number at which each holds.
    pub fn states(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, &State)> {
        let first = self.history.partition_point(|(op, _)| *op <= from) - 1;
        let within = self.history[first..].iter().take_while(move |(op, _)| *op <= to);
        within.map(move |(op, state)| ((*op).max(from), state))
    }

    /// The state after exactly `op` operations.
    pub fn state_at(&self, op: u64) -> &State {
        let index = self.history.partition_point(|(at, _)| *at <= op) - 1;
        &self.history[index].1
    }

    /// The bytes that `stamp` stands for under this key.
    pub fn bytes(&self, stamp: Stamp) -> Vec<u8> {
        value::make(&self.name, stamp.version, stamp.length)
    }

    /// Whether two contents are the same on the wire; values too short for a stamp may be.
    fn holds_same(&self, one: &Content, other: &Content) -> bool {
        match (one, other) {
            (Content::Text(one), Content::Text(other)) => self.bytes(*one) == self.bytes(*other),
            (Content::Hash(one), Content::Hash(other)) => {
                one.len() == other.len()
                    && one.iter().all(|(field, stamp)| {
                        other.get(field).is_some_and(|other| {
                            self.field_bytes(*field, *stamp) == self.field_bytes(*field, *other)
                        })
                    })
            }
            _ => one == other,
        }
    }

    /// The bytes of a hash field.
    pub fn field_bytes(&self, field: u8, stamp: Stamp) -> Vec<u8> {
        value::make(&[&self.name[..], &[b'#', field]].concat(), stamp.version, stamp.length)
    }
}

/// One connection's keys and how far its operations have come.
#[derive(Clone)]
pub struct Writer {
    /// All keys that this connection, and no other, writes.
    pub keys: Vec<Key>,
    /// Operations sent.
    pub issued: u64,
    /// Operations answered.
    pub acked: u64,
    /// Operations that some reader has seen the effect of, or that are answered.
    pub floor: u64,
    /// Whether a server can still write down that a touched key has ended. On a disk that has failed it cannot, and
    /// after a crash the key may live on, less than a quantum longer.
    pub ends_are_final: bool,
    next_version: u64,
    recent: VecDeque<(u64, usize)>,
}

/// So many of the last changes are remembered for [`Writer::hot_key`].
const RECENT: usize = 128;

impl Writer {
    /// A writer of `keys`, nothing written yet.
    pub fn new(keys: Vec<Key>) -> Self {
        Self {
            keys,
            issued: 0,
            acked: 0,
            floor: 0,
            ends_are_final: true,
            next_version: 1,
            recent: VecDeque::new(),
        }
    }

    /// A stamp never used before.
    pub fn stamp(&mut self, length: usize) -> Stamp {
        self.next_version += 1;
        Stamp { version: self.next_version, length }
    }

    /// Takes the number of the next operation. Several keys may change under one number: a MULTI group.
    pub fn issue(&mut self) -> u64 {
        self.issued += 1;
        self.issued
    }

    /// Records that operation `issued` leaves `state` under key number `key`.
    pub fn set(&mut self, key: usize, state: State) {
        self.recent.push_front((self.issued, key));
        self.recent.truncate(RECENT);
        let (issued, history) = (self.issued, &mut self.keys[key].history);
        match history.last_mut() {
            Some((op, last)) if *op == issued => *last = state,
            _ => history.push((issued, state)),
        }
    }

    /// Records that operation `op`, sent at `sent`, is one script. Its changes of a key reach the log as one: if the value
    /// is the one from before, a later end is a touch, whatever stood in between (PERSIST, then EXPIRE).
    pub fn is_script(&mut self, op: u64, keys: &[usize], sent: Millis) {
        for &index in keys {
            let key = &self.keys[index];
            let [.., (_, before), (at, after)] = &key.history[..] else { continue };
            if *at != op || !key.holds_same(&before.content, &after.content) {
                continue;
            }
            if let (Some(old), Some(mut new)) = (before.expiry, after.expiry)
                && new.low + CLOSE > old.low
            {
                new.grace = new.grace.max(quantum(new.low - sent));
                let last = self.keys[index].history.len() - 1;
                self.keys[index].history[last].1.expiry = Some(new);
            }
        }
    }

    /// Records that the answer to operation `op` on `keys` has come.
    pub fn ack(&mut self, op: u64, keys: &[usize], now: Millis) {
        self.acked = self.acked.max(op);
        self.floor = self.floor.max(op);
        for &key in keys {
            let entries = self.keys[key].history.iter_mut().rev();
            for (_, state) in entries.filter(|(at, _)| *at == op) {
                if let Some(expiry) = &mut state.expiry {
                    expiry.answered(now);
                }
            }
        }
    }

    /// A key that is left to die, so that somebody sees its end.
    pub fn brief_key(&self, rng: &mut Rng) -> usize {
        let brief = self.keys.iter().rev().take_while(|key| key.class == Class::Brief).count();
        self.keys.len() - rng.usize(1..=brief.max(1))
    }

    /// The key of the oldest unanswered change, where a dirty read would show; any key when all are answered.
    pub fn hot_key(&self, rng: &mut Rng) -> usize {
        let unanswered = self.recent.iter().rev().find(|(op, _)| *op > self.acked);
        unanswered.map_or_else(|| rng.usize(..self.keys.len()), |(_, key)| *key)
    }

    /// Records that a reader has seen the effect of operation `op`.
    pub fn seen(&mut self, op: u64) {
        self.floor = self.floor.max(op);
    }

    /// Records that a reader has found the key expired in the one state it could be in, and knew at `got`: it may never
    /// come back.
    pub fn seen_expired(&mut self, key: usize, got: Millis) {
        if !self.ends_are_final {
            return;
        }
        let op = self.keys[key].history.last().map_or(0, |(op, _)| *op);
        self.keys[key].end(op, got);
        self.floor = self.floor.max(op);
    }

    /// Records that operation `op` found its key expired and so changed nothing, as was known at `answered`.
    pub fn found_expired(&mut self, op: u64, key: usize, answered: Millis) {
        self.keys[key].end(op, answered);
    }

    /// Closes the books at a crash: unanswered expiries end their uncertainty, slid ones get their grace.
    pub fn crashed(&mut self, now: Millis) {
        for key in &mut self.keys {
            for (_, state) in &mut key.history {
                if let Some(expiry) = &mut state.expiry {
                    if expiry.high >= UNKNOWN && now >= expiry.needs {
                        expiry.low = 0;
                    }
                    expiry.answered(now);
                    expiry.high += std::mem::take(&mut expiry.grace);
                }
            }
        }
    }

    /// Makes the state after `op` operations, which is what the crash kept, the new beginning.
    pub fn settle(&mut self, op: u64) {
        for key in &mut self.keys {
            let state = key.state_at(op).clone();
            key.history = vec![(0, state)];
            key.ended = None;
        }
        (self.issued, self.acked, self.floor) = (0, 0, 0);
        self.ends_are_final = true;
        self.recent.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key that ends in 60 s, and then PERSIST and EXPIRE 80 as one operation.
    fn persisted_and_expired() -> Writer {
        let mut writer = Writer::new(vec![Key::new(b"k".to_vec(), Class::Small)]);
        let content = Content::Text(writer.stamp(100));
        writer.issue();
        let expiry = Some(Expiry::absolute(60_000));
        writer.set(0, State { content: content.clone(), expiry });
        writer.issue();
        writer.set(0, State { content: content.clone(), expiry: None });
        writer.set(0, State { content, expiry: Some(Expiry::absolute(80_000)) });
        writer
    }

    fn high_after_crash(mut writer: Writer) -> Millis {
        writer.crashed(1000);
        writer.keys[0].latest().expiry.unwrap().high
    }

    #[test]
    fn a_script_moves_an_expiry_at_once_and_a_group_step_by_step() {
        let group = persisted_and_expired();
        assert_eq!(high_after_crash(group), 80_000);
        let mut script = persisted_and_expired();
        script.is_script(2, &[0, 0], 0);
        assert_eq!(high_after_crash(script), 80_000 + quantum(80_000));
    }

    #[test]
    fn a_script_that_writes_another_value_sets_its_expiry_exactly() {
        let mut writer = persisted_and_expired();
        let content = Content::Text(writer.stamp(100));
        writer.issue();
        writer.set(0, State { content, expiry: Some(Expiry::absolute(90_000)) });
        writer.is_script(3, &[0], 0);
        assert_eq!(high_after_crash(writer), 90_000);
    }
}
