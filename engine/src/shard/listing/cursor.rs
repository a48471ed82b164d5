//! Where a scan goes on, in one number that a client keeps.
//!
//! Owns: [`Cursor`].
//! Never knows: what is there.
//! Invariant: any number is a cursor, and none made here is above 2^53.

/// Bits of a place in the log that a cursor leaves out: it counts 4096 bytes.
pub(super) const GRANULE_BITS: u32 = 12;
/// Bits of a place in hash order that a cursor of the second part leaves out.
pub(super) const X_COARSE: u32 = 10;

/// Where a scan goes on. Below 2^53: some clients keep cursors as floating-point numbers.
///
/// ```text
///  52  51     50         28 27          0
/// +---+------+-------------+-------------+
/// | 1 | part | since  (23) | place  (28) |   or bit 52 clear: x (38)
/// +---+------+-------------+-------------+
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::shard) enum Cursor {
    /// All of it in hash order, from this `x` on.
    Hash(u64),
    /// The segments that were sealed before `since` uses of segments had begun, from this granule of
    /// the segment space on.
    Log { since: u64, granule: u64 },
    /// What is not in those, in hash order, from this `x` on.
    Rest { since: u64, x: u64 },
}

const LISTS: u64 = 1 << 52;
const IS_REST: u64 = 1 << 51;
const SINCE_SHIFT: u32 = 28;
const SINCE_MASK: u64 = (1 << 23) - 1;
const PLACE_MASK: u64 = (1 << SINCE_SHIFT) - 1;

impl Cursor {
    /// The place of a cursor, in a store in which `uses` uses of segments have begun. Any number is one.
    pub(in crate::shard) fn decode(cursor: u64, uses: u64) -> Cursor {
        if cursor & LISTS == 0 || cursor >> 53 != 0 {
            return Cursor::Hash(cursor);
        }
        // The newest that ends like this. One that there never was: nothing counts as sealed before it.
        let age = uses.wrapping_sub(cursor >> SINCE_SHIFT) & SINCE_MASK;
        let since = uses.saturating_sub(age);
        let place = cursor & PLACE_MASK;
        match cursor & IS_REST {
            0 => Cursor::Log { since, granule: place },
            _ => Cursor::Rest { since, x: place << X_COARSE },
        }
    }

    /// The number that stands for it.
    pub(in crate::shard) fn encode(self) -> u64 {
        match self {
            Cursor::Hash(x) => x,
            Cursor::Log { since, granule } => {
                LISTS | (since & SINCE_MASK) << SINCE_SHIFT | granule & PLACE_MASK
            }
            Cursor::Rest { since, x } => {
                LISTS | IS_REST | (since & SINCE_MASK) << SINCE_SHIFT | x >> X_COARSE & PLACE_MASK
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_and_are_exact_in_a_javascript_number() {
        let uses = 0x0123_4567_89ab;
        for back in [0, 1, 1000, SINCE_MASK] {
            let since = uses - back;
            for cursor in [
                Cursor::Log { since, granule: 0 },
                Cursor::Log { since, granule: PLACE_MASK },
                Cursor::Rest { since, x: 0 },
                Cursor::Rest { since, x: PLACE_MASK << X_COARSE },
            ] {
                let number = cursor.encode();
                assert!(number < 1 << 53);
                assert_eq!(Cursor::decode(number, uses), cursor);
            }
        }
        assert_eq!(Cursor::decode(77, uses), Cursor::Hash(77));
    }

    #[test]
    fn a_cursor_from_a_future_that_was_lost_finds_nothing_sealed() {
        let number = Cursor::Log { since: 50, granule: 3 }.encode();
        assert_eq!(Cursor::decode(number, 40), Cursor::Log { since: 0, granule: 3 });
    }
}
