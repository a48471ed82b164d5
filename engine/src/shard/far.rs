//! Expiries too far ahead for the index: it knows seconds for 320 days, the record knows them all.
//!
//! Every page of the index is visited once in 30 days for entries that are *far*; their expiry is taken
//! from the hot set or from the record's head, and entered as soon as it is within reach. Which page is
//! due follows from the time alone, so that restarts do not matter: in the 320 days before it is due
//! an entry is met ten times.
//!
//! Owns: [`Far`].
//! Never knows: how heads are read (`ahead.rs`).
//! Invariant: at most `PAGES_MAX` pages in a tick, and no more reads than `ahead.rs` allows.

use super::Shard;
use crate::hot::HotEntry;
use crate::index::{Due, Entry, Expiry, Identity};
use crate::space::LOST;
use crate::units::{Location, Namespace, UnixMillis};

/// Time of a pass over the index.
const PASS_MS: u64 = 30 * 86_400_000;
/// Pages visited in one tick at most, 10 us each and more for those with far entries.
const PAGES_MAX: usize = 16;

/// Where the pass is.
#[derive(Default)]
pub(super) struct Far {
    /// Number of the pass since the Unix epoch, and of the next page of all namespaces together; none
    /// before the first visit.
    next: Option<(u64, usize)>,
}

impl Far {
    /// The next page to visit, if one is due among `pages`.
    fn due(&mut self, now: UnixMillis, pages: usize) -> Option<usize> {
        let pass = now.0 / PASS_MS;
        let place = u128::from(now.0 % PASS_MS) * pages as u128 / u128::from(PASS_MS);
        let place = usize::try_from(place).ok()?;
        let page = match self.next {
            Some((before, page)) if before == pass => page,
            Some(_) => 0,
            None => place,
        };
        if page > place || page >= pages {
            return None;
        }
        self.next = Some((pass, page + 1));
        Some(page)
    }
}

impl Shard {
    /// Visits the pages that are due, and enters expiries that have come within reach.
    pub(super) fn visit_far(&mut self, now: UnixMillis) {
        for _ in 0..PAGES_MAX {
            let pages = self.spaces.iter().map(|space| space.index.pages()).sum();
            let Some(mut page) = self.far.due(now, pages) else { return };
            for number in 0..self.spaces.len() {
                let here = self.spaces[number].index.pages();
                if page < here {
                    self.visit_far_page(Namespace::of_slot(number), page);
                    break;
                }
                page -= here;
            }
        }
    }

    fn visit_far_page(&mut self, namespace: Namespace, page: usize) {
        let mut far: Vec<(Identity, Entry)> = Vec::new();
        if let Some(space) = self.space(namespace) {
            space.index.visit_far(page, |identity, entry| far.push((identity, entry)));
        }
        // Neighbours on disk are read together.
        far.sort_unstable_by_key(|(_, entry)| entry.location.0);
        for (identity, entry) in far.iter().filter(|(_, entry)| entry.location != LOST) {
            let hot = self.hot.peek_at(namespace, *identity, entry.location);
            match hot.and_then(HotEntry::expires_at) {
                Some(at) => self.stamp_far(namespace, *identity, entry.location, at),
                None => drop(self.ask_key(namespace, *identity, entry)),
            }
        }
    }

    /// Enters the expiry of a far entry, if it is within reach.
    pub(super) fn stamp_far(
        &mut self,
        namespace: Namespace,
        identity: Identity,
        location: Location,
        at: UnixMillis,
    ) {
        let expiry = Expiry::of(Some(at), self.now);
        if expiry.due(self.now) != Due::Far {
            let stamp = |entry: &mut Entry| entry.expiry = expiry;
            self.space_mut(namespace).update_at(identity, location, stamp);
            self.schedule(namespace, identity, Some(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_due_once_in_a_pass_also_across_restarts() {
        let (day, pages) = (86_400_000, 77);
        let mut visits = vec![0; pages];
        let begin = 500 * PASS_MS + 1;
        let mut far = Far::default();
        for step in 0..40 * 24 * 4 {
            if step % 29 == 0 {
                far = Far::default();
            }
            let now = UnixMillis(begin + step * day / 96);
            while let Some(page) = far.due(now, pages) {
                visits[page] += 1;
            }
        }
        assert!(visits.iter().all(|visits| (1..=40).contains(visits)), "{visits:?}");
        assert_eq!(Far::default().due(UnixMillis(7), 0), None);
    }
}
