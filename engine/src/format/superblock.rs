//! The store's root: two slots of 4 KiB, written in turn; the valid one of the highest generation
//! rules. FORMAT.md §6.

use super::bytes::{Fields, Writer, check_crc, seal_crc};
use super::{DecodeError, FORMAT_VERSION};
use crate::units::{BatchSeq, Lsn, UnixMillis};

/// Length of one slot.
pub const SLOT_BYTES: usize = 4096;
/// Length of the file: two slots.
pub const FILE_BYTES: u64 = 2 * SLOT_BYTES as u64;
const MAGIC: u32 = 0x5245_4245; // "EBER"
const FIELDS_BYTES: usize = 160;

/// A checkpoint that recovery may start from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CheckpointRef {
    /// Number of the checkpoint, rising, of no other attempt; 0 = none. Its file is `checkpoint-(number % 3)`.
    pub number: u64,
    /// Batches up to this one are in it; recovery replays the later ones.
    pub start_seq: BatchSeq,
    /// Pages in the file.
    pub pages: u64,
    /// When it was taken: expiries in its rows count from here.
    pub wall: UnixMillis,
}

/// The root of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Superblock {
    /// Rises with every write.
    pub generation: u64,
    /// Random identity of the store.
    pub store_id: u64,
    /// Key of the store's key hash.
    pub hash_seed: [u8; 16],
    /// Size of every segment file.
    pub segment_bytes: u32,
    /// Unit in which batches are placed.
    pub block_bytes: u32,
    /// Newest checkpoint.
    pub newest: CheckpointRef,
    /// The one before it: tombstones up to its start may have been dropped.
    pub older: CheckpointRef,
    /// Everything up to here was on stable storage when this was written.
    pub durable_lsn: Lsn,
    /// The batch that held `durable_lsn`, or a later one.
    pub durable_seq: BatchSeq,
    /// Whether the store was closed in order after this was written.
    pub clean: bool,
}

impl Superblock {
    /// The slot's bytes, to be followed by zeros up to [`SLOT_BYTES`].
    pub fn encode(&self) -> [u8; FIELDS_BYTES] {
        let mut bytes = Writer::<FIELDS_BYTES>::new()
            .u32(0)
            .u32(MAGIC)
            .u16(FORMAT_VERSION)
            .u16(u16::from(self.clean))
            .u32(self.segment_bytes)
            .u64(self.generation)
            .u64(self.store_id)
            .put(&self.hash_seed)
            .u32(self.block_bytes)
            .u32(0)
            .u64(self.newest.number)
            .u64(self.newest.start_seq.0)
            .u64(self.newest.pages)
            .u64(self.newest.wall.0)
            .u64(self.older.number)
            .u64(self.older.start_seq.0)
            .u64(self.older.pages)
            .u64(self.older.wall.0)
            .u64(self.durable_lsn.0)
            .u64(self.durable_seq.0)
            .done();
        seal_crc(&mut bytes);
        bytes
    }

    /// Reads a slot.
    ///
    /// # Errors
    /// When it is damaged, not a superblock, or of a newer format.
    pub fn decode(bytes: &[u8]) -> Result<Superblock, DecodeError> {
        let fields = Fields(bytes);
        if fields.u32(4)? != MAGIC {
            return Err(DecodeError::Magic);
        }
        check_crc(fields.slice(0, FIELDS_BYTES)?)?;
        let version = fields.u16(8)?;
        if version > FORMAT_VERSION {
            return Err(DecodeError::Version(version));
        }
        let checkpoint = |at| -> Result<CheckpointRef, DecodeError> {
            Ok(CheckpointRef {
                number: fields.counter(at)?,
                start_seq: BatchSeq(fields.counter(at + 8)?),
                pages: fields.counter(at + 16)?,
                wall: fields.millis(at + 24)?,
            })
        };
        let hash_seed = fields.slice(32, 16)?.try_into().map_err(|_| DecodeError::Short)?;
        let block = Superblock {
            clean: fields.u16(10)? & 1 != 0,
            segment_bytes: fields.u32(12)?,
            generation: fields.counter(16)?,
            store_id: fields.u64(24)?,
            hash_seed,
            block_bytes: fields.u32(48)?,
            newest: checkpoint(56)?,
            older: checkpoint(88)?,
            durable_lsn: Lsn(fields.counter(120)?),
            durable_seq: BatchSeq(fields.counter(128)?),
        };
        if !block.segment_bytes.is_power_of_two()
            || !(1 << 14..=1 << 26).contains(&block.segment_bytes)
        {
            return Err(DecodeError::Field("segment bytes"));
        }
        if block.block_bytes != 512 && block.block_bytes != 4096 {
            return Err(DecodeError::Field("block bytes"));
        }
        Ok(block)
    }
}
