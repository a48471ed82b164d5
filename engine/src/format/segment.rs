//! Segment header and seal footer. FORMAT.md §4.
//!
//! ```text
//! header (4096) | batch | batch ... | unused | footer rows | trailer (64, the file's last bytes)
//! ```
//! The footer has a row for every batch and every record with its key, so that restart, SCAN and the
//! inspection tool never read values but those of touch records.

#[cfg(test)]
mod tests;

use super::DecodeError;
use super::bytes::{Fields, Writer, check_crc, seal_crc};
use super::label::Label;
use super::record::Kind;
use super::{FORMAT_VERSION, record};
use crate::units::{BatchSeq, Incarnation, Lsn, Namespace, RECORD_ALIGN, SegmentId, UnixMillis};

/// Bytes reserved for the header; the first batch starts here.
pub const HEADER_BYTES: u32 = 4096;
/// Length of the trailer at the very end of a sealed segment.
pub const TRAILER_BYTES: usize = 64;
const HEADER_MAGIC: u32 = 0x4745_5345; // "ESEG"
const TRAILER_MAGIC: u32 = 0x4c41_4553; // "SEAL"
const HEADER_FIELDS_BYTES: usize = 64;

/// The start of a segment file, written durably before its first batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHead {
    /// Store that owns the segment.
    pub store_id: u64,
    /// Slot.
    pub segment: SegmentId,
    /// Use of the slot.
    pub incarnation: Incarnation,
    /// Size of the file.
    pub segment_bytes: u32,
    /// When this use began.
    pub created: UnixMillis,
}

impl SegmentHead {
    /// The header's bytes, to be followed by zeros up to [`HEADER_BYTES`].
    pub fn encode(&self) -> [u8; HEADER_FIELDS_BYTES] {
        let mut bytes = Writer::<HEADER_FIELDS_BYTES>::new()
            .u32(0)
            .u32(HEADER_MAGIC)
            .u16(FORMAT_VERSION)
            .u16(0)
            .u32(self.segment.0)
            .u64(self.store_id)
            .u32(self.incarnation.0)
            .u32(self.segment_bytes)
            .u64(self.created.0)
            .done();
        seal_crc(&mut bytes);
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    /// When it is damaged, not a segment header, or of a newer format.
    pub fn decode(bytes: &[u8]) -> Result<SegmentHead, DecodeError> {
        let fields = Fields(bytes);
        if fields.u32(4)? != HEADER_MAGIC {
            return Err(DecodeError::Magic);
        }
        check_crc(fields.slice(0, HEADER_FIELDS_BYTES)?)?;
        let version = fields.u16(8)?;
        if version > FORMAT_VERSION {
            return Err(DecodeError::Version(version));
        }
        Ok(SegmentHead {
            segment: SegmentId(fields.u32(12)?),
            store_id: fields.u64(16)?,
            incarnation: fields.uses(24)?,
            segment_bytes: fields.u32(28)?,
            created: fields.millis(32)?,
        })
    }
}

/// The end of a sealed segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trailer {
    /// Store that owns the segment.
    pub store_id: u64,
    /// Slot.
    pub segment: SegmentId,
    /// Use of the slot.
    pub incarnation: Incarnation,
    /// End of the last batch.
    pub data_end: u32,
    /// Where the rows start; they end at the trailer.
    pub rows_offset: u32,
    /// Bytes of rows.
    pub rows_bytes: u32,
    /// Checksum of the rows.
    pub rows_crc: u32,
    /// First batch.
    pub seq_min: BatchSeq,
    /// Last batch.
    pub seq_max: BatchSeq,
    /// Largest LSN of any record.
    pub lsn_max: Lsn,
}

impl Trailer {
    /// The trailer's bytes.
    pub fn encode(&self) -> [u8; TRAILER_BYTES] {
        let mut bytes = Writer::<TRAILER_BYTES>::new()
            .u32(0)
            .u32(TRAILER_MAGIC)
            .u64(self.store_id)
            .u32(self.segment.0)
            .u32(self.incarnation.0)
            .u32(self.data_end)
            .u32(self.rows_offset)
            .u32(self.rows_bytes)
            .u32(self.rows_crc)
            .u64(self.seq_min.0)
            .u64(self.seq_max.0)
            .u64(self.lsn_max.0)
            .done();
        seal_crc(&mut bytes);
        bytes
    }

