//! Compression from end to end, on real files: trained in the background, found again after a restart, and
//! what becomes of values whose dictionary is damaged.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use emberlog_engine::driver::{DriverChoice, SystemDisk, drive, now, open_store};
use emberlog_engine::{
    Ack, Compression, Config, Event, LoadError, Lookup, Namespace, Room, Shard, Ticket,
};

const SESSIONS: u64 = 1_500;

/// Sessions that are alike but for their numbers.
fn session(number: u64) -> Vec<u8> {
    let token = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!(
        "{{\"cookie\":{{\"originalMaxAge\":86400000,\"httpOnly\":true,\"path\":\"/\",\"sameSite\":\"lax\"}},\
         \"csrf\":\"{token:016x}{:016x}\",\"user\":{{\"id\":{number},\"roles\":[\"member\"]}}}}",
        token.rotate_left(23)
    )
    .into_bytes()
}

struct Store {
    disk: Box<dyn SystemDisk>,
    shard: Shard,
}

impl Store {
    fn open(dir: &Path) -> Store {
        let mut disk = open_store(dir, DriverChoice::Threads).unwrap();
        let config = Config {
            segment_bytes: 1 << 20,
            disk_bytes_max: 32 << 20,
            memory_bytes_max: 64 << 20,
            ack: Ack::Durable,
            compression: Compression {
                dictionary_bytes: 4 << 10,
                samples_max: 200,
                ..Compression::default()
            },
            ..Config::default()
        };
        let shard = Shard::open(&mut *disk, &config, now(), &mut |_| {}).unwrap();
        Store { disk, shard }
    }

    fn put(&mut self, name: &str, value: &[u8]) {
        drive(&mut self.shard, &mut *self.disk, |shard| shard.room(8192) == Room::Yes);
        let key = self.shard.key(Namespace(0), name.as_bytes());
        let lsn = self.shard.put(&key, 0, value, None, now()).unwrap();
        if lsn.0.is_multiple_of(64) {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let appended = self.shard.appended_lsn();
        self.shard.flush();
        drive(&mut self.shard, &mut *self.disk, |shard| shard.durable_lsn() >= appended);
    }

    fn get(&mut self, name: &str) -> Result<Vec<u8>, LoadError> {
        let key = self.shard.key(Namespace(0), name.as_bytes());
        if matches!(self.shard.lookup(&key, now()), Lookup::Cold) {
            self.shard.load(Ticket(1), &key);
            let mut loaded = None;
            drive(&mut self.shard, &mut *self.disk, |shard| {
                if let Some(Event::Loaded { outcome, .. }) = shard.poll_event() {
                    loaded = Some(outcome);
                }
                loaded.is_some()
            });
            loaded.unwrap()?;
        }
        let key = self.shard.key(Namespace(0), name.as_bytes());
        let found = match self.shard.lookup(&key, now()) {
            Lookup::Found(found) => Ok(found.value.to_vec()),
            Lookup::Lost => Err(LoadError::Corrupt),
            other => panic!("{name}: {other:?}"),
        };
        self.shard.release(Ticket(1));
        found
    }

    /// Puts sessions until a dictionary is in use, then more.
    fn fill(&mut self) {
        for number in 0..200 {
            self.put(&format!("early:{number}"), &session(number));
        }
        drive(&mut self.shard, &mut *self.disk, |shard| shard.stats().dictionaries == 1);
        for number in 0..SESSIONS {
            self.put(&format!("sess:{number}"), &session(number));
        }
        self.put("small", b"too short to be packed");
        self.flush();
    }
}

/// Flips a bit inside each record of a dictionary's copies, in every segment file.
fn damage(dir: &Path, copies: &[u8]) {
    let mut damaged = 0;
    for file in std::fs::read_dir(dir.join("segments")).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        for at in (4096..bytes.len() - 64).step_by(16) {
            // Kind put, the namespace of dictionaries, and the key behind the header.
            let is_dictionary = bytes[at + 8] == 1
                && bytes[at + 40] == b'd'
                && bytes[at + 14..at + 16] == [0xfe, 0xff];
            if is_dictionary && copies.contains(&bytes[at + 43]) {
                bytes[at + 300] ^= 4;
                damaged += 1;
            }
        }
        std::fs::write(&path, bytes).unwrap();
    }
    assert_eq!(damaged, copies.len(), "each copy is there once");
}

#[test]
fn sessions_shrink_and_come_back_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("store");
    let mut store = Store::open(&dir);
    store.fill();
    let stats = store.shard.stats();
    assert!(stats.compression_ratio > 1.8, "{}", stats.compression_ratio);
    assert!(stats.compressed_puts >= SESSIONS, "{}", stats.compressed_puts);
    drop(store);
    let mut store = Store::open(&dir);
    assert_eq!(store.shard.stats().dictionaries, 1);
    for number in 0..SESSIONS {
        assert_eq!(store.get(&format!("sess:{number}")).unwrap(), session(number));
    }
    // The dictionary that was found is the one that is used.
    let before = store.shard.stats().user_bytes_written;
    store.put("sess:new", &session(77_777));
    assert!(store.shard.stats().user_bytes_written - before < session(77_777).len() as u64);
}

#[test]
fn one_damaged_copy_of_a_dictionary_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("store");
    Store::open(&dir).fill();
    damage(&dir, &[0]);
    let mut store = Store::open(&dir);
    for number in 0..SESSIONS {
        assert_eq!(store.get(&format!("sess:{number}")).unwrap(), session(number));
    }
}

#[test]
fn without_its_dictionary_a_value_is_lost_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("store");
    Store::open(&dir).fill();
    damage(&dir, &[0, 1]);
    let mut store = Store::open(&dir);
    assert_eq!(store.shard.stats().dictionaries, 0);
    assert!(store.shard.stats().corrupt_records > 0, "it is counted");
    assert_eq!(store.get("sess:7"), Err(LoadError::Corrupt));
    assert_eq!(store.get("small").unwrap(), b"too short to be packed");
    store.put("sess:7", b"healed by a write");
    assert_eq!(store.get("sess:7").unwrap(), b"healed by a write");
}
