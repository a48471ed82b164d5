//! Finding out what every segment file is, and reading its rows.

use std::collections::HashSet;

use super::Progress;
use super::disk::Blocking;
use super::rows::{Cursor, Rows};
use super::scan::{Followed, Proved, Scanned, Subject, scan};
use super::touches;
use crate::error::OpenError;
use crate::format::DecodeError;
use crate::format::batch::BatchHead;
use crate::format::segment::{HEADER_BYTES, SegmentHead, TRAILER_BYTES, Trailer};
use crate::format::superblock::Superblock;
use crate::format::tails::Tail;
use crate::io::{Buffer, FileId, IoError};
use crate::log::Segment;
use crate::units::{BatchSeq, Incarnation, Location, Lsn, SegmentId, UnixMillis};

/// Read at a time where a whole segment is looked through.
const PIECE_BYTES: u32 = 256 << 10;

/// One segment file.
pub(super) struct Source {
    pub(super) segment: SegmentId,
    pub(super) incarnation: Incarnation,
    pub(super) seq_min: BatchSeq,
    pub(super) seq_max: BatchSeq,
    pub(super) lsn_max: Lsn,
    pub(super) wall_max: UnixMillis,
    pub(super) killers: u32,
    pub(super) clear_seq: BatchSeq,
    pub(super) damages: u32,
    /// The footer, if it is to be trusted.
    trailer: Option<Trailer>,
    /// What a scan found instead.
    pub(super) scanned: Option<Scanned>,
    /// A footer must be written.
    pub(super) unsealed: bool,
    /// How far it was durable, by a superblock's slot.
    proved: Option<Proved>,
    /// When this use of the slot began, if its header can be read.
    pub(super) created: Option<UnixMillis>,
    /// Its first batch, if that can be read.
    first: Option<BatchHead>,
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

    pub(super) fn empty(segment: SegmentId, incarnation: Incarnation) -> Source {
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
            proved: None,
            created: None,
            first: None,
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

    /// Keeps it until both checkpoints are past it, as one with a clear.
    pub(super) fn keep(&mut self) {
        self.clear_seq = self.seq_max;
    }

    pub(super) fn row_share(&self) -> u32 {
        match (&self.trailer, &self.scanned) {
            (Some(trailer), _) => Segment::row_share(trailer.rows_bytes as usize, trailer.data_end),
            (None, Some(scanned)) => Segment::row_share(scanned.rows.len(), scanned.data_end),
            (None, None) => 0,
        }
    }

    /// Bytes of its footer's rows.
    pub(super) fn rows_bytes(&self) -> u64 {
        let scanned = self.scanned.as_ref().map_or(0, |scanned| scanned.rows.len() as u64);
        self.trailer.map_or(scanned, |trailer| u64::from(trailer.rows_bytes))
    }

    /// The latest time that the segment knows of: the clock at the next start is not before it.
    pub(super) fn latest(&self) -> UnixMillis {
        self.wall_max.max(self.created.unwrap_or(UnixMillis(0)))
    }

    /// Whether there is a header and nothing else.
    fn is_unused(&self) -> bool {
        self.incarnation > Incarnation(0) && self.trailer.is_none() && self.scanned.is_none()
    }

    /// The batch after the last that was found, if the first batch of the next segment of the stream
    /// follows it, and it is nowhere else. In one run, a slot is used again only when all segments
    /// before are sealed, so that one without a footer has its next.
    fn followed_by(
        &self,
        firsts: &[BatchHead],
        is_there: impl Fn(BatchSeq) -> bool,
    ) -> Option<Followed> {
        let scanned = self.scanned.as_ref()?;
        // Of a segment without any batch it is not known whose it was. The user stream is tried: what
        // is in there is taken only if it reads.
        let stream = scanned.first.map_or(0, |own| own.stream);
        // What was written before this use began follows nothing in it.
        let began = self.created.unwrap_or(UnixMillis(0));
        let later = firsts
            .iter()
            .filter(|head| head.stream == stream && head.seq > self.seq_max && head.wall >= began);
        let next = later.min_by_key(|head| head.seq)?;
        let certain = scanned.first.is_some_and(|own| own.run == next.run);
        if scanned.first.is_some() && !certain {
            return None;
        }
        let seq = next.follows().filter(|before| *before > self.seq_max && !is_there(*before))?;
        let next_lsn = (stream == 0).then_some(next.first_lsn);
        Some(Followed { seq, next_lsn, certain })
    }

    /// Whether there is a footer that may be trusted.
    pub(super) fn has_footer(&self) -> bool {
        self.trailer.is_some()
    }

    /// Where the footer is, in whole blocks.
    #[expect(clippy::cast_possible_truncation, reason = "a segment has at most 1 GiB")]
    pub(super) fn footer_place(&self, root: &Superblock) -> Option<(u64, usize)> {
        let trailer = self.trailer?;
        let start = u64::from(trailer.rows_offset) / 4096 * 4096;
        Some((start, (u64::from(root.segment_bytes) - start) as usize))
    }

    /// The rows, from the footer or else from a scan, with the touches of batches after `start`.
    pub(super) fn open(
        &mut self,
        disk: &mut Blocking<'_>,
        root: &Superblock,
        start: BatchSeq,
        footer: Option<Result<Buffer, IoError>>,
    ) -> Option<Cursor> {
        if let (Some(trailer), Some((at, bytes))) = (self.trailer, self.footer_place(root)) {
            let file = FileId::Segment(self.segment);
            let footer = footer.unwrap_or_else(|| disk.read(file, at, bytes));
            if let Some(rows) = footer.ok().and_then(|footer| Rows::of_footer(footer, &trailer)) {
                let place = touches::Place::new(root, self.segment, self.incarnation);
                let rows = touches::with_values(disk, &place, rows, start, &mut self.damages);
                return Cursor::new(self.segment, rows);
            }
            // Perhaps only cut off while it was written: what counts is the batches.
            tracing::warn!(segment = self.segment.0, "a footer does not read; scanning");
            let (end, seq) = (trailer.data_end, trailer.seq_max);
            let proof = Proof {
                durable_lsn: root.durable_lsn,
                proved: Some(Proved { end, seq, sealed: true }),
                followed: None,
            };
            self.adopt(scan_segment(disk, root, self.segment, self.incarnation, &proof));
        }
        let scanned = self.scanned.as_ref()?;
        Cursor::new(self.segment, Rows::Scanned(scanned.rows.clone()))
    }
}

/// Looks at every segment file.
pub(super) fn discover(
    disk: &mut Blocking<'_>,
    files: &[(FileId, u64)],
    root: &Superblock,
    tails: &[Tail],
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
        sources.push(inspect(disk, root, segment, tails)?);
        progress(Progress { phase: "reading segments", done: done as u64 + 1, total });
    }
    prove_elsewhere(disk, root, &mut sources);
    Ok(sources)
}

