//! One index entry as 16 bytes of a checkpoint.
//!
//! Owns: the row format.
//! Never knows: the pages and checksums around a row.
//! Invariant: any 16 bytes decode to an entry that can be inserted, or to `None`; never a panic.

use super::entry::{Entry, FREQ_MAX};
use super::identity::Identity;
use super::size::SizeClass;
use super::stamp::{Expiry, TOUCH_CLASS_MAX};
use crate::units::Location;

/// Length of a row.
pub const ROW_BYTES: usize = 16;

const LOCATION_AT: u32 = Identity::BITS;
const SIZE_AT: u32 = LOCATION_AT + Location::BITS;
const EXPIRY_AT: u32 = SIZE_AT + 8;
const FREQ_AT: u32 = EXPIRY_AT + Expiry::BITS;
const TOUCH_AT: u32 = FREQ_AT + 2;
const RESERVED_AT: u32 = TOUCH_AT + 3;
const _: () = assert!(RESERVED_AT == 121, "7 bits of a row are reserved");

/// Encodes one entry, little endian.
/// ```text
///  127   121 120  118 117  116 115       91 90    83 82        47 46         0
/// +---------+--------+--------+------------+--------+------------+------------+
/// | zero 7  | touch 3| freq 2 | expiry 25  | size 8 | location 36| identity 47|
/// +---------+--------+--------+------------+--------+------------+------------+
/// ```
pub fn encode_row(identity: Identity, entry: Entry) -> [u8; ROW_BYTES] {
    assert!(entry.location.0 >> Location::BITS == 0, "location exceeds 36 bits");
    assert!(entry.freq <= FREQ_MAX && entry.touch <= TOUCH_CLASS_MAX, "freq or touch too wide");
    let row = u128::from(identity.to_bits())
        | u128::from(entry.location.0) << LOCATION_AT
        | u128::from(entry.size.to_bits()) << SIZE_AT
        | u128::from(entry.expiry.to_bits()) << EXPIRY_AT
        | u128::from(entry.freq) << FREQ_AT
        | u128::from(entry.touch) << TOUCH_AT;
    row.to_le_bytes()
}

/// Decodes a row; `None` if it is none: reserved bits set, size class 0, location 0 (never a
/// record) or an identity that no key has. An all-zero row is none.
#[expect(clippy::cast_possible_truncation, reason = "fields are cut out by width")]
pub fn decode_row(row: [u8; ROW_BYTES]) -> Option<(Identity, Entry)> {
    let row = u128::from_le_bytes(row);
    let field = |at: u32, bits: u32| (row >> at) as u64 & ((1 << bits) - 1);
    let location = Location(field(LOCATION_AT, Location::BITS));
    // Location 0 is no record, but stands for one that was lost.
    if row >> RESERVED_AT != 0 {
        return None;
    }
    let entry = Entry {
        location,
        size: SizeClass::from_bits(field(SIZE_AT, 8) as u8)?,
        expiry: Expiry::from_bits(field(EXPIRY_AT, Expiry::BITS) as u32)?,
        freq: field(FREQ_AT, 2) as u8,
        touch: field(TOUCH_AT, 3) as u8,
    };
    Some((Identity::from_bits(field(0, Identity::BITS))?, entry))
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    reason = "numbers of tests are small"
)]
mod tests {
    use super::*;
    use crate::units::KeyHash;

    #[test]
    fn golden_row() {
        let Some(expiry) = Expiry::from_bits(0x155_5555) else { unreachable!("25 bits") };
        let entry = Entry {
            location: Location(0x0009_8765_4321),
            size: SizeClass::of(1024),
            expiry,
            freq: 2,
            touch: 5,
        };
        let identity = Identity::of(KeyHash(0x0123_4567_89AB_CDEF));
        let row = encode_row(identity, entry);
        assert_eq!(identity.x(), 0x48D1_59E2, "0x0123456789ABCDEF >> 26");
        let value = u128::from_le_bytes(row);
        assert_eq!(value >> 118, 5);
        assert_eq!(value >> 116 & 3, 2);
        assert_eq!(value >> 91 & 0x1FF_FFFF, 0x155_5555);
        assert_eq!(value >> 83 & 0xFF, 64, "1,024 bytes are 64 units");
        assert_eq!(value >> 47 & 0xF_FFFF_FFFF, 0x9_8765_4321);
        assert_eq!(decode_row(row), Some((identity, entry)));
    }

    #[test]
    fn any_bytes_decode_or_are_refused_and_what_decodes_encodes_back() {
        let mut state = 7u128;
        let mut decoded = 0;
        for round in 0..200_000u32 {
            state = state.wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645).wrapping_add(1);
            let row = (if round.is_multiple_of(2) { state } else { state >> 7 }).to_le_bytes();
            if let Some((identity, entry)) = decode_row(row) {
                assert_eq!(encode_row(identity, entry), row);
                decoded += 1;
            }
        }
        assert!(decoded > 10_000, "the test sees both outcomes: {decoded}");
        assert_eq!(decode_row([0; 16]), None);
        assert_eq!(decode_row([0xFF; 16]), None);
    }
}
