//! The superblock and the checkpoint it names.

use std::collections::BTreeMap;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::Progress;
use super::disk::{Blocking, failed};
use super::replay::Replay;
use crate::checkpoint::{FILES, LoadedRow, load_page, peek_page};
use crate::config::{Config, ConfigError};
use crate::error::OpenError;
use crate::format::DecodeError;
use crate::format::checkpoint::PAGE_BYTES;
use crate::format::superblock::{CheckpointRef, FILE_BYTES, SLOT_BYTES, Superblock};
use crate::format::tails::{self, Tail};
use crate::index::{Due, Entry, Expiry};
use crate::io::FileId;
use crate::labels::Place;
use crate::space::SideEntry;
use crate::units::{BatchSeq, Lsn, Namespace, UnixMillis};

/// Reads the superblock, or makes one for a new store. Also returns what its slots say of segments
/// without a footer.
pub(super) fn load(
    disk: &mut Blocking<'_>,
    files: &[(FileId, u64)],
    config: &Config,
    now: UnixMillis,
) -> Result<(Superblock, Vec<Tail>), OpenError> {
    let segments = files.iter().filter(|(f, _)| matches!(f, FileId::Segment(_))).count();
    let exists = files.iter().any(|(file, bytes)| *file == FileId::Superblock && *bytes > 0);
    if !exists {
        if segments > 0 {
            return Err(OpenError::NoSuperblock { segments });
        }
        return create(disk, config, now).map(|root| (root, Vec::new()));
    }
    // What it names must not be taken back once anything has relied on it.
    disk.sync(FileId::Superblock)?;
    let mut best: Option<Superblock> = None;
    let mut zeros = true;
    let mut slots = Vec::new();
    for slot in 0..2 {
        let offset = slot * SLOT_BYTES as u64;
        let read = disk.read(FileId::Superblock, offset, SLOT_BYTES);
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(slot, %error, "cannot read a superblock slot");
                zeros = false;
                continue;
            }
        };
        zeros &= bytes[..SLOT_BYTES].iter().all(|byte| *byte == 0);
        match Superblock::decode(&bytes[..SLOT_BYTES]) {
            Ok(block) if best.is_none_or(|best| block.generation > best.generation) => {
                best = Some(block);
            }
            Err(DecodeError::Version(version)) => {
                return Err(OpenError::Unsupported { file: FileId::Superblock, version });
            }
            Err(cause) if bytes[..SLOT_BYTES].iter().any(|byte| *byte != 0) => {
                tracing::error!(slot, %cause, "a superblock slot is damaged; using the other");
            }
            _ => {}
        }
        slots.push(bytes);
    }
    match best {
        Some(root) => {
            let places = slots.iter().map(|slot| &slot[tails::OFFSET..SLOT_BYTES]);
            let told = places.filter_map(|place| tails::decode(place, root.store_id).ok());
            Ok((adapt(root, disk.block_bytes(), config)?, told.flatten().collect()))
        }
        // A crash while the store was being created.
        None if zeros && segments == 0 => Ok((create(disk, config, now)?, Vec::new())),
        None => Err(OpenError::Superblock),
    }
}

fn create(
    disk: &mut Blocking<'_>,
    config: &Config,
    now: UnixMillis,
) -> Result<Superblock, OpenError> {
    config.validate()?;
    let mut hasher = SipHasher13::new_with_key(&config.hash_seed);
    hasher.write_u64(now.0);
    let root = Superblock {
        generation: 2,
        store_id: hasher.finish(),
        hash_seed: config.hash_seed,
        segment_bytes: config.segment_bytes,
        block_bytes: disk.block_bytes(),
        newest: CheckpointRef::default(),
        older: CheckpointRef::default(),
        durable_lsn: Lsn::NONE,
        durable_seq: BatchSeq(0),
        clean: true,
    };
    disk.allocate(FileId::Superblock, FILE_BYTES)?;
    let mut slot = vec![0; SLOT_BYTES];
    // Both slots at once, so that one damaged sector never loses a young store.
    for generation in [1, 2] {
        let fields = Superblock { generation, ..root }.encode();
        slot[..fields.len()].copy_from_slice(&fields);
        disk.write(FileId::Superblock, generation % 2 * SLOT_BYTES as u64, &slot)?;
    }
    Ok(root)
}

/// The store keeps its segment size; its block grows if the disk's is larger now.
fn adapt(root: Superblock, block: u32, config: &Config) -> Result<Superblock, OpenError> {
    let segment_bytes = root.segment_bytes;
    let batch_bytes_max = config.batch_bytes_max.min(segment_bytes as usize / 2);
    let config = Config { segment_bytes, batch_bytes_max, ..config.clone() };
    config.validate().map_err(|error| match error {
        ConfigError { key: "disk_bytes_max", problem } => {
            OpenError::Config(ConfigError { key: "disk_bytes_max", problem })
        }
        other => OpenError::Config(other),
    })?;
    Ok(Superblock { block_bytes: root.block_bytes.max(block), ..root })
}

