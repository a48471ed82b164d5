//! Work that time brings: expiry, the sweep, and starting the jobs.

use super::Shard;
use super::expire::RETRY_MS;
use crate::index::Due;
use crate::space::Space;
use crate::units::{Namespace, UnixMillis};

/// Index pages visited in one tick, about 10 us each.
const SWEEP_PAGES_MAX: usize = 256;
/// Time between two slices of the sweep.
const TICK_MS: u64 = 100;
/// How long the log must be quiet before its last batch is confirmed.
const CONFIRM_AFTER_MS: u64 = 1000;

impl Shard {
    /// Lets time pass. Call at [`Shard::next_wakeup`] at the latest.
    pub fn tick(&mut self, now: UnixMillis) {
        let now = self.advance(now);
        self.expire_due(now);
        self.expire_side(now);
        self.sweep_slice(now);
        self.look_ahead(now);
        self.visit_far(now);
        self.confirm(now);
        self.footers.drop_idle(now);
        self.maintain();
    }

    /// When [`Shard::tick`] must be called next, if nothing else happens.
    pub fn next_wakeup(&mut self, now: UnixMillis) -> Option<UnixMillis> {
        let mut next = self.wheel.next_due();
        let mut consider = |at: UnixMillis| next = Some(next.map_or(at, |next| next.min(at)));
        if self.spaces.iter().any(|space| space.expiring_len() > 0) {
            consider(now.plus(TICK_MS));
        }
        if let Some(at) = self.touches.due_at() {
            consider(at.max(now.plus(10)));
        }
        let linger = self.batch_linger_ms();
        let stream = self.log.stream(crate::log::USER_STREAM);
        // Behind a batch in flight it is that batch's completion that lets the open one go.
        if let Some(since) = stream.open_since().filter(|_| !stream.is_in_flight()) {
            consider(since.plus(linger));
        }
        if self.closing || self.jobs_active() {
            consider(now.plus(TICK_MS));
        }
        if self.hot.is_behind() {
            consider(now.plus(1));
        }
        if !self.untold.is_empty() {
            consider(now.plus(RETRY_MS));
        }
        if self.compaction.wants_turn() {
            consider(now.plus(1));
        }
        consider(now.plus(1000));
        next
    }

    /// Everything that may have become possible or necessary by a completion or by time.
    pub(super) fn maintain(&mut self) {
        self.refill();
        self.compact();
        self.checkpoint();
        self.mark_durable();
        self.adopt_dictionary();
        self.end_large();
        self.balance();
    }

    pub(super) fn jobs_active(&self) -> bool {
        self.compaction.is_active() || self.checkpointing.is_active()
    }

    /// When the log falls quiet, one empty batch says that the batch before it was durable. Without
    /// it, damage to the very last batch could not be told from a torn tail. Another one follows when
    /// something has expired since the last batch: it tells the time, and a restart begins no
    /// earlier, so that a clock set back meanwhile does not bring back what was seen to expire.
    fn confirm(&mut self, now: UnixMillis) {
        let (confirmed, written) = self.confirmed;
        let quiet = self.log.durable_lsn() == self.log.appended_lsn()
            && now.since(written) >= CONFIRM_AFTER_MS;
        // A restart looks for the time in segments that are not sealed.
        let here = self.told.1 == self.log.stream(crate::log::USER_STREAM).open_segment();
        let time_told = self.expired_at <= self.told.0 && here || self.expired_at.0 == 0;
        let told = confirmed == self.log.durable_lsn() && time_told;
        if !quiet || told || self.poisoned || self.closing {
            return;
        }
        if self.room_for_delete(256) == super::Room::Yes {
            self.append_commit();
            self.confirmed.0 = self.log.appended_lsn();
            self.flush_wanted = true;
        }
    }

    /// Visits the next pages of the index and schedules what falls due within the window.
    fn sweep_slice(&mut self, now: UnixMillis) {
        let (spaces, wheel) = (&self.spaces, &mut self.wheel);
        let pages = |space: usize| spaces[space].index.pages();
        for _ in 0..SWEEP_PAGES_MAX {
            let Some((number, page)) = self.sweep.next(now, spaces.len(), pages) else { break };
            let namespace = Namespace::of_slot(number);
            let until_secs = now.plus(wheel.window_ms()).0 / 1000;
            let mut visit = |identity, entry: crate::index::Entry| {
                if let Due::At(seconds) = entry.expiry.due(now) {
                    wheel.schedule(second_begins(seconds), now, namespace, identity);
                }
            };
            spaces[number].index.visit_due(page, until_secs, now, &mut visit);
            if page == 0 {
                spaces[number].side.values().for_each(|side| visit(side.identity, side.entry));
            }
        }
    }

    /// Schedules what falls due within the window, in one go: for a store just opened.
    pub(super) fn sweep_all(&mut self) {
        let now = self.now;
        let (spaces, wheel) = (&self.spaces, &mut self.wheel);
        for (number, space) in spaces.iter().enumerate() {
            let mut visit = |identity, entry: crate::index::Entry| {
                if let Due::At(seconds) = entry.expiry.due(now) {
                    let namespace = Namespace::of_slot(number);
                    wheel.schedule(second_begins(seconds), now, namespace, identity);
                }
            };
            space.index.for_each(&mut visit);
            space.side.values().for_each(|side| visit(side.identity, side.entry));
        }
    }

    pub(super) fn space_mut(&mut self, namespace: Namespace) -> &mut Space {
        let at = namespace.slot();
        if self.spaces.len() <= at {
            self.spaces.resize_with(at + 1, Space::default);
        }
        &mut self.spaces[at]
    }

    /// Forgets every entry of a namespace.
    pub(super) fn forget_space(&mut self, namespace: Namespace) {
        let space = std::mem::take(self.space_mut(namespace));
        space.index.for_each(|_, entry| self.bury(&entry));
        space.side.values().for_each(|side| self.bury(&side.entry));
        space.labels.large().for_each(|chunked| self.drop_chunks(*chunked));
    }
}

/// The first millisecond that an expiry within the second that ends at `seconds` can be: by then its
/// entry's own milliseconds are looked for.
fn second_begins(seconds: u64) -> UnixMillis {
    UnixMillis((seconds * 1000).saturating_sub(999))
}
