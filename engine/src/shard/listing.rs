//! Listing keys in the order of the log: the footers of sealed segments name them, so that no record
//! is read, and then, in hash order, what is not in one of those segments.
//!
//! Owns: the footers in RAM.
//! Never knows: who asks.
//! Invariant: nothing is written to a segment after it was sealed. So a key that was there throughout
//! is, when its segment's turn comes, still where it was when the scan began, and named by the footer; or
//! it was written to a segment that was not sealed then, and is met by the second part
//! (`docs/decisions/0036-keys-from-footers.md`).

mod cursor;

use bytes::Bytes;

use super::drive::Pending;
use super::load::exact_expiry;
use super::{Event, ScannedKey, Shard, Ticket};
use crate::format::label::Label;
use crate::format::record::Kind;
use crate::format::segment::{RecordRow, Row, TRAILER_BYTES, Trailer, decode_row};
use crate::index::{Entry, Identity};
use crate::io::{Buffer, FileId, IoRequest, IoResult};
use crate::recover::Rows;
use crate::units::{Incarnation, Location, Namespace, SegmentId, UnixMillis};

pub(super) use cursor::Cursor;
use cursor::{GRANULE_BITS, X_COARSE};

/// Rows looked at in one step: about a millisecond.
const ROWS_PER_STEP: usize = 2048;
/// Rows between two marks in a footer.
const ROWS_PER_MARK: usize = 256;
/// Footers kept in RAM, and their bytes (one may be larger).
const KEPT_MAX: usize = 4;
const KEPT_BYTES_MAX: usize = 16 << 20;
/// How long footers are kept that nobody asks for.
const KEEP_MS: u64 = 2000;
/// Below this many keys that must be read, they are.
const FEW_KEYS: u64 = 256;
/// What the read of one key brings at least.
const KEY_READ_BYTES: u64 = 4096;

/// One step of a scan through footers.
pub(super) struct Listing {
    ticket: Ticket,
    namespace: Namespace,
    count: usize,
    since: u64,
    /// Everything before this granule of the segment space has been listed.
    granule: u64,
    keys: Vec<ScannedKey>,
}

impl Listing {
    /// A step from a [`Cursor::Log`] on.
    pub(super) fn new(
        ticket: Ticket,
        namespace: Namespace,
        count: usize,
        (since, granule): (u64, u64),
    ) -> Listing {
        Listing { ticket, namespace, count, since, granule, keys: Vec::new() }
    }
}

/// A footer in RAM.
struct Footer {
    segment: SegmentId,
    incarnation: Incarnation,
    rows: Rows,
    /// Offsets of some records, ascending, and where their rows are.
    marks: Vec<(u32, usize)>,
}

impl Footer {
    /// A row at or before the first one of a record at or behind `offset`.
    fn seek(&self, offset: u32) -> usize {
        let behind = self.marks.partition_point(|(record, _)| *record <= offset);
        behind.checked_sub(1).map_or(0, |mark| self.marks[mark].1)
    }
}

/// What a read for a listing was for.
pub(super) enum Step {
    Trailer,
    Rows(Trailer),
}

/// The footers that listings need.
#[derive(Default)]
pub(super) struct Footers {
    /// The one used last comes last.
    kept: Vec<Footer>,
    reading: Option<(SegmentId, Incarnation)>,
    waiting: Vec<Listing>,
    used_at: UnixMillis,
}

impl Footers {
    fn take(&mut self, segment: SegmentId, incarnation: Incarnation) -> Option<Footer> {
        let is_it = |kept: &Footer| kept.segment == segment && kept.incarnation == incarnation;
        let at = self.kept.iter().position(is_it)?;
        Some(self.kept.remove(at))
    }

    fn keep(&mut self, footer: Footer, now: UnixMillis) {
        self.used_at = now;
        self.kept.push(footer);
        let bytes = |kept: &[Footer]| kept.iter().map(|f| f.rows.bytes().len()).sum::<usize>();
        while self.kept.len() > KEPT_MAX
            || self.kept.len() > 1 && bytes(&self.kept) > KEPT_BYTES_MAX
        {
            self.kept.remove(0);
        }
    }

    /// Gives footers back that have not been used for a while.
    pub(super) fn drop_idle(&mut self, now: UnixMillis) {
        if now.since(self.used_at) >= KEEP_MS {
            self.kept.clear();
        }
    }
}

/// How far a walk through a footer came.
enum Walked {
    /// All of it.
    End,
    /// Up to this offset, where a granule begins.
    To(u32),
    /// The rows do not decode.
    Damaged,
}

