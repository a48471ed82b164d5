//! Iterating over keys: the index gives the entries, the hot set or the record's head the keys.
//!
//! In hash order, which growth of the index and compaction preserve, so that a key that is present
//! throughout is never missed. `listing` does it in the order of the log where that is cheaper.

use bytes::Bytes;
use hashbrown::HashMap;

use super::listing::{Cursor, Listing};
use super::load::{Deferred, RecordPlace};
use super::{Event, Shard, Ticket};
use crate::format::DecodeError;
use crate::format::label::{EXTENSION_BYTES_MAX, Label};
use crate::format::record;
use crate::index::{Entry, Identity};
use crate::io::IoResult;
use crate::space::LOST;
use crate::units::{Lsn, Namespace, UnixMillis};

/// A key that a scan found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScannedKey {
    /// The key.
    pub bytes: Bytes,
    /// The type of its value.
    pub value_type: u8,
}

/// First read of a record whose key is wanted: header and any ordinary key.
pub(super) const HEAD_BYTES: usize = 512;
/// Second read, if the key is longer: header, the longest key and its label.
pub(super) const HEAD_BYTES_MAX: usize =
    record::HEADER_BYTES + record::KEY_BYTES_MAX + EXTENSION_BYTES_MAX;

/// Most keys that one step finds, about: a millisecond's worth.
const COUNT_MAX: usize = 4096;

/// A scan whose keys are being read.
struct Scan {
    ticket: Ticket,
    keys: Vec<ScannedKey>,
    next: u64,
    outstanding: usize,
    failed: usize,
    barrier: Lsn,
}

/// A read of one record's head for a scan.
pub(super) struct ScanRead {
    pub(super) scan: u64,
    pub(super) place: RecordPlace,
    /// Length of the read; the buffer may be longer, with old bytes in it.
    pub(super) bytes: usize,
}

/// Scans under way.
#[derive(Default)]
pub(super) struct Scans {
    next: u64,
    under_way: HashMap<u64, Scan, crate::key::WordHash>,
}

impl Shard {
    /// Finds about `count` keys from `cursor` on (0 starts), at most some thousand and perhaps none.
    /// Answers by [`Event::Scanned`]. A cursor holds for ever, also across restarts, and is below 2^53.
    pub fn scan(
        &mut self,
        ticket: Ticket,
        namespace: Namespace,
        cursor: u64,
        count: usize,
        now: UnixMillis,
    ) {
        self.advance(now);
        let count = count.clamp(1, COUNT_MAX);
        let uses = self.log.segments.uses();
        match Cursor::decode(cursor, uses) {
            Cursor::Hash(0) if self.pays_by_footers(namespace) => {
                let start = Cursor::Log { since: uses, granule: 0 };
                if self.space(namespace).is_some_and(|space| !space.side.is_empty()) {
                    self.collect(ticket, namespace, Vec::new(), start.encode(), true);
                } else {
                    self.list(Listing::new(ticket, namespace, count, (uses, 0)));
                }
            }
            Cursor::Hash(from) => {
                let (entries, next) = self
                    .space(namespace)
                    .map_or((Vec::new(), 0), |space| space.index.scan(from, count));
                self.collect(ticket, namespace, entries, next, from == 0);
            }
            Cursor::Log { since, granule } => {
                self.list(Listing::new(ticket, namespace, count, (since, granule)));
            }
            Cursor::Rest { since, x } => {
                let (entries, next) = self.rest_of(namespace, since, x, count);
                self.collect(ticket, namespace, entries, next, false);
            }
        }
    }

    /// Finds one key at random, chosen by `seed`. Answers by [`Event::Scanned`] with at most one key.
    pub fn random(&mut self, ticket: Ticket, namespace: Namespace, seed: u64, now: UnixMillis) {
        self.advance(now);
        let entry = self.random_entry(namespace, seed);
        let aside = entry.is_none();
        self.collect(ticket, namespace, entry.into_iter().collect(), 0, aside);
    }

    /// An entry at random whose key is not hidden.
    fn random_entry(&self, namespace: Namespace, seed: u64) -> Option<(Identity, Entry)> {
        /// Draws before the first visible entry in hash order will do.
        const DRAWS: u64 = 32;
        let space = self.space(namespace).filter(|space| !space.index.is_empty())?;
        let visible = |(identity, entry): &(Identity, Entry)| {
            !self.is_hidden(namespace, *identity, entry.location)
        };
        let mut draws = (0..DRAWS).map(|draw| seed.wrapping_add(draw << 40 | draw << 20 | draw));
        if let Some(found) = draws.find_map(|seed| space.index.random(seed).filter(visible)) {
            return Some(found);
        }
        let mut cursor = 0;
        loop {
            let (entries, next) = space.index.scan(cursor, 256);
            match (entries.into_iter().find(visible), next) {
                (None, 1..) => cursor = next,
                (found, _) => return found,
            }
        }
    }

