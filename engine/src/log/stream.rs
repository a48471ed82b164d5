//! One stream of the log: its open segment, its open batch, the batches that wait.

use std::collections::VecDeque;

use super::batch::{Batch, BatchPlace};
use super::rows::FooterRows;
use super::{Append, SegmentTable, USER_STREAM};
use crate::format::batch::IDENTITY_BYTES;
use crate::format::bytes::Seed;
use crate::format::record::{self, Head, Kind};
use crate::format::segment::{self, TRAILER_BYTES};
use crate::io::BufferPool;
use crate::units::{BatchSeq, Incarnation, Lsn, SegmentId, UnixMillis};

/// The segment that a stream appends to.
struct OpenSegment {
    id: SegmentId,
    incarnation: Incarnation,
    seed: Seed,
    /// Where the next batch starts.
    end: u32,
    /// Footer rows of the closed batches.
    rows: FooterRows,
    /// Batches closed but not on stable storage yet.
    unwritten: u32,
}

/// A full segment on its way to being sealed.
pub(crate) struct Sealing {
    pub(crate) id: SegmentId,
    pub(crate) data_end: u32,
    pub(crate) rows: FooterRows,
    /// Batches still to be written before the footer may be.
    pub(crate) unwritten: u32,
    /// A piece of the footer is on its way.
    pub(crate) writing: bool,
}

/// Room that a grouped record leaves behind itself: record, identity and footer row of a commit.
fn commit_bytes(head: &Head) -> usize {
    if head.flags & record::GROUPED == 0 {
        return 0;
    }
    let commit = Head::new(Kind::Commit, head.lsn);
    commit.padded_bytes() + IDENTITY_BYTES + segment::record_row_bytes(&commit)
}

/// Bytes of a segment that holds nothing but this record, as a member of a group if it is one.
pub(crate) fn segment_bytes_alone(head: &Head) -> usize {
    let commit = commit_bytes(head);
    let batch = (Batch::single_bytes(head) + commit).next_multiple_of(4096);
    let rows = segment::batch_row_bytes() + segment::record_row_bytes(head) + commit;
    segment::HEADER_BYTES as usize + batch + rows + TRAILER_BYTES
}

/// One stream of batches.
pub(crate) struct Stream {
    number: usize,
    segment: Option<OpenSegment>,
    open: Option<Batch>,
    closed: VecDeque<Batch>,
    /// Sequence of the batch in flight.
    in_flight: Option<BatchSeq>,
    /// Sequence of the batch that was last handed to the disk.
    last: Option<BatchSeq>,
}

impl Stream {
    pub(crate) fn new(number: usize) -> Stream {
        let closed = VecDeque::new();
        Stream { number, segment: None, open: None, closed, in_flight: None, last: None }
    }

    pub(crate) fn has_open_batch(&self) -> bool {
        self.open.is_some()
    }

    /// When the open batch received its first record.
    pub(crate) fn open_since(&self) -> Option<UnixMillis> {
        self.open.as_ref().map(|batch| batch.opened)
    }

    /// Whether all replies to what is in the open batch may wait a little.
    pub(crate) fn is_patient(&self) -> bool {
        self.open.as_ref().is_some_and(Batch::is_patient)
    }

    /// Bytes that would pad the open batch to its block.
    pub(crate) fn padding(&self, block_bytes: usize) -> usize {
        self.open.as_ref().map_or(0, |batch| {
            let bytes = batch.bytes_with(0) - IDENTITY_BYTES;
            bytes.next_multiple_of(block_bytes) - bytes
        })
    }

    /// The record that was appended last: its reply may wait a little for others to join.
    pub(crate) fn note_patient(&mut self) {
        if let Some(batch) = &mut self.open {
            batch.patient += 1;
        }
    }

    pub(crate) fn has_closed(&self) -> bool {
        !self.closed.is_empty()
    }

