//! Clients: carrying out commands against the shard the way a server does, and telling the model.

use super::{Parked, World};
use crate::index::{touch_class_of, touch_quantum_secs};
use crate::shard::{LoadError, Refused, Room, Ticket};
use crate::sim::faults::Profile;
use crate::sim::model::label::ModelLabel;
use crate::sim::model::{Change, ModelKey, Seen, Value};
use crate::sim::program::Action;
use crate::sim::rng::Rng;
use crate::units::Namespace;

/// Loads of one command after which it must have been carried out.
const TRIES_MAX: u32 = 200;

/// What came of trying to carry out a command.
enum Attempt {
    Done,
    /// Keys that must be loaded first.
    Cold(Vec<u8>),
    /// There is no room now.
    Wait,
}

impl World {
    pub(super) fn command(&mut self, action: Action) -> Result<(), String> {
        let ticket = self.ticket();
        self.drive_command(Parked { action, ticket, loads: 0, tries: 0 })
    }

    /// Tries a command; parks it if it has to wait.
    fn drive_command(&mut self, mut parked: Parked) -> Result<(), String> {
        match self.attempt(&parked.action)? {
            Attempt::Done => {
                self.shard().release(Ticket(parked.ticket));
                return Ok(());
            }
            Attempt::Wait => self.counts.waits += 1,
            Attempt::Cold(keys) => {
                parked.tries += 1;
                if parked.tries > TRIES_MAX {
                    return Err(format!("{:?} stays cold", parked.action));
                }
                parked.loads = keys.len();
                let ticket = Ticket(parked.ticket);
                for number in keys {
                    let (namespace, bytes) = self.keys[usize::from(number)].clone();
                    let shard = self.shard();
                    let key = shard.key(Namespace(namespace), &bytes);
                    shard.load(ticket, &key);
                }
            }
        }
        self.parked.push(parked);
        Ok(())
    }

    pub(super) fn on_loaded(
        &mut self,
        ticket: u64,
        outcome: Result<(), LoadError>,
    ) -> Result<(), String> {
        match outcome {
            Ok(()) => {}
            Err(LoadError::Io) if self.plan.read_error + self.plan.bad_sector > 0 => {}
            Err(LoadError::Corrupt) if self.profile == Profile::Beyond => {}
            Err(error) => return Err(format!("a load failed without a fault: {error}")),
        }
        if self.on_chunk_loaded(ticket, outcome) {
            return Ok(());
        }
        let Some(at) = self.parked.iter().position(|parked| parked.ticket == ticket) else {
            return Ok(());
        };
        self.parked[at].loads -= 1;
        if self.parked[at].loads > 0 {
            return Ok(());
        }
        let parked = self.parked.remove(at);
        if outcome == Err(LoadError::Io) {
            // The client gets an error; that is an answer.
            self.shard().release(Ticket(ticket));
            if let Action::Finish(_, handle) = parked.action {
                self.abandon(handle);
            }
            return Ok(());
        }
        self.drive_command(parked)
    }

    /// Tries again what waits for room.
    pub(super) fn retry_waiting(&mut self) -> Result<(), String> {
        let (waiting, loading): (Vec<Parked>, Vec<Parked>) =
            std::mem::take(&mut self.parked).into_iter().partition(|parked| parked.loads == 0);
        self.parked = loading;
        for parked in waiting {
            self.drive_command(parked)?;
        }
        self.drive_fetches()?;
        self.pump()
    }

