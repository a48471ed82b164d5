//! Finding out what every segment file is, and reading its rows.

use super::disk::Blocking;
use super::rows::{Cursor, Rows};
use super::scan::{Scanned, Subject, scan};
use super::{Progress, live_bytes};
use crate::config::Config;
use crate::error::OpenError;
use crate::format::DecodeError;
use crate::format::batch::BatchHead;
use crate::format::segment::{HEADER_BYTES, SegmentHead, TRAILER_BYTES, Trailer};
use crate::format::superblock::Superblock;
use crate::io::{Buffer, FileId, IoError};
use crate::log::{Segment, SegmentState, SegmentTable};
use crate::space::Space;
use crate::units::{BatchSeq, Incarnation, Location, Lsn, SegmentId, UnixMillis};

/// One segment file.
pub(super) struct Source {
    pub(super) segment: SegmentId,
    incarnation: Incarnation,
    pub(super) seq_min: BatchSeq,
    pub(super) seq_max: BatchSeq,
    pub(super) lsn_max: Lsn,
    pub(super) wall_max: UnixMillis,
    killers: u32,
    clear_seq: BatchSeq,
    pub(super) damages: u32,
    /// The footer, if it is to be trusted.
    trailer: Option<Trailer>,
    /// What a scan found instead.
    scanned: Option<Scanned>,
    /// A footer must be written.
    unsealed: bool,
    /// When this use of the slot began, if its header can be read.
    pub(super) created: Option<UnixMillis>,
}

impl Source {
    /// Whether the segment holds any batch.
    pub(super) fn has_data(&self) -> bool {
        self.seq_max > BatchSeq(0)
    }

    /// When this use of the segment began, if that was after the batch `start`: what a checkpoint of
    /// then says of the segment concerns an earlier use.
    pub(super) fn recycled_since(&self, start: BatchSeq) -> Option<UnixMillis> {
        self.created.filter(|_| !self.has_data() || self.seq_min > start)
    }

    fn empty(segment: SegmentId, incarnation: Incarnation) -> Source {
        Source {
            segment,
            incarnation,
            seq_min: BatchSeq(0),
            seq_max: BatchSeq(0),
            lsn_max: Lsn::NONE,
            wall_max: UnixMillis(0),
            killers: 0,
            clear_seq: BatchSeq(0),
            damages: 0,
            trailer: None,
            scanned: None,
            unsealed: false,
            created: None,
        }
    }

    fn adopt(&mut self, scanned: Scanned) {
        self.seq_min = scanned.seq_min;
        self.seq_max = scanned.seq_max;
        self.lsn_max = scanned.lsn_max;
        self.wall_max = scanned.wall_max;
        self.killers = scanned.killers;
        self.clear_seq = scanned.clear_seq;
        self.damages = scanned.damages;
        self.unsealed = self.has_data();
        self.scanned = Some(scanned);
        self.trailer = None;
    }

    fn row_share(&self) -> u32 {
        match (&self.trailer, &self.scanned) {
            (Some(trailer), _) => Segment::row_share(trailer.rows_bytes as usize, trailer.data_end),
            (None, Some(scanned)) => Segment::row_share(scanned.rows.len(), scanned.data_end),
            (None, None) => 0,
        }
    }

    /// Whether there is a footer that may be trusted.
    pub(super) fn has_footer(&self) -> bool {
        self.trailer.is_some()
    }

    /// Where the footer is: whole blocks from an offset to the end of the segment.
    #[expect(clippy::cast_possible_truncation, reason = "a segment has at most 1 GiB")]
    pub(super) fn footer_place(&self, root: &Superblock) -> Option<(u64, usize)> {
        let trailer = self.trailer?;
        let start = u64::from(trailer.rows_offset) / 4096 * 4096;
        Some((start, (u64::from(root.segment_bytes) - start) as usize))
    }

    /// The rows, from the footer, which may have been read already, or else from a scan.
    pub(super) fn open(
        &mut self,
        disk: &mut Blocking<'_>,
        root: &Superblock,
        footer: Option<Result<Buffer, IoError>>,
    ) -> Option<Cursor> {
        if let (Some(trailer), Some((start, bytes))) = (self.trailer, self.footer_place(root)) {
            let file = FileId::Segment(self.segment);
            let footer = footer.unwrap_or_else(|| disk.read(file, start, bytes));
            if let Some(rows) = footer.ok().and_then(|footer| Rows::of_footer(footer, &trailer)) {
                return Cursor::new(self.segment, rows, Scanned::default());
            }
            // Perhaps only cut off while it was written: what counts is the batches.
            tracing::warn!(segment = self.segment.0, "a footer does not read; scanning");
            let end = Some(trailer.data_end);
            let scanned = scan_segment(disk, root, self.segment, self.incarnation, end);
            self.adopt(scanned);
        }
        let scanned = self.scanned.as_mut()?;
        let named = Scanned {
            lost: std::mem::take(&mut scanned.lost),
            doubtful: std::mem::take(&mut scanned.doubtful),
            ..Scanned::default()
        };
        Cursor::new(self.segment, Rows::Scanned(scanned.rows.clone()), named)
    }
}

