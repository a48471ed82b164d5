//! One request on its way through a device, and the rules for short and interrupted transfers.
//!
//! Owns: the buffer of a request while it is in flight.
//! Must never know: how a transfer is carried out (ring or thread).
//! Invariant: a transfer is finished only when every byte has been moved, or with an error.

use std::io;
use std::sync::Arc;

use super::clock::monotonic_us;
use super::table::OpenFile;
use crate::io::{Buffer, IoDone, IoError, IoErrorKind, IoId, IoResult};

/// Largest single transfer: the kernel cuts longer ones at just under 2 GiB.
const CHUNK_BYTES_MAX: usize = 1 << 30;

/// How often in a row a transfer may be interrupted or move nothing before it is given up.
const STALLS_MAX: u32 = 10_000;

/// Work for the device.
#[derive(Debug)]
pub(super) enum Work {
    /// Move bytes.
    Transfer(Transfer),
    /// Bring a file's data to stable storage.
    Sync { id: IoId, open: Arc<OpenFile>, stalls: u32 },
}

/// Which way the bytes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    Read,
    Write { durable: bool },
}

/// A read or a write of `bytes` bytes, `done` of which have been moved.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) id: IoId,
    pub(super) direction: Direction,
    pub(super) open: Arc<OpenFile>,
    pub(super) buffer: Buffer,
    offset: u64,
    bytes: usize,
    done: usize,
    stalls: u32,
    block_bytes: usize,
    /// When it was started, in [`monotonic_us`].
    started_us: u64,
}

/// What to do after an attempt.
#[derive(Debug)]
pub(super) enum Step {
    /// Carry on with what is left.
    Again(Work),
    /// Tell the owner.
    Finished(IoId, IoResult),
}

impl Transfer {
    /// A transfer of the first `bytes` bytes of `buffer` at `offset`.
    pub(super) fn new(
        id: IoId,
        direction: Direction,
        open: Arc<OpenFile>,
        (offset, buffer, bytes): (u64, Buffer, usize),
        block_bytes: usize,
    ) -> Transfer {
        let started_us = monotonic_us();
        Transfer {
            id,
            direction,
            open,
            buffer,
            offset,
            bytes,
            done: 0,
            stalls: 0,
            block_bytes,
            started_us,
        }
    }

    /// File offset of what is left.
    pub(super) fn rest_offset(&self) -> u64 {
        self.offset + self.done as u64
    }

    /// The part of the buffer that the next attempt moves.
    pub(super) fn rest(&mut self) -> &mut [u8] {
        let end = self.bytes.min(self.done + CHUNK_BYTES_MAX);
        &mut self.buffer[self.done..end]
    }

    /// Takes note of an attempt that moved `outcome` bytes of the rest.
    fn progress(&mut self, outcome: io::Result<usize>) -> Option<Result<IoDone, IoError>> {
        match outcome {
            Ok(moved) => {
                // Direct I/O cannot go on in the middle of a block: that block is moved again.
                let before = self.done;
                self.done = (before + moved).min(self.bytes);
                if self.done == self.bytes {
                    return Some(Ok(IoDone::Done));
                }
                self.done -= self.done % self.block_bytes;
                if self.done > before {
                    self.stalls = 0;
                    return None;
                }
                // The file was long enough when it was opened; somebody has cut it since.
                if moved == 0 && self.direction == Direction::Read {
                    return Some(Err(IoError { kind: IoErrorKind::PastEnd, errno: 0 }));
                }
                self.stalls += 1;
                let error = io::Error::from_raw_os_error(libc::EIO);
                (self.stalls > STALLS_MAX).then(|| Err(classify(&error)))
            }
            Err(error) => give_up(&error, &mut self.stalls),
        }
    }
}

impl Work {
    /// Decides what follows an attempt with this `outcome` (bytes moved; ignored for a sync).
    pub(super) fn after(mut self, outcome: io::Result<usize>) -> Step {
        let finished = match &mut self {
            Work::Transfer(transfer) => transfer.progress(outcome),
            Work::Sync { stalls, .. } => match outcome {
                Ok(_) => Some(Ok(IoDone::Done)),
                Err(error) => give_up(&error, stalls),
            },
        };
        match (self, finished) {
            (work, None) => Step::Again(work),
            (Work::Transfer(transfer), Some(outcome)) => {
                let micros = monotonic_us() - transfer.started_us;
                let micros = u32::try_from(micros).unwrap_or(u32::MAX);
                let buffer = Some(transfer.buffer);
                Step::Finished(transfer.id, IoResult { buffer, outcome, micros })
            }
            (Work::Sync { id, .. }, Some(outcome)) => {
                Step::Finished(id, IoResult { buffer: None, outcome, micros: 0 })
            }
        }
    }
}

/// `None` when the attempt was merely interrupted and has to be repeated.
fn give_up(error: &io::Error, stalls: &mut u32) -> Option<Result<IoDone, IoError>> {
    // ECANCELED: the thread that submitted the request to the ring has ended.
    let again = matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::ECANCELED));
    if again && *stalls < STALLS_MAX {
        *stalls += 1;
        return None;
    }
    Some(Err(classify(error)))
}

/// The engine's class of an operating system error.
pub(super) fn classify(error: &io::Error) -> IoError {
    let errno = error.raw_os_error().unwrap_or(0);
    let kind = match errno {
        libc::ENOSPC | libc::EDQUOT => IoErrorKind::NoSpace,
        libc::ENOENT => IoErrorKind::NotFound,
        _ => IoErrorKind::Failed,
    };
    IoError { kind, errno }
}
