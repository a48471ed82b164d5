//! Why a store folder could not be opened, and what the operator can do about it.
//!
//! Owns: [`OpenError`] and its mapping from the operating system's error numbers.
//! Must never know: what is inside the files.
//! Invariant: every message names the path and the remedy.

use std::io;
use std::path::{Path, PathBuf};

/// Why a store folder could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder's parent does not exist.
    #[error(
        "{}: the parent folder does not exist; create it, or check that its disk is mounted",
        path.display()
    )]
    ParentMissing {
        /// The store folder.
        path: PathBuf,
    },
    /// The path names something that is not a folder.
    #[error("{}: is not a folder; name a folder, or a path that does not exist yet", path.display())]
    NotAFolder {
        /// The path in the way.
        path: PathBuf,
    },
    /// The file system is mounted read-only.
    #[error(
        "{}: the file system is read-only; remount it writable or choose another folder",
        path.display()
    )]
    ReadOnly {
        /// The path that could not be written.
        path: PathBuf,
        /// The operating system's word.
        source: io::Error,
    },
    /// This user may not read and write here.
    #[error(
        "{}: permission denied; give the server's user read and write access to the store folder \
         and everything in it",
        path.display()
    )]
    Permission {
        /// The path that was refused.
        path: PathBuf,
        /// The operating system's word.
        source: io::Error,
    },
    /// Another process has the store open.
    #[error(
        "{}: the store is in use by {}; stop it first, or choose another folder",
        path.display(),
        pid.map_or("another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The holder, if it has written its process id.
        pid: Option<u32>,
    },
    /// The file system has no room for even the folder layout.
    #[error("{}: no space left on the file system; free some and start again", path.display())]
    NoSpace {
        /// The path that could not be created.
        path: PathBuf,
        /// The operating system's word.
        source: io::Error,
    },
    /// `DriverChoice::Uring` was asked for and the kernel does not offer it.
    #[error(
        "{}: io_uring is not available ({source}); allow it (kernel 5.11 or later, \
         kernel.io_uring_disabled = 0, the container's seccomp profile) or choose the threads driver",
        path.display()
    )]
    NoUring {
        /// The store folder.
        path: PathBuf,
        /// Why the ring could not be set up.
        source: io::Error,
    },
    /// Anything else.
    #[error("{}: cannot {what}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb phrase.
        what: &'static str,
        /// The path it was attempted on.
        path: PathBuf,
        /// The operating system's word.
        source: io::Error,
    },
}

impl OpenError {
    /// Classifies a failure of `what` at `path`.
    pub(super) fn at(what: &'static str, path: &Path, source: io::Error) -> OpenError {
        let path = path.to_path_buf();
        match source.raw_os_error() {
            Some(libc::EROFS) => OpenError::ReadOnly { path, source },
            Some(libc::EACCES | libc::EPERM) => OpenError::Permission { path, source },
            Some(libc::ENOTDIR) => OpenError::NotAFolder { path },
            Some(libc::ENOSPC | libc::EDQUOT) => OpenError::NoSpace { path, source },
            _ => OpenError::Io { what, path, source },
        }
    }
}
