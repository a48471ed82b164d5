//! A segment may be used again only when whatever superseded its records is on stable storage: until
//! then a crash takes the newer version back, and the older one must still be there.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use emberlog_engine::io::{Disk, FileId, IoDone, IoError, IoErrorKind, IoId, IoRequest, IoResult};
use emberlog_engine::{Config, Event, Key, Lookup, Namespace, Room, Shard, Ticket, UnixMillis};

const NOW: UnixMillis = UnixMillis(1_790_000_000_000);
const NS: Namespace = Namespace(0);

/// Files in RAM. While `hold` is set, batches are not written: they never complete.
#[derive(Default)]
struct MemoryDisk {
    files: BTreeMap<FileId, Vec<u8>>,
    started: VecDeque<(IoId, IoRequest)>,
    hold: bool,
}

impl MemoryDisk {
    fn carry_out(&mut self, request: IoRequest) -> IoResult {
        let done = |buffer| IoResult { buffer, outcome: Ok(IoDone::Done), micros: 0 };
        match request {
            IoRequest::List => {
                let files = self.files.iter().map(|(file, b)| (*file, b.len() as u64)).collect();
                IoResult { buffer: None, outcome: Ok(IoDone::Files(files)), micros: 0 }
            }
            IoRequest::Allocate { file, bytes } => {
                self.files.entry(file).or_default().resize(bytes as usize, 0);
                done(None)
            }
            IoRequest::Read { file, offset, mut buffer, bytes } => {
                let at = offset as usize;
                let content = self.files.get(&file).and_then(|f| f.get(at..at + bytes));
                let Some(content) = content else {
                    let error = IoError { kind: IoErrorKind::PastEnd, errno: 0 };
                    return IoResult { buffer: Some(buffer), outcome: Err(error), micros: 0 };
                };
                buffer[..bytes].copy_from_slice(content);
                done(Some(buffer))
            }
            IoRequest::Write { file, offset, buffer, bytes, .. } => {
                let content = self.files.get_mut(&file).expect("an allocated file");
                content[offset as usize..][..bytes].copy_from_slice(&buffer[..bytes]);
                done(Some(buffer))
            }
            IoRequest::Sync { .. } | IoRequest::Train(_) => done(None),
            IoRequest::Remove { file } => {
                self.files.remove(&file);
                done(None)
            }
        }
    }

    /// Whether this writes a batch: inside a segment, behind its header.
    fn is_batch(request: &IoRequest) -> bool {
        matches!(request, IoRequest::Write { file: FileId::Segment(_), offset, .. } if *offset > 0)
    }
}

impl Disk for MemoryDisk {
    fn start(&mut self, id: IoId, request: IoRequest) {
        self.started.push_back((id, request));
    }

    fn submit(&mut self) {}

    fn finished(&mut self) -> Option<(IoId, IoResult)> {
        let hold = self.hold;
        let at = self.started.iter().position(|(_, r)| !(hold && MemoryDisk::is_batch(r)))?;
        let (id, request) = self.started.remove(at)?;
        Some((id, self.carry_out(request)))
    }

    fn wait(&mut self, _timeout: Option<Duration>) {}

    fn block_bytes(&self) -> usize {
        4096
    }
}

fn config() -> Config {
    let (segment_bytes, disk_bytes_max) = (16 << 10, 16 * (16 << 10));
    let memory_bytes_max = 64 << 20;
    Config {
        segment_bytes,
        disk_bytes_max,
        memory_bytes_max,
        batch_bytes_max: 8192,
        ..Config::default()
    }
}

fn open(disk: &mut MemoryDisk) -> Shard {
    Shard::open(disk, &config(), NOW, &mut |_| {}).unwrap()
}

/// Carries out everything that can be, as time passes.
fn settle(shard: &mut Shard, disk: &mut MemoryDisk) {
    for step in 0..50 {
        while let Some((id, request)) = shard.poll_io() {
            disk.start(id, request);
        }
        while let Some((id, result)) = disk.finished() {
            shard.complete(id, result, NOW);
        }
        shard.tick(NOW.plus(step));
    }
}

fn key<'a>(shard: &Shard, name: &'a str) -> Key<'a> {
    shard.key(NS, name.as_bytes())
}

fn put(shard: &mut Shard, disk: &mut MemoryDisk, name: &str, fill: u8) {
    for _ in 0..100 {
        if shard.room(8192) == Room::Yes {
            break;
        }
        settle(shard, disk);
    }
    let key = key(shard, name);
    shard.put(&key, 0, &[fill; 6000], None, NOW).unwrap();
}

fn first_byte(shard: &mut Shard, disk: &mut MemoryDisk, name: &str) -> Option<u8> {
    let key = key(shard, name);
    if matches!(shard.lookup(&key, NOW), Lookup::Cold) {
        shard.load(Ticket(1), &key);
        settle(shard, disk);
        assert!(matches!(shard.poll_event(), Some(Event::Loaded { outcome: Ok(()), .. })));
    }
    match shard.lookup(&key, NOW) {
        Lookup::Found(found) => Some(found.value[0]),
        Lookup::Absent { .. } => None,
        other => panic!("{other:?}"),
    }
}

/// Overwrites a durable value; the overwrite never reaches the disk; then the power goes.
fn survives_a_lost_overwrite(grouped: bool) {
    let mut disk = MemoryDisk::default();
    let mut shard = open(&mut disk);
    // One value of 6,000 bytes to a segment, so the overwrite kills the key's whole.
    for (name, fill) in [("key", 1), ("a", 2), ("b", 3), ("c", 4)] {
        put(&mut shard, &mut disk, name, fill);
        settle(&mut shard, &mut disk);
    }
    assert_eq!(shard.durable_lsn(), shard.appended_lsn());
    disk.hold = true;
    if grouped {
        shard.begin();
    }
    put(&mut shard, &mut disk, "key", 9);
    if grouped {
        shard.commit();
    }
    settle(&mut shard, &mut disk);
    assert!(shard.durable_lsn() < shard.appended_lsn(), "the overwrite is held");
    drop(shard);
    let mut disk = MemoryDisk { files: disk.files, ..MemoryDisk::default() };
    let mut shard = open(&mut disk);
    assert_eq!(first_byte(&mut shard, &mut disk, "key"), Some(1), "the durable version");
}

#[test]
fn a_segment_is_kept_until_what_superseded_it_is_durable() {
    survives_a_lost_overwrite(false);
    survives_a_lost_overwrite(true);
}
