//! What the store should contain: a map, a clock given from outside, and the tail of mutations
//! that a crash may take.
//!
//! Owns: [`Model`], the promise in executable form.
//! Never knows: segments, batches, caches, how the engine does it.
//! Invariant: `floor` never falls; what was promised at or below it is in every state that a
//! recovery may show.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::units::{Lsn, UnixMillis};

mod agrees;
mod change;
mod damage;
pub mod label;
mod recovered;
use agrees::agrees;
pub use change::Change;
use damage::Version;
use label::ModelLabel;

/// Namespace and bytes of a key.
pub type ModelKey = (u16, Rc<[u8]>);

/// A value; messages show its length and checksum only.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(pub Rc<[u8]>);

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}B/{:08x}", self.0.len(), crc32fast::hash(&self.0))
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Value {
        Value(bytes.into())
    }
}

/// What the client knows of a key that it has set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Live {
    /// The bytes set.
    pub value: Value,
    /// The type set with them.
    pub value_type: u8,
    /// It must be there before this.
    pub expires_min: Option<UnixMillis>,
    /// It must be gone from this on.
    pub expires_max: Option<UnixMillis>,
    /// First and last LSN that the value may carry: a touch may rewrite it, or not.
    pub lsns: (Lsn, Lsn),
    /// Grace in ms that a recovery may add, because touches inside a quantum are not journaled.
    pub quantum_ms: u64,
    /// Its expiry before it was touched, which is what damage to the journal may leave.
    pub set_expires: Option<UnixMillis>,
    /// It was seen to be absent between `expires_min` and `expires_max`.
    pub gone: bool,
    /// Whether an event must still tell of its expiry, or has.
    pub told: Told,
    /// What it was set with.
    pub label: ModelLabel,
    /// It was reported lost: what it may have been, by the prefixes of the log that explained the
    /// rest. Then the other fields say what is admitted of it until it is written again.
    pub lost: Option<Rc<[Live]>>,
}

/// What is known of the event that tells of a key's expiry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// There was none yet.
    Not,
    /// There was none, and need not be: it may have expired while nobody listened.
    Excused,
    /// It was told.
    Told,
}

/// What time the engine may believe it is: a wall clock that was set back before a restart leaves
/// open how much the engine can know of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock {
    /// The latest time that it was told since it was opened.
    pub earliest: UnixMillis,
    /// The latest time that it was ever told.
    pub latest: UnixMillis,
}

impl std::fmt::Display for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..={}", self.earliest.0, self.latest.0)
    }
}

/// What a client was shown of a key, and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// There is no such key.
    Absent,
    /// It was lost to corruption, and the store says so.
    Lost,
    /// A value.
    Found {
        /// Its bytes.
        value: Value,
        /// Its type.
        value_type: u8,
        /// Its expiry.
        expires_at: Option<UnixMillis>,
        /// The LSN it carries.
        lsn: Lsn,
    },
    /// A large value, of which this only was looked at.
    Large {
        /// Its length.
        len: usize,
        /// Its type.
        value_type: u8,
        /// Its expiry.
        expires_at: Option<UnixMillis>,
        /// The LSN it carries.
        lsn: Lsn,
    },
}

type State = BTreeMap<ModelKey, Live>;

/// A mutation and the LSN that makes it durable: its own, or its group's commit.
#[derive(Clone, Debug)]
struct Mutation {
    durable_at: Lsn,
    lsn: Lsn,
    change: Change,
}

/// The reference model.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// State at `floor`.
    base: State,
    /// Mutations above `floor`, in order.
    tail: Vec<Mutation>,
    /// State with all of them.
    state: State,
    /// The newest mutation of each key and namespace that is above the floor.
    newest: BTreeMap<ModelKey, Lsn>,
    cleared: BTreeMap<u16, Lsn>,
    floor: Lsn,
    last: Lsn,
    /// Where the group under way begins in the tail, and the LSN before it.
    group_from: Option<(usize, Lsn)>,
    lossy: bool,
    /// Whether whatever expires must be told.
    listening: bool,
    /// Keys whose expiry was told for good, with the last LSN of what expired.
    ended: BTreeMap<ModelKey, Lsn>,
    /// Every value that each key ever had, if the world is lossy.
    history: BTreeMap<ModelKey, Vec<Version>>,
    /// Keys with a large value of which parts were replaced.
    mixed: BTreeSet<ModelKey>,
}

