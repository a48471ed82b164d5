//! Recovery over a damaged store: a good image, some bytes changed, opened again.
//!
//! One changed byte may cost the key it hits, which then must say so; it may never show a wrong or
//! an older value, bring a deleted key back, or make another key disappear in silence. Several
//! changed bytes may cost more, but a value that was never written is never shown.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use emberlog_engine::config::Compression;
use emberlog_engine::io::Disk;
use emberlog_engine::{
    Config, Event, LoadError, Lookup, Namespace, OpenError, Room, Shard, Ticket, UnixMillis,
};

use crate::disk::{MemDisk, Running};

pub(crate) const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
const KEYS_BUSY: u32 = 40;
const KEYS: u32 = 400;

/// A good store and what it holds.
pub(crate) struct Image {
    pub(crate) disk: MemDisk,
    /// Every value ever written to a key, the newest last; `None` is a delete.
    pub(crate) history: BTreeMap<u32, Vec<Option<Vec<u8>>>>,
}

pub(crate) fn config() -> Config {
    Config {
        segment_bytes: 16 << 10,
        disk_bytes_max: 40 * (16 << 10),
        memory_bytes_max: 1 << 20,
        batch_bytes_max: 4096,
        checkpoint_bytes: 64 << 10,
        segments_ahead: 2,
        hash_seed: *b"a seed for tests",
        // These values repeat themselves: compressed, they would fill no segments.
        compression: Compression { enabled: false, ..Compression::default() },
        ..Config::default()
    }
}

pub(crate) fn drive(
    shard: &mut Shard,
    disk: &mut Running,
    mut done: impl FnMut(&mut Shard) -> bool,
) {
    let arrived = drive_while(100_000, shard, disk, |shard| !done(shard));
    assert!(arrived, "a store in memory makes progress: {:?}", shard.stats());
}

/// Drives the store for so many turns at most; whether `waits` came to an end.
pub(crate) fn drive_while(
    turns: u32,
    shard: &mut Shard,
    disk: &mut Running,
    mut waits: impl FnMut(&mut Shard) -> bool,
) -> bool {
    for _ in 0..turns {
        while let Some((id, request)) = shard.poll_io() {
            disk.start(id, request);
        }
        while let Some((id, result)) = disk.finished() {
            shard.complete(id, result, NOW);
        }
        if !waits(shard) {
            return true;
        }
        shard.tick(NOW);
    }
    false
}

fn name(key: u32) -> String {
    format!("key:{key}")
}

/// What a read of a key comes to.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    Value(Vec<u8>),
    Absent,
    Lost,
}

pub(crate) fn read(shard: &mut Shard, disk: &mut Running, key: u32) -> Seen {
    let name = name(key);
    for _ in 0..10 {
        let key = shard.key(Namespace(0), name.as_bytes());
        match shard.lookup(&key, NOW) {
            Lookup::Absent { .. } => return Seen::Absent,
            Lookup::Found(found) => return Seen::Value(found.value.to_vec()),
            Lookup::Lost => return Seen::Lost,
            Lookup::Cold => shard.load(Ticket(1), &key),
        }
        let mut outcome = Ok(());
        drive(shard, disk, |shard| match shard.poll_event() {
            Some(Event::Loaded { outcome: loaded, .. }) => {
                outcome = loaded;
                true
            }
            _ => false,
        });
        if let Err(LoadError::Corrupt | LoadError::Io) = outcome {
            return Seen::Lost;
        }
    }
    panic!("a loaded key is resident");
}

