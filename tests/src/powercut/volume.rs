//! A file system in memory that knows of every change whether a power cut may take it back.
//!
//! Owns: files and folders, each in three parts: what a reader sees now (`live`), what is on stable storage
//! (`durable`), and the changes in between (`pending`), in the order in which they came.
//! Must never know: FUSE, clocks, who writes.
//! Invariant: a change becomes durable only when a sync that was asked for *after* the change had been answered is
//! itself answered, or, for a write that is durable by itself, when that write is answered. A sync of a file says
//! nothing about its name; a sync of a folder says nothing about the bytes of its files.

use super::pages::Pages;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

/// Number of a file or folder.
pub type Ino = u64;
/// Number of a change, in the order of arrival.
pub type Seq = u64;

/// What a layer below may pretend, so that the test can be tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Lie {
    /// Nothing: syncs are syncs.
    #[default]
    None,
    /// Writes that ask to be durable are answered as if they were.
    DurableWrites,
    /// So are syncs of files.
    FileSyncs,
    /// So are syncs of folders.
    FolderSyncs,
    /// All three.
    Everything,
}

impl Lie {
    fn covers(self, other: Lie) -> bool {
        self == other || self == Lie::Everything
    }
}

/// A change of a file's content.
#[derive(Clone, Debug)]
pub enum Change {
    /// Bytes at an offset.
    Write(u64, Arc<[u8]>),
    /// A new size.
    Size(u64),
}

/// A change of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A new name.
    Link(OsString, Ino),
    /// A name is gone.
    Unlink(OsString),
    /// A name in place of another, which may have existed.
    Rename(OsString, OsString),
}

impl Entry {
    /// The names that it touches.
    pub fn names(&self) -> impl Iterator<Item = &OsString> {
        let (first, second) = match self {
            Entry::Link(name, _) | Entry::Unlink(name) => (name, None),
            Entry::Rename(from, to) => (from, Some(to)),
        };
        std::iter::once(first).chain(second)
    }

    /// Carries it out.
    pub fn apply(&self, names: &mut BTreeMap<OsString, Ino>) {
        match self {
            Entry::Link(name, ino) => drop(names.insert(name.clone(), *ino)),
            Entry::Unlink(name) => drop(names.remove(name)),
            Entry::Rename(from, to) => {
                if let Some(ino) = names.remove(from) {
                    names.insert(to.clone(), ino);
                }
            }
        }
    }
}

/// A change that is not durable.
#[derive(Clone, Debug)]
pub struct Pending<C> {
    /// Its place in the order.
    pub seq: Seq,
    /// What it does.
    pub change: C,
    /// Whether it has been answered.
    pub answered: bool,
    /// Byte ranges that a later change has already overwritten durably.
    pub hidden: Vec<(u64, u64)>,
}

/// A file.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// What readers see.
    pub live: Pages,
    /// What survives in any case.
    pub durable: Pages,
    /// What may survive.
    pub pending: Vec<Pending<Change>>,
}

impl File {
    fn make_durable(&mut self, covered: &[Seq]) {
        let (done, left) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|pending| covered.contains(&pending.seq));
        self.pending = left;
        let done: Vec<Pending<Change>> = done;
        for Pending { seq, change, hidden, .. } in done {
            let range = match &change {
                Change::Write(offset, bytes) => (*offset, offset + bytes.len() as u64),
                Change::Size(size) => (*size, u64::MAX),
            };
            apply(&mut self.durable, &change, &hidden);
            for older in self.pending.iter_mut().filter(|pending| pending.seq < seq) {
                older.hidden.push(range);
            }
        }
    }
}

/// Carries out `change` except where it is hidden.
pub fn apply(pages: &mut Pages, change: &Change, hidden: &[(u64, u64)]) {
    match change {
        Change::Size(size) => {
            if !hidden.iter().any(|(from, to)| (*from..*to).contains(size)) {
                pages.resize(*size);
            }
        }
        Change::Write(offset, bytes) if hidden.is_empty() => pages.write(*offset, bytes),
        Change::Write(offset, bytes) => {
            for (index, sector) in bytes.chunks(super::SECTOR_BYTES).enumerate() {
                let at = offset + (index * super::SECTOR_BYTES) as u64;
                if !hidden.iter().any(|(from, to)| (*from..*to).contains(&at)) {
                    pages.write(at, sector);
                }
            }
        }
    }
}

/// A folder.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    /// What readers see.
    pub live: BTreeMap<OsString, Ino>,
    /// What survives in any case.
    pub durable: BTreeMap<OsString, Ino>,
    /// What may survive.
    pub pending: Vec<Pending<Entry>>,
}

/// A file or a folder.
#[derive(Clone, Debug)]
pub enum Node {
    /// Bytes.
    File(File),
    /// Names.
    Folder(Folder),
}

/// Everything below the mount point.
#[derive(Clone, Debug)]
pub struct Volume {
    nodes: HashMap<Ino, Node>,
    next_ino: Ino,
    next_seq: Seq,
    /// What the layer below pretends.
    pub lie: Lie,
}

/// The mount point itself.
pub const ROOT: Ino = 1;

impl Default for Volume {
    fn default() -> Self {
        let nodes = HashMap::from([(ROOT, Node::Folder(Folder::default()))]);
        Self { nodes, next_ino: ROOT + 1, next_seq: 1, lie: Lie::None }
    }
}

impl Volume {
    /// A file or folder.
    pub fn node(&self, ino: Ino) -> Option<&Node> {
        self.nodes.get(&ino)
    }