    pub(crate) fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Nothing open, waiting or in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.open.is_none() && self.closed.is_empty() && self.in_flight.is_none()
    }

    pub(crate) fn open_segment(&self) -> Option<SegmentId> {
        self.segment.as_ref().map(|segment| segment.id)
    }

    /// Oldest batch that is not on stable storage.
    pub(crate) fn oldest_seq(&self) -> Option<BatchSeq> {
        let closed = self.closed.front().and_then(|batch| batch.seq);
        let open = self.open.as_ref().and_then(|batch| batch.seq);
        self.in_flight.or(closed).or(open)
    }

    /// Bytes left in the open segment for batches and their footer rows.
    pub(crate) fn bytes_left(&self, segment_bytes: u32) -> usize {
        let Some(segment) = &self.segment else { return 0 };
        let (open, rows) =
            self.open.as_ref().map_or((0, 0), |b| (b.bytes_with(0) + 4096, b.rows.len()));
        let taken = segment.end as usize + segment.rows.len() + open + rows + TRAILER_BYTES;
        (segment_bytes as usize).saturating_sub(taken)
    }

    /// Whether the record fits in the open batch, and with it in the segment. A grouped record also
    /// leaves room for the commit that ends its group, so that a commit is never refused.
    pub(crate) fn fits(&self, head: &Head, segments: &SegmentTable) -> bool {
        let (Some(batch), Some(segment)) = (&self.open, &self.segment) else { return false };
        let commit = commit_bytes(head);
        let bytes = batch.bytes_with(head.padded_bytes()) + commit;
        let rows = segment.rows.len() + batch.rows.len() + segment::record_row_bytes(head) + commit;
        bytes <= batch.capacity()
            && segment.end as usize + bytes.next_multiple_of(4096) + rows + TRAILER_BYTES
                <= segments.segment_bytes() as usize
    }

    /// Whether a new batch with just this record fits in the open segment behind what is open.
    pub(crate) fn segment_fits(
        &self,
        head: &Head,
        block_bytes: usize,
        segments: &SegmentTable,
    ) -> bool {
        let Some(segment) = &self.segment else { return false };
        let (open, rows) = self.open.as_ref().map_or((0, 0), |batch| {
            let used = batch.bytes_with(0).next_multiple_of(block_bytes);
            (used, batch.rows.len())
        });
        let commit = commit_bytes(head);
        let single = (Batch::single_bytes(head) + commit).next_multiple_of(4096);
        let new_rows = segment::batch_row_bytes() + segment::record_row_bytes(head) + commit;
        let all = segment.end as usize + open + single + segment.rows.len() + rows + new_rows;
        all + TRAILER_BYTES <= segments.segment_bytes() as usize
    }

    /// Turns to a fresh segment; returns the one before it, to be sealed.
    pub(crate) fn start_segment(
        &mut self,
        id: SegmentId,
        (incarnation, seed): (Incarnation, Seed),
    ) -> Option<Sealing> {
        assert!(self.open.is_none(), "the open batch belongs to the segment before");
        let fresh = OpenSegment {
            id,
            incarnation,
            seed,
            end: segment::HEADER_BYTES,
            rows: FooterRows::default(),
            unwritten: 0,
        };
        self.segment.replace(fresh).map(|full| Sealing {
            id: full.id,
            data_end: full.end,
            rows: full.rows,
            unwritten: full.unwritten,
            writing: false,
        })
    }

    pub(crate) fn open_batch(
        &mut self,
        head: &Head,
        batch_max: usize,
        seq: Option<BatchSeq>,
        pool: &mut BufferPool,
        now: UnixMillis,
    ) {
        let segment = self.segment.as_ref().expect("a segment is open");
        let place = BatchPlace {
            stream: self.number as u8,
            segment: segment.id,
            incarnation: segment.incarnation,
            seed: segment.seed,
            offset: segment.end,
        };
        // Whole 4 KiB, so that padding to the block always fits behind the last record.
        let single = (Batch::single_bytes(head) + commit_bytes(head)).next_multiple_of(4096);
        let buffer = pool.take(single.max(batch_max));
        self.open = Some(Batch::new(&place, buffer, seq, now));
    }

    pub(crate) fn push(&mut self, record: &Append<'_>) -> (SegmentId, u32) {
        let batch = self.open.as_mut().expect("a batch is open");
        (batch.segment, batch.push(record))
    }

    /// The open batch, for survivors to note what they move.
    pub(crate) fn open_mut(&mut self) -> Option<&mut Batch> {
        self.open.as_mut()
    }

    /// Closes the open batch; returns its bytes on disk.
    pub(crate) fn close_batch(
        &mut self,
        seq: Option<BatchSeq>,
        now: UnixMillis,
        block_bytes: usize,
    ) -> usize {
        let mut batch = self.open.take().expect("a batch is open");
        batch.close(seq, now, block_bytes);
        let segment = self.segment.as_mut().expect("a batch has a segment");
        segment.end = batch.offset + batch.bytes() as u32;
        segment.rows.append(&std::mem::take(&mut batch.rows));
        segment.unwritten += 1;
        let bytes = batch.bytes();
        self.closed.push_back(batch);
        bytes
    }

    /// The next batch for the disk, if its turn has come. Survivors wait until every mutation that
    /// they may reflect is durable, or a crash could keep the reflection and lose the mutation.
    pub(crate) fn take_closed(&mut self, durable: Lsn) -> Option<Batch> {
        if self.in_flight.is_some() || self.reflects().is_some_and(|lsn| lsn > durable) {
            return None;
        }
        let mut batch = self.closed.pop_front()?;
        self.in_flight = batch.seq;
        batch.follows = std::mem::replace(&mut self.last, batch.seq);
        Some(batch)
    }

    /// The newest mutation that the next closed batch of survivors may reflect.
    pub(crate) fn reflects(&self) -> Option<Lsn> {
        let survivors = self.number != USER_STREAM && !planted!(SurvivorsOvertake);
        self.closed.front().filter(|_| survivors).map(|batch| batch.first_lsn)
    }

    pub(crate) fn written(&mut self) {
        self.in_flight = None;
    }

    /// A batch of the open segment is written; false if the segment is not the open one.
    pub(crate) fn batch_written(&mut self, segment: SegmentId) -> bool {
        match &mut self.segment {
            Some(open) if open.id == segment => {
                open.unwritten -= 1;
                true
            }
            _ => false,
        }
    }
}
