//! Keeps prewritten segments ready ahead of need, and says whether there is room to write.

use super::Shard;
use super::drive::Pending;
use super::write::Room;
use crate::format::segment::{HEADER_BYTES, SegmentHead};
use crate::io::{FileId, IoErrorKind, IoRequest, IoResult};
use crate::log::{SegmentState, USER_STREAM};
use crate::units::{SegmentId, UnixMillis};

/// Segments that ordinary writes leave for deletes and compaction.
pub(super) const RESERVE: usize = 5;
/// Pause before asking a full file system again.
const NO_SPACE_PAUSE_MS: u64 = 1000;

/// State of the segment supply.
#[derive(Default)]
pub(super) struct Supply {
    allocating: bool,
    /// The file system was full: not to be asked before this time.
    no_space_until: Option<UnixMillis>,
    /// Ready segments that a waiting writer needs.
    wanted: usize,
    /// Segments at hand that a waiting writer needs: compaction works until there are as many.
    pub(super) goal: usize,
}

impl Shard {
    /// Whether a write of up to `bytes` (keys, values and 128 bytes per record) can be taken now.
    pub fn room(&mut self, bytes: usize) -> Room {
        self.room_above(bytes, RESERVE)
    }

    /// The same for deletes, which may use the reserve: they give space back.
    pub fn room_for_delete(&mut self, bytes: usize) -> Room {
        self.room_above(bytes, 1)
    }

    /// Whether the end of a touched key can be logged now: however much waits for the disk, for
    /// nobody can be asked to come back later with an end.
    pub(super) fn has_room_for_end(&mut self, bytes: usize) -> bool {
        !self.poisoned && self.room_on_disk(bytes, 1) == Room::Yes
    }

    fn room_above(&mut self, bytes: usize, reserve: usize) -> Room {
        if self.poisoned {
            return Room::Poisoned;
        }
        if self.log.pending_bytes > self.config.pending_bytes_max {
            return Room::Wait;
        }
        self.room_on_disk(bytes, reserve)
    }

    fn room_on_disk(&mut self, bytes: usize, reserve: usize) -> Room {
        let left = self.log.stream(USER_STREAM).bytes_left(self.root.segment_bytes);
        // Headers and footer rows are in the 128 bytes per record; every batch may also be padded.
        let wanted = bytes + (8 << 10) + bytes / 16;
        if wanted <= left {
            return Room::Yes;
        }
        // A record may leave up to its own length unused at the end of a segment.
        let usable = self.root.segment_bytes as usize / 2;
        let needed = (wanted - left).div_ceil(usable).max(1);
        let goal = needed + reserve;
        if self.segments_at_hand() < goal {
            let may_come = self.press_for(goal);
            // Dead segments may have been freed at once.
            if self.segments_at_hand() < goal {
                return if may_come { Room::Wait } else { Room::Full };
            }
        }
        // Ordinary writes leave prewritten segments for deletes and compaction: the file system may
        // turn out to be full at the next one.
        let kept = if reserve == RESERVE { 3 } else { 1 };
        if self.log.segments.ready() >= needed + kept {
            return Room::Yes;
        }
        self.supply.wanted = needed + kept;
        self.refill();
        Room::Wait
    }

    /// Segments that could be opened before anything is won back: those that the disk limit still
    /// allows, or, while the file system refuses another file, those that have one.
    pub(super) fn segments_at_hand(&self) -> usize {
        let segments = &self.log.segments;
        if self.supply.no_space_until.is_none() {
            return segments.available();
        }
        segments.ready()
            + segments.count(SegmentState::Free)
            + segments.count(SegmentState::Preparing)
    }

    /// Sets compaction to work for a writer that needs `goal` segments at hand. True only if enough is
    /// dead and something is under way to winning it: waiting must end.
    fn press_for(&mut self, goal: usize) -> bool {
        if self.segments_at_hand() + self.reclaimable() < goal {
            return false;
        }
        self.supply.goal = goal;
        self.press_on()
    }

