//! Which page an `x` belongs to, now and while the index grows.
//!
//! `page = x * pages >> 38`: pages are equal slices of the `x` axis, so more pages mean finer
//! slices in the same order, and an entry's page number can only rise. Old pages are moved from
//! the last to the first; the *frontier* is the lowest that has been moved. What lies in old pages
//! from the frontier on is mapped to the new pages, all of which are at or above the frontier too;
//! so a page never holds entries of both mappings.
//!
//! Owns: [`Mapping`].
//! Never knows: the pages themselves.
//! Invariant: `page_of(x)` never falls over time.

use std::ops::Range;

use super::identity::X_BITS;

/// The map from `x` to page numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Mapping {
    /// Pages of the mapping that holds below the frontier.
    old: u64,
    /// Pages of the mapping that holds from the frontier on; equal to `old` when not growing.
    new: u64,
    /// Lowest old page that has been moved; equal to `old` when not growing.
    frontier: u64,
}

impl Mapping {
    /// A settled mapping to `pages` pages.
    pub(super) fn settled(pages: usize) -> Mapping {
        let pages = pages as u64;
        assert!(pages < 1 << 26, "x * pages fits 64 bits");
        Mapping { old: pages, new: pages, frontier: pages }
    }

    /// Starts to grow to `pages` pages; every entry stays where it is for now.
    pub(super) fn start(&mut self, pages: usize) {
        assert!(!self.growing() && pages as u64 > self.old, "one growth at a time");
        *self = Mapping { old: self.old, ..Mapping::settled(pages) };
        self.frontier = self.old;
    }

    pub(super) fn growing(&self) -> bool {
        self.old != self.new
    }

    /// Declares the next old page as moved and returns its number and its `x`s: the caller must
    /// take its entries out and put each where `page_of` now says. Settles when it was the last.
    #[expect(clippy::cast_possible_truncation, reason = "fewer than 2^26 pages")]
    pub(super) fn advance(&mut self) -> (usize, Range<u64>) {
        assert!(self.growing(), "nothing to move");
        let page = self.frontier as usize - 1;
        let xs = self.xs_of(page);
        self.frontier -= 1;
        if page == 0 {
            *self = Mapping::settled(self.new as usize);
        }
        (page, xs)
    }

    /// Pages in use: page numbers are below this.
    #[expect(clippy::cast_possible_truncation, reason = "fewer than 2^26 pages")]
    pub(super) fn pages(&self) -> usize {
        self.new as usize
    }

    /// The page of `x`; there must be pages.
    pub(super) fn page_of(&self, x: u64) -> usize {
        let page = (x * self.old) >> X_BITS;
        if page < self.frontier { page as usize } else { ((x * self.new) >> X_BITS) as usize }
    }

    /// All `x` that belong to `page`; empty for a new page below which nothing has moved yet.
    pub(super) fn xs_of(&self, page: usize) -> Range<u64> {
        let page = page as u64;
        if page < self.frontier {
            return first_x(page, self.old)..first_x(page + 1, self.old);
        }
        let moved_from = first_x(self.frontier, self.old);
        first_x(page, self.new).max(moved_from)..first_x(page + 1, self.new).max(moved_from)
    }
}

/// The least `x` of `page` when there are `pages`.
fn first_x(page: u64, pages: u64) -> u64 {
    (page << X_BITS).div_ceil(pages)
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    reason = "numbers of tests are small"
)]
mod tests {
    use super::*;

    #[test]
    fn ranges_partition_the_axis_and_agree_with_page_of_at_every_step() {
        for (old, new) in [(1, 2), (2, 3), (7, 8), (31, 32), (100, 103), (97, 200)] {
            let mut mapping = Mapping::settled(old);
            mapping.start(new);
            let probes: Vec<u64> = (0..2000).map(|i| i * ((1 << X_BITS) / 2000)).collect();
            let mut last: Vec<usize> = probes.iter().map(|x| mapping.page_of(*x)).collect();
            loop {
                let mut end = 0;
                for page in 0..mapping.pages() {
                    let xs = mapping.xs_of(page);
                    if xs.is_empty() {
                        continue;
                    }
                    assert_eq!(xs.start, end, "{mapping:?} page {page}");
                    assert_eq!(mapping.page_of(xs.start), page);
                    assert_eq!(mapping.page_of(xs.end - 1), page);
                    end = xs.end;
                }
                assert_eq!(end, 1 << X_BITS);
                for (x, last) in probes.iter().zip(&mut last) {
                    let page = mapping.page_of(*x);
                    assert!(page >= *last, "x {x} went down from {last} to {page}");
                    *last = page;
                }
                if !mapping.growing() {
                    break;
                }
                mapping.advance();
            }
            assert_eq!(mapping, Mapping::settled(new));
        }
    }
}
