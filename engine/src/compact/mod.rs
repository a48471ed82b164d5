//! Which segment to compact, and where its survivors go. Pure functions; the job that reads and
//! copies is `shard/compaction/`.

use crate::log::{Segment, SegmentState};
use crate::units::{BatchSeq, Lsn, SegmentId, UnixMillis};

/// What a choice of victim depends on beside the segments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Horizon {
    /// Batches up to here are never replayed again: both checkpoints contain their effect.
    pub(crate) seq: BatchSeq,
    /// Everything up to here is on stable storage.
    pub(crate) durable_lsn: Lsn,
    /// The next batch.
    pub(crate) next_seq: BatchSeq,
    /// The first batch of this round: since then nothing was written, died or was won. What was begun
    /// later is copies of segments that have had their turn.
    pub(crate) round: BatchSeq,
    pub(crate) segment_bytes: u32,
}

/// What a segment is for compaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// May be compacted now.
    Victim,
    /// May be once it is sealed.
    Sealing,
    /// May be once everything that was appended, and one record more than it has, is durable; or it has been
    /// worked through, and is won then.
    Undurable,
    /// May be once both checkpoints are past it.
    Held,
    /// Gives nothing back: too full, in use, unreadable, or it has had its turn.
    Nothing,
}

/// The one rule for what space can still come from. `most`: bytes that survivors may need. What was begun
/// in this round has had its turn, but for what compaction carried on: checkpoints make that obsolete.
pub(crate) fn standing(segment: &Segment, horizon: &Horizon, most: u64) -> Standing {
    let turn = segment.seq_min < horizon.round || segment.carries;
    if segment.leaving {
        return Standing::Undurable;
    }
    if segment.damaged || !turn || segment.footprint(u64::from(horizon.segment_bytes)) > most {
        return Standing::Nothing;
    }
    match segment.state {
        SegmentState::Sealing => Standing::Sealing,
        SegmentState::Sealed if !is_settled(segment, horizon) => Standing::Undurable,
        SegmentState::Sealed if !eligible(segment, horizon) || is_carried(segment, horizon) => {
            Standing::Held
        }
        SegmentState::Sealed => Standing::Victim,
        _ => Standing::Nothing,
    }
}

/// Whether no crash can make a segment's obsolete records wanted again.
fn is_settled(segment: &Segment, horizon: &Horizon) -> bool {
    // A later user record must be durable too: it proves to recovery that a group which ended here
    // was committed, once the commit itself is compacted away.
    segment.lsn_max < horizon.durable_lsn
        && (segment.buried_lsn <= horizon.durable_lsn || planted!(ReleaseEarly))
}

/// Whether a sealed segment may be used again once nothing in it is alive.
fn eligible(segment: &Segment, horizon: &Horizon) -> bool {
    segment.state == SegmentState::Sealed
        && !segment.damaged
        && !segment.leaving
        && is_settled(segment, horizon)
        && segment.clear_seq <= horizon.seq
}

/// Whether copies of a victim's deletes and touches are in here that recovery may still need: they would
/// only be copied once more. A checkpoint gives the room back.
pub(crate) fn is_carried(segment: &Segment, horizon: &Horizon) -> bool {
    segment.carries && segment.seq_max > horizon.seq
}

/// A sealed segment without a live byte.
pub(crate) fn is_empty(segment: &Segment, horizon: &Horizon) -> bool {
    eligible(segment, horizon) && segment.live_bytes == 0
}

/// A segment that nothing needs: freed without being read.
pub(crate) fn is_dead(segment: &Segment, horizon: &Horizon) -> bool {
    let killers_done = segment.killers == 0 || segment.seq_max <= horizon.seq;
    is_empty(segment, horizon) && killers_done
}

/// The victim with the best ratio of benefit to cost: free space won, weighted by how long the
/// segment has been left alone, over the bytes to read and to write (LFS; `RAMCloud` §4). None whose
/// survivors need more than `most` bytes: see [`standing`].
pub(crate) fn victim<'a>(
    segments: impl Iterator<Item = (SegmentId, &'a Segment)>,
    horizon: &Horizon,
    most: u64,
) -> Option<SegmentId> {
    let size = u64::from(horizon.segment_bytes);
    let mut best = None;
    for (id, segment) in segments {
        if standing(segment, horizon, most) != Standing::Victim {
            continue;
        }
        let needed = u128::from(segment.footprint(size));
        let age = u128::from(horizon.next_seq.0 - segment.seq_max.0) + 1;
        let benefit = (u128::from(size) - needed) * age * 1024;
        let score = benefit / (u128::from(size) + needed);
        if best.is_none_or(|(top, _)| score > top) {
            best = Some((score, id));
        }
    }
    best.map(|(_, id)| id)
}

