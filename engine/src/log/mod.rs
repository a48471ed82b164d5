//! The append-only log of one shard: streams of batches over recycled segments.
//!
//! Owns: which LSN and batch sequence come next, the open batch and segment of every stream, the
//! closed batches waiting for the disk, the segment table.
//! Never knows: the index, what records mean, when to compact.
//! Invariant: `durable <= appended`; a stream has at most one batch write in flight, so a batch is
//! on stable storage before the next one of its stream is handed to the disk; user batches take
//! their sequence number when closed, survivor batches when opened, so that replay in sequence
//! order repeats the order in which the index changed (ARCHITECTURE.md, "One order").

mod batch;
mod rows;
mod segments;
mod stream;

pub(crate) use batch::{Batch, Moved};
pub(crate) use segments::{Segment, SegmentState, SegmentTable};
pub(crate) use stream::{Sealing, Stream, segment_bytes_alone};

use crate::format::bytes::Seed;
use crate::format::record::Head;
use crate::io::BufferPool;
use crate::units::{BatchSeq, Location, Lsn, SegmentId, UnixMillis};

/// The user stream's number; survivors of compaction go to streams 1 and up.
pub(crate) const USER_STREAM: usize = 0;
/// Streams of survivors, grouped by remaining time to live.
pub(crate) const SURVIVOR_STREAMS: usize = 4;

/// In a batch's list of identities: a clear of the namespace in the upper 16 bits.
pub(crate) const CLEAR_MARK: u64 = 1 << 47;
/// In a batch's list of identities: a record that is about no key.
pub(crate) const NO_KEY_MARK: u64 = CLEAR_MARK | 1;
/// In a footer's row of a lost record: one that is about no key, and ended a group if one was open.
pub(crate) const LOST_END_MARK: u64 = CLEAR_MARK | 3;

/// A record to append, borrowed from wherever its parts are.
pub(crate) struct Append<'a> {
    pub(crate) head: &'a Head,
    /// The key, with the extension block behind it.
    pub(crate) name: &'a [u8],
    pub(crate) value: &'a [u8],
    /// Namespace and index identity, for naming what was lost if the record's header rots.
    pub(crate) identity: u64,
}

/// Why an append cannot be taken now: every prewritten segment is in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NoSegment;

/// The log of one shard.
pub(crate) struct Log {
    pub(crate) store_id: u64,
    block_bytes: usize,
    batch_bytes_max: usize,
    pub(crate) segments: SegmentTable,
    streams: Vec<Stream>,
    /// Segments that are full, whose last batches or footer are not on stable storage yet.
    pub(crate) sealing: Vec<Sealing>,
    appended_lsn: Lsn,
    durable_lsn: Lsn,
    next_seq: BatchSeq,
    /// Which opening of the store this is, as batches name it.
    run: u32,
    /// Bytes of closed and in-flight batches of the user stream.
    pub(crate) pending_bytes: usize,
    /// User bytes appended since the store was opened (records with padding).
    pub(crate) user_bytes: u64,
}

impl Log {
    pub(crate) fn new(
        store_id: u64,
        block_bytes: usize,
        batch_bytes_max: usize,
        segments: SegmentTable,
        appended_lsn: Lsn,
        next_seq: BatchSeq,
    ) -> Log {
        Log {
            store_id,
            block_bytes,
            batch_bytes_max,
            segments,
            streams: (0..=SURVIVOR_STREAMS).map(Stream::new).collect(),
            sealing: Vec::new(),
            appended_lsn,
            durable_lsn: appended_lsn,
            next_seq,
            run: next_seq.0 as u32 & 0xff_ffff,
            pending_bytes: 0,
            user_bytes: 0,
        }
    }

    pub(crate) fn appended_lsn(&self) -> Lsn {
        self.appended_lsn
    }

    pub(crate) fn durable_lsn(&self) -> Lsn {
        self.durable_lsn
    }

    /// Sequence number that the next batch will take.
    pub(crate) fn next_seq(&self) -> BatchSeq {
        self.next_seq
    }

    pub(crate) fn stream(&mut self, stream: usize) -> &mut Stream {
        &mut self.streams[stream]
    }

    /// Gives out the LSN of a new mutation. The caller appends its record next.
    pub(crate) fn next_lsn(&self) -> Lsn {
        self.appended_lsn.next()
    }

    fn take_seq(&mut self) -> BatchSeq {
        let seq = self.next_seq;
        self.next_seq = seq.next();
        seq
    }