impl Model {
    /// An empty store. `lossy` admits faults beyond the model: keys may be reported lost.
    pub fn new(lossy: bool) -> Model {
        Model { lossy, ..Model::default() }
    }

    /// Everything up to here must survive every crash.
    pub fn floor(&self) -> Lsn {
        self.floor
    }

    /// The key as the client knows it, whether or not it has expired.
    pub fn get(&self, key: &ModelKey) -> Option<&Live> {
        self.state.get(key)
    }

    /// Keys of a namespace that must be there at `now`.
    pub fn surely_live(&self, namespace: u16, now: UnixMillis) -> BTreeSet<ModelKey> {
        let keys = self.state.iter().filter(|((ns, _), live)| {
            *ns == namespace && !live.gone && live.expires_min.is_none_or(|at| now < at)
        });
        keys.map(|(key, _)| key.clone()).collect()
    }

    /// Keys of a namespace that were set and not deleted; some may have expired.
    pub fn known(&self, namespace: u16) -> impl Iterator<Item = &ModelKey> {
        self.state.keys().filter(move |(ns, _)| *ns == namespace)
    }

    /// What is not durable yet of a key: replies about it wait for this LSN.
    pub fn barrier(&self, key: &ModelKey) -> Lsn {
        let newest = self.newest.get(key).copied().unwrap_or_default();
        newest.max(self.cleared.get(&key.0).copied().unwrap_or_default())
    }

    /// Notes a mutation that the engine took. `lsn` is the LSN it gave out, `None` for a touch
    /// that it did not journal.
    ///
    /// # Errors
    /// When the engine gave out an LSN again.
    pub fn apply(&mut self, change: Change, lsn: Option<Lsn>) -> Result<(), String> {
        if let Some(lsn) = lsn {
            if lsn <= self.last {
                return Err(format!("LSN {lsn} was given out after {}", self.last));
            }
            self.last = lsn;
        }
        let key = change.key().cloned();
        let relies = key.as_ref().map(|key| self.barrier(key)).unwrap_or_default();
        let durable_at = lsn.unwrap_or(relies);
        if let Some(lsn) = lsn {
            match (&change, key) {
                (Change::Clear(namespace), _) => {
                    self.cleared.insert(*namespace, lsn);
                }
                (_, Some(key)) => {
                    self.newest.insert(key, lsn);
                }
                (_, None) => {}
            }
        }
        let lsn = lsn.unwrap_or_default();
        if self.lossy
            && let Change::Put { key, value, value_type, label, .. } = &change
        {
            let (value, value_type, label) = (value.clone(), *value_type, *label);
            let version = Version { value, value_type, label, lsn };
            self.history.entry(key.clone()).or_default().push(version);
        }
        change.apply(&mut self.state, lsn);
        if durable_at <= self.floor && self.group_from.is_none() {
            change.apply(&mut self.base, lsn);
        } else {
            self.tail.push(Mutation { durable_at, lsn, change });
        }
        Ok(())
    }

    /// Parts of a large value are replaced: damage that takes some of them without a name leaves a
    /// mixture.
    pub fn may_mix(&mut self, key: ModelKey) {
        self.mixed.insert(key);
    }

    /// Starts a group: what follows becomes durable together.
    pub fn begin(&mut self) {
        self.group_from = Some((self.tail.len(), self.last));
    }

    /// Ends a group with the LSN of its commit; `Lsn::NONE` if nothing in it was logged.
    ///
    /// # Errors
    /// When the engine gave out an LSN again.
    pub fn commit(&mut self, lsn: Lsn) -> Result<(), String> {
        let (from, before) = self.group_from.take().unwrap_or((self.tail.len(), self.last));
        if lsn == Lsn::NONE {
            return Ok(());
        }
        if lsn <= self.last {
            return Err(format!("commit {lsn} was given out after {}", self.last));
        }
        self.last = lsn;
        // A touch that was not journaled stands by itself, unless its key was written in here too.
        let members = self.tail[from..].iter_mut();
        for mutation in members.filter(|mutation| mutation.durable_at > before) {
            mutation.durable_at = lsn;
            match mutation.change.key() {
                Some(key) => self.newest.insert(key.clone(), lsn),
                None => match mutation.change {
                    Change::Clear(namespace) => self.cleared.insert(namespace, lsn),
                    _ => None,
                },
            };
        }
        Ok(())
    }

