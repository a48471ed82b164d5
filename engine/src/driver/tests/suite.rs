//! What every driver must do with requests.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::driver::{files, store::Store};

#[test]
fn writes_are_read_back() {
    everywhere(|store| {
        store.allocate(segment(1), MIB).unwrap();
        let block = store.disk.block_bytes();
        for (number, durable) in [(0, false), (1, true), (7, true)] {
            let content = pattern(1, number, block);
            let offset = number * block as u64;
            store.write(segment(1), offset, &content, durable).outcome.unwrap();
            assert_eq!(store.read(segment(1), offset, block).unwrap()[..block], content[..]);
        }
        let large = pattern(1, 99, 512 << 10);
        store.write(segment(1), 4096, &large, true).outcome.unwrap();
        store.run(IoRequest::Sync { file: segment(1) }).outcome.unwrap();
        assert_eq!(store.read(segment(1), 4096, large.len()).unwrap()[..large.len()], large[..]);
        // What is after it is untouched.
        let after = store.read(segment(1), 4096 + (512 << 10), 4096).unwrap();
        assert!(after.iter().all(|&byte| byte == 0));
    });
}

#[test]
fn registered_buffers_transfer_like_others() {
    everywhere(|store| {
        store.allocate(FileId::Superblock, MIB).unwrap();
        let buffers = store.disk.registered_buffers();
        assert!(store.disk.registered_buffers().is_empty(), "they are handed out once");
        for (number, mut buffer) in buffers.into_iter().enumerate() {
            assert_eq!(buffer.registered(), Some(u16::try_from(number).unwrap()));
            let bytes = buffer.len();
            let content = pattern(0, number as u64, bytes);
            buffer.copy_from_slice(&content);
            let file = FileId::Superblock;
            let write = IoRequest::Write { file, offset: 0, buffer, bytes, durable: true };
            let result = store.run(write);
            result.outcome.unwrap();
            let mut buffer = result.buffer.unwrap();
            buffer.fill(0);
            let result = store.run(IoRequest::Read { file, offset: 0, buffer, bytes });
            result.outcome.unwrap();
            assert_eq!(result.buffer.unwrap()[..], content[..]);
        }
    });
}

#[test]
fn transfers_stay_inside_the_file() {
    everywhere(|store| {
        store.allocate(segment(3), 8192).unwrap();
        assert_eq!(store.read(segment(3), 8192, 4096).unwrap_err(), IoErrorKind::PastEnd);
        assert_eq!(store.read(segment(3), 4096, 8192).unwrap_err(), IoErrorKind::PastEnd);
        assert_eq!(
            store.read(segment(3), u64::MAX - 4095, 4096).unwrap_err(),
            IoErrorKind::PastEnd
        );
        for durable in [false, true] {
            let result = store.write(segment(3), 4096, &[1; 8192], durable);
            assert_eq!(result.outcome.unwrap_err().kind, IoErrorKind::PastEnd);
            assert!(result.buffer.is_some(), "the buffer comes back with a refusal");
        }
        assert_eq!(store.list(), [(segment(3), 8192)], "a refused write extends nothing");
        assert!(store.read(segment(3), 0, 8192).unwrap().iter().all(|&byte| byte == 0));
    });
}

#[test]
fn a_file_that_was_cut_by_somebody_is_past_its_end() {
    everywhere(|store| {
        store.allocate(segment(3), 8192).unwrap();
        store.read(segment(3), 4096, 4096).unwrap();
        let path = store.folder.path().join("segments/000003.seg");
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(4096).unwrap();
        assert_eq!(store.read(segment(3), 0, 8192).unwrap_err(), IoErrorKind::PastEnd);
    });
}

#[test]
fn unknown_files_are_not_found() {
    everywhere(|store| {
        assert_eq!(store.read(segment(9), 0, 4096).unwrap_err(), IoErrorKind::NotFound);
        let written = store.write(FileId::Superblock, 0, &[0; 4096], true);
        assert_eq!(written.outcome.unwrap_err().kind, IoErrorKind::NotFound);
        let synced = store.run(IoRequest::Sync { file: FileId::Checkpoint(1) });
        assert_eq!(synced.outcome.unwrap_err().kind, IoErrorKind::NotFound);
        store.run(IoRequest::Remove { file: segment(9) }).outcome.unwrap();
        assert_eq!(store.list(), []);
    });
}

