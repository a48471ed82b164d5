//! Reading a segment that has no usable footer, batch by batch: the recovery table, rows R1 to R5.
//!
//! | case | seen | decision |
//! |---|---|---|
//! | R1 | a valid batch | its rows |
//! | R2 | nothing valid from here to the end | end of log |
//! | R3 | a damaged batch, and nothing later proves that it was durable | torn tail: stop |
//! | R4 | a damaged batch, and something does | corruption: salvage, name the lost, go on |
//! | R5 | a damaged batch before the place up to which all is known to have been durable | as R4 |
//!
//! A stream has one batch in flight, so any later valid batch of it proves that the one before was
//! durable, in this segment or in the next; so do the superblock's durable LSN and what its slot says
//! of the segment.

use super::salvage::{Named, Salvaged, name_lost, salvage};
use crate::format::batch::{self, BatchHead};
use crate::format::bytes::Seed;
use crate::format::record::{self, Kind};
use crate::format::segment::{self, BatchRow, HEADER_BYTES};
use crate::units::{BatchSeq, Incarnation, Lsn, SegmentId, UnixMillis};

/// Smallest unit in which batches were ever placed.
const BLOCK_MIN: usize = 512;

/// Its list of keys cannot be found either.
const HEADER_GONE: &str =
    "a batch header is damaged, and of records that do not read the keys unknown";

/// What is known of a segment before it is scanned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    pub(crate) store_id: u64,
    pub(crate) segment: SegmentId,
    pub(crate) incarnation: Incarnation,
    /// How far the user stream was durable, by the superblock or by what other segments hold.
    pub(crate) durable_lsn: Lsn,
    /// How far the segment itself was.
    pub(crate) proved: Option<Proved>,
    /// The log goes on in another segment.
    pub(crate) followed: Option<Followed>,
}

/// The batch that the first of its stream in another segment follows: it was durable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Followed {
    pub(crate) seq: BatchSeq,
    /// In the user stream, the LSN that comes after its last.
    pub(crate) next_lsn: Option<Lsn>,
    /// It was in this segment. Otherwise only what reads tells.
    pub(crate) certain: bool,
}

/// How far a segment was durable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proved {
    /// Where the batches end that were.
    pub(crate) end: u32,
    /// The newest of them.
    pub(crate) seq: BatchSeq,
    /// Nothing was written behind them.
    pub(crate) sealed: bool,
}

impl Subject {
    /// Whether the batch at `at` was durable whatever it looks like now.
    fn proves(&self, at: usize, head: &BatchHead) -> bool {
        self.proved.is_some_and(|proved| at < proved.end as usize)
            || head.stream == 0 && head.first_lsn <= self.durable_lsn
            || self.followed.is_some_and(|followed| head.seq <= followed.seq)
    }
}

/// What a scan found.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    /// Footer rows, as sealing would have written them.
    pub(crate) rows: Vec<u8>,
    pub(crate) data_end: u32,
    pub(crate) seq_min: BatchSeq,
    pub(crate) seq_max: BatchSeq,
    pub(crate) lsn_max: Lsn,
    pub(crate) killers: u32,
    pub(crate) clear_seq: BatchSeq,
    pub(crate) wall_max: UnixMillis,
    /// Damaged places.
    pub(crate) damages: u32,
    /// It ends in a batch that was never acknowledged (R3).
    pub(crate) torn: bool,
    /// The first valid batch.
    pub(crate) first: Option<BatchHead>,
    /// How far the user stream was durable, by these batches.
    pub(crate) durable_lsn: Lsn,
}

