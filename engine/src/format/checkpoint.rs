//! A checkpoint: the index as rows, in pages with a checksum each. FORMAT.md §5.
//!
//! ```text
//! page 0 | page 1 | ...        page = header (32) | payload, zero-filled to 64 KiB
//! ```
//! Pages carry index rows (16 bytes each), side-table rows or labels (variable). The number of pages
//! and the batch to replay from stand in the superblock, which makes the checkpoint valid.

use super::DecodeError;
use super::bytes::{Fields, Writer, check_crc};
use crate::units::Namespace;

/// Length of a page.
pub const PAGE_BYTES: usize = 64 << 10;
/// Length of a page's header.
pub const PAGE_HEADER_BYTES: usize = 32;
/// Length of an index row.
pub const ROW_BYTES: usize = 16;
/// Payload bytes of a page.
pub const PAYLOAD_BYTES_MAX: usize = PAGE_BYTES - PAGE_HEADER_BYTES;
const MAGIC: u32 = 0x5047_4b43; // "CKGP"

/// What a page's payload is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Payload {
    /// Index rows of one namespace.
    Index = 1,
    /// Side-table rows of one namespace: row (16), key length u16, key.
    Side = 2,
    /// Labels of keys of one namespace.
    Label = 3,
}

/// Header of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageHead {
    /// The checkpoint it belongs to.
    pub number: u64,
    /// Its position in the file.
    pub page: u32,
    /// What the payload is.
    pub payload: Payload,
    /// Whose rows these are.
    pub namespace: Namespace,
    /// Bytes of payload.
    pub bytes: u32,
}

/// Completes a page whose payload already stands behind the header in `page`.
///
/// # Panics
/// When `page` is not [`PAGE_BYTES`] long or the payload does not fit.
pub fn seal_page(head: &PageHead, page: &mut [u8]) {
    assert_eq!(page.len(), PAGE_BYTES);
    let end = PAGE_HEADER_BYTES + head.bytes as usize;
    page[end..].fill(0);
    let header = Writer::<PAGE_HEADER_BYTES>::new()
        .u32(0)
        .u32(MAGIC)
        .u64(head.number)
        .u32(head.page)
        .u8(head.payload as u8)
        .u8(0)
        .u16(head.namespace.0)
        .u32(head.bytes)
        .done();
    page[..PAGE_HEADER_BYTES].copy_from_slice(&header);
    super::bytes::seal_crc(page);
}

/// Reads a page; returns its header and payload.
///
/// # Errors
/// When it is damaged or not the expected page of the expected checkpoint.
pub fn decode_page(bytes: &[u8], number: u64, page: u32) -> Result<(PageHead, &[u8]), DecodeError> {
    let fields = Fields(bytes);
    let head = peek_head(bytes)?;
    check_crc(fields.slice(0, PAGE_BYTES)?)?;
    if head.number != number || head.page != page {
        return Err(DecodeError::Field("checkpoint or page number"));
    }
    Ok((head, fields.slice(PAGE_HEADER_BYTES, head.bytes as usize)?))
}

/// Reads a page's header from the page's front, without verifying anything.
///
/// # Errors
/// When it is not a page's header.
pub fn peek_head(bytes: &[u8]) -> Result<PageHead, DecodeError> {
    let fields = Fields(bytes);
    if fields.u32(4)? != MAGIC {
        return Err(DecodeError::Magic);
    }
    let payload = match fields.u8(20)? {
        1 => Payload::Index,
        2 => Payload::Side,
        3 => Payload::Label,
        _ => return Err(DecodeError::Field("payload kind")),
    };
    Ok(PageHead {
        number: fields.u64(8)?,
        page: fields.u32(16)?,
        payload,
        namespace: Namespace(fields.u16(22)?),
        bytes: fields.u32(24)?,
    })
}

/// Bytes of a label row before its key and extension block.
pub const LABEL_ROW_BYTES: usize = 12;

/// What a checkpoint says of a labelled key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LabelRow<'a> {
    /// Index identity, 47 bits.
    pub identity: u64,
    /// Whether the key lives in the side table.
    pub aside: bool,
    /// The key; may be empty if the label has no owner and the key is not aside.
    pub key: &'a [u8],
    /// The label as an extension block.
    pub extension: &'a [u8],
}

impl<'a> LabelRow<'a> {
    /// Appends the row.
    ///
    /// # Panics
    /// When key or extension are longer than a record allows.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let length = |bytes: &[u8]| u16::try_from(bytes.len()).expect("within a record's limits");
        let fixed = Writer::<LABEL_ROW_BYTES>::new()
            .u64(self.identity | u64::from(self.aside) << 48)
            .u16(length(self.key))
            .u16(length(self.extension))
            .done();
        out.extend_from_slice(&fixed);
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.extension);
    }

    /// Reads the row at the front of `bytes`; returns it and what follows.
    ///
    /// # Errors
    /// When bytes are missing or a field is out of range.
    pub fn decode(bytes: &'a [u8]) -> Result<(LabelRow<'a>, &'a [u8]), DecodeError> {
        let fields = Fields(bytes);
        let packed = fields.u64(0)?;
        if packed >> 49 != 0 {
            return Err(DecodeError::Field("label row"));
        }
        let (key_len, ext_len) = (usize::from(fields.u16(8)?), usize::from(fields.u16(10)?));
        let key = fields.slice(LABEL_ROW_BYTES, key_len)?;
        let extension = fields.slice(LABEL_ROW_BYTES + key_len, ext_len)?;
        let (identity, aside) = (packed & ((1 << 48) - 1), packed >> 48 != 0);
        let rest = fields.0.get(LABEL_ROW_BYTES + key_len + ext_len..).unwrap_or_default();
        Ok((LabelRow { identity, aside, key, extension }, rest))
    }
}
