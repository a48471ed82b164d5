//! Compression of values: zstd at level 1, with dictionaries trained on what the store holds.
//!
//! Small values hold little that repeats within themselves and much that repeats from one to the next.
//! A dictionary is what they have in common (`docs/decisions/0022-dictionaries.md`).
//!
//! Owns: packing and unpacking one value, sampling, training, which dictionary is current, and
//! whether it is worth trying.
//! Never knows: the log, the index, threads; training is handed out as plain data and carried out by
//! whoever drives the disk.
//! Invariant: what does not pay is left as it is, and what comes out is what went in, or an error.

use crate::format::DecodeError;
use crate::units::Namespace;

mod classes;
mod frame;
mod train;

pub(crate) use classes::{Class, Classes};
pub(crate) use frame::{Coder, Dictionary};
pub use train::{Trained, Training};

/// The longest value that is packed: zstd takes under a millisecond for it.
pub const RAW_BYTES_MAX: usize = 256 << 10;
/// The shortest value that is packed.
pub(crate) const RAW_BYTES_MIN: usize = 64;
/// Dictionaries that may exist at a time; a segment remembers which of them it needs in 64 bits.
pub(crate) const DICTIONARIES_MAX: usize = 64;
/// Strength of zstd; higher ones cost more than twice the time for a few percent.
const LEVEL: i32 = 1;

/// Unpacks the value of a record with codec 1, given the dictionary that the record names, as it is in
/// the log (behind its class). For tools; [`crate::Shard`] does it by itself.
///
/// # Errors
/// When the bytes are not a packed value, or not one of this dictionary. Source: FORMAT.md §2.
pub fn unpack(stored: &[u8], dictionary: Option<&[u8]>) -> Result<Vec<u8>, DecodeError> {
    let class = Class { namespace: Namespace(0), value_type: 0 };
    let dictionary = match dictionary {
        Some(bytes) => {
            let dictionary = Dictionary::new(0, class, bytes.to_vec());
            Some(dictionary.ok_or(DecodeError::Field("dictionary"))?)
        }
        None => None,
    };
    let mut out = Vec::new();
    Coder::new().unpack(dictionary.as_ref(), stored, &mut out)?;
    Ok(out)
}

/// Whether `packed` bytes in place of `raw` are worth the time of unpacking: an eighth less.
fn pays(raw: usize, packed: usize) -> bool {
    packed <= raw - raw / 8
}
