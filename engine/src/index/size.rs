//! A record's length in eight bits, never too small, so that one device read always suffices.
//!
//! Owns: [`SizeClass`].
//! Never knows: what a record is made of.
//! Invariant: `SizeClass::of(n).bytes_max() >= n`, and a larger `n` never has a smaller class.

use crate::units::RECORD_ALIGN;

/// Classes 1..=191 are exact multiples of 16 bytes.
const EXACT: usize = 191;
/// Classes 192..=255 grow by 17 % each.
const STEPS: usize = 255 - EXACT;

/// Upper bounds, in 16-byte units, of classes 192..=255.
///
/// `next = last + last * 17 / 100` from 191 (3,056 bytes); the last one is cut to 64 MiB, which
/// 191 * 1.17^64 just exceeds.
const BOUNDS: [u32; STEPS] = bounds();

#[expect(clippy::cast_possible_truncation, reason = "191, and 64 MiB in units, fit 32 bits")]
const fn bounds() -> [u32; STEPS] {
    let mut table = [0; STEPS];
    let (mut last, mut step) = (EXACT as u32, 0);
    while step < STEPS {
        last += last * 17 / 100;
        table[step] = last;
        step += 1;
    }
    assert!(last >= SizeClass::BYTES_MAX as u32 / RECORD_ALIGN as u32, "the steps reach the limit");
    table[STEPS - 1] = SizeClass::BYTES_MAX as u32 / RECORD_ALIGN as u32;
    table
}

/// Class of a record's total length: exact up to 3,056 bytes, at most 17 % above the truth from
/// there to 64 MiB. Class 0 does not exist.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SizeClass(u8);

impl SizeClass {
    /// The longest record that has a class: 64 MiB.
    pub const BYTES_MAX: usize = 64 << 20;

    /// The smallest class whose bound is at least `bytes`. Panics above [`SizeClass::BYTES_MAX`].
    #[expect(clippy::cast_possible_truncation, reason = "bounded by the assertion and the table")]
    pub fn of(bytes: usize) -> SizeClass {
        assert!(bytes <= Self::BYTES_MAX, "a record of {bytes} bytes has no size class");
        let units = bytes.div_ceil(RECORD_ALIGN).max(1);
        if units <= EXACT {
            return SizeClass(units as u8);
        }
        SizeClass((EXACT + 1 + BOUNDS.partition_point(|bound| (*bound as usize) < units)) as u8)
    }

    /// The longest record of this class, in bytes; a multiple of 16.
    pub fn bytes_max(self) -> usize {
        let class = usize::from(self.0);
        let units = if class <= EXACT { class } else { BOUNDS[class - EXACT - 1] as usize };
        units * RECORD_ALIGN
    }

    /// The class's number, 1..=255.
    pub fn to_bits(self) -> u8 {
        self.0
    }

    /// The inverse of [`SizeClass::to_bits`]; `None` for 0.
    pub fn from_bits(bits: u8) -> Option<SizeClass> {
        (bits != 0).then_some(SizeClass(bits))
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
    fn bounds_hold_and_waste_at_most_17_percent() {
        let mut last = SizeClass::of(0);
        let mut worst: f64 = 0.0;
        let mut bytes = 0;
        while bytes <= SizeClass::BYTES_MAX {
            let class = SizeClass::of(bytes);
            assert!(class.bytes_max() >= bytes && class >= last, "{bytes}");
            if bytes > 0 && bytes <= 3056 {
                assert_eq!(class.bytes_max(), bytes.next_multiple_of(16), "{bytes}");
            } else if bytes > 3056 {
                worst = worst.max(class.bytes_max() as f64 / bytes as f64);
            }
            assert_eq!(SizeClass::from_bits(class.to_bits()), Some(class));
            last = class;
            bytes += 1 + bytes / 5000;
        }
        println!("worst over-estimate above 3,056 bytes: {worst:.4}");
        assert!(worst < 1.171, "{worst}");
        assert_eq!(SizeClass::of(SizeClass::BYTES_MAX).to_bits(), 255);
    }

    #[test]
    fn every_class_is_reached_by_its_own_bound() {
        for bits in 1..=255 {
            let class = SizeClass(bits);
            assert_eq!(SizeClass::of(class.bytes_max()), class);
        }
    }

    #[test]
    #[should_panic(expected = "no size class")]
    fn longer_than_the_limit_is_a_programmer_error() {
        SizeClass::of(SizeClass::BYTES_MAX + 1);
    }
}
