//! Bounded little-endian access to byte slices, and the seeded checksum.

use super::DecodeError;
use crate::units::{Incarnation, SegmentId, UnixMillis};

/// Largest number that counts up (LSN, batch sequence, generation): centuries away, and far from
/// overflowing.
const COUNTER_MAX: u64 = 1 << 62;
/// Largest incarnation of a segment.
const USES_MAX: u32 = 1 << 31;

/// Reads fields at fixed offsets; every access is bounds-checked.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(self, at: usize) -> Result<[u8; N], DecodeError> {
        let end = at.checked_add(N).ok_or(DecodeError::Short)?;
        let bytes = self.0.get(at..end).ok_or(DecodeError::Short)?;
        bytes.try_into().map_err(|_| DecodeError::Short)
    }

    pub(crate) fn u8(self, at: usize) -> Result<u8, DecodeError> {
        self.0.get(at).copied().ok_or(DecodeError::Short)
    }

    pub(crate) fn u16(self, at: usize) -> Result<u16, DecodeError> {
        self.array(at).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(self, at: usize) -> Result<u32, DecodeError> {
        self.array(at).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(self, at: usize) -> Result<u64, DecodeError> {
        self.array(at).map(u64::from_le_bytes)
    }

    /// A number that counts up, with room to go on counting.
    pub(crate) fn counter(self, at: usize) -> Result<u64, DecodeError> {
        let number = self.u64(at)?;
        if number > COUNTER_MAX { Err(DecodeError::Field("counter")) } else { Ok(number) }
    }

    /// How often a segment was used, with room to be used again.
    pub(crate) fn uses(self, at: usize) -> Result<Incarnation, DecodeError> {
        let uses = self.u32(at)?;
        if uses > USES_MAX { Err(DecodeError::Field("incarnation")) } else { Ok(Incarnation(uses)) }
    }

    /// A time.
    pub(crate) fn millis(self, at: usize) -> Result<UnixMillis, DecodeError> {
        let time = UnixMillis(self.u64(at)?);
        if time > UnixMillis::MAX { Err(DecodeError::Field("time")) } else { Ok(time) }
    }

    pub(crate) fn slice(self, at: usize, len: usize) -> Result<&'a [u8], DecodeError> {
        let end = at.checked_add(len).ok_or(DecodeError::Short)?;
        self.0.get(at..end).ok_or(DecodeError::Short)
    }
}

/// Writes fields in order into a fixed array.
pub(crate) struct Writer<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Writer<N> {
    pub(crate) fn new() -> Self {
        Writer { bytes: [0; N], at: 0 }
    }

    pub(crate) fn put(mut self, field: &[u8]) -> Self {
        self.bytes[self.at..self.at + field.len()].copy_from_slice(field);
        self.at += field.len();
        self
    }

    pub(crate) fn u8(self, value: u8) -> Self {
        self.put(&[value])
    }

    pub(crate) fn u16(self, value: u16) -> Self {
        self.put(&value.to_le_bytes())
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.put(&value.to_le_bytes())
    }

    pub(crate) fn u64(self, value: u64) -> Self {
        self.put(&value.to_le_bytes())
    }

    /// The bytes; what was not written is zero.
    pub(crate) fn done(self) -> [u8; N] {
        self.bytes
    }
}

/// Initial value of every checksum inside one use of one segment: it makes bytes of another store,
/// another segment (a misdirected write) or an earlier use (a stale read) fail verification.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seed(u32);

impl Seed {
    /// The seed of `incarnation` of `segment` in the store `store_id`.
    pub fn new(store_id: u64, segment: SegmentId, incarnation: Incarnation) -> Seed {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&store_id.to_le_bytes());
        hasher.update(&segment.0.to_le_bytes());
        hasher.update(&incarnation.0.to_le_bytes());
        Seed(hasher.finalize())
    }

    /// CRC-32 (IEEE) of `parts` in order, starting from this seed.
    pub fn crc(self, parts: &[&[u8]]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.0);
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize()
    }
}

/// Checks a structure whose first four bytes are the CRC-32 of all its other bytes.
pub(crate) fn check_crc(bytes: &[u8]) -> Result<(), DecodeError> {
    let fields = Fields(bytes);
    if fields.u32(0)? == crc32fast::hash(bytes.get(4..).ok_or(DecodeError::Short)?) {
        Ok(())
    } else {
        Err(DecodeError::Checksum)
    }
}

/// Fills in the first four bytes as the CRC-32 of all the others.
pub(crate) fn seal_crc(bytes: &mut [u8]) {
    let crc = crc32fast::hash(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
}
