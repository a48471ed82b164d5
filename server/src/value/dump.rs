//! A value outside of the store: what DUMP answers.
//!
//! ```text
//! "EMBD" | format version 1 | type tag | value | crc32 of all before, little endian
//! ```
//!
//! Owns: the format.
//! Never knows: the layout of values.
//! Invariant: what does not verify to its last byte is not decoded; a later version reads this one.

use super::Kind;

const MAGIC: &[u8; 4] = b"EMBD";
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 6;
const CRC_BYTES: usize = 4;

/// The value of a key as bytes for [`decode`].
pub fn encode(kind: Kind, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + value.len() + CRC_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend([VERSION, kind.tag()]);
    bytes.extend_from_slice(value);
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// The value in `bytes`; `None` if they are not of [`encode`], or damaged.
pub fn decode(bytes: &[u8]) -> Option<(Kind, &[u8])> {
    let (covered, crc) = bytes.split_last_chunk::<CRC_BYTES>()?;
    let (head, value) = covered.split_first_chunk::<HEAD_BYTES>()?;
    let [magic @ .., version, tag] = head;
    let known = magic == MAGIC && *version == VERSION;
    if !known || u32::from_le_bytes(*crc) != crc32fast::hash(covered) {
        return None;
    }
    Kind::of_tag(*tag).map(|kind| (kind, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_what_the_header_says() {
        let bytes = encode(Kind::String, b"v");
        assert_eq!(&bytes[..7], b"EMBD\x01\0v");
        assert_eq!(bytes[7..], crc32fast::hash(b"EMBD\x01\0v").to_le_bytes());
        assert_eq!(decode(&bytes), Some((Kind::String, &b"v"[..])));
    }

    #[test]
    fn damage_is_seen() {
        let bytes = encode(Kind::Hash, b"some value");
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), None, "cut at {cut}");
        }
        for position in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[position] ^= 1 << bit;
                assert_eq!(decode(&damaged), None, "bit {bit} of byte {position}");
            }
        }
    }
}
