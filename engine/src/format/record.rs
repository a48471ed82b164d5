//! One framed mutation: header, key, value. FORMAT.md §2.
//!
//! Two checksums: the first covers header and key (and the second), so that a record whose value
//! has rotted can still say *whose* value was lost; the second covers the value.
//!
//! ```text
//!  0 head crc | 4 value crc | 8 kind | 9 flags | 10 type | 11 touch+codec | 12 key len | 14 ns
//! 16 stored len | 20 extension len | 24 lsn | 32 expires at ms (48 bit) + dictionary (16 bit)
//! 40 key | extension | value
//! ```

use super::DecodeError;
use super::bytes::{Fields, Seed, Writer};
use super::label::Label;
use crate::units::{Lsn, Namespace, RECORD_ALIGN, UnixMillis};

/// Length of the record header.
pub const HEADER_BYTES: usize = 40;
/// Longest key.
pub const KEY_BYTES_MAX: usize = u16::MAX as usize;

/// What a record does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Sets the key to the value.
    Put = 1,
    /// Deletes the key (a tombstone).
    Delete = 2,
    /// Moves expiries without rewriting values; the value is a list of [`TouchRow`](super::touch::TouchRow)s.
    Touch = 3,
    /// Deletes every key of the namespace, or of all namespaces if it is [`ALL_NAMESPACES`].
    Clear = 4,
    /// Ends a group: the group's records take effect together or not at all.
    Commit = 5,
    /// The store was opened: a group left unfinished before this is void.
    Open = 6,
}

/// Namespace value of a [`Kind::Clear`] that means every namespace.
pub const ALL_NAMESPACES: Namespace = Namespace(u16::MAX);

impl Kind {
    /// The kind with this tag.
    pub(crate) fn decode(byte: u8) -> Result<Kind, DecodeError> {
        Ok(match byte {
            1 => Kind::Put,
            2 => Kind::Delete,
            3 => Kind::Touch,
            4 => Kind::Clear,
            5 => Kind::Commit,
            6 => Kind::Open,
            _ => return Err(DecodeError::Field("record kind")),
        })
    }
}

/// Flag: the record belongs to a group that a later [`Kind::Commit`] ends.
pub const GROUPED: u8 = 1;
/// Flag: the key lives in the side table, because another key owned its index identity.
pub const SIDE: u8 = 2;
/// Flag: compaction moved the record here; its LSN is older than its neighbours'.
pub const RELOCATED: u8 = 4;
/// Flag: an extension block follows the key (see [`Label`]).
pub const EXTENDED: u8 = 8;

/// Codec: the value is stored as it is.
pub const CODEC_RAW: u8 = 0;
/// Codec: raw length (u32), then a zstd frame without its magic number.
pub const CODEC_ZSTD: u8 = 1;
/// Bits of the touch class in byte 11; the codec is above them.
const TOUCH_BITS: u32 = 3;

/// Header fields of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// What the record does.
    pub kind: Kind,
    /// [`GROUPED`], [`SIDE`], [`RELOCATED`].
    pub flags: u8,
    /// Opaque type of the value, chosen by the user of the engine.
    pub value_type: u8,
    /// 0: exact expiry; k > 0: the expiry may lag behind the last touch by less than
    /// `14 s << k` (see `index::touch_quantum_secs`). Of a touch record: the class of its rows.
    pub touch: u8,
    /// How the value is stored: [`CODEC_RAW`] or [`CODEC_ZSTD`].
    pub codec: u8,
    /// The dictionary that a packed value needs; 0 is none.
    pub dictionary: u16,
    /// Key space of the key.
    pub namespace: Namespace,
    /// Length of the key in bytes.
    pub key_len: u16,
    /// Length of the stored value in bytes.
    pub value_len: u32,
    /// Length of the extension block behind the key; 0 without [`EXTENDED`].
    pub ext_len: u16,
    /// Identity and order of the mutation.
    pub lsn: Lsn,
    /// Absolute expiry; `None` never expires.
    pub expires_at: Option<UnixMillis>,
}