/// Scans segments again whose end looks like that of the log, while another segment shows that it is
/// not: the next batch of the stream is there, or one that knows more to have been durable.
fn prove_elsewhere(disk: &mut Blocking<'_>, root: &Superblock, sources: &mut [Source]) {
    let known = sources.iter().map(|source| match &source.scanned {
        Some(scanned) => scanned.durable_lsn,
        None => source.lsn_max,
    });
    let durable_lsn = known.fold(root.durable_lsn, Lsn::max);
    let firsts: Vec<BatchHead> = sources.iter().filter_map(|source| source.first).collect();
    let lasts: HashSet<BatchSeq> = sources.iter().map(|source| source.seq_max).collect();
    let is_there = |seq| lasts.contains(&seq);
    // The last batch of a segment that is not there: its segment was used again, or looks unused.
    let missing = firsts.iter().filter_map(BatchHead::follows).any(|seq| !is_there(seq));
    for source in sources {
        let followed = source.followed_by(&firsts, is_there);
        let torn = source.scanned.as_ref().is_some_and(|scanned| scanned.torn);
        let unused = missing && source.is_unused();
        if followed.is_some() || torn && durable_lsn > root.durable_lsn || unused {
            sometimes!(ProvedElsewhere);
            let proof = Proof { durable_lsn, followed, proved: source.proved };
            let again = scan_segment(disk, root, source.segment, source.incarnation, &proof);
            source.adopt(again);
        }
    }
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
    tails: &[Tail],
) -> Result<Source, OpenError> {
    let file = FileId::Segment(segment);
    let front_bytes = HEADER_BYTES as usize + 4096;
    let (front, unreadable) = disk.read_what_reads(file, 0, front_bytes);
    let readable = unreadable == 0;
    let head = SegmentHead::decode(&front);
    if let Err(DecodeError::Version(version)) = head {
        return Err(OpenError::Unsupported { file, version });
    }
    let ours = |store_id, id| store_id == root.store_id && id == segment;
    let head = head.ok().filter(|head| ours(head.store_id, head.segment));
    let (last, _) = disk.read_what_reads(file, u64::from(root.segment_bytes) - 4096, 4096);
    let trailer = Trailer::decode(&last[4096 - TRAILER_BYTES..], root.segment_bytes)
        .ok()
        .filter(|trailer| ours(trailer.store_id, trailer.segment));
    let first = BatchHead::decode(&front[HEADER_BYTES as usize..])
        .ok()
        .filter(|first| ours(first.store_id, first.segment));
    // A batch is written only after its segment's header: an older header means that the present one
    // never reached the disk, though it was reported to.
    let told = tails.iter().filter(|tail| tail.segment == segment);
    let newest = [trailer.map(|t| t.incarnation), first.map(|f| f.incarnation)];
    let newest =
        told.clone().map(|tail| tail.incarnation).chain(newest.into_iter().flatten()).max();
    let head = head.filter(|head| newest.is_none_or(|newest| newest <= head.incarnation));
    let incarnation = if let Some(head) = &head {
        head.incarnation
    } else {
        // The header is damaged, or a new one was being written when the power went.
        let fresh = readable && front.iter().all(|byte| *byte == 0);
        if !fresh {
            tracing::error!(segment = segment.0, "a segment header is damaged");
        }
        // A footer alone may be of the use before: where this one's own never arrived.
        let found = if fresh { None } else { Some(last_incarnation(disk, root, segment)) };
        newest.max(found).unwrap_or_default()
    };
    let told = told.filter(|tail| tail.incarnation == incarnation).max_by_key(|tail| tail.seq);
    let proved = told.map(|&Tail { end, seq, .. }| Proved { end, seq, sealed: false });
    let mut source = Source::empty(segment, incarnation);
    source.created = head.map(|head| head.created);
    source.first = first.filter(|first| first.incarnation == incarnation);
    let trailer = trailer.filter(|trailer| trailer.incarnation == incarnation);
    // A footer without batches closed a use in which none was acknowledged: it only tells the number.
    let closed = trailer.is_some_and(|trailer| trailer.seq_max == BatchSeq(0));
    if let Some(trailer) = trailer.filter(|_| !closed) {
        source.seq_min = trailer.seq_min;
        source.seq_max = trailer.seq_max;
        source.lsn_max = trailer.lsn_max;
        // Not known without its rows: as if any of them might matter.
        source.killers = 1;
        source.clear_seq = trailer.seq_max;
        source.trailer = Some(trailer);
    } else if !closed
        && incarnation > Incarnation(0)
        && (proved.is_some()
            || !(readable && untouched(&front, first.as_ref(), incarnation))
            || goes_on(disk, root, segment, incarnation))
    {
        let proof = Proof { durable_lsn: root.durable_lsn, proved, followed: None };
        source.proved = proved;
        source.adopt(scan_segment(disk, root, segment, incarnation, &proof));
    }
    Ok(source)
}