    fn attempt(&mut self, action: &Action) -> Result<Attempt, String> {
        let mut cold = Vec::new();
        let mut lost = false;
        let keys = action.keys();
        for number in &keys {
            match self.look(*number)? {
                Some(Seen::Lost) => lost = true,
                Some(_) => {}
                None if cold.contains(number) => {}
                None => cold.push(*number),
            }
        }
        if !cold.is_empty() {
            return Ok(Attempt::Cold(cold));
        }
        if let Action::Fetch(number, part) = action {
            self.start_fetch(*number, *part)?;
        }
        let writes = !matches!(action, Action::Get(_) | Action::Fetch(..));
        if !writes || self.shard().poisoned() {
            return Ok(Attempt::Done);
        }
        if lost && !matches!(action, Action::Put(..) | Action::Delete(_) | Action::Finish(..)) {
            return Ok(Attempt::Done);
        }
        let bytes = self.bytes_of(action);
        let only_deletes = matches!(action, Action::Delete(_) | Action::Clear(_));
        let unasked = matches!(action, Action::Put(..)) && self.rng.chance(1, 8);
        let shard = self.shard();
        let room = if only_deletes { shard.room_for_delete(bytes) } else { shard.room(bytes) };
        match room {
            Room::Wait if !unasked => return Ok(Attempt::Wait),
            Room::Full if !unasked => {
                self.counts.refused_full += 1;
                return Ok(Attempt::Done);
            }
            Room::Poisoned => return Err("poisoned without saying so".to_owned()),
            _ => {}
        }
        match self.execute(action) {
            Ok(()) => Ok(Attempt::Done),
            Err(Stop::Refused(Refused::Full)) if room != Room::Yes => {
                self.counts.refused_full += 1;
                Ok(Attempt::Done)
            }
            Err(Stop::Refused(refused)) => {
                Err(format!("{action:?} was refused though there was room: {refused}"))
            }
            Err(Stop::Broken(message)) => Err(message),
        }
    }

    /// Upper bound of what a command appends.
    fn bytes_of(&self, action: &Action) -> usize {
        // Key, record and label.
        let key_bytes = |number: &u8| self.keys[usize::from(*number)].1.len() + 128 + 300;
        match action {
            Action::Get(_) | Action::Fetch(..) => 0,
            Action::Rename(from, to) => 128 + 2 * (key_bytes(from) + key_bytes(to)),
            Action::Patch(key, _, bytes) => {
                let chunk = self.chunk_bytes as usize;
                key_bytes(key) * 2 + (bytes.min(&(8 * chunk)) / chunk + 2) * (chunk + 256)
            }
            Action::Clear(_) => 128,
            Action::Delete(key) | Action::Finish(key, _) => key_bytes(key),
            Action::Put(key, bytes, _) => key_bytes(key) + bytes,
            Action::Expire(key, _) => {
                let live = self.model.get(&self.keys[usize::from(*key)]);
                key_bytes(key) + live.map_or(0, |live| live.value.0.len())
            }
            // A later member may rewrite what an earlier one has put.
            Action::Group(members) => {
                let largest = members.iter().map(|member| self.bytes_of(member)).max();
                let puts = members.iter().map(|member| self.bytes_of(member)).sum::<usize>();
                128 + puts + largest.unwrap_or(0) * members.len()
            }
        }
    }

    fn execute(&mut self, action: &Action) -> Result<(), Stop> {
        match action {
            Action::Get(_) | Action::Fetch(..) => Ok(()),
            Action::Finish(key, handle) => self.finish_upload(*key, *handle),
            Action::Patch(key, share, bytes) => self.patch(*key, *share, *bytes),
            Action::Rename(from, to) => self.rename(*from, *to),
            Action::Put(key, bytes, ttl) => self.put(*key, *bytes, *ttl),
            Action::Delete(key) => self.delete(*key),
            Action::Expire(key, ttl) => self.expire(*key, *ttl),
            Action::Clear(namespace) => self.clear(*namespace),
            Action::Group(members) => {
                self.counts.groups += 1;
                self.shard().begin();
                self.model.begin();
                for member in members {
                    self.execute(member)?;
                }
                let lsn = self.shard().commit();
                self.model.commit(lsn)?;
                Ok(())
            }
        }
    }

    fn put(&mut self, number: u8, bytes: usize, ttl_ms: Option<u64>) -> Result<(), Stop> {
        let name = self.keys[usize::from(number)].clone();
        let value = self.value(bytes);
        let value_type = number % 4;
        let wall = self.wall();
        let expires_at = ttl_ms.map(|ms| self.now().plus(ms));
        let label = if self.labelled {
            ModelLabel::of(self.versions, expires_at, self.now())
        } else {
            ModelLabel::default()
        };
        let expires_at = label.cut(expires_at);
        let shard = self.shard();
        let key = shard.key(Namespace(name.0), &name.1);
        let large = name.1.len() + bytes > shard.value_bytes_max() - 1024;
        let view = label.view();
        let put = shard.put_labelled(&key, value_type, &value.0, expires_at, &view, wall);
        let lsn = match put {
            // Nothing has changed; a server answers with an error and goes on.
            Err(Refused::TooLarge { .. }) if large => return Ok(()),
            other => other?,
        };
        self.tell()?;
        self.watch_put(&name, label.hidden);
        let change = Change::Put { key: name, value, value_type, expires_at, label };
        self.model.apply(change, Some(lsn))?;
        Ok(())
    }

