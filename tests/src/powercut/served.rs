//! What the mounted file system answers to the kernel's requests.
//!
//! Owns: the translation of requests into changes and syncs of the volume. Must never know: what a crash may take.
//! Invariant: nothing is cached by the kernel (direct I/O, no lifetimes), so every write and sync of a program arrives
//! here as it was issued.

use super::attributes::attributes;
use super::hub::{Hub, Late, State};
use super::illness::Asked;
use super::volume::{Change, Entry, File, Folder, Ino, Node};
use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request,
    TimeOrNow, WriteFlags,
};
use std::ffi::OsStr;
use std::io;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, SystemTime};

/// The kernel keeps nothing.
const TTL: Duration = Duration::ZERO;
/// The size that the file system claims to have, in blocks of 4 KiB.
const BLOCKS: u64 = 1 << 22;
/// `FALLOC_FL_KEEP_SIZE`
const KEEP_SIZE: i32 = 1;
/// `O_DSYNC`, which is part of `O_SYNC`; `RWF_DSYNC` arrives as this flag, too.
const DSYNC_FLAG: i32 = 0o10_000;

/// The volume as the kernel sees it.
pub(super) struct Served(pub(super) Arc<Hub>);

impl Served {
    fn attributes_of(&self, ino: Ino) -> Option<FileAttr> {
        self.0.lock().volume.node(ino).map(|node| attributes(ino, node))
    }

    /// A change of a file's content: the caller is answered later.
    fn change(
        &self,
        ino: Ino,
        change: Change,
        durable: bool,
        reply: impl FnOnce(Option<Errno>) + Send + 'static,
    ) {
        let mut state = self.0.enter();
        if let Some(error) = state.change_failure(ino, &change, durable) {
            self.0.leave(state);
            return reply(Some(error));
        }
        let counts = &mut state.counts;
        match &change {
            Change::Write(_, bytes) => {
                counts.writes += 1;
                counts.bytes += bytes.len() as u64;
                counts.durable_writes += u64::from(durable);
            }
            Change::Size(_) => counts.sizes += 1,
        }
        let Some(seq) = state.volume.change(ino, change) else { return reply(Some(Errno::ENOENT)) };
        state.answer_late(Late::Change(ino, seq, durable), Box::new(|| reply(None)));
        state.event(false);
        self.0.leave(state);
    }

    fn sync(&self, ino: Ino, folder: bool, reply: ReplyEmpty) {
        let mut state = self.0.enter();
        trace(&state, || format!("sync {ino}, folder {folder}"));
        let counts = &mut state.counts;
        *(if folder { &mut counts.folder_syncs } else { &mut counts.file_syncs }) += 1;
        if let Some(error) = state.failure(Asked::Sync) {
            state.volume.sync_failed(ino);
            self.0.leave(state);
            return reply.error(error);
        }
        let covered = state.volume.covered(ino);
        state.answer_late(Late::Sync(ino, covered), Box::new(|| reply.ok()));
        state.event(true);
        self.0.leave(state);
    }

    /// A change of names: the caller is answered later.
    fn name(
        &self,
        mut state: MutexGuard<'_, State>,
        parent: Ino,
        entry: Entry,
        reply: impl FnOnce() + Send + 'static,
    ) {
        trace(&state, || format!("in {parent}: {entry:?}"));
        state.counts.names += 1;
        if let Some(seq) = state.volume.rename(parent, entry) {
            state.answer_late(Late::Change(parent, seq, false), Box::new(reply));
        }
        state.event(true);
        self.0.leave(state);
    }

    fn create_node(
        &self,
        parent: Ino,
        name: &OsStr,
        node: Node,
        reply: impl FnOnce(Result<FileAttr, Errno>) + Send + 'static,
    ) {
        let mut state = self.0.enter();
        if state.volume.folder(parent).is_none() {
            return reply(Err(Errno::ENOENT));
        }
        if let Some(error) = state.failure(Asked::Space) {
            return reply(Err(error));
        }
        let found = attributes(0, &node);
        let ino = state.volume.add(node);
        let attr = FileAttr { ino: INodeNo(ino), ..found };
        self.name(state, parent, Entry::Link(name.to_owned(), ino), move || reply(Ok(attr)));
    }
}

fn trace(state: &State, line: impl FnOnce() -> String) {
    if state.trace {
        println!("arrives   {}", line());
    }
}

/// Several direct writes to one file at a time, as a block device takes them.
fn direct() -> FopenFlags {
    FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES
}

