//! The value of a touch record: which keys have moved their expiry, in 7 bytes each. FORMAT.md §2.
//!
//! All rows of a record share its namespace, its touch class and its base, the expiry in its header.

use super::DecodeError;
use super::record::{self, Head, Kind};
use crate::units::{Lsn, Namespace, RECORD_ALIGN, UnixMillis};

/// Length of a [`TouchRow`].
pub const TOUCH_ROW_BYTES: usize = 7;
/// Bits of the identity in a row; the rest is the expiry.
const IDENTITY_BITS: u32 = 47;
/// Seconds that the rows of one record may lie after its base, exclusive.
pub const TOUCH_SPAN_SECS: u32 = 1 << 9;
const _: () = assert!(9 + IDENTITY_BITS as usize == 8 * TOUCH_ROW_BYTES, "a row is full");

/// One journaled touch: the key's index identity and its new expiry.
///
/// ```text
///  55            47 46                                     0
/// +----------------+----------------------------------------+
/// | seconds past   | identity 47                            |
/// | the base 9     |                                        |
/// +----------------+----------------------------------------+
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TouchRow {
    /// Index identity (`index::Identity`), 47 bits.
    pub identity: u64,
    /// New expiry in seconds since the Unix epoch.
    pub expires_s: u32,
}

impl TouchRow {
    /// The row's bytes in a record with this base.
    ///
    /// # Panics
    /// When the identity has more bits, or the expiry is not within the base's span.
    pub fn encode(&self, base_s: u32) -> [u8; TOUCH_ROW_BYTES] {
        let past = self.expires_s.checked_sub(base_s).filter(|past| *past < TOUCH_SPAN_SECS);
        let past = past.expect("rows are grouped by their expiry");
        assert!(self.identity >> IDENTITY_BITS == 0, "an identity has 47 bits");
        let word = u64::from(past) << IDENTITY_BITS | self.identity;
        let mut bytes = [0; TOUCH_ROW_BYTES];
        bytes.copy_from_slice(&word.to_le_bytes()[..TOUCH_ROW_BYTES]);
        bytes
    }

    /// Reads a row of a record with this base.
    ///
    /// # Errors
    /// When bytes are missing.
    pub fn decode(bytes: &[u8], base_s: u32) -> Result<TouchRow, DecodeError> {
        let row = bytes.get(..TOUCH_ROW_BYTES).ok_or(DecodeError::Short)?;
        let mut word = [0; 8];
        word[..TOUCH_ROW_BYTES].copy_from_slice(row);
        let word = u64::from_le_bytes(word);
        let past = (word >> IDENTITY_BITS) as u32;
        let identity = word & ((1 << IDENTITY_BITS) - 1);
        Ok(TouchRow { identity, expires_s: base_s.saturating_add(past) })
    }
}

/// The base of a touch record, in seconds.
fn base_of(head: &Head) -> u32 {
    head.expires_at.map_or(0, |at| u32::try_from(at.0 / 1000).unwrap_or(u32::MAX))
}

/// The rows in the value of a touch record. Its class is [`Head::touch`].
pub fn rows<'a>(head: &Head, value: &'a [u8]) -> impl Iterator<Item = TouchRow> + use<'a> {
    let base_s = base_of(head);
    value.chunks_exact(TOUCH_ROW_BYTES).filter_map(move |row| TouchRow::decode(row, base_s).ok())
}

/// How many rows a record has that takes no more than `bytes` with its padding.
pub fn rows_within(bytes: usize) -> usize {
    let value = (bytes / RECORD_ALIGN * RECORD_ALIGN).saturating_sub(record::HEADER_BYTES);
    value / TOUCH_ROW_BYTES
}

/// A touch to be journaled. Ordered as they are put together in records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Touch {
    /// Namespace of the key.
    pub namespace: Namespace,
    /// Touch class, 1..=7.
    pub class: u8,
    /// New expiry in seconds since the Unix epoch.
    pub expires_s: u32,
    /// Index identity of the key.
    pub identity: u64,
}

/// The front of sorted `touches` that goes into one record of at most `rows_max` rows: its header,
/// its value, and how many they are. `touches` is not empty.
///
/// # Panics
/// When it is.
pub fn record(touches: &[Touch], rows_max: usize, lsn: Lsn) -> (Head, Vec<u8>, usize) {
    let first = touches.first().expect("a record has a row");
    let base_s = first.expires_s;
    let fits = |touch: &&Touch| {
        (touch.namespace, touch.class) == (first.namespace, first.class)
            && touch.expires_s - base_s < TOUCH_SPAN_SECS
    };
    let mut value = Vec::new();
    let mut count = 0;
    for touch in touches.iter().take(rows_max.max(1)).take_while(fits) {
        let row = TouchRow { identity: touch.identity, expires_s: touch.expires_s };
        value.extend(row.encode(base_s));
        count += 1;
    }
    let head = Head {
        namespace: first.namespace,
        touch: first.class,
        value_len: u32::try_from(value.len()).unwrap_or(u32::MAX),
        expires_at: (base_s > 0).then_some(UnixMillis(u64::from(base_s) * 1000)),
        ..Head::new(Kind::Touch, lsn)
    };
    (head, value, count)
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "numbers of tests are small")]
mod tests {
    use super::*;

    #[test]
    fn touches_come_back_from_their_records() {
        let mut state = 5u64;
        let mut touches: Vec<Touch> = (0..5000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                Touch {
                    namespace: Namespace((state >> 60) as u16 % 3),
                    class: 1 + (state >> 50) as u8 % 7,
                    expires_s: if state.is_multiple_of(50) {
                        0
                    } else {
                        1_790_000_000 + (state >> 40) as u32 % 2000
                    },
                    identity: state >> 17,
                }
            })
            .collect();
        touches.sort_unstable();
        let mut back = Vec::new();
        let (mut rest, mut records) = (&touches[..], 0);
        while !rest.is_empty() {
            let (head, value, count) = record(rest, 100, Lsn(1));
            assert!((1..=100).contains(&count));
            assert_eq!(value.len(), count * TOUCH_ROW_BYTES);
            assert!(rows_within(head.padded_bytes()) >= count);
            assert!(rows_within(head.padded_bytes() - 1) < count + 2);
            back.extend(rows(&head, &value).map(|row| Touch {
                namespace: head.namespace,
                class: head.touch,
                expires_s: row.expires_s,
                identity: row.identity,
            }));
            rest = &rest[count..];
            records += 1;
        }
        assert_eq!(back, touches);
        assert!(records < 220, "{records} records for 21 groups of 4 spans and 5,000 rows");
    }

    #[test]
    fn any_seven_bytes_are_a_row() {
        let row = TouchRow::decode(&[0xFF; 7], u32::MAX).unwrap();
        assert_eq!((row.identity, row.expires_s), ((1 << 47) - 1, u32::MAX));
        assert_eq!(TouchRow::decode(&[0; 6], 0), Err(DecodeError::Short));
    }
}
