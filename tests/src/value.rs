//! Self-describing values: whoever reads one can say which key and version it belongs to.
//!
//! Owns: the byte layout of test values. Invariant: the bytes are a function of (key, version, length) only, so a
//! checker needs to remember three numbers and not a megabyte.
//!
//! ```text
//! "EV" key-hash:u32 version:u64 length:u32 crc:u32 filler...      (22 bytes before the filler, little endian)
//! ```
//! Values shorter than that are filler alone; they are recognised by comparing, not by reading.

/// Bytes before the filler.
pub const HEADER_BYTES: usize = 22;

/// What a value says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Checksum of the key that the value was written under.
    pub key_hash: u32,
    /// Version given by the writer.
    pub version: u64,
    /// Length in bytes of the whole value.
    pub length: u32,
}

/// The checksum by which values name their key.
pub fn key_hash(key: &[u8]) -> u32 {
    crc32fast::hash(key)
}

/// The value of `key` at `version` with exactly `length` bytes.
pub fn make(key: &[u8], version: u64, length: usize) -> Vec<u8> {
    let hash = key_hash(key);
    let mut bytes = vec![0; length];
    let seed = (u64::from(hash) << 32) ^ version.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    if length < HEADER_BYTES {
        return bytes;
    }
    let length = u32::try_from(length).expect("test values are far below 4 GiB");
    bytes[..2].copy_from_slice(b"EV");
    bytes[2..6].copy_from_slice(&hash.to_le_bytes());
    bytes[6..14].copy_from_slice(&version.to_le_bytes());
    bytes[14..18].copy_from_slice(&length.to_le_bytes());
    let crc = checksum(&bytes);
    bytes[18..22].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Reads the label of a value, if the value is whole and undamaged.
pub fn label(bytes: &[u8]) -> Option<Label> {
    let header = bytes.get(..HEADER_BYTES)?;
    let word = |at: usize| -> Option<u32> {
        Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?))
    };
    let version = u64::from_le_bytes(header.get(6..14)?.try_into().ok()?);
    let found = Label { key_hash: word(2)?, version, length: word(14)? };
    let whole = header.starts_with(b"EV")
        && usize::try_from(found.length).ok()? == bytes.len()
        && word(18)? == checksum(bytes);
    whole.then_some(found)
}

/// Everything but the checksum field itself.
fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..18]);
    hasher.update(&bytes[HEADER_BYTES..]);
    hasher.finalize()
}

/// What stands in a value, in words for a report.
pub fn describe(key: &[u8], bytes: &[u8]) -> String {
    let length = bytes.len();
    match label(bytes) {
        Some(label) if label.key_hash == key_hash(key) => {
            format!("version {} ({length} bytes)", label.version)
        }
        Some(label) => format!("version {} of ANOTHER key ({length} bytes)", label.version),
        None if length < HEADER_BYTES => format!("{length} bytes {bytes:02x?}"),
        None => format!("{length} bytes with a broken checksum"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_names_itself_and_any_flipped_bit_is_seen() {
        let bytes = make(b"k", 7, 100);
        let expected = Label { key_hash: key_hash(b"k"), version: 7, length: 100 };
        assert_eq!(label(&bytes), Some(expected));
        for bit in 0..bytes.len() * 8 {
            let mut hurt = bytes.clone();
            hurt[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(label(&hurt), None, "bit {bit}");
        }
    }

    #[test]
    fn values_differ_by_key_and_by_version() {
        assert_ne!(make(b"a", 1, 64), make(b"b", 1, 64));
        assert_ne!(make(b"a", 1, 64), make(b"a", 2, 64));
        assert_eq!(make(b"a", 1, 64), make(b"a", 1, 64));
        assert_eq!(make(b"a", 1, 0), b"");
    }
}
