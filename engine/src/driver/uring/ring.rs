//! The ring itself: setting it up as well as the kernel allows, and its three system calls.
//!
//! Owns: the ring's memory and descriptor, what is registered with it.
//! Must never know: requests.
//! Invariant: at most [`Ring::capacity`] entries are under way, so the kernel always has room for
//! their completions.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, squeue};

use crate::driver::{LARGE_BUFFER_BYTES, LARGE_BUFFERS, SMALL_BUFFER_BYTES, SMALL_BUFFERS};
use crate::io::Buffer;

/// Entries handed to the kernel by one system call at most.
const SUBMISSIONS: u32 = 256;
/// Entries under way at most; more wait in user space.
const COMPLETIONS: u32 = 4096;

/// Registered buffers: count and bytes each of the small and of the large ones. 6 MiB together,
/// because an unprivileged process may pin 8 MiB by default.
const BUFFERS: [(usize, usize); 2] =
    [(SMALL_BUFFERS, SMALL_BUFFER_BYTES), (LARGE_BUFFERS, LARGE_BUFFER_BYTES)];

/// A ring.
pub(super) struct Ring {
    io: IoUring,
    files_registered: bool,
    under_way: usize,
    capacity: usize,
}

impl Ring {
    /// Sets a ring up, with a table for `file_slots` registered files.
    ///
    /// # Errors
    /// ENOSYS or EPERM where `io_uring` is missing or forbidden; ENOMEM.
    pub(super) fn new(file_slots: usize) -> io::Result<Ring> {
        let io = build()?;
        let params = io.params();
        if !(params.is_feature_ext_arg() && params.is_feature_nodrop()) {
            // Waiting with a time limit came with Linux 5.11.
            return Err(io::Error::from_raw_os_error(libc::ENOSYS));
        }
        let capacity = params.cq_entries() as usize;
        // Minus one is an empty slot. A table without files costs 8 bytes each.
        let files_registered = match io.submitter().register_files(&vec![-1; file_slots]) {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(%error, "going on without registered files");
                false
            }
        };
        Ok(Ring { io, files_registered, under_way: 0, capacity })
    }

    /// Allocates the buffers of [`BUFFERS`] and registers them; none when the kernel refuses
    /// (`RLIMIT_MEMLOCK`), as everything works without.
    #[expect(unsafe_code, reason = "the kernel is given the addresses of the buffers")]
    pub(super) fn register_buffers(&self) -> Vec<Buffer> {
        let sizes = BUFFERS.into_iter().flat_map(|(count, bytes)| vec![bytes; count]);
        let mut buffers: Vec<Buffer> = sizes.map(Buffer::new).collect();
        let vectors: Vec<libc::iovec> = buffers
            .iter_mut()
            .map(|b| libc::iovec { iov_base: b.as_mut_ptr().cast(), iov_len: b.len() })
            .collect();
        // SAFETY: each vector is the whole of a live mapping that does not move. The kernel pins
        // the pages themselves, so they outlive the mapping if its owner unmaps it: a buffer
        // mapped there later is not marked as registered and is never used with this index.
        if let Err(error) = unsafe { self.io.submitter().register_buffers(&vectors) } {
            tracing::debug!(%error, "going on without registered buffers");
            return Vec::new();
        }
        for (buffer, index) in buffers.iter_mut().zip(0..) {
            buffer.register(index);
        }
        buffers
    }

    /// Puts a descriptor (or -1) in a slot of the file table; false when there is no table.
    pub(super) fn set_file(&self, slot: u32, fd: RawFd) -> bool {
        self.files_registered && self.io.submitter().register_files_update(slot, &[fd]).is_ok()
    }

    /// Queues an entry, unless the ring is full.
    ///
    /// # Safety
    /// Everything that the entry points to stays valid until its completion has been seen.
    #[expect(unsafe_code, reason = "the kernel is given addresses")]
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: as demanded of the caller.
        let pushed = self.has_room() && unsafe { self.io.submission().push(entry) }.is_ok();
        self.under_way += usize::from(pushed);
        pushed
    }

    /// Whether an entry more may be under way.
    pub(super) fn has_room(&self) -> bool {
        self.under_way < self.capacity
    }

    /// Entries queued or with the kernel whose completion has not been seen.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// Whether entries are queued that the kernel has not taken yet.
    pub(super) fn has_unsubmitted(&mut self) -> bool {
        !self.io.submission().is_empty()
    }

    /// Hands the queued entries to the kernel.
    pub(super) fn submit(&self) {
        self.survive(self.io.submit());
    }

    /// Hands the queued entries to the kernel and waits for a completion, an interruption or the
    /// end of the time limit.
    pub(super) fn submit_and_wait(&self, limit: Option<Duration>) {
        let limit = limit.map(Timespec::from);
        let mut arguments = SubmitArgs::new();
        if let Some(limit) = &limit {
            arguments = arguments.timespec(limit);
        }
        self.survive(self.io.submitter().submit_with_args(1, &arguments));
    }

    /// Interruptions and shortages leave entries queued, and the caller comes again; any other
    /// error means that this code misuses the ring.
    fn survive(&self, entered: io::Result<usize>) {
        let Err(error) = entered else { return };
        match error.raw_os_error() {
            Some(libc::EINTR | libc::ETIME | libc::EBUSY) => {}
            Some(libc::EAGAIN | libc::ENOMEM) => {
                tracing::warn!(%error, "the kernel is short of memory for disk requests");
                std::thread::sleep(Duration::from_millis(1));
            }
            _ => panic!("io_uring_enter on ring {}: {error}", self.io.as_raw_fd()),
        }
    }

    /// Appends the completions that there are: user data and result of each.
    pub(super) fn completions(&mut self, into: &mut Vec<(u64, i32)>) {
        if self.io.submission().taskrun() {
            // Completions wait for this thread to enter the kernel once.
            self.submit();
        }
        let before = into.len();
        into.extend(self.io.completion().map(|entry| (entry.user_data(), entry.result())));
        self.under_way -= into.len() - before;
    }

    /// The ring's descriptor: readable while there are completions.
    pub(super) fn raw_fd(&self) -> RawFd {
        self.io.as_raw_fd()
    }
}

/// The best ring that this kernel makes.
///
/// Not `SINGLE_ISSUER` with `DEFER_TASKRUN`: that binds the ring for ever to the first thread that
/// submits, but a store is opened and recovered on one thread and served on another.
/// `COOP_TASKRUN` spares the interrupts between processors, which is most of what that would gain.
fn build() -> io::Result<IoUring> {
    let best = IoUring::builder()
        .dontfork()
        .setup_clamp()
        .setup_cqsize(COMPLETIONS)
        .setup_submit_all()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .build(SUBMISSIONS);
    match best {
        // Before Linux 5.19.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            IoUring::builder().dontfork().setup_clamp().setup_cqsize(COMPLETIONS).build(SUBMISSIONS)
        }
        built => built,
    }
}
