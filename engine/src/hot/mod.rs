//! The values worth their RAM: S3-FIFO over decompressed values within a byte budget.
//!
//! New values enter the *small* queue (a third of the budget); those accessed again before they
//! reach its end move on to the *main* queue. Of the others one in six leaves with a mark in its index
//! entry (the *ghost*), by which it is known as worth the main queue when it comes back soon. In the
//! main queue an access buys another round, and in both queues a short value gets a few for nothing
//! (`docs/decisions/0007-hot-set-s3-fifo.md`, `0024-short-values-stay.md`).
//! Source: Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023.
//!
//! Owns: [`Hot`].
//! Never knows: the index (marks go out and come in as arguments), the disk, time.
//! Invariant: a pinned value, or one whose record is not durable yet, is never evicted.

mod arena;
mod doomed;
mod entry;
mod evict;
mod queue;
mod table;
#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    reason = "numbers of tests are small"
)]
mod tests;

pub use entry::{HotEntry, NewEntry};
pub use evict::Evicted;

use crate::index::Identity;
use crate::units::{Location, Namespace, UnixMillis};
use arena::Arena;
use doomed::Doomed;
use entry::QueueName;
use evict::Ghosts;
use queue::Queue;
use table::Table;

/// Most accesses that an entry is credited with.
const FREQ_MAX: u8 = 3;

/// Inserted entries that the mean cost is about.
const MEAN_SCALE: usize = 1024;

/// Most keys that one call of [`Hot::warm`] takes.
pub const WARM_MAX: usize = 16;

/// Values in RAM by namespace and key.
#[derive(Default)]
pub struct Hot {
    arena: Arena,
    table: Table,
    small: Queue,
    main: Queue,
    /// Heap bytes of the entries in the small queue and in all.
    small_bytes: usize,
    heap_bytes: usize,
    /// Mean of [`HotEntry::cost_bytes`] of the last thousand or so that were inserted, times
    /// [`MEAN_SCALE`].
    mean_cost_scaled: usize,
    ghosts: Ghosts,
    /// Entries of each namespace, by its slot.
    held: Vec<usize>,
    doomed: Doomed,
    /// Entries that were added since `evict` was last called.
    fresh: usize,
    /// Whether that call left something for the next.
    behind: bool,
    /// What the last call of `evict` evicted; kept for its memory.
    evicted: Vec<Evicted>,
    /// Where key and value are put together.
    scratch: Vec<u8>,
}