/// Looks at every segment file.
pub(super) fn discover(
    disk: &mut Blocking<'_>,
    files: &[(FileId, u64)],
    root: &Superblock,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Source>, OpenError> {
    let total = files.len() as u64;
    let mut sources = Vec::new();
    for (done, (file, bytes)) in files.iter().enumerate() {
        let FileId::Segment(segment) = *file else { continue };
        if u64::from(segment.0) * u64::from(root.segment_bytes) >= 16 << Location::BITS {
            tracing::error!(
                segment = segment.0,
                "a segment file beyond 1 TiB is not ours; ignored"
            );
            continue;
        }
        if *bytes < u64::from(root.segment_bytes) {
            if !was_used(disk, *file, *bytes) {
                // A crash while it was being created; on a full disk there is no room to go on.
                disk.remove(*file)?;
                continue;
            }
            tracing::error!(segment = segment.0, bytes, "a segment file is cut short");
            disk.allocate(*file, u64::from(root.segment_bytes))?;
        }
        sources.push(inspect(disk, root, segment)?);
        progress(Progress { phase: "reading segments", done: done as u64 + 1, total });
    }
    Ok(sources)
}

/// Whether a file that is too short was ever more than a file being created, all zeros.
fn was_used(disk: &mut Blocking<'_>, file: FileId, bytes: u64) -> bool {
    let front = HEADER_BYTES as usize;
    bytes >= front as u64
        && disk.read(file, 0, front).map_or(true, |read| read[..front].iter().any(|b| *b != 0))
}

/// Decides what one segment is from its header, its trailer, and if need be its batches.
fn inspect(
    disk: &mut Blocking<'_>,
    root: &Superblock,
    segment: SegmentId,
) -> Result<Source, OpenError> {
    let file = FileId::Segment(segment);
    let front_bytes = HEADER_BYTES as usize + 4096;
    let front = disk.read(file, 0, front_bytes).map(|front| front[..front_bytes].to_vec());
    let readable = front.is_ok();
    let front = front.unwrap_or_else(|_| vec![0; front_bytes]);
    let head = SegmentHead::decode(&front);
    if let Err(DecodeError::Version(version)) = head {
        return Err(OpenError::Unsupported { file, version });
    }
    let ours = |store_id, id| store_id == root.store_id && id == segment;
    let head = head.ok().filter(|head| ours(head.store_id, head.segment));
    let last = disk.read(file, u64::from(root.segment_bytes) - 4096, 4096);
    let trailer = last
        .ok()
        .and_then(|last| {
            Trailer::decode(&last[4096 - TRAILER_BYTES..4096], root.segment_bytes).ok()
        })
        .filter(|trailer| ours(trailer.store_id, trailer.segment));
    let first = BatchHead::decode(&front[HEADER_BYTES as usize..])
        .ok()
        .filter(|first| ours(first.store_id, first.segment));
    let incarnation = match (&head, &trailer, &first) {
        (Some(head), _, _) => head.incarnation,
        // The header is damaged, or a new one was being written when the power went.
        (None, trailer, first) => {
            let named = trailer.map(|t| t.incarnation).max(first.map(|f| f.incarnation));
            let fresh = readable && front.iter().all(|byte| *byte == 0);
            if !fresh {
                tracing::error!(segment = segment.0, "a segment header is damaged");
            }
            match named {
                Some(incarnation) => incarnation,
                None if fresh => Incarnation(0),
                None => last_incarnation(disk, root, segment),
            }
        }
    };
    let mut source = Source::empty(segment, incarnation);
    source.created = head.map(|head| head.created);
    if let Some(trailer) = trailer.filter(|trailer| trailer.incarnation == incarnation) {
        source.seq_min = trailer.seq_min;
        source.seq_max = trailer.seq_max;
        source.lsn_max = trailer.lsn_max;
        // Not known without its rows: as if any of them might matter.
        source.killers = 1;
        source.clear_seq = trailer.seq_max;
        source.trailer = Some(trailer);
    } else if incarnation > Incarnation(0)
        && !(readable && untouched(&front, first.as_ref(), incarnation))
    {
        source.adopt(scan_segment(disk, root, segment, incarnation, None));
    }
    Ok(source)
}

/// The newest use of a segment whose header, trailer and first batch are all damaged, by the batches
/// in it.
fn last_incarnation(disk: &mut Blocking<'_>, root: &Superblock, segment: SegmentId) -> Incarnation {
    let (bytes, _) = disk.read_all(FileId::Segment(segment), root.segment_bytes);
    let heads = bytes.chunks(512).filter_map(|block| BatchHead::decode(block).ok());
    let ours = heads.filter(|head| head.store_id == root.store_id && head.segment == segment);
    ours.map(|head| head.incarnation).max().unwrap_or_default()
}

/// Whether no batch of this use was ever written, so that the segment need not be scanned: the first
/// batch's place still holds zeros, or a batch of an earlier use.
fn untouched(front: &[u8], first: Option<&BatchHead>, incarnation: Incarnation) -> bool {
    let place = &front[HEADER_BYTES as usize..];
    place.iter().all(|byte| *byte == 0) || first.is_some_and(|f| f.incarnation < incarnation)
}

fn scan_segment(
    disk: &mut Blocking<'_>,
    root: &Superblock,
    segment: SegmentId,
    incarnation: Incarnation,
    sealed_end: Option<u32>,
) -> Scanned {
    let (bytes, unreadable) = disk.read_all(FileId::Segment(segment), root.segment_bytes);
    let (store_id, durable_lsn) = (root.store_id, root.durable_lsn);
    let subject = Subject { store_id, segment, incarnation, durable_lsn, sealed_end };
    let mut scanned = scan(&bytes, &subject);
    scanned.damages += unreadable;
    scanned
}

/// Builds the segment table and seals what a crash has left open.
pub(super) fn table(
    disk: &mut Blocking<'_>,
    root: &Superblock,
    config: &Config,
    sources: &[Source],
    spaces: &[Space],
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
        } else if source.scanned.as_ref().is_some_and(|scanned| scanned.torn) {
            // Its only batch is torn. The numbers in it will be given out again, and then it would
            // look like acknowledged data gone bad.
            incarnation = Incarnation(incarnation.0 + 1);
            write_header(disk, root, source.segment, incarnation, source.wall_max)?;
        }
        let segment = Segment {
            state,
            incarnation,
            live_bytes,
            seq_min: source.seq_min,
            seq_max: source.seq_max,
            lsn_max: source.lsn_max,
            killers: source.killers,
            clear_seq: source.clear_seq,
            buried_lsn: Lsn::NONE,
            // Footers do not tell.
            dictionaries: if source.has_data() { u64::MAX } else { 0 },
            damaged: false,
            row_share: source.row_share(),
        };
        table.restore(source.segment, segment);
    }
    Ok(table)
}

