//! A hash as one value.
//!
//! ```text
//! version 1 | field count u32 | count x ( field length | value length | field | value )
//!   1 byte  |  little endian  |           LEB128       |    LEB128    |       |
//! ```
//!
//! Owns: the layout. Fields keep the order in which they were first set.
//! Never knows: keys, expiry.
//! Invariant: [`Hash::parse`] has walked all of the value, so what it returns can be iterated
//! without checks; a value that does not fit the layout to its last byte is refused.

use super::Malformed;
use super::wire::{self, HEADER_BYTES, put_varint, varint};

/// Version of the layout.
const VERSION: u8 = 1;

/// A hash value, borrowed and checked.
#[derive(Clone, Copy, Debug)]
pub struct Hash<'a> {
    count: usize,
    /// What follows the header.
    body: &'a [u8],
}

impl<'a> Hash<'a> {
    /// A hash without fields; no such value is ever stored.
    pub const EMPTY: Hash<'static> = Hash { count: 0, body: &[] };

    /// Checks `value`, which takes time proportional to its number of fields.
    ///
    /// # Errors
    /// It is not a hash.
    pub fn parse(value: &'a [u8]) -> Result<Hash<'a>, Malformed> {
        let (count, body) = wire::header(value, VERSION).ok_or(Malformed)?;
        let (mut rest, mut seen) = (body, 0);
        while !rest.is_empty() {
            (_, rest) = pair(rest).ok_or(Malformed)?;
            seen += 1;
        }
        if seen == count { Ok(Hash { count, body }) } else { Err(Malformed) }
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Fields and their values.
    pub fn pairs(&self) -> Pairs<'a> {
        Pairs { rest: self.body }
    }

    /// The value of `field`.
    pub fn get(&self, field: &[u8]) -> Option<&'a [u8]> {
        self.pairs().find(|(name, _)| *name == field).map(|(_, value)| value)
    }
}

/// Iterator over fields and values.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (pair, rest) = pair(self.rest)?;
        self.rest = rest;
        Some(pair)
    }
}

type Pair<'a> = (&'a [u8], &'a [u8]);

/// Takes one pair from the front; `None` if there is no whole one.
fn pair(bytes: &[u8]) -> Option<(Pair<'_>, &[u8])> {
    let (field_len, rest) = varint(bytes)?;
    let (value_len, rest) = varint(rest)?;
    let (field, rest) = rest.split_at_checked(field_len)?;
    let (value, rest) = rest.split_at_checked(value_len)?;
    Some(((field, value), rest))
}

/// Builds a hash value field by field.
#[derive(Debug)]
pub struct Builder {
    bytes: Vec<u8>,
    count: u32,
}

impl Builder {
    /// An empty hash with room for `bytes` bytes of fields and values.
    pub fn with_capacity(bytes: usize) -> Builder {
        Builder { bytes: wire::begin(VERSION, bytes), count: 0 }
    }

    /// Appends a field that is not there yet.
    pub fn push(&mut self, field: &[u8], value: &[u8]) {
        put_varint(field.len() as u64, &mut self.bytes);
        put_varint(value.len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(field);
        self.bytes.extend_from_slice(value);
        self.count += 1;
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The value.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes[1..HEADER_BYTES].copy_from_slice(&self.count.to_le_bytes());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut builder = Builder::with_capacity(0);
        for (field, value) in pairs {
            builder.push(field, value);
        }
        builder.finish()
    }

    #[test]
    fn the_layout_is_what_the_header_says() {
        let value = build(&[(b"f", b"value"), (b"", b"")]);
        assert_eq!(value, b"\x01\x02\0\0\0\x01\x05fvalue\0\0");
    }

    #[test]
    fn fields_come_back_in_order() {
        let long = vec![7u8; 300];
        let value = build(&[(b"a", b"1"), (b"b", &long), (&long, b"")]);
        let hash = Hash::parse(&value).unwrap();
        let pairs: Vec<_> = hash.pairs().collect();
        assert_eq!(pairs, [(&b"a"[..], &b"1"[..]), (b"b", &long), (&long, b"")]);
        assert_eq!(hash.get(b"b"), Some(&long[..]));
        assert_eq!(hash.get(b"c"), None);
        assert_eq!(hash.len(), 3);
    }

    #[test]
    fn damaged_values_are_refused_or_differ_but_never_panic() {
        let value = build(&[(b"field", b"value"), (b"other", &[9; 200])]);
        for cut in 0..value.len() {
            assert!(Hash::parse(&value[..cut]).is_err(), "cut at {cut}");
        }
        for position in 0..value.len() {
            for bit in 0..8 {
                let mut damaged = value.clone();
                damaged[position] ^= 1 << bit;
                if let Ok(hash) = Hash::parse(&damaged) {
                    assert_eq!(hash.pairs().count(), hash.len());
                }
            }
        }
        assert!(Hash::parse(b"\x01\x01\0\0\0\xff\xff\xff\xff\xff\x01").is_err());
    }
}