/// Scans the bytes of one segment.
#[expect(clippy::cast_possible_truncation, reason = "a segment has at most 1 GiB")]
pub(crate) fn scan(bytes: &[u8], subject: &Subject) -> Scanned {
    let seed = Seed::new(subject.store_id, subject.segment, subject.incarnation);
    let mut found = Scanned { data_end: HEADER_BYTES, ..Scanned::default() };
    let mut at = HEADER_BYTES as usize;
    let sealed = subject.proved.filter(|proved| proved.sealed);
    let end = sealed.map_or(bytes.len(), |proved| (proved.end as usize).min(bytes.len()));
    let mut stray = None;
    while at + batch::HEADER_BYTES <= end {
        let next = next_head(bytes, at, subject, found.seq_max);
        if let Some((place, lost)) = stray.take_if(|(_, stray)| precedes(stray, next.as_ref())) {
            take(bytes, place, &lost, seed, &mut found);
            continue;
        }
        let Some((next, head)) = next else {
            salvage_tail(&bytes[..end], at, subject, &mut found);
            break;
        };
        if let Some((after, follower)) = astray(bytes, (at, next), &head, subject, found.seq_max) {
            damaged(subject, at, "a batch is in the place of another", &mut found);
            let seq = follower.follows().unwrap_or(found.seq_max);
            let salvaged = salvage(&bytes[..after], end_of(next, &head), seed);
            keep(&salvaged, &Named::default(), (next, seq, follower.wall), &mut found);
            stray = Some((next, head));
            at = after;
            continue;
        }
        if !adjoins(at, next, &head, &found) {
            // R4: the header of a durable batch is damaged; its records may not be.
            damaged(subject, at, HEADER_GONE, &mut found);
            let seq = head.follows().unwrap_or(BatchSeq(head.seq.0 - 1)).max(found.seq_max);
            let salvaged = salvage(&bytes[..next], at + batch::HEADER_BYTES, seed);
            keep(&salvaged, &Named::default(), (at, seq, head.wall), &mut found);
        }
        at = next;
        if !take(bytes, at, &head, seed, &mut found) {
            let records_end = records_end(at, &head);
            let after = end_of(at, &head);
            let proof =
                subject.proves(at, &head) || next_head(bytes, after, subject, head.seq).is_some();
            if !proof && !planted!(ReplayPastTear) {
                tracing::info!(
                    segment = subject.segment.0,
                    offset = at,
                    "torn tail, never acknowledged"
                );
                found.torn = true;
                break;
            }
            damaged(subject, at, "a record is damaged", &mut found);
            let salvaged = salvage(&bytes[..records_end], at + batch::HEADER_BYTES, seed);
            let named = name_lost(bytes, records_end, &head, &salvaged);
            keep(&salvaged, &named, (at, head.seq, head.wall), &mut found);
        }
        at = end_of(at, &head);
        found.data_end = at as u32;
    }
    found
}

fn records_end(at: usize, head: &BatchHead) -> usize {
    at + batch::HEADER_BYTES + head.bytes as usize
}

/// Where the next batch may begin.
#[expect(clippy::cast_possible_truncation, reason = "it fits the segment")]
fn end_of(at: usize, head: &BatchHead) -> usize {
    (at + head.batch_bytes() as usize).next_multiple_of(BLOCK_MIN)
}

/// R1: takes a batch if all of it verifies.
fn take(bytes: &[u8], at: usize, head: &BatchHead, seed: Seed, found: &mut Scanned) -> bool {
    note_head(head, found);
    let mut rows = Vec::new();
    let whole = walk(&bytes[..records_end(at, head)], at, head, seed, &mut rows);
    if whole {
        accept(head, &rows, found);
    }
    whole
}

/// Whether the batch `head` at `next` was meant for a later place in its segment: an older one
/// follows, and there is no gap that this one could have been meant for. Returns the one that follows.
fn astray(
    bytes: &[u8],
    (at, next): (usize, usize),
    head: &BatchHead,
    subject: &Subject,
    after: BatchSeq,
) -> Option<(usize, BatchHead)> {
    let in_place = next == at || after > BatchSeq(0) && next == at.next_multiple_of(4096);
    if !in_place || head.follows() == Some(after) {
        return None;
    }
    let follower = next_head(bytes, end_of(next, head), subject, after)?;
    (follower.1.seq < head.seq).then_some(follower)
}

/// Whether a batch that went astray comes before the next one in its place.
fn precedes(stray: &BatchHead, next: Option<&(usize, BatchHead)>) -> bool {
    next.is_none_or(|(_, next)| stray.seq < next.seq)
}

/// Whether there is nothing but padding between `end`, where the batches found so far end, and the
/// batch `head` at `next`. The block may have changed between the two.
fn adjoins(end: usize, next: usize, head: &BatchHead, found: &Scanned) -> bool {
    next == end
        || found.first.is_some()
            && next == end.next_multiple_of(4096)
            && head.follows().is_none_or(|before| before == found.seq_max)
}

fn valid_head(bytes: &[u8], at: usize, subject: &Subject, after: BatchSeq) -> Option<BatchHead> {
    let head = BatchHead::decode(bytes.get(at..)?).ok()?;
    let fits = at as u64 + head.batch_bytes() <= bytes.len() as u64;
    let ours = head.store_id == subject.store_id
        && head.segment == subject.segment
        && head.incarnation == subject.incarnation
        && head.seq > after;
    (fits && ours).then_some(head)
}

fn next_head(
    bytes: &[u8],
    from: usize,
    subject: &Subject,
    after: BatchSeq,
) -> Option<(usize, BatchHead)> {
    let first = from.next_multiple_of(BLOCK_MIN);
    (first..bytes.len()).step_by(BLOCK_MIN).find_map(|at| {
        let head = valid_head(bytes, at, subject, after)?;
        Some((at, head))
    })
}

