//! The bytes of one simulated file: what is on stable storage, and what only looks as if it were.
//!
//! Owns: [`Image`]: sparse durable pages, and the sectors in the device's volatile cache.
//! Never knows: requests, completions, time.
//! Invariant: a read sees the newest write of each sector; a power cut keeps what is durable and
//! any subset of the rest.

use std::collections::BTreeMap;

use super::rng::Rng;

/// Unit in which a disk writes atomically, or not at all.
pub const SECTOR_BYTES: usize = 512;
const PAGE_BYTES: usize = 4096;
const SECTORS_PER_PAGE: u64 = (PAGE_BYTES / SECTOR_BYTES) as u64;

/// Content of one sector.
pub type Sector = [u8; SECTOR_BYTES];

/// A sector that a read sees, though it is not on stable storage.
#[derive(Clone, Debug)]
struct Unsynced {
    bytes: Box<Sector>,
    /// Order of the write that brought it.
    order: u64,
    /// The write-back failed and the system has forgotten that the sector is dirty: no later sync
    /// brings it to stable storage, though it succeeds.
    ghost: bool,
}

/// One file.
#[derive(Clone, Debug, Default)]
pub struct Image {
    bytes: u64,
    /// Stable storage; a page that is missing is all zeros.
    durable: BTreeMap<u64, Box<[u8; PAGE_BYTES]>>,
    unsynced: BTreeMap<u64, Unsynced>,
    /// What sectors held before they were last written, for stale reads.
    former: BTreeMap<u64, Box<Sector>>,
}

impl Image {
    /// A durable file of zeros.
    pub fn zeros(bytes: u64) -> Image {
        Image { bytes, ..Image::default() }
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Changes the size; new bytes are durable zeros.
    pub fn resize(&mut self, bytes: u64) {
        self.bytes = bytes;
        self.durable.retain(|page, _| page * (PAGE_BYTES as u64) < bytes);
        self.unsynced.retain(|sector, _| sector * (SECTOR_BYTES as u64) < bytes);
    }

    /// What a read of `sector` sees.
    pub fn sector(&self, sector: u64) -> Sector {
        match self.unsynced.get(&sector) {
            Some(unsynced) => *unsynced.bytes,
            None => self.durable_sector(sector),
        }
    }

    /// Fills `out` from `offset`; both multiples of a sector, within the file.
    pub fn read(&self, offset: u64, out: &mut [u8]) {
        let first = offset / SECTOR_BYTES as u64;
        for (sector, chunk) in (first..).zip(out.chunks_exact_mut(SECTOR_BYTES)) {
            chunk.copy_from_slice(&self.sector(sector));
        }
    }

    /// Remembers what a sector holds before it is written.
    pub fn keep_former(&mut self, sector: u64) {
        let content = self.sector(sector);
        self.former.insert(sector, Box::new(content));
    }

    /// Fills `out` with what was there before the last writes, where that is remembered.
    pub fn read_former(&self, offset: u64, out: &mut [u8]) {
        self.read(offset, out);
        let first = offset / SECTOR_BYTES as u64;
        for (sector, chunk) in (first..).zip(out.chunks_exact_mut(SECTOR_BYTES)) {
            if let Some(former) = self.former.get(&sector) {
                chunk.copy_from_slice(&former[..]);
            }
        }
    }

    /// Whether reads see sectors that will never reach stable storage.
    pub fn has_ghosts(&self) -> bool {
        self.unsynced.values().any(|unsynced| unsynced.ghost)
    }

    /// What stable storage holds.
    pub fn durable_sector(&self, sector: u64) -> Sector {
        let Some(page) = self.durable.get(&(sector / SECTORS_PER_PAGE)) else {
            return [0; SECTOR_BYTES];
        };
        let at = (sector % SECTORS_PER_PAGE) as usize * SECTOR_BYTES;
        let mut bytes = [0; SECTOR_BYTES];
        bytes.copy_from_slice(&page[at..at + SECTOR_BYTES]);
        bytes
    }

    /// Puts a sector on stable storage.
    pub fn write_durable(&mut self, sector: u64, bytes: &Sector) {
        self.unsynced.remove(&sector);
        self.store(sector, bytes);
    }

    /// Puts a sector into the volatile cache. `flushed` says that the version before it, if that
    /// is volatile as well, has reached stable storage by itself.
    pub fn write_volatile(&mut self, sector: u64, bytes: &Sector, order: u64, flushed: bool) {
        let unsynced = Unsynced { bytes: Box::new(*bytes), order, ghost: false };
        if let Some(before) = self.unsynced.insert(sector, unsynced)
            && flushed
            && !before.ghost
        {
            self.store(sector, &before.bytes);
        }
    }

    /// Shows a sector to reads that no sync will ever bring to stable storage.
    pub fn write_ghost(&mut self, sector: u64, bytes: &Sector, order: u64) {
        self.unsynced.insert(sector, Unsynced { bytes: Box::new(*bytes), order, ghost: true });
    }

    /// Brings every volatile sector written before `order` to stable storage.
    pub fn sync(&mut self, order: u64) {
        self.settle(|unsynced| unsynced.order < order, |_| true);
    }

    /// A sync that failed: each sector written before `order` may have reached stable storage; the
    /// rest is forgotten. Reads go on seeing it until the cache is dropped (ext4, xfs), or see the
    /// old content at once if the file system `reverts` (btrfs).
    pub fn sync_failed(&mut self, order: u64, reverts: bool, rng: &mut Rng) {
        self.settle(|unsynced| unsynced.order < order, |_| rng.chance(1, 2));
        if reverts {
            self.unsynced.retain(|_, unsynced| unsynced.order >= order);
        }
        for unsynced in self.unsynced.values_mut().filter(|unsynced| unsynced.order < order) {
            unsynced.ghost = true;
        }
    }

    /// The process died, the machine did not: what was written stays to be read, ghosts vanish.
    pub fn process_died(&mut self) {
        self.unsynced.retain(|_, unsynced| !unsynced.ghost);
    }

    /// The power went: each volatile sector survives, is gone, or is damaged, as `fate` says.
    pub fn power_cut(&mut self, mut fate: impl FnMut() -> Fate, rng: &mut Rng) {
        for (sector, unsynced) in std::mem::take(&mut self.unsynced) {
            if unsynced.ghost {
                continue;
            }
            match fate() {
                Fate::Old => {}
                Fate::New => self.store(sector, &unsynced.bytes),
                Fate::Garbage => {
                    let mut bytes = *unsynced.bytes;
                    scramble(&mut bytes, rng);
                    self.store(sector, &bytes);
                }
            }
        }
    }

    /// Sectors of the file that hold anything but zeros on stable storage, in order.
    pub fn written_sectors(&self) -> Vec<u64> {
        let pages = self.durable.keys();
        let sectors = pages.flat_map(|page| {
            (0..SECTORS_PER_PAGE).map(move |sector| page * SECTORS_PER_PAGE + sector)
        });
        sectors.filter(|sector| self.durable_sector(*sector) != [0; SECTOR_BYTES]).collect()
    }

    fn settle(
        &mut self,
        concerns: impl Fn(&Unsynced) -> bool,
        mut reaches: impl FnMut(u64) -> bool,
    ) {
        let sectors: Vec<u64> = self
            .unsynced
            .iter()
            .filter(|(_, unsynced)| !unsynced.ghost && concerns(unsynced))
            .map(|(sector, _)| *sector)
            .collect();
        for sector in sectors {
            if reaches(sector)
                && let Some(unsynced) = self.unsynced.remove(&sector)
            {
                self.store(sector, &unsynced.bytes);
            }
        }
    }

    fn store(&mut self, sector: u64, bytes: &Sector) {
        if (sector + 1) * SECTOR_BYTES as u64 > self.bytes {
            return;
        }
        let number = sector / SECTORS_PER_PAGE;
        if *bytes == [0; SECTOR_BYTES] && !self.durable.contains_key(&number) {
            return;
        }
        let page = self.durable.entry(number).or_insert_with(|| Box::new([0; PAGE_BYTES]));
        let at = (sector % SECTORS_PER_PAGE) as usize * SECTOR_BYTES;
        page[at..at + SECTOR_BYTES].copy_from_slice(bytes);
    }
}

/// What becomes of a sector whose write was not known to be finished when the power went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// The old content stays.
    Old,
    /// The new content is there.
    New,
    /// Neither: the sector reads as rubbish.
    Garbage,
}

