//! Writing the superblock: with a checkpoint, at closing, and when the log has fallen quiet.

use super::Shard;
use super::checkpointing::Step;
use super::drive::Pending;
use crate::format::superblock::{SLOT_BYTES, Superblock};
use crate::format::tails;
use crate::io::{FileId, IoRequest};
use crate::units::BatchSeq;

/// Between two superblocks for the sake of survivors.
const MARK_MS: u64 = 1_000;

impl Shard {
    pub(super) fn next_root(&self) -> Superblock {
        Superblock {
            generation: self.root.generation + 1,
            durable_lsn: self.log.durable_lsn(),
            durable_seq: BatchSeq(self.log.unapplied_seq().0 - 1),
            clean: false,
            ..self.root
        }
    }

    /// When the log is quiet and its last batch confirmed, has the superblock say how far it is durable:
    /// one damaged page may take that batch and the one behind it, which must not look like the end.
    /// While only survivors are written, now and then.
    pub(super) fn mark_durable(&mut self) {
        let durable = self.log.durable_lsn();
        let confirmed = self.confirmed.0 == durable && durable == self.log.appended_lsn();
        let job = &mut self.checkpointing;
        let busy = job.marking || job.is_active() || self.now < job.retry_at;
        let (batches, at) = job.told;
        let news = self.counters.batches > batches && self.now.since(at) >= MARK_MS;
        let told = self.root.durable_lsn >= durable && !news;
        if !confirmed || busy || told || self.closing || self.poisoned {
            return;
        }
        job.marking = true;
        let root = self.next_root();
        self.write_root(root, Step::Mark(Box::new(root)));
    }

    pub(super) fn publish(&mut self, root: Superblock) {
        self.write_root(root, Step::Publish(Box::new(root)));
    }

    fn write_root(&mut self, root: Superblock, step: Step) {
        let mut buffer = self.pool.take(SLOT_BYTES);
        let fields = root.encode();
        buffer[..fields.len()].copy_from_slice(&fields);
        buffer[fields.len()..SLOT_BYTES].fill(0);
        let tails = tails::encode(root.store_id, &self.log.segments.tails());
        buffer[tails::OFFSET..tails::OFFSET + tails.len()].copy_from_slice(&tails);
        self.checkpointing.told = (self.counters.batches, self.now);
        let request = IoRequest::Write {
            file: FileId::Superblock,
            offset: root.generation % 2 * SLOT_BYTES as u64,
            buffer,
            bytes: SLOT_BYTES,
            durable: true,
        };
        self.start(Pending::Checkpoint(step), request);
    }
}
