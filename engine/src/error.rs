//! Why a store cannot be opened, and what to do about it.

use crate::config::ConfigError;
use crate::format::DecodeError;
use crate::io::{FileId, IoError};

/// A store that cannot be opened. Nothing has been changed beyond what a repeated try redoes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The disk failed.
    #[error("cannot {operation} {file:?}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        file: Option<FileId>,
        /// The failure.
        source: IoError,
    },
    /// Written by a newer version of Emberlog.
    #[error(
        "{file:?} is of format version {version}, newer than this build reads: \
         use the version of Emberlog that wrote it, or a later one"
    )]
    Unsupported {
        /// The file.
        file: FileId,
        /// Its format version.
        version: u16,
    },
    /// A structure on disk is damaged.
    #[error("{file:?} is damaged at {offset}: {cause}")]
    Corrupt {
        /// The file.
        file: FileId,
        /// Where in it: a byte offset, or a page number in a checkpoint.
        offset: u64,
        /// What is wrong.
        cause: DecodeError,
    },
    /// Both slots of the superblock are damaged.
    #[error(
        "both slots of the superblock are damaged: restore the file from a backup, or the folder \
         from a replica"
    )]
    Superblock,
    /// Segments without a superblock: half a store.
    #[error("the folder holds {segments} segments but no superblock: part of the store is missing")]
    NoSuperblock {
        /// Segment files found.
        segments: usize,
    },
    /// Both checkpoints are damaged.
    #[error(
        "both checkpoints are damaged, and records of deletions before them may be gone: deleted \
         keys could come back. Start with --rebuild-may-resurrect to rebuild from the segments all \
         the same"
    )]
    Checkpoints,
}
