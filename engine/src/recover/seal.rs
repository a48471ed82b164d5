//! Turning what was found into a segment table, and sealing what a crash has left open.
//!
//! Invariant: a footer is written only when what it names is on stable storage.

use super::disk::Blocking;
use super::live_bytes;
use super::scan::Scanned;
use super::segments::Source;
use crate::config::Config;
use crate::error::OpenError;
use crate::format::segment::{HEADER_BYTES, SegmentHead, TRAILER_BYTES, Trailer, footer_rows};
use crate::format::superblock::Superblock;
use crate::format::tails::{TAILS_MAX, Tail};
use crate::io::FileId;
use crate::log::{Segment, SegmentState, SegmentTable};
use crate::space::Space;
use crate::units::{BatchSeq, Incarnation, Lsn, SegmentId, UnixMillis};

/// What is known of footers.
pub(super) struct Known<'t> {
    /// The batch up to which the checkpoint says all: before it was published, the footers up to there
    /// were durable.
    pub(super) start: BatchSeq,
    /// The segments without a durable footer when the superblock was written.
    pub(super) tails: &'t [Tail],
}

impl Known<'_> {
    /// Whether the footer of a segment was durable when the superblock was written.
    fn is_durable(&self, source: &Source, root: &Superblock) -> bool {
        let is_tail =
            |tail: &Tail| (tail.segment, tail.incarnation) == (source.segment, source.incarnation);
        source.seq_max <= self.start
            || source.seq_max <= root.durable_seq
                && self.tails.len() < TAILS_MAX
                && !self.tails.iter().any(is_tail)
    }
}

/// Builds the segment table and seals what a crash has left open.
pub(super) fn table(
    disk: &mut Blocking<'_>,
    root: &Superblock,
    config: &Config,
    sources: &[Source],
    spaces: &[Space],
    known: &Known<'_>,
) -> Result<SegmentTable, OpenError> {
    let limit = config.disk_bytes_max / u64::from(root.segment_bytes);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut table = SegmentTable::new(root.store_id, root.segment_bytes, limit);
    let count = sources.iter().map(|source| source.segment.0 as usize + 1).max().unwrap_or(0);
    let live = live_bytes(spaces, root.segment_bytes, count);
    for source in sources {
        let mut incarnation = source.incarnation;
        let state = if source.has_data() { SegmentState::Sealed } else { SegmentState::Free };
        let live_bytes = live.get(source.segment.0 as usize).copied().unwrap_or(0);
        if source.unsealed
            && let Some(scanned) = &source.scanned
        {
            seal(disk, root, source, scanned)?;
        } else if source.scanned.is_some() {
            // Its only batch is torn, perhaps without a header. The numbers in it will be given out
            // again, and then it would look like acknowledged data gone bad.
            incarnation = Incarnation(incarnation.0 + 1);
            write_header(disk, root, source.segment, incarnation, source.latest())?;
            // Also should that header be torn when the next one is written: the batch would then be
            // all there is to tell the use by.
            let closed = Source::empty(source.segment, incarnation);
            write_footer(disk, root, &closed, HEADER_BYTES, &[])?;
        } else if source.has_footer() && !known.is_durable(source, root) {
            // A process that died may have left the footer in a cache. Were a power cut to take it
            // when segments after this one are in use again, its last batch would no longer have the
            // next one of its stream behind it, and seem to lack some.
            disk.sync(FileId::Segment(source.segment))?;
        }
        let segment = Segment {
            state,
            incarnation,
            live_bytes,
            seq_min: source.seq_min,
            seq_max: source.seq_max,
            lsn_max: source.lsn_max,
            killers: source.killers,
            // Footers do not tell: carried on once more at most.
            carries: false,
            clear_seq: source.clear_seq,
            buried_lsn: Lsn::NONE,
            // Footers do not tell.
            dictionaries: if source.has_data() { u64::MAX } else { 0 },
            damaged: false,
            durable_end: 0,
            leaving: false,
            row_share: source.row_share(),
        };
        table.restore(source.segment, segment);
    }
    Ok(table)
}

/// Writes the header again (it may have been damaged) and the footer of a scanned segment.
fn seal(
    disk: &mut Blocking<'_>,
    root: &Superblock,
    source: &Source,
    scanned: &Scanned,
) -> Result<(), OpenError> {
    let file = FileId::Segment(source.segment);
    // The batches first, so that the footer never names what a power cut then takes.
    disk.sync(file)?;
    write_header(disk, root, source.segment, source.incarnation, source.latest())?;
    write_footer(disk, root, source, scanned.data_end, &footer_rows(&scanned.rows))
}

#[expect(clippy::cast_possible_truncation, reason = "a segment has at most 1 GiB")]
fn write_footer(
    disk: &mut Blocking<'_>,
    root: &Superblock,
    source: &Source,
    data_end: u32,
    rows: &[u8],
) -> Result<(), OpenError> {
    let block = root.block_bytes as usize;
    let length = (rows.len() + TRAILER_BYTES).next_multiple_of(block);
    let offset = root.segment_bytes as usize - length;
    if offset < data_end as usize {
        // Salvage may name more rows than sealing would have; the next start scans again.
        tracing::error!(segment = source.segment.0, "no room for a new footer");
        return Ok(());
    }
    let trailer = Trailer {
        store_id: root.store_id,
        segment: source.segment,
        incarnation: source.incarnation,
        data_end,
        rows_offset: offset as u32,
        rows_bytes: rows.len() as u32,
        rows_crc: crc32fast::hash(rows),
        seq_min: source.seq_min,
        seq_max: source.seq_max,
        lsn_max: source.lsn_max,
    };
    let mut footer = vec![0; length];
    footer[..rows.len()].copy_from_slice(rows);
    footer[length - TRAILER_BYTES..].copy_from_slice(&trailer.encode());
    disk.write(FileId::Segment(source.segment), offset as u64, &footer)
}

fn write_header(
    disk: &mut Blocking<'_>,
    root: &Superblock,
    segment: SegmentId,
    incarnation: Incarnation,
    created: UnixMillis,
) -> Result<(), OpenError> {
    let head = SegmentHead {
        store_id: root.store_id,
        segment,
        incarnation,
        segment_bytes: root.segment_bytes,
        created,
    };
    let mut header = vec![0; HEADER_BYTES as usize];
    let fields = head.encode();
    header[..fields.len()].copy_from_slice(&fields);
    disk.write(FileId::Segment(segment), 0, &header)
}
