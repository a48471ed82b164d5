//! Requests out, completions in: the one place that knows what every request was for.

use hashbrown::HashMap;

use super::ahead::AheadRead;
use super::compression::DictionaryRead;
use super::load::LoadRead;
use super::scan::ScanRead;
use super::{Shard, checkpointing, compaction, listing};
use crate::compress::Class;
use crate::config::Ack;
use crate::format::segment::{TRAILER_BYTES, Trailer};
use crate::io::{FileId, IoId, IoRequest, IoResult};
use crate::log::{Batch, SURVIVOR_STREAMS, SegmentState, USER_STREAM};
use crate::units::{SegmentId, UnixMillis};

/// Longest time that [`Ack::Memory`] keeps a batch open.
const MEMORY_LINGER_MS: u64 = 100;

/// What a request in flight was for.
pub(super) enum Pending {
    Batch(Box<Batch>),
    Footer(SegmentId),
    Header(SegmentId),
    Allocate(SegmentId),
    Load(LoadRead),
    Scan(ScanRead),
    Listing(listing::Step),
    Ahead(AheadRead),
    Compaction(compaction::Step),
    Checkpoint(checkpointing::Step),
    Training(Class),
    Dictionary(DictionaryRead),
}

/// Requests in flight.
#[derive(Default)]
pub(super) struct InFlight {
    next: u64,
    pending: HashMap<IoId, Pending, crate::key::WordHash>,
}

impl InFlight {
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }
}

impl Shard {
    /// Queues a request for the disk.
    pub(super) fn start(&mut self, pending: Pending, request: IoRequest) {
        let id = IoId(self.in_flight.next);
        self.in_flight.next += 1;
        self.in_flight.pending.insert(id, pending);
        self.outbox.push_back((id, request));
    }

    /// The next request to start on the disk. Call until `None`, then submit, whenever something
    /// has been written, loaded, completed or ticked.
    pub fn poll_io(&mut self) -> Option<(IoId, IoRequest)> {
        if self.outbox.is_empty() {
            self.pump();
        }
        self.outbox.pop_front()
    }

    /// Takes the completion of a request.
    pub fn complete(&mut self, id: IoId, result: IoResult, now: UnixMillis) {
        self.advance(now);
        let pending = self.in_flight.pending.remove(&id).expect("a request of this shard");
        match pending {
            Pending::Batch(batch) => self.on_batch_written(&batch, result),
            Pending::Footer(segment) => self.on_footer_written(segment, result),
            Pending::Header(segment) => self.on_header_written(segment, result),
            Pending::Allocate(segment) => self.on_allocated(segment, &result),
            Pending::Load(read) => self.on_load_read(&read, result),
            Pending::Scan(read) => {
                self.on_scan_read(&read, result);
                self.next_reads(read.bytes);
            }
            Pending::Listing(step) => self.on_listing_step(&step, result),
            Pending::Ahead(read) => self.on_ahead_read(&read, result),
            Pending::Compaction(step) => self.on_compaction_step(&step, result),
            Pending::Checkpoint(step) => self.on_checkpoint_step(step, result),
            Pending::Training(class) => self.on_trained(class, result),
            Pending::Dictionary(read) => self.on_dictionary_read(&read, result),
        }
        self.maintain();
    }

    /// Asks that everything appended so far goes to stable storage as soon as possible.
    pub fn flush(&mut self) {
        self.flush_wanted = true;
    }

    /// Queues the log's writes that are due.
    fn pump(&mut self) {
        if self.poisoned {
            return;
        }
        self.flush_wanted |= self.log.survivors_wait();
        self.journal_touches_due();
        if self.user_batch_due() {
            self.fill_with_touches();
            self.log.close_batch(USER_STREAM, self.now);
        }
        for stream in USER_STREAM..=SURVIVOR_STREAMS {
            if let Some(mut batch) = self.log.next_write(stream) {
                let buffer = batch.buffer.take().expect("a closed batch owns its buffer");
                let request = IoRequest::Write {
                    file: FileId::Segment(batch.segment),
                    offset: u64::from(batch.offset),
                    bytes: batch.bytes(),
                    buffer,
                    durable: !planted!(WriteWithoutSync),
                };
                self.counters.device_bytes_written += batch.bytes() as u64;
                self.start(Pending::Batch(Box::new(batch)), request);
            }
        }
        self.write_footers();
    }

