//! What leaves RAM, and how soon it must return to be remembered.
//!
//! Owns: the S3-FIFO policy, [`Ghosts`].
//! Never knows: where marks are kept.
//! Invariant: each call ends after a bounded number of steps, whatever cannot be evicted.

use super::arena::CHUNK;
use super::entry::QueueName;
use super::{Hot, HotEntry};
use crate::index::Identity;
use crate::units::{Lsn, Namespace};

/// The small queue's share of the budget.
const SMALL_PERCENT: usize = 35;
/// Accesses in the small queue that make a value worth the main queue.
const PROMOTE_FREQ: u8 = 1;
/// Steps in a queue without an eviction after which a call leaves that queue alone: values that are
/// pinned or not durable yet, second chances.
const FRUITLESS_MAX: usize = 1024;
/// Such steps after which a call gives no second chances, so that the budget is kept even when
/// everything is popular.
const SECOND_CHANCES_MAX: usize = 512;
/// Such steps that one eviction makes good for: more than there are in the long run, except where
/// most values are much shorter than the average.
const EARNED: usize = 8;
/// Most rounds that a value gets for being short.
const ROUNDS_MAX: u8 = 7;
/// Of so many values that leave the small queue, one leaves a mark.
const MARK_EVERY: u8 = 6;
/// Evictions in one call beyond twice what was added since the one before: half a millisecond.
const EVICTIONS_MORE: usize = 2048;
/// Most evictions in one call.
const EVICTIONS_MAX: usize = 16_384;
/// Chunks of a cleared hot set that are given back in one call, beyond twice what was added.
const DOOMED_CHUNKS: usize = 16;

/// An entry that has left RAM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Evicted {
    /// Key space of its key.
    pub namespace: Namespace,
    /// Identity of its key.
    pub identity: Identity,
    /// Its ghost mark, 0..=3, to be kept as it is in [`Entry::freq`](crate::index::Entry::freq)
    /// and given back at the next [`Hot::insert`].
    pub freq: u8,
}

/// Which marks are recent. A mark is the generation, 1..=3, in which a value left the small queue;
/// a generation lasts while 60 % of the budget leave it, and the current and the previous one are
/// recent: so a ghost lasts 0.6 to 1.2 budgets, about the main queue's content as in the paper.
///
/// Only one value in six leaves a mark: having been seen twice at a long distance says little of one
/// value, and would let many into the main queue that are not worth it. A working set that is larger
/// than the small queue gets in all the same, a sixth with every turn.
#[derive(Debug)]
pub(super) struct Ghosts {
    generation: u8,
    bytes: usize,
    /// Values that have left since the last mark.
    unmarked: u8,
}

const GENERATION_PERCENT: usize = 60;

impl Default for Ghosts {
    fn default() -> Ghosts {
        Ghosts { generation: 1, bytes: 0, unmarked: 0 }
    }
}

impl Ghosts {
    /// The mark for a value of `bytes` that leaves the small queue, 0 for most.
    pub(super) fn mark(&mut self, bytes: usize, budget_bytes: usize) -> u8 {
        self.bytes += bytes;
        if self.bytes > budget_bytes / 100 * GENERATION_PERCENT {
            self.bytes = 0;
            self.generation = self.generation % 3 + 1;
        }
        self.unmarked = (self.unmarked + 1) % MARK_EVERY;
        if self.unmarked == 0 { self.generation } else { 0 }
    }

    /// Whether a mark is of the current generation or the one before.
    pub(super) fn is_recent(&self, mark: u8) -> bool {
        mark != 0 && mark != self.generation % 3 + 1
    }
}