    /// Appends a record to a stream and returns where its bytes will be. A user record takes the
    /// LSN in its head, which must be [`Log::next_lsn`].
    ///
    /// # Errors
    /// [`NoSegment`], with nothing changed, when the record needs a new segment and none is ready.
    pub(crate) fn append(
        &mut self,
        stream: usize,
        record: &Append<'_>,
        pool: &mut BufferPool,
        now: UnixMillis,
    ) -> Result<Location, NoSegment> {
        if !self.streams[stream].fits(record.head, &self.segments) {
            self.make_room(stream, record.head, pool, now)?;
        }
        if stream == USER_STREAM {
            assert_eq!(record.head.lsn, self.next_lsn(), "user records take LSNs in order");
            self.appended_lsn = record.head.lsn;
            self.user_bytes += record.head.padded_bytes() as u64;
        }
        let (segment, offset) = self.streams[stream].push(record);
        if record.head.dictionary != 0 {
            self.segments.needs(segment, record.head.dictionary);
        }
        Ok(Location::new(segment, offset, self.segments.segment_bytes()))
    }

    /// Bytes that would pad the open batch of users to its block.
    pub(crate) fn padding(&self) -> usize {
        self.streams[USER_STREAM].padding(self.block_bytes)
    }

    /// Whether a record fits in the open batch of users.
    pub(crate) fn joins(&self, head: &Head) -> bool {
        self.streams[USER_STREAM].fits(head, &self.segments)
    }

    /// Opens a batch that `head` fits in, closing the open one and the segment as needed.
    fn make_room(
        &mut self,
        stream: usize,
        head: &Head,
        pool: &mut BufferPool,
        now: UnixMillis,
    ) -> Result<(), NoSegment> {
        if !self.streams[stream].segment_fits(head, self.block_bytes, &self.segments) {
            let (id, seed) = self.segments.open(stream).ok_or(NoSegment)?;
            self.close_batch(stream, now);
            if let Some(sealing) = self.streams[stream].start_segment(id, seed) {
                self.segments.seal(&sealing);
                self.sealing.push(sealing);
            }
        }
        self.close_batch(stream, now);
        let seq = (stream != USER_STREAM).then(|| self.take_seq());
        self.streams[stream].open_batch(head, self.batch_bytes_max, seq, pool, now);
        Ok(())
    }

    /// Closes the open batch of a stream, if there is one, and queues it for the disk.
    pub(crate) fn close_batch(&mut self, stream: usize, now: UnixMillis) {
        if !self.streams[stream].has_open_batch() {
            return;
        }
        let seq = (stream == USER_STREAM).then(|| self.take_seq());
        let bytes = self.streams[stream].close_batch(seq, now, self.block_bytes);
        if stream == USER_STREAM {
            self.pending_bytes += bytes;
        }
    }

    /// The next batch of a stream for the disk, complete with header and padding, if none of the
    /// stream is in flight.
    pub(crate) fn next_write(&mut self, stream: usize) -> Option<Batch> {
        let mut batch = self.streams[stream].take_closed(self.durable_lsn)?;
        batch.seal(self.store_id, self.durable_lsn, self.run);
        Some(batch)
    }

    /// Whether survivors wait for user batches to become durable.
    pub(crate) fn survivors_wait(&self) -> bool {
        let reflected = self.streams.iter().filter_map(Stream::reflects).max();
        reflected.is_some_and(|lsn| lsn > self.durable_lsn)
    }

    /// A batch is on stable storage.
    pub(crate) fn on_batch_written(&mut self, batch: &Batch) {
        let stream = usize::from(batch.stream);
        self.streams[stream].written();
        if !self.streams[stream].batch_written(batch.segment) {
            let sealing = self.sealing.iter_mut().find(|sealing| sealing.id == batch.segment);
            sealing.expect("a written batch's segment is open or being sealed").unwritten -= 1;
        }
        if stream == USER_STREAM {
            self.durable_lsn = self.durable_lsn.max(batch.lsn_max);
            self.pending_bytes -= batch.bytes();
        }
        self.segments.on_batch(batch);
    }

    /// Seed of the checksums in the current use of `segment`.
    pub(crate) fn seed(&self, segment: SegmentId) -> Seed {
        Seed::new(self.store_id, segment, self.segments.get(segment).incarnation)
    }

    /// Smallest sequence number of a survivor batch whose moves the index does not show yet, or the
    /// next one to be given out.
    pub(crate) fn unapplied_seq(&self) -> BatchSeq {
        self.streams[1..].iter().filter_map(Stream::oldest_seq).min().unwrap_or(self.next_seq)
    }
}
