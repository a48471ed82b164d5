//! How far the segments without a footer were on stable storage when a superblock was written, in the
//! same slot behind it. FORMAT.md §6.
//!
//! The end of the log looks like a batch that has gone bad. Up to what is said here it is the latter.
//! Each entry stays true whatever is written later, so that those of both slots count, and a slot
//! whose entries do not read only says nothing.

use super::DecodeError;
use super::bytes::{Fields, check_crc, seal_crc};
use crate::units::{BatchSeq, Incarnation, SegmentId};

/// Where the entries stand in a superblock's slot.
pub const OFFSET: usize = 512;
/// Most entries of a slot.
pub const TAILS_MAX: usize = 16;
/// Length of the whole structure.
pub const BYTES: usize = HEAD_BYTES + TAILS_MAX * ENTRY_BYTES;
const HEAD_BYTES: usize = 24;
const ENTRY_BYTES: usize = 24;
const MAGIC: u32 = 0x4c54_4245; // "EBTL"

/// How far one segment was on stable storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tail {
    /// The segment.
    pub segment: SegmentId,
    /// The use of it.
    pub incarnation: Incarnation,
    /// Where its newest batch ends, without padding.
    pub end: u32,
    /// That batch.
    pub seq: BatchSeq,
}

/// The bytes of up to [`TAILS_MAX`] entries; more are left out.
pub fn encode(store_id: u64, tails: &[Tail]) -> [u8; BYTES] {
    let tails = &tails[..tails.len().min(TAILS_MAX)];
    let mut bytes = [0; BYTES];
    let mut at = 4;
    let mut put = |field: &[u8]| {
        bytes[at..at + field.len()].copy_from_slice(field);
        at += field.len();
    };
    put(&MAGIC.to_le_bytes());
    put(&store_id.to_le_bytes());
    put(&(tails.len() as u64).to_le_bytes());
    for tail in tails {
        put(&tail.segment.0.to_le_bytes());
        put(&tail.incarnation.0.to_le_bytes());
        put(&u64::from(tail.end).to_le_bytes());
        put(&tail.seq.0.to_le_bytes());
    }
    seal_crc(&mut bytes);
    bytes
}

/// Reads the entries from the front of `bytes`.
///
/// # Errors
/// When they are damaged, of another store, or not there.
pub fn decode(bytes: &[u8], store_id: u64) -> Result<Vec<Tail>, DecodeError> {
    let fields = Fields(bytes);
    if fields.u32(4)? != MAGIC {
        return Err(DecodeError::Magic);
    }
    check_crc(fields.slice(0, BYTES)?)?;
    if fields.u64(8)? != store_id {
        return Err(DecodeError::Field("store id"));
    }
    let count = fields.u32(16)? as usize;
    if count > TAILS_MAX {
        return Err(DecodeError::Field("count"));
    }
    let entry = |at| -> Result<Tail, DecodeError> {
        Ok(Tail {
            segment: SegmentId(fields.u32(at)?),
            incarnation: fields.uses(at + 4)?,
            end: fields.u32(at + 8)?,
            seq: BatchSeq(fields.counter(at + 16)?),
        })
    };
    (0..count).map(|number| entry(HEAD_BYTES + number * ENTRY_BYTES)).collect()
}