    pub(super) fn delete(&mut self, number: u8) -> Result<(), Stop> {
        let name = self.keys[usize::from(number)].clone();
        let wall = self.wall();
        let shard = self.shard();
        let key = shard.key(Namespace(name.0), &name.1);
        match shard.delete(&key, wall)? {
            Some(lsn) => {
                let known = self.model.get(&name).is_some();
                if !known && self.profile != Profile::Beyond {
                    return Err(Stop::Broken(format!("deleted key {number}, which was not there")));
                }
                self.watch_delete(&name);
                self.model.apply(Change::Delete(name), Some(lsn))?;
            }
            None => self.observe(&name, &Seen::Absent)?,
        }
        Ok(())
    }

    fn expire(&mut self, number: u8, ttl_ms: Option<u64>) -> Result<(), Stop> {
        let name = self.keys[usize::from(number)].clone();
        let (wall, now) = (self.wall(), self.now());
        let new = ttl_ms.map(|ms| now.plus(ms));
        let found = match self.look(number)? {
            Some(Seen::Found { expires_at, .. } | Seen::Large { expires_at, .. }) => {
                Some(expires_at)
            }
            _ => None,
        };
        // Of a large value whose chunks are lost the manifest may be there.
        let known = self.model.get(&name).filter(|live| !self.large.on || live.lost.is_none());
        let known = known.map(|live| (live.expires_min, live.label));
        let (Some(shown), Some((old, label))) = (found, known) else {
            return Ok(());
        };
        let new = label.cut(new);
        let shard = self.shard();
        let before = shard.appended_lsn();
        let key = shard.key(Namespace(name.0), &name.1);
        let barrier = shard.expire(&key, new, wall)?;
        let after = shard.appended_lsn();
        let journaled = (after > before).then_some(after);
        if journaled.is_some() && barrier != after {
            let message = format!("an expiry was logged as {after}, its barrier is {barrier}");
            return Err(Stop::Broken(message));
        }
        let change = match (old, new) {
            (Some(old), Some(new)) if new > old => {
                // By the engine's clock, which may be behind.
                let class = touch_class_of(new.since(self.clock().earliest));
                Change::Touch(name, new, touch_quantum_secs(class) * 1000)
            }
            _ if journaled.is_some() => Change::Expire(name, new),
            _ if new == old || new == shown => return Ok(()),
            _ => {
                let message = format!("an expiry went from {old:?} to {new:?} without a record");
                return Err(Stop::Broken(message));
            }
        };
        self.model.apply(change, journaled)?;
        Ok(())
    }

    fn clear(&mut self, namespace: u16) -> Result<(), Stop> {
        let wall = self.wall();
        let shard = self.shard();
        let before = shard.appended_lsn();
        let lsn = shard.clear(Namespace(namespace), wall)?;
        if shard.appended_lsn() > before {
            self.tell()?;
            self.watch_clear(namespace);
            self.model.apply(Change::Clear(namespace), Some(lsn))?;
            return Ok(());
        }
        let known: Vec<ModelKey> = self.model.known(namespace).cloned().collect();
        for key in known {
            self.observe(&key, &Seen::Absent)?;
        }
        Ok(())
    }

    /// A value that is unlike any other of this world.
    pub(super) fn value(&mut self, bytes: usize) -> Value {
        self.versions += 1;
        let mut value = vec![0; bytes];
        let mut rng = Rng::named(self.versions, "value");
        rng.fill(&mut value);
        // Most are alike but for a few bytes, in one of several manners that come and go.
        if rng.chance(3, 4) {
            let manner = self.versions / 64 + rng.below(2);
            let mut like = [0; 48];
            Rng::named(manner, "manner").fill(&mut like);
            for (at, byte) in value.iter_mut().enumerate().filter(|(at, _)| at % 64 < 48) {
                *byte = like[at % 64];
            }
        }
        Value::from(&value[..])
    }
}

/// Why a command was not carried out.
pub(super) enum Stop {
    /// The engine refused.
    Refused(Refused),
    /// A promise is broken.
    Broken(String),
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Stop {
        Stop::Refused(refused)
    }
}

impl From<String> for Stop {
    fn from(message: String) -> Stop {
        Stop::Broken(message)
    }
}
