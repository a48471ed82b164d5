//! Expiry to the millisecond without a timer per key: what falls due soon is in a wheel, the rest
//! is found by sweeping the index in time.
//!
//! Owns: [`Wheel`], [`Sweep`].
//! Never knows: entries (an item may be stale: the shard compares it with the entry), records, the
//! clock (`now` is an argument).
//! Invariant: items come out in order of their due time among those that are due, none before it;
//! nothing is kept beyond the window. A pass of the sweep takes half the window, so whatever falls
//! due is swept at least once while it is within the window.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::index::Identity;
use crate::units::{Namespace, UnixMillis};

/// Milliseconds in a tick: what is put in order when it comes up, not before.
const TICK_MS: u64 = 16;

/// One scheduled expiry, 16 bytes: due time in ms, then `namespace << 47 | identity`.
type Item = (u64, u64);

/// The near future: items in ticks of 16 ms, the current tick in a heap.
///
/// Scheduling is an append; an item costs 16 bytes plus growth slack of its tick's vector (24
/// bytes on average), until it comes out. The same key may be scheduled many times.
pub struct Wheel {
    /// Due before tick `loaded`: the current tick, and what was late when it was scheduled.
    ready: BinaryHeap<Reverse<Item>>,
    /// Ring of ticks from `loaded` on: tick `t` at `t % ticks.len()`.
    ticks: Vec<Vec<Item>>,
    /// The first tick that is not in `ready`.
    loaded: u64,
    /// The first tick of the ring with an item; meaningless if `waiting` is 0.
    earliest: u64,
    /// Items in the ring.
    waiting: usize,
}

impl Wheel {
    /// A wheel that takes items due within `window_ms` milliseconds, at least 1.
    #[expect(clippy::cast_possible_truncation, reason = "a window is minutes, not centuries")]
    pub fn new(window_ms: u64) -> Wheel {
        assert!(
            (1..=86_400_000).contains(&window_ms),
            "a window of {window_ms} ms is no near future"
        );
        // One tick more, because the current tick may be nearly over.
        let ticks = window_ms.div_ceil(TICK_MS) as usize + 1;
        Wheel {
            ready: BinaryHeap::new(),
            ticks: vec![Vec::new(); ticks],
            loaded: 0,
            earliest: 0,
            waiting: 0,
        }
    }

    /// Items due within this many ms from now are taken for certain, as long as what is due is
    /// taken out: the window begins at the earliest item that is overdue.
    pub fn window_ms(&self) -> u64 {
        (self.ticks.len() as u64 - 1) * TICK_MS
    }

    /// Items held, stale ones included.
    pub fn len(&self) -> usize {
        self.ready.len() + self.waiting
    }

    /// Whether nothing is scheduled.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// RAM taken, in bytes; walks the ring.
    pub fn bytes(&self) -> usize {
        let items: usize = self.ticks.iter().map(Vec::capacity).sum();
        (items + self.ready.capacity()) * size_of::<Item>()
            + self.ticks.len() * size_of::<Vec<Item>>()
    }

    /// Takes the item if it is due within the window (or already); `false` leaves it to the sweep.
    pub fn schedule(
        &mut self,
        due: UnixMillis,
        now: UnixMillis,
        namespace: Namespace,
        identity: Identity,
    ) -> bool {
        self.keep_up(now);
        let item = (due.0, u64::from(namespace.0) << Identity::BITS | identity.to_bits());
        let tick = due.0 / TICK_MS;
        if tick < self.loaded {
            self.ready.push(Reverse(item));
            return true;
        }
        if tick - self.loaded >= self.ticks.len() as u64 {
            return false;
        }
        if self.waiting == 0 || tick < self.earliest {
            self.earliest = tick;
        }
        let place = self.place(tick);
        self.ticks[place].push(item);
        self.waiting += 1;
        true
    }

    /// Takes out the item with the earliest due time if that is not after `now`.
    ///
    /// Costs amortised about the sorting of one tick, whatever the number of items; the caller
    /// bounds how many it takes in one go.
    pub fn due(&mut self, now: UnixMillis) -> Option<(Namespace, Identity, UnixMillis)> {
        self.keep_up(now);
        if self.ready.is_empty() && self.waiting > 0 && self.earliest <= now.0 / TICK_MS {
            self.load_earliest();
        }
        if self.ready.peek().is_none_or(|Reverse((due, _))| *due > now.0) {
            return None;
        }
        self.ready.pop().map(|Reverse(item)| parts(item))
    }