/// Writes the header again (it may have been damaged) and the footer of a scanned segment.
#[expect(clippy::cast_possible_truncation, reason = "a segment has at most 1 GiB")]
fn seal(
    disk: &mut Blocking<'_>,
    root: &Superblock,
    source: &Source,
    scanned: &Scanned,
) -> Result<(), OpenError> {
    let file = FileId::Segment(source.segment);
    // The batches first, so that the footer never names what a power cut then takes.
    disk.sync(file)?;
    write_header(disk, root, source.segment, source.incarnation, scanned.wall_max)?;
    let block = root.block_bytes as usize;
    let length = (scanned.rows.len() + TRAILER_BYTES).next_multiple_of(block);
    let offset = root.segment_bytes as usize - length;
    if offset < scanned.data_end as usize {
        // Salvage may name more rows than sealing would have; the next start scans again.
        tracing::error!(segment = source.segment.0, "no room for a new footer");
        return Ok(());
    }
    let trailer = Trailer {
        store_id: root.store_id,
        segment: source.segment,
        incarnation: source.incarnation,
        data_end: scanned.data_end,
        rows_offset: offset as u32,
        rows_bytes: scanned.rows.len() as u32,
        rows_crc: crc32fast::hash(&scanned.rows),
        seq_min: source.seq_min,
        seq_max: source.seq_max,
        lsn_max: source.lsn_max,
    };
    let mut footer = vec![0; length];
    footer[..scanned.rows.len()].copy_from_slice(&scanned.rows);
    footer[length - TRAILER_BYTES..].copy_from_slice(&trailer.encode());
    disk.write(file, offset as u64, &footer)
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