/// Walks the records of a batch whose end `bytes` marks; false if one is damaged.
#[expect(clippy::cast_possible_truncation, reason = "a segment has at most 1 GiB")]
fn walk(bytes: &[u8], at: usize, head: &BatchHead, seed: Seed, rows: &mut Vec<u8>) -> bool {
    let row = BatchRow { offset: at as u32, count: head.count, seq: head.seq, wall: head.wall };
    segment::push_batch_row(rows, &row);
    let mut offset = at + batch::HEADER_BYTES;
    for _ in 0..head.count {
        let Some(rest) = bytes.get(offset..) else { return false };
        let Ok(record) = record::decode(rest, seed) else { return false };
        if !record.value_ok {
            return false;
        }
        push_row(rows, offset, &record);
        offset += record.head.padded_bytes();
    }
    offset == bytes.len()
}

#[expect(clippy::cast_possible_truncation, reason = "a segment has at most 1 GiB")]
pub(super) fn push_row(rows: &mut Vec<u8>, offset: usize, record: &record::Record<'_>) {
    let name = if record.head.kind == Kind::Touch { record.value } else { record.name };
    segment::push_record_row(rows, offset as u32, &record.head, name);
}

fn accept(head: &BatchHead, rows: &[u8], found: &mut Scanned) {
    found.rows.extend_from_slice(rows);
    note_batch(head.seq, head.wall, found);
    let mut at = segment::batch_row_bytes();
    while let Ok((segment::Row::Record(row), next)) = segment::decode_row(rows, at) {
        note_record(&row.head, head.seq, found);
        at = next;
    }
}

fn note_head(head: &BatchHead, found: &mut Scanned) {
    found.first.get_or_insert(*head);
    // A batch of the user stream was handed to the disk when all before it were durable.
    let before = if head.stream == 0 { Lsn(head.first_lsn.0.saturating_sub(1)) } else { Lsn::NONE };
    found.durable_lsn = found.durable_lsn.max(head.durable_lsn).max(before);
}

fn note_batch(seq: BatchSeq, wall: UnixMillis, found: &mut Scanned) {
    if found.seq_min == BatchSeq(0) {
        found.seq_min = seq;
    }
    found.seq_max = found.seq_max.max(seq);
    found.wall_max = found.wall_max.max(wall);
}

pub(crate) fn note_record(head: &record::Head, seq: BatchSeq, found: &mut Scanned) {
    found.lsn_max = found.lsn_max.max(head.lsn);
    let hides = matches!(head.kind, Kind::Delete | Kind::Touch) || head.expires_at.is_some();
    found.killers += u32::from(hides);
    if matches!(head.kind, Kind::Clear | Kind::Open) {
        found.clear_seq = seq;
    }
}

fn damaged(subject: &Subject, offset: usize, what: &str, found: &mut Scanned) {
    tracing::error!(segment = subject.segment.0, offset, "{what}: acknowledged data is corrupt");
    found.damages += 1;
}

/// No batch header reads from `at` on: takes what is left of batches that are known to have been there.
#[expect(clippy::cast_possible_truncation, reason = "a segment has at most 1 GiB")]
fn salvage_tail(bytes: &[u8], at: usize, subject: &Subject, found: &mut Scanned) {
    let seed = Seed::new(subject.store_id, subject.segment, subject.incarnation);
    let salvaged = salvage(bytes, at + batch::HEADER_BYTES, seed);
    let end = match (subject.proved, subject.followed) {
        // R5: the newest batch that was durable in here has not been met.
        (Some(proved), _) if found.seq_max < proved.seq => {
            let seq = subject.followed.map_or(proved.seq, |followed| followed.seq.max(proved.seq));
            keep(&salvaged, &Named::default(), (at, seq, found.wall_max), found);
            salvaged.end.max(proved.end as usize)
        }
        (_, Some(followed)) if found.seq_max < followed.seq && salvaged.precedes(&followed) => {
            keep(&salvaged, &Named::default(), (at, followed.seq, found.wall_max), found);
            salvaged.end
        }
        _ => return,
    };
    damaged(subject, at, HEADER_GONE, found);
    found.data_end = end.next_multiple_of(BLOCK_MIN).min(bytes.len()) as u32;
}

/// Enters what was salvaged as the batch `seq` at `batch_at`, with what is known to be missing.
#[expect(clippy::cast_possible_truncation, reason = "a segment has at most 1 GiB")]
fn keep(
    salvaged: &Salvaged,
    named: &Named,
    (batch_at, seq, wall): (usize, BatchSeq, UnixMillis),
    found: &mut Scanned,
) {
    let count = salvaged.heads.len() as u32;
    let row = BatchRow { offset: batch_at as u32, count, seq, wall };
    segment::push_batch_row(&mut found.rows, &row);
    salvaged.push_rows(named, &mut found.rows);
    if !(named.doubtful.is_empty() && named.lost.is_empty()) {
        // Like a clear: nobody carries it on.
        found.clear_seq = seq;
    }
    for head in &salvaged.heads {
        note_record(head, seq, found);
    }
    note_batch(seq, wall, found);
}

#[cfg(test)]
mod tests;
