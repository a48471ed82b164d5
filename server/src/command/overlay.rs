//! Writes that wait until a script has finished.
//!
//! Owns: what a script, or a transaction that runs one, has written so far, and its messages.
//! Never knows: Lua, sockets.
//! Invariant: reads of the running script see the overlay before the store, nobody else sees it; it
//! reaches the store as one group or not at all, so a script can be stopped and run again.

use std::collections::HashMap;

use emberlog_engine::{Found, Key, Label, Lsn, Namespace, Room, UnixMillis};

use super::context::{Context, RECORD_OVERHEAD};
use super::{Outcome, Stop, text};
use crate::value::Kind;

/// Bytes that one script may write at most, as much as MULTI may queue.
const WRITES_MAX: usize = 64 << 20;

/// What a key is after the script's writes.
#[derive(Clone, Debug)]
enum After {
    /// Gone.
    Absent,
    /// A new value.
    Value(Found),
    /// The value of the store with another expiry.
    Expiry(Found),
    /// A new value with a label: a session, or its tombstone.
    Labelled(Found, Box<OwnLabel>),
}

/// A label with its own owner.
#[derive(Clone, Debug)]
struct OwnLabel {
    owner: Box<[u8]>,
    limit: Option<UnixMillis>,
    hidden: bool,
}

impl OwnLabel {
    fn view(&self) -> Label<'_> {
        Label { owner: &self.owner, limit: self.limit, hidden: self.hidden, chunked: None }
    }
}

impl After {
    fn found(&self) -> Option<Found> {
        match self {
            After::Absent => None,
            After::Value(found) | After::Expiry(found) | After::Labelled(found, _) => {
                Some(found.clone())
            }
        }
    }

    /// Whether the key counts as there.
    fn is_visible(&self) -> bool {
        match self {
            After::Absent => false,
            After::Value(_) | After::Expiry(_) => true,
            After::Labelled(_, label) => !label.hidden,
        }
    }
}

#[derive(Clone, Debug)]
struct Change {
    db: u16,
    key: Box<[u8]>,
    /// Whether the store has the key.
    stored: bool,
    after: After,
}

impl Change {
    fn bytes(&self) -> usize {
        let value = match &self.after {
            After::Absent => 0,
            After::Value(found) | After::Expiry(found) => found.value.len(),
            After::Labelled(found, label) => found.value.len() + label.owner.len() + 64,
        };
        self.key.len() + value + RECORD_OVERHEAD
    }
}

/// What an overlay says of a key.
#[derive(Debug)]
pub(super) enum Written {
    /// Nothing: ask the store.
    No,
    /// It is gone.
    Absent,
    /// It has this value.
    Value(Found),
}

/// A message that is published when the writes have been made.
#[derive(Clone, Debug)]
struct Message {
    channel: Vec<u8>,
    payload: Vec<u8>,
}

/// Writes and messages that wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overlay {
    changes: Vec<Change>,
    /// Positions in `changes`.
    places: HashMap<u16, HashMap<Box<[u8]>, usize>>,
    /// Databases that were emptied; their earlier changes are gone.
    cleared: Vec<u16>,
    /// Keys that count as written although nothing is left to write.
    touched: Vec<(u16, Box<[u8]>)>,
    messages: Vec<Message>,
    /// Lines for MONITOR.
    lines: Vec<String>,
    bytes: usize,
    /// Whether a command that may make the store larger has written.
    pub(super) grows: bool,
}

impl Overlay {
    /// The key as the script left it.
    pub(super) fn get(&self, db: u16, key: &[u8]) -> Written {
        let after = self.place(db, key).map(|place| self.changes[place].after.found());
        match after {
            Some(Some(found)) => Written::Value(found),
            Some(None) => Written::Absent,
            None if self.cleared.contains(&db) => Written::Absent,
            None => Written::No,
        }
    }

    fn place(&self, db: u16, key: &[u8]) -> Option<usize> {
        self.places.get(&db)?.get(key).copied()
    }

    /// Bytes that its writes take in the log.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many keys more the database has with it, and how many fewer.
    fn difference(&self, db: u16) -> (u64, u64) {
        let changes = || self.changes.iter().filter(move |change| change.db == db);
        let absent = |change: &&Change| !change.after.is_visible();
        let more = changes().filter(|change| !change.stored && !absent(change)).count();
        let fewer = changes().filter(|change| change.stored && absent(change)).count();
        (more as u64, fewer as u64)
    }

