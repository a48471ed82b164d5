//! What a power cut may leave: draws one of the legal disks from a volume's state.
//!
//! Owns: which of the changes that are not durable survive, whole or in part. Must never know: servers, keys.
//! Invariant: everything durable is in every image. Of the rest anything goes that a disk and a journalling file
//! system may do: any subset of sectors, in any order, torn at 512 bytes, some of them rubbish; names may lag behind,
//! but a change of a name never survives without the earlier ones of the same names.

use super::SECTOR_BYTES;
use super::pages::Pages;
use super::volume::{Change, File, Folder, Ino, Node, Pending, Seq, Volume, apply};
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A file or folder of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// Bytes.
    File(Pages),
    /// Names.
    Folder(BTreeMap<OsString, Tree>),
}

/// How an image comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Only what is durable.
    Nothing,
    /// Everything, also what was never answered.
    Everything,
    /// Everything up to some change, that one in part, nothing after it.
    Prefix(Seq),
    /// Each change by itself: lost, whole, or any of its sectors. The number is the share that survives, in percent.
    Subset(u32),
    /// As [`Style::Subset`], and of the torn changes some sectors are rubbish.
    Rubbish(u32),
}

/// What lies directly on the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Under {
    /// The store's folder.
    Store,
    /// A file with an ext4 file system, and the store's folder in that.
    Ext4,
    /// The same with xfs.
    Xfs,
    /// The same with btrfs.
    Btrfs,
}

impl Under {
    /// File systems are at home on disks that write blocks of 4 KiB whole and return no rubbish; the store claims less.
    fn unit(self) -> usize {
        match self {
            Under::Store => SECTOR_BYTES,
            Under::Ext4 | Under::Xfs | Under::Btrfs => 4096,
        }
    }
}

/// What happened to the changes that were not durable.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fates {
    /// Writes that survived whole.
    pub whole: u64,
    /// Writes of which nothing survived.
    pub lost: u64,
    /// Writes that survived in part.
    pub torn: u64,
    /// Sectors of rubbish.
    pub rubbish: u64,
    /// Changes of names that survived.
    pub names_kept: u64,
    /// Changes of names that were lost.
    pub names_lost: u64,
}

impl Fates {
    /// Adds up.
    pub fn add(&mut self, other: Fates) {
        self.whole += other.whole;
        self.lost += other.lost;
        self.torn += other.torn;
        self.rubbish += other.rubbish;
        self.names_kept += other.names_kept;
        self.names_lost += other.names_lost;
    }
}

/// Draws images of one state of a volume.
pub struct Draw<'a> {
    volume: &'a Volume,
    rng: &'a mut Rng,
    style: Style,
    /// Bytes that a torn write keeps or loses together.
    unit: usize,
    /// What became of the changes.
    pub fates: Fates,
}

impl<'a> Draw<'a> {
    /// A draw with a style that chance picks, of a disk that `under` lies on.
    pub fn new(volume: &'a Volume, root: Ino, rng: &'a mut Rng, under: Under) -> Self {
        let share = [5, 30, 70, 95][rng.usize(..4)];
        let style = match rng.u32(..10) {
            0 => Style::Nothing,
            1 => Style::Everything,
            2..5 => {
                let seqs = pending_seqs(volume, root);
                Style::Prefix(if seqs.is_empty() { 0 } else { seqs[rng.usize(..seqs.len())] })
            }
            8.. if under == Under::Store => Style::Rubbish(share),
            _ => Style::Subset(share),
        };
        Self { unit: under.unit(), ..Self::with_style(volume, rng, style) }
    }

    /// A draw with this style.
    pub fn with_style(volume: &'a Volume, rng: &'a mut Rng, style: Style) -> Self {
        Self { volume, rng, style, unit: SECTOR_BYTES, fates: Fates::default() }
    }

    /// The style.
    pub fn style(&self) -> Style {
        self.style
    }

    /// The image of everything below `ino`; an empty folder if there is no such node.
    pub fn tree(&mut self, ino: Ino) -> Tree {
        match self.volume.node(ino) {
            Some(Node::File(file)) => Tree::File(self.file(file)),
            Some(Node::Folder(folder)) => {
                let names = self.names(folder);
                Tree::Folder(names.into_iter().map(|(name, ino)| (name, self.tree(ino))).collect())
            }
            None => Tree::Folder(BTreeMap::new()),
        }
    }

    fn survives(&mut self, seq: Seq) -> bool {
        match self.style {
            Style::Nothing => false,
            Style::Everything => true,
            Style::Prefix(last) => seq < last,
            Style::Subset(share) | Style::Rubbish(share) => self.rng.u32(..100) < share,
        }
    }

