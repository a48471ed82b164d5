//! The `io_uring` driver: one ring, direct I/O, registered buffers and files.
//!
//! Owns: the requests that the kernel is working on, with their buffers.
//! Must never know: what is in the buffers.
//! Invariant: a buffer that the kernel has been told of stays in `flights` until the completion
//! has been seen, also while the driver is dropped.

mod ring;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::{opcode, squeue, types};
use slab::Slab;

use self::ring::Ring;
use super::SystemDisk;
use super::front::Front;
use super::store::Store;
use super::table::FileTable;
use super::work::{Direction, Step, Transfer, Work};
use crate::io::{Buffer, Disk, IoId, IoRequest, IoResult};

/// User data of the request that watches the mailbox.
const MAILBOX: u64 = u64::MAX;

/// A disk behind a ring.
pub(super) struct UringDisk {
    ring: Ring,
    front: Front,
    /// What is waiting for a place in the ring, or has one.
    flights: Slab<Work>,
    /// Keys of the flights that wait for a place, oldest first.
    queue: VecDeque<usize>,
    ready: VecDeque<(IoId, IoResult)>,
    /// Requests taken and not yet handed out.
    outstanding: usize,
    /// Whether the ring watches the mailbox's event.
    watching: bool,
    completions: Vec<(u64, i32)>,
    buffers: Vec<Buffer>,
}

impl UringDisk {
    /// Over `store`.
    ///
    /// # Errors
    /// Those of [`Ring::new`], and of starting the thread for slow operations.
    pub(super) fn open(store: Arc<Store>) -> io::Result<UringDisk> {
        let slots = FileTable::slots_for_this_process();
        let ring = Ring::new(slots)?;
        let buffers = ring.register_buffers();
        let mut disk = UringDisk {
            ring,
            front: Front::new(store, slots)?,
            flights: Slab::new(),
            queue: VecDeque::new(),
            ready: VecDeque::new(),
            outstanding: 0,
            watching: false,
            completions: Vec::new(),
            buffers,
        };
        disk.submit();
        Ok(disk)
    }

    /// Queues as much as the ring takes.
    #[expect(unsafe_code, reason = "the ring is given the addresses of buffers")]
    fn fill(&mut self) {
        if !self.watching {
            let mailbox = types::Fd(self.front.mailbox.raw_fd());
            let events = libc::POLLIN.unsigned_abs().into();
            let entry = opcode::PollAdd::new(mailbox, events).build().user_data(MAILBOX);
            // SAFETY: the entry points to nothing.
            self.watching = unsafe { self.ring.push(&entry) };
        }
        while let Some(&key) = self.queue.front() {
            let entry = entry(&mut self.flights[key]).user_data(key as u64);
            // SAFETY: the entry points into a buffer whose memory does not move, and which stays
            // in `flights` until its completion has been seen (see `land` and `drop`).
            if !unsafe { self.ring.push(&entry) } {
                return;
            }
            self.queue.pop_front();
        }
    }

    /// Takes the completions from the ring, into `ready` or back into the queue.
    fn reap(&mut self) {
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.completions(&mut completions);
        for (user_data, result) in completions.drain(..) {
            if user_data == MAILBOX {
                self.watching = false;
                self.front.mailbox.drain_event();
                let ring = &self.ring;
                let register = &mut |slot, fd| ring.set_file(slot, fd);
                self.front.collect(&mut self.ready, register);
            } else {
                self.land(user_data, result);
            }
        }
        self.completions = completions;
        if self.front.table.has_retired() {
            let ring = &self.ring;
            self.front.table.sweep(&mut |slot, fd| ring.set_file(slot, fd));
        }
    }

    /// The kernel is done with this attempt.
    fn land(&mut self, user_data: u64, result: i32) {
        #[expect(clippy::cast_possible_truncation, reason = "it was made from a usize")]
        let work = self.flights.remove(user_data as usize);
        let outcome = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
        match work.after(outcome) {
            Step::Finished(id, result) => self.ready.push_back((id, result)),
            Step::Again(rest) => {
                let key = self.flights.insert(rest);
                self.queue.push_back(key);
            }
        }
    }

    /// Whether something waits for a submission that the owner does not know of: repeats, the
    /// watch of the mailbox, requests beyond the ring's size.
    fn owes_submission(&mut self) -> bool {
        let waiting = !self.watching || !self.queue.is_empty();
        (waiting && self.ring.has_room()) || self.ring.has_unsubmitted()
    }
}

