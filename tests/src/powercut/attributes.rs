//! What the kernel is told of a file or folder: its kind and size; the store looks at nothing else.

use super::volume::{Ino, Node};
use fuser::{FileAttr, FileType, INodeNo};
use std::time::UNIX_EPOCH;

/// Of `node`, which has the number `ino`.
pub(super) fn attributes(ino: Ino, node: &Node) -> FileAttr {
    let (kind, size, perm) = match node {
        Node::File(file) => (FileType::RegularFile, file.live.size(), 0o644),
        Node::Folder(_) => (FileType::Directory, 0, 0o755),
    };
    FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}