/// Damages a sector: all of it, its first part, or its last.
pub fn scramble(bytes: &mut Sector, rng: &mut Rng) {
    let cut = rng.below(SECTOR_BYTES as u64) as usize;
    match rng.below(3) {
        0 => rng.fill(bytes),
        1 => rng.fill(&mut bytes[..cut]),
        _ => rng.fill(&mut bytes[cut..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(byte: u8) -> Sector {
        [byte; SECTOR_BYTES]
    }

    #[test]
    fn what_is_not_synced_goes_with_the_power_and_stays_with_the_machine() {
        let mut rng = Rng::named(1, "image");
        let mut image = Image::zeros(8192);
        image.write_durable(0, &full(1));
        image.write_volatile(0, &full(2), 1, false);
        image.write_volatile(9, &full(3), 2, false);
        assert_eq!((image.sector(0), image.sector(9)), (full(2), full(3)));
        let mut killed = image.clone();
        killed.process_died();
        assert_eq!(killed.sector(0), full(2));
        image.sync(2);
        image.power_cut(|| Fate::Old, &mut rng);
        assert_eq!((image.sector(0), image.sector(9)), (full(2), full(0)));
    }

    #[test]
    fn after_a_failed_sync_the_next_one_succeeds_and_the_data_is_gone() {
        let mut rng = Rng::named(1, "image");
        let mut image = Image::zeros(1 << 16);
        for sector in 0..100 {
            image.write_volatile(sector, &full(7), sector, false);
        }
        let mut reverted = image.clone();
        reverted.sync_failed(100, true, &mut rng);
        let new = (0..100).filter(|sector| reverted.sector(*sector) == full(7)).count();
        assert!((20..80).contains(&new), "btrfs shows the old content at once: {new}");
        image.sync_failed(100, false, &mut rng);
        assert!((0..100).all(|sector| image.sector(sector) == full(7)), "still readable");
        image.sync(1000);
        image.power_cut(|| Fate::New, &mut rng);
        let kept = (0..100).filter(|sector| image.sector(*sector) == full(7)).count();
        assert!((20..80).contains(&kept), "{kept} of 100 survived");
    }

    #[test]
    fn zeros_cost_nothing_and_the_end_is_respected() {
        let mut image = Image::zeros(4096);
        image.write_durable(3, &full(0));
        assert!(image.durable.is_empty());
        image.write_durable(8, &full(1));
        assert!(image.written_sectors().is_empty(), "past the end");
        image.write_durable(3, &full(5));
        assert_eq!(image.written_sectors(), [3]);
        image.resize(0);
        assert!(image.durable.is_empty());
    }
}
