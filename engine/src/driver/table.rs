//! The cache of open files, and their places in the ring's table of registered files.
//!
//! Owns: the descriptors of the store's files, within a limit.
//! Must never know: offsets, buffers, completions.
//! Invariant: a descriptor is closed, and its slot given to another file, only when no request
//! that uses it is in flight (requests hold the [`OpenFile`] by reference count).

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use super::store::Store;
use crate::io::FileId;

/// A file of the store, open.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: File,
    /// Its size when it was opened; only `Allocate` changes it, and makes the entry stale.
    pub(super) bytes: u64,
    /// Its place in the ring's table of registered files.
    pub(super) registered: Option<u32>,
}

/// Puts a descriptor (or -1: none) in a slot of the ring's table; says whether that worked.
pub(super) type Register<'a> = &'a mut dyn FnMut(u32, RawFd) -> bool;

#[derive(Debug)]
struct Entry {
    file: FileId,
    open: Arc<OpenFile>,
    /// Second chance of the clock that evicts.
    used: bool,
}

/// Open files by name.
#[derive(Debug)]
pub(super) struct FileTable {
    slots: Vec<Option<Entry>>,
    by_file: HashMap<FileId, usize>,
    free: Vec<usize>,
    /// Forgotten, but still in use by requests in flight.
    retired: Vec<(usize, Arc<OpenFile>)>,
    hand: usize,
}

impl FileTable {
    /// A table of at most `slots` open files.
    pub(super) fn new(slots: usize) -> FileTable {
        FileTable {
            slots: (0..slots).map(|_| None).collect(),
            by_file: HashMap::with_capacity(slots),
            free: (0..slots).rev().collect(),
            retired: Vec::new(),
            hand: 0,
        }
    }

    /// A quarter of the descriptors that this process may have, as the rest is for sockets.
    pub(super) fn slots_for_this_process() -> usize {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let quarter = limit.map_or(usize::MAX, |n| usize::try_from(n / 4).unwrap_or(usize::MAX));
        quarter.clamp(16, 4096)
    }

    /// The open file, opening it if need be.
    ///
    /// # Errors
    /// Those of open: `NotFound`, most likely.
    pub(super) fn get(
        &mut self,
        file: FileId,
        store: &Store,
        register: Register<'_>,
    ) -> io::Result<Arc<OpenFile>> {
        if let Some(&slot) = self.by_file.get(&file)
            && let Some(entry) = &mut self.slots[slot]
        {
            entry.used = true;
            return Ok(Arc::clone(&entry.open));
        }
        let opened = store.open_file(file)?;
        let bytes = opened.metadata()?.len();
        self.sweep(register);
        let Some(slot) = self.vacant(register) else {
            // Every open file is in use this very moment: this one is open for one request.
            return Ok(Arc::new(OpenFile { file: opened, bytes, registered: None }));
        };
        let index = u32::try_from(slot).ok();
        let registered = index.filter(|&index| register(index, opened.as_raw_fd()));
        let open = Arc::new(OpenFile { file: opened, bytes, registered });
        self.slots[slot] = Some(Entry { file, open: Arc::clone(&open), used: true });
        self.by_file.insert(file, slot);
        Ok(open)
    }

    /// Forgets `file`, whose name now means another file, or whose size has changed.
    pub(super) fn forget(&mut self, file: FileId, register: Register<'_>) {
        if let Some(slot) = self.by_file.remove(&file)
            && let Some(entry) = self.slots[slot].take()
        {
            self.retired.push((slot, entry.open));
        }
        self.sweep(register);
    }

    /// Closes forgotten files that are no longer in use, so that their space is freed.
    pub(super) fn sweep(&mut self, register: Register<'_>) {
        let free = &mut self.free;
        self.retired.retain(|(slot, open)| {
            let in_use = Arc::strong_count(open) > 1;
            if !in_use {
                clear(open, register);
                free.push(*slot);
            }
            in_use
        });
    }

    /// Whether [`FileTable::sweep`] has something to wait for.
    pub(super) fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    /// A slot without a file: a free one, or that of the next idle file under the clock's hand.
    fn vacant(&mut self, register: Register<'_>) -> Option<usize> {
        if let Some(slot) = self.free.pop() {
            return Some(slot);
        }
        // Two rounds: the first may only take away second chances.
        for _ in 0..2 * self.slots.len() {
            let slot = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            match &mut self.slots[slot] {
                Some(entry) if Arc::strong_count(&entry.open) > 1 => {}
                Some(entry) if entry.used => entry.used = false,
                Some(entry) => {
                    self.by_file.remove(&entry.file);
                    clear(&entry.open, register);
                    self.slots[slot] = None;
                    return Some(slot);
                }
                // Its file is retired and still in use.
                None => {}
            }
        }
        None
    }
}

/// Takes the file out of the ring's table, which otherwise would keep it open.
fn clear(open: &OpenFile, register: Register<'_>) {
    if let Some(index) = open.registered {
        register(index, -1);
    }
}
