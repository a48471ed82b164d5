//! Reading what a victim says of itself: its footer, or all of it if that is damaged.

use super::copy::Copy;
use super::{Job, Step};
use crate::format::segment::{TRAILER_BYTES, Trailer};
use crate::io::{Buffer, FileId, IoRequest, IoResult};
use crate::recover::{Proved, Rows, Subject, scan};
use crate::shard::Shard;
use crate::shard::drive::Pending;
use crate::units::SegmentId;

impl Shard {
    pub(super) fn read_victim(
        &mut self,
        victim: SegmentId,
        offset: usize,
        bytes: usize,
        step: Step,
    ) {
        self.pace.spend(bytes);
        let buffer = self.pool.take(bytes);
        self.counters.device_reads += 1;
        self.counters.device_bytes_read += bytes as u64;
        let file = FileId::Segment(victim);
        let request = IoRequest::Read { file, offset: offset as u64, buffer, bytes };
        self.start(Pending::Compaction(step), request);
    }

    pub(in crate::shard) fn on_compaction_step(&mut self, step: &Step, result: IoResult) {
        let (Ok(_), Some(buffer)) = (&result.outcome, result.buffer) else {
            tracing::error!(outcome = ?result.outcome, "compaction cannot read its victim");
            self.abandon();
            return;
        };
        match step {
            Step::Trailer => self.on_trailer(buffer),
            Step::Rows(trailer) => self.on_rows(trailer, buffer),
            Step::Whole => self.on_whole(&buffer),
            Step::Window { start, bytes } => {
                if let Job::Copy(copy, waiting) = &mut self.compaction {
                    copy.window = Some((*start, *bytes, buffer));
                    *waiting = false;
                }
            }
        }
    }

    /// The victim cannot be read: it stays as it is until the next start looks at it.
    pub(super) fn abandon(&mut self) {
        let victim = match std::mem::take(&mut self.compaction) {
            Job::Idle => return,
            Job::Footer(victim) => victim,
            Job::Copy(copy, _) => copy.victim,
        };
        tracing::error!(segment = victim.0, "a segment's footer is damaged; it is left alone");
        self.log.segments.set_damaged(victim);
        self.counters.corrupt_records += 1;
        self.close_copies();
    }

    fn on_trailer(&mut self, buffer: Buffer) {
        let Job::Footer(victim) = self.compaction else { return };
        let segment_bytes = self.root.segment_bytes;
        let incarnation = self.log.segments.get(victim).incarnation;
        let trailer = Trailer::decode(&buffer[4096 - TRAILER_BYTES..4096], segment_bytes);
        self.pool.give(buffer);
        match trailer {
            Ok(t) if t.segment == victim && t.incarnation == incarnation => {
                let start = t.rows_offset as usize / 4096 * 4096;
                let end = segment_bytes as usize;
                self.read_victim(victim, start, end - start, Step::Rows(t));
            }
            _ => self.read_whole(victim),
        }
    }

    fn on_rows(&mut self, trailer: &Trailer, buffer: Buffer) {
        let Job::Footer(victim) = self.compaction else { return };
        let rows = Rows::of_footer(buffer, trailer);
        match rows {
            Some(rows) => self.copy_victim(victim, rows),
            None => self.read_whole(victim),
        }
    }

    /// A footer is derived from the batches: one that was cut off by a crash, or has rotted, is
    /// made again from them.
    fn read_whole(&mut self, victim: SegmentId) {
        tracing::warn!(segment = victim.0, "a footer does not read; scanning the segment");
        let bytes = self.root.segment_bytes as usize;
        self.read_victim(victim, 0, bytes, Step::Whole);
    }

    fn on_whole(&mut self, buffer: &Buffer) {
        let Job::Footer(victim) = self.compaction else { return };
        let segment = self.log.segments.get(victim);
        let end = self.root.segment_bytes - TRAILER_BYTES as u32;
        let subject = Subject {
            store_id: self.root.store_id,
            segment: victim,
            incarnation: segment.incarnation,
            durable_lsn: self.root.durable_lsn,
            proved: Some(Proved { end, seq: segment.seq_max, sealed: true }),
            followed: None,
        };
        let scanned = scan(&buffer[..self.root.segment_bytes as usize], &subject);
        if scanned.damages > 0 {
            self.abandon();
            return;
        }
        self.copy_victim(victim, Rows::Scanned(scanned.rows));
    }

    fn copy_victim(&mut self, victim: SegmentId, rows: Rows) {
        let seed = self.log.seed(victim);
        self.compaction = Job::Copy(Box::new(Copy::new(victim, seed, rows)), false);
    }
}
