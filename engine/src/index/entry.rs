//! What the index knows of a key, and its 14 bytes in RAM.
//!
//! Owns: [`Entry`], the packed form of an entry.
//! Never knows: buckets and pages, the meaning of a frequency.
//! Invariant: packing loses nothing.

use super::identity::X_BITS;
use super::size::SizeClass;
use super::stamp::{Expiry, TOUCH_CLASS_MAX};
use crate::units::Location;

/// What the index knows of one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Where its newest record is.
    pub location: Location,
    /// Upper bound of that record's length.
    pub size: SizeClass,
    /// When it expires, to the second.
    pub expiry: Expiry,
    /// 0..=3: the hot set's ghost mark, kept while the value itself is not in RAM.
    pub freq: u8,
    /// 0..=7: see [`touch_quantum_secs`](super::touch_quantum_secs).
    pub touch: u8,
}

/// The largest [`Entry::freq`].
pub const FREQ_MAX: u8 = 3;

/// An entry with its `x`, as it lies in a bucket: 4 + 10 bytes.
///
/// The low 32 bits of `x` stand apart, so that the nine of a bucket are compared at one stroke.
/// ```text
///  79    77 76  75 74         50 49      44 43      36 35          0
/// +--------+------+-------------+----------+----------+-------------+
/// | touch 3| freq | expiry 25   | x high 6 | size 8   | location 36 |
/// +--------+------+-------------+----------+----------+-------------+
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Packed {
    pub(super) x_low: u32,
    pub(super) rest: [u8; 10],
}

const SIZE_AT: u32 = Location::BITS;
const X_HIGH_AT: u32 = SIZE_AT + 8;
const EXPIRY_AT: u32 = X_HIGH_AT + (X_BITS - 32);
const FREQ_AT: u32 = EXPIRY_AT + Expiry::BITS;
const TOUCH_AT: u32 = FREQ_AT + 2;
const _: () = assert!(TOUCH_AT + 3 == 80, "an entry is 32 + 80 bits");

#[expect(clippy::cast_possible_truncation, reason = "fields are cut out by width")]
impl Packed {
    /// Packs `entry`. Panics if a field exceeds its bits.
    pub(super) fn new(x: u64, entry: Entry) -> Packed {
        assert!(entry.location.0 >> Location::BITS == 0, "location exceeds 36 bits");
        assert!(entry.freq <= FREQ_MAX && entry.touch <= TOUCH_CLASS_MAX, "freq or touch too wide");
        let rest = u128::from(entry.location.0)
            | u128::from(entry.size.to_bits()) << SIZE_AT
            | u128::from(x >> 32) << X_HIGH_AT
            | u128::from(entry.expiry.to_bits()) << EXPIRY_AT
            | u128::from(entry.freq) << FREQ_AT
            | u128::from(entry.touch) << TOUCH_AT;
        let mut low = [0; 10];
        low.copy_from_slice(&rest.to_le_bytes()[..10]);
        Packed { x_low: x as u32, rest: low }
    }

    /// The `x` that it was packed with.
    pub(super) fn x(&self) -> u64 {
        let mut low = [0; 8];
        low.copy_from_slice(&self.rest[..8]);
        let high = (u64::from_le_bytes(low) >> X_HIGH_AT) & 0x3F;
        high << 32 | u64::from(self.x_low)
    }

    /// The expiry alone: what a sweep looks at, at a fraction of the cost of the whole entry.
    pub(super) fn expiry(&self) -> Expiry {
        let mut high = [0; 4];
        high.copy_from_slice(&self.rest[6..]);
        let code = (u32::from_le_bytes(high) >> (EXPIRY_AT - 48)) & ((1 << Expiry::BITS) - 1);
        let Some(expiry) = Expiry::from_bits(code) else { unreachable!("masked to 25 bits") };
        expiry
    }

    /// The entry that it was packed from.
    pub(super) fn entry(&self) -> Entry {
        let mut wide = [0; 16];
        wide[..10].copy_from_slice(&self.rest);
        let rest = u128::from_le_bytes(wide);
        let Some(size) = SizeClass::from_bits((rest >> SIZE_AT) as u8) else {
            unreachable!("packed from a class")
        };
        let expiry = self.expiry();
        Entry {
            location: Location(rest as u64 & ((1 << Location::BITS) - 1)),
            size,
            expiry,
            freq: (rest >> FREQ_AT) as u8 & 3,
            touch: (rest >> TOUCH_AT) as u8 & 7,
        }
    }
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

    #[test]
    fn each_field_lies_where_the_diagram_says() {
        let Some(size) = SizeClass::from_bits(1) else { unreachable!("1 is a class") };
        let zero = Entry { location: Location(0), size, expiry: Expiry::NONE, freq: 0, touch: 0 };
        let bits = |x: u64, entry: Entry| {
            let packed = Packed::new(x, entry);
            let mut rest = [0; 16];
            rest[..10].copy_from_slice(&packed.rest);
            (packed.x_low, u128::from_le_bytes(rest) ^ (1 << 36))
        };
        assert_eq!(bits(1, zero), (1, 0));
        assert_eq!(bits(1 << 32, zero), (0, 1 << 44));
        assert_eq!(bits(0, Entry { location: Location(1), ..zero }), (0, 1));
        assert_eq!(bits(0, Entry { expiry: Expiry::FAR, ..zero }), (0, 1 << 50));
        assert_eq!(bits(0, Entry { freq: 1, ..zero }), (0, 1 << 75));
        assert_eq!(bits(0, Entry { touch: 7, ..zero }), (0, 7 << 77));
    }

    #[test]
    fn packing_loses_nothing() {
        let mut state = 1u64;
        for _ in 0..100_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (Some(size), Some(expiry)) = (
                SizeClass::from_bits((state >> 8) as u8 | 1),
                Expiry::from_bits((state >> 20) as u32 & 0x1FF_FFFF),
            ) else {
                unreachable!("within their widths")
            };
            let entry = Entry {
                location: Location(state >> 28),
                size,
                expiry,
                freq: (state >> 5) as u8 & 3,
                touch: (state >> 3) as u8 & 7,
            };
            let x = state >> 26;
            let packed = Packed::new(x, entry);
            assert_eq!((packed.x(), packed.entry()), (x, entry));
        }
    }
}
