//! The values of touch records, which footers do not repeat: read where replay needs them.
//!
//! Owns: which reads that takes.
//! Never knows: what a touch means.
//! Invariant: a value is taken only from the very record that its row describes; what cannot be had is counted
//! and leaves its row without touches.
//!
//! Records that lie near one another are read together, several reads at a time: ten million touches
//! are 70 MB, and most of their records are as small as a block.

use super::disk::Blocking;
use super::rows::Rows;
use crate::format::bytes::Seed;
use crate::format::record::{self, Head, Kind};
use crate::format::segment::{self, RecordRow, Row, decode_row, skip_row};
use crate::format::superblock::Superblock;
use crate::io::FileId;
use crate::units::{BatchSeq, Incarnation, SegmentId};

/// Where the rows come from.
pub(super) struct Place {
    file: FileId,
    seed: Seed,
    segment_bytes: usize,
}

impl Place {
    /// A segment in one of its uses.
    pub(super) fn new(root: &Superblock, segment: SegmentId, incarnation: Incarnation) -> Place {
        Place {
            file: FileId::Segment(segment),
            seed: Seed::new(root.store_id, segment, incarnation),
            segment_bytes: root.segment_bytes as usize,
        }
    }
}

/// Unneeded bytes between two records that are read along rather than skipped.
const GAP_BYTES: usize = 64 << 10;
/// Bytes of a read, unless one record has more.
const READ_BYTES: usize = 1 << 20;

/// A touch record whose value is wanted.
struct Wanted {
    offset: usize,
    head: Head,
    value: Option<Vec<u8>>,
}

/// One read, of the records up to a position in the list.
struct Piece {
    offset: usize,
    bytes: usize,
    records: std::ops::Range<usize>,
}

/// `rows` with the values of the touch records in batches after `start`; those that are missing count as
/// damages.
pub(super) fn with_values(
    disk: &mut Blocking<'_>,
    place: &Place,
    rows: Rows,
    start: BatchSeq,
    damages: &mut u32,
) -> Rows {
    let mut wanted = wanted(rows.bytes(), start);
    if wanted.is_empty() || planted!(SkipTouchRecords) {
        return rows;
    }
    sometimes!(TouchesRead);
    let pieces = pieces(&wanted, place.segment_bytes);
    let places: Vec<_> = pieces.iter().map(|piece| (piece.offset as u64, piece.bytes)).collect();
    let (mut piece, mut failed) = (pieces.iter(), Vec::new());
    let read = disk.read_each(place.file, places, |_, bytes| {
        if let Some(piece) = piece.next() {
            match bytes {
                Ok(bytes) => take(&mut wanted, piece, bytes, place.seed),
                Err(_) => failed.push(piece),
            }
        }
        Ok::<(), ()>(())
    });
    debug_assert!(read.is_ok(), "nothing fails in between");
    for piece in failed {
        let (bytes, _) = disk.read_what_reads(place.file, piece.offset as u64, piece.bytes);
        take(&mut wanted, piece, &bytes, place.seed);
    }
    for record in wanted.iter().filter(|record| record.value.is_none()) {
        tracing::error!(file = ?place.file, offset = record.offset, "a record of touches is damaged: they are lost");
        *damages += 1;
    }
    Rows::Scanned(filled(rows.bytes(), &wanted))
}

/// The touch records without a value in batches after `start`.
fn wanted(rows: &[u8], start: BatchSeq) -> Vec<Wanted> {
    let (mut wanted, mut at, mut due) = (Vec::new(), 0, false);
    while let Ok((kind, next)) = skip_row(rows, at) {
        if kind.is_none_or(|kind| kind == Kind::Touch && due) {
            match decode_row(rows, at) {
                Ok((Row::Batch(batch), _)) => due = batch.seq > start,
                Ok((Row::Record(RecordRow { offset, head, name: [] }), _)) => {
                    wanted.push(Wanted { offset: offset as usize, head, value: None });
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        at = next;
    }
    wanted
}

/// Reads that cover the records, which lie in the order of their rows; what lies outside of the segment
/// is not read.
fn pieces(wanted: &[Wanted], segment_bytes: usize) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for (at, record) in wanted.iter().enumerate() {
        let end = (record.offset + record.head.record_bytes()).next_multiple_of(4096);
        if end > segment_bytes {
            continue;
        }
        match pieces.last_mut() {
            Some(last)
                if record.offset >= last.offset
                    && record.offset <= last.offset + last.bytes + GAP_BYTES
                    && end - last.offset <= READ_BYTES =>
            {
                last.bytes = last.bytes.max(end - last.offset);
                last.records.end = at + 1;
            }
            _ => {
                let offset = record.offset / 4096 * 4096;
                pieces.push(Piece { offset, bytes: end - offset, records: at..at + 1 });
            }
        }
    }
    pieces
}

/// Takes the values of the records in `piece` that verify.
fn take(wanted: &mut [Wanted], piece: &Piece, bytes: &[u8], seed: Seed) {
    for record in &mut wanted[piece.records.clone()] {
        let Some(from) = record.offset.checked_sub(piece.offset) else { continue };
        let found = bytes.get(from..from + record.head.record_bytes());
        let found = found.and_then(|bytes| record::decode(bytes, seed).ok());
        record.value = found
            .filter(|found| found.value_ok && found.head == record.head)
            .map(|found| found.value.to_vec());
    }
}

/// The rows, with what was read.
fn filled(rows: &[u8], wanted: &[Wanted]) -> Vec<u8> {
    let more: usize = wanted.iter().map(|record| record.head.value_len as usize).sum();
    let mut filled = Vec::with_capacity(rows.len() + more.min(64 << 20));
    let (mut at, mut copied) = (0, 0);
    let mut records = wanted.iter().peekable();
    while records.peek().is_some()
        && let Ok((kind, next)) = skip_row(rows, at)
    {
        if kind == Some(Kind::Touch)
            && let Ok((Row::Record(RecordRow { offset, .. }), _)) = decode_row(rows, at)
            && let Some(record) = records.next_if(|record| record.offset == offset as usize)
            && let Some(value) = &record.value
        {
            filled.extend_from_slice(&rows[copied..at]);
            segment::push_record_row(&mut filled, offset, &record.head, value);
            copied = next;
        }
        at = next;
    }
    filled.extend_from_slice(&rows[copied..]);
    filled
}
