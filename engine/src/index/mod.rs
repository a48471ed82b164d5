//! Where every key's newest record is: an exact map from [`Identity`] to [`Entry`] in at most 16
//! bytes of RAM per entry, all in, at any size above a few hundred pages.
//!
//! An entry takes 14 bytes, nine to a bucket of two cache lines; pages are kept 89 to 92 % full by
//! growing in small steps, in place, a page at a time (`docs/decisions/0006-index-layout.md`).
//!
//! Owns: [`Index`], the entries of one namespace.
//! Never knows: keys, records, time, other namespaces; which of two keys with the same identity an
//! entry stands for (the shard's business).
//! Invariant: at most one entry per identity; the page of an entry never falls.

mod entry;
mod identity;
mod mapping;
mod page;
mod row;
mod scan;
mod size;
mod stamp;
#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    reason = "numbers of tests are small"
)]
mod tests;

pub use entry::{Entry, FREQ_MAX};
pub use identity::Identity;
pub use row::{ROW_BYTES, decode_row, encode_row};
pub use size::SizeClass;
pub use stamp::{
    Due, Expiry, TOUCH_CLASS_MAX, touch_cell, touch_cell_secs, touch_class_of, touch_cover_secs,
    touch_quantum_secs, touch_second,
};

use std::collections::{BTreeMap, btree_map};
use std::ops::Range;

use entry::Packed;
use mapping::Mapping;
use page::{PAGE_SLOTS, Page};

/// Growth starts when more than this share of all slots is taken.
const LOAD_MAX_PERCENT: usize = 92;
/// Inserts of new entries between two steps of growth (a new page, or one page's entries moved).
///
/// Growth by 1/32 takes `pages * 33/32` steps and must end before the next is due, which is
/// `(0.92 - 0.92 * 32/33) * 33/32 * 4608 = 132` inserts per page later: half of that, for slack.
const INSERTS_PER_STEP: u32 = 64;
/// The same while a recovery fills the index. Growth by a quarter takes `pages * 5/4` steps, in which
/// 40 inserts per page come to pages that have not been moved yet: 0.9 % of them.
const BULK_INSERTS_PER_STEP: u32 = 32;
/// Below this many pages (16 MiB) growth is by an eighth, from here on by a 32nd.
const SMALL_PAGES: usize = 256;

/// The entries of one namespace. An empty one takes no RAM.
#[derive(Default)]
pub struct Index {
    pages: Vec<Page>,
    mapping: Mapping,
    /// Entries that found no place in their page: a handful among millions. Ordered as the pages
    /// are, so that each page's share is a range; an entry here still *belongs* to its page.
    stash: BTreeMap<Identity, Packed>,
    entries: usize,
    expiring: usize,
    /// Pages wanted by the growth that is under way.
    target: usize,
    inserts_since_step: u32,
    /// A recovery fills it: growth in large steps, see [`Index::begin_bulk`].
    bulk: bool,
}

impl Index {
    /// An index without entries.
    pub fn new() -> Index {
        Index::default()
    }

    /// An index that takes this many entries without growing: saves a recovery that knows the
    /// count most of its time.
    pub fn with_capacity(entries: usize) -> Index {
        let mut index = Index::new();
        index.set_pages(Index::pages_for(entries));
        index
    }

    fn pages_for(entries: usize) -> usize {
        // A percent less than the limit, so that it is not crossed before the last entry.
        (entries * 100).div_ceil(PAGE_SLOTS * (LOAD_MAX_PERCENT - 1))
    }

    /// From here to [`Index::end_bulk`] growth is by a quarter instead of a 32nd: every entry moves
    /// about five times on the way to its place instead of 32 times, for up to 20 bytes per entry.
    pub fn begin_bulk(&mut self) {
        self.bulk = true;
    }

    /// Makes room in an empty index for this many entries.
    pub fn reserve_empty(&mut self, entries: usize) {
        if self.is_empty() && entries > 0 {
            *self = Index { bulk: self.bulk, ..Index::with_capacity(entries) };
        }
    }

