//! What the index can tell two keys apart by: 47 of the 64 bits of their keyed hash.
//!
//! Owns: [`Identity`] and how it is cut.
//! Never knows: the keys, how many pages there are.
//! Invariant: one identity has one representation, whichever of its two buckets it came from.

use crate::units::KeyHash;

/// Bits of `x`, the part of the hash that orders entries and names their page.
pub(super) const X_BITS: u32 = 38;
/// Bits that name a bucket within a page.
pub(super) const BUCKET_BITS: u32 = 9;
/// Buckets in a page.
pub(super) const BUCKETS: usize = 1 << BUCKET_BITS;

/// A key as the index sees it: exact for all but about 1 in 2^46 pairs of keys.
///
/// ```text
///  46                                    9 8            0
/// +---------------------------------------+--------------+
/// | x: hash bits 63..26                   | lower bucket |
/// +---------------------------------------+--------------+
/// ```
/// A key may live in bucket `h` (hash bits 25..17) or `h ^ f(x)` of its page; the smaller of the
/// two stands for both. Identities are ordered by `x` first, as pages and scans are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Identity(u64);

impl Identity {
    /// Bits that an identity takes.
    pub const BITS: u32 = X_BITS + BUCKET_BITS;

    /// The identity of a key with this hash.
    pub fn of(hash: KeyHash) -> Identity {
        let below_x = 64 - X_BITS;
        Identity::at(hash.0 >> below_x, (hash.0 >> (below_x - BUCKET_BITS)) & (BUCKETS as u64 - 1))
    }

    /// The identity of an entry with this `x` found in this bucket.
    pub(super) fn at(x: u64, bucket: u64) -> Identity {
        Identity(x << BUCKET_BITS | bucket.min(bucket ^ stride(x)))
    }

    /// The least identity with this `x` or a greater one; need not be one that a key can have.
    pub(super) fn lower_bound(x: u64) -> Identity {
        Identity(x << BUCKET_BITS)
    }

    /// The 38 bits that order entries: the position of [`Index::scan`](super::Index::scan).
    pub fn x(self) -> u64 {
        self.0 >> BUCKET_BITS
    }

    /// The two buckets that may hold it; always different.
    pub(super) fn buckets(self) -> (u64, u64) {
        let bucket = self.0 & (BUCKETS as u64 - 1);
        (bucket, bucket ^ stride(self.x()))
    }

    /// The 47 bits above, for journals and checkpoints.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The inverse of [`Identity::to_bits`]; `None` for bits that are no identity.
    pub fn from_bits(bits: u64) -> Option<Identity> {
        if bits >> Self::BITS != 0 {
            return None;
        }
        let identity = Identity(bits);
        let (lower, other) = identity.buckets();
        (lower < other).then_some(identity)
    }
}

/// Distance between the two buckets of `x`: 1..=511, so that they differ.
///
/// The upper half of a multiplicative hash, scaled: neighbours in `x`, which share a page, get
/// unrelated strides.
pub(super) fn stride(x: u64) -> u64 {
    let mixed = x.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    1 + ((mixed * (BUCKETS as u64 - 1)) >> 32)
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
    fn both_buckets_lead_to_one_identity() {
        for i in 0..100_000u64 {
            let identity = Identity::of(KeyHash(i.wrapping_mul(0x2545_F491_4F6C_DD1D)));
            let (a, b) = identity.buckets();
            assert!(a != b && a < 512 && b < 512);
            assert_eq!(Identity::at(identity.x(), a), identity);
            assert_eq!(Identity::at(identity.x(), b), identity);
            assert_eq!(Identity::from_bits(identity.to_bits()), Some(identity));
        }
    }

    #[test]
    fn bits_that_are_no_identity_are_refused() {
        assert_eq!(Identity::from_bits(1 << 47), None);
        let identity = Identity::of(KeyHash(0x0123_4567_89AB_CDEF));
        let (_, upper) = identity.buckets();
        assert_eq!(Identity::from_bits(identity.x() << 9 | upper), None);
    }

    #[test]
    fn the_cut_is_the_diagram() {
        // x = 38 ones; h = 0 or stride, of which 0 is the smaller.
        let identity = Identity::of(KeyHash(u64::MAX << 26));
        assert_eq!(identity.x(), (1 << 38) - 1);
        assert_eq!(identity.to_bits(), ((1 << 38) - 1) << 9);
        let h = 0b1_0110_0111;
        let identity = Identity::of(KeyHash(h << 17 | 0x1FFFF));
        assert_eq!(identity.x(), 0);
        assert_eq!(identity.buckets(), (h.min(h ^ 1), h.max(h ^ 1)), "stride(0) is 1");
    }
}
