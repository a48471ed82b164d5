//! Keys read ahead of their expiry: the key of a cold entry is on disk only, and whoever listens for
//! expired keys wants it within milliseconds.
//!
//! The wheel says what falls due in the next two seconds; of what is cold the head of the record is
//! read, neighbours in one read. It tells the key and the exact millisecond. What could not be read
//! in time is read when it is due; its entry stays until then, and counts as absent meanwhile.
//!
//! Owns: [`Ahead`], the reads.
//! Never knows: who listens.
//! Invariant: nothing is read while nobody listens, but for what is far (`far.rs`); what is held is bounded by `KNOWN_MAX` and
//! `KNOWN_BYTES_MAX`; every held entry has an item on the wheel or a read under way.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::Shard;
use super::drive::Pending;
use super::expire::Named;
use super::load::{RecordPlace, exact_expiry};
use super::scan::{HEAD_BYTES, HEAD_BYTES_MAX};
use crate::format::DecodeError;
use crate::format::label::Label;
use crate::format::record;
use crate::index::{Due, Entry, Expiry, Identity};
use crate::io::{FileId, IoRequest, IoResult};
use crate::key::{WordHash, pack, unpack};
use crate::space::LOST;
use crate::units::{Location, Namespace, UnixMillis};

/// How long before the second in which it is due a cold entry's key is read.
const LEAD_MS: u64 = 2000;
/// Keys held at most, asked for or read.
const KNOWN_MAX: usize = 1 << 16;
/// Bytes of keys held at most.
const KNOWN_BYTES_MAX: usize = 8 << 20;
/// Bytes of one read: neighbours within so many bytes are read together.
const WINDOW_BYTES: usize = super::open::SMALL_BUFFER_BYTES;
/// Reads in flight at most.
const READS_MAX: usize = 32;
/// Reads started in one millisecond on average, at most.
const READS_PER_MS: u64 = 10;

/// What is known of an entry that will expire soon.
pub(super) struct Known {
    location: Location,
    /// The entry's expiry when it was asked for; if it has another one now, this says nothing.
    expiry: Expiry,
    /// Key, type and exact expiry, once they have been read.
    pub(super) named: Option<AheadKey>,
    /// The disk could not read it.
    failed: bool,
}

/// What a record's head told.
pub(super) struct AheadKey {
    pub(super) key: Box<[u8]>,
    pub(super) value_type: u8,
    pub(super) expires_at: UnixMillis,
}

/// A read that is wanted.
struct Wanted {
    packed: u64,
    location: Location,
    /// Bytes of the record that are needed.
    bytes: usize,
}

/// A read of neighbouring heads.
pub(super) struct AheadRead {
    places: Vec<RecordPlace>,
    bytes: usize,
}

/// Keys held ahead of their expiry, and the reads for them.
#[derive(Default)]
pub(super) struct Ahead {
    on: bool,
    /// The wheel has been looked through up to here.
    seen: UnixMillis,
    known: HashMap<u64, Known, WordHash>,
    known_bytes: usize,
    wanted: VecDeque<Wanted>,
    in_flight: usize,
    /// Reads that may be started, and when that was reckoned.
    credit: u64,
    credited: UnixMillis,
}

impl Ahead {
    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    /// What is held of `entry`.
    pub(super) fn known(&self, packed: u64, entry: &Entry) -> Option<&Known> {
        let known = self.known.get(&packed)?;
        (known.location == entry.location && known.expiry == entry.expiry).then_some(known)
    }

    /// Takes what was read of `entry`, and forgets it.
    pub(super) fn take(&mut self, packed: u64, entry: &Entry) -> Option<AheadKey> {
        let fits = self.known(packed, entry).is_some();
        let named = self.forget(packed);
        named.filter(|_| fits)
    }

    /// Forgets what does not fit `entry` any more.
    pub(super) fn forget_unless(&mut self, packed: u64, entry: &Entry) {
        if !self.known.is_empty() && self.known(packed, entry).is_none() {
            self.forget(packed);
        }
    }

    /// Compaction has moved a record.
    pub(super) fn moved(&mut self, packed: u64, from: Location, to: Location) {
        if self.known.is_empty() {
            return;
        }
        match self.known.get_mut(&packed) {
            Some(known) if known.location == from && known.named.is_some() => known.location = to,
            // Its read went to the old place.
            Some(known) if known.location == from => drop(self.forget(packed)),
            _ => {}
        }
    }

    pub(super) fn forget(&mut self, packed: u64) -> Option<AheadKey> {
        if self.known.is_empty() {
            return None;
        }
        let named = self.known.remove(&packed)?.named;
        self.known_bytes -= named.as_ref().map_or(0, |named| named.key.len());
        named
    }

    fn has_room(&self) -> bool {
        self.known.len() < KNOWN_MAX && self.known_bytes < KNOWN_BYTES_MAX
    }

