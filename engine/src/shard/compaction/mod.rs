//! The compaction job: read a victim's footer, copy what is alive to the survivor streams, release
//! the segment once the copies are durable.
//!
//! One victim at a time is read, one window of it in RAM, one batch in flight per survivor stream, a slice
//! of its rows per turn, and no more than its pace allows. Its last copies share batches with those of the
//! next victims; until they are written it is *leaving*. Liveness is checked and the copy appended in
//! the same step, so the order of batches is the order of truth; the index turns to the copies when
//! they are on stable storage.

mod copy;
mod pace;
mod prospect;
mod victim;

pub(super) use pace::Pace;

use super::Shard;
use crate::compact::{self, Horizon};
use crate::format::segment::Trailer;
use crate::key::unpack;
use crate::log::{Batch, SURVIVOR_STREAMS, SegmentState};
use crate::units::{BatchSeq, Lsn, SegmentId, UnixMillis};

use copy::Copy;

/// What a read of the job was for.
pub(super) enum Step {
    Trailer,
    Rows(Trailer),
    Window {
        start: u32,
        bytes: usize,
    },
    /// All of a victim whose footer does not read.
    Whole,
}

/// The compaction job.
#[derive(Default)]
pub(super) enum Job {
    #[default]
    Idle,
    /// The footer is being read.
    Footer(SegmentId),
    /// Rows are being worked through; a window may be on its way.
    Copy(Box<Copy>, bool),
}

/// A victim whose rows are all done.
pub(super) struct Leaving {
    victim: SegmentId,
    /// Its copies are in survivor batches before this one.
    copied: BatchSeq,
    /// Mutations up to here made the rest of it obsolete.
    obsolete: Lsn,
    since: UnixMillis,
}

impl Job {
    pub(super) fn is_active(&self) -> bool {
        !matches!(self, Job::Idle)
    }

    /// Whether it can go on without a completion, when its turn comes.
    pub(super) fn wants_turn(&self) -> bool {
        matches!(self, Job::Copy(_, false))
    }
}

impl Shard {
    fn horizon(&mut self) -> Horizon {
        let round = self.round();
        let older = self.root.older;
        Horizon {
            seq: older.start_seq,
            durable_lsn: self.log.durable_lsn(),
            next_seq: self.log.next_seq(),
            round,
            segment_bytes: self.root.segment_bytes,
        }
    }

    /// Starts or continues compaction, as far as it can go without waiting and its pace allows.
    pub(super) fn compact(&mut self) {
        if self.poisoned {
            return;
        }
        self.release_left();
        match std::mem::take(&mut self.compaction) {
            Job::Idle => self.choose_victim(),
            Job::Copy(copy, false) if self.closing => self.give_up(*copy),
            Job::Copy(copy, false) if self.may_work() => self.copy_rows(copy),
            waiting => self.compaction = waiting,
        }
    }

    fn choose_victim(&mut self) {
        if self.segments_at_hand() >= self.supply.goal {
            self.supply.goal = 0;
        }
        let urgency = self.urgency();
        let horizon = self.horizon();
        if urgency > 0 || self.log.segments.maybe_dead {
            if !self.pace.may_search(self.log.user_bytes, self.now, urgency) {
                return;
            }
            self.free_dead(&horizon);
        }
        let urgency = self.urgency();
        if urgency == 0 || self.closing || self.pace.stuck {
            return;
        }
        let most = pace::fullest_bytes(self.root.segment_bytes, urgency);
        let Some(victim) = compact::victim(self.log.segments.iter(), &horizon, most) else {
            let all = self.log.segments.iter();
            let carried = all.filter(|(_, segment)| compact::is_carried(segment, &horizon));
            if self.worth_checkpoints(carried.count()) {
                self.checkpointing.want_after(pace::HELD_PAUSE_MS, self.now);
            }
            let again = u64::from(self.root.segment_bytes) / 16;
            self.pace.found_nothing(self.log.user_bytes + again, self.now);
            return;
        };
        self.counters.compactions += 1;
        self.compaction = Job::Footer(victim);
        let offset = self.root.segment_bytes as usize - 4096;
        self.read_victim(victim, offset, 4096, Step::Trailer);
    }