    /// A file.
    pub fn file(&self, ino: Ino) -> Option<&File> {
        match self.nodes.get(&ino) {
            Some(Node::File(file)) => Some(file),
            _ => None,
        }
    }

    fn file_mut(&mut self, ino: Ino) -> Option<&mut File> {
        match self.nodes.get_mut(&ino) {
            Some(Node::File(file)) => Some(file),
            _ => None,
        }
    }

    /// A folder.
    pub fn folder(&self, ino: Ino) -> Option<&Folder> {
        match self.nodes.get(&ino) {
            Some(Node::Folder(folder)) => Some(folder),
            _ => None,
        }
    }

    fn folder_mut(&mut self, ino: Ino) -> Option<&mut Folder> {
        match self.nodes.get_mut(&ino) {
            Some(Node::Folder(folder)) => Some(folder),
            _ => None,
        }
    }

    /// What a folder holds under `name`.
    pub fn lookup(&self, parent: Ino, name: &OsStr) -> Option<Ino> {
        self.folder(parent)?.live.get(name).copied()
    }

    /// Adds a node that no folder names yet.
    pub fn add(&mut self, node: Node) -> Ino {
        self.next_ino += 1;
        self.nodes.insert(self.next_ino, node);
        self.next_ino
    }

    /// Names a node durably, without a trace: how a test puts its beginnings there.
    pub fn place(&mut self, parent: Ino, name: &OsStr, ino: Ino) {
        if let Some(folder) = self.folder_mut(parent) {
            folder.live.insert(name.to_owned(), ino);
            folder.durable.insert(name.to_owned(), ino);
        }
    }

    /// Forgets a name of the mount point and all nodes but the mount point's.
    pub fn clear(&mut self) {
        self.nodes.retain(|&ino, _| ino == ROOT);
        if let Some(root) = self.folder_mut(ROOT) {
            *root = Folder::default();
        }
    }

    fn take_seq(&mut self) -> Seq {
        self.next_seq += 1;
        self.next_seq
    }

    /// A write or a new size arrives.
    pub fn change(&mut self, ino: Ino, change: Change) -> Option<Seq> {
        let seq = self.take_seq();
        let file = self.file_mut(ino)?;
        apply(&mut file.live, &change, &[]);
        file.pending.push(Pending { seq, change, answered: false, hidden: Vec::new() });
        Some(seq)
    }

    /// A change of names arrives.
    pub fn rename(&mut self, parent: Ino, change: Entry) -> Option<Seq> {
        let seq = self.take_seq();
        let folder = self.folder_mut(parent)?;
        change.apply(&mut folder.live);
        folder.pending.push(Pending { seq, change, answered: false, hidden: Vec::new() });
        Some(seq)
    }

    /// The change is about to be answered; `durable` if it asked to be.
    pub fn answered(&mut self, ino: Ino, seq: Seq, durable: bool) {
        let honest = !self.lie.covers(Lie::DurableWrites);
        match self.nodes.get_mut(&ino) {
            Some(Node::File(file)) => {
                mark(&mut file.pending, seq);
                if durable && honest {
                    // The sizes before it as well: without them its bytes could not be read back.
                    let sizes = file.pending.iter().filter(|pending| {
                        pending.seq < seq
                            && pending.answered
                            && matches!(pending.change, Change::Size(_))
                    });
                    let mut covered: Vec<Seq> = sizes.map(|pending| pending.seq).collect();
                    covered.push(seq);
                    file.make_durable(&covered);
                }
            }
            Some(Node::Folder(folder)) => mark(&mut folder.pending, seq),
            None => {}
        }
    }

    /// A sync of a file or folder has failed: what it should have covered is never covered by another, as on a file
    /// system that marks a page clean whose write failed.
    pub fn sync_failed(&mut self, ino: Ino) {
        fn forgo<C>(pending: &mut [Pending<C>]) {
            for pending in pending {
                pending.answered = false;
            }
        }
        match self.nodes.get_mut(&ino) {
            Some(Node::File(file)) => forgo(&mut file.pending),
            Some(Node::Folder(folder)) => forgo(&mut folder.pending),
            None => {}
        }
    }

    /// A sync arrives: the changes that it will cover, which are those answered by now.
    pub fn covered(&self, ino: Ino) -> Vec<Seq> {
        fn of<C>(pending: &[Pending<C>]) -> Vec<Seq> {
            pending.iter().filter(|pending| pending.answered).map(|pending| pending.seq).collect()
        }
        match self.node(ino) {
            Some(Node::File(file)) => of(&file.pending),
            Some(Node::Folder(folder)) => of(&folder.pending),
            None => Vec::new(),
        }
    }

    /// The sync is about to be answered.
    pub fn synced(&mut self, ino: Ino, covered: &[Seq]) {
        let lie = self.lie;
        match self.nodes.get_mut(&ino) {
            Some(Node::File(file)) if !lie.covers(Lie::FileSyncs) => file.make_durable(covered),
            Some(Node::Folder(folder)) if !lie.covers(Lie::FolderSyncs) => {
                let Folder { durable, pending, .. } = folder;
                pending.retain(|pending| {
                    let done = covered.contains(&pending.seq);
                    if done {
                        pending.change.apply(durable);
                    }
                    !done
                });
            }
            _ => {}
        }
    }
}

fn mark<C>(pending: &mut [Pending<C>], seq: Seq) {
    if let Some(pending) = pending.iter_mut().find(|pending| pending.seq == seq) {
        pending.answered = true;
    }
}
