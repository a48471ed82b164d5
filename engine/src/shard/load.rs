//! The cold half of the GET path: one device read, decode, admit to the hot set.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::drive::Pending;
use super::expire::Named;
use super::read::Owner;
use super::scan::ScanRead;
use super::{Event, Shard, Ticket};
use crate::format::DecodeError;
use crate::format::bytes::Seed;
use crate::format::record::{self, Head, Kind};
use crate::hot::NewEntry;
use crate::index::{Due, Entry, Identity};
use crate::io::{FileId, IoRequest, IoResult};
use crate::key::Key;
use crate::space::LOST;
use crate::units::{Incarnation, Location, Namespace, SegmentId, UnixMillis};

/// Why a key could not be loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    /// Its record is damaged on disk; the key is lost until it is written again.
    #[error("the record is damaged on disk")]
    Corrupt,
    /// The disk could not read it.
    #[error("the disk could not read the record")]
    Io,
}

/// A read of one record for those who wait for it.
pub(super) struct LoadRead {
    pub(super) place: RecordPlace,
    /// Length of the read.
    pub(super) bytes: usize,
}

/// A read of a record that has to wait for its turn.
pub(super) struct Deferred {
    pub(super) namespace: Namespace,
    pub(super) identity: Identity,
    pub(super) location: Location,
    /// The scan that wants the key, and how many bytes of the record it needs; none for a load.
    pub(super) scan: Option<(u64, usize)>,
}

/// Reads of records in flight at most: deep enough for any device, 8 MiB of small buffers. Fewer if
/// they are long, see [`Memory::reads_max`](super::memory::Memory::reads_max).
const READS_MAX: usize = 512;

/// Where and under which use of its segment a record was found in the index.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordPlace {
    pub(super) namespace: Namespace,
    pub(super) identity: Identity,
    pub(super) location: Location,
    pub(super) segment: SegmentId,
    pub(super) incarnation: Incarnation,
    pub(super) seed: Seed,
    /// Offset of the record behind the front of the read.
    pub(super) skip: usize,
}

/// A resident value that must stay until its ticket is released.
struct Pin {
    namespace: Namespace,
    identity: Identity,
    key: Box<[u8]>,
}

/// Reads under way by location, and pins by ticket.
#[derive(Default)]
pub(super) struct Loads {
    /// Who waits for which record, whether its read is in flight or deferred.
    reads: HashMap<Location, Vec<Ticket>, crate::key::WordHash>,
    in_flight: usize,
    /// Bytes of the reads in flight.
    bytes_in_flight: usize,
    deferred: VecDeque<Deferred>,
    pins: HashMap<Ticket, Vec<Pin>, crate::key::WordHash>,
}

impl Loads {
    /// Bytes of the reads in flight.
    pub(super) fn bytes_in_flight(&self) -> usize {
        self.bytes_in_flight
    }

    /// Whether another read may start.
    fn has_room(&self, bytes_max: usize) -> bool {
        self.in_flight < READS_MAX && self.bytes_in_flight < bytes_max
    }

    fn started(&mut self, bytes: usize) {
        self.in_flight += 1;
        self.bytes_in_flight += bytes;
    }
}

impl Shard {
    /// Brings a cold key into RAM and keeps it there until [`Shard::release`]. Always answers by
    /// one [`Event::Loaded`]; then look the key up again, for it may have changed meanwhile.
    pub fn load(&mut self, ticket: Ticket, key: &Key<'_>) {
        let owner = self.owner(key, self.now);
        if self.hot.peek(key.namespace, key.identity, key.bytes).is_some() {
            self.pin(ticket, key.namespace, key.identity, key.bytes);
        }
        let cold = match owner {
            Owner::Unknown => self.slot_entry(key),
            // Known to be this key's, but its value may be on disk all the same.
            Owner::Key(entry) | Owner::KeyAside(entry) if entry.location != LOST => {
                let hot = self.hot.peek_at(key.namespace, key.identity, entry.location);
                if hot.is_none() { Some(entry) } else { None }
            }
            Owner::Key(_) | Owner::KeyAside(_) | Owner::Nobody | Owner::Other => None,
        };
        match cold {
            Some(entry) => self.start_load(ticket, key.namespace, key.identity, &entry),
            None => self.events.push_back(Event::Loaded { ticket, outcome: Ok(()) }),
        }
    }

    /// Lets go of everything that was loaded for `ticket`.
    pub fn release(&mut self, ticket: Ticket) {
        for pin in self.loads.pins.remove(&ticket).unwrap_or_default() {
            self.hot.unpin(pin.namespace, pin.identity, &pin.key);
            if pin.namespace == Namespace::CHUNKS {
                self.let_chunk_go(&pin.key);
            }
        }
    }

    fn slot_entry(&self, key: &Key<'_>) -> Option<Entry> {
        self.space(key.namespace)?.index.get(key.identity)
    }

