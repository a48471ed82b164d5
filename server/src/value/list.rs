//! A list as one value.
//!
//! ```text
//! version 1 | element count u32 | count x ( length | element )
//!   1 byte  |   little endian   |           LEB128 |
//! ```
//!
//! Owns: the layout. Elements stand in list order.
//! Never knows: keys, expiry.
//! Invariant: [`List::parse`] has walked all of the value, so what it returns can be iterated
//! without checks; a value that does not fit the layout to its last byte is refused.

use super::Malformed;
use super::wire;

const VERSION: u8 = 1;

/// A list value, borrowed and checked.
#[derive(Clone, Copy, Debug)]
pub struct List<'a> {
    count: usize,
    body: &'a [u8],
}

impl<'a> List<'a> {
    /// A list without elements; no such value is ever stored.
    pub const EMPTY: List<'static> = List { count: 0, body: &[] };

    /// Checks `value`, which takes time proportional to its number of elements.
    ///
    /// # Errors
    /// It is not a list.
    pub fn parse(value: &'a [u8]) -> Result<List<'a>, Malformed> {
        let list = List::peek(value)?;
        let (mut rest, mut seen) = (list.body, 0);
        while !rest.is_empty() {
            (_, rest) = wire::item(rest).ok_or(Malformed)?;
            seen += 1;
        }
        if seen == list.count { Ok(list) } else { Err(Malformed) }
    }

    /// Reads only the header, in constant time: enough for the length and for pushing.
    ///
    /// # Errors
    /// It is not a list.
    pub fn peek(value: &'a [u8]) -> Result<List<'a>, Malformed> {
        let (count, body) = wire::header(value, VERSION).ok_or(Malformed)?;
        Ok(List { count, body })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The elements in order.
    pub fn items(&self) -> Items<'a> {
        Items { rest: self.body }
    }

    /// The value with `items` before its elements, the first of them last, as LPUSH adds them.
    pub fn pushed_front<'b>(&self, items: impl Iterator<Item = &'b [u8]> + Clone) -> Vec<u8> {
        let mut reversed: Vec<&[u8]> = items.collect();
        reversed.reverse();
        let mut out = wire::begin(VERSION, self.body.len() + room(reversed.iter().copied()));
        for item in &reversed {
            wire::put_item(item, &mut out);
        }
        out.extend_from_slice(self.body);
        wire::set_count(&mut out, self.count + reversed.len());
        out
    }

    /// The value with `items` behind its elements.
    pub fn pushed_back<'b>(&self, items: impl Iterator<Item = &'b [u8]> + Clone) -> Vec<u8> {
        let mut out = wire::begin(VERSION, self.body.len() + room(items.clone()));
        out.extend_from_slice(self.body);
        let mut count = self.count;
        for item in items {
            wire::put_item(item, &mut out);
            count += 1;
        }
        wire::set_count(&mut out, count);
        out
    }
}

impl<'a> List<'a> {
    /// Takes up to `count` elements from `end`, in the order in which they come off. Returns them
    /// and the value of what is left, if anything is.
    pub fn popped(&self, end: End, count: usize) -> (Vec<&'a [u8]>, Option<Vec<u8>>) {
        let count = count.min(self.count);
        let kept = self.count - count;
        let (front, back) = self.split(if end == End::Left { count } else { kept });
        let (taken, left) = if end == End::Left { (front, back) } else { (back, front) };
        let mut taken: Vec<&[u8]> = Items { rest: taken }.collect();
        if end == End::Right {
            taken.reverse();
        }
        (taken, (kept > 0).then(|| from_body(kept, left)))
    }

    /// The bytes of the first `count` elements, and those of the others.
    fn split(&self, count: usize) -> (&'a [u8], &'a [u8]) {
        let mut items = self.items();
        items.by_ref().take(count).for_each(drop);
        self.body.split_at(self.body.len() - items.rest.len())
    }
}

fn from_body(count: usize, body: &[u8]) -> Vec<u8> {
    let mut out = wire::begin(VERSION, body.len());
    out.extend_from_slice(body);
    wire::set_count(&mut out, count);
    out
}

/// An end of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The head.
    Left,
    /// The tail.
    Right,
}

/// Bytes that `items` take at most.
fn room<'a>(items: impl Iterator<Item = &'a [u8]>) -> usize {
    items.map(|item| item.len() + wire::ITEM_OVERHEAD).sum()
}

/// Iterator over byte strings that follow each other.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    rest: &'a [u8],
}

impl<'a> Items<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Items<'a> {
        Items { rest }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (item, rest) = wire::item(self.rest)?;
        self.rest = rest;
        Some(item)
    }
}

/// The value that holds `items`.
pub fn encode<'a>(items: impl Iterator<Item = &'a [u8]> + Clone) -> Vec<u8> {
    List::EMPTY.pushed_back(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_what_the_header_says() {
        let value = encode([&b"ab"[..], b"", b"c"].into_iter());
        assert_eq!(value, b"\x01\x03\0\0\0\x02ab\0\x01c");
        let list = List::parse(&value).unwrap();
        assert_eq!(list.items().collect::<Vec<_>>(), [&b"ab"[..], b"", b"c"]);
        let pushed = list.pushed_front([&b"x"[..], b"y"].into_iter());
        let list = List::parse(&pushed).unwrap();
        assert_eq!(list.items().collect::<Vec<_>>(), [&b"y"[..], b"x", b"ab", b"", b"c"]);
        assert_eq!((list.len(), list.is_empty()), (5, false));
        let (taken, left) = list.popped(End::Right, 2);
        assert_eq!(taken, [&b"c"[..], b""]);
        let left = left.unwrap();
        let (taken, left) = List::parse(&left).unwrap().popped(End::Left, 1);
        assert_eq!((taken, left), (vec![&b"y"[..]], Some(encode([&b"x"[..], b"ab"].into_iter()))));
        assert_eq!(list.popped(End::Left, 9).1, None);
    }

    #[test]
    fn damaged_values_are_refused_or_differ_but_never_panic() {
        let value = encode([&b"element"[..], &[9; 200], b""].into_iter());
        for cut in 0..value.len() {
            assert!(List::parse(&value[..cut]).is_err(), "cut at {cut}");
        }
        for position in 0..value.len() {
            for bit in 0..8 {
                let mut damaged = value.clone();
                damaged[position] ^= 1 << bit;
                if let Ok(list) = List::parse(&damaged) {
                    assert_eq!(list.items().count(), list.len());
                }
            }
        }
    }
}
