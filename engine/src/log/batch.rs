//! A batch being filled, then written: the group-commit unit in RAM.

use super::Append;
use crate::format::batch::{BatchHead, HEADER_BYTES, IDENTITY_BYTES};
use crate::format::bytes::Seed;
use crate::format::record::{self, Head, Kind};
use crate::format::segment::{self, BatchRow};
use crate::io::Buffer;
use crate::units::{BatchSeq, Incarnation, Location, Lsn, SegmentId, UnixMillis};

/// A record that compaction has copied: what to change in the index once the copy is durable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    /// Namespace and index identity, packed as in the batch's identity list.
    pub(crate) identity: u64,
    pub(crate) from: Location,
    pub(crate) to: Location,
}

/// One batch: its bytes, its place, and the footer rows of its records.
pub(crate) struct Batch {
    pub(crate) stream: u8,
    pub(crate) segment: SegmentId,
    pub(crate) offset: u32,
    seed: Seed,
    incarnation: Incarnation,
    /// Taken by the disk while the write is in flight.
    pub(crate) buffer: Option<Buffer>,
    used: usize,
    identities: Vec<u64>,
    pub(crate) rows: Vec<u8>,
    pub(crate) seq: Option<BatchSeq>,
    /// The batch before it in its stream, known when it is handed to the disk.
    pub(crate) follows: Option<BatchSeq>,
    /// First LSN in here (user stream), or the newest one whose mutation may show in here (survivors).
    pub(crate) first_lsn: Lsn,
    /// Largest LSN of a record in here.
    pub(crate) lsn_max: Lsn,
    pub(crate) opened: UnixMillis,
    wall: UnixMillis,
    padded: usize,
    /// The newest mutation that these survivors may reflect.
    reflects: Lsn,
    /// Index changes that wait for this batch (survivor batches).
    pub(crate) moved: Vec<Moved>,
    /// Records that may hide an older version of their key: deletes, touches, and puts that expire.
    pub(crate) killers: u32,
    /// Whether deletes or touches are among them that compaction carried on.
    pub(crate) carries: bool,
    /// Whether a clear or an open is in here: what it ends cannot be told key by key.
    pub(crate) clears: bool,
    /// Records whose replies may wait a little for others to join.
    pub(crate) patient: usize,
}

/// Where a batch begins its life.
pub(crate) struct BatchPlace {
    pub(crate) stream: u8,
    pub(crate) segment: SegmentId,
    pub(crate) incarnation: Incarnation,
    pub(crate) seed: Seed,
    pub(crate) offset: u32,
}

impl Batch {
    pub(crate) fn new(
        place: &BatchPlace,
        buffer: Buffer,
        seq: Option<BatchSeq>,
        opened: UnixMillis,
    ) -> Batch {
        let mut rows = Vec::new();
        // Count, sequence and time are not known before the batch is closed.
        let row = BatchRow { offset: place.offset, count: 0, seq: BatchSeq(0), wall: opened };
        segment::push_batch_row(&mut rows, &row);
        Batch {
            stream: place.stream,
            segment: place.segment,
            offset: place.offset,
            seed: place.seed,
            incarnation: place.incarnation,
            buffer: Some(buffer),
            used: HEADER_BYTES,
            identities: Vec::new(),
            rows,
            seq,
            follows: None,
            first_lsn: Lsn::NONE,
            lsn_max: Lsn::NONE,
            opened,
            wall: opened,
            padded: 0,
            reflects: Lsn::NONE,
            moved: Vec::new(),
            killers: 0,
            carries: false,
            clears: false,
            patient: 0,
        }
    }

    /// Bytes of a batch that holds just one record of this head.
    pub(crate) fn single_bytes(head: &Head) -> usize {
        HEADER_BYTES + head.padded_bytes() + IDENTITY_BYTES
    }

    /// Bytes before padding to the block, if a record of `more` padded bytes were added.
    pub(crate) fn bytes_with(&self, more: usize) -> usize {
        self.used + more + (self.identities.len() + 1) * IDENTITY_BYTES
    }