impl Shard {
    /// Whether footers are the cheaper way to the keys of a namespace: all of them, against a block
    /// for every key that is not in RAM.
    pub(super) fn pays_by_footers(&self, namespace: Namespace) -> bool {
        let Some(space) = self.space(namespace) else { return false };
        #[cfg(feature = "sim")]
        if self.config.sim.eager_checkpoints {
            return !self.log.appended_lsn().0.is_multiple_of(4);
        }
        let cold = space.entries().saturating_sub(self.hot.len() as u64);
        cold >= FEW_KEYS && self.log.segments.footer_bytes() <= cold * KEY_READ_BYTES
    }

    /// Entries that are not in a segment that was sealed before `since`, and the cursor to go on with.
    pub(super) fn rest_of(
        &self,
        namespace: Namespace,
        since: u64,
        x: u64,
        count: usize,
    ) -> (Vec<(Identity, Entry)>, u64) {
        let Some(space) = self.space(namespace) else { return (Vec::new(), 0) };
        let segments = &self.log.segments;
        let (entries, next) = space.index.scan_where(x, count, X_COARSE, |entry| {
            let (segment, _) = entry.location.split(self.root.segment_bytes);
            !segments.is_sealed_since(segment, since)
        });
        let next = if next == 0 { 0 } else { Cursor::Rest { since, x: next }.encode() };
        (entries, next)
    }

    /// Takes a step through footers, once the footer that it needs is there.
    pub(super) fn list(&mut self, mut listing: Listing) {
        let segment_bytes = u64::from(self.root.segment_bytes);
        let mut rows_left = ROWS_PER_STEP;
        loop {
            let address = listing.granule << GRANULE_BITS;
            let first = SegmentId((address / segment_bytes) as u32);
            let Some(id) = self.log.segments.next_sealed_since(first, listing.since) else {
                let rest = Cursor::Rest { since: listing.since, x: 0 };
                return self.listed(listing, rest);
            };
            let begin = u64::from(id.0) * segment_bytes;
            listing.granule = listing.granule.max(begin >> GRANULE_BITS);
            let here = Cursor::Log { since: listing.since, granule: listing.granule };
            if listing.keys.len() >= listing.count || rows_left == 0 {
                return self.listed(listing, here);
            }
            let incarnation = self.log.segments.get(id).incarnation;
            let Some(mut footer) = self.footers.take(id, incarnation) else {
                if listing.keys.is_empty() {
                    return self.wait_for_footer(id, incarnation, listing);
                }
                return self.listed(listing, here);
            };
            sometimes!(ScanFooter);
            let next = match self.walk_footer(&mut footer, &mut listing, &mut rows_left) {
                Walked::To(offset) => {
                    self.footers.keep(footer, self.now);
                    begin + u64::from(offset)
                }
                // Nobody asks for it again soon.
                Walked::End => begin + segment_bytes,
                Walked::Damaged => {
                    self.log.segments.unlist(id);
                    begin + segment_bytes
                }
            };
            listing.granule = next >> GRANULE_BITS;
        }
    }

    fn listed(&mut self, listing: Listing, next: Cursor) {
        let Listing { ticket, keys, .. } = listing;
        let (next, barrier) = (next.encode(), self.log.appended_lsn());
        self.events.push_back(Event::Scanned { ticket, keys, next, failed: 0, barrier });
    }

    /// Collects keys from a footer, granule by granule, until there are enough.
    fn walk_footer(
        &self,
        footer: &mut Footer,
        listing: &mut Listing,
        rows_left: &mut usize,
    ) -> Walked {
        let begin = u64::from(footer.segment.0) * u64::from(self.root.segment_bytes);
        let from = (listing.granule << GRANULE_BITS).saturating_sub(begin) as u32;
        let mut at = footer.seek(from);
        let (mut marked, mut last) = (0, 0);
        let mut granule = None;
        while at < footer.rows.bytes().len() {
            let Ok((row, next)) = decode_row(footer.rows.bytes(), at) else {
                return Walked::Damaged;
            };
            let Row::Record(row) = row else {
                at = next;
                continue;
            };
            let (offset, this) = (row.offset, row.offset >> GRANULE_BITS);
            // Where a batch was in the place of another, rows are not in the order of their offsets,
            // by which this goes on.
            if offset < last {
                return Walked::Damaged;
            }
            last = offset;
            if offset >= from {
                let enough = listing.keys.len() >= listing.count || *rows_left == 0;
                if enough && granule.is_some_and(|granule| granule != this) {
                    return Walked::To(this << GRANULE_BITS);
                }
                granule = Some(this);
                *rows_left = rows_left.saturating_sub(1);
                if let Some(key) = self.named_by(footer.segment, &row, listing.namespace) {
                    listing.keys.push(key);
                }
            }
            marked += 1;
            if marked % ROWS_PER_MARK == 0
                && footer.marks.last().is_none_or(|(last, _)| *last < offset)
            {
                footer.marks.push((offset, at));
            }
            at = next;
        }
        Walked::End
    }

