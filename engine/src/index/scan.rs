//! Walks over an index that changes between their steps.
//!
//! Owns: page visits (checkpoints, sweeps), scans in `x` order (SCAN), random entries.
//! Never knows: why somebody walks.
//! Invariant: a walk meets every entry that is present throughout at least once. For page visits
//! because an entry belongs to one page whose number never falls; for scans because `x` is the
//! entry's own, whatever the number of pages.

use super::entry::Packed;
use super::identity::{Identity, X_BITS};
use super::stamp::Horizon;
use super::{Entry, Index};
use crate::units::UnixMillis;

/// Most pages that one call of [`Index::scan`] looks at.
const SCAN_PAGES: usize = 4;

impl Index {
    /// Number of pages to visit: [`Index::visit_page`] takes 0 up to this. It may rise meanwhile:
    /// a walk is over when its next page is not below it any more.
    pub fn pages(&self) -> usize {
        self.mapping.pages()
    }

    /// Calls `f` for every entry that belongs to page `page`, the stashed ones included; about
    /// 30 us.
    ///
    /// Walking 0, 1, 2 ... while entries are inserted, removed and moved between the visits meets
    /// every entry that is present throughout at least once, and some twice: growth moves entries
    /// only to pages with the same or a higher number.
    pub fn visit_page(&self, page: usize, mut f: impl FnMut(Identity, Entry)) {
        assert!(page < self.pages(), "page {page} of {}", self.pages());
        if let Some(page) = self.pages.get(page) {
            page.for_each(|identity, packed| f(identity, packed.entry()));
        }
        if !self.stash.is_empty() {
            for (identity, packed) in self.stashed(self.mapping.xs_of(page)) {
                f(*identity, packed.entry());
            }
        }
    }

    /// As [`Index::visit_page`], but only for entries that [expire](super::Due::At) at or before the end
    /// of the second `until_secs`, and several times cheaper if they are few: the sweep's step.
    /// Entries that are [`Due::Far`](super::Due::Far) are not met.
    pub fn visit_due(
        &self,
        page: usize,
        until_secs: u64,
        now: UnixMillis,
        mut f: impl FnMut(Identity, Entry),
    ) {
        assert!(page < self.pages(), "page {page} of {}", self.pages());
        let horizon = Horizon::new(until_secs, now);
        let is_due = |packed: &Packed| horizon.covers(packed.expiry());
        if let Some(page) = self.pages.get(page) {
            page.for_each_where(is_due, |identity, packed| f(identity, packed.entry()));
        }
        if !self.stash.is_empty() {
            let stashed = self.stashed(self.mapping.xs_of(page));
            for (identity, packed) in stashed.filter(|(_, packed)| is_due(packed)) {
                f(*identity, packed.entry());
            }
        }
    }

    /// As [`Index::visit_page`], but only for entries that are [`Due::Far`](super::Due::Far).
    pub fn visit_far(&self, page: usize, mut f: impl FnMut(Identity, Entry)) {
        assert!(page < self.pages(), "page {page} of {}", self.pages());
        let is_far = |packed: &Packed| packed.expiry() == super::Expiry::FAR;
        if let Some(page) = self.pages.get(page) {
            page.for_each_where(is_far, |identity, packed| f(identity, packed.entry()));
        }
        if !self.stash.is_empty() {
            let stashed = self.stashed(self.mapping.xs_of(page));
            for (identity, packed) in stashed.filter(|(_, packed)| is_far(packed)) {
                f(*identity, packed.entry());
            }
        }
    }

    /// Calls `f` for every entry.
    pub fn for_each(&self, mut f: impl FnMut(Identity, Entry)) {
        for page in 0..self.pages() {
            self.visit_page(page, &mut f);
        }
    }

    /// The entries with the smallest `x` from `cursor` on, in ascending order, and the cursor to go
    /// on with: 0 if there are no more.
    ///
    /// About `count` entries, and all with the same `x` together; fewer (perhaps none) if there
    /// are fewer within 4 pages. Starting with 0 and following the cursors meets every entry that
    /// is present throughout exactly once, whatever happens between the calls. Costs a visit of
    /// one page, usually.
    pub fn scan(&self, cursor: u64, count: usize) -> (Vec<(Identity, Entry)>, u64) {
        self.scan_where(cursor, count, 0, |_| true)
    }

    /// As [`Index::scan`], for wanted entries only, and with cursors that are multiples of
    /// `1 << coarse`, as `cursor` must be: all entries between two of them are met together.
    pub(crate) fn scan_where(
        &self,
        cursor: u64,
        count: usize,
        coarse: u32,
        mut wanted: impl FnMut(&Entry) -> bool,
    ) -> (Vec<(Identity, Entry)>, u64) {
        let count = count.max(1);
        let mut found: Vec<(Identity, Entry)> = Vec::new();
        let mut from = cursor;
        for visited in 1.. {
            if self.pages() == 0 || from >> X_BITS != 0 {
                break;
            }
            let page = self.mapping.page_of(from);
            let before = found.len();
            self.visit_page(page, |identity, entry| {
                if identity.x() >= from && wanted(&entry) {
                    found.push((identity, entry));
                }
            });
            from = self.mapping.xs_of(page).end;
            if found.len() > count.max(before) {
                let first = count.max(before + 1) - before;
                let next = end_of_first(&mut found[before..], first, coarse);
                // Otherwise it ends in a later page.
                if next <= from {
                    found.retain(|(identity, _)| identity.x() < next);
                    found[before..].sort_unstable_by_key(|(identity, _)| *identity);
                    return (found, if next >> X_BITS == 0 { next } else { 0 });
                }
            }
            found[before..].sort_unstable_by_key(|(identity, _)| *identity);
            let next = from >> coarse << coarse;
            let enough = found.len() >= count || visited >= SCAN_PAGES;
            if enough && next > cursor && from >> X_BITS == 0 {
                found.retain(|(identity, _)| identity.x() < next);
                return (found, next);
            }
        }
        (found, 0)
    }

    /// The entry with the smallest `x` from `start` (modulo 2^38) on, going round; `None` if there
    /// is no entry. With a random `start`, nearly every entry is nearly equally likely.
    pub fn random(&self, start: u64) -> Option<(Identity, Entry)> {
        if self.is_empty() {
            return None;
        }
        let mut cursor = start & ((1 << X_BITS) - 1);
        loop {
            // Ends: there is an entry, and a round visits every page.
            let (found, next) = self.scan(cursor, 1);
            if let Some(first) = found.first() {
                return Some(*first);
            }
            cursor = next;
        }
    }
}

/// The multiple of `1 << coarse` behind the first `count` entries of these, in ascending order of `x`.
fn end_of_first(found: &mut [(Identity, Entry)], count: usize, coarse: u32) -> u64 {
    let (_, last, _) = found.select_nth_unstable_by_key(count - 1, |(identity, _)| *identity);
    ((last.0.x() >> coarse) + 1) << coarse
}
