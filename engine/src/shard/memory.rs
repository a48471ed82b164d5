//! The memory budget: what the hot set may take while everything else takes what it needs.
//!
//! Everything but the hot set is measured, not counted: the resident set less the hot values is what is
//! *beside* them (index, buffers, footer rows, connections, holes of the heap). What has just come stays
//! reserved for a while, for it comes again.
//!
//! Owns: [`Memory`], the budget and what was measured.
//! Never knows: how the resident set is read, the allocator.
//! Invariant: the hot set's share is never above the budget less what was last measured beside it.

use super::Shard;
use crate::units::UnixMillis;

/// RAM beside index and hot set that is reserved even before it is seen: buffers, footer rows, code.
const OVERHEAD_BYTES: usize = 24 << 20;
/// The least that the hot set gets.
const HOT_BYTES_MIN: usize = 4 << 20;
/// Time in which about two thirds of what is no longer measured are given to the hot set.
const FORGET_MS: u64 = 3_000;

/// The budget of the process, and what it needs beside the hot set.
#[derive(Debug)]
pub(super) struct Memory {
    limit: usize,
    /// Bytes beside hot values and counted buffers: the most lately, fading.
    beside: usize,
    measured_at: UnixMillis,
}

impl Memory {
    pub(super) fn new(limit_bytes: u64) -> Memory {
        let mut memory = Memory { limit: 0, beside: 0, measured_at: UnixMillis(0) };
        memory.set_limit(limit_bytes);
        memory
    }

    pub(super) fn set_limit(&mut self, limit_bytes: u64) {
        self.limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
    }

    /// What to stay below: what comes between two measurements has its place above.
    fn target(&self) -> usize {
        self.limit.saturating_sub((self.limit / 32).clamp(4 << 20, 32 << 20))
    }

    /// Bytes of records that may be on their way from the disk at a time.
    pub(super) fn reads_max(&self) -> usize {
        (self.limit / 16).clamp(4 << 20, 64 << 20)
    }

    /// Takes a measurement: the resident set, and what of it is known.
    fn measure(&mut self, rss: usize, known: usize, now: UnixMillis) {
        let beside = rss.saturating_sub(known);
        let passed = now.since(self.measured_at).min(FORGET_MS) as usize;
        if beside >= self.beside {
            self.beside = beside;
        } else if passed == 0 {
            return;
        } else {
            self.beside -= (self.beside - beside) * passed / FORGET_MS as usize;
        }
        self.measured_at = now;
    }

    /// What the hot set may take beside an index of `index` bytes and buffers of `buffers` bytes.
    fn hot_budget(&self, index: usize, buffers: usize) -> usize {
        let others = self.beside.max(index + OVERHEAD_BYTES) + buffers;
        self.target().saturating_sub(others).max(HOT_BYTES_MIN)
    }
}

impl Shard {
    /// Keeps the hot set inside its share of the memory budget.
    pub(super) fn balance(&mut self) {
        let budget = self.hot_budget();
        for evicted in self.hot.evict(budget, self.log.durable_lsn()) {
            if let Some(space) = self.spaces.get_mut(evicted.namespace.slot()) {
                let freq = evicted.freq;
                space.index.update(evicted.identity, |entry| entry.freq = freq);
            }
        }
    }

    /// Bytes that the hot set may take now.
    fn hot_budget(&self) -> usize {
        #[cfg(feature = "sim")]
        if let Some(bytes) = self.config.sim.hot_bytes {
            return bytes;
        }
        self.memory.hot_budget(self.index_bytes(), self.buffer_bytes())
    }

    pub(super) fn index_bytes(&self) -> usize {
        self.spaces.iter().map(|space| space.index.bytes() + space.labels.bytes()).sum()
    }

    /// Buffers that come and go by the megabyte: batches that wait for the disk, reads of records.
    fn buffer_bytes(&self) -> usize {
        self.log.pending_bytes + self.loads.bytes_in_flight()
    }

    /// Changes the memory budget, in bytes of the whole process.
    pub fn set_memory_budget(&mut self, bytes: u64) {
        self.config.memory_bytes_max = bytes;
        self.memory.set_limit(bytes);
    }

    /// Keeps at most this many bytes of values in RAM, whatever the budget says.
    #[cfg(feature = "sim")]
    pub(crate) fn set_hot_bytes(&mut self, bytes: usize) {
        self.config.sim.hot_bytes = Some(bytes);
        self.balance();
    }

    /// Tells the shard the process's resident set, in bytes, and makes the hot set give way if that
    /// with it is above the budget. Call whenever the process may have grown by a megabyte, and about
    /// once a second. Values that nobody holds leave RAM: not to be called amid a command.
    pub fn observe_rss(&mut self, rss_bytes: u64) {
        let rss = usize::try_from(rss_bytes).unwrap_or(usize::MAX);
        self.memory.measure(rss, self.hot.bytes() + self.buffer_bytes(), self.now);
        self.balance();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn what_is_measured_beside_the_hot_set_is_taken_from_it_at_once() {
        let mut memory = Memory::new(256 << 20);
        assert_eq!(memory.hot_budget(30 * MIB, 0), (256 - 8 - 30 - 24) * MIB);
        memory.measure(270 * MIB, 190 * MIB, UnixMillis(1));
        assert_eq!(memory.hot_budget(30 * MIB, 0), (256 - 8 - 80) * MIB);
        assert_eq!(memory.hot_budget(30 * MIB, 16 * MIB), (256 - 8 - 80 - 16) * MIB);
        // An index that leaves nothing.
        memory.measure(400 * MIB, 4 * MIB, UnixMillis(1));
        assert_eq!(memory.hot_budget(380 * MIB, 0), HOT_BYTES_MIN);
    }

    #[test]
    fn evicting_converges_when_only_a_part_of_it_comes_back() {
        let mut memory = Memory::new(256 << 20);
        let (mut hot, mut rss) = (200 * MIB, 300 * MIB);
        for step in 0..40 {
            memory.measure(rss, hot, UnixMillis(step));
            let evicted = hot.saturating_sub(memory.hot_budget(30 * MIB, 0));
            hot -= evicted;
            rss -= evicted * 2 / 3;
        }
        assert!((247 * MIB..=249 * MIB).contains(&rss), "{rss}");
    }

    #[test]
    fn what_has_gone_is_given_back_slowly() {
        let mut memory = Memory::new(256 << 20);
        memory.measure(250 * MIB, 100 * MIB, UnixMillis(1000));
        for millis in 1000..2500 {
            memory.measure(150 * MIB, 100 * MIB, UnixMillis(millis));
        }
        // 50 + 100 / e^0.5 after half of the time.
        assert!((110 * MIB..112 * MIB).contains(&memory.beside), "{}", memory.beside);
        memory.measure(150 * MIB, 100 * MIB, UnixMillis(60_000));
        assert_eq!(memory.beside, 50 * MIB);
    }
}