impl Head {
    /// A header of `kind` with everything else empty.
    pub fn new(kind: Kind, lsn: Lsn) -> Head {
        Head {
            kind,
            flags: 0,
            value_type: 0,
            touch: 0,
            codec: CODEC_RAW,
            dictionary: 0,
            namespace: Namespace(0),
            key_len: 0,
            value_len: 0,
            ext_len: 0,
            lsn,
            expires_at: None,
        }
    }

    /// Bytes of the whole record, without padding.
    pub fn record_bytes(&self) -> usize {
        HEADER_BYTES + self.name_bytes() + self.value_len as usize
    }

    /// Bytes of the key and the extension block behind it.
    pub fn name_bytes(&self) -> usize {
        usize::from(self.key_len) + usize::from(self.ext_len)
    }

    /// Cuts a name into key and extension block.
    pub fn split_name<'a>(&self, name: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        name.split_at_checked(usize::from(self.key_len)).unwrap_or((name, &[]))
    }

    /// Bytes that the record takes in a batch: padded to [`RECORD_ALIGN`].
    pub fn padded_bytes(&self) -> usize {
        self.record_bytes().next_multiple_of(RECORD_ALIGN)
    }

    fn encode(&self, value_crc: u32) -> [u8; HEADER_BYTES] {
        let expires = self.expires_at.map_or(0, |at| at.0);
        Writer::<HEADER_BYTES>::new()
            .u32(0)
            .u32(value_crc)
            .u8(self.kind as u8)
            .u8(self.flags)
            .u8(self.value_type)
            .u8(self.touch | self.codec << TOUCH_BITS)
            .u16(self.key_len)
            .u16(self.namespace.0)
            .u32(self.value_len)
            .u16(self.ext_len)
            .u16(0)
            .u64(self.lsn.0)
            .u64(expires & UnixMillis::MAX.0 | u64::from(self.dictionary) << 48)
            .done()
    }
}

/// Writes the record to the front of `out` and zeroes its padding; returns the padded length. `name`
/// is the key with the extension block behind it.
///
/// # Panics
/// When `out` is shorter than [`Head::padded_bytes`] or the lengths disagree with the header:
/// both are the caller's to get right.
pub fn encode(head: &Head, name: &[u8], value: &[u8], seed: Seed, out: &mut [u8]) -> usize {
    assert_eq!(name.len(), head.name_bytes());
    assert_eq!(head.flags & EXTENDED != 0, head.ext_len > 0);
    assert_eq!(value.len(), head.value_len as usize);
    let value_crc = seed.crc(&[value]);
    let mut header = head.encode(value_crc);
    let head_crc = seed.crc(&[&header[4..], name]);
    header[..4].copy_from_slice(&head_crc.to_le_bytes());
    let name_end = HEADER_BYTES + name.len();
    let end = name_end + value.len();
    out[..HEADER_BYTES].copy_from_slice(&header);
    out[HEADER_BYTES..name_end].copy_from_slice(name);
    out[name_end..end].copy_from_slice(value);
    let padded = head.padded_bytes();
    out[end..padded].fill(0);
    padded
}

/// A record decoded in place.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Header fields.
    pub head: Head,
    /// The key and the extension block behind it.
    pub name: &'a [u8],
    /// The key.
    pub key: &'a [u8],
    /// What the extension block says.
    pub label: Label<'a>,
    /// The stored value; verified only if `value_ok`.
    pub value: &'a [u8],
    /// Whether the value matches its checksum. Header and key always do.
    pub value_ok: bool,
}