/// Builds the image: writes, overwrites, deletes, compaction, checkpoints, and a tail of log that
/// no checkpoint has.
fn build() -> Image {
    let mut disk = Running::new(MemDisk::default());
    let mut shard = Shard::open(&mut disk, &config(), NOW, &mut |_| {}).expect("a fresh store");
    let mut history: BTreeMap<u32, Vec<Option<Vec<u8>>>> = BTreeMap::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..6000_u32 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // A few busy keys and many quiet ones, so that segments die only in part.
        let busy = (state >> 8) % 8 != 0;
        let key = (state % u64::from(if busy { KEYS_BUSY } else { KEYS })) as u32;
        read(&mut shard, &mut disk, key);
        drive(&mut shard, &mut disk, |shard| shard.room(4096) == Room::Yes);
        read(&mut shard, &mut disk, key);
        let name = name(key);
        let handle = shard.key(Namespace(0), name.as_bytes());
        let value = if (state >> 40) % 5 == 0 {
            shard.delete(&handle, NOW).expect("there is room");
            None
        } else {
            let value = format!("{key}:{round}:").repeat((state >> 32) as usize % 40 + 1);
            shard.put(&handle, 0, value.as_bytes(), None, NOW).expect("there is room");
            Some(value.into_bytes())
        };
        history.entry(key).or_default().push(value);
    }
    // The very last batch cannot be told from a torn tail that was never acknowledged: nothing after
    // it says that it was durable. So it holds a key that nobody asks for.
    drive(&mut shard, &mut disk, |shard| shard.durable_lsn() >= shard.appended_lsn());
    drive(&mut shard, &mut disk, |shard| shard.room(4096) == Room::Yes);
    let name = name(KEYS);
    let handle = shard.key(Namespace(0), name.as_bytes());
    let last = shard.put(&handle, 0, b"last", None, NOW).expect("there is room");
    drive(&mut shard, &mut disk, |shard| shard.durable_lsn() >= last);
    // Then the log falls quiet, so that it is confirmed and the superblock says how far it goes.
    for later_ms in [2_000, 2_001] {
        shard.tick(NOW.plus(later_ms));
        drive(&mut shard, &mut disk, |shard| {
            shard.durable_lsn() >= shard.appended_lsn() && shard.stats().io_in_flight == 0
        });
    }
    let stats = shard.stats();
    assert!(stats.compactions > 3 && stats.checkpoints > 2, "the image has it all: {stats:?}");
    Image { disk: disk.disk, history }
}

/// The image, built once.
pub(crate) fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(build)
}

/// Opens the image with bytes changed as `data` says, and checks every key.
///
/// # Panics
/// On a finding.
pub fn recovery(data: &[u8]) {
    let image = image();
    let mut files = image.disk.clone();
    let mut changed = 0;
    let mut place = String::new();
    for change in data.chunks_exact(6).take(4) {
        let names: Vec<_> = files.files.keys().copied().collect();
        let file = names[usize::from(change[0]) % names.len()];
        let content = files.files.get_mut(&file).expect("listed");
        let word = u32::from_le_bytes([change[1], change[2], change[3], change[4]]);
        let at = word as usize % content.len();
        if change[5] != 0 {
            content[at] ^= change[5];
            changed += 1;
            place = format!("{file:?} at {at}, xor {}", change[5]);
        }
    }
    let mut disk = Running::new(files);
    let mut shard = match Shard::open(&mut disk, &config(), NOW, &mut |_| {}) {
        Ok(shard) => shard,
        Err(OpenError::Superblock | OpenError::Checkpoints) if changed > 1 => return,
        // A version field may be hit, and its checksum with it only by four lucky bytes.
        Err(error) => panic!("one changed byte ({place}) keeps the store closed: {error}"),
    };
    let mut lost = 0;
    for (key, versions) in &image.history {
        let newest = versions.last().and_then(Option::as_deref);
        let seen = read(&mut shard, &mut disk, *key);
        match seen {
            Seen::Lost => lost += 1,
            Seen::Absent if newest.is_none() => {}
            Seen::Value(value) if newest == Some(&value[..]) => {}
            Seen::Value(value) if changed > 1 => {
                let written = versions.iter().flatten().any(|version| *version == value);
                assert!(written, "{key} shows a value that was never written");
            }
            Seen::Absent if changed > 1 => {}
            wrong => panic!("key {key} after {place}: {wrong:?} instead of {newest:?}"),
        }
    }
    if changed == 0 {
        assert_eq!(lost, 0);
    }
    if lost > 0 {
        assert!(shard.stats().corrupt_records > 0, "losses are counted: {lost} after {place}");
    }
}
