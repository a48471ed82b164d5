//! The portable driver: a few threads that call pread and pwrite.
//!
//! Owns: its worker threads and the queue between them and the owner.
//! Must never know: rings; what is in the buffers.
//! Invariant: a request belongs to exactly one of: the started list, the queue, one worker, the
//! mailbox, the ready list.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ReadWriteFlags, pwritev2};

use super::SystemDisk;
use super::front::Front;
use super::mailbox::{Mailbox, Posted};
use super::store::Store;
use super::table::{FileTable, OpenFile};
use super::work::{Direction, Step, Transfer, Work};
use crate::io::{Buffer, Disk, IoId, IoRequest, IoResult};

/// Transfers that can be under way at once.
const WORKERS: usize = 8;

#[derive(Debug, Default)]
struct Queue {
    work: VecDeque<Work>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    /// Set once when the file system turned out to know no durable writes.
    no_dsync: AtomicBool,
}

/// A disk behind a few threads.
#[derive(Debug)]
pub(super) struct ThreadsDisk {
    front: Front,
    shared: Arc<Shared>,
    started: Vec<Work>,
    ready: VecDeque<(IoId, IoResult)>,
    /// Requests taken and not yet handed out.
    outstanding: usize,
    workers: Vec<JoinHandle<()>>,
}

/// There is no ring to register files with.
fn unregistered(_slot: u32, _fd: RawFd) -> bool {
    false
}

impl ThreadsDisk {
    /// Over `store`.
    pub(super) fn open(store: Arc<Store>) -> io::Result<ThreadsDisk> {
        let front = Front::new(store, FileTable::slots_for_this_process())?;
        let mut disk = ThreadsDisk {
            front,
            shared: Arc::new(Shared::default()),
            started: Vec::new(),
            ready: VecDeque::new(),
            outstanding: 0,
            workers: Vec::with_capacity(WORKERS),
        };
        for _ in 0..WORKERS {
            let (shared, mailbox) = (Arc::clone(&disk.shared), Arc::clone(&disk.front.mailbox));
            let worker = std::thread::Builder::new().name("ember-disk".to_owned());
            disk.workers.push(worker.spawn(move || work_loop(&shared, &mailbox))?);
        }
        Ok(disk)
    }

    fn collect(&mut self) {
        self.front.collect(&mut self.ready, &mut unregistered);
        if self.front.table.has_retired() {
            self.front.table.sweep(&mut unregistered);
        }
    }
}

impl Disk for ThreadsDisk {
    fn start(&mut self, id: IoId, request: IoRequest) {
        self.outstanding += 1;
        if let Some(work) = self.front.admit(id, request, &mut unregistered) {
            self.started.push(work);
        }
    }

    fn submit(&mut self) {
        let count = self.started.len();
        if count == 0 {
            return;
        }
        self.shared.lock().work.extend(self.started.drain(..));
        if count == 1 {
            self.shared.filled.notify_one();
        } else {
            self.shared.filled.notify_all();
        }
    }

    fn finished(&mut self) -> Option<(IoId, IoResult)> {
        if self.ready.is_empty() {
            self.collect();
        }
        let done = self.ready.pop_front()?;
        self.outstanding -= 1;
        Some(done)
    }

    #[expect(clippy::disallowed_methods, reason = "the driver is where clocks are read")]
    fn wait(&mut self, timeout: Option<Duration>) {
        self.submit();
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            // Before the mailbox is looked at, so that a later completion is a later signal.
            self.front.mailbox.drain_event();
            if self.ready.is_empty() {
                self.collect();
            }
            if !self.ready.is_empty() || self.outstanding == 0 {
                return;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return;
            }
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            // An error can only be an interruption, and then the loop looks again.
            let _again =
                poll(&mut [PollFd::new(&*self.front.mailbox, PollFlags::IN)], left.as_ref());
        }
    }

    fn block_bytes(&self) -> usize {
        self.front.store.block_bytes()
    }
}

impl SystemDisk for ThreadsDisk {
    fn wake_fd(&self) -> RawFd {
        self.front.mailbox.raw_fd()
    }

    fn name(&self) -> &'static str {
        "threads"
    }

    fn registered_buffers(&mut self) -> Vec<Buffer> {
        Vec::new()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.front.store.free_bytes()
    }
}

impl Drop for ThreadsDisk {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.closed = true;
        queue.work.clear();
        drop(queue);
        self.shared.filled.notify_all();
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                tracing::error!("a disk thread had panicked");
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece of work; `None` when the driver is dropped.
    fn next(&self) -> Option<Work> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(work) = queue.work.pop_front() {
                return Some(work);
            }
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn work_loop(shared: &Shared, mailbox: &Mailbox) {
    while let Some(mut work) = shared.next() {
        let (id, result) = loop {
            let outcome = match &mut work {
                Work::Transfer(transfer) => attempt(transfer, &shared.no_dsync),
                Work::Sync { open, .. } => open.file.sync_data().map(|()| 0),
            };
            match work.after(outcome) {
                Step::Again(rest) => work = rest,
                Step::Finished(id, result) => break (id, result),
            }
        };
        mailbox.post(Posted { id, result, stale: None });
    }
}

fn attempt(transfer: &mut Transfer, no_dsync: &AtomicBool) -> io::Result<usize> {
    let (open, offset) = (Arc::clone(&transfer.open), transfer.rest_offset());
    match transfer.direction {
        Direction::Read => open.file.read_at(transfer.rest(), offset),
        Direction::Write { durable: false } => open.file.write_at(transfer.rest(), offset),
        Direction::Write { durable: true } => {
            write_durably(&open, transfer.rest(), offset, no_dsync)
        }
    }
}

/// One call where the file system offers it, else a write and a sync.
fn write_durably(
    open: &OpenFile,
    bytes: &[u8],
    offset: u64,
    no_dsync: &AtomicBool,
) -> io::Result<usize> {
    if !no_dsync.load(Ordering::Relaxed) {
        match pwritev2(&open.file, &[IoSlice::new(bytes)], offset, ReadWriteFlags::DSYNC) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => no_dsync.store(true, Ordering::Relaxed),
            written => return Ok(written?),
        }
    }
    let written = open.file.write_at(bytes, offset)?;
    open.file.sync_data()?;
    Ok(written)
}
