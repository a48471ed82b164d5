//! A set as one value.
//!
//! ```text
//! version 1 | member count u32 | count x ( length | member )
//!   1 byte  |  little endian   |           LEB128 |
//! ```
//!
//! Owns: the layout. Members stand in ascending order of their bytes, so that the same set is
//! always the same bytes, and two sets are merged in one pass without hashing.
//! Never knows: keys, expiry.
//! Invariant: [`Set::parse`] has walked all of the value and seen that each member is greater than
//! the one before; a value that does not fit the layout to its last byte is refused.

use super::Malformed;
use super::list::Items;
use super::wire;

const VERSION: u8 = 1;

/// A set value, borrowed and checked.
#[derive(Clone, Copy, Debug)]
pub struct Set<'a> {
    count: usize,
    body: &'a [u8],
}

impl<'a> Set<'a> {
    /// A set without members; no such value is ever stored.
    pub const EMPTY: Set<'static> = Set { count: 0, body: &[] };

    /// Checks `value`, which takes time proportional to its number of members.
    ///
    /// # Errors
    /// It is not a set.
    pub fn parse(value: &'a [u8]) -> Result<Set<'a>, Malformed> {
        let (count, body) = wire::header(value, VERSION).ok_or(Malformed)?;
        let (mut rest, mut seen) = (body, 0);
        let mut before: Option<&[u8]> = None;
        while !rest.is_empty() {
            let (member, after) = wire::item(rest).ok_or(Malformed)?;
            if before.is_some_and(|before| before >= member) {
                return Err(Malformed);
            }
            (before, rest) = (Some(member), after);
            seen += 1;
        }
        if seen == count { Ok(Set { count, body }) } else { Err(Malformed) }
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The members in ascending order.
    pub fn members(&self) -> Items<'a> {
        Items::new(self.body)
    }

    /// Whether `member` is one.
    pub fn contains(&self, member: &[u8]) -> bool {
        self.members().take_while(|other| *other <= member).last() == Some(member)
    }
}

/// The value that holds `members`, which ascend.
pub fn encode(members: &[&[u8]]) -> Vec<u8> {
    let room = members.iter().map(|member| member.len() + wire::ITEM_OVERHEAD).sum();
    let mut out = wire::begin(VERSION, room);
    for member in members {
        wire::put_item(member, &mut out);
    }
    wire::set_count(&mut out, members.len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_what_the_header_says() {
        let value = encode(&[b"", b"ab", b"b"]);
        assert_eq!(value, b"\x01\x03\0\0\0\0\x02ab\x01b");
        let set = Set::parse(&value).unwrap();
        assert_eq!(set.members().collect::<Vec<_>>(), [&b""[..], b"ab", b"b"]);
        for (member, is) in [(&b"ab"[..], true), (b"", true), (b"a", false), (b"c", false)] {
            assert_eq!(set.contains(member), is);
        }
        assert!(!Set::EMPTY.contains(b""));
    }

    #[test]
    fn damaged_values_are_refused_or_differ_but_never_panic() {
        assert!(Set::parse(&encode(&[b"b", b"a"])).is_err(), "out of order");
        assert!(Set::parse(&encode(&[b"a", b"a"])).is_err(), "twice");
        let value = encode(&[b"member", b"other", &[b'x'; 200]]);
        for cut in 0..value.len() {
            assert!(Set::parse(&value[..cut]).is_err(), "cut at {cut}");
        }
        for position in 0..value.len() {
            for bit in 0..8 {
                let mut damaged = value.clone();
                damaged[position] ^= 1 << bit;
                if let Ok(set) = Set::parse(&damaged) {
                    assert_eq!(set.members().count(), set.len());
                }
            }
        }
    }
}
