//! Blocking access to a completion-based disk, with reads ahead of need: recovery has nothing else
//! to do meanwhile.

use std::collections::VecDeque;

use crate::error::OpenError;
use crate::io::{Buffer, Disk, FileId, IoDone, IoError, IoErrorKind, IoId, IoRequest, IoResult};

/// A disk whose answers are waited for; reads may be started ahead of need.
pub(super) struct Blocking<'a> {
    disk: &'a mut dyn Disk,
    next: u64,
    /// Answers that came before they were waited for.
    early: Vec<(IoId, IoResult)>,
}

/// A read that has been started.
pub(super) struct Ahead {
    id: IoId,
    file: FileId,
    offset: u64,
    bytes: usize,
}

/// Times that a read is tried before what it asks for counts as unreadable: a failure may pass, and
/// what is unreadable may look as if it had never been written.
pub(crate) const READ_TRIES: u32 = 10;

/// Reads of [`Blocking::read_each`] in flight.
const READS_AHEAD: usize = 16;

impl<'a> Blocking<'a> {
    pub(super) fn new(disk: &'a mut dyn Disk) -> Blocking<'a> {
        // Far from the identifiers that the shard will use on the same disk.
        Blocking { disk, next: 1 << 62, early: Vec::new() }
    }

    #[expect(clippy::cast_possible_truncation, reason = "512 or 4096")]
    pub(super) fn block_bytes(&self) -> u32 {
        self.disk.block_bytes() as u32
    }

    fn start(&mut self, request: IoRequest) -> IoId {
        let id = IoId(self.next);
        self.next += 1;
        self.disk.start(id, request);
        self.disk.submit();
        id
    }

    fn finish(&mut self, id: IoId) -> IoResult {
        if let Some(at) = self.early.iter().position(|(early, _)| *early == id) {
            return self.early.swap_remove(at).1;
        }
        loop {
            match self.disk.finished() {
                Some((done, result)) if done == id => return result,
                Some(early) => self.early.push(early),
                None => self.disk.wait(None),
            }
        }
    }

    fn run(&mut self, request: IoRequest) -> IoResult {
        let started = self.start(request);
        self.finish(started)
    }

    /// Starts a read of whole blocks, to be taken by [`Blocking::take`]: always, or its answer
    /// would be met by the shard.
    pub(super) fn read_ahead(&mut self, file: FileId, offset: u64, bytes: usize) -> Ahead {
        let buffer = Buffer::new(bytes);
        let id = self.start(IoRequest::Read { file, offset, buffer, bytes });
        Ahead { id, file, offset, bytes }
    }

    /// Waits for a read, and repeats it while it fails, up to [`READ_TRIES`] times in all.
    pub(super) fn take(&mut self, mut ahead: Ahead) -> Result<Buffer, IoError> {
        let missing = IoError { kind: IoErrorKind::Failed, errno: 0 };
        let mut tries = 1;
        loop {
            let Ahead { id, file, offset, bytes } = ahead;
            let result = self.finish(id);
            match result.outcome.and(result.buffer.ok_or_else(|| missing.clone())) {
                Err(error) if error.kind == IoErrorKind::Failed && tries < READ_TRIES => {
                    tracing::warn!(?file, offset, %error, tries, "cannot read; trying again");
                    ahead = self.read_ahead(file, offset, bytes);
                    tries += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Reads places of a file, several at a time, and hands them to `each` in their order, until it
    /// fails.
    pub(super) fn read_each<E>(
        &mut self,
        file: FileId,
        places: impl IntoIterator<Item = (u64, usize)>,
        mut each: impl FnMut(u64, Result<&[u8], IoError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut places = places.into_iter();
        let mut under_way = VecDeque::new();
        let mut outcome = Ok(());
        loop {
            while under_way.len() < READS_AHEAD
                && outcome.is_ok()
                && let Some((offset, bytes)) = places.next()
            {
                under_way.push_back((offset, bytes, self.read_ahead(file, offset, bytes)));
            }
            let Some((offset, bytes, ahead)) = under_way.pop_front() else { return outcome };
            let read = self.take(ahead);
            if outcome.is_ok() {
                outcome = each(offset, read.as_ref().map(|b| &b[..bytes]).map_err(Clone::clone));
            }
        }
    }

    pub(super) fn list(&mut self) -> Result<Vec<(FileId, u64)>, OpenError> {
        match self.run(IoRequest::List).outcome {
            Ok(IoDone::Files(files)) => Ok(files),
            Ok(IoDone::Done | IoDone::Trained(_)) => Ok(Vec::new()),
            Err(source) => Err(OpenError::Io { operation: "list", file: None, source }),
        }
    }

    pub(super) fn allocate(&mut self, file: FileId, bytes: u64) -> Result<(), OpenError> {
        let outcome = self.run(IoRequest::Allocate { file, bytes }).outcome;
        outcome.map(|_| ()).map_err(|e| failed("create", file, e))
    }

    /// Reads whole blocks; a part that the disk cannot read stays zero and is reported.
    pub(super) fn read(
        &mut self,
        file: FileId,
        offset: u64,
        bytes: usize,
    ) -> Result<Buffer, IoError> {
        let ahead = self.read_ahead(file, offset, bytes);
        self.take(ahead)
    }

    /// Writes `content` at `offset`, durably. Its length is a multiple of the block.
    pub(super) fn write(
        &mut self,
        file: FileId,
        offset: u64,
        content: &[u8],
    ) -> Result<(), OpenError> {
        let mut buffer = Buffer::new(content.len());
        buffer[..content.len()].copy_from_slice(content);
        let bytes = content.len();
        let request = IoRequest::Write { file, offset, buffer, bytes, durable: true };
        self.run(request).outcome.map(|_| ()).map_err(|e| failed("write", file, e))
    }

    pub(super) fn remove(&mut self, file: FileId) -> Result<(), OpenError> {
        let outcome = self.run(IoRequest::Remove { file }).outcome;
        outcome.map(|_| ()).map_err(|e| failed("remove", file, e))
    }

    /// Brings what was written to `file` before this process began to stable storage: a process that
    /// died may have left writes in the device's cache, where reads find them and a power cut does
    /// not.
    pub(super) fn sync(&mut self, file: FileId) -> Result<(), OpenError> {
        if planted!(TrustCache) {
            return Ok(());
        }
        let outcome = self.run(IoRequest::Sync { file }).outcome;
        outcome.map(|_| ()).map_err(|e| failed("sync", file, e))
    }

    /// Reads `bytes` bytes, block by block if need be; what cannot be read is zero. Also returns how
    /// many blocks that are.
    pub(super) fn read_what_reads(
        &mut self,
        file: FileId,
        offset: u64,
        bytes: usize,
    ) -> (Vec<u8>, u32) {
        match self.read(file, offset, bytes) {
            Ok(read) => (read[..bytes].to_vec(), 0),
            Err(error) => {
                tracing::error!(?file, offset, %error, "cannot read; going on block by block");
                let mut piece = vec![0; bytes];
                let unreadable = self.read_blocks(file, offset, &mut piece);
                (piece, unreadable)
            }
        }
    }

    /// Reads a whole segment, in pieces, so that an unreadable sector costs one block only; what
    /// cannot be read is zero. Also returns how many blocks that are.
    pub(super) fn read_all(&mut self, file: FileId, bytes: u32) -> (Vec<u8>, u32) {
        const PIECE: usize = 1 << 20;
        let total = bytes as usize;
        let mut all = vec![0; total];
        let mut unreadable = 0;
        for (number, piece) in all.chunks_mut(PIECE).enumerate() {
            let (read, missing) = self.read_what_reads(file, (number * PIECE) as u64, piece.len());
            piece.copy_from_slice(&read);
            unreadable += missing;
        }
        (all, unreadable)
    }

    fn read_blocks(&mut self, file: FileId, offset: u64, piece: &mut [u8]) -> u32 {
        let block_bytes = self.disk.block_bytes();
        let mut unreadable = 0;
        for (block, bytes) in piece.chunks_mut(block_bytes).enumerate() {
            match self.read(file, offset + (block * block_bytes) as u64, bytes.len()) {
                Ok(read) => bytes.copy_from_slice(&read[..bytes.len()]),
                Err(_) => unreadable += 1,
            }
        }
        unreadable
    }
}

pub(super) fn failed(operation: &'static str, file: FileId, source: IoError) -> OpenError {
    OpenError::Io { operation, file: Some(file), source }
}