    /// Segments that compaction could still win: whole segments' worth of what live records do not need.
    fn reclaimable(&self) -> usize {
        let segment_bytes = u64::from(self.root.segment_bytes);
        let full = |state| matches!(state, SegmentState::Sealed | SegmentState::Sealing);
        let won = self.log.segments.iter().filter(|(_, s)| full(s.state) && !s.damaged);
        let dead: u64 = won.map(|(_, s)| segment_bytes - s.footprint(segment_bytes)).sum();
        let capacity = self.log.segments.limit().min(self.log.segments.files()) as u64;
        // Past 92 % live, every byte won costs more than ten bytes copied.
        let too_full = self.log.segments.live_bytes() * 100 > capacity * segment_bytes * 92;
        if too_full { 0 } else { usize::try_from(dead / segment_bytes).unwrap_or(usize::MAX) }
    }

    /// Starts whatever is missing until enough segments are ready.
    pub(super) fn refill(&mut self) {
        if self.poisoned || self.in_flight.len() > 0 && buggify!(RefillLater) {
            return;
        }
        let target = self.config.segments_ahead.max(self.supply.wanted);
        let on_the_way = |shard: &Shard| {
            shard.log.segments.ready() + shard.log.segments.count(SegmentState::Preparing)
        };
        // A segment whose footer is not there yet needs the one after it, at the next start, to tell
        // where it ends.
        let sealed = self.log.segments.count(SegmentState::Sealing) == 0;
        while sealed && on_the_way(self) < target {
            let Some((segment, incarnation)) = self.log.segments.prepare() else { break };
            let head = SegmentHead {
                store_id: self.root.store_id,
                segment,
                incarnation,
                segment_bytes: self.root.segment_bytes,
                created: self.now,
            };
            let bytes = HEADER_BYTES as usize;
            let mut buffer = self.pool.take(bytes);
            let fields = head.encode();
            buffer[..fields.len()].copy_from_slice(&fields);
            buffer[fields.len()..bytes].fill(0);
            let file = FileId::Segment(segment);
            self.counters.device_bytes_written += u64::from(HEADER_BYTES);
            let request = IoRequest::Write { file, offset: 0, buffer, bytes, durable: true };
            self.start(Pending::Header(segment), request);
        }
        let paused = self.supply.no_space_until.is_some_and(|until| until > self.now);
        if on_the_way(self) < target
            && !self.supply.allocating
            && !paused
            && !self.closing
            && let Some(segment) = self.log.segments.allocate()
        {
            self.supply.allocating = true;
            let bytes = u64::from(self.root.segment_bytes);
            let request = IoRequest::Allocate { file: FileId::Segment(segment), bytes };
            self.start(Pending::Allocate(segment), request);
        }
    }

    pub(super) fn on_allocated(&mut self, segment: SegmentId, result: &IoResult) {
        self.supply.allocating = false;
        match &result.outcome {
            Ok(_) => {
                if self.supply.no_space_until.take().is_some() {
                    tracing::info!("the file system has room again");
                }
                self.counters.device_bytes_written += u64::from(self.root.segment_bytes);
                self.log.segments.set_state(segment, SegmentState::Free);
            }
            Err(error) => {
                if error.kind != IoErrorKind::NoSpace || self.supply.no_space_until.is_none() {
                    tracing::warn!(segment = segment.0, %error, "cannot create a segment");
                }
                self.log.segments.set_state(segment, SegmentState::Missing);
                sometimes!(NoSpace);
                self.supply.no_space_until = Some(self.now.plus(NO_SPACE_PAUSE_MS));
            }
        }
    }

    pub(super) fn on_header_written(&mut self, segment: SegmentId, result: IoResult) {
        if let Err(error) = &result.outcome {
            self.poison("a segment header", error);
            return;
        }
        self.give_back(result);
        self.log.segments.set_state(segment, SegmentState::Ready);
        if self.log.segments.ready() >= self.supply.wanted {
            self.supply.wanted = 0;
        }
    }
}