#[test]
fn thousands_in_flight_complete_once_each() {
    const BLOCKS: u64 = 5000;
    everywhere(|store| {
        let block = store.disk.block_bytes();
        store.allocate(segment(1), BLOCKS * 4096).unwrap();
        let mut expected = std::collections::BTreeSet::new();
        for number in 0..BLOCKS {
            let content = pattern(1, number, block);
            expected.insert(store.start(write(segment(1), number * 4096, &content, false)));
        }
        store.disk.submit();
        while !expected.is_empty() {
            let (id, result) = store.next_result();
            result.outcome.unwrap();
            assert!(expected.remove(&id), "{id:?} completed twice or was never started");
        }
        let mut blocks = std::collections::BTreeMap::new();
        for number in 0..BLOCKS {
            blocks.insert(store.start(read(segment(1), number * 4096, block)), number);
        }
        store.disk.submit();
        while !blocks.is_empty() {
            let (id, result) = store.next_result();
            result.outcome.unwrap();
            let number = blocks.remove(&id).unwrap();
            assert_eq!(result.buffer.unwrap()[..block], pattern(1, number, block)[..], "{number}");
        }
        assert!(store.disk.finished().is_none());
    });
}

#[test]
fn allocation_sets_the_exact_size_and_keeps_the_content() {
    everywhere(|store| {
        let file = FileId::Checkpoint(0);
        store.allocate(file, 4096).unwrap();
        let content = pattern(0, 0, 4096);
        store.write(file, 0, &content, true).outcome.unwrap();
        for bytes in [3 * MIB + 4096, 3 * MIB + 4096, 8192, 4096] {
            store.allocate(file, bytes).unwrap();
            assert_eq!(store.list(), [(file, bytes)]);
            assert_eq!(store.read(file, 0, 4096).unwrap()[..], content[..]);
            if bytes > 4096 {
                let last = store.read(file, bytes - 4096, 4096).unwrap();
                assert!(last.iter().all(|&byte| byte == 0));
            }
            assert_eq!(store.read(file, bytes, 4096).unwrap_err(), IoErrorKind::PastEnd);
        }
        // Every byte is written: all of the space is taken, which a hole would not.
        store.allocate(file, 2 * MIB).unwrap();
        let path = store.folder.path().join("checkpoint-0");
        let blocks = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(path).unwrap());
        assert!(blocks * 512 >= 2 * MIB, "{blocks} sectors");
    });
}

#[test]
fn files_come_and_go_under_the_same_name() {
    everywhere(|store| {
        for round in 0..20 {
            let bytes = 4096 * (1 + round % 3);
            store.allocate(segment(5), bytes).unwrap();
            let fresh = store.read(segment(5), 0, 4096).unwrap();
            assert!(fresh.iter().all(|&byte| byte == 0), "round {round} sees an older file");
            let content = pattern(5, round, 4096);
            store.write(segment(5), bytes - 4096, &content, true).outcome.unwrap();
            assert_eq!(store.read(segment(5), bytes, 4096).unwrap_err(), IoErrorKind::PastEnd);
            assert_eq!(store.list(), [(segment(5), bytes)]);
            store.run(IoRequest::Remove { file: segment(5) }).outcome.unwrap();
            assert_eq!(store.read(segment(5), 0, 4096).unwrap_err(), IoErrorKind::NotFound);
            assert_eq!(store.list(), []);
        }
        let ours = |path: &std::path::PathBuf| path.to_string_lossy().contains("000005");
        let open: Vec<_> = open_paths().into_iter().filter(ours).collect();
        let here: Vec<_> =
            open.iter().filter(|path| path.starts_with(store.folder.path())).collect();
        assert_eq!(here, Vec::<&std::path::PathBuf>::new(), "a removed file is kept open");
    });
}

/// What this process has open; a removed file is listed as `PATH (deleted)`.
fn open_paths() -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()).collect()
}

