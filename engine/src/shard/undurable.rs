//! Which keys have a mutation that a crash could still take.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::key::WordHash;
use crate::units::Lsn;

/// Keys whose newest mutation is not on stable storage yet.
#[derive(Default)]
pub(super) struct Undurable {
    newest: HashMap<u64, Lsn, WordHash>,
    order: VecDeque<(Lsn, u64)>,
}

impl Undurable {
    pub(super) fn get(&self, packed: u64) -> Lsn {
        if self.newest.is_empty() {
            return Lsn::NONE;
        }
        self.newest.get(&packed).copied().unwrap_or(Lsn::NONE)
    }

    pub(super) fn note(&mut self, packed: u64, lsn: Lsn) {
        self.newest.insert(packed, lsn);
        self.order.push_back((lsn, packed));
    }

    /// Forgets what is durable now.
    pub(super) fn settle(&mut self, durable: Lsn) {
        while let Some(&(lsn, packed)) = self.order.front()
            && lsn <= durable
        {
            self.order.pop_front();
            if self.newest.get(&packed).is_some_and(|newest| *newest <= durable) {
                self.newest.remove(&packed);
            }
        }
    }
}
