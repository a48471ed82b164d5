//! The checkpoint job: the index, copied in slices while serving, published by the superblock.
//!
//! The copy is fuzzy: pages are taken at different times. That is enough, because recovery replays
//! every batch after `start_seq` in order on top of it, and everything the copy shows is made
//! durable before the superblock names it.

use super::Shard;
use super::drive::Pending;
use crate::checkpoint::{FILES, Packer};
use crate::format::checkpoint::{LabelRow, PAGE_BYTES};
use crate::format::label::EXTENSION_BYTES_MAX;
use crate::format::superblock::{CheckpointRef, Superblock};
use crate::io::{FileId, IoRequest, IoResult};
use crate::labels::Labelled;
use crate::units::{BatchSeq, Lsn, Namespace, UnixMillis};

/// Bytes handed to the disk at a time; also what one slice packs, so that none takes long.
const SLICE_BYTES: usize = 192 << 10;
/// Labels packed between two looks at how full the slice is.
const LABELS_AT_ONCE: usize = 64;
/// Bits of a checkpoint's number below the time, drawn by lot. Times are below 2^48, numbers up to 2^62.
const LOT_BITS: u32 = 12;
/// Pause after a checkpoint that failed.
const RETRY_MS: u64 = 10_000;

/// What a request of the job was for.
pub(super) enum Step {
    Allocate,
    Pages,
    Sync,
    Publish(Box<Superblock>),
    /// Not a checkpoint: how far the log is durable.
    Mark(Box<Superblock>),
}

/// Where the walk over the index is.
#[derive(Clone, Copy)]
struct Walk {
    space: usize,
    /// Labels before this one are done. They come first: a label whose entry then has expired is
    /// dropped at recovery, while an entry without its label could not be told from any other.
    labels: usize,
    /// 0: the side table; then pages, from 1; then the side table once more, for what has moved
    /// there meanwhile.
    stop: usize,
    done: bool,
}

/// A checkpoint being taken.
struct Taking {
    reference: CheckpointRef,
    packer: Packer,
    walk: Walk,
    /// Where the next pages go in the file.
    offset: u64,
    /// Everything that the copy may show.
    covers: Lsn,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A request is in flight.
    Waiting,
    /// Pages are to be packed and written.
    Packing,
    /// All pages are written and synced; the log has to catch up.
    Settling,
}

/// The checkpoint job.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about the job")]
#[derive(Default)]
pub(super) struct Job {
    taking: Option<Box<Taking>>,
    /// User and survivor bytes at the start of the last checkpoint.
    bytes_at_last: u64,
    lsn_at_last: Lsn,
    /// Number of the last attempt.
    tried: u64,
    began_at: UnixMillis,
    /// Log that recovery had to replay, until the first checkpoint.
    replayed_bytes: u64,
    wanted: bool,
    /// A superblock that is no checkpoint's is on its way.
    pub(super) marking: bool,
    /// Batches that were on stable storage when a superblock was last written, and when.
    pub(super) told: (u64, UnixMillis),
    pub(super) retry_at: UnixMillis,
    /// Sizes of the files.
    pub(super) file_bytes: [u64; FILES as usize],
    /// The final superblock is on its way, or there.
    closing: bool,
    pub(super) closed: bool,
}

impl Job {
    /// A job for a store whose recovery had to replay `replayed_bytes` of log: they count towards
    /// the next checkpoint.
    pub(super) fn new(file_bytes: [u64; FILES as usize], replayed_bytes: u64) -> Job {
        Job { replayed_bytes, file_bytes, ..Job::default() }
    }

    pub(super) fn is_active(&self) -> bool {
        self.taking.is_some()
    }

    /// Asks for a checkpoint, unless the last one began less than `pause_ms` ago.
    pub(super) fn want_after(&mut self, pause_ms: u64, now: UnixMillis) {
        self.wanted |= now.since(self.began_at) >= pause_ms && !self.is_active();
    }

    /// Asks for a checkpoint as soon as possible.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }
}

impl Shard {
    /// Starts to close: everything is flushed and a checkpoint taken. Drive on until
    /// [`Shard::closed`].
    pub fn close(&mut self, now: UnixMillis) {
        self.advance(now);
        self.closing = true;
        self.journal_touches();
        self.flush_wanted = true;
        self.maintain();
    }

    /// Whether [`Shard::close`] has finished, or never can because a write failed.
    pub fn closed(&self) -> bool {
        (self.checkpointing.closed || self.poisoned) && self.in_flight.len() == 0
    }

    fn logged_bytes(&self) -> u64 {
        self.log.user_bytes + self.counters.compaction_bytes_written
    }