#[test]
fn more_files_than_descriptors_can_be_used() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut table = crate::driver::table::FileTable::new(4);
    let stop = AtomicBool::new(false);
    for number in 0..12 {
        files::allocate(&store, segment(number), 4096 * u64::from(number + 1), &stop).unwrap();
    }
    let mut slots = [-1; 4];
    let mut held = Vec::new();
    for number in (0..12).chain([3, 11, 0]).chain(0..12) {
        let mut register = |slot: u32, fd| {
            slots[slot as usize] = fd;
            true
        };
        let open = table.get(segment(number), &store, &mut register).unwrap();
        assert_eq!(open.bytes, 4096 * u64::from(number + 1), "the table mixes files up");
        let fd = std::os::fd::AsRawFd::as_raw_fd(&open.file);
        if let Some(slot) = open.registered {
            assert_eq!(slots[slot as usize], fd, "the slot has another file");
        }
        // Held ones must keep their slot; more are held than there are slots.
        if number % 2 == 0 && held.len() < 6 {
            held.push((open, fd));
        }
        for (open, fd) in &held {
            if let Some(slot) = open.registered {
                assert_eq!(slots[slot as usize], *fd, "a slot in use was given away");
            }
        }
    }
    assert!(held.iter().any(|(open, _)| open.registered.is_none()), "the limit is kept");
    // Forgotten files in use keep their slots until they are no longer used.
    let mut cleared = 0;
    for number in 0..12 {
        table.forget(segment(number), &mut |_, _| panic!("a file in use was closed"));
        if !table.has_retired() {
            held.clear();
        }
    }
    held.clear();
    table.sweep(&mut |_, fd| {
        cleared += i32::from(fd == -1);
        true
    });
    assert!(cleared > 0 && !table.has_retired());
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    everywhere(|store| {
        store.allocate(segment(1), 4096).unwrap();
        let content = pattern(1, 0, 4096);
        store.write(segment(1), 0, &content, true).outcome.unwrap();
        // More than there is, with room for what others may free in this moment.
        let bytes = (store.disk.free_bytes().unwrap() * 2 + (1 << 30)).next_multiple_of(4096);
        for file in [segment(1), segment(2)] {
            let refused = store.allocate(file, bytes).unwrap_err();
            assert_eq!((refused.kind, refused.errno), (IoErrorKind::NoSpace, libc::ENOSPC));
        }
        assert_eq!(store.list(), [(segment(1), 4096)]);
        assert_eq!(store.read(segment(1), 0, 4096).unwrap()[..], content[..]);
        let names = std::fs::read_dir(store.folder.path().join("segments")).unwrap();
        assert_eq!(names.count(), 1, "no temporary file stays");
    });
}

#[test]
fn an_interrupted_allocation_leaves_nothing_behind() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(folder.path()).unwrap();
    files::allocate(&store, segment(1), 8192, &AtomicBool::new(false)).unwrap();
    let stop = AtomicBool::new(true);
    for number in [1, 2] {
        files::allocate(&store, segment(number), 4 * MIB, &stop).unwrap_err();
    }
    assert_eq!(store.list().unwrap(), [(segment(1), 8192)]);
    let names = std::fs::read_dir(folder.path().join("segments")).unwrap();
    assert_eq!(names.count(), 1, "no temporary file stays");
    let sectors =
        std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(store.path(segment(1))).unwrap());
    assert!(sectors * 512 < MIB, "the reserved space is given back, not {sectors} sectors kept");
}

#[test]
fn dropped_with_requests_in_flight() {
    everywhere(|store| {
        store.allocate(segment(1), 16 * MIB).unwrap();
        for number in 0..3000 {
            store.start(read(segment(1), number * 4096, 4096));
            store.start(write(segment(1), number * 4096, &[7; 4096], number % 10 == 0));
        }
        store.start(IoRequest::Sync { file: segment(1) });
        store.start(IoRequest::Allocate { file: segment(2), bytes: 512 * MIB });
        store.disk.submit();
        store.start(read(segment(1), 0, 4096));
        // The folder is free again as soon as the disk is gone.
        let other = TempDir::new().unwrap();
        let idle = open_store(other.path(), DriverChoice::Threads).unwrap();
        drop(std::mem::replace(&mut store.disk, idle));
        store.disk = open_store(store.folder.path(), DriverChoice::Auto).unwrap();
        store.read(segment(1), 0, 4096).unwrap();
        let files = store.list();
        assert!(
            files == [(segment(1), 16 * MIB)]
                || files == [(segment(1), 16 * MIB), (segment(2), 512 * MIB)],
            "{files:?}"
        );
    });
}

#[test]
#[should_panic(expected = "not whole blocks")]
fn unaligned_transfers_are_a_defect_of_the_caller() {
    let folder = TempDir::new().unwrap();
    let mut disk = open_store(folder.path(), DriverChoice::Threads).unwrap();
    disk.start(IoId(1), read(segment(1), 100, 4096));
}