    fn want(&mut self, packed: u64, entry: &Entry) -> Wanted {
        let (location, expiry) = (entry.location, entry.expiry);
        self.forget(packed);
        self.known.insert(packed, Known { location, expiry, named: None, failed: false });
        Wanted { packed, location, bytes: entry.size.bytes_max().min(HEAD_BYTES) }
    }
}

impl Shard {
    /// Whether to report keys that expire, by [`Event::Expired`](super::Event::Expired). Off at first. While it is on, the keys
    /// of entries that are about to expire are read from disk if they are not in RAM, and reading an
    /// elapsed key that is on disk costs a read.
    pub fn report_expired(&mut self, on: bool) {
        if self.ahead.on != on {
            let in_flight = self.ahead.in_flight;
            let (seen, credited) = (self.now, self.now);
            self.ahead = super::ahead::Ahead { on, seen, in_flight, credited, ..Ahead::default() };
            self.untold.clear();
        }
    }

    /// Whether the key of an entry that has expired can be told, or need not be.
    pub(super) fn can_name(&self, ns: Namespace, identity: Identity, entry: &Entry) -> bool {
        if !self.ahead.on || entry.location == LOST {
            return true;
        }
        // Of hidden keys nobody is told, and the keys of an owner are in RAM.
        let space = self.space(ns);
        if space.is_some_and(|space| space.names(identity)) {
            return true;
        }
        let known = self.ahead.known(pack(ns, identity), entry);
        known.is_some_and(|known| known.named.is_some() || known.failed)
            || self.hot.peek_at(ns, identity, entry.location).is_some()
    }

    /// Asks for the key of an entry that is due; false if that has to wait.
    pub(super) fn ask_key(&mut self, ns: Namespace, identity: Identity, entry: &Entry) -> bool {
        let packed = pack(ns, identity);
        if self.ahead.known(packed, entry).is_some() {
            // Its read is under way.
            return true;
        }
        if !self.ahead.has_room() {
            return false;
        }
        let wanted = self.ahead.want(packed, entry);
        self.ahead.wanted.push_back(wanted);
        self.read_ahead();
        true
    }

    /// Finds what falls due soon and is cold, and reads it.
    pub(super) fn look_ahead(&mut self, now: UnixMillis) {
        let until = now.plus(LEAD_MS);
        if self.ahead.on && until > self.ahead.seen && self.ahead.has_room() {
            let upcoming = self.wheel.upcoming(self.ahead.seen, until);
            let mut fresh = Vec::new();
            for (namespace, identity, _) in upcoming {
                let space = self.spaces.get(namespace.slot());
                let Some(entry) = space.and_then(|space| space.index.get(identity)) else {
                    continue;
                };
                let hidden = space.is_some_and(|space| space.hides(identity));
                let cold = entry.location != LOST
                    && !hidden
                    && self.hot.peek_at(namespace, identity, entry.location).is_none();
                let packed = pack(namespace, identity);
                if cold && self.ahead.known(packed, &entry).is_none() {
                    if !self.ahead.has_room() {
                        break;
                    }
                    fresh.push(self.ahead.want(packed, &entry));
                }
            }
            // Neighbours on disk are read together.
            fresh.sort_unstable_by_key(|wanted| wanted.location.0);
            self.ahead.wanted.extend(fresh);
            self.ahead.seen = until;
        }
        let gained = now.since(self.ahead.credited).saturating_mul(READS_PER_MS);
        self.ahead.credit = (self.ahead.credit + gained).min(READS_PER_MS * 100);
        self.ahead.credited = now;
        self.read_ahead();
    }

    /// Starts as many of the wanted reads as may be.
    fn read_ahead(&mut self) {
        while self.ahead.in_flight < READS_MAX && self.ahead.credit > 0 {
            let Some(first) = self.ahead.wanted.pop_front() else { return };
            let Some(first_place) = self.ahead_place(&first) else { continue };
            let block = u64::from(self.root.block_bytes);
            let segment_bytes = self.root.segment_bytes;
            let offset = |place: &RecordPlace| u64::from(place.location.split(segment_bytes).1);
            let start = offset(&first_place) / block * block;
            let room = u64::from(segment_bytes) - start;
            let mut end = offset(&first_place) + first.bytes as u64;
            let (segment, mut places) = (first_place.segment, vec![first_place]);
            while let Some(next) = self.ahead.wanted.pop_front() {
                let Some(place) = self.ahead_place(&next) else { continue };
                let next_end = offset(&place) + next.bytes as u64;
                let near = place.segment == segment
                    && offset(&place) >= start
                    && next_end <= start + WINDOW_BYTES as u64;
                if !near {
                    self.ahead.wanted.push_front(next);
                    break;
                }
                end = end.max(next_end);
                places.push(place);
            }
            for place in &mut places {
                place.skip = (offset(place) - start) as usize;
            }
            let bytes = (end - start).next_multiple_of(block).min(room) as usize;
            let buffer = self.pool.take(bytes);
            let file = FileId::Segment(segment);
            self.counters.expiry_reads += 1;
            self.counters.device_reads += 1;
            self.counters.device_bytes_read += bytes as u64;
            self.ahead.credit -= 1;
            self.ahead.in_flight += 1;
            let request = IoRequest::Read { file, offset: start, buffer, bytes };
            self.start(Pending::Ahead(AheadRead { places, bytes }), request);
        }
    }