impl Hot {
    /// An empty hot set.
    pub fn new() -> Hot {
        Hot::default()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.arena.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// RAM taken, in bytes, with allocator overhead and room for entries that is not used now.
    pub fn bytes(&self) -> usize {
        self.heap_bytes + self.arena.bytes() + self.table.bytes() + self.doomed.bytes()
    }

    /// Whether [`Hot::evict`] has more to do than it does in one call: it is to be called again soon.
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// The entry of `key`, counted as an access unless it is pinned.
    ///
    /// What reads a pinned entry is the very command that it was loaded for, run again: counting
    /// that would let every value of a scan into the main queue (hit ratio over LRU's by 1.0
    /// points instead of 4.0 in `tests.rs`).
    pub fn get(
        &mut self,
        namespace: Namespace,
        identity: Identity,
        key: &[u8],
    ) -> Option<&HotEntry> {
        let id = self.find(namespace, identity, key)?;
        let entry = &mut self.arena[id];
        if entry.pins == 0 {
            entry.freq = (entry.freq + 1).min(FREQ_MAX);
            entry.rounds = 0;
        }
        Some(entry)
    }

    /// The entry of `key`, not counted as an access.
    pub fn peek(&self, namespace: Namespace, identity: Identity, key: &[u8]) -> Option<&HotEntry> {
        Some(&self.arena[self.find(namespace, identity, key)?])
    }

    /// Brings what a lookup will read into the CPU's caches, for up to [`WARM_MAX`] keys. Changes
    /// nothing.
    ///
    /// A lookup is a chain of cache misses: table, node, bytes. Taken link by link over many keys,
    /// the misses of one link overlap.
    pub fn warm(&self, keys: &[(Namespace, Identity)]) {
        let mut ids = [None; WARM_MAX];
        for (id, (namespace, identity)) in ids.iter_mut().zip(keys) {
            *id = self.table.find(table::hash(*namespace, *identity), |_| true);
        }
        let mut touched = 0;
        for id in ids.iter().flatten() {
            touched ^= self.arena[*id].touch_node();
        }
        for id in ids.iter().flatten() {
            touched ^= self.arena[*id].touch_bytes();
        }
        std::hint::black_box(touched);
    }

    /// Sets the value of a key. Evicts nothing: call [`Hot::evict`] afterwards.
    ///
    /// `ghost` is the mark of the key's index entry, 0 if there is none. Replacing a value counts
    /// as an access and keeps the pins.
    pub fn insert(&mut self, new: &NewEntry<'_>, ghost: u8) {
        if let Some(id) = self.find(new.namespace, new.identity, new.key) {
            self.uncount(id);
            let entry = &mut self.arena[id];
            entry.overwrite(new, &mut self.scratch);
            entry.freq = (entry.freq + 1).min(FREQ_MAX);
            entry.rounds = 0;
            self.count(id);
            return;
        }
        let queue = if self.ghosts.is_recent(ghost) { QueueName::Main } else { QueueName::Small };
        let entry = HotEntry::new(new, queue, &mut self.scratch);
        self.mean_cost_scaled -= self.mean_cost_scaled / MEAN_SCALE;
        self.mean_cost_scaled += entry.cost_bytes();
        let id = self.arena.add(entry);
        let arena = &self.arena;
        self.table.add(table::hash(new.namespace, new.identity), id, |id| {
            table::hash(arena[id].namespace, arena[id].identity)
        });
        self.enqueue(id, queue);
        let slot = new.namespace.slot();
        if self.held.len() <= slot {
            self.held.resize(slot + 1, 0);
        }
        self.held[slot] += 1;
        self.fresh += 1;
    }

    /// Removes the entry of `key`, pinned or not; `false` if there is none.
    pub fn remove(&mut self, namespace: Namespace, identity: Identity, key: &[u8]) -> bool {
        let id = self.find(namespace, identity, key);
        if let Some(id) = id {
            self.drop_entry(id);
        }
        id.is_some()
    }

    /// Sets the expiry of `key`'s entry; `false` if there is none.
    pub fn set_expiry(
        &mut self,
        namespace: Namespace,
        identity: Identity,
        key: &[u8],
        expires_at: Option<UnixMillis>,
    ) -> bool {
        let id = self.find(namespace, identity, key);
        if let Some(id) = id {
            self.arena[id].set_expires_at(expires_at);
        }
        id.is_some()
    }

    /// Compaction has moved the record at `from` to `to`; `false` if no entry is of that record.
    pub fn set_location(
        &mut self,
        namespace: Namespace,
        identity: Identity,
        from: Location,
        to: Location,
    ) -> bool {
        let id = self.table.find(table::hash(namespace, identity), |id| {
            let entry = &self.arena[id];
            (entry.namespace, entry.identity, entry.location) == (namespace, identity, from)
        });
        if let Some(id) = id {
            self.arena[id].location = to;
        }
        id.is_some()
    }

    /// The entry of the record at `location`, not counted as an access.
    pub fn peek_at(
        &self,
        namespace: Namespace,
        identity: Identity,
        location: Location,
    ) -> Option<&HotEntry> {
        let id = self.table.find(table::hash(namespace, identity), |id| {
            let entry = &self.arena[id];
            (entry.namespace, entry.identity, entry.location) == (namespace, identity, location)
        })?;
        Some(&self.arena[id])
    }

    /// Keeps the entry of `key` in RAM until as many calls of [`Hot::unpin`]; `false` if there is
    /// none. Removing the key removes its pins.
    pub fn pin(&mut self, namespace: Namespace, identity: Identity, key: &[u8]) -> bool {
        let id = self.find(namespace, identity, key);
        if let Some(id) = id {
            self.arena[id].pins += 1;
        }
        id.is_some()
    }

    /// Takes one pin back, if there is one: the key may have been removed and set again meanwhile.
    pub fn unpin(&mut self, namespace: Namespace, identity: Identity, key: &[u8]) {
        if let Some(id) = self.find(namespace, identity, key) {
            let entry = &mut self.arena[id];
            entry.pins = entry.pins.saturating_sub(1);
        }
    }

    /// Removes every entry of a namespace. If there are no others, their RAM is given back by the next
    /// calls of [`Hot::evict`]; otherwise in time proportional to all entries.
    pub fn clear_namespace(&mut self, namespace: Namespace) {
        let held = self.held.get(namespace.slot()).copied().unwrap_or(0);
        if held == 0 {
            return;
        }
        if held == self.len() {
            self.clear();
            return;
        }
        for queue in [QueueName::Small, QueueName::Main] {
            for _ in 0..self.queue(queue).len() {
                let Some(id) = self.queue(queue).oldest() else { break };
                if self.arena[id].namespace == namespace {
                    self.drop_entry(id);
                } else {
                    // A whole turn leaves the others in their order.
                    self.dequeue(id);
                    self.enqueue(id, queue);
                }
            }
        }
    }

    fn clear(&mut self) {
        let arena = std::mem::take(&mut self.arena);
        self.doomed.add(arena, std::mem::take(&mut self.heap_bytes));
        self.table = Table::default();
        (self.small, self.main, self.small_bytes) = (Queue::default(), Queue::default(), 0);
        self.held.clear();
        self.behind = true;
    }

    fn find(&self, namespace: Namespace, identity: Identity, key: &[u8]) -> Option<u32> {
        self.table.find(table::hash(namespace, identity), |id| {
            let entry = &self.arena[id];
            entry.identity == identity && entry.namespace == namespace && entry.key() == key
        })
    }

    fn mean_cost_bytes(&self) -> usize {
        self.mean_cost_scaled / MEAN_SCALE
    }

    fn queue(&mut self, name: QueueName) -> &mut Queue {
        match name {
            QueueName::Small => &mut self.small,
            QueueName::Main => &mut self.main,
        }
    }

    /// Appends an entry that is in no queue.
    fn enqueue(&mut self, id: u32, name: QueueName) {
        self.arena[id].queue = name;
        match name {
            QueueName::Small => self.small.push(&mut self.arena, id),
            QueueName::Main => self.main.push(&mut self.arena, id),
        }
        self.count(id);
    }

    fn dequeue(&mut self, id: u32) {
        self.uncount(id);
        match self.arena[id].queue {
            QueueName::Small => self.small.remove(&mut self.arena, id),
            QueueName::Main => self.main.remove(&mut self.arena, id),
        }
    }

    fn drop_entry(&mut self, id: u32) {
        self.dequeue(id);
        let entry = &self.arena[id];
        self.table.remove(table::hash(entry.namespace, entry.identity), id);
        self.held[entry.namespace.slot()] -= 1;
        self.arena.free(id);
    }

    fn count(&mut self, id: u32) {
        let bytes = self.arena[id].heap_bytes();
        self.heap_bytes += bytes;
        if self.arena[id].queue == QueueName::Small {
            self.small_bytes += bytes;
        }
    }

    fn uncount(&mut self, id: u32) {
        let bytes = self.arena[id].heap_bytes();
        self.heap_bytes -= bytes;
        if self.arena[id].queue == QueueName::Small {
            self.small_bytes -= bytes;
        }
    }
}
