//! The world: the only place with system calls, clocks, threads and `unsafe`.
//!
//! Owns: the store folder, its open files, and two implementations of [`Disk`]: `io_uring`, and
//! threads where that is not to be had.
//! Must never know: records, batches, segments; what the bytes mean.
//! Invariant: every request that was started completes exactly once, unless the driver is dropped.

mod clock;
mod embed;
mod error;
mod files;
mod front;
mod mailbox;
mod probe;
mod process;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod threads;
mod uring;
mod work;

use std::io;
use std::os::fd::RawFd;
use std::path::Path;
use std::sync::Arc;

pub use self::clock::{monotonic_us, now};
pub use self::embed::drive;
pub use self::error::OpenError;
pub use self::process::{ResidentSet, random_seed};
use self::store::Store;
use self::threads::ThreadsDisk;
use self::uring::UringDisk;
use crate::io::{Buffer, Disk};

/// Size of the small registered buffers, in bytes: for reads of records.
pub const SMALL_BUFFER_BYTES: usize = 16 << 10;
/// How many small buffers are registered.
pub const SMALL_BUFFERS: usize = 128;
/// Size of the large registered buffers, in bytes: for batches and scans.
pub const LARGE_BUFFER_BYTES: usize = 256 << 10;
/// How many large buffers are registered.
pub const LARGE_BUFFERS: usize = 16;

/// A disk of the operating system. It may be moved to another thread at any time, also with
/// requests in flight.
pub trait SystemDisk: Disk + Send {
    /// A descriptor, valid as long as the disk, that becomes readable when a completion is ready.
    ///
    /// Register it *edge-triggered*, and after each event call [`Disk::finished`] until it
    /// returns `None`: that is what makes the next event come. Never read from it.
    fn wake_fd(&self) -> RawFd;

    /// The driver's name for logs: `io_uring` or `threads`.
    fn name(&self) -> &'static str;

    /// The buffers that are registered with the kernel, [`SMALL_BUFFERS`] of
    /// [`SMALL_BUFFER_BYTES`] and [`LARGE_BUFFERS`] of [`LARGE_BUFFER_BYTES`]; transfers with them
    /// cost the kernel less. Empty if there are none, and at the second call. They belong to this
    /// disk: do not use them with another one.
    fn registered_buffers(&mut self) -> Vec<Buffer>;

    /// Bytes that the store's file system would still give to this user.
    ///
    /// # Errors
    /// Those of statvfs.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// Which driver to use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DriverChoice {
    /// `io_uring`, or threads where the kernel does not offer it.
    #[default]
    Auto,
    /// `io_uring` or an error.
    Uring,
    /// Threads that call pread and pwrite.
    Threads,
}

/// Opens the store folder `dir`, creating it (not its parents) if need be, and locks it until the
/// disk is dropped.
///
/// # Errors
/// When the folder cannot be created, written or locked, or the chosen driver does not work here;
/// the message says what to do.
pub fn open_store(dir: &Path, choice: DriverChoice) -> Result<Box<dyn SystemDisk>, OpenError> {
    let store = Arc::new(Store::open(dir)?);
    let disk: Box<dyn SystemDisk> = match choice {
        DriverChoice::Threads => threads(&store)?,
        DriverChoice::Uring => {
            Box::new(UringDisk::open(Arc::clone(&store)).map_err(|source| OpenError::NoUring {
                path: store.root().to_path_buf(),
                source,
            })?)
        }
        DriverChoice::Auto => match UringDisk::open(Arc::clone(&store)) {
            Ok(disk) => Box::new(disk),
            Err(error) => {
                tracing::info!(%error, "io_uring is not available: the disk is driven by threads");
                threads(&store)?
            }
        },
    };
    tracing::debug!(
        driver = disk.name(),
        direct = store.direct(),
        block_bytes = store.block_bytes(),
        "store folder opened"
    );
    Ok(disk)
}

fn threads(store: &Arc<Store>) -> Result<Box<ThreadsDisk>, OpenError> {
    ThreadsDisk::open(Arc::clone(store)).map(Box::new).map_err(|source| OpenError::Io {
        what: "start the disk threads for",
        path: store.root().to_path_buf(),
        source,
    })
}
