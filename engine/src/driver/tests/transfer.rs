//! Short, interrupted and failed attempts, which real disks make too rarely to wait for.

use std::sync::Arc;

use super::*;
use crate::driver::table::OpenFile;
use crate::driver::work::{Direction, Step, Transfer, Work};

const BYTES: usize = 8192;

/// A transfer of 8192 bytes at 4096, in blocks of 512 bytes.
fn transfer(direction: Direction) -> Work {
    let file = tempfile::tempfile().unwrap();
    let open = Arc::new(OpenFile { file, bytes: 1 << 20, registered: None });
    let span = (4096, Buffer::new(BYTES), BYTES);
    Work::Transfer(Transfer::new(IoId(7), direction, open, span, 512))
}

fn errno(number: i32) -> std::io::Result<usize> {
    Err(std::io::Error::from_raw_os_error(number))
}

/// What is left after an attempt: offset in the file and bytes.
fn again(work: Work, outcome: std::io::Result<usize>) -> (Work, u64, usize) {
    match work.after(outcome) {
        Step::Again(Work::Transfer(mut rest)) => {
            let (offset, bytes) = (rest.rest_offset(), rest.rest().len());
            (Work::Transfer(rest), offset, bytes)
        }
        step => panic!("{step:?}"),
    }
}

fn finished(work: Work, outcome: std::io::Result<usize>) -> Result<IoDone, IoError> {
    match work.after(outcome) {
        Step::Finished(IoId(7), result) => result.outcome,
        step => panic!("{step:?}"),
    }
}

#[test]
fn a_short_transfer_goes_on_at_a_block() {
    for direction in [Direction::Read, Direction::Write { durable: true }] {
        let (work, offset, bytes) = again(transfer(direction), Ok(1024));
        assert_eq!((offset, bytes), (4096 + 1024, BYTES - 1024));
        // 100 bytes into a block: the block is moved again, as direct I/O starts at blocks only.
        let (work, offset, bytes) = again(work, Ok(512 + 100));
        assert_eq!((offset, bytes), (4096 + 1536, BYTES - 1536));
        let (work, offset, bytes) = again(work, Ok(100));
        assert_eq!((offset, bytes), (4096 + 1536, BYTES - 1536));
        assert!(finished(work, Ok(BYTES - 1536)).is_ok());
    }
}

#[test]
fn interruptions_are_repeated_and_failures_are_not() {
    for direction in [Direction::Read, Direction::Write { durable: false }] {
        let mut work = transfer(direction);
        for number in [libc::EINTR, libc::EAGAIN, libc::ECANCELED] {
            let (rest, offset, bytes) = again(work, errno(number));
            assert_eq!((offset, bytes), (4096, BYTES));
            work = rest;
        }
        let error = finished(work, errno(libc::EIO)).unwrap_err();
        assert_eq!((error.kind, error.errno), (IoErrorKind::Failed, libc::EIO));
        let full = finished(transfer(direction), errno(libc::EDQUOT)).unwrap_err();
        assert_eq!(full.kind, IoErrorKind::NoSpace);
    }
}

#[test]
fn a_failed_sync_is_reported_at_once() {
    let file = tempfile::tempfile().unwrap();
    let open = Arc::new(OpenFile { file, bytes: 0, registered: None });
    let sync = Work::Sync { id: IoId(7), open, stalls: 0 };
    assert_eq!(finished(sync, errno(libc::EIO)).unwrap_err().errno, libc::EIO);
}

#[test]
fn nothing_is_repeated_for_ever() {
    for outcome in [|| errno(libc::EAGAIN), || Ok(0), || Ok(511)] {
        let mut work = transfer(Direction::Write { durable: true });
        let mut attempts = 0;
        let outcome = loop {
            match work.after(outcome()) {
                Step::Again(rest) => work = rest,
                Step::Finished(_, result) => break result.outcome,
            }
            attempts += 1;
            assert!(attempts < 1_000_000, "it never gives up");
        };
        assert_eq!(outcome.unwrap_err().kind, IoErrorKind::Failed);
    }
    let end = finished(transfer(Direction::Read), Ok(0)).unwrap_err();
    assert_eq!(end.kind, IoErrorKind::PastEnd);
}
