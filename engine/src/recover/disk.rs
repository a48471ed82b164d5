//! Blocking access to a completion-based disk: recovery has nothing else to do meanwhile.

use crate::error::OpenError;
use crate::io::{Buffer, Disk, FileId, IoDone, IoError, IoErrorKind, IoId, IoRequest, IoResult};

/// A disk used one request at a time.
pub(super) struct Blocking<'a> {
    disk: &'a mut dyn Disk,
    next: u64,
}

impl<'a> Blocking<'a> {
    pub(super) fn new(disk: &'a mut dyn Disk) -> Blocking<'a> {
        // Far from the identifiers that the shard will use on the same disk.
        Blocking { disk, next: 1 << 62 }
    }

    #[expect(clippy::cast_possible_truncation, reason = "512 or 4096")]
    pub(super) fn block_bytes(&self) -> u32 {
        self.disk.block_bytes() as u32
    }

    fn run(&mut self, request: IoRequest) -> IoResult {
        let id = IoId(self.next);
        self.next += 1;
        self.disk.start(id, request);
        self.disk.submit();
        loop {
            if let Some((done, result)) = self.disk.finished() {
                assert_eq!(done, id, "recovery has one request in flight");
                return result;
            }
            self.disk.wait(None);
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
        let buffer = Buffer::new(bytes);
        let result = self.run(IoRequest::Read { file, offset, buffer, bytes });
        let missing = IoError { kind: IoErrorKind::Failed, errno: 0 };
        result.outcome.and(result.buffer.ok_or(missing))
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

    /// Reads a whole segment, in pieces, so that an unreadable sector costs one piece only; what
    /// cannot be read is zero.
    pub(super) fn read_all(&mut self, file: FileId, bytes: u32) -> Vec<u8> {
        const PIECE: usize = 1 << 20;
        let total = bytes as usize;
        let mut all = vec![0; total];
        let mut at = 0;
        while at < total {
            let length = PIECE.min(total - at);
            match self.read(file, at as u64, length) {
                Ok(piece) => all[at..at + length].copy_from_slice(&piece[..length]),
                Err(error) => {
                    tracing::error!(?file, offset = at, %error, "cannot read; scanning on");
                    self.read_blocks(file, at, &mut all[at..at + length]);
                }
            }
            at += length;
        }
        all
    }

    fn read_blocks(&mut self, file: FileId, offset: usize, piece: &mut [u8]) {
        const BLOCK: usize = 4096;
        for (block, bytes) in piece.chunks_mut(BLOCK).enumerate() {
            if let Ok(read) = self.read(file, (offset + block * BLOCK) as u64, bytes.len()) {
                bytes.copy_from_slice(&read[..bytes.len()]);
            }
        }
    }
}

pub(super) fn failed(operation: &'static str, file: FileId, source: IoError) -> OpenError {
    OpenError::Io { operation, file: Some(file), source }
}