    /// Reads a trailer from the last [`TRAILER_BYTES`] bytes of a segment of `segment_bytes`.
    ///
    /// # Errors
    /// When there is none, or its offsets do not fit the segment.
    pub fn decode(bytes: &[u8], segment_bytes: u32) -> Result<Trailer, DecodeError> {
        let fields = Fields(bytes);
        if fields.u32(4)? != TRAILER_MAGIC {
            return Err(DecodeError::Magic);
        }
        check_crc(fields.slice(0, TRAILER_BYTES)?)?;
        let trailer = Trailer {
            store_id: fields.u64(8)?,
            segment: SegmentId(fields.u32(16)?),
            incarnation: fields.uses(20)?,
            data_end: fields.u32(24)?,
            rows_offset: fields.u32(28)?,
            rows_bytes: fields.u32(32)?,
            rows_crc: fields.u32(36)?,
            seq_min: BatchSeq(fields.counter(40)?),
            seq_max: BatchSeq(fields.counter(48)?),
            lsn_max: Lsn(fields.counter(56)?),
        };
        let rows_end = u64::from(trailer.rows_offset) + u64::from(trailer.rows_bytes);
        if trailer.data_end > trailer.rows_offset
            || rows_end + TRAILER_BYTES as u64 > u64::from(segment_bytes)
        {
            return Err(DecodeError::Field("footer offsets"));
        }
        Ok(trailer)
    }
}

/// Footer row of a batch; the rows of its records follow it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchRow {
    /// Offset of the batch in the segment.
    pub offset: u32,
    /// Number of record rows that follow.
    pub count: u32,
    /// Place in the total order.
    pub seq: BatchSeq,
    /// Wall clock when it was closed.
    pub wall: UnixMillis,
}

/// Footer row of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordRow<'a> {
    /// Offset of the record in the segment.
    pub offset: u32,
    /// The record's header, but for codec and dictionary.
    pub head: record::Head,
    /// The key and the extension block behind it. For [`Kind::Touch`] nothing, as footers are written,
    /// or the record's value, where it has been read.
    pub name: &'a [u8],
}

impl<'a> RecordRow<'a> {
    /// The key.
    pub fn key(&self) -> &'a [u8] {
        self.head.split_name(self.name).0
    }
}

/// One footer row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Row<'a> {
    /// A batch begins.
    Batch(BatchRow),
    /// A record of the batch before it.
    Record(RecordRow<'a>),
    /// A record of the batch before it that was lost, as the batch's list of identities names it.
    Lost(u64),
}

const BATCH_ROW_TAG: u8 = 0xba;
const BATCH_ROW_BYTES: usize = 25;
const LOST_ROW_TAG: u8 = 0xbb;
const LOST_ROW_BYTES: usize = 9;
const RECORD_ROW_BYTES: usize = 44;

/// Appends a batch row.
pub fn push_batch_row(rows: &mut Vec<u8>, row: &BatchRow) {
    rows.push(BATCH_ROW_TAG);
    rows.extend_from_slice(&row.offset.to_le_bytes());
    rows.extend_from_slice(&row.count.to_le_bytes());
    rows.extend_from_slice(&row.seq.0.to_le_bytes());
    rows.extend_from_slice(&row.wall.0.to_le_bytes());
}

/// Appends the row of a record that was lost: its word in the list of identities.
pub fn push_lost_row(rows: &mut Vec<u8>, identity: u64) {
    rows.push(LOST_ROW_TAG);
    rows.extend_from_slice(&identity.to_le_bytes());
}

/// Bytes that the row of a lost record takes.
pub fn lost_row_bytes() -> usize {
    LOST_ROW_BYTES
}

/// Bytes that the row of a record takes in a footer.
pub fn record_row_bytes(head: &record::Head) -> usize {
    let name_len = if head.kind == Kind::Touch { 0 } else { head.name_bytes() };
    RECORD_ROW_BYTES + name_len
}

/// Bytes that the row of a batch takes.
pub fn batch_row_bytes() -> usize {
    BATCH_ROW_BYTES
}

