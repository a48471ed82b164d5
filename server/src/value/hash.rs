//! A hash as one value.
//!
//! ```text
//! version 1 | field count u32 | count x ( field length | value length | field | value )
//!   1 byte  |  little endian  |           LEB128       |    LEB128    |       |
//!
//! version 2 | field count u32 | own expiry u64 | count x ( field length | value length | expiry | field | value )
//! ```
//!
//! A hash of which no field expires by itself is version 1, and its record has the expiry of its key. In version 2
//! an expiry is a Unix time in milliseconds, or 0 for none (LEB128 for a field). The record then expires with the key
//! or with the last field, whichever is first, so that an emptied hash is gone; the key's own expiry is in the header.
//!
//! Owns: the layout. Fields keep the order in which they were first set.
//! Never knows: keys.
//! Invariant: [`Hash::parse`] has walked all of the value, so what it returns can be iterated
//! without checks; a value that does not fit the layout to its last byte is refused. Fields that
//! have expired are not there.

use emberlog_engine::UnixMillis;

use super::Malformed;
use super::wire::{self, HEADER_BYTES, put_varint, varint, varint64};

const PLAIN: u8 = 1;
const EXPIRING: u8 = 2;
const OWN_EXPIRY_BYTES: usize = 8;

/// A field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// When it expires by itself.
    pub expires_at: Option<UnixMillis>,
}

/// A hash value, borrowed and checked.
#[derive(Clone, Debug)]
pub struct Hash<'a> {
    live: usize,
    fields: Fields<'a>,
}

impl<'a> Hash<'a> {
    /// A hash without fields; no such value is ever stored.
    pub const EMPTY: Hash<'static> =
        Hash { live: 0, fields: Fields { rest: &[], expiring: false, now: UnixMillis(0) } };

    /// Checks `value`, which takes time proportional to its number of fields.
    ///
    /// # Errors
    /// It is not a hash.
    pub fn parse(value: &'a [u8], now: UnixMillis) -> Result<Hash<'a>, Malformed> {
        let expiring = value.first() == Some(&EXPIRING);
        let version = if expiring { EXPIRING } else { PLAIN };
        let (count, mut body) = wire::header(value, version).ok_or(Malformed)?;
        if expiring {
            (_, body) = body.split_at_checked(OWN_EXPIRY_BYTES).ok_or(Malformed)?;
        }
        let (mut rest, mut seen, mut live) = (body, 0, 0);
        while !rest.is_empty() {
            let (field, after) = field(rest, expiring).ok_or(Malformed)?;
            live += usize::from(field.is_live(now));
            rest = after;
            seen += 1;
        }
        let fields = Fields { rest: body, expiring, now };
        if seen == count { Ok(Hash { live, fields }) } else { Err(Malformed) }
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// The fields, with their expiries.
    pub fn fields(&self) -> Fields<'a> {
        self.fields.clone()
    }

    /// Fields and their values.
    pub fn pairs(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a> {
        self.fields().map(|field| (field.name, field.value))
    }

    /// The field called `name`.
    pub fn field(&self, name: &[u8]) -> Option<Field<'a>> {
        self.fields().find(|field| field.name == name)
    }

    /// The value of the field called `name`.
    pub fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.field(name).map(|field| field.value)
    }
}

/// When the key of a hash expires whose record expires at `record`: the record may do so earlier,
/// with its last field. Constant time.
pub fn own_expiry(value: &[u8], record: Option<UnixMillis>) -> Option<UnixMillis> {
    let own = |value: &[u8]| {
        let (_, body) = wire::header(value, EXPIRING)?;
        body.first_chunk::<OWN_EXPIRY_BYTES>().map(|own| u64::from_le_bytes(*own))
    };
    own(value).map_or(record, moment)
}

/// Whether fields of the hash `value` expire by themselves.
pub fn is_expiring(value: &[u8]) -> bool {
    value.first() == Some(&EXPIRING)
}

fn moment(millis: u64) -> Option<UnixMillis> {
    (millis > 0).then_some(UnixMillis(millis))
}

fn millis(moment: Option<UnixMillis>) -> u64 {
    moment.map_or(0, |moment| moment.0)
}

impl Field<'_> {
    fn is_live(&self, now: UnixMillis) -> bool {
        self.expires_at.is_none_or(|at| at > now)
    }
}

/// Iterator over the fields that have not expired.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
    expiring: bool,
    now: UnixMillis,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        loop {
            let (field, rest) = field(self.rest, self.expiring)?;
            self.rest = rest;
            if field.is_live(self.now) {
                return Some(field);
            }
        }
    }
}

/// Takes one field from the front; `None` if there is no whole one.
fn field(bytes: &[u8], expiring: bool) -> Option<(Field<'_>, &[u8])> {
    let (name_len, rest) = varint(bytes)?;
    let (value_len, rest) = varint(rest)?;
    let (expiry, rest) = if expiring { varint64(rest)? } else { (0, rest) };
    let (name, rest) = rest.split_at_checked(name_len)?;
    let (value, rest) = rest.split_at_checked(value_len)?;
    Some((Field { name, value, expires_at: moment(expiry) }, rest))
}

/// Builds a hash value field by field.
#[derive(Debug, Default)]
pub struct Builder<'a> {
    fields: Vec<Field<'a>>,
    bytes: usize,
}