    /// Frees segments without a live byte unread. If what holds many of them back is only that the
    /// older checkpoint is from before them, asks for a new one: what has expired gives its disk back
    /// soon, also when nothing is written.
    fn free_dead(&mut self, horizon: &Horizon) {
        self.log.segments.maybe_dead = false;
        let all = self.log.segments.iter();
        let empty = all.filter(|(_, segment)| compact::is_empty(segment, horizon));
        let (dead, held): (Vec<_>, Vec<_>) =
            empty.map(|(id, s)| (id, compact::is_dead(s, horizon))).partition(|(_, dead)| *dead);
        for (id, _) in dead {
            self.log.segments.release(id);
        }
        if self.worth_checkpoints(held.len()) {
            self.checkpointing.want_after(pace::HELD_PAUSE_MS, self.now);
            // Looks again after that.
            self.log.segments.maybe_dead = true;
            self.pace.found_nothing(u64::MAX, self.now);
        }
    }

    /// Whether so many segments, which only the older checkpoint holds back, are worth the two
    /// checkpoints that free them: they must give back at least what those write.
    fn worth_checkpoints(&self, segments: usize) -> bool {
        let bytes = segments as u64 * u64::from(self.root.segment_bytes);
        segments >= 2 && bytes >= 2 * self.index_bytes() as u64
    }

    /// Leaves a victim half copied, because there is no segment for the rest, or the store closes.
    /// What was copied is copied; compaction starts again when something has changed.
    fn give_up(&mut self, copy: Copy) {
        if let Some((_, _, buffer)) = copy.window {
            self.pool.give(buffer);
        }
        self.close_copies();
        self.pace.give_up();
    }

    /// Nothing follows the copies that were made: lets them go to the disk.
    fn close_copies(&mut self) {
        for stream in 1..=SURVIVOR_STREAMS {
            self.log.close_batch(stream, self.now);
        }
    }

    /// The copies in `batch` are on stable storage: the index turns to them, unless their keys
    /// have changed since.
    pub(super) fn apply_moves(&mut self, batch: &Batch) {
        for moved in &batch.moved {
            let Some((namespace, identity)) = unpack(moved.identity) else { continue };
            let mut size = 0;
            let turned = self.space_mut(namespace).update_at(identity, moved.from, |entry| {
                entry.location = moved.to;
                size = entry.size.bytes_max() as u64;
            });
            if turned {
                let segment_bytes = self.root.segment_bytes;
                self.log.segments.remove_live(moved.from.split(segment_bytes).0, size);
                self.log.segments.add_live(moved.to.split(segment_bytes).0, size);
                self.hot.set_location(namespace, identity, moved.from, moved.to);
                self.ahead.moved(moved.identity, moved.from, moved.to);
            }
        }
    }

    /// All rows of a victim are done. Its copies may share batches with those of the next victims.
    fn leave(&mut self, victim: SegmentId) {
        self.log.segments.set_leaving(victim, true);
        let (copied, obsolete) = (self.log.next_seq(), self.log.appended_lsn());
        self.leaving.push_back(Leaving { victim, copied, obsolete, since: self.now });
        self.release_left();
    }

    /// Releases victims of which nothing is on its way any more. Batches that are not full wait for the
    /// copies of the next victims, unless space is wanted, or they have waited for so long that a
    /// checkpoint would begin too far behind.
    fn release_left(&mut self) {
        while let Some(first) = self.leaving.front() {
            let copied = self.log.unapplied_seq() >= first.copied;
            if copied && self.log.durable_lsn() >= first.obsolete {
                let victim = first.victim;
                self.leaving.pop_front();
                self.release_victim(victim);
                continue;
            }
            let old = self.now.since(first.since) >= pace::LEAVING_MS
                || self.log.next_seq().0 - first.copied.0 >= pace::LEAVING_BATCHES;
            if old || self.closing || self.is_pressed() {
                self.hurry_copies();
            }
            return;
        }
    }

    /// Lets copies go to the disk, and what they wait for.
    fn hurry_copies(&mut self) {
        self.close_copies();
        self.flush_wanted |= self.log.durable_lsn() < self.log.appended_lsn();
    }

    fn release_victim(&mut self, victim: SegmentId) {
        self.log.segments.set_leaving(victim, false);
        let segment = self.log.segments.get(victim);
        assert_eq!(segment.state, SegmentState::Sealed);
        if segment.live_bytes != 0 {
            let live = segment.live_bytes;
            tracing::error!(
                segment = victim.0,
                live,
                "records in a segment are damaged; it is left alone until the next start"
            );
            self.log.segments.set_damaged(victim);
            return;
        }
        self.log.segments.release(victim);
        self.refill();
    }
}
