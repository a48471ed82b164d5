//! What was written where: so that a judge of damage can tell what the disk took from what the
//! engine forgot.
//!
//! Owns: [`Ledger`], the acknowledged batches as they should stand on disk.
//! Never knows: what the engine made of them.
//! Invariant: only faults beyond the model damage an acknowledged batch.

use std::collections::{BTreeMap, BTreeSet};

use super::disk::SimDisk;
use crate::format::batch::{BatchHead, HEADER_BYTES, IDENTITY_BYTES};
use crate::format::bytes::Seed;
use crate::format::record::{self, GROUPED, Head, Kind};
use crate::format::segment::SegmentHead;
use crate::io::{FileId, IoId, IoRequest};
use crate::log::{CLEAR_MARK, NO_KEY_MARK, USER_STREAM};
use crate::units::{Incarnation, SegmentId, UnixMillis};

/// A batch as it was written.
#[derive(Clone, Debug)]
struct Written {
    head: BatchHead,
    bytes: Box<[u8]>,
    acknowledged: bool,
}

impl Written {
    /// Where its list of identities begins and ends.
    fn list(&self) -> std::ops::Range<usize> {
        let start = HEADER_BYTES + self.head.bytes as usize;
        start..start + self.head.count as usize * IDENTITY_BYTES
    }

    /// Its keys as the list names them.
    fn words(&self) -> impl Iterator<Item = u64> {
        let list = self.bytes.get(self.list()).unwrap_or_default();
        let word = |word: &[u8]| word.try_into().map_or(NO_KEY_MARK, u64::from_le_bytes);
        list.chunks_exact(IDENTITY_BYTES).map(word)
    }

    /// Its records' heads, with what the list has for them.
    fn records(&self) -> Vec<(Head, u64)> {
        let BatchHead { store_id, segment, incarnation, .. } = self.head;
        let seed = Seed::new(store_id, segment, incarnation);
        let mut at = HEADER_BYTES;
        let next = |word| {
            let (head, ..) = record::decode_head(self.bytes.get(at..)?, seed).ok()?;
            at += head.padded_bytes();
            Some((head, word))
        };
        self.words().map_while(next).collect()
    }
}

/// Keys that damage may have taken without a trace of their names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Shaken {
    /// As the log names keys.
    pub keys: BTreeSet<u64>,
    /// Namespaces whose clearing may have been lost.
    pub cleared: BTreeSet<u16>,
}

/// Every batch of the present uses of all segments.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    batches: BTreeMap<(SegmentId, u64), Written>,
    flying: BTreeMap<IoId, (SegmentId, u64)>,
    /// Whether to keep the bytes; else only times are noted.
    keeps: bool,
    /// The latest time that stands in an acknowledged batch.
    pub wall: UnixMillis,
}

impl Ledger {
    /// An empty ledger. `keeps`: of batches too, not of times only.
    pub fn new(keeps: bool) -> Ledger {
        Ledger { keeps, ..Ledger::default() }
    }

    /// Notes what a request is about to write.
    pub fn note_start(&mut self, id: IoId, request: &IoRequest) {
        let IoRequest::Write { file: FileId::Segment(segment), offset, buffer, bytes, .. } =
            request
        else {
            return;
        };
        let content = &buffer[..*bytes];
        if *offset == 0
            && let Ok(head) = SegmentHead::decode(content)
        {
            self.forget(*segment, head.incarnation);
        }
        let Ok(head) = BatchHead::decode(content) else { return };
        let bytes = if self.keeps { content } else { &[] };
        let written = Written { head, bytes: bytes.into(), acknowledged: false };
        self.batches.insert((*segment, *offset), written);
        self.flying.insert(id, (*segment, *offset));
    }

    /// A segment is used anew.
    fn forget(&mut self, segment: SegmentId, incarnation: Incarnation) {
        self.batches
            .retain(|(id, _), written| *id != segment || written.head.incarnation == incarnation);
    }

