//! Large values from end to end, on real files: their chunks come and go with them, also across a crash.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use emberlog_engine::driver::{DriverChoice, SystemDisk, drive, now, open_store};
use emberlog_engine::{
    Chunked, Config, Event, Found, Key, Label, LoadError, Lookup, Lsn, Namespace, Refused, Room,
    Shard, Ticket, Upload,
};

const CHUNK: usize = 1024;

struct Store {
    disk: Box<dyn SystemDisk>,
    shard: Shard,
}

fn text(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(|_| byte()).collect()
}

impl Store {
    fn open(dir: &Path) -> Store {
        let mut disk = open_store(dir, DriverChoice::Threads).unwrap();
        let config = Config {
            segment_bytes: 64 << 10,
            disk_bytes_max: 4 << 20,
            memory_bytes_max: 64 << 20,
            batch_bytes_max: 16 << 10,
            chunk_bytes: CHUNK as u32,
            ..Config::default()
        };
        let shard = Shard::open(&mut *disk, &config, now(), &mut |_| {}).unwrap();
        Store { disk, shard }
    }

    fn room(&mut self, bytes: usize) {
        drive(&mut self.shard, &mut *self.disk, |shard| shard.room(bytes) == Room::Yes);
    }

    fn flush(&mut self) {
        let appended = self.shard.appended_lsn();
        self.shard.flush();
        drive(&mut self.shard, &mut *self.disk, |shard| shard.durable_lsn() >= appended);
    }

    fn upload(&mut self, value: &[u8]) -> Upload {
        let mut upload = self.shard.begin_chunks();
        for chunk in value.chunks(self.shard.chunk_bytes()) {
            self.room(chunk.len() + 256);
            self.shard.put_chunk(&mut upload, chunk, now()).unwrap();
        }
        upload
    }

    fn set(&mut self, name: &str, value: &[u8], ttl_ms: Option<u64>) -> Lsn {
        let upload = self.upload(value);
        self.room(512);
        self.warm(name);
        let expires_at = ttl_ms.map(|ms| now().plus(ms));
        let key = self.shard.key(Namespace(0), name.as_bytes());
        self.shard.put_chunked(&key, 0, upload, expires_at, &Label::NONE, now()).unwrap()
    }

    fn load(&mut self, key: &Key<'_>) -> Result<(), LoadError> {
        self.shard.load(Ticket(1), key);
        let mut loaded = None;
        drive(&mut self.shard, &mut *self.disk, |shard| {
            while let Some(event) = shard.poll_event() {
                if let Event::Loaded { outcome, .. } = event {
                    loaded = Some(outcome);
                }
            }
            loaded.is_some()
        });
        loaded.unwrap()
    }

    fn warm(&mut self, name: &str) {
        let key = self.shard.key(Namespace(0), name.as_bytes());
        if matches!(self.shard.lookup(&key, now()), Lookup::Cold) {
            self.load(&key).unwrap();
        }
    }

    fn found(&mut self, name: &str) -> Option<Found> {
        self.warm(name);
        let key = self.shard.key(Namespace(0), name.as_bytes());
        let answer = self.shard.lookup(&key, now());
        self.shard.release(Ticket(1));
        match answer {
            Lookup::Found(found) => Some(found),
            Lookup::Absent { .. } => None,
            other => panic!("{name}: {other:?}"),
        }
    }

    fn chunked(&mut self, name: &str) -> Chunked {
        self.found(name).unwrap().chunked.unwrap()
    }

    fn chunk(&mut self, chunked: &Chunked, number: u32) -> Result<Vec<u8>, LoadError> {
        let mut buffer = [0; 12];
        let key = self.shard.chunk_key(chunked, number, &mut buffer);
        if matches!(self.shard.lookup(&key, now()), Lookup::Cold) {
            self.load(&key)?;
        }
        let answer = self.shard.lookup(&key, now());
        self.shard.release(Ticket(1));
        match answer {
            Lookup::Found(found) => Ok(found.value.to_vec()),
            Lookup::Lost | Lookup::Absent { .. } => Err(LoadError::Corrupt),
            Lookup::Cold => panic!("still cold"),
        }
    }

    fn content(&mut self, chunked: &Chunked) -> Result<Vec<u8>, LoadError> {
        let mut content = Vec::new();
        for number in 0..chunked.chunks() {
            content.extend(self.chunk(chunked, number)?);
        }
        Ok(content)
    }

    fn get(&mut self, name: &str) -> Option<Vec<u8>> {
        let chunked = self.found(name)?.chunked.unwrap();
        let content = self.content(&chunked).unwrap();
        assert_eq!(content.len() as u64, chunked.len);
        Some(content)
    }

    fn chunks(&self) -> u64 {
        assert_eq!(self.shard.misplaced_chunks(), (0, 0));
        self.shard.stats().chunks
    }
}

