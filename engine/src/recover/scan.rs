//! Reading a segment that has no usable footer, batch by batch: the recovery table, rows R1 to R5.
//!
//! | case | seen | decision |
//! |---|---|---|
//! | R1 | a valid batch | its rows |
//! | R2 | nothing valid from here to the end | end of log |
//! | R3 | a damaged batch, and nothing later proves that it was durable | torn tail: stop |
//! | R4 | a damaged batch, and something does | corruption: salvage, name the lost, go on |
//! | R5 | a damaged batch in a sealed segment | as R4 |
//!
//! A stream has one batch in flight, so any later valid batch of the same use of the segment proves
//! that the one before it was durable; so does the superblock's durable LSN.

use crate::format::batch::{self, BatchHead, IDENTITY_BYTES};
use crate::format::bytes::Seed;
use crate::format::record::{self, Kind};
use crate::format::segment::{self, BatchRow, HEADER_BYTES};
use crate::units::{BatchSeq, Incarnation, Lsn, RECORD_ALIGN, SegmentId, UnixMillis};

/// Smallest unit in which batches were ever placed.
const BLOCK_MIN: usize = 512;

/// What is known of a segment before it is scanned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    pub(crate) store_id: u64,
    pub(crate) segment: SegmentId,
    pub(crate) incarnation: Incarnation,
    /// The superblock's word on what was durable.
    pub(crate) durable_lsn: Lsn,
    /// The segment was sealed: everything up to here was durable.
    pub(crate) sealed_end: Option<u32>,
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
    /// Packed identities of user records that could not be read, with the batch they were in; they
    /// are newer than what else the batch says of them.
    pub(crate) lost: Vec<(BatchSeq, u64)>,
    /// The same of survivor records, some of which may have been read after all.
    pub(crate) doubtful: Vec<(BatchSeq, u64)>,
}

/// Scans the bytes of one segment.
#[expect(clippy::cast_possible_truncation, reason = "a segment has at most 1 GiB")]
pub(crate) fn scan(bytes: &[u8], subject: &Subject) -> Scanned {
    let seed = Seed::new(subject.store_id, subject.segment, subject.incarnation);
    let mut found = Scanned { data_end: HEADER_BYTES, ..Scanned::default() };
    let mut at = HEADER_BYTES as usize;
    let end = subject.sealed_end.map_or(bytes.len(), |end| (end as usize).min(bytes.len()));
    while at + batch::HEADER_BYTES <= end {
        let Some(head) = valid_head(bytes, at, subject, found.seq_max) else {
            let Some((next, head)) = next_head(bytes, at, subject, found.seq_max) else {
                // The padding of the last batch is zeros.
                if subject.sealed_end.is_some() && bytes[at..end].iter().any(|byte| *byte != 0) {
                    // R5: the last batch of a sealed segment.
                    damaged(subject, at, "the last batch header is damaged", &mut found);
                    let place = (at, found.seq_max.next(), found.wall_max);
                    salvage(&bytes[..end], at + batch::HEADER_BYTES, seed, place, &mut found);
                    found.data_end = end as u32;
                }
                break;
            };
            // R4: the header of a durable batch is damaged; its records may not be.
            damaged(subject, at, "a batch header is damaged", &mut found);
            let seq = BatchSeq(head.seq.0 - 1);
            salvage(
                &bytes[..next],
                at + batch::HEADER_BYTES,
                seed,
                (at, seq, head.wall),
                &mut found,
            );
            at = next;
            continue;
        };
        let length = head.batch_bytes() as usize;
        let records_end = at + batch::HEADER_BYTES + head.bytes as usize;
        let mut rows = Vec::new();
        if walk(&bytes[..records_end], at, &head, seed, &mut rows) {
            accept(&head, &rows, &mut found);
        } else {
            let after = (at + length).next_multiple_of(BLOCK_MIN);
            let proof = subject.sealed_end.is_some()
                || head.stream == 0 && head.first_lsn <= subject.durable_lsn
                || next_head(bytes, after, subject, head.seq).is_some();
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
            let place = (at, head.seq, head.wall);
            let start = at + batch::HEADER_BYTES;
            let kept = salvage(&bytes[..records_end], start, seed, place, &mut found);
            name_lost(bytes, records_end, &head, &kept, &mut found);
        }
        at = next_batch(bytes, at + length, subject, found.seq_max);
        found.data_end = at as u32;
    }
    found
}

/// Where the batch after one that ends at `end` starts: padded to the store's block, which may have
/// changed between two batches.
fn next_batch(bytes: &[u8], end: usize, subject: &Subject, after: BatchSeq) -> usize {
    let near = end.next_multiple_of(BLOCK_MIN);
    let far = end.next_multiple_of(4096);
    if near != far && valid_head(bytes, near, subject, after).is_none() {
        let mut at = near;
        while at < far {
            if valid_head(bytes, at, subject, after).is_some() {
                return at;
            }
            at += BLOCK_MIN;
        }
        if valid_head(bytes, far, subject, after).is_some() {
            return far;
        }
    }
    near
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
fn push_row(rows: &mut Vec<u8>, offset: usize, record: &record::Record<'_>) {
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

/// Takes what can still be read from a damaged batch; returns the LSNs of the records kept.
#[expect(clippy::cast_possible_truncation, reason = "a segment has at most 1 GiB")]
fn salvage(
    bytes: &[u8],
    start: usize,
    seed: Seed,
    (batch_at, seq, wall): (usize, BatchSeq, UnixMillis),
    found: &mut Scanned,
) -> Vec<Lsn> {
    let mut rows = Vec::new();
    let mut kept = Vec::new();
    let mut at = start.next_multiple_of(RECORD_ALIGN);
    while at + record::HEADER_BYTES <= bytes.len() {
        match record::decode(&bytes[at..], seed) {
            // A damaged value keeps its row: the entry then says so when it is read. A damaged
            // touch list is of no use.
            Ok(record) if record.value_ok || record.head.kind == Kind::Put => {
                push_row(&mut rows, at, &record);
                note_record(&record.head, seq, found);
                kept.push(record.head.lsn);
                at += record.head.padded_bytes();
            }
            _ => at += RECORD_ALIGN,
        }
    }
    let row = BatchRow { offset: batch_at as u32, count: kept.len() as u32, seq, wall };
    segment::push_batch_row(&mut found.rows, &row);
    found.rows.extend_from_slice(&rows);
    note_batch(seq, wall, found);
    kept
}

/// Names the records of a damaged batch that were not kept, from its list of identities: the
/// position of a record in it follows from its LSN in the user stream, from its order elsewhere.
fn name_lost(
    bytes: &[u8],
    records_end: usize,
    head: &BatchHead,
    kept: &[Lsn],
    found: &mut Scanned,
) {
    let list = bytes.get(records_end..records_end + head.count as usize * IDENTITY_BYTES);
    let Some(list) = list.filter(|list| crc32fast::hash(list) == head.identities_crc) else {
        tracing::error!(
            segment = head.segment.0,
            "the list of a damaged batch's keys is damaged too: keys unknown"
        );
        return;
    };
    for (position, identity) in list.chunks_exact(IDENTITY_BYTES).enumerate() {
        let Ok(word) = identity.try_into() else { continue };
        let named = (head.seq, u64::from_le_bytes(word));
        if head.stream != 0 {
            found.doubtful.push(named);
        } else if !kept.contains(&Lsn(head.first_lsn.0 + position as u64)) {
            found.lost.push(named);
        }
    }
}
