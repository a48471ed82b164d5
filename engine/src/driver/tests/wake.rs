//! The descriptor that wakes an event loop, and moving a disk between threads.

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;

use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

use super::*;

/// An epoll set with the disk's descriptor, edge-triggered as mio and tokio do it.
struct Loop {
    epoll: std::os::fd::OwnedFd,
}

impl Loop {
    #[expect(unsafe_code, reason = "the disk's descriptor is borrowed across the trait object")]
    fn new(disk: &dyn SystemDisk) -> Loop {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        // SAFETY: the disk outlives this call, and the kernel drops a closed descriptor itself.
        let wake = unsafe { BorrowedFd::borrow_raw(disk.wake_fd()) };
        epoll::add(&epoll, wake, EventData::new_u64(1), EventFlags::IN | EventFlags::ET).unwrap();
        Loop { epoll }
    }

    /// Sleeps until woken. A lost wake-up is a panic after some seconds.
    fn sleep(&self) {
        let limit = Timespec { tv_sec: 5, tv_nsec: 0 };
        let mut events = Vec::with_capacity(8);
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&limit)) {
            Ok(0) => panic!("a wake-up was lost"),
            // Interrupted: an event loop goes round once more, too.
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// Until `count` completions have come, sleeping whenever there is none.
    fn drain(&self, disk: &mut dyn SystemDisk, count: usize) -> BTreeSet<IoId> {
        let mut seen = BTreeSet::new();
        while seen.len() < count {
            match disk.finished() {
                Some((id, _)) => assert!(seen.insert(id)),
                None => self.sleep(),
            }
        }
        seen
    }
}

#[test]
fn every_completion_wakes_an_edge_triggered_loop() {
    everywhere(|store| {
        store.allocate(segment(1), MIB).unwrap();
        let waker = Loop::new(&*store.disk);
        for round in 0..2000_u64 {
            let batch = 1 + round % 3;
            for i in 0..batch {
                let offset = (round * 7 + i) % 256 * 4096;
                match round % 4 {
                    0 => store.start(write(segment(1), offset, &[1; 4096], false)),
                    1 => store.start(read(segment(2), offset, 4096)),
                    _ => store.start(read(segment(1), offset, 4096)),
                };
            }
            store.disk.submit();
            let seen = waker.drain(&mut *store.disk, usize::try_from(batch).unwrap());
            assert_eq!(seen.last(), Some(&IoId(store.next)));
        }
    });
}

#[test]
fn slow_operations_and_refusals_wake_as_well() {
    everywhere(|store| {
        let waker = Loop::new(&*store.disk);
        for round in 0..50 {
            store.start(IoRequest::Allocate { file: segment(round % 3), bytes: 4096 });
            waker.drain(&mut *store.disk, 1);
            // Not submitted, as nothing of it is for the device.
            store.start(read(segment(7), 0, 4096));
            store.start(IoRequest::List);
            waker.drain(&mut *store.disk, 2);
            store.start(read(segment(round % 3), 0, 4096));
            store.start(IoRequest::Sync { file: segment(round % 3) });
            store.disk.submit();
            waker.drain(&mut *store.disk, 2);
            store.start(IoRequest::Remove { file: segment(round % 3) });
            waker.drain(&mut *store.disk, 1);
        }
    });
}

/// More than the ring takes, so that `finished` has to submit what was left over.
#[test]
fn requests_beyond_the_ring_are_submitted_by_draining() {
    everywhere(|store| {
        store.allocate(segment(1), MIB).unwrap();
        let waker = Loop::new(&*store.disk);
        for number in 0..12_000 {
            store.start(read(segment(1), number % 256 * 4096, 4096));
        }
        store.disk.submit();
        waker.drain(&mut *store.disk, 12_000);
    });
}

/// A store is recovered on one thread and served on another; the first one ends at once.
#[test]
fn a_disk_moves_between_threads_with_requests_in_flight() {
    everywhere(|store| {
        store.allocate(segment(1), 4 * MIB).unwrap();
        let other = TempDir::new().unwrap();
        let idle = open_store(other.path(), DriverChoice::Threads).unwrap();
        let mut disk = std::mem::replace(&mut store.disk, idle);
        let mut started = 0;
        for round in 0..20 {
            let mover = std::thread::Builder::new().spawn(move || {
                for _ in 0..300 {
                    started += 1;
                    let offset = started % 1000 * 4096;
                    disk.start(IoId(started), read(segment(1), offset, 4096));
                }
                started += 1;
                disk.start(IoId(started), IoRequest::Sync { file: segment(1) });
                started += 1;
                disk.start(IoId(started), IoRequest::List);
                disk.submit();
                (disk, started)
            });
            (disk, started) = mover.unwrap().join().unwrap();
            let waker = Loop::new(&*disk);
            let mut done = 0;
            while done < 302 {
                match disk.finished() {
                    Some((id, result)) => {
                        result.outcome.unwrap_or_else(|e| panic!("round {round}, {id:?}: {e}"));
                        done += 1;
                    }
                    None => waker.sleep(),
                }
            }
            // The watch of the mailbox was armed by a thread that is gone.
            disk.start(IoId(0), IoRequest::List);
            waker.drain(&mut *disk, 1);
        }
    });
}

#[test]
fn waiting_ends_in_time_and_never_without_a_reason() {
    everywhere(|store| {
        store.allocate(segment(1), MIB).unwrap();
        // Nothing is in flight: nothing to wait for.
        store.disk.wait(None);
        assert!(store.disk.finished().is_none());
        store.disk.wait(Some(Duration::ZERO));
        for _ in 0..200 {
            store.start(read(segment(1), 0, 4096));
            store.disk.wait(None);
            assert!(store.disk.finished().is_some(), "it waits until there is a completion");
        }
    });
}
