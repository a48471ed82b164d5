//! One suite for both drivers, on every kind of file system that is at hand.
//!
//! Owns: the harness. The cases are in the submodules.

mod folder;
mod suite;
mod transfer;
mod wake;

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::{DriverChoice, OpenError, SystemDisk, open_store};
use crate::io::{Buffer, FileId, IoDone, IoError, IoErrorKind, IoId, IoRequest, IoResult};
use crate::units::SegmentId;

const MIB: u64 = 1 << 20;

/// A store in a folder that goes away with it.
struct Harness {
    disk: Box<dyn SystemDisk>,
    folder: TempDir,
    next: u64,
}

/// Runs `case` with both drivers in the folder for temporary files, and in `/dev/shm` (where
/// there may be no direct I/O) if there is one.
fn everywhere(case: fn(&mut Harness)) {
    let shm = Path::new("/dev/shm");
    let places = [Some(std::env::temp_dir()), shm.is_dir().then(|| shm.to_path_buf())];
    for place in places.into_iter().flatten() {
        for choice in [DriverChoice::Uring, DriverChoice::Threads] {
            let folder = TempDir::new_in(&place).unwrap();
            match open_store(folder.path(), choice) {
                Ok(disk) => case(&mut Harness { disk, folder, next: 0 }),
                // As in many containers; the threads driver is what runs there.
                Err(OpenError::NoUring { source, .. }) if choice == DriverChoice::Uring => {
                    eprintln!("io_uring is not available here ({source}): only threads are tested");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

impl Harness {
    fn start(&mut self, request: IoRequest) -> IoId {
        self.next += 1;
        self.disk.start(IoId(self.next), request);
        IoId(self.next)
    }

    /// The next completion. One that does not come is a failure, not a hang.
    fn next_result(&mut self) -> (IoId, IoResult) {
        if let Some(done) = self.disk.finished() {
            return done;
        }
        self.disk.wait(Some(Duration::from_secs(20)));
        self.disk.finished().expect("a completion is lost")
    }

    /// Carries out one request, alone.
    fn run(&mut self, request: IoRequest) -> IoResult {
        let id = self.start(request);
        self.disk.submit();
        let (done, result) = self.next_result();
        assert_eq!(done, id);
        result
    }

    fn allocate(&mut self, file: FileId, bytes: u64) -> Result<IoDone, IoError> {
        self.run(IoRequest::Allocate { file, bytes }).outcome
    }

    fn write(&mut self, file: FileId, offset: u64, content: &[u8], durable: bool) -> IoResult {
        self.run(write(file, offset, content, durable))
    }

    fn read(&mut self, file: FileId, offset: u64, bytes: usize) -> Result<Buffer, IoErrorKind> {
        let result = self.run(read(file, offset, bytes));
        let buffer = result.buffer.expect("a read brings its buffer back");
        result.outcome.map(|_| buffer).map_err(|error| error.kind)
    }

    fn list(&mut self) -> Vec<(FileId, u64)> {
        match self.run(IoRequest::List).outcome.unwrap() {
            IoDone::Files(files) => files,
            _ => panic!("a list answers with files"),
        }
    }
}

fn segment(number: u32) -> FileId {
    FileId::Segment(SegmentId(number))
}

fn write(file: FileId, offset: u64, content: &[u8], durable: bool) -> IoRequest {
    let mut buffer = Buffer::new(content.len());
    buffer[..content.len()].copy_from_slice(content);
    IoRequest::Write { file, offset, buffer, bytes: content.len(), durable }
}

fn read(file: FileId, offset: u64, bytes: usize) -> IoRequest {
    IoRequest::Read { file, offset, buffer: Buffer::new(bytes), bytes }
}

/// Bytes that tell which block of which file they belong to.
fn pattern(file: u32, block: u64, bytes: usize) -> Vec<u8> {
    let seed = (u64::from(file) << 32 | block).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..bytes as u64).map(|i| seed.wrapping_add(i * 0x0101_0107).to_le_bytes()[3]).collect()
}
