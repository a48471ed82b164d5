//! A large value as its manifest names it: how long it is and where its chunks are. FORMAT.md §2.
//!
//! ```text
//! id u64 | length u64 | chunk bytes u32
//! ```

use super::DecodeError;
use super::bytes::{Fields, Writer};

/// Length of the field in an extension block.
pub(crate) const CHUNKED_BYTES: usize = 20;
/// Most chunks of one value: at 256 KiB each, 4 TiB.
pub const CHUNKS_MAX: u64 = 1 << 24;
/// Shortest chunk, in bytes.
pub const CHUNK_BYTES_MIN: u32 = 64;

/// Length of a chunk's key.
pub(crate) const CHUNK_KEY_BYTES: usize = 12;

/// A value that is stored in chunks, all of one length but for the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunked {
    /// Names its chunks; no other value's ever.
    pub id: u64,
    /// Length of the value, in bytes.
    pub len: u64,
    /// Length of every chunk but the last, in bytes: at least 64.
    pub chunk_bytes: u32,
}

impl Chunked {
    /// Number of chunks, at most 2^24.
    pub fn chunks(&self) -> u32 {
        u32::try_from(self.len.div_ceil(u64::from(self.chunk_bytes))).unwrap_or(u32::MAX)
    }

    /// Length of a chunk; 0 behind the last.
    pub fn chunk_len(&self, number: u32) -> usize {
        let start = u64::from(number) * u64::from(self.chunk_bytes);
        let len = self.len.saturating_sub(start).min(u64::from(self.chunk_bytes));
        usize::try_from(len).unwrap_or(usize::MAX)
    }

    /// Whether the fields can be a value's.
    fn is_valid(&self) -> bool {
        (1..=1 << 62).contains(&self.id)
            && self.chunk_bytes >= CHUNK_BYTES_MIN
            && self.len.div_ceil(u64::from(self.chunk_bytes)) <= CHUNKS_MAX
    }

    pub(crate) fn encode(&self) -> [u8; CHUNKED_BYTES] {
        Writer::new().u64(self.id).u64(self.len).u32(self.chunk_bytes).done()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Chunked, DecodeError> {
        let fields = Fields(bytes);
        let (id, len, chunk_bytes) = (fields.u64(0)?, fields.u64(8)?, fields.u32(16)?);
        let chunked = Chunked { id, len, chunk_bytes };
        let good = bytes.len() == CHUNKED_BYTES && chunked.is_valid();
        if good { Ok(chunked) } else { Err(DecodeError::Field("chunks of a large value")) }
    }
}

/// The key of a chunk.
pub(crate) fn chunk_key(id: u64, number: u32) -> [u8; CHUNK_KEY_BYTES] {
    Writer::new().u64(id).u32(number).done()
}

/// The id in a chunk's key, and its number; `None` if it is no chunk's.
pub(crate) fn decode_chunk_key(key: &[u8]) -> Option<(u64, u32)> {
    let fields = Fields(key);
    let whole = key.len() == CHUNK_KEY_BYTES;
    Some((fields.u64(0).ok()?, fields.u32(8).ok()?)).filter(|_| whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_the_value() {
        for len in [0, 1, 63, 64, 65, 128, 1000, 64 << 24] {
            let chunked = Chunked { id: 7, len, chunk_bytes: 64 };
            let whole: u64 = (0..chunked.chunks()).map(|n| chunked.chunk_len(n) as u64).sum();
            assert_eq!(whole, len);
            assert_eq!(chunked.chunk_len(chunked.chunks()), 0);
            assert_eq!(Chunked::decode(&chunked.encode()), Ok(chunked));
        }
    }

    #[test]
    fn what_no_value_can_be_is_refused() {
        let good = Chunked { id: 7, len: 100, chunk_bytes: 64 };
        for bad in [
            Chunked { id: 0, ..good },
            Chunked { id: 1 << 63, ..good },
            Chunked { chunk_bytes: 0, ..good },
            Chunked { chunk_bytes: 63, ..good },
            Chunked { len: (64 << 24) + 1, ..good },
            Chunked { len: u64::MAX, ..good },
        ] {
            assert!(Chunked::decode(&bad.encode()).is_err(), "{bad:?}");
        }
        assert!(Chunked::decode(&good.encode()[..19]).is_err());
        assert_eq!(decode_chunk_key(&chunk_key(9, 4)), Some((9, 4)));
        assert_eq!(decode_chunk_key(b"d000"), None);
    }
}