    /// Items of the ticks from the one of `from` to the one before that of `until`: for a look ahead. What
    /// is due in the current tick is not among them. Costs a visit of each tick and item.
    pub fn upcoming(
        &self,
        from: UnixMillis,
        until: UnixMillis,
    ) -> impl Iterator<Item = (Namespace, Identity, UnixMillis)> {
        let first = (from.0 / TICK_MS).max(self.loaded);
        let end = (until.0 / TICK_MS).min(self.loaded + self.ticks.len() as u64);
        let ticks = (first..end).filter(|_| self.waiting > 0);
        ticks.flat_map(|tick| self.ticks[self.place(tick)].iter().map(|item| parts(*item)))
    }

    /// When to call [`Wheel::due`] next: exact within the current tick, else the beginning of the
    /// first tick with an item (up to 15 ms early). `None` if nothing is scheduled.
    pub fn next_due(&self) -> Option<UnixMillis> {
        match self.ready.peek() {
            Some(Reverse((due, _))) => Some(UnixMillis(*due)),
            None => (self.waiting > 0).then_some(UnixMillis(self.earliest * TICK_MS)),
        }
    }

    /// Moves the beginning of the ring up to now, or to its first item if that is late, so that
    /// the window stays ahead of now.
    fn keep_up(&mut self, now: UnixMillis) {
        let tick = now.0 / TICK_MS;
        let limit = if self.waiting == 0 { tick } else { tick.min(self.earliest) };
        self.loaded = self.loaded.max(limit);
    }

    /// Moves the first tick with items into `ready`, which is empty, and finds the next one.
    fn load_earliest(&mut self) {
        let place = self.place(self.earliest);
        // The tick's memory becomes the heap's, and the heap's old memory is freed.
        let items = std::mem::take(&mut self.ticks[place]);
        self.waiting -= items.len();
        self.ready = items.into_iter().map(Reverse).collect();
        self.loaded = self.earliest + 1;
        self.earliest = self.loaded;
        while self.waiting > 0 && self.ticks[self.place(self.earliest)].is_empty() {
            self.earliest += 1;
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a remainder of a usize")]
    fn place(&self, tick: u64) -> usize {
        (tick % self.ticks.len() as u64) as usize
    }
}

/// The parts of an item.
#[expect(clippy::cast_possible_truncation, reason = "the namespace was put there")]
fn parts((due, key): Item) -> (Namespace, Identity, UnixMillis) {
    let Some(identity) = Identity::from_bits(key & ((1 << Identity::BITS) - 1)) else {
        unreachable!("an identity was put there")
    };
    (Namespace((key >> Identity::BITS) as u16), identity, UnixMillis(due))
}

/// Which page of which namespace's index to visit when, so that a pass takes a fixed time.
pub struct Sweep {
    pass_ms: u64,
    /// When this pass began.
    began: UnixMillis,
    /// Visits made in this pass.
    made: u64,
    /// The next page to visit.
    namespace: usize,
    page: usize,
}

impl Sweep {
    /// A sweep for this wheel: a pass over all pages takes half its window.
    pub fn new(wheel: &Wheel, now: UnixMillis) -> Sweep {
        let pass_ms = (wheel.window_ms() / 2).max(1);
        Sweep { pass_ms, began: now, made: 0, namespace: 0, page: 0 }
    }

    /// The next page to visit, if one is due: number of the namespace, below `namespaces`, and of
    /// the page, below `pages(namespace)`. Call again until `None`; the caller bounds how many it
    /// takes in one go, and the rest stays due.
    pub fn next(
        &mut self,
        now: UnixMillis,
        namespaces: usize,
        pages: impl Fn(usize) -> usize,
    ) -> Option<(usize, usize)> {
        if !self.skip_to_a_page(namespaces, &pages) {
            // A pass ends no sooner than its time, however few pages there are.
            if now < self.began.plus(self.pass_ms) {
                return None;
            }
            *self = Sweep { pass_ms: self.pass_ms, began: now, made: 0, namespace: 0, page: 0 };
            if !self.skip_to_a_page(namespaces, &pages) {
                return None;
            }
        }
        if now < self.next_at(namespaces, pages) {
            return None;
        }
        let visit = (self.namespace, self.page);
        self.page += 1;
        self.made += 1;
        Some(visit)
    }

    /// When the next page is due: visits are spread evenly over the pass.
    pub fn next_at(&self, namespaces: usize, pages: impl Fn(usize) -> usize) -> UnixMillis {
        let total: u64 = (0..namespaces).map(|namespace| pages(namespace) as u64).sum();
        let after = (self.made * self.pass_ms).checked_div(total).unwrap_or(self.pass_ms);
        self.began.plus(after.min(self.pass_ms))
    }

    /// Moves on to a page that exists; `false` if the pass has none left.
    fn skip_to_a_page(&mut self, namespaces: usize, pages: impl Fn(usize) -> usize) -> bool {
        while self.namespace < namespaces {
            if self.page < pages(self.namespace) {
                return true;
            }
            self.namespace += 1;
            self.page = 0;
        }
        false
    }
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    reason = "numbers of tests are small"
)]
mod tests;
