//! A value in RAM, and what it really costs there.
//!
//! Owns: [`HotEntry`], [`NewEntry`], the arithmetic of heap blocks.
//! Never knows: queues' order, budgets.

use crate::index::Identity;
use crate::units::{Location, Lsn, Namespace, UnixMillis};
use crate::value::Value;

/// What to put into the hot set; key and value are copied, into one allocation.
#[derive(Clone, Copy, Debug)]
pub struct NewEntry<'a> {
    /// Key space of the key.
    pub namespace: Namespace,
    /// Identity of the key.
    pub identity: Identity,
    /// The whole key, at most 65,535 bytes.
    pub key: &'a [u8],
    /// The decompressed value.
    pub value: &'a [u8],
    /// The server's type tag.
    pub value_type: u8,
    /// Absolute expiry.
    pub expires_at: Option<UnixMillis>,
    /// The mutation that wrote it.
    pub lsn: Lsn,
    /// Where its record is.
    pub location: Location,
}

/// Which queue an entry is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum QueueName {
    Small,
    Main,
}

/// A value in RAM. Its bytes may be shared with replies, which may outlive it.
#[derive(Debug)]
pub struct HotEntry {
    value: Value,
    pub(super) identity: Identity,
    pub(super) location: Location,
    pub(super) lsn: Lsn,
    expires_at: UnixMillis,
    pub(super) pins: u32,
    /// Neighbours in the queue; see `queue`.
    pub(super) older: u32,
    pub(super) newer: u32,
    pub(super) namespace: Namespace,
    value_type: u8,
    /// Accesses since it was last considered for eviction, at most 3.
    pub(super) freq: u8,
    /// Rounds that it got for being short since it was last accessed.
    pub(super) rounds: u8,
    pub(super) queue: QueueName,
}

/// Stands for "no expiry" within an entry: beyond [`UnixMillis::MAX`], so never a record's.
const NO_EXPIRY: UnixMillis = UnixMillis(u64::MAX);

impl HotEntry {
    pub(super) fn new(new: &NewEntry<'_>, queue: QueueName, scratch: &mut Vec<u8>) -> HotEntry {
        HotEntry {
            value: Value::new(new.key, new.value, scratch),
            identity: new.identity,
            location: new.location,
            lsn: new.lsn,
            expires_at: new.expires_at.unwrap_or(NO_EXPIRY),
            pins: 0,
            older: 0,
            newer: 0,
            namespace: new.namespace,
            value_type: new.value_type,
            freq: 0,
            rounds: 0,
            queue,
        }
    }

    /// Takes the content of a newer version of the same key; place, pins and frequency stay.
    pub(super) fn overwrite(&mut self, new: &NewEntry<'_>, scratch: &mut Vec<u8>) {
        if !self.value.set_in_place(new.value) {
            self.value = Value::new(new.key, new.value, scratch);
        }
        self.location = new.location;
        self.lsn = new.lsn;
        self.set_expires_at(new.expires_at);
        self.value_type = new.value_type;
    }

    /// Drops the content; what is left is a free node.
    pub(super) fn drop_content(&mut self) {
        self.value = Value::default();
    }

    /// The key space of the key.
    pub fn namespace(&self) -> Namespace {
        self.namespace
    }

    /// The identity of the key.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The whole key.
    pub fn key(&self) -> &[u8] {
        self.value.key()
    }

    /// The value; a reference count, not a copy.
    pub fn value(&self) -> Value {
        self.value.clone()
    }

    /// The value, borrowed.
    pub fn value_bytes(&self) -> &[u8] {
        &self.value
    }

    /// Reads the node and nothing else.
    pub(super) fn touch_node(&self) -> u8 {
        self.freq ^ self.value.key_and_value().len().to_le_bytes()[0]
    }

    /// Reads one byte of each cache line of key and value, as far as copying is about latency.
    pub(super) fn touch_bytes(&self) -> u8 {
        const LINE: usize = 64;
        const BYTES_MAX: usize = 2048;
        let bytes = self.value.key_and_value();
        let near = &bytes[..bytes.len().min(BYTES_MAX)];
        near.iter().step_by(LINE).fold(0, |touched, byte| touched ^ byte)
    }

    /// The server's type tag.
    pub fn value_type(&self) -> u8 {
        self.value_type
    }

    /// Absolute expiry, to the millisecond.
    pub fn expires_at(&self) -> Option<UnixMillis> {
        (self.expires_at != NO_EXPIRY).then_some(self.expires_at)
    }

    pub(super) fn set_expires_at(&mut self, expires_at: Option<UnixMillis>) {
        self.expires_at = expires_at.unwrap_or(NO_EXPIRY);
    }

    /// The mutation that wrote it.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Where its record is.
    pub fn location(&self) -> Location {
        self.location
    }

    /// Whether any ticket holds it in RAM.
    pub fn is_pinned(&self) -> bool {
        self.pins > 0
    }

    /// RAM that it takes with its node and its place in the table.
    pub(super) fn cost_bytes(&self) -> usize {
        self.heap_bytes() + size_of::<HotEntry>() + 8
    }

    /// RAM that goes with the entry when it goes: the block of key and value. The node is counted
    /// by the arena.
    pub(super) fn heap_bytes(&self) -> usize {
        /// The two counts in front of the bytes.
        const COUNTS_BYTES: usize = 16;
        let bytes = self.value.key_and_value();
        if bytes.is_empty() { 0 } else { block_bytes(COUNTS_BYTES + bytes.len()) }
    }
}

/// What an allocator takes for `bytes`: an eight-byte header and rounding to 16 (glibc), which is
/// also at least what allocators with four size classes to an octave take on average.
fn block_bytes(bytes: usize) -> usize {
    (bytes + 8).next_multiple_of(16).max(32)
}