    fn collect(
        &mut self,
        ticket: Ticket,
        namespace: Namespace,
        entries: Vec<(Identity, Entry)>,
        next: u64,
        with_side: bool,
    ) {
        let mut side = Vec::new();
        if with_side && let Some(space) = self.space(namespace) {
            side.extend(space.side.values().map(|side| (side.identity, side.entry)));
        }
        self.scans.next += 1;
        let id = self.scans.next;
        let barrier = self.log.appended_lsn();
        let scan = Scan { ticket, keys: Vec::new(), next, outstanding: 1, failed: 0, barrier };
        self.scans.under_way.insert(id, scan);
        for (identity, entry) in side.into_iter().chain(entries) {
            self.collect_entry(id, namespace, identity, &entry, HEAD_BYTES);
        }
        self.settle_scan(id, None);
    }

    /// Adds an entry's key to a scan, from RAM or by a read of at least `bytes` of its record.
    fn collect_entry(
        &mut self,
        id: u64,
        namespace: Namespace,
        identity: Identity,
        entry: &Entry,
        bytes: usize,
    ) {
        if entry.expiry.surely_passed(self.now) || entry.location == LOST {
            return;
        }
        if self.is_hidden(namespace, identity, entry.location) {
            return;
        }
        let Some(scan) = self.scans.under_way.get_mut(&id) else { return };
        if let Some(hot) = self.hot.peek_at(namespace, identity, entry.location) {
            if hot.expires_at().is_none_or(|at| at > self.now) {
                let bytes = Bytes::copy_from_slice(hot.key());
                scan.keys.push(ScannedKey { bytes, value_type: hot.value_type() });
            }
            return;
        }
        scan.outstanding += 1;
        let location = entry.location;
        self.read_or_defer(Deferred { namespace, identity, location, scan: Some((id, bytes)) });
    }

    /// An entry is not where it was when its read was queued or started: compaction moved it, or it
    /// changed. Looked up again, so that it is not missed.
    pub(super) fn scan_again(&mut self, id: u64, namespace: Namespace, identity: Identity) {
        sometimes!(ScanMoved);
        let again = self.space(namespace).and_then(|space| space.index.get(identity));
        if let Some(entry) = again.filter(|_| !planted!(ScanLosesMoved)) {
            self.collect_entry(id, namespace, identity, &entry, HEAD_BYTES);
        }
        self.settle_scan(id, None);
    }

    pub(super) fn on_scan_read(&mut self, read: &ScanRead, result: IoResult) {
        let place = &read.place;
        let Some(entry) = self.still_there(place) else {
            self.give_back(result);
            self.scan_again(read.scan, place.namespace, place.identity);
            return;
        };
        let (Ok(_), Some(buffer)) = (&result.outcome, &result.buffer) else {
            // Unreadable now, which is not the same as damaged.
            let error = result.outcome.as_ref().err();
            tracing::error!(segment = place.segment.0, ?error, "cannot read a record for a scan");
            self.give_back(result);
            self.settle_scan(read.scan, Some(Err(())));
            return;
        };
        let decoded = record::decode_head(&buffer[place.skip..read.bytes], place.seed).and_then(
            |(head, name, _)| {
                let (key, extension) = head.split_name(name);
                self.check_owner(place, &head, key)?;
                let label = Label::decode(extension)?;
                Ok((Bytes::copy_from_slice(key), head, (label.limit, label.hidden)))
            },
        );
        let read_all =
            read.bytes >= place.skip + entry.size.bytes_max() || read.bytes > HEAD_BYTES_MAX;
        self.give_back(result);
        let found = match decoded {
            Ok((bytes, head, (limit, hidden))) => {
                let recorded = head.expires_at;
                let expires_at = super::load::exact_expiry(&entry, recorded, limit, self.now);
                let live = !hidden && expires_at.is_none_or(|at| at > self.now);
                live.then_some(Ok(ScannedKey { bytes, value_type: head.value_type }))
            }
            Err(DecodeError::Short) if !read_all => {
                let (ns, id) = (place.namespace, place.identity);
                self.collect_entry(read.scan, ns, id, &entry, HEAD_BYTES_MAX);
                None
            }
            Err(cause) => {
                self.lose(place, Some(cause));
                Some(Err(()))
            }
        };
        self.settle_scan(read.scan, found);
    }

    /// One part of a scan is done; answers if it was the last.
    fn settle_scan(&mut self, id: u64, found: Option<Result<ScannedKey, ()>>) {
        let Some(scan) = self.scans.under_way.get_mut(&id) else { return };
        match found {
            Some(Ok(key)) => scan.keys.push(key),
            Some(Err(())) => scan.failed += 1,
            None => {}
        }
        scan.outstanding -= 1;
        if scan.outstanding > 0 {
            return;
        }
        if let Some(scan) = self.scans.under_way.remove(&id) {
            let Scan { ticket, keys, next, failed, barrier, .. } = scan;
            self.events.push_back(Event::Scanned { ticket, keys, next, failed, barrier });
        }
    }

    pub(super) fn give_back(&mut self, result: IoResult) {
        if let Some(buffer) = result.buffer {
            self.pool.give(buffer);
        }
    }
}