    /// Notes that a request has succeeded.
    pub fn note_done(&mut self, id: IoId, succeeded: bool) {
        let Some(place) = self.flying.remove(&id) else { return };
        if !succeeded {
            return;
        }
        if let Some(written) = self.batches.get_mut(&place) {
            written.acknowledged = true;
            self.wall = self.wall.max(written.head.wall);
        }
        if !self.keeps {
            self.batches.remove(&place);
        }
    }

    /// The process has ended: what was under way was never acknowledged.
    pub fn crashed(&mut self) {
        self.flying.clear();
        self.batches.retain(|_, written| written.acknowledged);
    }

    /// What damage has taken without a name: batches whose header or list of keys is damaged, and
    /// at the end of what can be proved batches with any damage, because they look like writes that
    /// were never finished.
    pub fn shaken(&self, disk: &SimDisk) -> Shaken {
        let mut shaken = Shaken::default();
        let intact = |place: &(SegmentId, u64), part: std::ops::Range<usize>| {
            let written = &self.batches[place];
            let file = FileId::Segment(place.0);
            disk.holds(file, place.1, &written.bytes, part)
        };
        let whole: BTreeMap<&(SegmentId, u64), bool> = self
            .batches
            .iter()
            .map(|(place, written)| (place, intact(place, 0..written.bytes.len())))
            .collect();
        for (place, written) in &self.batches {
            if whole[place] {
                continue;
            }
            let named = intact(place, 0..HEADER_BYTES) && intact(place, written.list());
            let proved = self.is_proved(place, written, &whole);
            tracing::info!(?place, head = ?written.head, named, proved, "a batch is damaged");
            if !named || !proved {
                written.words().for_each(|word| shaken.add(word));
            }
            let last = |(other, later): (_, &Written)| {
                let newer = later.head.seq > written.head.seq;
                !(newer && later.head.stream == USER_STREAM as u8 && whole[other])
            };
            if !proved && self.batches.iter().all(last) {
                self.shake_group(written, &mut shaken);
            }
        }
        shaken
    }

    /// The end of the log is missing: a group that ended, or went on, in there never happened, and
    /// what it has written before is void too.
    fn shake_group(&self, end: &Written, shaken: &mut Shaken) {
        let is_part = |head: &Head| head.flags & GROUPED != 0;
        let Some((first, _)) = end.records().first().copied() else { return };
        if !is_part(&first) && first.kind != Kind::Commit {
            return;
        }
        let mut before: Vec<&Written> = self.batches.values().collect();
        before.retain(|b| b.head.stream == USER_STREAM as u8 && b.head.seq < end.head.seq);
        before.sort_by_key(|batch| batch.head.seq);
        let records = before.into_iter().rev().flat_map(|batch| batch.records().into_iter().rev());
        let mut next = first.lsn.0;
        for (head, word) in records {
            if !is_part(&head) || head.lsn.0 + 1 != next {
                return;
            }
            next = head.lsn.0;
            shaken.add(word);
        }
    }

    /// Whether a later batch that is intact says that this one was on stable storage.
    fn is_proved(
        &self,
        place: &(SegmentId, u64),
        written: &Written,
        whole: &BTreeMap<&(SegmentId, u64), bool>,
    ) -> bool {
        self.batches.iter().any(|(other, later)| {
            let same_segment = other.0 == place.0 && later.head.seq > written.head.seq;
            whole[other] && same_segment
        })
    }
}

impl Shaken {
    /// Notes a key as a batch's list names it.
    fn add(&mut self, word: u64) {
        if word & NO_KEY_MARK == CLEAR_MARK {
            self.cleared.insert((word >> 48) as u16);
        } else if word & NO_KEY_MARK != NO_KEY_MARK {
            self.keys.insert(word);
        }
    }
}

#[cfg(test)]
mod tests;