    /// The engine has promised that everything up to `lsn` survives.
    pub fn promise(&mut self, lsn: Lsn) {
        if lsn <= self.floor {
            return;
        }
        self.floor = lsn;
        for mutation in self.tail.extract_if(.., |mutation| mutation.durable_at <= lsn) {
            mutation.change.apply(&mut self.base, mutation.lsn);
        }
        self.newest.retain(|_, newest| *newest > lsn);
        self.cleared.retain(|_, cleared| *cleared > lsn);
    }

    /// Checks what the running engine showed of a key at `now`.
    ///
    /// # Errors
    /// How it contradicts what the client knows.
    pub fn observe(&mut self, key: &ModelKey, seen: &Seen, now: Clock) -> Result<(), String> {
        if self.lossy && *seen == Seen::Lost {
            return Ok(());
        }
        let live = self.state.get_mut(key);
        if !agrees(live.as_deref(), seen, now) {
            return Err(format!("{} at {now}: saw {seen:?}, expected {live:?}", name(key)));
        }
        if let (Some(live), Seen::Absent) = (live, seen) {
            if self.listening && live.told == Told::Not && !live.label.hidden {
                return Err(format!("{} expired, and no event told of it", name(key)));
            }
            live.gone = true;
        }
        Ok(())
    }

    /// Whether events must tell of what expires from now on.
    pub fn listen(&mut self, on: bool, now: UnixMillis) {
        self.listening = on && !self.lossy;
        for live in self.state.values_mut() {
            let passed = live.expires_min.is_some_and(|at| at <= now);
            live.told = if passed { Told::Excused } else { Told::Not };
        }
    }

    /// No event can tell of a key's expiry yet.
    pub fn excuse(&mut self, key: &ModelKey) {
        if let Some(live) = self.state.get_mut(key)
            && live.told == Told::Not
        {
            live.told = Told::Excused;
        }
    }

    /// Takes an event that tells of a key's expiry. Returns the last LSN of what expired.
    ///
    /// # Errors
    /// When there is no such key, or it is too early, or it was told before.
    pub fn expired(&mut self, key: &ModelKey, now: Clock) -> Result<Lsn, String> {
        let Some(live) = self.state.get_mut(key) else {
            return Err(format!("{} expired, and is not there", name(key)));
        };
        if live.told == Told::Told || live.gone && live.told != Told::Excused {
            return Err(format!("{} expired twice", name(key)));
        }
        if live.expires_min.is_none_or(|at| at > now.latest) {
            return Err(format!("{} expired at {now}, expected {live:?}", name(key)));
        }
        (live.told, live.gone) = (Told::Told, true);
        Ok(live.lsns.1)
    }

    /// What told of a key's expiry has left: it must not be back after a crash.
    pub fn ended(&mut self, key: ModelKey, lsn: Lsn) {
        self.ended.insert(key, lsn);
    }

    /// Checks that nothing whose expiry was told is back, unless the clock was set back.
    ///
    /// # Errors
    /// What is back.
    pub fn stays_gone(&self, seen: &BTreeMap<ModelKey, (Seen, Clock)>) -> Result<(), String> {
        for (key, ended) in &self.ended {
            if let Some((Seen::Found { lsn, .. }, at)) = seen.get(key)
                && lsn <= ended
                && !self.lossy
            {
                return Err(format!("{} at {at}: back after its expiry was told", name(key)));
            }
        }
        Ok(())
    }
}

/// A key in messages.
pub(super) fn name((namespace, bytes): &ModelKey) -> String {
    format!("{namespace}:{}", bytes[..bytes.len().min(12)].escape_ascii())
}

#[cfg(test)]
mod tests;
