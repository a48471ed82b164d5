//! The seam between the engine and the world: what a shard asks of a disk, as plain data.
//!
//! Owns: [`IoRequest`], [`IoResult`], the [`Disk`] trait, owned aligned [`Buffer`]s.
//! Never knows: rings, file descriptors, paths, time.
//! Invariant: buffers are moved into a request and come back with its result, so no lifetime and
//! no `unsafe` leaks from the drivers upward.

mod buffer;

pub use buffer::{Buffer, BufferPool};

use std::time::Duration;

use crate::compress::{Trained, Training};
use crate::units::SegmentId;

/// Names one request in flight; chosen by the caller, unique among those in flight.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IoId(pub u64);

/// A file of the store. The driver maps it to a path; nothing above the driver knows paths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FileId {
    /// The two-slot root, `superblock`.
    Superblock,
    /// One segment, `segments/NNNNNN.seg`.
    Segment(SegmentId),
    /// One of the checkpoint files, `checkpoint-N`.
    Checkpoint(u8),
}

/// One operation for the disk.
#[derive(Debug)]
pub enum IoRequest {
    /// List the files that exist, with their sizes.
    List,
    /// Make `file` exist with exactly `bytes` bytes, every new byte *written* as zero (not merely
    /// reserved) and everything, its directory entry included, on stable storage. Slow; runs
    /// beside other requests. Fails with `IoErrorKind::NoSpace` when the file system is full, and
    /// then leaves no file of that name (a new file) or the file as it was (an existing one).
    Allocate {
        /// The file to create or to resize.
        file: FileId,
        /// Its size afterwards, a multiple of 4096.
        bytes: u64,
    },
    /// Read `bytes` bytes at `offset` into the front of `buffer`. A read past the end of the file
    /// is an error; the driver repeats short reads.
    Read {
        /// The file to read.
        file: FileId,
        /// Multiple of the disk's block.
        offset: u64,
        /// At least `bytes` long.
        buffer: Buffer,
        /// Multiple of the disk's block.
        bytes: usize,
    },
    /// Write the first `bytes` bytes of `buffer` at `offset`; never extends the file.
    Write {
        /// The file to write, already allocated.
        file: FileId,
        /// Multiple of the disk's block.
        offset: u64,
        /// At least `bytes` long.
        buffer: Buffer,
        /// Multiple of the disk's block.
        bytes: usize,
        /// Whether the bytes must be on stable storage when the request completes.
        durable: bool,
    },
    /// Bring all completed writes of `file` to stable storage.
    Sync {
        /// The file.
        file: FileId,
    },
    /// Remove `file`, durably. Removing a file that does not exist succeeds.
    Remove {
        /// The file.
        file: FileId,
    },
    /// Train a dictionary: hundreds of milliseconds of a core, beside other requests. Touches no file.
    Train(Box<Training>),
}

/// What went wrong, as far as the engine distinguishes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoErrorKind {
    /// The file system has no room.
    NoSpace,
    /// The file does not exist.
    NotFound,
    /// Read or write past the end of the file.
    PastEnd,
    /// Anything else; `errno` tells.
    Failed,
}

/// Failure of one request.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kind:?} (errno {errno})")]
pub struct IoError {
    /// Class of the failure.
    pub kind: IoErrorKind,
    /// The operating system's error number, 0 if there was none.
    pub errno: i32,
}

/// What a request that succeeded has to tell.
#[derive(Debug)]
pub enum IoDone {
    /// Nothing beyond success.
    Done,
    /// Answer to [`IoRequest::List`].
    Files(Vec<(FileId, u64)>),
    /// Answer to [`IoRequest::Train`]: nothing if no dictionary pays.
    Trained(Option<Trained>),
}

/// Completion of one request.
#[derive(Debug)]
pub struct IoResult {
    /// The buffer of the request, if it had one; filled if it was a read that succeeded.
    pub buffer: Option<Buffer>,
    /// The outcome.
    pub outcome: Result<IoDone, IoError>,
    /// Microseconds from start to completion, for statistics only.
    pub micros: u32,
}

/// A completion-based disk. Requests without a data dependency on each other may be carried out
/// and completed in any order.
pub trait Disk {
    /// Takes one request. Never blocks on the device; may defer the work to [`Disk::submit`].
    fn start(&mut self, id: IoId, request: IoRequest);

    /// Hands all started requests to the device.
    fn submit(&mut self);

    /// The next completion, if there is one. Never blocks.
    fn finished(&mut self) -> Option<(IoId, IoResult)>;

    /// Submits, then blocks until a completion is ready or `timeout` has passed.
    fn wait(&mut self, timeout: Option<Duration>);

    /// Smallest unit of offset and length of reads and writes, in bytes: 512 or 4096.
    fn block_bytes(&self) -> usize;
}
