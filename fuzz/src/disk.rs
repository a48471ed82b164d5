//! A disk in memory that does everything at once and forgets nothing.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use emberlog_engine::io::{Disk, FileId, IoDone, IoError, IoErrorKind, IoId, IoRequest, IoResult};

/// Files by name, and completions not yet fetched.
#[derive(Clone, Default)]
pub(crate) struct MemDisk {
    pub(crate) files: BTreeMap<FileId, Vec<u8>>,
}

/// A [`MemDisk`] at work.
pub(crate) struct Running {
    pub(crate) disk: MemDisk,
    done: VecDeque<(IoId, IoResult)>,
}

impl Running {
    pub(crate) fn new(disk: MemDisk) -> Running {
        Running { disk, done: VecDeque::new() }
    }

    fn span(&mut self, file: FileId, offset: u64, bytes: usize) -> Result<&mut [u8], IoError> {
        let missing = IoError { kind: IoErrorKind::NotFound, errno: 2 };
        let past = IoError { kind: IoErrorKind::PastEnd, errno: 0 };
        let content = self.disk.files.get_mut(&file).ok_or(missing)?;
        let start = usize::try_from(offset).map_err(|_| past.clone())?;
        content.get_mut(start..start + bytes).ok_or(past)
    }
}

impl Disk for Running {
    fn start(&mut self, id: IoId, request: IoRequest) {
        let (buffer, outcome) = match request {
            IoRequest::List => {
                let files = self.disk.files.iter().map(|(f, c)| (*f, c.len() as u64)).collect();
                (None, Ok(IoDone::Files(files)))
            }
            IoRequest::Allocate { file, bytes } => {
                let content = self.disk.files.entry(file).or_default();
                content.resize(usize::try_from(bytes).expect("small worlds"), 0);
                (None, Ok(IoDone::Done))
            }
            IoRequest::Read { file, offset, mut buffer, bytes } => {
                let read =
                    self.span(file, offset, bytes).map(|s| buffer[..bytes].copy_from_slice(s));
                (Some(buffer), read.map(|()| IoDone::Done))
            }
            IoRequest::Write { file, offset, buffer, bytes, .. } => {
                let wrote =
                    self.span(file, offset, bytes).map(|s| s.copy_from_slice(&buffer[..bytes]));
                (Some(buffer), wrote.map(|()| IoDone::Done))
            }
            IoRequest::Sync { .. } | IoRequest::Train(_) => (None, Ok(IoDone::Done)),
            IoRequest::Remove { file } => {
                self.disk.files.remove(&file);
                (None, Ok(IoDone::Done))
            }
        };
        self.done.push_back((id, IoResult { buffer, outcome, micros: 0 }));
    }

    fn submit(&mut self) {}

    fn finished(&mut self) -> Option<(IoId, IoResult)> {
        self.done.pop_front()
    }

    fn wait(&mut self, _timeout: Option<Duration>) {}

    fn block_bytes(&self) -> usize {
        512
    }
}
