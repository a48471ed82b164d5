//! The group-commit unit: one header, whole records, and their identities. FORMAT.md §3.
//!
//! ```text
//! header (80) | record, padded to 16 | record ... | identity u64 per record | zeros to the block
//! ```
//! The identities name what was lost when a record's own header is damaged.

use super::DecodeError;
use super::bytes::{Fields, Writer, check_crc, seal_crc};
use crate::units::{BatchSeq, Incarnation, Lsn, SegmentId, UnixMillis};

/// Length of the batch header.
pub const HEADER_BYTES: usize = 80;
/// Bytes per record of the identity list behind the records.
pub const IDENTITY_BYTES: usize = 8;
const MAGIC: u32 = 0x5441_4245; // "EBAT"

/// Header of a batch. It names its store, segment and incarnation outright, so that a segment whose
/// own header is damaged can still be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHead {
    /// Store that wrote it.
    pub store_id: u64,
    /// Segment it is in.
    pub segment: SegmentId,
    /// Use of the segment.
    pub incarnation: Incarnation,
    /// Number of records.
    pub count: u32,
    /// Bytes of all records with their padding.
    pub bytes: u32,
    /// Place in the total order of all batches.
    pub seq: BatchSeq,
    /// LSN of the first record (user stream), or the newest LSN given out (survivors).
    pub first_lsn: Lsn,
    /// The shard's durable LSN when this was written: a batch before this one that holds older
    /// LSNs was on stable storage, so if it is unreadable now, that is corruption, not a torn tail.
    pub durable_lsn: Lsn,
    /// Wall clock when the batch was closed.
    pub wall: UnixMillis,
    /// Leadership epoch (0 until replicated).
    pub epoch: u32,
    /// Stream: 0 user, k > 0 survivors of class k.
    pub stream: u8,
    /// Checksum of the identity list.
    pub identities_crc: u32,
    /// Which opening of the store wrote it, modulo 2^24: the number of the first batch after that.
    pub run: u32,
    /// How far `seq` is above that of the batch before it in its stream, which was on stable storage
    /// when this was written; 0 = not known. If that batch is unreadable, this gives its place.
    pub step: u32,
}

impl BatchHead {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = Writer::<HEADER_BYTES>::new()
            .u32(0)
            .u32(MAGIC)
            .u64(self.store_id)
            .u32(self.segment.0)
            .u32(self.incarnation.0)
            .u32(self.count)
            .u32(self.bytes)
            .u64(self.seq.0)
            .u64(self.first_lsn.0)
            .u64(self.durable_lsn.0)
            .u64(self.wall.0)
            .u32(self.epoch)
            .u32(self.identities_crc)
            .u8(self.stream)
            .put(&self.run.to_le_bytes()[..3])
            .u32(self.step)
            .done();
        seal_crc(&mut bytes);
        bytes
    }

    /// Reads a header from the front of `bytes`.
    ///
    /// # Errors
    /// When it is not a batch header or is damaged.
    pub fn decode(bytes: &[u8]) -> Result<BatchHead, DecodeError> {
        let fields = Fields(bytes);
        if fields.u32(4)? != MAGIC {
            return Err(DecodeError::Magic);
        }
        check_crc(fields.slice(0, HEADER_BYTES)?)?;
        Ok(BatchHead {
            store_id: fields.u64(8)?,
            segment: SegmentId(fields.u32(16)?),
            incarnation: fields.uses(20)?,
            count: fields.u32(24)?,
            bytes: fields.u32(28)?,
            seq: BatchSeq(fields.counter(32)?),
            first_lsn: Lsn(fields.counter(40)?),
            durable_lsn: Lsn(fields.counter(48)?),
            wall: fields.millis(56)?,
            epoch: fields.u32(64)?,
            identities_crc: fields.u32(68)?,
            stream: fields.u8(72)?,
            run: fields.u32(72)? >> 8,
            step: fields.u32(76)?,
        })
    }

    /// Place of the batch before this one in its stream, if it is known.
    pub fn follows(&self) -> Option<BatchSeq> {
        let before = self.seq.0.checked_sub(u64::from(self.step))?;
        (self.step > 0 && before > 0).then_some(BatchSeq(before))
    }

    /// Bytes of the whole batch before padding to the block.
    pub fn batch_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.bytes) + u64::from(self.count) * IDENTITY_BYTES as u64
    }
}
