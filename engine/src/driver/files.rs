//! Slow operations on whole files, on a thread of their own.
//!
//! Owns: creating, resizing, listing and removing files, and their durability.
//! Must never know: what the files contain; transfers.
//! Invariant: a file appears under its name only when all of its bytes and its directory entry
//! are on stable storage; a failed creation leaves nothing behind.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use rustix::fs::{FallocateFlags, fallocate};

use super::mailbox::{Mailbox, Posted};
use super::store::Store;
use super::work::classify;
use crate::io::{Buffer, FileId, IoDone, IoId, IoResult};

/// Zeros are written in pieces of this many bytes.
const ZEROS_BYTES: usize = 1 << 20;

/// One slow operation.
#[derive(Debug)]
pub(super) enum Job {
    List,
    Allocate { file: FileId, bytes: u64 },
    Remove { file: FileId },
}

/// The thread. Dropping it abandons what is queued and waits for what is under way.
#[derive(Debug)]
pub(super) struct FilesThread {
    jobs: Option<mpsc::Sender<(IoId, Job)>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FilesThread {
    /// Starts it; completions go to `mailbox`.
    pub(super) fn start(store: Arc<Store>, mailbox: Arc<Mailbox>) -> io::Result<FilesThread> {
        let (jobs, queue) = mpsc::channel::<(IoId, Job)>();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread =
            std::thread::Builder::new().name("ember-files".to_owned()).spawn(move || {
                for (id, job) in queue {
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    mailbox.post(carry_out(&store, id, &job, &stopped));
                }
            })?;
        Ok(FilesThread { jobs: Some(jobs), stop, thread: Some(thread) })
    }

    /// Queues a job.
    pub(super) fn queue(&self, id: IoId, job: Job) {
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send((id, job)).is_ok());
        assert!(sent, "the files thread ends only when the driver is dropped");
    }
}

impl Drop for FilesThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread for slow file operations had panicked");
        }
    }
}

fn carry_out(store: &Store, id: IoId, job: &Job, stop: &AtomicBool) -> Posted {
    let (stale, outcome) = match *job {
        Job::List => (None, store.list().map(IoDone::Files)),
        Job::Allocate { file, bytes } => {
            (Some(file), allocate(store, file, bytes, stop).map(|()| IoDone::Done))
        }
        Job::Remove { file } => (Some(file), remove(store, file).map(|()| IoDone::Done)),
    };
    if let Err(error) = &outcome {
        tracing::debug!(?job, %error, "file operation failed");
    }
    let outcome = outcome.map_err(|error| classify(&error));
    Posted { id, result: IoResult { buffer: None, outcome, micros: 0 }, stale }
}

/// Makes `file` exist with exactly `bytes` bytes, all of them written.
pub(super) fn allocate(
    store: &Store,
    file: FileId,
    bytes: u64,
    stop: &AtomicBool,
) -> io::Result<()> {
    match store.open_file(file) {
        Ok(existing) => {
            resize(store, &existing, bytes, stop)?;
            store.sync_folder_of(file)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = create(store, file, bytes, stop);
            if made.is_err() {
                // One of the two names may exist, according to how far it came. That a removal
                // fails as well adds nothing to the error that is reported.
                let _absent = fs::remove_file(store.temporary_path(file));
                let _absent = fs::remove_file(store.path(file));
            }
            made
        }
        Err(error) => Err(error),
    }
}

fn create(store: &Store, file: FileId, bytes: u64, stop: &AtomicBool) -> io::Result<()> {
    let made = store.create_temporary(file)?;
    write_zeros(store, &made, 0, bytes, stop)?;
    made.sync_all()?;
    fs::rename(store.temporary_path(file), store.path(file))?;
    store.sync_folder_of(file)
}

fn resize(store: &Store, existing: &File, bytes: u64, stop: &AtomicBool) -> io::Result<()> {
    let before = existing.metadata()?.len();
    if bytes < before {
        existing.set_len(bytes)?;
    } else if bytes > before
        && let Err(error) = write_zeros(store, existing, before, bytes, stop)
    {
        // Cuts off the reserved blocks as well. The first error is the one that matters.
        if let Err(again) = existing.set_len(before).and_then(|()| existing.sync_all()) {
            tracing::warn!(%error, %again, "a file could not be taken back to its size");
        }
        return Err(error);
    }
    existing.sync_all()
}

/// Writes zeros from `from` to `to` (a multiple of 4096), which extends the file.
///
/// Written, not reserved: a durable write into reserved space would have to commit a metadata
/// change, and takes more than twice as long (docs/decisions/0004).
fn write_zeros(
    store: &Store,
    file: &File,
    from: u64,
    to: u64,
    stop: &AtomicBool,
) -> io::Result<()> {
    // A file of an odd size was not made by us; its last block is completed by extending it.
    let mut at = from.next_multiple_of(4096);
    if at != from {
        file.set_len(at)?;
    }
    // Asked first, so that a request that cannot succeed does not fill the disk for a while.
    if to.saturating_sub(at) > store.free_bytes()? {
        return Err(io::Error::from_raw_os_error(libc::ENOSPC));
    }
    if to > at {
        reserve(file, at, to - at)?;
    }
    let zeros = Buffer::new(ZEROS_BYTES);
    while at < to {
        if stop.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(libc::ECANCELED));
        }
        let piece = usize::try_from(to - at).unwrap_or(usize::MAX).min(zeros.len());
        match file.write_at(&zeros[..piece], at) {
            // A short write may end within a block; the next piece has to start at one.
            Ok(written) if written >= 4096 => at += (written - written % 4096) as u64,
            Ok(_) => return Err(io::Error::from_raw_os_error(libc::EIO)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reserves the space in one piece, so that the file is contiguous and a full disk shows at once.
/// The size is kept: after a crash it tells how far the zeros have come.
fn reserve(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::KEEP_SIZE, offset, bytes) {
        // A file system without reservations: the writes find the space, or do not.
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn remove(store: &Store, file: FileId) -> io::Result<()> {
    match fs::remove_file(store.path(file)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => store.sync_folder_of(file),
    }
}