    /// The key of a row, if its record is the newest of a key that may be shown.
    fn named_by(
        &self,
        segment: SegmentId,
        row: &RecordRow<'_>,
        namespace: Namespace,
    ) -> Option<ScannedKey> {
        if row.head.kind != Kind::Put || row.head.namespace != namespace {
            return None;
        }
        let (name, extension) = row.head.split_name(row.name);
        let key = self.key(namespace, name);
        let location = Location::new(segment, row.offset, self.root.segment_bytes);
        let entry = self.space(namespace)?.index.get(key.identity)?;
        if entry.location != location || self.is_hidden(namespace, key.identity, location) {
            return None;
        }
        let label = Label::decode(extension).ok()?;
        let expires_at = exact_expiry(&entry, row.head.expires_at, label.limit, self.now);
        let live = !label.hidden
            && !entry.expiry.surely_passed(self.now)
            && expires_at.is_none_or(|at| at > self.now);
        let bytes = Bytes::copy_from_slice(name);
        live.then_some(ScannedKey { bytes, value_type: row.head.value_type })
    }

    fn wait_for_footer(&mut self, id: SegmentId, incarnation: Incarnation, listing: Listing) {
        self.footers.waiting.push(listing);
        if self.footers.reading.is_none() {
            self.footers.reading = Some((id, incarnation));
            self.read_footer(self.root.segment_bytes as usize - 4096, Step::Trailer);
        }
    }

    /// Reads from `offset` to the end of the segment whose footer is wanted.
    fn read_footer(&mut self, offset: usize, step: Step) {
        let Some((id, _)) = self.footers.reading else { return };
        let bytes = self.root.segment_bytes as usize - offset;
        let buffer = self.pool.take(bytes);
        self.counters.device_reads += 1;
        self.counters.device_bytes_read += bytes as u64;
        let (file, offset) = (FileId::Segment(id), offset as u64);
        self.start(Pending::Listing(step), IoRequest::Read { file, offset, buffer, bytes });
    }

    pub(super) fn on_listing_step(&mut self, step: &Step, result: IoResult) {
        let Some((id, incarnation)) = self.footers.reading else { return };
        if self.log.segments.get(id).incarnation == incarnation {
            let read = match (&result.outcome, result.buffer) {
                (Ok(_), Some(buffer)) => self.take_footer(step, buffer, id, incarnation),
                _ => Err("it cannot be read"),
            };
            match read {
                Ok(true) => {}
                Ok(false) => return,
                Err(cause) => {
                    // Its records are read instead, one by one.
                    tracing::warn!(segment = id.0, cause, "a scan goes without a footer");
                    self.log.segments.unlist(id);
                }
            }
        }
        self.footers.reading = None;
        for listing in std::mem::take(&mut self.footers.waiting) {
            self.list(listing);
        }
    }

    /// Takes a part of a footer; false if another is to come.
    fn take_footer(
        &mut self,
        step: &Step,
        buffer: Buffer,
        segment: SegmentId,
        incarnation: Incarnation,
    ) -> Result<bool, &'static str> {
        match step {
            Step::Trailer => {
                let bytes = &buffer[4096 - TRAILER_BYTES..4096];
                let trailer = Trailer::decode(bytes, self.root.segment_bytes)
                    .ok()
                    .filter(|t| t.segment == segment && t.incarnation == incarnation)
                    .ok_or("its trailer does not read")?;
                self.pool.give(buffer);
                self.read_footer(trailer.rows_offset as usize / 4096 * 4096, Step::Rows(trailer));
                Ok(false)
            }
            Step::Rows(trailer) => {
                let rows = Rows::of_footer(buffer, trailer).ok_or("its rows do not read")?;
                let footer = Footer { segment, incarnation, rows, marks: Vec::new() };
                self.footers.keep(footer, self.now);
                Ok(true)
            }
        }
    }
}