impl Hot {
    /// Evicts until `bytes() <= budget_bytes`, and returns what left.
    ///
    /// Never an entry that is pinned, or whose LSN is above `durable` (its only copy may be here).
    /// May end above the budget: after 2,048 evictions and two for each entry added since the last
    /// call, or when about a thousand candidates of each queue cannot go; the next call goes on from
    /// there ([`Hot::is_behind`]). While a cleared hot set is given back, that is all it does.
    pub fn evict(
        &mut self,
        budget_bytes: usize,
        durable: Lsn,
    ) -> impl Iterator<Item = Evicted> + use<'_> {
        self.evicted.clear();
        let fresh = std::mem::take(&mut self.fresh);
        let most = (EVICTIONS_MORE + 2 * fresh).min(EVICTIONS_MAX);
        self.doomed.give_back(DOOMED_CHUNKS + 2 * fresh / CHUNK);
        let most = if self.doomed.is_empty() { most } else { 0 };
        let (mut fruitless_small, mut fruitless_main) = (0, 0);
        while self.bytes() > budget_bytes && self.evicted.len() < most {
            let small = self.small.oldest().filter(|_| fruitless_small < FRUITLESS_MAX);
            let main = self.main.oldest().filter(|_| fruitless_main < FRUITLESS_MAX);
            let small_is_over = self.small_bytes > budget_bytes / 100 * SMALL_PERCENT;
            let (evicted, fruitless) = match (small, main) {
                (Some(id), main) if small_is_over || main.is_none() => {
                    let chance = fruitless_small < SECOND_CHANCES_MAX;
                    (self.try_small(id, budget_bytes, durable, chance), &mut fruitless_small)
                }
                (_, Some(id)) => {
                    let chance = fruitless_main < SECOND_CHANCES_MAX;
                    (self.try_main(id, durable, chance), &mut fruitless_main)
                }
                _ => break,
            };
            if let Some(evicted) = evicted {
                self.evicted.push(evicted);
                *fruitless = fruitless.saturating_sub(EARNED);
            } else {
                *fruitless += 1;
            }
        }
        self.behind = self.evicted.len() == most;
        self.evicted.drain(..)
    }

    /// Whether a ghost mark found in the index says nothing any more, so that a sweep may clear it.
    /// A mark that is never cleared counts as recent again in two of every three generations.
    pub fn ghost_is_stale(&self, mark: u8) -> bool {
        mark != 0 && !self.ghosts.is_recent(mark)
    }

    /// Takes the oldest of the small queue: evicts it, moves it on, or gives it another round if it
    /// is short and `second_chance` allows it.
    fn try_small(
        &mut self,
        id: u32,
        budget_bytes: usize,
        durable: Lsn,
        second_chance: bool,
    ) -> Option<Evicted> {
        let entry = &self.arena[id];
        if !is_evictable(entry, durable) {
            self.requeue(id, QueueName::Small, entry.freq);
            return None;
        }
        if entry.freq >= PROMOTE_FREQ {
            self.arena[id].rounds = 0;
            self.requeue(id, QueueName::Main, 0);
            return None;
        }
        if second_chance && self.takes_a_round(id) {
            self.requeue(id, QueueName::Small, 0);
            return None;
        }
        let mark = self.ghosts.mark(self.arena[id].heap_bytes(), budget_bytes);
        Some(self.evict_entry(id, mark))
    }

    /// Takes the oldest of the main queue: evicts it, or gives it another round if it has earned
    /// one and `second_chance` allows it.
    fn try_main(&mut self, id: u32, durable: Lsn, second_chance: bool) -> Option<Evicted> {
        let entry = &self.arena[id];
        if !is_evictable(entry, durable) {
            self.requeue(id, QueueName::Main, entry.freq);
            return None;
        }
        if entry.freq > 0 && second_chance {
            self.requeue(id, QueueName::Main, entry.freq - 1);
            return None;
        }
        if second_chance && self.takes_a_round(id) {
            self.requeue(id, QueueName::Main, 0);
            return None;
        }
        Some(self.evict_entry(id, 0))
    }

    /// Whether a value that nobody has asked for may stay for another round because it is short. A miss
    /// costs one read whatever the length, so of two values that are as likely to be asked for, the
    /// shorter one is worth more per byte: it stays for as many rounds as it is shorter than the
    /// average, rounded.
    fn takes_a_round(&mut self, id: u32) -> bool {
        let mean = self.mean_cost_bytes();
        let entry = &mut self.arena[id];
        let short = (4 * usize::from(entry.rounds) + 3) * entry.cost_bytes() < 4 * mean;
        if short && entry.rounds < ROUNDS_MAX {
            entry.rounds += 1;
            return true;
        }
        false
    }

    fn requeue(&mut self, id: u32, queue: QueueName, freq: u8) {
        self.dequeue(id);
        self.arena[id].freq = freq;
        self.enqueue(id, queue);
    }

    fn evict_entry(&mut self, id: u32, mark: u8) -> Evicted {
        let HotEntry { namespace, identity, .. } = self.arena[id];
        self.drop_entry(id);
        Evicted { namespace, identity, freq: mark }
    }
}

fn is_evictable(entry: &HotEntry, durable: Lsn) -> bool {
    entry.pins == 0 && entry.lsn <= durable
}
