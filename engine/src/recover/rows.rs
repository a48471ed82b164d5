//! The rows of one segment, from its footer or from a scan, applied batch by batch.

use std::ops::Range;

use super::replay::Replay;
use crate::format::segment::{BatchRow, Row, Trailer, decode_row};
use crate::io::Buffer;
use crate::units::{BatchSeq, SegmentId};

/// Rows whose places in the index are brought into the CPU's caches together.
const ROWS_TOGETHER: usize = 32;

/// Footer rows.
pub(crate) enum Rows {
    /// In the footer as it was read.
    Footer(Buffer, Range<usize>),
    /// As a scan found them.
    Scanned(Vec<u8>),
}

impl Rows {
    /// The rows in a footer that was read from a multiple of 4096 on, if they are those that the trailer describes.
    pub(crate) fn of_footer(footer: Buffer, trailer: &Trailer) -> Option<Rows> {
        let skip = trailer.rows_offset as usize % 4096;
        let place = skip..skip + trailer.rows_bytes as usize;
        let good = crc32fast::hash(footer.get(place.clone())?) == trailer.rows_crc;
        good.then_some(Rows::Footer(footer, place))
    }

    /// The rows.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Rows::Footer(footer, place) => &footer[place.clone()],
            Rows::Scanned(rows) => rows,
        }
    }
}

/// The rows of one segment, batch by batch.
pub(super) struct Cursor {
    segment: SegmentId,
    rows: Rows,
    /// First row behind the batch row of `seq`.
    at: usize,
    /// The batch that is next.
    pub(super) seq: BatchSeq,
}

impl Cursor {
    pub(super) fn new(segment: SegmentId, rows: Rows) -> Option<Cursor> {
        let Ok((Row::Batch(BatchRow { seq, .. }), at)) = decode_row(rows.bytes(), 0) else {
            return None;
        };
        Some(Cursor { segment, rows, at, seq })
    }

    /// Applies the next batch, unless the checkpoint has it; false if it was the last.
    pub(super) fn apply(&mut self, start: BatchSeq, replay: &mut Replay) -> bool {
        let wanted = self.seq > start;
        let mut next_batch = None;
        let mut rows = Vec::new();
        while next_batch.is_none()
            && let Ok((row, next)) = decode_row(self.rows.bytes(), self.at)
        {
            self.at = next;
            match row {
                Row::Batch(batch) => next_batch = Some(batch.seq),
                Row::Record(row) if wanted => rows.push(replay.meet(row)),
                Row::Lost(word) if wanted => {
                    replay.rows(self.segment, &mut rows);
                    replay.lose(word);
                }
                Row::Record(_) | Row::Lost(_) => {}
            }
            if rows.len() == ROWS_TOGETHER {
                replay.rows(self.segment, &mut rows);
            }
        }
        replay.rows(self.segment, &mut rows);
        self.seq = next_batch.unwrap_or(self.seq);
        next_batch.is_some()
    }
}