    /// Starts or continues a checkpoint.
    pub(super) fn checkpoint(&mut self) {
        if self.poisoned || self.checkpointing.marking {
            return;
        }
        if self.checkpointing.taking.is_some() {
            self.continue_checkpoint();
            return;
        }
        let job = &self.checkpointing;
        let grown = self.logged_bytes() - job.bytes_at_last + job.replayed_bytes;
        let due = grown >= self.checkpoint_interval() || grown > 0 && buggify!(CheckpointEarly);
        let changed = self.log.appended_lsn() > job.lsn_at_last || job.replayed_bytes > 0;
        let paused = self.now < job.retry_at;
        if self.closing {
            self.checkpoint_to_close(changed);
        } else if (due || job.wanted) && !paused {
            self.begin_checkpoint();
        }
    }

    /// Bytes of log between two checkpoints. Eight times the index keeps the extra writes below an
    /// eighth; an eighth of the disk keeps what compaction must carry on small.
    fn checkpoint_interval(&self) -> u64 {
        #[cfg(feature = "sim")]
        if self.config.sim.eager_checkpoints {
            return self.config.checkpoint_bytes;
        }
        let disk = self.config.disk_bytes_max / 8;
        self.config.checkpoint_bytes.min(disk).max(8 * self.index_bytes() as u64)
    }

    fn checkpoint_to_close(&mut self, changed: bool) {
        let job = &self.checkpointing;
        if self.compaction.is_active() || job.closing || job.closed {
            return;
        }
        if changed {
            self.begin_checkpoint();
            return;
        }
        if self.log.durable_lsn() == self.log.appended_lsn() {
            self.checkpointing.closing = true;
            let root = Superblock { clean: true, ..self.next_root() };
            self.publish(root);
        }
    }

    /// A number for the file that holds neither of the two checkpoints, which no attempt had before:
    /// should a page not be written though that was reported, the file may still hold the page of an
    /// attempt that failed, by this process or by one that died. That one knew the same checkpoints,
    /// and by a clock that is set back it may have been the same millisecond, but it drew another lot.
    fn next_checkpoint_number(&self) -> u64 {
        let next = self.root.newest.number + 1;
        let time = self.now.0.max((next >> LOT_BITS) + 1);
        let lot = u64::from(self.config.lot) % (1 << LOT_BITS);
        let unused = (time << LOT_BITS | lot).max(self.checkpointing.tried + 1);
        unused + (next + FILES - unused % FILES) % FILES
    }

    fn begin_checkpoint(&mut self) {
        let number = self.next_checkpoint_number();
        self.checkpointing.tried = number;
        let file = FileId::Checkpoint((number % FILES) as u8);
        let start_seq =
            BatchSeq(self.log.unapplied_seq().0 - u64::from(!planted!(CheckpointTooFar)));
        let reference = CheckpointRef { number, start_seq, pages: 0, wall: self.now };
        let job = &mut self.checkpointing;
        job.wanted = false;
        job.began_at = self.now;
        job.lsn_at_last = self.log.appended_lsn();
        job.bytes_at_last = self.log.user_bytes + self.counters.compaction_bytes_written;
        let entries: u64 = self.spaces.iter().map(crate::space::Space::entries).sum();
        let labels: u64 = self.spaces.iter().map(|space| space.labels.row_bytes() as u64).sum();
        let rows = (entries * 16 + labels) / (PAGE_BYTES as u64 - 64);
        // An eighth and some pages more: the index may grow meanwhile, and rows may come twice.
        let used = self.spaces.iter().filter(|space| space.entries() > 0).count() as u64;
        let pages = rows + rows / 8 + 2 * used + 8;
        let bytes = pages * PAGE_BYTES as u64;
        let enough = job.file_bytes[(number % FILES) as usize] >= bytes;
        job.taking = Some(Box::new(Taking {
            reference,
            packer: Packer::new(number),
            walk: Walk { space: 0, labels: 0, stop: 0, done: false },
            offset: 0,
            covers: Lsn::NONE,
            phase: if enough { Phase::Packing } else { Phase::Waiting },
        }));
        if enough {
            self.continue_checkpoint();
        } else {
            job.file_bytes[(number % FILES) as usize] = bytes;
            let request = IoRequest::Allocate { file, bytes };
            self.start(Pending::Checkpoint(Step::Allocate), request);
        }
    }

    fn continue_checkpoint(&mut self) {
        let Some(mut taking) = self.checkpointing.taking.take() else { return };
        match taking.phase {
            Phase::Waiting => {}
            Phase::Packing => {
                self.pack_slice(&mut taking);
                if !self.write_pages(&mut taking) {
                    return;
                }
            }
            Phase::Settling => {
                let durable = self.log.durable_lsn() >= taking.covers
                    && self.log.segments.are_sealed_up_to(taking.reference.start_seq);
                if durable || planted!(EarlyCheckpoint) {
                    taking.phase = Phase::Waiting;
                    let root = Superblock {
                        newest: taking.reference,
                        older: self.root.newest,
                        ..self.next_root()
                    };
                    self.publish(root);
                } else {
                    self.flush_wanted = true;
                }
            }
        }
        self.checkpointing.taking = Some(taking);
    }

