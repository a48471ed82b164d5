//! Finds out what direct I/O a folder's file system offers.
//!
//! Owns: the choice of the store's block size.
//! Must never know: the store's files.
//! Invariant: what is reported has been tried with a real write and read in that folder.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, StatxFlags, statx};

use crate::io::Buffer;

/// What to expect of a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Support {
    /// Whether `O_DIRECT` works.
    pub(super) direct: bool,
    /// Smallest unit of transfers in bytes, 512 or 4096.
    pub(super) block_bytes: usize,
}

/// A page: through the page cache, smaller writes would be read-modify-write of one.
const BUFFERED: Support = Support { direct: false, block_bytes: 4096 };

/// Probes with a scratch file at `path`, which is removed again.
///
/// # Errors
/// When not even an ordinary file can be created and written there.
pub(super) fn direct_io(path: &Path) -> io::Result<Support> {
    let support = probe(path);
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => support,
    }
}

fn probe(path: &Path) -> io::Result<Support> {
    // Written once through the page cache: a folder that cannot be written at all must fail here,
    // with its own error, and not look like one without direct I/O.
    fs::write(path, [0; 8192])?;
    let Ok(file) =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(path)
    else {
        return Ok(BUFFERED);
    };
    let Some(least) = stated_alignment(&file) else {
        return Ok(BUFFERED);
    };
    Ok([512, 4096]
        .into_iter()
        .filter(|&block_bytes| block_bytes >= least)
        .find(|&block_bytes| transfers(&file, block_bytes))
        .map_or(BUFFERED, |block_bytes| Support { direct: true, block_bytes }))
}

/// The offset alignment that the file system states: `None` says that it has no direct I/O,
/// 0 that it does not say (kernels before 6.1, and some file systems).
fn stated_alignment(file: &File) -> Option<usize> {
    let Ok(stat) = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN) else {
        return Some(0);
    };
    if stat.stx_mask & StatxFlags::DIOALIGN.bits() == 0 {
        return Some(0);
    }
    (stat.stx_dio_offset_align != 0).then_some(stat.stx_dio_offset_align as usize)
}

/// Whether one block at an odd multiple of `block_bytes` can be written and read back.
fn transfers(file: &File, block_bytes: usize) -> bool {
    let offset = block_bytes as u64;
    let mut buffer = Buffer::new(block_bytes);
    buffer[..block_bytes].fill(0x5a);
    if !matches!(file.write_at(&buffer[..block_bytes], offset), Ok(n) if n == block_bytes) {
        return false;
    }
    buffer[..block_bytes].fill(0);
    matches!(file.read_at(&mut buffer[..block_bytes], offset), Ok(n) if n == block_bytes)
        && buffer[..block_bytes].iter().all(|&byte| byte == 0x5a)
}
