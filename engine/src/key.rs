//! A key with its namespace and index identity, hashed once per command.

use std::hash::{BuildHasherDefault, Hasher};

use siphasher::sip::SipHasher13;

use crate::index::Identity;
use crate::units::{KeyHash, Namespace};

/// A key of a namespace. Cheap to copy; borrows its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key<'a> {
    pub(crate) namespace: Namespace,
    pub(crate) identity: Identity,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Key<'a> {
    /// The key's bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The key's namespace.
    pub fn namespace(&self) -> Namespace {
        self.namespace
    }

    /// Namespace and identity in one word, as the log names keys.
    pub(crate) fn packed(&self) -> u64 {
        pack(self.namespace, self.identity)
    }
}

/// Namespace and index identity in one word: 16 bits and 48 bits.
pub(crate) fn pack(namespace: Namespace, identity: Identity) -> u64 {
    u64::from(namespace.0) << 48 | identity.to_bits()
}

/// The namespace and identity in a packed word; `None` if they are none.
pub(crate) fn unpack(packed: u64) -> Option<(Namespace, Identity)> {
    let identity = Identity::from_bits(packed & ((1 << 48) - 1))?;
    Some((Namespace((packed >> 48) as u16), identity))
}

/// Hashes words that are already random, or consecutive: one multiplication.
#[derive(Clone, Copy, Default)]
pub(crate) struct WordHasher(u64);

/// Deterministic, unlike the standard library's: a replayed simulation must see the same order.
pub(crate) type WordHash = BuildHasherDefault<WordHasher>;

impl Hasher for WordHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let mixed = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The store's keyed hash: nobody without the seed can craft keys that collide.
pub(crate) fn hash(seed: &[u8; 16], bytes: &[u8]) -> KeyHash {
    let mut hasher = SipHasher13::new_with_key(seed);
    hasher.write(bytes);
    KeyHash(hasher.finish())
}