/// Decodes the record at the front of `bytes`. A value that fails its checksum is reported by
/// [`Record::value_ok`], because header and key are still to be trusted.
///
/// # Errors
/// When header or key are damaged, foreign or cut short.
pub fn decode(bytes: &[u8], seed: Seed) -> Result<Record<'_>, DecodeError> {
    let (head, name, value_crc) = decode_head(bytes, seed)?;
    let value = Fields(bytes).slice(HEADER_BYTES + name.len(), head.value_len as usize)?;
    let (key, extension) = head.split_name(name);
    let label = Label::decode(extension)?;
    let value_ok = seed.crc(&[value]) == value_crc;
    Ok(Record { head, name, key, label, value, value_ok })
}

/// Decodes header and name (key and extension block) only; the value need not be there. Also
/// returns the value's checksum.
///
/// # Errors
/// When header or key are damaged, foreign or cut short.
pub fn decode_head(bytes: &[u8], seed: Seed) -> Result<(Head, &[u8], u32), DecodeError> {
    let fields = Fields(bytes);
    let kind = Kind::decode(fields.u8(8)?)?;
    let (key_len, ext_len) = (fields.u16(12)?, fields.u16(20)?);
    let name = fields.slice(HEADER_BYTES, usize::from(key_len) + usize::from(ext_len))?;
    let header = fields.slice(4, HEADER_BYTES - 4)?;
    if fields.u32(0)? != seed.crc(&[header, name]) {
        return Err(DecodeError::Checksum);
    }
    let flags = fields.u8(9)?;
    if flags & !(GROUPED | SIDE | RELOCATED | EXTENDED) != 0 {
        return Err(DecodeError::Field("record flags"));
    }
    if (flags & EXTENDED != 0) != (ext_len > 0) {
        return Err(DecodeError::Field("extension length"));
    }
    let (touch, codec) = (fields.u8(11)? & 7, fields.u8(11)? >> TOUCH_BITS);
    if codec > CODEC_ZSTD {
        return Err(DecodeError::Field("codec"));
    }
    let expires = fields.u64(32)? & UnixMillis::MAX.0;
    let head = Head {
        kind,
        flags,
        value_type: fields.u8(10)?,
        touch,
        codec,
        dictionary: fields.u16(38)?,
        namespace: Namespace(fields.u16(14)?),
        key_len,
        value_len: fields.u32(16)?,
        ext_len,
        lsn: Lsn(fields.counter(24)?),
        expires_at: (expires != 0).then_some(UnixMillis(expires)),
    };
    Ok((head, name, fields.u32(4)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Incarnation, SegmentId};

    fn sample() -> (Head, Seed) {
        let head = Head {
            value_type: 3,
            touch: 2,
            namespace: Namespace(5),
            key_len: 3,
            value_len: 5,
            expires_at: Some(UnixMillis(1_700_000_000_123)),
            ..Head::new(Kind::Put, Lsn(77))
        };
        (head, Seed::new(9, SegmentId(1), Incarnation(2)))
    }

    #[test]
    fn round_trip() {
        let (head, seed) = sample();
        let mut out = vec![0xff; 64];
        assert_eq!(encode(&head, b"key", b"value", seed, &mut out), 48);
        let record = decode(&out, seed).unwrap();
        assert_eq!((record.head, record.key, record.value), (head, &b"key"[..], &b"value"[..]));
        assert!(record.value_ok);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let (head, seed) = sample();
        let mut out = vec![0; 48];
        encode(&head, b"key", b"value", seed, &mut out);
        for bit in 0..(HEADER_BYTES + 8) * 8 {
            let mut bad = out.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            match decode(&bad, seed) {
                Err(_) => assert!(bit / 8 < HEADER_BYTES + 3, "bit {bit} is not in head or key"),
                Ok(record) => assert!(!record.value_ok, "bit {bit} went unnoticed"),
            }
        }
    }

    #[test]
    fn another_incarnation_does_not_verify() {
        let (head, seed) = sample();
        let mut out = vec![0; 48];
        encode(&head, b"key", b"value", seed, &mut out);
        let other = Seed::new(9, SegmentId(1), Incarnation(3));
        assert_eq!(decode(&out, other).unwrap_err(), DecodeError::Checksum);
    }
}