fn with_store(test: impl Fn(&Path, Store)) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("store");
    let store = Store::open(&dir);
    test(&dir, store);
}

#[test]
fn a_large_value_is_read_as_it_was_written_also_after_a_restart() {
    with_store(|dir, mut store| {
        for (name, len) in [("a", 100_000), ("b", CHUNK), ("c", 0), ("d", 10 * CHUNK + 1)] {
            store.set(name, &text(len as u64, len), None);
        }
        assert_eq!(store.chunks(), 98 + 1 + 11);
        let stats = store.shard.stats();
        assert_eq!((stats.large_values, stats.uploads, stats.index_entries), (4, 0, 4));
        assert_eq!(stats.large_value_bytes, 100_000 + 11 * 1024 + 1);
        for round in 0..2 {
            for (name, len) in [("a", 100_000), ("b", CHUNK), ("c", 0), ("d", 10 * CHUNK + 1)] {
                assert_eq!(store.get(name), Some(text(len as u64, len)), "{name} {round}");
            }
            store.flush();
            drop(store);
            store = Store::open(dir);
            assert_eq!((store.chunks(), store.shard.stats().orphan_chunks), (110, 0));
        }
    });
}

#[test]
fn whatever_ends_a_large_value_gives_its_bytes_back() {
    with_store(|_, mut store| {
        let value = text(1, 50_000);
        let name = "k";
        let live = store.shard.stats().live_bytes;
        store.set(name, &value, None);
        store.set(name, &value, None);
        assert_eq!(store.chunks(), 49, "overwritten by another large one");
        store.room(100);
        let key = store.shard.key(Namespace(0), name.as_bytes());
        store.shard.put(&key, 0, b"small", None, now()).unwrap();
        assert_eq!(store.chunks(), 0, "overwritten by a small one");
        store.set(name, &value, None);
        let key = store.shard.key(Namespace(0), name.as_bytes());
        store.shard.delete(&key, now()).unwrap();
        assert_eq!(store.chunks(), 0, "deleted");
        store.set(name, &value, None);
        store.shard.clear(Namespace(0), now()).unwrap();
        assert_eq!(store.chunks(), 0, "cleared");
        store.set(name, &value, Some(20));
        std::thread::sleep(std::time::Duration::from_millis(25));
        store.shard.tick(now());
        assert_eq!((store.chunks(), store.found(name).is_none()), (0, true), "expired");
        let upload = store.upload(&value);
        assert_eq!((store.chunks(), store.shard.stats().uploads), (49, 1));
        store.shard.drop_upload(upload);
        assert_eq!((store.chunks(), store.shard.stats().uploads), (0, 0), "dropped");
        assert_eq!(store.shard.stats().live_bytes, live);
        // Many times what the disk holds.
        for seed in 0..200 {
            store.set(name, &text(seed, 100_000), None);
        }
        assert_eq!(store.get(name), Some(text(199, 100_000)));
    });
}

#[test]
fn moving_an_expiry_keeps_the_chunks() {
    with_store(|dir, mut store| {
        let value = text(2, 5_000);
        store.set("k", &value, None);
        let chunked = store.chunked("k");
        for ttl in [Some(100_000), Some(50_000), Some(90_000_000), None] {
            store.room(512);
            store.warm("k");
            let key = store.shard.key(Namespace(0), b"k");
            let at = ttl.map(|ms| now().plus(ms));
            store.shard.expire(&key, at, now()).unwrap();
            let found = store.found("k").unwrap();
            assert_eq!((found.chunked, found.expires_at), (Some(chunked), at));
            assert_eq!(store.get("k"), Some(value.clone()));
            store.flush();
            drop(store);
            store = Store::open(dir);
            assert_eq!((store.chunked("k"), store.chunks()), (chunked, 5));
        }
    });
}

#[test]
fn an_upload_that_a_crash_cuts_off_leaves_nothing() {
    with_store(|dir, mut store| {
        store.set("kept", &text(1, 3_000), None);
        let upload = store.upload(&text(3, 200_000));
        store.flush();
        let live = store.shard.stats().live_bytes;
        assert!(live > 200_000 && upload.chunks == 196);
        drop(store);
        let mut store = Store::open(dir);
        assert_eq!((store.chunks(), store.shard.stats().orphan_chunks), (3, 196));
        assert!(store.shard.stats().live_bytes < 8_000);
        assert_eq!(store.get("kept"), Some(text(1, 3_000)));
        // Its id is not used again, so that what replay brings back once more hides nothing.
        let next = store.upload(b"other");
        assert!(next.id > upload.id + 195);
        store.shard.drop_upload(next);
    });
}

