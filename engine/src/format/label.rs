//! What a record may say of its key beyond value and expiry: its extension block. FORMAT.md §2.
//!
//! ```text
//! tag u8 | length u8 | bytes      one field after the other, tags rising
//! ```

use super::DecodeError;
use super::chunked::{CHUNKED_BYTES, Chunked};
use crate::units::UnixMillis;

/// Longest owner, in bytes.
pub const OWNER_BYTES_MAX: usize = u8::MAX as usize;
/// Longest extension block.
pub const EXTENSION_BYTES_MAX: usize =
    2 + OWNER_BYTES_MAX + 2 + LIMIT_BYTES + 2 + 2 + CHUNKED_BYTES;

const OWNER: u8 = 1;
const LIMIT: u8 = 2;
const HIDDEN: u8 = 3;
const CHUNKED: u8 = 4;
const LIMIT_BYTES: usize = 6;

/// A key's label: what is known of it in RAM beside its index entry. Most keys have none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Label<'a> {
    /// Whose key it is: up to [`OWNER_BYTES_MAX`] opaque bytes; empty: nobody's. The keys of an
    /// owner can be listed without reading the disk.
    pub owner: &'a [u8],
    /// The expiry never moves beyond this, whatever touches it, and however a recovery rounds.
    pub limit: Option<UnixMillis>,
    /// Neither counted nor found by scans; lookups show it.
    pub hidden: bool,
    /// The value is in chunks, and the record has none of it. The shard's business: callers of
    /// [`Shard::put_labelled`](crate::Shard::put_labelled) leave it `None`.
    pub chunked: Option<Chunked>,
}

impl<'a> Label<'a> {
    /// No label.
    pub const NONE: Label<'static> =
        Label { owner: &[], limit: None, hidden: false, chunked: None };

    /// Whether there is nothing to say.
    pub fn is_none(&self) -> bool {
        *self == Label::NONE
    }

    /// Appends the extension block; nothing for no label.
    ///
    /// # Panics
    /// When the owner is longer than [`OWNER_BYTES_MAX`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        if !self.owner.is_empty() {
            let len = u8::try_from(self.owner.len()).expect("owners are limited");
            out.extend_from_slice(&[OWNER, len]);
            out.extend_from_slice(self.owner);
        }
        if let Some(limit) = self.limit {
            out.extend_from_slice(&[LIMIT, 6]);
            out.extend_from_slice(&limit.0.to_le_bytes()[..LIMIT_BYTES]);
        }
        if self.hidden {
            out.extend_from_slice(&[HIDDEN, 0]);
        }
        if let Some(chunked) = self.chunked {
            out.extend_from_slice(&[CHUNKED, 20]);
            out.extend_from_slice(&chunked.encode());
        }
    }

    /// Reads an extension block.
    ///
    /// # Errors
    /// When a field is cut short, unknown, of a wrong length, or out of order.
    pub fn decode(mut bytes: &'a [u8]) -> Result<Label<'a>, DecodeError> {
        let mut label = Label::NONE;
        let mut before = 0;
        while let [tag, len, rest @ ..] = bytes {
            let (field, rest) =
                rest.split_at_checked(usize::from(*len)).ok_or(DecodeError::Short)?;
            if *tag <= before {
                return Err(DecodeError::Field("order of the extension"));
            }
            match (*tag, field) {
                (OWNER, [_, ..]) => label.owner = field,
                (LIMIT, field) if field.len() == LIMIT_BYTES => {
                    let mut millis = [0; 8];
                    millis[..LIMIT_BYTES].copy_from_slice(field);
                    label.limit = Some(UnixMillis(u64::from_le_bytes(millis)));
                }
                (HIDDEN, []) => label.hidden = true,
                (CHUNKED, field) => label.chunked = Some(Chunked::decode(field)?),
                _ => return Err(DecodeError::Field("extension")),
            }
            (before, bytes) = (*tag, rest);
        }
        if bytes.is_empty() { Ok(label) } else { Err(DecodeError::Short) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_round_trip_and_any_bytes_decode_or_are_refused() {
        let long = [7; OWNER_BYTES_MAX];
        let large = Some(Chunked { id: 9, len: 1 << 29, chunk_bytes: 256 << 10 });
        for owner in [&b""[..], b"u", &long] {
            for limit in [None, Some(UnixMillis(0)), Some(UnixMillis::MAX)] {
                for (hidden, chunked) in
                    [(false, None), (true, None), (false, large), (true, large)]
                {
                    let label = Label { owner, limit, hidden, chunked };
                    let mut bytes = Vec::new();
                    label.encode(&mut bytes);
                    assert!(bytes.len() <= EXTENSION_BYTES_MAX);
                    assert_eq!(Label::decode(&bytes), Ok(label));
                    assert_eq!(bytes.is_empty(), label.is_none());
                    for cut in 0..bytes.len() {
                        assert_ne!(Label::decode(&bytes[..cut]), Ok(label));
                    }
                }
            }
        }
        for bad in
            [&[0, 0][..], &[4, 0], &[1, 0], &[2, 5, 0, 0, 0, 0, 0], &[3, 1, 0], &[3, 0, 3, 0]]
        {
            assert!(Label::decode(bad).is_err(), "{bad:?}");
        }
    }
}