impl Filesystem for Served {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Requests that fail here are merely smaller or later than they could be.
        let _ = config.set_max_write(1 << 20);
        let _ = config.add_capabilities(InitFlags::FUSE_ASYNC_DIO);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.0.lock().volume.lookup(parent.0, name);
        match found.and_then(|ino| self.attributes_of(ino)) {
            Some(attr) => reply.entry(&TTL, &attr, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes_of(ino.0) {
            Some(attr) => reply.attr(&TTL, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let Some(attr) = self.attributes_of(ino.0) else { return reply.error(Errno::ENOENT) };
        let Some(size) = size else { return reply.attr(&TTL, &attr) };
        let attr = FileAttr { size, ..attr };
        trace(&self.0.lock(), || format!("size {ino:?} {size}"));
        self.change(ino.0, Change::Size(size), false, move |error| match error {
            None => reply.attr(&TTL, &attr),
            Some(error) => reply.error(error),
        });
    }

    fn open(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), direct());
    }

    fn create(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        self.create_node(parent.0, name, Node::File(File::default()), move |made| match made {
            Ok(attr) => reply.created(&TTL, &attr, Generation(0), FileHandle(0), direct()),
            Err(error) => reply.error(error),
        });
    }

    fn mkdir(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        self.create_node(parent.0, name, Node::Folder(Folder::default()), move |made| match made {
            Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
            Err(error) => reply.error(error),
        });
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let state = self.0.enter();
        if state.volume.lookup(parent.0, name).is_none() {
            return reply.error(Errno::ENOENT);
        }
        self.name(state, parent.0, Entry::Unlink(name.to_owned()), || reply.ok());
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        // The store renames within a folder; anything else would need a second kind of change.
        if parent != newparent || !flags.is_empty() {
            return reply.error(Errno::EXDEV);
        }
        let state = self.0.enter();
        if state.volume.lookup(parent.0, name).is_none() {
            return reply.error(Errno::ENOENT);
        }
        let entry = Entry::Rename(name.to_owned(), newname.to_owned());
        self.name(state, parent.0, entry, || reply.ok());
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut state = self.0.lock();
        if let Some(error) = state.failure(Asked::Read) {
            return reply.error(error);
        }
        let bytes = state.volume.file(ino.0).map(|file| file.live.read(offset, size as usize));
        drop(state);
        match bytes {
            Some(bytes) => reply.data(&bytes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let durable = flags.0 & DSYNC_FLAG != 0;
        trace(&self.0.lock(), || {
            format!("write {ino:?} {offset}+{}, flags {flags:x}, {write_flags:?}", data.len())
        });
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let change = Change::Write(offset, data.into());
        self.change(ino.0, change, durable, move |error| match error {
            None => reply.written(length),
            Some(error) => reply.error(error),
        });
    }

    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        // Sent at each close; it promises nothing.
        reply.ok();
    }

    fn fsync(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.sync(ino.0, false, reply);
    }

    fn fsyncdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.sync(ino.0, true, reply);
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let state = self.0.lock();
        let Some(folder) = state.volume.folder(ino.0) else { return reply.error(Errno::ENOENT) };
        let dots = [(".", ino.0), ("..", ino.0)].map(|(name, ino)| (OsStr::new(name), ino));
        let names = folder.live.iter().map(|(name, ino)| (name.as_os_str(), *ino));
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        for (index, (name, ino)) in dots.into_iter().chain(names).enumerate().skip(from) {
            let kind = match state.volume.node(ino) {
                Some(Node::File(_)) => FileType::RegularFile,
                _ => FileType::Directory,
            };
            if reply.add(INodeNo(ino), index as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn fallocate(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let state = self.0.lock();
        let size = state.volume.file(ino.0).map(|file| file.live.size());
        drop(state);
        match (mode, size) {
            (_, None) => reply.error(Errno::ENOENT),
            // A reservation changes nothing that can be read.
            (KEEP_SIZE, _) => reply.ok(),
            (0, Some(size)) if size >= offset + length => reply.ok(),
            (0, _) => {
                self.change(ino.0, Change::Size(offset + length), false, |error| match error {
                    None => reply.ok(),
                    Some(error) => reply.error(error),
                });
            }
            _ => reply.error(Errno::EOPNOTSUPP),
        }
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        reply.statfs(BLOCKS, BLOCKS, BLOCKS, 1 << 20, 1 << 20, 4096, 255, 4096);
    }
}
