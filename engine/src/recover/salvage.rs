//! What can still be read where a batch is damaged, and the names of what cannot.

use std::collections::HashSet;

use super::scan::{Followed, push_row};
use crate::format::batch::{BatchHead, IDENTITY_BYTES};
use crate::format::bytes::Seed;
use crate::format::record::{self, Kind};
use crate::format::segment::{push_lost_row, skip_row};
use crate::log::{LOST_END_MARK, NO_KEY_MARK};
use crate::units::{Lsn, RECORD_ALIGN};

/// What can still be read where a batch is damaged.
pub(super) struct Salvaged {
    pub(super) rows: Vec<u8>,
    pub(super) heads: Vec<record::Head>,
    /// Where the last of them ends.
    pub(super) end: usize,
}

impl Salvaged {
    /// Whether this may be of the batch that another follows, or of ones before it.
    pub(super) fn precedes(&self, followed: &Followed) -> bool {
        let Some(last) = self.heads.last() else { return followed.certain };
        // Of which stream it was is not known without a header: then it has to fit to the number.
        followed.next_lsn.is_none_or(|next| {
            if followed.certain { last.lsn < next } else { last.lsn.next() == next }
        })
    }

    /// Appends its rows, with those of lost records among them at their places.
    pub(super) fn push_rows(&self, named: &Named, out: &mut Vec<u8>) {
        named.doubtful.iter().for_each(|word| push_lost_row(out, *word));
        let mut lost = named.lost.iter().peekable();
        let mut rows = &self.rows[..];
        for head in &self.heads {
            while let Some((_, word)) = lost.next_if(|(lsn, _)| *lsn < head.lsn) {
                push_lost_row(out, *word);
            }
            let Ok((_, end)) = skip_row(rows, 0) else { break };
            let (row, rest) = rows.split_at(end.min(rows.len()));
            out.extend_from_slice(row);
            rows = rest;
        }
        lost.for_each(|(_, word)| push_lost_row(out, *word));
    }
}

/// Takes every record that verifies, from `start` to the end of `bytes`.
pub(super) fn salvage(bytes: &[u8], start: usize, seed: Seed) -> Salvaged {
    let mut at = start.next_multiple_of(RECORD_ALIGN);
    let mut salvaged = Salvaged { rows: Vec::new(), heads: Vec::new(), end: at };
    while at + record::HEADER_BYTES <= bytes.len() {
        match record::decode(&bytes[at..], seed) {
            // A damaged value keeps its row: the entry then says so when it is read. A damaged
            // touch list is of no use.
            Ok(record) if record.value_ok || record.head.kind == Kind::Put => {
                push_row(&mut salvaged.rows, at, &record);
                salvaged.heads.push(record.head);
                at += record.head.padded_bytes();
                salvaged.end = at;
            }
            _ => at += RECORD_ALIGN,
        }
    }
    salvaged
}

/// Records that could not be read, as the list of identities names them.
#[derive(Default)]
pub(super) struct Named {
    /// Of survivors, some of which may have been read after all.
    pub(super) doubtful: Vec<u64>,
    /// Of users, with their LSNs.
    pub(super) lost: Vec<(Lsn, u64)>,
}

/// Names the records of a damaged batch that were not kept, from its list of identities: the
/// position of a record in it follows from its LSN in the user stream, from its order elsewhere.
pub(super) fn name_lost(
    bytes: &[u8],
    records_end: usize,
    head: &BatchHead,
    salvaged: &Salvaged,
) -> Named {
    let mut named = Named::default();
    let list = bytes.get(records_end..records_end + head.count as usize * IDENTITY_BYTES);
    let Some(list) = list.filter(|list| crc32fast::hash(list) == head.identities_crc) else {
        tracing::error!(
            segment = head.segment.0,
            "the list of a damaged batch's keys is damaged too: keys unknown"
        );
        return named;
    };
    let kept: HashSet<Lsn> = salvaged.heads.iter().map(|head| head.lsn).collect();
    for (position, identity) in list.chunks_exact(IDENTITY_BYTES).enumerate() {
        let Ok(word) = identity.try_into() else { continue };
        let word = u64::from_le_bytes(word);
        let lsn = Lsn(head.first_lsn.0 + position as u64);
        if head.stream != 0 {
            named.doubtful.push(word);
        } else if !kept.contains(&lsn) {
            // Right behind a part of a group there is its commit, or the next part, or, after a crash,
            // what voids it: the first record of an opening of the store.
            let ends = word == NO_KEY_MARK && (position > 0 || !may_begin_run(head));
            named.lost.push((lsn, if ends { LOST_END_MARK } else { word }));
        }
    }
    named
}

/// Whether the batch may be the first of its stream since the store was opened.
fn may_begin_run(head: &BatchHead) -> bool {
    /// Runs are numbered by the batch that comes first in them, modulo this.
    const RUNS: u64 = 1 << 24;
    let since = head.seq.0.wrapping_sub(u64::from(head.run)) % RUNS;
    head.step == 0 || u64::from(head.step) > since
}