    fn start_load(&mut self, ticket: Ticket, ns: Namespace, identity: Identity, entry: &Entry) {
        if let Some(waiters) = self.loads.reads.get_mut(&entry.location) {
            waiters.push(ticket);
            return;
        }
        self.loads.reads.insert(entry.location, vec![ticket]);
        let read = Deferred { namespace: ns, identity, location: entry.location, scan: None };
        self.read_or_defer(read);
    }

    /// Starts a read of a record, or queues it when enough are in flight, or as many bytes: each
    /// holds a buffer, and one command may ask for a million.
    pub(super) fn read_or_defer(&mut self, read: Deferred) {
        if !self.loads.has_room(self.memory.reads_max()) {
            self.loads.deferred.push_back(read);
            return;
        }
        let space = self.space(read.namespace);
        let entry = space.and_then(|space| space.entry_at(read.identity, read.location));
        match (entry, read.scan) {
            (Some(entry), None) => {
                self.counters.cold_gets += 1;
                let (place, request) =
                    self.read_request(read.namespace, read.identity, &entry, usize::MAX);
                let bytes = bytes_of(&request);
                self.loads.started(bytes);
                self.start(Pending::Load(LoadRead { place, bytes }), request);
            }
            (Some(entry), Some((scan, bytes))) => {
                let (place, request) =
                    self.read_request(read.namespace, read.identity, &entry, bytes);
                let bytes = bytes_of(&request);
                self.loads.started(bytes);
                self.start(Pending::Scan(ScanRead { scan, place, bytes }), request);
            }
            // Moved or gone since it was queued: the caller looks again.
            (None, None) => self.answer_waiters(read.location, Ok(())),
            (None, Some((scan, _))) => self.scan_again(scan, read.namespace, read.identity),
        }
    }

    /// A read of `bytes` bytes has come back: the next ones may start.
    pub(super) fn next_reads(&mut self, bytes: usize) {
        self.loads.in_flight -= 1;
        self.loads.bytes_in_flight -= bytes;
        while self.loads.has_room(self.memory.reads_max())
            && let Some(read) = self.loads.deferred.pop_front()
        {
            self.read_or_defer(read);
        }
    }

    fn answer_waiters(&mut self, location: Location, outcome: Result<(), LoadError>) {
        for ticket in self.loads.reads.remove(&location).unwrap_or_default() {
            self.events.push_back(Event::Loaded { ticket, outcome });
        }
    }

    /// The one read that brings at least the first `bytes_max` bytes of an entry's record.
    pub(super) fn read_request(
        &mut self,
        namespace: Namespace,
        identity: Identity,
        entry: &Entry,
        bytes_max: usize,
    ) -> (RecordPlace, IoRequest) {
        let block = self.root.block_bytes as usize;
        let (segment, offset) = entry.location.split(self.root.segment_bytes);
        let start = offset as usize / block * block;
        let skip = offset as usize - start;
        let wanted = (entry.size.bytes_max()).min(bytes_max);
        let room = self.root.segment_bytes as usize - start;
        let bytes = (skip + wanted).next_multiple_of(block).min(room);
        let place = RecordPlace {
            namespace,
            identity,
            location: entry.location,
            segment,
            incarnation: self.log.segments.get(segment).incarnation,
            seed: self.log.seed(segment),
            skip,
        };
        let buffer = self.pool.take(bytes);
        let file = FileId::Segment(segment);
        self.counters.device_reads += 1;
        self.counters.device_bytes_read += bytes as u64;
        (place, IoRequest::Read { file, offset: start as u64, buffer, bytes })
    }

    /// The entry that a read was started for, if it is still where the read went.
    pub(super) fn still_there(&self, place: &RecordPlace) -> Option<Entry> {
        if self.log.segments.get(place.segment).incarnation != place.incarnation {
            return None;
        }
        self.space(place.namespace)?.entry_at(place.identity, place.location)
    }

    pub(super) fn on_load_read(&mut self, read: &LoadRead, result: IoResult) {
        let tickets = self.loads.reads.remove(&read.place.location).unwrap_or_default();
        let outcome = match (self.still_there(&read.place), &result.outcome, &result.buffer) {
            // Moved, overwritten or gone meanwhile: the caller looks again.
            (None, _, _) => Ok(()),
            (Some(entry), Ok(_), Some(buffer)) => {
                self.admit(&read.place, &entry, &buffer[read.place.skip..], &tickets)
            }
            (Some(_), _, _) => {
                let error = result.outcome.as_ref().err();
                tracing::error!(segment = read.place.segment.0, ?error, "cannot read a record");
                Err(LoadError::Io)
            }
        };
        if let Some(buffer) = result.buffer {
            self.pool.give(buffer);
        }
        for ticket in tickets {
            self.events.push_back(Event::Loaded { ticket, outcome });
        }
        self.next_reads(read.bytes);
    }

