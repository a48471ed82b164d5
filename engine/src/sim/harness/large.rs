//! Large values: clients that stream them in while others go on, read them back chunk by chunk, and
//! replace parts of them.

use std::collections::BTreeMap;

use super::World;
use super::commands::Stop;
use crate::format::chunked::Chunked;
use crate::shard::{LoadError, Lookup, Room, Ticket, Upload};
use crate::sim::faults::Profile;
use crate::sim::model::label::ModelLabel;
use crate::sim::model::{Change, ModelKey, Seen, Value};
use crate::sim::program::Action;
use crate::units::{Namespace, UnixMillis};

/// Room for a chunk's record beside its bytes.
const CHUNK_OVERHEAD: usize = 256;
/// Chunks that one replacement touches at most.
const PATCH_CHUNKS_MAX: usize = 8;

/// A value on its way in.
struct Incoming {
    handle: u64,
    key: u8,
    value: Value,
    ttl_ms: Option<u64>,
    upload: Upload,
    /// All chunks are there, and its command waits or is under way.
    whole: bool,
}

/// A value on its way out, with what it must be.
struct Fetch {
    ticket: u64,
    chunked: Chunked,
    next: u32,
    end: u32,
    expected: Value,
    loading: bool,
}

/// Large values of a world.
#[derive(Default)]
pub(super) struct LargeValues {
    incoming: Vec<Incoming>,
    fetches: Vec<Fetch>,
    /// Whose a chunk is, by the word that names it in the log.
    pub(super) words: BTreeMap<u64, ModelKey>,
    /// Whether the world has any.
    pub(super) on: bool,
}

impl LargeValues {
    pub(super) fn crashed(&mut self) {
        self.incoming.clear();
        self.fetches.clear();
    }

    pub(super) fn at_rest(&self) -> bool {
        self.fetches.is_empty()
    }
}

impl World {
    pub(super) fn start_upload(&mut self, key: u8, bytes: usize, ttl_ms: Option<u64>) {
        let handle = self.ticket();
        let value = self.value(bytes);
        let upload = self.shard().begin_chunks();
        let incoming = Incoming { handle, key, value, ttl_ms, upload, whole: false };
        self.large.incoming.push(incoming);
        self.large.on = true;
    }

    /// Puts up to `chunks` chunks of every upload; those that are whole then are set.
    pub(super) fn feed_uploads(&mut self, chunks: u8) -> Result<(), String> {
        let handles: Vec<u64> = self.large.incoming.iter().map(|one| one.handle).collect();
        for handle in handles {
            self.feed_one(handle, chunks)?;
        }
        Ok(())
    }

    fn feed_one(&mut self, handle: u64, chunks: u8) -> Result<(), String> {
        let at = self.large.incoming.iter().position(|one| one.handle == handle);
        let Some(mut one) = at.map(|at| self.large.incoming.remove(at)) else { return Ok(()) };
        for _ in 0..chunks {
            if one.whole || self.shard().poisoned() {
                break;
            }
            let rest = &one.value.0[one.upload.len as usize..];
            let chunk = &rest[..rest.len().min(one.upload.chunk_bytes as usize)];
            if chunk.is_empty() {
                one.whole = true;
                break;
            }
            match self.shard().room(chunk.len() + CHUNK_OVERHEAD) {
                Room::Yes => {}
                Room::Full => {
                    self.counts.refused_full += 1;
                    self.shard().drop_upload(one.upload);
                    return Ok(());
                }
                Room::Wait | Room::Poisoned => break,
            }
            let now = self.wall();
            if let Err(refused) = self.shard().put_chunk(&mut one.upload, chunk, now) {
                return Err(format!("a chunk was refused though there was room: {refused}"));
            }
            let (chunked, number) = (one.upload.chunked(), one.upload.chunks - 1);
            self.note_word(one.key, &chunked, number);
        }
        let (key, whole) = (one.key, one.whole);
        self.large.incoming.push(one);
        if whole {
            self.command(Action::Finish(key, handle))?;
        }
        Ok(())
    }

    fn note_word(&mut self, key: u8, chunked: &Chunked, number: u32) {
        let name = self.keys[usize::from(key)].clone();
        let mut buffer = [0; 12];
        let word = self.shard().chunk_key(chunked, number, &mut buffer).packed();
        self.large.words.insert(word, name);
    }

    /// The client of the oldest upload has gone.
    pub(super) fn abandon_oldest(&mut self) {
        let at = self.large.incoming.iter().position(|one| !one.whole);
        if let Some(at) = at {
            self.abandon(self.large.incoming[at].handle);
        }
    }

    pub(super) fn abandon(&mut self, handle: u64) {
        let at = self.large.incoming.iter().position(|one| one.handle == handle);
        if let Some(at) = at {
            let one = self.large.incoming.remove(at);
            self.counts.uploads_dropped += 1;
            self.shard().drop_upload(one.upload);
        }
    }

