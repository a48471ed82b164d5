//! The store folder: its layout, its lock, and how its files are opened.
//!
//! ```text
//! DIR/LOCK                  held (flock) while the store is open; contains the holder's pid
//! DIR/superblock            FileId::Superblock
//! DIR/checkpoint-N          FileId::Checkpoint(N)
//! DIR/segments/NNNNNN.seg   FileId::Segment(N)
//! DIR/**/*.tmp              files being created; removed at open
//! ```
//!
//! Owns: every path of the store.
//! Must never know: what is inside the files, who waits for them.
//! Invariant: while a [`Store`] lives, no other one exists for the same folder, in any process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::error::OpenError;
use super::probe;
use crate::io::FileId;
use crate::units::SegmentId;

const SEGMENTS: &str = "segments";
const TEMPORARY: &str = "tmp";

/// An open, locked store folder.
#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
    /// Held for its flock; the operating system releases it even when the process is killed.
    _lock: File,
    direct: bool,
    block_bytes: usize,
}

impl Store {
    /// Creates what is missing of the layout, takes the lock, removes half-made files.
    pub(super) fn open(root: &Path) -> Result<Store, OpenError> {
        // Absolute, so that a later change of the working folder cannot move the store.
        let root = std::path::absolute(root).map_err(|e| OpenError::at("resolve", root, e))?;
        make_folder(&root)?;
        let lock = take_lock(&root.join("LOCK"))?;
        let segments = root.join(SEGMENTS);
        make_folder(&segments)?;
        for folder in [&root, &segments] {
            remove_temporary(folder).map_err(|e| OpenError::at("clean up", folder, e))?;
        }
        let support = probe::direct_io(&root.join(format!("probe.{TEMPORARY}")))
            .map_err(|e| OpenError::at("write a test file in", &root, e))?;
        let store =
            Store { root, _lock: lock, direct: support.direct, block_bytes: support.block_bytes };
        for folder in [&store.root, &segments] {
            sync_folder(folder).map_err(|e| OpenError::at("sync", folder, e))?;
        }
        Ok(store)
    }

    /// The folder.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Unit of offset and length of every transfer, in bytes: 512 or 4096.
    pub(super) fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// Whether files are opened past the page cache.
    pub(super) fn direct(&self) -> bool {
        self.direct
    }

    /// Where `file` is.
    pub(super) fn path(&self, file: FileId) -> PathBuf {
        match file {
            FileId::Superblock => self.root.join("superblock"),
            FileId::Checkpoint(n) => self.root.join(format!("checkpoint-{n}")),
            FileId::Segment(id) => self.root.join(SEGMENTS).join(format!("{id}.seg")),
        }
    }

    /// Where `file` is while it is being made.
    pub(super) fn temporary_path(&self, file: FileId) -> PathBuf {
        let mut path = self.path(file).into_os_string();
        path.push(".");
        path.push(TEMPORARY);
        path.into()
    }

    /// Opens a file that exists, for reading and writing.
    pub(super) fn open_file(&self, file: FileId) -> io::Result<File> {
        self.options().open(self.path(file))
    }

    /// Creates (or empties) the temporary file of `file`.
    pub(super) fn create_temporary(&self, file: FileId) -> io::Result<File> {
        self.options().create(true).truncate(true).open(self.temporary_path(file))
    }

    fn options(&self) -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if self.direct {
            options.custom_flags(libc::O_DIRECT);
        }
        options
    }

    /// Makes the directory entry of `file` durable.
    pub(super) fn sync_folder_of(&self, file: FileId) -> io::Result<()> {
        match file {
            FileId::Segment(_) => sync_folder(&self.root.join(SEGMENTS)),
            FileId::Superblock | FileId::Checkpoint(_) => sync_folder(&self.root),
        }
    }

    /// The store's files with their sizes in bytes; anything else in the folder is ignored.
    pub(super) fn list(&self) -> io::Result<Vec<(FileId, u64)>> {
        let mut files = Vec::new();
        for (folder, parse) in [
            (self.root.clone(), parse_root as fn(&str) -> Option<FileId>),
            (self.root.join(SEGMENTS), parse_segment),
        ] {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                if let Some(file) = entry.file_name().to_str().and_then(parse) {
                    files.push((file, entry.metadata()?.len()));
                }
            }
        }
        files.sort_unstable();
        Ok(files)
    }

    /// Bytes that the file system would still give to this user.
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// `superblock` or `checkpoint-N`.
fn parse_root(name: &str) -> Option<FileId> {
    if name == "superblock" {
        return Some(FileId::Superblock);
    }
    let number = name.strip_prefix("checkpoint-")?;
    let parsed = number.parse().ok()?;
    // Only the spelling that `Store::path` makes: `+1` and `01` parse as numbers too.
    (format!("{parsed}") == number).then_some(FileId::Checkpoint(parsed))
}

/// `NNNNNN.seg`.
fn parse_segment(name: &str) -> Option<FileId> {
    let number = name.strip_suffix(".seg")?;
    let id = SegmentId(number.parse().ok()?);
    (format!("{id}") == number).then_some(FileId::Segment(id))
}

/// Creates one folder unless it is there, durably.
fn make_folder(path: &Path) -> Result<(), OpenError> {
    match fs::create_dir(path) {
        Ok(()) => {
            let parent = path.parent().unwrap_or(path);
            sync_folder(parent).map_err(|e| OpenError::at("sync", parent, e))
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => match fs::metadata(path) {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(OpenError::NotAFolder { path: path.to_path_buf() }),
            Err(e) => Err(OpenError::at("look at", path, e)),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            Err(OpenError::ParentMissing { path: path.to_path_buf() })
        }
        Err(e) => Err(OpenError::at("create", path, e)),
    }
}

/// Locks the lock file and leaves this process's id in it for whoever comes second.
fn take_lock(path: &Path) -> Result<File, OpenError> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|e| OpenError::at("open", path, e))?;
    if let Err(errno) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if errno != rustix::io::Errno::WOULDBLOCK {
            return Err(OpenError::at("lock", path, errno.into()));
        }
        let mut text = String::new();
        // The holder may not have written its pid yet: then the message names none.
        let read = (&mut file).take(32).read_to_string(&mut text);
        let pid = read.ok().and_then(|_| text.trim().parse().ok());
        return Err(OpenError::Locked { path: path.to_path_buf(), pid });
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|e| OpenError::at("write", path, e))?;
    Ok(file)
}

/// Removes what an interrupted creation left behind.
fn remove_temporary(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == TEMPORARY) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the driver is where files are opened")]
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