    fn user_batch_due(&mut self) -> bool {
        let flush = self.flush_wanted || self.closing;
        let now = self.now;
        let stream = self.log.stream(USER_STREAM);
        if stream.is_in_flight() || stream.has_closed() {
            return false;
        }
        let Some(since) = stream.open_since() else {
            self.flush_wanted = false;
            return false;
        };
        flush || since.plus(self.batch_linger_ms()) <= now || buggify!(CloseEarly)
    }

    /// How long the open batch may stay open.
    pub(super) fn batch_linger_ms(&mut self) -> u64 {
        self.linger_ms().max(self.touch_linger_ms())
    }

    /// How long a batch may stay open for more records to join.
    fn linger_ms(&self) -> u64 {
        match self.config.ack {
            Ack::Durable => 0,
            Ack::Interval { ms } => u64::from(ms),
            Ack::Memory => MEMORY_LINGER_MS,
        }
    }

    fn on_batch_written(&mut self, batch: &Batch, result: IoResult) {
        if let Err(error) = &result.outcome {
            self.poison("a batch", error);
            return;
        }
        self.counters.batches += 1;
        self.counters.sync_us.record(u64::from(result.micros));
        self.give_back(result);
        self.log.on_batch_written(batch);
        if usize::from(batch.stream) == USER_STREAM {
            self.undurable.settle(self.log.durable_lsn());
            self.touches.settle(self.log.durable_lsn());
            self.let_chunks_go();
            self.confirmed.1 = self.now;
            self.told = (batch.wall(), Some(batch.segment));
        } else {
            self.counters.compaction_bytes_written += batch.bytes() as u64;
            self.apply_moves(batch);
        }
    }

    /// Seals every full segment whose batches are all on stable storage: writes the next piece of its
    /// footer.
    fn write_footers(&mut self) {
        if buggify!(FooterLater) {
            return;
        }
        let due = |sealing: &crate::log::Sealing| sealing.unwritten == 0 && !sealing.writing;
        while let Some(at) = self.log.sealing.iter().position(due) {
            self.write_footer_piece(at);
        }
    }

    /// Writes the next piece of a footer. The trailer, which makes it valid, is in the last one, and
    /// that one is not started before the others are durable.
    fn write_footer_piece(&mut self, at: usize) {
        let segment_bytes = self.root.segment_bytes as usize;
        let block = self.root.block_bytes as usize;
        let sealing = &mut self.log.sealing[at];
        let segment = sealing.id;
        let length = (sealing.rows.len() + TRAILER_BYTES).next_multiple_of(block);
        let Some(mut piece) = sealing.rows.take(length) else { return };
        sealing.writing = true;
        let offset = segment_bytes - length;
        if piece.offset + piece.bytes == length {
            let sealing = self.log.sealing.swap_remove(at);
            let known = self.log.segments.get(segment);
            let trailer = Trailer {
                store_id: self.root.store_id,
                segment,
                incarnation: known.incarnation,
                data_end: sealing.data_end,
                rows_offset: offset as u32,
                rows_bytes: sealing.rows.len() as u32,
                rows_crc: sealing.rows.crc(),
                seq_min: known.seq_min,
                seq_max: known.seq_max,
                lsn_max: known.lsn_max,
            };
            // Whole blocks are left for the last piece, so the trailer is not cut.
            piece.buffer[piece.bytes - TRAILER_BYTES..piece.bytes]
                .copy_from_slice(&trailer.encode());
        }
        self.counters.device_bytes_written += piece.bytes as u64;
        let request = IoRequest::Write {
            file: FileId::Segment(segment),
            offset: (offset + piece.offset) as u64,
            buffer: piece.buffer,
            bytes: piece.bytes,
            durable: true,
        };
        self.start(Pending::Footer(segment), request);
    }

    fn on_footer_written(&mut self, segment: SegmentId, result: IoResult) {
        if let Err(error) = &result.outcome {
            self.poison("a footer", error);
            return;
        }
        self.give_back(result);
        match self.log.sealing.iter_mut().find(|sealing| sealing.id == segment) {
            Some(sealing) => sealing.writing = false,
            None => self.log.segments.set_state(segment, SegmentState::Sealed),
        }
    }

    /// After a failed write nothing that was not acknowledged may ever be: what is on the disk is
    /// unknown, and a second sync would succeed while the data is gone.
    pub(super) fn poison(&mut self, what: &str, error: &crate::io::IoError) {
        tracing::error!(%error, "writing {what} failed: no write is acknowledged any more; restart");
        sometimes!(Poisoned);
        self.poisoned = true;
    }
}