impl Disk for UringDisk {
    fn start(&mut self, id: IoId, request: IoRequest) {
        self.outstanding += 1;
        let ring = &self.ring;
        let work = self.front.admit(id, request, &mut |slot, fd| ring.set_file(slot, fd));
        if let Some(work) = work {
            let key = self.flights.insert(work);
            self.queue.push_back(key);
        }
    }

    fn submit(&mut self) {
        loop {
            self.fill();
            if !self.ring.has_unsubmitted() {
                return;
            }
            self.ring.submit();
            if self.queue.is_empty() || !self.ring.has_room() {
                return;
            }
        }
    }

    fn finished(&mut self) -> Option<(IoId, IoResult)> {
        if self.ready.is_empty() {
            self.reap();
            if self.owes_submission() {
                self.submit();
            }
        }
        let done = self.ready.pop_front()?;
        self.outstanding -= 1;
        Some(done)
    }

    #[expect(clippy::disallowed_methods, reason = "the driver is where clocks are read")]
    fn wait(&mut self, timeout: Option<Duration>) {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if self.ready.is_empty() {
                self.reap();
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let over = left == Some(Duration::ZERO) || self.outstanding == 0;
            if over || !self.ready.is_empty() {
                return self.submit();
            }
            // One system call for both, unless there is more than the ring takes at once.
            self.fill();
            if self.queue.is_empty() || !self.ring.has_room() {
                self.ring.submit_and_wait(left);
            } else {
                self.submit();
            }
        }
    }

    fn block_bytes(&self) -> usize {
        self.front.store.block_bytes()
    }
}

impl SystemDisk for UringDisk {
    fn wake_fd(&self) -> RawFd {
        self.ring.raw_fd()
    }

    fn name(&self) -> &'static str {
        "io_uring"
    }

    fn registered_buffers(&mut self) -> Vec<Buffer> {
        std::mem::take(&mut self.buffers)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.front.store.free_bytes()
    }
}

impl Drop for UringDisk {
    fn drop(&mut self) {
        // The kernel may still write into buffers: they are freed only when it has said that it
        // is done with them. What has no place in the ring yet never gets one.
        let mailbox = usize::from(self.watching);
        let mut seen = Vec::new();
        let mut watched = 0;
        while self.ring.under_way() + watched > mailbox {
            self.ring.submit_and_wait(None);
            self.ring.completions(&mut seen);
            // The watch may end as well; it owns no memory and is not waited for.
            watched += seen.drain(..).filter(|&(user_data, _)| user_data == MAILBOX).count();
        }
    }
}

/// The ring's entry for what is left of `work`.
fn entry(work: &mut Work) -> squeue::Entry {
    /// Evaluates the entry with the registered file if there is one, else with its descriptor.
    macro_rules! with_file {
        ($open:expr, |$fd:ident| $entry:expr) => {
            if let Some(slot) = $open.registered {
                let $fd = types::Fixed(slot);
                $entry
            } else {
                let $fd = types::Fd($open.file.as_raw_fd());
                $entry
            }
        };
    }
    match work {
        Work::Sync { open, .. } => with_file!(open, |fd| {
            opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build()
        }),
        Work::Transfer(transfer) => {
            let (pointer, length) = place(transfer);
            let offset = transfer.rest_offset();
            let open = &transfer.open;
            match (transfer.direction, transfer.buffer.registered()) {
                (Direction::Read, Some(index)) => with_file!(open, |fd| {
                    opcode::ReadFixed::new(fd, pointer, length, index).offset(offset).build()
                }),
                (Direction::Read, None) => with_file!(open, |fd| {
                    opcode::Read::new(fd, pointer, length).offset(offset).build()
                }),
                (Direction::Write { durable }, Some(index)) => with_file!(open, |fd| {
                    let write = opcode::WriteFixed::new(fd, pointer, length, index);
                    write.offset(offset).rw_flags(flags(durable)).build()
                }),
                (Direction::Write { durable }, None) => with_file!(open, |fd| {
                    let write = opcode::Write::new(fd, pointer, length);
                    write.offset(offset).rw_flags(flags(durable)).build()
                }),
            }
        }
    }
}

/// Address and length of what is left.
fn place(transfer: &mut Transfer) -> (*mut u8, u32) {
    let rest = transfer.rest();
    // A piece is at most 1 GiB.
    (rest.as_mut_ptr(), u32::try_from(rest.len()).unwrap_or(u32::MAX))
}

fn flags(durable: bool) -> i32 {
    if durable { libc::RWF_DSYNC } else { 0 }
}