    /// Ends what [`Index::begin_bulk`] has begun, and gives back the pages that are too many: about
    /// 100 ns per entry if there are. Takes no more than some pages of RAM beside the index.
    pub fn end_bulk(&mut self) {
        self.bulk = false;
        let wanted = Index::pages_for(self.entries);
        if wanted >= self.pages.len().max(self.target) {
            return;
        }
        let mapping = Mapping::settled(wanted);
        let old = std::mem::replace(&mut self.mapping, mapping);
        let mut pages = std::mem::replace(&mut self.pages, Vec::with_capacity(wanted)).into_iter();
        let stashed = std::mem::take(&mut self.stash);
        for number in 0..old.pages() {
            let Some(page) = pages.next() else { break };
            // Both mappings rise with `x`: what comes later goes to this page or a later one.
            let end = self.mapping.page_of(old.xs_of(number).end.saturating_sub(1));
            while self.pages.len() <= end {
                self.pages.push(Page::new());
            }
            page.for_each(|identity, packed| self.place(identity, packed));
        }
        self.pages.resize_with(wanted, Page::new);
        self.target = wanted;
        for (identity, packed) in stashed {
            self.place(identity, packed);
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Number of entries with an expiry.
    pub fn expiring_len(&self) -> usize {
        self.expiring
    }

    /// RAM taken, in bytes: pages with their allocator's overhead, and the stash.
    pub fn bytes(&self) -> usize {
        /// Header and alignment gap of an aligned heap block, at most.
        const BLOCK_OVERHEAD: usize = 128;
        /// A B-tree's row at two thirds full.
        const STASH_ROW: usize = (size_of::<Identity>() + size_of::<Packed>()) * 3 / 2;
        let page_bytes = PAGE_SLOTS * 128 / page::SLOTS + BLOCK_OVERHEAD;
        self.pages.len() * page_bytes
            + self.pages.capacity() * size_of::<Page>()
            + self.stash.len() * STASH_ROW
    }

    /// Brings what lookups of these identities will read into the CPU's caches, all at once: their
    /// misses overlap, while those of one lookup after the other do not. Changes nothing.
    pub fn warm(&self, identities: impl Iterator<Item = Identity>) {
        let touch = |identity| self.page_of(identity).map_or(0, |page| page.touch(identity));
        std::hint::black_box(identities.map(touch).fold(0, |all, touched| all ^ touched));
    }

    /// The entry of `identity`. One memory latency, usually.
    pub fn get(&self, identity: Identity) -> Option<Entry> {
        let page = self.page_of(identity)?;
        if let Some(spot) = page.find(identity) {
            return Some(page.at(spot).entry());
        }
        self.stash.get(&identity).map(Packed::entry)
    }

    /// Sets the entry of `identity` and returns the one that it replaces.
    ///
    /// A new entry may take along a step of growth: at most one page's entries move.
    pub fn insert(&mut self, identity: Identity, entry: Entry) -> Option<Entry> {
        if self.pages.is_empty() {
            self.set_pages(1);
        }
        let old = self.replace(identity, |_| entry);
        if old.is_none() {
            self.place(identity, Packed::new(identity.x(), entry));
            self.entries += 1;
            self.expiring += usize::from(entry.expiry.is_some());
            self.grow_a_little();
        }
        old
    }

    /// Changes the entry of `identity` in place; `false` if there is none.
    pub fn update(&mut self, identity: Identity, change: impl FnOnce(&mut Entry)) -> bool {
        let changed = self.replace(identity, |mut entry| {
            change(&mut entry);
            entry
        });
        changed.is_some()
    }

    /// Removes and returns the entry of `identity`. The RAM stays for later entries.
    pub fn remove(&mut self, identity: Identity) -> Option<Entry> {
        let page_number = (!self.pages.is_empty()).then(|| self.mapping.page_of(identity.x()))?;
        let page = &mut self.pages[page_number];
        let removed = if let Some(spot) = page.find(identity) {
            let packed = page.at(spot);
            page.remove(spot);
            packed
        } else {
            self.stash.remove(&identity)?
        };
        let entry = removed.entry();
        self.entries -= 1;
        self.expiring -= usize::from(entry.expiry.is_some());
        Some(entry)
    }

    /// Removes every entry and frees all RAM; up to 15 ms for ten million entries.
    pub fn clear(&mut self) {
        *self = Index::new();
    }

    fn page_of(&self, identity: Identity) -> Option<&Page> {
        // An index without pages maps everything to page 0, which does not exist.
        self.pages.get(self.mapping.page_of(identity.x()))
    }

    /// Replaces an existing entry by what `change` makes of it; returns the old one.
    fn replace(
        &mut self,
        identity: Identity,
        change: impl FnOnce(Entry) -> Entry,
    ) -> Option<Entry> {
        let page = self.pages.get_mut(self.mapping.page_of(identity.x()))?;
        let (old, new) = if let Some(spot) = page.find(identity) {
            let old = page.at(spot).entry();
            let new = change(old);
            page.replace(spot, Packed::new(identity.x(), new));
            (old, new)
        } else {
            let stashed = self.stash.get_mut(&identity)?;
            let old = stashed.entry();
            let new = change(old);
            *stashed = Packed::new(identity.x(), new);
            (old, new)
        };
        self.expiring += usize::from(new.expiry.is_some());
        self.expiring -= usize::from(old.expiry.is_some());
        Some(old)
    }

    /// Puts an entry that is nowhere into its page, or else into the stash.
    fn place(&mut self, identity: Identity, packed: Packed) {
        let page = self.mapping.page_of(identity.x());
        if !self.pages[page].add(identity, packed) {
            self.stash.insert(identity, packed);
        }
    }

    /// Gives an index without entries its pages.
    fn set_pages(&mut self, pages: usize) {
        self.pages = std::iter::repeat_with(Page::new).take(pages).collect();
        self.mapping = Mapping::settled(pages);
        self.target = pages;
    }

    /// The part of growth that one insert pays for.
    fn grow_a_little(&mut self) {
        if self.target == self.mapping.pages() && !self.mapping.growing() {
            let pages = self.target;
            if self.entries * 100 <= pages * PAGE_SLOTS * LOAD_MAX_PERCENT {
                return;
            }
            let share = match (self.bulk, pages < SMALL_PAGES) {
                (true, _) => 4,
                (false, true) => 8,
                (false, false) => 32,
            };
            self.target += (pages / share).max(1);
            self.inserts_since_step = 0;
        }
        self.inserts_since_step += 1;
        let per_step = if self.bulk { BULK_INSERTS_PER_STEP } else { INSERTS_PER_STEP };
        if self.inserts_since_step >= per_step {
            self.inserts_since_step = 0;
            self.grow_step();
        }
    }

    /// One step: allocate a page, or else move one old page's entries to where they belong.
    fn grow_step(&mut self) {
        if self.pages.len() < self.target {
            self.pages.push(Page::new());
            if self.pages.len() == self.target {
                self.mapping.start(self.target);
            }
            return;
        }
        let (number, xs) = self.mapping.advance();
        let old = std::mem::replace(&mut self.pages[number], Page::new());
        old.for_each(|identity, packed| self.place(identity, packed));
        let stashed: Vec<_> = self.stashed(xs).map(|(id, packed)| (*id, *packed)).collect();
        for (identity, packed) in stashed {
            self.stash.remove(&identity);
            self.place(identity, packed);
        }
    }

    /// The stashed entries that belong to these `x`s.
    fn stashed(&self, xs: Range<u64>) -> btree_map::Range<'_, Identity, Packed> {
        self.stash.range(Identity::lower_bound(xs.start)..Identity::lower_bound(xs.end))
    }
}