    fn names(&mut self, folder: &Folder) -> BTreeMap<OsString, Ino> {
        let mut names = folder.durable.clone();
        let mut lost: BTreeSet<&OsString> = BTreeSet::new();
        for Pending { seq, change, .. } in &folder.pending {
            let follows = change.names().any(|name| lost.contains(name));
            if !follows && self.survives(*seq) {
                change.apply(&mut names);
                self.fates.names_kept += 1;
            } else {
                lost.extend(change.names());
                self.fates.names_lost += 1;
            }
        }
        names
    }

    fn file(&mut self, file: &File) -> Pages {
        let mut pages = file.durable.clone();
        for pending in &file.pending {
            let torn = match self.style {
                Style::Prefix(last) => pending.seq == last,
                Style::Subset(_) | Style::Rubbish(_) => self.rng.u32(..3) == 0,
                _ => false,
            };
            if torn && matches!(pending.change, Change::Write(..)) {
                self.tear(&mut pages, pending);
            } else if self.survives(pending.seq) {
                apply(&mut pages, &pending.change, &pending.hidden);
                self.fates.whole += 1;
            } else {
                self.fates.lost += 1;
            }
        }
        // The size may have reached the disk without the bytes.
        let longest = file.pending.iter().filter_map(|pending| match &pending.change {
            Change::Write(offset, bytes) => Some(offset + bytes.len() as u64),
            Change::Size(_) => None,
        });
        let longest = longest.max().unwrap_or(0).min(file.live.size());
        if longest > pages.size() && self.style != Style::Nothing && self.rng.bool() {
            pages.resize(longest);
        }
        pages
    }

    fn tear(&mut self, pages: &mut Pages, pending: &Pending<Change>) {
        let Change::Write(offset, bytes) = &pending.change else { return };
        let sectors = bytes.len().div_ceil(self.unit);
        // A disk writes from the front, or its parts do so in any order.
        let front = self.rng.bool().then(|| self.rng.usize(..=sectors));
        let share = self.rng.u32(5..95);
        for (index, sector) in bytes.chunks(self.unit).enumerate() {
            let at = offset + (index * self.unit) as u64;
            if pending.hidden.iter().any(|(from, to)| (*from..*to).contains(&at)) {
                continue;
            }
            let kept = front.map_or_else(|| self.rng.u32(..100) < share, |front| index < front);
            if kept {
                pages.write(at, sector);
            } else if matches!(self.style, Style::Rubbish(_)) && self.rng.u32(..8) == 0 {
                let mut rubbish = sector.to_vec();
                self.rng.fill(&mut rubbish);
                pages.write(at, &rubbish);
                self.fates.rubbish += 1;
            }
        }
        self.fates.torn += 1;
    }
}

/// All changes below `ino` that are not durable, in order.
fn pending_seqs(volume: &Volume, ino: Ino) -> Vec<Seq> {
    let mut seqs = Vec::new();
    let mut left = vec![ino];
    while let Some(ino) = left.pop() {
        match volume.node(ino) {
            Some(Node::File(file)) => seqs.extend(file.pending.iter().map(|pending| pending.seq)),
            Some(Node::Folder(folder)) => {
                seqs.extend(folder.pending.iter().map(|pending| pending.seq));
                let named: BTreeSet<Ino> =
                    folder.live.values().chain(folder.durable.values()).copied().collect();
                left.extend(named);
            }
            None => {}
        }
    }
    seqs.sort_unstable();
    seqs
}

impl Tree {
    /// Writes the image to a real folder, which must not exist.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_to(&self, path: &Path) -> io::Result<()> {
        match self {
            Tree::File(pages) => {
                let file = fs::File::create_new(path)?;
                file.set_len(pages.size())?;
                for (offset, bytes) in pages.written() {
                    file.write_all_at(bytes, offset)?;
                }
            }
            Tree::Folder(names) => {
                fs::create_dir(path)?;
                for (name, tree) in names {
                    tree.write_to(&path.join(name))?;
                }
            }
        }
        Ok(())
    }

    /// Puts the image into a volume, all of it durable, and returns its number.
    pub fn add_to(&self, volume: &mut Volume) -> Ino {
        match self {
            Tree::File(pages) => {
                let (live, durable) = (pages.clone(), pages.clone());
                volume.add(Node::File(File { live, durable, pending: Vec::new() }))
            }
            Tree::Folder(names) => {
                let ino = volume.add(Node::Folder(Folder::default()));
                for (name, tree) in names {
                    let child = tree.add_to(volume);
                    volume.place(ino, name, child);
                }
                ino
            }
        }
    }
}
