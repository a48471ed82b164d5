//! How hard compaction works: not at all while there is room, on cheap victims only when there is still
//! some, on anything when there is hardly any; and never in bursts before that.

use crate::shard::{Shard, supply};
use crate::units::{BatchSeq, Lsn, UnixMillis};

/// Urgency at which nothing is held back.
pub(super) const URGENT: u64 = 1024;
/// Bytes of victims that may be read per millisecond when nobody writes: 16 MB/s.
const IDLE_BYTES_PER_MS: u64 = 16 << 10;
/// Most credit that can be saved up.
const CREDIT_BYTES_MAX: u64 = 1 << 20;
/// How long the copies of a victim may wait for those of others, so that their batches are full.
pub(super) const LEAVING_MS: u64 = 30_000;
/// The same in batches, for a store with more to do.
pub(super) const LEAVING_BATCHES: u64 = 256;
/// Pause between two searches that find no victim.
const SEARCH_PAUSE_MS: u64 = 100;
/// Age of the last checkpoint from which dead segments that it holds back ask for a new one. Two
/// are needed to free them: within half a minute.
pub(super) const HELD_PAUSE_MS: u64 = 10_000;

/// What compaction has tried since it last gained something, and what it may do now.
#[derive(Default)]
pub(in crate::shard) struct Pace {
    appended: Lsn,
    live_bytes: u64,
    at_hand: usize,
    /// The first batch since one of these has changed.
    round: BatchSeq,
    /// A victim was left half copied in this round, for want of a segment.
    pub(super) stuck: bool,
    /// Bytes of victims that may still be read.
    credit: u64,
    /// User bytes and time up to which credit was given.
    paid: (u64, UnixMillis),
    /// No search for a victim before either is reached.
    search_at: (u64, UnixMillis),
}

impl Pace {
    /// Whether a search for a victim may find something.
    pub(super) fn may_search(&self, user_bytes: u64, now: UnixMillis, urgency: u64) -> bool {
        urgency >= URGENT || user_bytes >= self.search_at.0 || now >= self.search_at.1
    }

    /// No victim was found: not again before so many user bytes, or a tenth of a second.
    pub(super) fn found_nothing(&mut self, until_user_bytes: u64, now: UnixMillis) {
        self.search_at = (until_user_bytes, now.plus(SEARCH_PAUSE_MS));
    }

    /// A victim was left half copied, because there is not one segment: nothing more is copied before
    /// there is.
    pub(super) fn give_up(&mut self) {
        (self.at_hand, self.stuck) = (0, true);
    }

    /// Pays for what was read.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.credit = self.credit.saturating_sub(bytes as u64);
    }

    /// Gives credit for what users have written and for the time since the last call: from two bytes
    /// per byte written to sixteen, because at 85 % full a byte won costs about six.
    fn earn(&mut self, user_bytes: u64, now: UnixMillis, urgency: u64) {
        let (paid_bytes, paid_at) = std::mem::replace(&mut self.paid, (user_bytes, now));
        let written = user_bytes.saturating_sub(paid_bytes);
        let for_bytes = written.saturating_mul(2 + 14 * urgency / URGENT);
        let for_time = now.since(paid_at).saturating_mul(IDLE_BYTES_PER_MS);
        let credit = self.credit.saturating_add(for_bytes).saturating_add(for_time);
        self.credit = credit.min(CREDIT_BYTES_MAX);
    }
}

/// The most that a victim may still need: half of a segment while there is room, and 31/32 of it when
/// there is none; beyond that the copy wins less than it costs.
pub(super) fn fullest_bytes(segment_bytes: u32, urgency: u64) -> u64 {
    let share = 512 + 480 * urgency.min(URGENT) / URGENT;
    u64::from(segment_bytes) * share / 1024
}

impl Shard {
    /// Segments at hand below which writers wait, or would soon have to.
    fn scarce(&self) -> usize {
        (supply::RESERVE + 2).max(self.supply.goal)
    }

    /// Whether segments are wanted as soon as possible.
    pub(super) fn is_pressed(&self) -> bool {
        self.pace.stuck || self.segments_at_hand() < self.scarce()
    }

    /// How much compaction is needed: 0 while there is room, [`URGENT`] when writers wait or would soon
    /// have to. What victims leave is as good as won.
    pub(super) fn urgency(&self) -> u64 {
        let low = self.scarce();
        let high = low + (self.log.segments.limit() / 64).max(1);
        let at_hand = self.segments_at_hand() + self.leaving.len();
        if at_hand < low {
            return URGENT;
        }
        high.saturating_sub(at_hand) as u64 * URGENT / (high - low + 1) as u64
    }

    /// Whether the job may do another slice now.
    pub(super) fn may_work(&mut self) -> bool {
        let urgency = self.urgency();
        self.pace.earn(self.log.user_bytes, self.now, urgency);
        urgency >= URGENT || self.pace.credit > 0
    }

    /// The round that compaction is in: everything that was there when it began may have one turn. Large
    /// records may fill their segments so badly that moving them wins none, and an idle store would
    /// wear its disk out with trying. A new round begins when something is written or dies, or a
    /// segment is won.
    pub(super) fn round(&mut self) -> BatchSeq {
        let (appended, live) = (self.log.appended_lsn(), self.log.segments.live_bytes());
        let at_hand = self.segments_at_hand();
        let pace = &mut self.pace;
        if (pace.appended, pace.live_bytes) != (appended, live) || at_hand > pace.at_hand {
            (pace.appended, pace.live_bytes) = (appended, live);
            (pace.at_hand, pace.stuck) = (at_hand, false);
            pace.round = self.log.next_seq();
        }
        pace.round
    }
}