/// Loads the newest usable checkpoint. Returns the batch to replay from, and how many checkpoints
/// were found damaged.
pub(super) fn load_checkpoint(
    disk: &mut Blocking<'_>,
    files: &[(FileId, u64)],
    root: &mut Superblock,
    config: &Config,
    replay: &mut Replay,
    progress: &mut dyn FnMut(Progress),
) -> Result<(BatchSeq, u64), OpenError> {
    let mut spoiled = 0;
    for reference in [root.newest, root.older] {
        if reference.number == 0 {
            continue;
        }
        let loaded = within_file(files, &reference)
            .and_then(|()| load_one(disk, &reference, replay, progress));
        match loaded {
            Ok(()) => {
                root.newest = reference;
                return Ok((reference.start_seq, spoiled));
            }
            Err(error) => {
                tracing::error!(checkpoint = reference.number, %error, "a checkpoint is damaged");
                spoiled += 1;
                replay.spaces.clear();
            }
        }
    }
    // Nothing before the older checkpoint's start was ever dropped if there was no older one.
    if root.older.number != 0 && !config.rebuild_may_resurrect {
        return Err(OpenError::Checkpoints);
    }
    root.newest = CheckpointRef { number: root.newest.number, ..CheckpointRef::default() };
    root.older = CheckpointRef::default();
    Ok((BatchSeq(0), spoiled))
}

/// Whether the file holds as many pages as the superblock says, so that a wrong number is not counted
/// through page by page.
fn within_file(files: &[(FileId, u64)], reference: &CheckpointRef) -> Result<(), OpenError> {
    let file = checkpoint_file(reference);
    let bytes = files.iter().find(|(name, _)| *name == file).map_or(0, |(_, bytes)| *bytes);
    if reference.pages <= bytes / PAGE_BYTES as u64 {
        return Ok(());
    }
    let offset = bytes / PAGE_BYTES as u64;
    Err(OpenError::Corrupt { file, offset, cause: DecodeError::Field("checkpoint pages") })
}

fn checkpoint_file(reference: &CheckpointRef) -> FileId {
    FileId::Checkpoint((reference.number % FILES) as u8)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the file has the pages, and a file has fewer than 2^32 of them"
)]
fn load_one(
    disk: &mut Blocking<'_>,
    reference: &CheckpointRef,
    replay: &mut Replay,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), OpenError> {
    const PAGES_AT_ONCE: u64 = 4;
    let file = checkpoint_file(reference);
    let now = replay.now();
    reserve(disk, reference, replay);
    let places = (0..reference.pages).step_by(PAGES_AT_ONCE as usize).map(|page| {
        let count = PAGES_AT_ONCE.min(reference.pages - page);
        (page * PAGE_BYTES as u64, count as usize * PAGE_BYTES)
    });
    disk.read_each(file, places, |offset, bytes| {
        let bytes = bytes.map_err(|source| failed("read", file, source))?;
        let first = offset / PAGE_BYTES as u64;
        for (number, bytes) in (first as u32..).zip(bytes.chunks_exact(PAGE_BYTES)) {
            let loaded = load_page(bytes, reference.number, number, |row| match row {
                LoadedRow::Index(namespace, identity, entry) => {
                    let mut entry = present(entry, reference.wall, now);
                    if namespace == Namespace::CHUNKS {
                        // Its mark is of use to `orphans`.
                        entry.freq = 0;
                    }
                    replay.space(namespace).index.insert(identity, entry);
                }
                LoadedRow::Side(namespace, key, identity, entry) => {
                    let entry = present(entry, reference.wall, now);
                    let side = SideEntry { identity, entry };
                    replay.space(namespace).side.insert(key.into(), side);
                }
                LoadedRow::Label(namespace, identity, aside, key, label) => {
                    replay.label(namespace, &Place { identity, aside, key }, &label);
                }
            });
            let offset = u64::from(number);
            loaded.map_err(|cause| OpenError::Corrupt { file, offset, cause })?;
        }
        let done = first + PAGES_AT_ONCE;
        progress(Progress { phase: "loading checkpoint", done, total: reference.pages });
        Ok(())
    })
}

/// Gives the indexes the pages that the checkpoint's rows will need, by its pages' headers. They are
/// only a hint: nothing is verified yet. Rows come in the index's own order, and without the room at
/// once they would all crowd into its first pages.
fn reserve(disk: &mut Blocking<'_>, reference: &CheckpointRef, replay: &mut Replay) {
    let file = checkpoint_file(reference);
    let mut rows = BTreeMap::<Namespace, u64>::new();
    let places = (0..reference.pages).map(|page| (page * PAGE_BYTES as u64, 4096));
    let read = disk.read_each(file, places, |_, bytes| {
        // What cannot be read now will be met again.
        let head = bytes.ok().and_then(peek_page);
        if let Some((namespace, count)) = head {
            *rows.entry(namespace).or_default() += u64::from(count);
        }
        Ok::<(), OpenError>(())
    });
    if read.is_ok() {
        for (namespace, count) in rows {
            replay.space(namespace).index.reserve_empty(usize::try_from(count).unwrap_or(0));
        }
    }
}

/// An entry whose expiry was encoded at `then`, encoded at `now`: the store may have been closed for
/// longer than the window of an [`Expiry`].
fn present(entry: Entry, then: UnixMillis, now: UnixMillis) -> Entry {
    match entry.expiry.due(then) {
        Due::At(seconds) => {
            Entry { expiry: Expiry::of(Some(UnixMillis(seconds * 1000)), now), ..entry }
        }
        Due::Never | Due::Far => entry,
    }
}