    /// Packs index pages until a slice is full or the walk is over.
    fn pack_slice(&mut self, taking: &mut Taking) {
        while taking.packer.ready_bytes() < SLICE_BYTES && !taking.walk.done {
            let Some(space) = self.spaces.get(taking.walk.space) else {
                taking.packer.seal();
                taking.walk.done = true;
                taking.covers = self.log.appended_lsn();
                return;
            };
            let namespace = Namespace::of_slot(taking.walk.space);
            let packer = &mut taking.packer;
            if taking.walk.labels < space.labels.rows() {
                let end = (taking.walk.labels + LABELS_AT_ONCE).min(space.labels.rows());
                for at in taking.walk.labels..end {
                    if let Some(labelled) = space.labels.row(at) {
                        pack_label(packer, namespace, &labelled);
                    }
                }
                taking.walk.labels = end;
                continue;
            }
            let pages = space.index.pages();
            // A clear may have left fewer pages than were there before.
            if taking.walk.stop == 0 || taking.walk.stop > pages {
                for (key, side) in &space.side {
                    packer.side_row(namespace, key, side.identity, side.entry);
                }
            } else {
                let page = taking.walk.stop - 1;
                space.index.visit_page(page, |id, entry| packer.index_row(namespace, id, entry));
            }
            if taking.walk.stop > pages {
                let space = taking.walk.space + 1;
                taking.walk = Walk { space, labels: 0, stop: 0, done: false };
            } else {
                taking.walk.stop += 1;
            }
        }
    }

    /// Writes the packed pages, or syncs the file after the last; false if the file is too small.
    fn write_pages(&mut self, taking: &mut Taking) -> bool {
        let slot = (taking.reference.number % FILES) as usize;
        let file = FileId::Checkpoint(slot as u8);
        taking.phase = Phase::Waiting;
        let pages = taking.packer.take();
        if pages.is_empty() {
            taking.reference.pages = taking.packer.pages;
            self.start(Pending::Checkpoint(Step::Sync), IoRequest::Sync { file });
            return true;
        }
        if taking.offset + pages.len() as u64 > self.checkpointing.file_bytes[slot] {
            tracing::info!("the index outgrew its checkpoint file; starting over");
            self.checkpoint_failed(0);
            return false;
        }
        let mut buffer = self.pool.take(pages.len());
        buffer[..pages.len()].copy_from_slice(&pages);
        self.counters.device_bytes_written += pages.len() as u64;
        let offset = taking.offset;
        taking.offset += pages.len() as u64;
        let bytes = pages.len();
        let request = IoRequest::Write { file, offset, buffer, bytes, durable: false };
        self.start(Pending::Checkpoint(Step::Pages), request);
        true
    }

    pub(super) fn on_checkpoint_step(&mut self, step: Step, result: IoResult) {
        self.checkpointing.marking = false;
        if let Err(error) = &result.outcome {
            if matches!(step, Step::Publish(_) | Step::Mark(_)) {
                // Whether the slot has it is unknown, and with it which of the checkpoint files is free.
                self.poison("the superblock", error);
                return;
            }
            sometimes!(CheckpointFailed);
            tracing::warn!(%error, "a checkpoint failed; recovery would start from the one before");
            if let Step::Allocate = step {
                let number = self.root.newest.number + 1;
                self.checkpointing.file_bytes[(number % FILES) as usize] = 0;
            }
            self.checkpoint_failed(RETRY_MS);
            return;
        }
        self.give_back(result);
        match step {
            Step::Publish(root) => {
                self.root = *root;
                self.log.segments.maybe_dead = true;
                self.checkpointing.taking = None;
                self.checkpointing.replayed_bytes = 0;
                self.checkpointing.closed = root.clean;
                self.counters.checkpoints += 1;
            }
            Step::Mark(root) => self.root = *root,
            Step::Allocate | Step::Pages => self.checkpoint_phase(Phase::Packing),
            Step::Sync => self.checkpoint_phase(Phase::Settling),
        }
    }

    fn checkpoint_phase(&mut self, phase: Phase) {
        if let Some(taking) = &mut self.checkpointing.taking {
            taking.phase = phase;
        }
    }

    fn checkpoint_failed(&mut self, pause_ms: u64) {
        let job = &mut self.checkpointing;
        job.taking = None;
        job.wanted = true;
        job.retry_at = self.now.plus(pause_ms);
        if self.closing {
            // What is durable stays so; the next start replays the log instead.
            (job.closing, job.closed) = (true, true);
        }
    }
}

fn pack_label(packer: &mut Packer, namespace: Namespace, labelled: &Labelled<'_>) {
    let mut extension = Vec::with_capacity(EXTENSION_BYTES_MAX);
    labelled.label.encode(&mut extension);
    let Labelled { identity, aside, key, .. } = *labelled;
    let row = LabelRow { identity: identity.to_bits(), aside, key, extension: &extension };
    packer.label_row(namespace, &row);
}
