//! What every driver does with a request before and after the device has it.
//!
//! Owns: checking requests, opening their files, the thread for slow operations, the mailbox.
//! Must never know: how transfers are carried out.
//! Invariant: every admitted request is handed out by the driver exactly once, also a refused one.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::files::{FilesThread, Job};
use super::mailbox::{Mailbox, Posted};
use super::store::Store;
use super::table::{FileTable, OpenFile, Register};
use super::work::{Direction, Transfer, Work, classify};
use crate::compress::Training;
use crate::io::{Buffer, FileId, IoDone, IoError, IoErrorKind, IoId, IoRequest, IoResult};

/// The part that the drivers have in common.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) store: Arc<Store>,
    pub(super) table: FileTable,
    pub(super) mailbox: Arc<Mailbox>,
    files: FilesThread,
    taken: VecDeque<Posted>,
}

impl Front {
    /// Over `store`, with at most `slots` open files.
    pub(super) fn new(store: Arc<Store>, slots: usize) -> io::Result<Front> {
        let mailbox = Arc::new(Mailbox::new()?);
        let files = FilesThread::start(Arc::clone(&store), Arc::clone(&mailbox))?;
        Ok(Front { store, table: FileTable::new(slots), mailbox, files, taken: VecDeque::new() })
    }

    /// Takes a request: what the device has to do for it, or `None` if its completion will come
    /// through the mailbox.
    ///
    /// # Panics
    /// When a transfer is empty, not aligned to blocks, or longer than its buffer: a defect of
    /// the caller which direct I/O would answer with an unspecific error.
    pub(super) fn admit(
        &mut self,
        id: IoId,
        request: IoRequest,
        register: Register<'_>,
    ) -> Option<Work> {
        match request {
            IoRequest::List => self.files.queue(id, Job::List),
            IoRequest::Allocate { file, bytes } => {
                assert!(bytes.is_multiple_of(4096), "file sizes are whole pages, not {bytes}");
                self.files.queue(id, Job::Allocate { file, bytes });
            }
            IoRequest::Remove { file } => self.files.queue(id, Job::Remove { file }),
            IoRequest::Train(training) => self.train(id, training),
            IoRequest::Read { file, offset, buffer, bytes } => {
                let span = (offset, buffer, bytes);
                return self.transfer(id, Direction::Read, file, span, register);
            }
            IoRequest::Write { file, offset, buffer, bytes, durable } => {
                let span = (offset, buffer, bytes);
                return self.transfer(id, Direction::Write { durable }, file, span, register);
            }
            IoRequest::Sync { file } => match self.open(file, register) {
                Ok(open) => return Some(Work::Sync { id, open, stalls: 0 }),
                Err(error) => self.refuse(id, None, error),
            },
        }
        None
    }

    /// Trains on a thread of its own, at a low priority; without one the answer is that nothing pays.
    fn train(&self, id: IoId, training: Box<Training>) {
        let mailbox = Arc::clone(&self.mailbox);
        let post = move |outcome| {
            let result = IoResult { buffer: None, outcome, micros: 0 };
            mailbox.post(Posted { id, result, stale: None });
        };
        let failed = post.clone();
        let thread = std::thread::Builder::new().name("ember-train".to_owned());
        let started = thread.spawn(move || {
            let _usual_priority = rustix::process::nice(10);
            post(Ok(IoDone::Trained(training.carry_out())));
        });
        if let Err(error) = started {
            failed(Err(classify(&error)));
        }
    }

    fn transfer(
        &mut self,
        id: IoId,
        direction: Direction,
        file: FileId,
        span: (u64, Buffer, usize),
        register: Register<'_>,
    ) -> Option<Work> {
        let (offset, bytes) = (span.0, span.2);
        let block_bytes = self.store.block_bytes();
        assert!(bytes > 0 && bytes <= span.1.len(), "{bytes} bytes do not fit the buffer");
        assert!(
            bytes.is_multiple_of(block_bytes) && offset.is_multiple_of(block_bytes as u64),
            "{bytes} bytes at {offset} of {file:?} are not whole blocks of {block_bytes}"
        );
        let refusal = match self.open(file, register) {
            Ok(open) => match offset.checked_add(bytes as u64) {
                Some(end) if end <= open.bytes => {
                    let transfer = Transfer::new(id, direction, open, span, block_bytes);
                    return Some(Work::Transfer(transfer));
                }
                _ => IoError { kind: IoErrorKind::PastEnd, errno: 0 },
            },
            Err(error) => error,
        };
        self.refuse(id, Some(span.1), refusal);
        None
    }

    fn open(&mut self, file: FileId, register: Register<'_>) -> Result<Arc<OpenFile>, IoError> {
        self.table.get(file, &self.store, register).map_err(|error| classify(&error))
    }

    /// Completes a request at once; through the mailbox, so that the owner is woken for it.
    fn refuse(&self, id: IoId, buffer: Option<Buffer>, error: IoError) {
        let result = IoResult { buffer, outcome: Err(error), micros: 0 };
        self.mailbox.post(Posted { id, result, stale: None });
    }

    /// Moves the mailbox's completions to `ready`.
    pub(super) fn collect(
        &mut self,
        ready: &mut VecDeque<(IoId, IoResult)>,
        register: Register<'_>,
    ) {
        self.mailbox.take(&mut self.taken);
        for Posted { id, result, stale } in self.taken.drain(..) {
            // Only from here on may the owner rely on the change, so no request that was started
            // in the meantime can leave a stale descriptor behind.
            if let Some(file) = stale {
                self.table.forget(file, register);
            }
            ready.push_back((id, result));
        }
    }
}