    /// Where a wanted record is; `None`, and forgotten, if it is not there any more.
    fn ahead_place(&mut self, wanted: &Wanted) -> Option<RecordPlace> {
        let (namespace, identity) = unpack(wanted.packed)?;
        let entry = self.space(namespace).and_then(|space| space.index.get(identity));
        if entry.is_none_or(|entry| entry.location != wanted.location) {
            self.ahead.forget(wanted.packed);
            return None;
        }
        let (segment, _) = wanted.location.split(self.root.segment_bytes);
        Some(RecordPlace {
            namespace,
            identity,
            location: wanted.location,
            segment,
            incarnation: self.log.segments.get(segment).incarnation,
            seed: self.log.seed(segment),
            skip: 0,
        })
    }

    pub(super) fn on_ahead_read(&mut self, read: &AheadRead, result: IoResult) {
        self.ahead.in_flight -= 1;
        for place in &read.places {
            let packed = pack(place.namespace, place.identity);
            let awaited = self.ahead.known.get(&packed);
            if awaited.is_none_or(|known| known.location != place.location) {
                continue;
            }
            let Some(entry) = self.still_there(place) else {
                // Moved, overwritten or gone; if it is still due, it is asked for then.
                self.ahead.forget(packed);
                continue;
            };
            match (&result.outcome, &result.buffer) {
                (Ok(_), Some(buffer)) => {
                    self.learn(place, &entry, &buffer[place.skip.min(read.bytes)..read.bytes]);
                }
                _ => self.cannot_learn(packed, &entry),
            }
        }
        self.give_back(result);
        self.read_ahead();
    }

    /// Takes key and expiry from the front of an entry's record.
    fn learn(&mut self, place: &RecordPlace, entry: &Entry, bytes: &[u8]) {
        let packed = pack(place.namespace, place.identity);
        let decoded = record::decode_head(bytes, place.seed).and_then(|(head, name, _)| {
            self.check_owner(place, &head, head.split_name(name).0).map(|()| (head, name))
        });
        let (head, name) = match decoded {
            Ok(found) => found,
            Err(DecodeError::Short) if bytes.len() < entry.size.bytes_max().min(HEAD_BYTES_MAX) => {
                let mut wanted = self.ahead.want(packed, entry);
                wanted.bytes = entry.size.bytes_max().min(HEAD_BYTES_MAX);
                self.ahead.wanted.push_front(wanted);
                return;
            }
            Err(cause) => {
                self.lose(place, Some(cause));
                self.ahead.forget(packed);
                return;
            }
        };
        let (key, extension) = head.split_name(name);
        let limit = Label::decode(extension).ok().and_then(|label| label.limit);
        let Some(at) = exact_expiry(entry, head.expires_at, limit, self.now) else {
            self.cannot_learn(packed, entry);
            return;
        };
        if at <= self.now {
            let named = Named { key, value_type: Some(head.value_type) };
            let (ns, identity) = (place.namespace, place.identity);
            self.expire_entry(ns, identity, place.location, Some(at), Some(named));
            return;
        }
        if entry.expiry == Expiry::FAR {
            self.ahead.forget(packed);
            self.stamp_far(place.namespace, place.identity, place.location, at);
            return;
        }
        let named = AheadKey { key: key.into(), value_type: head.value_type, expires_at: at };
        self.ahead.forget(packed);
        self.ahead.known_bytes += key.len();
        let (location, expiry) = (entry.location, entry.expiry);
        let known = Known { location, expiry, named: Some(named), failed: false };
        self.ahead.known.insert(packed, known);
        self.schedule(place.namespace, place.identity, Some(at));
    }

    /// The disk could not read the head of a record: its key expires without an event.
    fn cannot_learn(&mut self, packed: u64, entry: &Entry) {
        let Some((namespace, identity)) = unpack(packed) else { return };
        tracing::error!("the key of an expiring entry cannot be read: no event will tell of it");
        if let Some(known) = self.ahead.known.get_mut(&packed) {
            known.failed = true;
        }
        let Due::At(seconds) = entry.expiry.due(self.now) else { return };
        self.schedule(namespace, identity, Some(UnixMillis(seconds * 1000)));
    }
}