    /// All chunks of an upload are there: it becomes its key's value.
    pub(super) fn finish_upload(&mut self, number: u8, handle: u64) -> Result<(), Stop> {
        let at = self.large.incoming.iter().position(|one| one.handle == handle);
        let Some(one) = at.map(|at| self.large.incoming.remove(at)) else { return Ok(()) };
        let name = self.keys[usize::from(number)].clone();
        let wall = self.wall();
        let expires_at = one.ttl_ms.map(|ms| self.now().plus(ms));
        let label = if self.labelled {
            ModelLabel::of(handle, expires_at, self.now())
        } else {
            ModelLabel::default()
        };
        let expires_at = label.cut(expires_at);
        let value_type = number % 4;
        let shard = self.shard();
        let key = shard.key(Namespace(name.0), &name.1);
        let lsn =
            shard.put_chunked(&key, value_type, one.upload, expires_at, &label.view(), wall)?;
        self.counts.uploads += 1;
        self.tell()?;
        self.watch_put(&name, label.hidden);
        let change = Change::Put { key: name, value: one.value, value_type, expires_at, label };
        self.model.apply(change, Some(lsn))?;
        Ok(())
    }

    /// A resident key's large value, if it has one that is known.
    fn known_large(&mut self, number: u8) -> Option<(Chunked, Option<UnixMillis>, Value)> {
        let name = self.keys[usize::from(number)].clone();
        let now = self.wall();
        let shard = self.shard();
        let key = shard.key(Namespace(name.0), &name.1);
        let Lookup::Found(found) = shard.lookup(&key, now) else { return None };
        let live = self.model.get(&name).filter(|live| live.lost.is_none())?;
        Some((found.chunked?, found.expires_at, live.value.clone()))
    }

    /// A client asks for a part of a large value, in thousandths of its length.
    pub(super) fn start_fetch(&mut self, number: u8, part: (u16, u16)) -> Result<(), String> {
        let Some((chunked, _, expected)) = self.known_large(number) else { return Ok(()) };
        let chunk = |share: u16| {
            let byte = chunked.len * u64::from(share) / 1000;
            (byte / u64::from(chunked.chunk_bytes)) as u32
        };
        let (next, end) = (chunk(part.0), (chunk(part.1) + 1).min(chunked.chunks()));
        let ticket = self.ticket();
        self.shard().pin_chunks(&chunked);
        self.large.fetches.push(Fetch { ticket, chunked, next, end, expected, loading: false });
        self.drive_fetches()
    }

    /// Each reader takes its next chunk.
    pub(super) fn drive_fetches(&mut self) -> Result<(), String> {
        for mut fetch in std::mem::take(&mut self.large.fetches) {
            if fetch.loading || self.drive_fetch(&mut fetch)? {
                self.large.fetches.push(fetch);
            } else {
                self.shard().unpin_chunks(&fetch.chunked);
            }
        }
        Ok(())
    }

    /// Takes the next chunk; false if that was the last, or is damaged.
    fn drive_fetch(&mut self, fetch: &mut Fetch) -> Result<bool, String> {
        if fetch.next >= fetch.end {
            self.counts.fetches += 1;
            return Ok(false);
        }
        let now = self.wall();
        let mut buffer = [0; 12];
        let shard = self.shard();
        let key = shard.chunk_key(&fetch.chunked, fetch.next, &mut buffer);
        match shard.lookup(&key, now) {
            Lookup::Cold => {
                fetch.loading = true;
                shard.load(Ticket(fetch.ticket), &key);
                Ok(true)
            }
            Lookup::Found(found) => {
                shard.release(Ticket(fetch.ticket));
                let start = fetch.next as usize * fetch.chunked.chunk_bytes as usize;
                let length = fetch.chunked.chunk_len(fetch.next);
                if fetch.expected.0.get(start..start + length) != Some(&found.value[..]) {
                    return Err(format!("chunk {} is not what was set", fetch.next));
                }
                fetch.next += 1;
                Ok(true)
            }
            Lookup::Lost | Lookup::Absent { .. } if self.profile == Profile::Beyond => Ok(false),
            other => Err(format!("chunk {} of {:?} is {other:?}", fetch.next, fetch.chunked)),
        }
    }

    /// A chunk was loaded for a reader; false if the ticket is none of theirs.
    pub(super) fn on_chunk_loaded(&mut self, ticket: u64, outcome: Result<(), LoadError>) -> bool {
        let at = self.large.fetches.iter().position(|fetch| fetch.ticket == ticket);
        let Some(at) = at else { return false };
        self.large.fetches[at].loading = false;
        if outcome.is_err() {
            let fetch = self.large.fetches.remove(at);
            self.shard().unpin_chunks(&fetch.chunked);
            self.shard().release(Ticket(ticket));
        }
        true
    }