    /// Whether a record is one that an entry may point to. If not, though it verifies, it was written to
    /// the place of another, or the read returned what was there before: taken for the key of another
    /// that shares its identity, it would make the entry's own look absent.
    pub(super) fn check_owner(
        &self,
        place: &RecordPlace,
        head: &Head,
        key: &[u8],
    ) -> Result<(), DecodeError> {
        let fits = head.kind == Kind::Put
            && head.namespace == place.namespace
            && self.key(head.namespace, key).identity == place.identity;
        if fits { Ok(()) } else { Err(DecodeError::Field("key, which is another's")) }
    }

    /// Decodes a record that was read for an entry and admits it to the hot set, pinned.
    fn admit(
        &mut self,
        place: &RecordPlace,
        entry: &Entry,
        bytes: &[u8],
        tickets: &[Ticket],
    ) -> Result<(), LoadError> {
        let record = match record::decode(bytes, place.seed) {
            Ok(record) if record.value_ok => {
                match self.check_owner(place, &record.head, record.key) {
                    Ok(()) => record,
                    Err(cause) => {
                        self.lose(place, Some(cause));
                        return Err(LoadError::Corrupt);
                    }
                }
            }
            damaged => {
                let cause = damaged.err();
                self.lose(place, cause);
                return Err(LoadError::Corrupt);
            }
        };
        let unpacked = match self.unpack(&record.head, record.value) {
            Ok(unpacked) => unpacked,
            Err(cause) => {
                self.lose(place, Some(cause));
                return Err(LoadError::Corrupt);
            }
        };
        let limit = record.label.limit;
        let expires_at = exact_expiry(entry, record.head.expires_at, limit, self.now);
        let ms_left = expires_at.is_none_or(|at| at > self.now);
        if !ms_left {
            let named = Named { key: record.key, value_type: Some(record.head.value_type) };
            let (ns, identity) = (place.namespace, place.identity);
            self.expire_entry(ns, identity, place.location, expires_at, Some(named));
            return Ok(());
        }
        let loaded = NewEntry {
            namespace: place.namespace,
            identity: place.identity,
            key: record.key,
            value: unpacked.as_deref().unwrap_or(record.value),
            value_type: record.head.value_type,
            expires_at,
            lsn: record.head.lsn,
            location: place.location,
        };
        self.hot.insert(&loaded, entry.freq);
        for ticket in tickets {
            self.pin(*ticket, place.namespace, place.identity, record.key);
        }
        Ok(())
    }

    fn pin(&mut self, ticket: Ticket, namespace: Namespace, identity: Identity, key: &[u8]) {
        self.hot.pin(namespace, identity, key);
        let pin = Pin { namespace, identity, key: key.into() };
        self.loads.pins.entry(ticket).or_default().push(pin);
    }

    /// Marks an entry whose record is damaged: reads say so until the key is written again, and no
    /// older version is uncovered.
    pub(super) fn lose(&mut self, place: &RecordPlace, cause: Option<DecodeError>) {
        let (segment, offset) = place.location.split(self.root.segment_bytes);
        sometimes!(LoadedDamage);
        let cause = cause.map_or("checksum mismatch in the value".to_owned(), |c| c.to_string());
        tracing::error!(segment = segment.0, offset, cause, "a record is damaged; its key is lost");
        self.counters.corrupt_records += 1;
        // The record's bytes stay counted as live, so that its segment outlasts the mark, which is in
        // RAM until a checkpoint has it.
        self.checkpointing.want();
        let (namespace, identity) = (place.namespace, place.identity);
        if self.space_mut(namespace).lose_at(identity, place.location) {
            // Without its label a value that is still in RAM would have no chunks, owner or limit.
            let hot = self.hot.peek_at(namespace, identity, place.location);
            if let Some(key) = hot.map(|hot| Box::<[u8]>::from(hot.key())) {
                self.hot.remove(namespace, identity, &key);
            }
        }
        self.drop_chunks_of(namespace);
    }
}

fn bytes_of(request: &IoRequest) -> usize {
    if let IoRequest::Read { bytes, .. } = request { *bytes } else { 0 }
}

/// The expiry of an entry to the millisecond where the record knows it, to the second (rounded up)
/// where a touch has moved it since, though not beyond its limit.
pub(super) fn exact_expiry(
    entry: &Entry,
    recorded: Option<UnixMillis>,
    limit: Option<UnixMillis>,
    now: UnixMillis,
) -> Option<UnixMillis> {
    match entry.expiry.due(now) {
        Due::At(seconds) if entry.touch > 0 => {
            let at = UnixMillis(seconds * 1000);
            let limit = limit.filter(|_| !planted!(GraceBeyondLimit));
            Some(limit.map_or(at, |limit| at.min(limit)))
        }
        _ => recorded,
    }
}