    fn set(&mut self, db: u16, key: &[u8], stored: bool, after: After) {
        let change = Change { db, key: key.into(), stored, after };
        self.bytes += change.bytes();
        if let Some(place) = self.place(db, key) {
            self.bytes -= self.changes[place].bytes();
            let stored = self.changes[place].stored;
            self.changes[place] = Change { stored, ..change };
        } else {
            self.places.entry(db).or_default().insert(key.into(), self.changes.len());
            self.changes.push(change);
        }
    }

    fn clear(&mut self, db: u16) {
        self.places.remove(&db);
        let (gone, kept) = std::mem::take(&mut self.changes)
            .into_iter()
            .partition::<Vec<Change>, _>(|change| change.db == db);
        self.touched.extend(gone.into_iter().map(|change| (change.db, change.key)));
        self.changes = kept;
        self.places.clear();
        for (place, change) in self.changes.iter().enumerate() {
            self.places.entry(change.db).or_default().insert(change.key.clone(), place);
        }
        self.bytes = self.changes.iter().map(Change::bytes).sum::<usize>();
        if !self.cleared.contains(&db) {
            self.cleared.push(db);
        }
    }

    /// Remembers a message.
    pub(super) fn tell(&mut self, channel: &[u8], payload: &[u8]) {
        self.bytes += channel.len() + payload.len();
        self.messages.push(Message { channel: channel.to_vec(), payload: payload.to_vec() });
    }

    /// Remembers a line for MONITOR.
    pub(super) fn show(&mut self, line: String) {
        self.lines.push(line);
    }

    /// Counts a key as written although it is what it was.
    pub(super) fn touch(&mut self, db: u16, key: &[u8]) {
        self.touched.push((db, key.into()));
    }

    /// The keys of a database that the script has made, and whether it has `key` deleted.
    pub(super) fn made(&self, db: u16) -> impl Iterator<Item = (&[u8], u8)> {
        self.changes
            .iter()
            .filter(move |change| change.db == db && !change.stored && change.after.is_visible())
            .filter_map(|change| change.after.found().map(|found| (&*change.key, found.value_type)))
    }
}