/// Most bytes that a field takes beyond its name and its value: two lengths and an expiry.
pub const FIELD_OVERHEAD: usize = 5 + 5 + 9;

impl<'a> Builder<'a> {
    /// Appends a field that is not there yet.
    pub fn push(&mut self, field: Field<'a>) {
        self.bytes += field.name.len() + field.value.len() + FIELD_OVERHEAD;
        self.fields.push(field);
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The value for a key that expires at `own_expiry`, and when its record has to.
    pub fn finish(self, own_expiry: Option<UnixMillis>) -> (Vec<u8>, Option<UnixMillis>) {
        let expiring = self.fields.iter().any(|field| field.expires_at.is_some());
        let version = if expiring { EXPIRING } else { PLAIN };
        let mut out = wire::begin(version, self.bytes + OWN_EXPIRY_BYTES);
        if expiring {
            out.extend_from_slice(&millis(own_expiry).to_le_bytes());
        }
        for field in &self.fields {
            put_varint(field.name.len() as u64, &mut out);
            put_varint(field.value.len() as u64, &mut out);
            if expiring {
                put_varint(millis(field.expires_at), &mut out);
            }
            out.extend_from_slice(field.name);
            out.extend_from_slice(field.value);
        }
        wire::set_count(&mut out, self.fields.len());
        // The last field to go takes the hash with it, if all of them go.
        let last = self
            .fields
            .iter()
            .map(|field| field.expires_at)
            .min_by_key(|at| at.map_or((0, 0), |at| (1, u64::MAX - at.0)));
        let record = match (own_expiry, last.flatten()) {
            (Some(own), Some(last)) => Some(own.min(last)),
            (own, last) => own.or(last),
        };
        (out, record)
    }
}

/// Bytes of a value before its first field.
pub const HEADER_BYTES_MAX: usize = HEADER_BYTES + OWN_EXPIRY_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000);

    type Given<'a> = (&'a [u8], &'a [u8], u64);

    fn build(fields: &[Given<'_>], own: u64) -> (Vec<u8>, Option<UnixMillis>) {
        let mut builder = Builder::default();
        for (name, value, at) in fields {
            builder.push(Field { name, value, expires_at: moment(*at) });
        }
        builder.finish(moment(own))
    }

    #[test]
    fn the_layout_is_what_the_header_says() {
        let (value, record) = build(&[(b"f", b"value", 0), (b"", b"", 0)], 7_000);
        assert_eq!(value, b"\x01\x02\0\0\0\x01\x05fvalue\0\0");
        assert_eq!(record, Some(UnixMillis(7_000)));
        let (value, record) = build(&[(b"f", b"v", 5_000), (b"g", b"", 0)], 0);
        assert_eq!(value, b"\x02\x02\0\0\0\0\0\0\0\0\0\0\0\x01\x01\x88\x27fv\x01\0\0g");
        assert_eq!(record, None);
    }

    #[test]
    fn fields_come_back_in_order() {
        let long = vec![7u8; 300];
        let (value, _) = build(&[(b"a", b"1", 0), (b"b", &long, 0), (&long, b"", 0)], 0);
        let hash = Hash::parse(&value, NOW).unwrap();
        let pairs: Vec<_> = hash.pairs().collect();
        assert_eq!(pairs, [(&b"a"[..], &b"1"[..]), (b"b", &long), (&long, b"")]);
        assert_eq!(hash.get(b"b"), Some(&long[..]));
        assert_eq!(hash.get(b"c"), None);
        assert_eq!(hash.len(), 3);
    }

    #[test]
    fn a_hash_goes_with_its_key_or_with_its_last_field() {
        for (fields, own, record) in [
            ([5_000, 6_000], 0, 6_000),
            ([5_000, 6_000], 5_500, 5_500),
            ([5_000, 6_000], 9_000, 6_000),
            ([5_000, 0], 0, 0),
            ([5_000, 0], 9_000, 9_000),
        ] {
            let (value, expiry) = build(&[(b"a", b"", fields[0]), (b"b", b"", fields[1])], own);
            assert_eq!(expiry, moment(record), "{fields:?} {own}");
            assert_eq!(own_expiry(&value, expiry), moment(own));
            assert!(is_expiring(&value));
            assert_eq!(Hash::parse(&value, UnixMillis(4_999)).unwrap().len(), 2);
            let later = Hash::parse(&value, UnixMillis(5_000)).unwrap();
            assert_eq!((later.len(), later.get(b"a"), later.fields().count()), (1, None, 1));
        }
    }

    #[test]
    fn damaged_values_are_refused_or_differ_but_never_panic() {
        for at in [0, 5_000] {
            let (value, _) = build(&[(b"field", b"value", at), (b"other", &[9; 200], 0)], 0);
            for cut in 0..value.len() {
                assert!(Hash::parse(&value[..cut], NOW).is_err(), "cut at {cut}");
            }
            for position in 0..value.len() {
                for bit in 0..8 {
                    let mut damaged = value.clone();
                    damaged[position] ^= 1 << bit;
                    if let Ok(hash) = Hash::parse(&damaged, NOW) {
                        assert_eq!(hash.fields().count(), hash.len());
                    }
                    let _ = own_expiry(&damaged, None);
                }
            }
        }
        assert!(Hash::parse(b"\x01\x01\0\0\0\xff\xff\xff\xff\xff\x01", NOW).is_err());
    }
}
