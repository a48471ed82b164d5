//! A value in RAM, shared without copying.
//!
//! Owns: [`Value`].
//! Never knows: who holds it.
//! Invariant: the count of holders lies in front of the bytes, in one allocation: sharing a value
//! costs no cache line that reading it does not cost anyway.

use std::ops::Deref;
use std::sync::Arc;

/// Memory that is kept to put the next key and value together.
const SCRATCH_KEEP_BYTES: usize = 64 << 10;

/// The bytes of a value; cloning counts a reference.
#[derive(Clone, Debug, Default)]
pub struct Value {
    /// Key, then value.
    bytes: Arc<[u8]>,
    key_len: u16,
}

impl Value {
    /// Copies `key` and `value` into one allocation, by way of `scratch`, whose content is lost.
    ///
    /// # Panics
    /// When the key is longer than 65,535 bytes.
    pub(crate) fn new(key: &[u8], value: &[u8], scratch: &mut Vec<u8>) -> Value {
        let Ok(key_len) = u16::try_from(key.len()) else {
            panic!("a key of {} bytes exceeds 65,535", key.len())
        };
        scratch.clear();
        scratch.extend_from_slice(key);
        scratch.extend_from_slice(value);
        let bytes = Arc::from(scratch.as_slice());
        scratch.shrink_to(SCRATCH_KEEP_BYTES);
        Value { bytes, key_len }
    }

    /// Takes `value` for the same key into the same allocation, if nobody else holds it and the
    /// length is the same. Returns whether it did.
    pub(crate) fn set_in_place(&mut self, value: &[u8]) -> bool {
        let start = usize::from(self.key_len);
        if self.bytes.len() != start + value.len() {
            return false;
        }
        let Some(bytes) = Arc::get_mut(&mut self.bytes) else { return false };
        bytes[start..].copy_from_slice(value);
        true
    }

    /// The key that the value belongs to.
    pub(crate) fn key(&self) -> &[u8] {
        &self.bytes[..usize::from(self.key_len)]
    }

    /// Key and value, one behind the other.
    pub(crate) fn key_and_value(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<&[u8]> for Value {
    /// Copies `value`, which belongs to no key.
    fn from(value: &[u8]) -> Value {
        Value { bytes: Arc::from(value), key_len: 0 }
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[usize::from(self.key_len)..]
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Value {
    /// Compares the bytes, whatever key they belong to.
    fn eq(&self, other: &Value) -> bool {
        **self == **other
    }
}

impl Eq for Value {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_value_never_changes_under_its_holder() {
        let mut value = Value::new(b"key", b"first", &mut Vec::new());
        let held = value.clone();
        assert!(!value.set_in_place(b"other"), "somebody holds it");
        drop(held);
        assert!(!value.set_in_place(b"longer one"));
        assert!(value.set_in_place(b"other"));
        assert_eq!((value.key(), &*value), (&b"key"[..], &b"other"[..]));
    }
}