impl Context<'_> {
    /// From here on writes wait, and so do messages.
    pub(super) fn hold_writes(&mut self) {
        self.overlay = Some(Box::default());
        self.atomic = true;
    }

    /// Forgets the writes that wait.
    pub(super) fn drop_writes(&mut self) {
        self.overlay = None;
        self.atomic = false;
    }

    /// Makes the writes that wait, all or none, and sends the messages.
    ///
    /// # Errors
    /// No room now ([`Stop::Room`]), none at all, or a broken device; then nothing has been done.
    pub(super) fn make_writes(&mut self) -> Outcome {
        self.atomic = false;
        let Some(overlay) = self.overlay.take() else { return Ok(()) };
        let writes = overlay.changes.len() + overlay.cleared.len();
        if writes > 0 {
            self.room_for(overlay.bytes, overlay.grows)?;
        }
        if writes > 1 {
            self.together(|cx| cx.replay(&overlay))?;
        } else {
            self.replay(&overlay)?;
        }
        for (db, key) in &overlay.touched {
            let key = self.key_in(*db, key)?;
            self.unchanged(&key);
        }
        for line in &overlay.lines {
            self.tell_monitors(line);
        }
        for message in &overlay.messages {
            self.publish(&message.channel, &message.payload);
        }
        Ok(())
    }

    fn replay(&mut self, overlay: &Overlay) -> Outcome {
        for db in &overlay.cleared {
            self.clear(*db)?;
        }
        for change in &overlay.changes {
            let key = self.key_in(change.db, &change.key)?;
            match &change.after {
                After::Absent if change.stored => {
                    self.delete_now(&key)?;
                }
                After::Absent => self.unchanged(&key),
                After::Value(found) => {
                    let kind = Kind::of_tag(found.value_type).ok_or(text::MALFORMED)?;
                    self.put_now(&key, kind, &found.value, found.expires_at)?;
                }
                After::Expiry(found) => self.expire_now(&key, found.expires_at)?,
                After::Labelled(found, label) => {
                    let kind = Kind::of_tag(found.value_type).ok_or(text::MALFORMED)?;
                    let label = label.view();
                    self.put_labelled(&key, kind, &found.value, found.expires_at, &label)?;
                }
            }
        }
        Ok(())
    }

    /// Whether the log can take `bytes` bytes.
    pub(super) fn room_for(&mut self, bytes: usize, grows: bool) -> Result<(), Stop> {
        let shard = self.shard()?;
        match if grows { shard.room(bytes) } else { shard.room_for_delete(bytes) } {
            Room::Yes => Ok(()),
            Room::Wait => Err(Stop::Room),
            Room::Full => Err(text::FULL),
            Room::Poisoned => Err(text::POISONED),
        }
    }

    /// Whether the overlay can take `bytes` bytes more and the log all of it.
    ///
    /// # Errors
    /// More than a script may write; as [`Context::room`].
    pub(super) fn room_aside(&mut self, bytes: usize, grows: bool) -> Result<(), Stop> {
        let Some(overlay) = &mut self.overlay else { return Ok(()) };
        overlay.grows |= grows;
        let (all, grows) = (overlay.bytes() + bytes, overlay.grows);
        if all > WRITES_MAX {
            return Err(Stop::error("ERR the script writes more than 64 MiB"));
        }
        self.room_for(all, grows)
    }

    /// Whether the store has `key`, for the first write of a script to it.
    fn stored(&mut self, key: &Key<'_>) -> Result<bool, Stop> {
        let (db, name) = (key.namespace().0, key.bytes());
        let overlay = self.overlay.as_deref();
        if overlay.is_some_and(|o| o.cleared.contains(&db) || o.place(db, name).is_some()) {
            return Ok(false);
        }
        self.exists(key)
    }

    pub(super) fn put_aside(
        &mut self,
        key: &Key<'_>,
        kind: Kind,
        value: &[u8],
        expires_at: Option<UnixMillis>,
        label: &Label<'_>,
    ) -> Result<(), Stop> {
        // What the store would refuse is refused here, so that it refuses nothing later.
        let max = self.shard()?.value_bytes_max();
        let (name, db) = (key.bytes(), key.namespace().0);
        if value.len() > max || 2 * name.len() + value.len() + 4 * RECORD_OVERHEAD > 2 * max {
            return Err(super::write::too_large(value.len(), max));
        }
        let stored = self.stored(key)?;
        let found = Found {
            value: value.into(),
            chunked: None,
            value_type: kind.tag(),
            expires_at,
            lsn: Lsn::NONE,
            barrier: Lsn::NONE,
        };
        let after = if label.is_none() {
            After::Value(found)
        } else {
            let Label { owner, limit, hidden, .. } = *label;
            After::Labelled(found, Box::new(OwnLabel { owner: owner.into(), limit, hidden }))
        };
        if let Some(overlay) = &mut self.overlay {
            overlay.set(db, name, stored, after);
        }
        Ok(())
    }

    pub(super) fn delete_aside(&mut self, key: &Key<'_>) -> Result<bool, Stop> {
        if !self.exists(key)? {
            return Ok(false);
        }
        let stored = self.stored(key)?;
        if let Some(overlay) = &mut self.overlay {
            overlay.set(key.namespace().0, key.bytes(), stored, After::Absent);
        }
        Ok(true)
    }

    pub(super) fn expire_aside(
        &mut self,
        key: &Key<'_>,
        expires_at: Option<UnixMillis>,
    ) -> Result<(), Stop> {
        let Some(found) = self.find_any(key)? else { return Ok(()) };
        let stored = self.stored(key)?;
        let (db, name) = (key.namespace().0, key.bytes());
        let Some(overlay) = &mut self.overlay else { return Ok(()) };
        let found = Found { expires_at, ..found };
        let written = overlay.place(db, name);
        let is_new = written.is_some_and(|at| matches!(overlay.changes[at].after, After::Value(_)));
        let after = if is_new { After::Value(found) } else { After::Expiry(found) };
        overlay.set(db, name, stored, after);
        Ok(())
    }

    pub(super) fn clear_aside(&mut self, db: u16) {
        if let Some(overlay) = &mut self.overlay {
            overlay.clear(db);
        }
    }

    /// Keys in database `db`.
    ///
    /// # Errors
    /// The store is still recovering.
    pub fn count_keys(&mut self, db: u16) -> Result<u64, Stop> {
        let stored = self.shard()?.len(Namespace(db));
        let Some(overlay) = &self.overlay else { return Ok(stored) };
        let (more, fewer) = overlay.difference(db);
        let stored = if overlay.cleared.contains(&db) { 0 } else { stored };
        Ok((stored + more).saturating_sub(fewer))
    }
}
