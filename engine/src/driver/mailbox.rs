//! Completions that come from other threads, and the event that announces them.
//!
//! Owns: the only state that the driver's threads share with its owner.
//! Must never know: files, requests.
//! Invariant: whenever the queue becomes non-empty the event is signalled *after* the push, so an
//! owner that takes until empty and then waits for the event misses nothing.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use crate::io::{FileId, IoId, IoResult};

/// One completion.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) id: IoId,
    pub(super) result: IoResult,
    /// The file whose open descriptor, if there is one, no longer tells the truth.
    pub(super) stale: Option<FileId>,
}

/// A queue with an eventfd.
#[derive(Debug)]
pub(super) struct Mailbox {
    queue: Mutex<VecDeque<Posted>>,
    event: OwnedFd,
}

impl Mailbox {
    /// An empty one.
    pub(super) fn new() -> io::Result<Mailbox> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Mailbox { queue: Mutex::new(VecDeque::new()), event })
    }

    /// Appends a completion and wakes the owner.
    pub(super) fn post(&self, posted: Posted) {
        let mut queue = self.lock();
        let first = queue.is_empty();
        queue.push_back(posted);
        drop(queue);
        if first {
            self.signal();
        }
    }

    /// Makes the event readable; an edge for every poller, also if it was readable before.
    #[expect(clippy::host_endian_bytes, reason = "an eventfd takes an integer of this machine")]
    fn signal(&self) {
        // The only failure of a non-blocking write is a full counter, which is readable anyway.
        let _full = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }

    /// Makes the event unreadable until the next signal.
    pub(super) fn drain_event(&self) {
        let mut counter = [0; 8];
        // Fails when nothing was signalled, which is what is wanted.
        let _empty = rustix::io::read(&self.event, &mut counter);
    }

    /// Exchanges the queue with `empty`: one lock for many completions.
    pub(super) fn take(&self, empty: &mut VecDeque<Posted>) {
        debug_assert!(empty.is_empty(), "taken completions are handled before the next take");
        std::mem::swap(&mut *self.lock(), empty);
    }

    /// The event's descriptor, valid as long as the mailbox.
    pub(super) fn raw_fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Posted>> {
        // A push cannot be interrupted halfway, so the queue is sound even after a panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
