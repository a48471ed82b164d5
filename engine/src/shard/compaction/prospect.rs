//! Whether space can still come, for a writer that finds none: the one place that decides between waiting and
//! refusing.

use super::pace;
use crate::compact::{self, Standing};
use crate::log::{SURVIVOR_STREAMS, USER_STREAM};
use crate::shard::Shard;
use crate::units::BatchSeq;

/// Bytes left in the open segment that surely hold a commit.
const COMMIT_BYTES: usize = 16 << 10;

/// What segments that may still give something back wait for.
#[derive(Default)]
struct Waits {
    sealing: bool,
    undurable: bool,
    held: bool,
}

impl Shard {
    /// Writers are waiting for space: starts what can win some. False if nothing is under way and nothing
    /// can be started: more waiting would be in vain.
    ///
    /// Waiting ends. A segment has one turn in a round, and while nothing is written, segments become
    /// durable, are sealed, and get behind both checkpoints once.
    pub(in crate::shard) fn press_on(&mut self) -> bool {
        self.compact();
        // Copies of a victim that was given up.
        let copying = (1..=SURVIVOR_STREAMS).any(|stream| !self.log.stream(stream).is_idle());
        if copying || !self.leaving.is_empty() {
            self.hurry_copies();
            return true;
        }
        if self.jobs_active() {
            return true;
        }
        let waits = self.waits();
        waits.sealing || waits.undurable && self.settle() || waits.held && self.pass_segments()
    }

    fn waits(&mut self) -> Waits {
        let horizon = self.horizon();
        let stuck = self.pace.stuck;
        // Without a segment for survivors, only what has none can be won.
        let most = pace::fullest_bytes(self.root.segment_bytes, pace::URGENT);
        let most = if stuck { 0 } else { most };
        let mut waits = Waits::default();
        for (_, segment) in self.log.segments.iter() {
            match compact::standing(segment, &horizon, most) {
                Standing::Sealing => waits.sealing = true,
                Standing::Undurable => waits.undurable = true,
                Standing::Held => waits.held = true,
                // Dead, but it hides older versions: behind both checkpoints there are none.
                Standing::Victim => waits.held |= stuck,
                Standing::Nothing => {}
            }
        }
        waits
    }

    /// Makes durable what is not. If everything is, a segment waits for a later record than its own.
    fn settle(&mut self) -> bool {
        if self.log.durable_lsn() == self.log.appended_lsn() {
            let left = self.log.stream(USER_STREAM).bytes_left(self.root.segment_bytes);
            if left < COMMIT_BYTES && self.log.segments.ready() < 2 {
                return false;
            }
            self.append_commit();
        }
        self.flush_wanted = true;
        true
    }

    /// Takes a checkpoint, if that brings the older one further.
    fn pass_segments(&mut self) -> bool {
        let newest_possible = BatchSeq(self.log.unapplied_seq().0 - 1);
        if self.root.older.start_seq >= newest_possible {
            return false;
        }
        self.checkpointing.want();
        self.checkpoint();
        // While a superblock is on its way, none can begin; after one that failed, none soon.
        self.checkpointing.is_active() || self.checkpointing.marking
    }
}