    /// What a replacement of a part would make of a value, and the chunks that change.
    fn patched(&mut self, number: u8, share: u16, bytes: usize) -> Option<Patch> {
        let (chunked, expires_at, old) = self.known_large(number)?;
        let size = chunked.chunk_bytes as usize;
        let from = old.0.len() * usize::from(share) / 1000;
        let bytes = bytes.min((PATCH_CHUNKS_MAX - 1) * size).max(1);
        let mut value = old.0.to_vec();
        value.resize(value.len().max(from + bytes), 0);
        let fresh = self.value(bytes);
        value[from..from + bytes].copy_from_slice(&fresh.0);
        let numbers = (from / size) as u32..=((from + bytes - 1) / size) as u32;
        let value = Value::from(&value[..]);
        Some(Patch { chunked, expires_at, value, numbers })
    }

    /// Replaces a part of a large value, or makes it longer.
    pub(super) fn patch(&mut self, number: u8, share: u16, bytes: usize) -> Result<(), Stop> {
        let Some(patch) = self.patched(number, share, bytes) else { return Ok(()) };
        let Patch { mut chunked, expires_at, value, numbers } = patch;
        if self.shard().chunks_pinned(&chunked) {
            return Ok(());
        }
        let name = self.keys[usize::from(number)].clone();
        let Some(live) = self.model.get(&name) else { return Ok(()) };
        let (value_type, label, wall) = (live.value_type, live.label, self.wall());
        self.shard().begin();
        self.model.begin();
        for chunk in numbers {
            let rest = &value.0[chunk as usize * chunked.chunk_bytes as usize..];
            let bytes = &rest[..rest.len().min(chunked.chunk_bytes as usize)];
            self.shard().replace_chunk(&mut chunked, chunk, bytes, wall)?;
            self.note_word(number, &chunked, chunk);
        }
        let shard = self.shard();
        let key = shard.key(Namespace(name.0), &name.1);
        let view = label.view();
        let lsn = shard.rewrite_chunked(&key, value_type, &chunked, expires_at, &view, wall)?;
        self.counts.patches += 1;
        self.tell()?;
        self.watch_put(&name, label.hidden);
        self.model.may_mix(name.clone());
        let change = Change::Put { key: name, value, value_type, expires_at, label };
        self.model.apply(change, Some(lsn))?;
        let lsn = self.shard().commit();
        self.model.commit(lsn)?;
        Ok(())
    }

    /// Moves a large value to another key.
    pub(super) fn rename(&mut self, from: u8, to: u8) -> Result<(), Stop> {
        let Some((chunked, expires_at, value)) = self.known_large(from) else { return Ok(()) };
        let (old, new) = (self.keys[usize::from(from)].clone(), self.keys[usize::from(to)].clone());
        let Some(live) = self.model.get(&old).filter(|_| from != to) else { return Ok(()) };
        let (value_type, label, wall) = (live.value_type, live.label, self.wall());
        self.shard().pin_chunks(&chunked);
        self.shard().begin();
        self.model.begin();
        self.delete(from)?;
        let shard = self.shard();
        let key = shard.key(Namespace(new.0), &new.1);
        let view = label.view();
        let lsn = shard.rewrite_chunked(&key, value_type, &chunked, expires_at, &view, wall)?;
        self.tell()?;
        self.watch_put(&new, label.hidden);
        let change = Change::Put { key: new.clone(), value, value_type, expires_at, label };
        self.model.apply(change, Some(lsn))?;
        let lsn = self.shard().commit();
        self.model.commit(lsn)?;
        self.shard().unpin_chunks(&chunked);
        for number in 0..chunked.chunks() {
            self.note_word(to, &chunked, number);
        }
        Ok(())
    }

    /// Reads all chunks of a store that nobody else uses yet; `None` if one is lost.
    pub(super) fn read_chunks(&mut self, chunked: &Chunked) -> Result<Option<Value>, String> {
        let mut value = Vec::new();
        for number in 0..chunked.chunks() {
            let mut buffer = [0; 12];
            let name = self.shard().chunk_key(chunked, number, &mut buffer).bytes().into();
            match self.read_blocking(&(Namespace::CHUNKS.0, name))?.0 {
                Seen::Found { value: chunk, .. } => value.extend_from_slice(&chunk.0),
                _ => return Ok(None),
            }
        }
        Ok(Some(Value::from(&value[..])))
    }

    /// Whether the chunks are those of the values, of open uploads, and of what is being read.
    pub(super) fn check_chunks(&mut self) -> Result<(), String> {
        match self.shard().misplaced_chunks() {
            (0, 0) => Ok(()),
            (missing, orphans) => {
                Err(format!("{missing} chunks are missing, {orphans} are nobody's"))
            }
        }
    }
}

/// A part of a large value being replaced.
struct Patch {
    chunked: Chunked,
    expires_at: Option<UnixMillis>,
    value: Value,
    numbers: std::ops::RangeInclusive<u32>,
}
