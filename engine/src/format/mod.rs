//! Bytes on disk <-> structs, as specified in FORMAT.md. Pure: no state, no I/O, no panic on any
//! input, no allocation that input bytes decide before they are bounded.
//!
//! Owns: record, batch, segment, checkpoint and superblock layouts, and their checksums.
//! Never knows: files, the index, what a record means to the store.
//! Invariant: little endian; zero is never a valid tag; every length is checked against the bytes
//! at hand before it is used.

#![deny(clippy::cast_possible_truncation)]

pub mod batch;
pub mod bytes;
pub mod checkpoint;
pub mod chunked;
pub mod label;
pub mod record;
pub mod segment;
pub mod superblock;
pub mod tails;
pub mod touch;

/// Version of the on-disk format that this build writes; it reads this and all earlier ones.
pub const FORMAT_VERSION: u16 = 1;

/// Why bytes could not be decoded. String-free; the caller knows the place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than the structure needs.
    #[error("cut short")]
    Short,
    /// The tag at the front is not the structure's.
    #[error("wrong magic number")]
    Magic,
    /// Bytes do not match their checksum.
    #[error("checksum mismatch")]
    Checksum,
    /// A field holds a value outside its range.
    #[error("field out of range: {0}")]
    Field(&'static str),
    /// Written by a newer version of the format.
    #[error("format version {0} is newer than this build reads ({FORMAT_VERSION})")]
    Version(u16),
}