/// The survivor stream for a record by its remaining time to live, so that what dies together lies
/// together: up to an hour, twelve hours, three days, longer or never.
pub(crate) fn stream_of(expires_at: Option<UnixMillis>, now: UnixMillis) -> usize {
    const HOUR_MS: u64 = 3_600_000;
    match expires_at.map(|at| at.since(now)) {
        Some(left) if left <= HOUR_MS => 1,
        Some(left) if left <= 12 * HOUR_MS => 2,
        Some(left) if left <= 72 * HOUR_MS => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment with this many KiB alive.
    fn sealed(live_kib: u64, seq_max: u64) -> Segment {
        Segment {
            state: SegmentState::Sealed,
            live_bytes: live_kib << 10,
            seq_max: BatchSeq(seq_max),
            ..Segment::MISSING
        }
    }

    fn horizon() -> Horizon {
        Horizon {
            seq: BatchSeq(50),
            durable_lsn: Lsn(101),
            next_seq: BatchSeq(100),
            round: BatchSeq(100),
            segment_bytes: 1 << 20,
        }
    }

    fn pick(segments: &[Segment]) -> Option<u32> {
        victim((0..).map(SegmentId).zip(segments), &horizon(), (1 << 20) / 32 * 31).map(|id| id.0)
    }

    #[test]
    fn emptier_and_older_segments_go_first() {
        assert_eq!(pick(&[sealed(900, 50), sealed(100, 50)]), Some(1));
        assert_eq!(pick(&[sealed(500, 90), sealed(500, 10)]), Some(1));
        assert_eq!(pick(&[sealed(1024, 1)]), None, "nothing to win");
        // 880 of 1024 KiB are records, the rest their rows: it has lost nothing.
        let intact = Segment { row_share: 160, ..sealed(880, 1) };
        assert_eq!(pick(&[intact]), None, "rows are not to be won");
        assert_eq!(pick(&[Segment { row_share: 160, ..sealed(700, 1) }]), Some(0));
    }

    #[test]
    fn what_recovery_may_still_need_is_left_alone() {
        let undurable = Segment { lsn_max: Lsn(101), ..sealed(0, 60) };
        let wanted_after_a_crash = Segment { buried_lsn: Lsn(102), ..sealed(0, 60) };
        let cleared = Segment { clear_seq: BatchSeq(51), ..sealed(0, 60) };
        assert_eq!(pick(&[undurable, cleared, wanted_after_a_crash]), None);
        let killers = Segment { killers: 1, ..sealed(0, 60) };
        assert!(!is_dead(&killers, &horizon()) && pick(&[killers]) == Some(0));
        assert!(is_dead(&Segment { killers: 1, ..sealed(0, 50) }, &horizon()));
        let carried = Segment { carries: true, ..killers };
        assert_eq!(pick(&[carried]), None, "carrying on what was carried gains nothing");
        assert_eq!(pick(&[Segment { seq_max: BatchSeq(50), ..carried }]), Some(0));
    }

    #[test]
    fn what_was_begun_in_a_round_has_had_its_turn() {
        let stands = |segment: &Segment| standing(segment, &horizon(), 1 << 19);
        let begun = |at| Segment { seq_min: BatchSeq(at), ..sealed(100, 150) };
        assert_eq!(stands(&begun(99)), Standing::Victim);
        assert_eq!(stands(&begun(100)), Standing::Nothing);
        let carried = Segment { carries: true, ..begun(100) };
        assert_eq!(stands(&carried), Standing::Held, "two checkpoints give it back");
        let past = Segment { carries: true, seq_max: BatchSeq(50), ..begun(100) };
        assert_eq!(stands(&past), Standing::Victim);
    }

    #[test]
    fn what_holds_a_segment_back_is_told() {
        let stands = |segment: &Segment| standing(segment, &horizon(), 1 << 19);
        let sealing = Segment { state: SegmentState::Sealing, ..sealed(100, 50) };
        assert_eq!(stands(&sealing), Standing::Sealing);
        assert_eq!(stands(&Segment { lsn_max: Lsn(101), ..sealed(0, 50) }), Standing::Undurable);
        assert_eq!(stands(&Segment { buried_lsn: Lsn(102), ..sealed(0, 50) }), Standing::Undurable);
        assert_eq!(stands(&Segment { clear_seq: BatchSeq(51), ..sealed(0, 60) }), Standing::Held);
        assert_eq!(stands(&sealed(600, 50)), Standing::Nothing, "too full");
        assert_eq!(stands(&Segment { damaged: true, ..sealed(0, 50) }), Standing::Nothing);
        let leaving = Segment { leaving: true, ..sealed(0, 50) };
        assert_eq!(stands(&leaving), Standing::Undurable, "its survivors are on their way");
        assert!(!is_dead(&leaving, &horizon()), "whoever leaves it releases it");
        let open = Segment { state: SegmentState::Open, ..sealed(0, 50) };
        assert_eq!(stands(&open), Standing::Nothing);
    }
}