    /// Whether all replies to what is in here may wait a little.
    pub(crate) fn is_patient(&self) -> bool {
        self.patient == self.identities.len()
    }

    /// When it was closed.
    pub(crate) fn wall(&self) -> UnixMillis {
        self.wall
    }

    /// Bytes on disk; known once closed.
    pub(crate) fn bytes(&self) -> usize {
        self.padded
    }

    /// Where it ends in its segment, without padding.
    pub(crate) fn end(&self) -> u32 {
        self.offset + (self.used + self.identities.len() * IDENTITY_BYTES) as u32
    }

    pub(crate) fn capacity(&self) -> usize {
        self.buffer.as_ref().map_or(0, |buffer| buffer.len())
    }

    /// What was appended last reflects mutations up to this one: the batch waits until they are durable.
    pub(crate) fn reflect(&mut self, lsn: Lsn) {
        self.reflects = self.reflects.max(lsn);
    }

    /// Encodes a record behind the others and returns its offset in the segment.
    pub(crate) fn push(&mut self, record: &Append<'_>) -> u32 {
        let head = record.head;
        let offset = self.offset + self.used as u32;
        let used = self.used;
        let buffer = self.buffer.as_mut().expect("an open batch owns its buffer");
        self.used +=
            record::encode(head, record.name, record.value, self.seed, &mut buffer[used..]);
        self.identities.push(record.identity);
        if self.first_lsn == Lsn::NONE {
            self.first_lsn = head.lsn;
        }
        self.lsn_max = self.lsn_max.max(head.lsn);
        let kills = matches!(head.kind, Kind::Delete | Kind::Touch);
        let hides = kills || head.expires_at.is_some();
        self.carries |= kills && head.flags & record::RELOCATED != 0;
        self.killers += u32::from(hides);
        self.clears |= matches!(head.kind, Kind::Clear | Kind::Open);
        segment::push_record_row(&mut self.rows, offset, head, record.name);
        offset
    }

    /// Fixes sequence number, time and length, and completes the footer row.
    pub(crate) fn close(&mut self, seq: Option<BatchSeq>, now: UnixMillis, block_bytes: usize) {
        let seq = *self.seq.get_or_insert_with(|| seq.expect("user batches are numbered here"));
        if self.stream != 0 {
            self.first_lsn = self.reflects;
        }
        self.wall = now;
        let list = self.identities.len() * IDENTITY_BYTES;
        self.padded = (self.used + list).next_multiple_of(block_bytes);
        let row =
            BatchRow { offset: self.offset, count: self.identities.len() as u32, seq, wall: now };
        let mut front = Vec::with_capacity(segment::batch_row_bytes());
        segment::push_batch_row(&mut front, &row);
        self.rows[..front.len()].copy_from_slice(&front);
    }

    /// Completes the bytes for the disk: identities, padding, header.
    pub(crate) fn seal(&mut self, store_id: u64, durable_lsn: Lsn, run: u32) {
        let seq = self.seq.expect("closed");
        let step = self.follows.map_or(0, |before| u32::try_from(seq.0 - before.0).unwrap_or(0));
        let buffer = self.buffer.as_mut().expect("a closed batch owns its buffer");
        let mut at = self.used;
        for identity in &self.identities {
            buffer[at..at + IDENTITY_BYTES].copy_from_slice(&identity.to_le_bytes());
            at += IDENTITY_BYTES;
        }
        let identities_crc = crc32fast::hash(&buffer[self.used..at]);
        buffer[at..self.padded].fill(0);
        let head = BatchHead {
            store_id,
            segment: self.segment,
            incarnation: self.incarnation,
            count: self.identities.len() as u32,
            bytes: (self.used - HEADER_BYTES) as u32,
            seq,
            first_lsn: self.first_lsn,
            durable_lsn,
            wall: self.wall,
            epoch: 0,
            stream: self.stream,
            identities_crc,
            run,
            step,
        };
        buffer[..HEADER_BYTES].copy_from_slice(&head.encode());
    }
}
