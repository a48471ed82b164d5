//! Newtypes for quantities that must never be mixed, and the identity of a key.
//!
//! Owns: `Lsn`, `BatchSeq`, `SegmentId`, `Location`, `UnixMillis`, `Namespace`, `KeyHash`.
//! Never knows: files, buffers, time sources.
//! Invariant: an [`Lsn`] says *which* mutation, a [`Location`] says *where its bytes are now*;
//! neither is ever derived from the other (see `docs/decisions`).

use std::fmt;

/// Identity and order of one mutation within a shard: +1 each, kept by compaction. 0 is "none".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The value before the first mutation.
    pub const NONE: Lsn = Lsn(0);

    /// The LSN that follows this one.
    #[must_use]
    pub fn next(self) -> Lsn {
        Lsn(self.0 + 1)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Position of a batch in the one total order of all batches of a shard, user and survivor alike.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct BatchSeq(pub u64);

impl BatchSeq {
    /// The sequence number that follows this one.
    #[must_use]
    pub fn next(self) -> BatchSeq {
        BatchSeq(self.0 + 1)
    }
}

/// Slot of a segment file; the same slot is recycled with a rising [`Incarnation`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SegmentId(pub u32);

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06}", self.0)
    }
}

/// How many times a segment slot has been started; part of every checksum seed, so bytes of an
/// earlier use never verify.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Incarnation(pub u32);

/// Milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// The largest time that a record can hold (48 bits: the year 10889).
    pub const MAX: UnixMillis = UnixMillis((1 << 48) - 1);

    /// This time plus `millis`, saturating at [`UnixMillis::MAX`].
    #[must_use]
    pub fn plus(self, millis: u64) -> UnixMillis {
        UnixMillis(self.0.saturating_add(millis).min(Self::MAX.0))
    }

    /// Milliseconds from `earlier` to this time; 0 if `earlier` is later.
    pub fn since(self, earlier: UnixMillis) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A separate key space within a shard: database number of the Redis protocol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Namespace(pub u16);

impl Namespace {
    /// Keys of the engine itself, such as dictionaries. No client's.
    pub(crate) const INTERNAL: Namespace = Namespace(u16::MAX - 1);

    /// Chunks of large values. No client's.
    pub(crate) const CHUNKS: Namespace = Namespace(u16::MAX - 2);
    /// Namespaces of the engine's own.
    pub(crate) const OWN: usize = 2;

    /// The place in a list of namespaces that has the engine's own first.
    pub(crate) fn slot(self) -> usize {
        match self {
            Namespace::INTERNAL => 0,
            Namespace::CHUNKS => 1,
            Namespace(number) => usize::from(number) + Self::OWN,
        }
    }

    /// The namespace in a place of such a list.
    #[expect(clippy::cast_possible_truncation, reason = "lists are made by namespace")]
    pub(crate) fn of_slot(slot: usize) -> Namespace {
        match slot {
            0 => Namespace::INTERNAL,
            1 => Namespace::CHUNKS,
            _ => Namespace((slot - Self::OWN) as u16),
        }
    }
}

/// Granularity of record placement: every record starts at a multiple of this many bytes.
pub const RECORD_ALIGN: usize = 16;

/// Where a record's bytes are now: a byte address in the shard's segment space, in units of
/// [`RECORD_ALIGN`] bytes. 36 bits, so a shard spans at most 1 TiB.
///
/// `address = segment id * segment bytes + offset in the segment`. 0 is never a record, because
/// each segment begins with its header.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Location(pub u64);

impl Location {
    /// Bits that a location takes in an index entry.
    pub const BITS: u32 = 36;

    /// The location of byte `offset` of `segment`, for segments of `segment_bytes`.
    pub fn new(segment: SegmentId, offset: u32, segment_bytes: u32) -> Location {
        let address = u64::from(segment.0) * u64::from(segment_bytes) + u64::from(offset);
        assert!(address.is_multiple_of(RECORD_ALIGN as u64), "records are aligned");
        let location = address / RECORD_ALIGN as u64;
        assert!(location < 1 << Self::BITS, "segment space is limited by the configuration");
        Location(location)
    }

    /// The segment and the byte offset in it.
    #[expect(clippy::cast_possible_truncation, reason = "36 bits of 16 B over >= 64 KiB segments")]
    pub fn split(self, segment_bytes: u32) -> (SegmentId, u32) {
        let address = self.0 * RECORD_ALIGN as u64;
        let segment = address / u64::from(segment_bytes);
        (SegmentId(segment as u32), (address % u64::from(segment_bytes)) as u32)
    }
}

/// Keyed 64-bit hash of a key (never of the namespace: each namespace has its own index).
///
/// Index identity and hot-set placement are cut from it; see `index`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct KeyHash(pub u64);