/// Appends the row of a record; `name` is its key with the extension block behind it; for
/// [`Kind::Touch`] nothing in a footer, or its value.
pub fn push_record_row(rows: &mut Vec<u8>, offset: u32, head: &record::Head, name: &[u8]) {
    let fields = Writer::<RECORD_ROW_BYTES>::new()
        .u8(head.kind as u8)
        .u8(head.flags)
        .u8(head.value_type)
        .u8(head.touch)
        .u16(head.key_len)
        .u16(head.namespace.0)
        .u32(offset)
        .u32(head.value_len)
        .u16(head.ext_len)
        .u16(0)
        .u64(head.lsn.0)
        .u64(head.expires_at.map_or(0, |at| at.0))
        .u32(u32::try_from(name.len()).unwrap_or(u32::MAX))
        .u16(0)
        .u16(0)
        .done();
    rows.extend_from_slice(&fields);
    rows.extend_from_slice(name);
}

/// Reads the row at `at`; returns it and where the next one starts.
///
/// # Errors
/// When the bytes are not a row.
pub fn decode_row(rows: &[u8], at: usize) -> Result<(Row<'_>, usize), DecodeError> {
    let rest = Fields(rows.get(at..).ok_or(DecodeError::Short)?);
    let tag = rest.u8(0)?;
    if tag == BATCH_ROW_TAG {
        let row = BatchRow {
            offset: rest.u32(1)?,
            count: rest.u32(5)?,
            seq: BatchSeq(rest.counter(9)?),
            wall: rest.millis(17)?,
        };
        return Ok((Row::Batch(row), at + BATCH_ROW_BYTES));
    }
    if tag == LOST_ROW_TAG {
        return Ok((Row::Lost(rest.u64(1)?), at + LOST_ROW_BYTES));
    }
    let kind = Kind::decode(tag)?;
    let expires = rest.u64(28)?;
    let head = record::Head {
        kind,
        flags: rest.u8(1)?,
        value_type: rest.u8(2)?,
        touch: rest.u8(3)? & 7,
        codec: record::CODEC_RAW,
        dictionary: 0,
        key_len: rest.u16(4)?,
        namespace: Namespace(rest.u16(6)?),
        value_len: rest.u32(12)?,
        ext_len: rest.u16(16)?,
        lsn: Lsn(rest.counter(20)?),
        expires_at: (expires != 0).then_some(UnixMillis(expires & UnixMillis::MAX.0)),
    };
    let name_len = rest.u32(36)? as usize;
    let name = rest.slice(RECORD_ROW_BYTES, name_len)?;
    let expected = match kind {
        Kind::Touch if name_len > 0 => head.value_len as usize,
        Kind::Touch => 0,
        _ => head.name_bytes(),
    };
    let offset = rest.u32(8)?;
    if name_len != expected || !(offset as usize).is_multiple_of(RECORD_ALIGN) {
        return Err(DecodeError::Field("footer row"));
    }
    if kind != Kind::Touch {
        Label::decode(head.split_name(name).1)?;
    }
    let row = RecordRow { offset, head, name };
    Ok((Row::Record(row), at + RECORD_ROW_BYTES + name_len))
}

/// Where the row at `at` ends, and its kind if it is of a record: told without looking at the rest.
///
/// # Errors
/// When bytes are missing.
pub fn skip_row(rows: &[u8], at: usize) -> Result<(Option<Kind>, usize), DecodeError> {
    let rest = Fields(rows.get(at..).ok_or(DecodeError::Short)?);
    match rest.u8(0)? {
        BATCH_ROW_TAG => Ok((None, at + BATCH_ROW_BYTES)),
        LOST_ROW_TAG => Ok((None, at + LOST_ROW_BYTES)),
        tag => Ok((Some(Kind::decode(tag)?), at + RECORD_ROW_BYTES + rest.u32(36)? as usize)),
    }
}

/// Rows as a footer has them: those of touches without the values of their records.
pub fn footer_rows(rows: &[u8]) -> Vec<u8> {
    let mut bare = Vec::with_capacity(rows.len());
    let mut at = 0;
    while let Ok((row, next)) = decode_row(rows, at) {
        match row {
            Row::Record(RecordRow { offset, head, .. }) if head.kind == Kind::Touch => {
                push_record_row(&mut bare, offset, &head, &[]);
            }
            _ => bare.extend_from_slice(&rows[at..next]),
        }
        at = next;
    }
    bare
}