/// The newest use of a segment whose header is damaged, by the batches in it.
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

/// Whether there is any batch of this use though the first one's place holds none: a write that was
/// reported and never made, or made elsewhere, must not take the batches behind it.
fn goes_on(
    disk: &mut Blocking<'_>,
    root: &Superblock,
    segment: SegmentId,
    incarnation: Incarnation,
) -> bool {
    /// Of a batch with one record, beside its value.
    const BESIDE_VALUE: u32 = 128 << 10;
    // No value is longer than half a segment, so that the second batch begins before this.
    let end = (root.segment_bytes / 2).saturating_add(BESIDE_VALUE).min(root.segment_bytes);
    let places = (HEADER_BYTES..end).step_by(PIECE_BYTES as usize).map(|start| {
        let bytes = PIECE_BYTES.min(root.segment_bytes - start);
        (u64::from(start), bytes as usize)
    });
    let ours = |head: BatchHead| {
        head.store_id == root.store_id && head.segment == segment && head.incarnation == incarnation
    };
    let looked = disk.read_each(FileId::Segment(segment), places, |_, bytes| {
        // What does not read may hold anything.
        let bytes = bytes.map_err(|_| ())?;
        let any = bytes.chunks(512).any(|block| BatchHead::decode(block).is_ok_and(ours));
        if any { Err(()) } else { Ok(()) }
    });
    looked.is_err()
}

/// What tells batches of a segment that were durable from its end.
struct Proof {
    durable_lsn: Lsn,
    proved: Option<Proved>,
    followed: Option<Followed>,
}

fn scan_segment(
    disk: &mut Blocking<'_>,
    root: &Superblock,
    segment: SegmentId,
    incarnation: Incarnation,
    proof: &Proof,
) -> Scanned {
    let (bytes, unreadable) = disk.read_all(FileId::Segment(segment), root.segment_bytes);
    let Proof { durable_lsn, proved, followed } = *proof;
    let store_id = root.store_id;
    let subject = Subject { store_id, segment, incarnation, durable_lsn, proved, followed };
    let mut scanned = scan(&bytes, &subject);
    scanned.damages += unreadable;
    scanned
}
