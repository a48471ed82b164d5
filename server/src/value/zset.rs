//! A sorted set as one value.
//!
//! ```text
//! version 1 | member count u32 | count x ( score                | length | member )
//!   1 byte  |  little endian   |           f64, little endian   | LEB128 |
//! ```
//!
//! Owns: the layout, and the order: by score, then by the bytes of the member.
//! Never knows: keys, expiry.
//! Invariant: [`ZSet::parse`] has walked all of the value and seen that it is in order and that no
//! score is NaN; a value that does not fit the layout to its last byte is refused.

use std::cmp::Ordering;

use super::Malformed;
use super::wire;

const VERSION: u8 = 1;
const SCORE_BYTES: usize = 8;

/// A score and its member.
pub type Entry<'a> = (f64, &'a [u8]);

/// The order of a sorted set. Zero and minus zero are equal, as in Redis; scores are never NaN.
pub fn order(a: &Entry<'_>, b: &Entry<'_>) -> Ordering {
    a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal).then_with(|| a.1.cmp(b.1))
}

/// A sorted set value, borrowed and checked.
#[derive(Clone, Copy, Debug)]
pub struct ZSet<'a> {
    count: usize,
    body: &'a [u8],
}

impl<'a> ZSet<'a> {
    /// A sorted set without members; no such value is ever stored.
    pub const EMPTY: ZSet<'static> = ZSet { count: 0, body: &[] };

    /// Checks `value`, which takes time proportional to its number of members.
    ///
    /// # Errors
    /// It is not a sorted set.
    pub fn parse(value: &'a [u8]) -> Result<ZSet<'a>, Malformed> {
        let (count, body) = wire::header(value, VERSION).ok_or(Malformed)?;
        let (mut rest, mut seen) = (body, 0);
        let mut before: Option<Entry<'_>> = None;
        while !rest.is_empty() {
            let (entry, after) = entry(rest).ok_or(Malformed)?;
            let ascends = before.is_none_or(|before| order(&before, &entry) == Ordering::Less);
            if entry.0.is_nan() || !ascends {
                return Err(Malformed);
            }
            (before, rest) = (Some(entry), after);
            seen += 1;
        }
        if seen == count { Ok(ZSet { count, body }) } else { Err(Malformed) }
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Scores and members in order.
    pub fn entries(&self) -> Entries<'a> {
        Entries { rest: self.body }
    }

    /// The score of `member`, in time proportional to the number of members.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.entries().find(|(_, other)| *other == member).map(|(score, _)| score)
    }
}

/// Iterator over scores and members.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let (entry, rest) = entry(self.rest)?;
        self.rest = rest;
        Some(entry)
    }
}

fn entry(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (score, rest) = bytes.split_first_chunk::<SCORE_BYTES>()?;
    let (member, rest) = wire::item(rest)?;
    Some(((f64::from_le_bytes(*score), member), rest))
}

/// The value that holds `entries`, which are in [`order()`].
pub fn encode(entries: &[Entry<'_>]) -> Vec<u8> {
    let per_entry = wire::ITEM_OVERHEAD + SCORE_BYTES;
    let room = entries.iter().map(|(_, member)| member.len() + per_entry).sum();
    let mut out = wire::begin(VERSION, room);
    for (score, member) in entries {
        // Minus zero is stored as zero: they are the same score.
        out.extend_from_slice(&(score + 0.0).to_le_bytes());
        wire::put_item(member, &mut out);
    }
    wire::set_count(&mut out, entries.len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_what_the_header_says() {
        let value = encode(&[(-1.0, b"b"), (1.5, b"")]);
        assert_eq!(value, b"\x01\x02\0\0\0\0\0\0\0\0\0\xf0\xbf\x01b\0\0\0\0\0\0\xf8\x3f\0");
        let set = ZSet::parse(&value).unwrap();
        assert_eq!(set.entries().collect::<Vec<_>>(), [(-1.0, &b"b"[..]), (1.5, b"")]);
        assert_eq!(
            (set.score(b"b"), set.score(b""), set.score(b"c")),
            (Some(-1.0), Some(1.5), None)
        );
    }

    #[test]
    fn damaged_values_are_refused_or_differ_but_never_panic() {
        assert!(ZSet::parse(&encode(&[(2.0, b"a"), (1.0, b"b")])).is_err(), "out of order");
        assert!(ZSet::parse(&encode(&[(1.0, b"a"), (1.0, b"a")])).is_err(), "twice");
        assert!(ZSet::parse(&encode(&[(f64::NAN, b"a")])).is_err(), "no number");
        let value = encode(&[(f64::NEG_INFINITY, b"member"), (0.0, b"other"), (9.0, &[b'x'; 200])]);
        for cut in 0..value.len() {
            assert!(ZSet::parse(&value[..cut]).is_err(), "cut at {cut}");
        }
        for position in 0..value.len() {
            for bit in 0..8 {
                let mut damaged = value.clone();
                damaged[position] ^= 1 << bit;
                if let Ok(set) = ZSet::parse(&damaged) {
                    assert_eq!(set.entries().count(), set.len());
                }
            }
        }
    }
}
