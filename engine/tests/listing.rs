//! Scans of keys that are on disk, on real files: what they read, and that they miss no key while
//! compaction moves records, across a restart, and from any cursor.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::path::Path;

use emberlog_engine::driver::{DriverChoice, SystemDisk, drive, now, open_store};
use emberlog_engine::{Ack, Config, Event, Lookup, Namespace, Room, Shard, Ticket};

const NS: Namespace = Namespace(0);
const KEYS: u64 = 12_000;
const VALUE_BYTES: usize = 1000;

/// Pseudo-random numbers (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// A seed of the time of day, or the one to replay.
fn seed() -> u64 {
    let seed = std::env::var("EMBERLOG_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| now().0 | 1);
    println!("replay: EMBERLOG_SEED={seed} cargo test -p emberlog-engine --test listing");
    seed
}

struct Store {
    disk: Box<dyn SystemDisk>,
    shard: Shard,
    random: Random,
}

impl Store {
    /// A store whose RAM holds a third of the keys, and whose disk must be compacted.
    fn open(dir: &Path, disk_bytes_max: u64, seed: u64) -> Store {
        let mut disk = open_store(dir, DriverChoice::Threads).unwrap();
        let config = Config {
            segment_bytes: 1 << 20,
            disk_bytes_max,
            memory_bytes_max: 28 << 20,
            ack: Ack::Memory,
            ..Config::default()
        };
        let shard = Shard::open(&mut *disk, &config, now(), &mut |_| {}).unwrap();
        Store { disk, shard, random: Random(seed) }
    }

    fn put(&mut self, number: u64) {
        drive(&mut self.shard, &mut *self.disk, |shard| shard.room(8192) == Room::Yes);
        let value: Vec<u8> = (0..VALUE_BYTES).map(|_| (self.random.next() >> 40) as u8).collect();
        let name = name(number);
        let key = self.shard.key(NS, &name);
        // A key is in RAM before it is written; one that was moved meanwhile is loaded again.
        while matches!(self.shard.lookup(&key, now()), Lookup::Cold) {
            self.shard.load(Ticket(1), &key);
            drive(&mut self.shard, &mut *self.disk, |shard| {
                matches!(shard.poll_event(), Some(Event::Loaded { outcome: Ok(()), .. }))
            });
        }
        self.shard.put(&key, 0, &value, None, now()).unwrap();
        self.shard.release(Ticket(1));
    }

    fn fill(&mut self) {
        (0..KEYS).for_each(|number| self.put(number));
        self.flush();
    }

    fn flush(&mut self) {
        let appended = self.shard.appended_lsn();
        self.shard.flush();
        drive(&mut self.shard, &mut *self.disk, |shard| shard.durable_lsn() >= appended);
    }

    /// One step: how often each key was found is added to `found`.
    fn step(&mut self, cursor: u64, count: usize, found: &mut BTreeMap<Vec<u8>, u32>) -> u64 {
        self.shard.scan(Ticket(7), NS, cursor, count, now());
        let mut answer = None;
        drive(&mut self.shard, &mut *self.disk, |shard| {
            while let Some(event) = shard.poll_event() {
                if let Event::Scanned { keys, next, failed, .. } = event {
                    assert_eq!(failed, 0);
                    answer = Some((keys, next));
                }
            }
            answer.is_some()
        });
        let (keys, next) = answer.unwrap();
        for key in keys {
            *found.entry(key.bytes.to_vec()).or_default() += 1;
        }
        next
    }
}

fn name(number: u64) -> Vec<u8> {
    format!("key:{number:06}").into_bytes()
}

fn assert_none_missed(found: &BTreeMap<Vec<u8>, u32>) {
    let missed = (0..KEYS).map(name).find(|name| !found.contains_key(name));
    assert_eq!(missed.map(|name| String::from_utf8(name).unwrap()), None, "a key was missed");
    assert_eq!(found.len() as u64, KEYS, "and none was made up");
}

#[test]
fn a_scan_at_rest_reads_footers_and_finds_every_key_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), 64 << 20, seed());
    store.fill();
    for count in [10, 1_000, 100_000] {
        let (before, mut found, mut cursor) = (store.shard.stats(), BTreeMap::new(), 0);
        loop {
            cursor = store.step(cursor, count, &mut found);
            assert!(cursor < 1 << 53, "some clients keep cursors as floating-point numbers");
            if cursor == 0 {
                break;
            }
        }
        assert_none_missed(&found);
        assert!(found.values().all(|times| *times == 1));
        // Two reads for each of a dozen segments, and one for each cold key of the open ones.
        let reads = store.shard.stats().device_reads - before.device_reads;
        assert!(reads < KEYS / 4, "{reads} reads for {KEYS} keys");
    }
}

#[test]
fn a_scan_misses_nothing_while_compaction_moves_what_it_is_about_to_meet() {
    let folder = tempfile::tempdir().unwrap();
    let seed = seed();
    let mut store = Store::open(folder.path(), 26 << 20, seed);
    store.fill();
    for _ in 0..3 {
        let (before, mut found, mut cursor) = (store.shard.stats(), BTreeMap::new(), 0);
        loop {
            cursor = store.step(cursor, 300, &mut found);
            if cursor == 0 {
                break;
            }
            // The tail of the key space stays where it is, for compaction to move.
            for _ in 0..200 {
                let number = store.random.next() % (KEYS / 2);
                store.put(number);
            }
        }
        assert_none_missed(&found);
        let compacted = store.shard.stats().compactions - before.compactions;
        assert!(compacted > 0, "segments were released and used again meanwhile");
    }
}

#[test]
fn a_scan_goes_on_after_a_restart_and_any_number_is_a_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let seed = seed();
    let mut store = Store::open(folder.path(), 64 << 20, seed);
    store.fill();
    for part in 1..6 {
        let (mut found, mut cursor) = (BTreeMap::new(), 0);
        let (mut steps, mut restarted) = (0, false);
        loop {
            cursor = store.step(cursor, 500, &mut found);
            steps += 1;
            if cursor == 0 {
                break;
            }
            if found.len() as u64 > KEYS * part / 6 && !restarted {
                restarted = true;
                for number in 0..500 {
                    store.put(number * 7 % KEYS);
                }
                store.flush();
                // As after a crash: nothing is closed.
                drop(store);
                store = Store::open(folder.path(), 64 << 20, seed);
            }
        }
        assert!(restarted && steps > 5);
        assert_none_missed(&found);
    }
    for _ in 0..300 {
        let cursor = store.random.next() >> (store.random.next() % 64);
        let mut found = BTreeMap::new();
        let next = store.step(cursor, 10, &mut found);
        assert!(next < 1 << 53);
    }
}