fn patch(store: &mut Store, number: u32, bytes: &[u8], commit: bool) {
    let found = store.found("k").unwrap();
    let mut chunked = found.chunked.unwrap();
    store.room(4096);
    store.warm("k");
    let key = store.shard.key(Namespace(0), b"k");
    store.shard.begin();
    store.shard.replace_chunk(&mut chunked, number, bytes, now()).unwrap();
    let label = Label::NONE;
    store.shard.rewrite_chunked(&key, 0, &chunked, found.expires_at, &label, now()).unwrap();
    if commit {
        store.shard.commit();
    }
}

#[test]
fn chunks_are_replaced_with_their_manifest_or_not_at_all() {
    with_store(|dir, mut store| {
        let mut value = text(4, 3 * CHUNK);
        store.set("k", &value, None);
        let other = text(5, CHUNK);
        value[CHUNK..2 * CHUNK].copy_from_slice(&other);
        patch(&mut store, 1, &other, true);
        value.extend_from_slice(b"more");
        patch(&mut store, 3, b"more", true);
        value.extend_from_slice(b" of it");
        patch(&mut store, 3, b"more of it", true);
        assert_eq!((store.get("k"), store.chunks()), (Some(value.clone()), 4));
        store.flush();
        drop(store);
        let mut store = Store::open(dir);
        assert_eq!((store.get("k"), store.chunks()), (Some(value.clone()), 4));
        // A group that is never committed.
        patch(&mut store, 0, &other, false);
        drop(store);
        let mut store = Store::open(dir);
        assert_eq!((store.get("k"), store.chunks()), (Some(value), 4));
    });
}

#[test]
fn a_reader_keeps_what_it_reads() {
    with_store(|_, mut store| {
        let value = text(6, 20_000);
        store.set("k", &value, None);
        let chunked = store.chunked("k");
        store.shard.pin_chunks(&chunked);
        store.shard.pin_chunks(&chunked);
        store.shard.begin();
        let mut changed = chunked;
        let refused = store.shard.replace_chunk(&mut changed, 0, &value[..CHUNK], now());
        assert_eq!(refused, Err(Refused::Pinned));
        store.shard.commit();
        store.set("k", b"new", None);
        assert_eq!(store.content(&chunked), Ok(value.clone()));
        store.shard.unpin_chunks(&chunked);
        assert_eq!((store.content(&chunked), store.chunks()), (Ok(value.clone()), 21));
        store.shard.unpin_chunks(&chunked);
        assert_eq!(store.chunks(), 1);
        // Renamed: deleted and written again while it is pinned.
        let chunked = store.chunked("k");
        store.shard.pin_chunks(&chunked);
        store.shard.begin();
        let (old, new) = (store.shard.key(Namespace(0), b"k"), store.shard.key(Namespace(0), b"n"));
        store.shard.delete(&old, now()).unwrap();
        let label = Label::NONE;
        store.shard.rewrite_chunked(&new, 0, &chunked, None, &label, now()).unwrap();
        store.shard.commit();
        store.shard.unpin_chunks(&chunked);
        assert_eq!((store.get("k"), store.get("n")), (None, Some(b"new".to_vec())));
        assert_eq!(store.chunks(), 1);
    });
}

#[test]
fn chunks_do_not_stay_in_ram() {
    with_store(|_, mut store| {
        store.set("k", &text(7, 300_000), None);
        store.flush();
        assert_eq!(store.shard.stats().hot_entries, 1, "the manifest");
        let before = store.shard.stats().device_reads;
        let chunked = store.chunked("k");
        assert_eq!(store.chunk(&chunked, 100).unwrap(), text(7, 300_000)[100 * CHUNK..][..CHUNK]);
        let stats = store.shard.stats();
        assert_eq!((stats.device_reads - before, stats.hot_entries), (1, 1));
    });
}

#[test]
fn a_damaged_chunk_is_an_error_and_goes_with_its_value() {
    with_store(|dir, mut store| {
        let value = text(8, 4 * CHUNK);
        store.set("k", &value, None);
        store.flush();
        // So that what is damaged is not the end of the log.
        store.set("later", b"later", None);
        store.flush();
        drop(store);
        let mut damaged = 0;
        for file in std::fs::read_dir(dir.join("segments")).unwrap() {
            let path = file.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            let needle = &value[2 * CHUNK + 500..][..16];
            if let Some(at) = bytes.windows(16).position(|window| window == needle) {
                bytes[at] ^= 1;
                damaged += 1;
            }
            std::fs::write(&path, bytes).unwrap();
        }
        assert_eq!(damaged, 1);
        let mut store = Store::open(dir);
        let chunked = store.chunked("k");
        assert_eq!(store.chunk(&chunked, 1).unwrap(), value[CHUNK..2 * CHUNK]);
        assert_eq!(store.chunk(&chunked, 2), Err(LoadError::Corrupt));
        assert_eq!(store.chunk(&chunked, 2), Err(LoadError::Corrupt), "it stays lost");
        assert_eq!(store.chunks(), 5);
        store.set("k", &value, None);
        assert_eq!((store.get("k"), store.chunks()), (Some(value), 5));
    });
}
