//! The disk limit is not reached while space can still come: stores that are written over at full speed,
//! on the simulated disk. A writer may have to wait, but not for ever, and it is refused only when what
//! is alive does not leave room.

#![expect(clippy::unwrap_used, reason = "a test")]

use emberlog_engine::io::Disk;
use emberlog_engine::sim::disk::SimDisk;
use emberlog_engine::sim::faults::FaultPlan;
use emberlog_engine::sim::rng::Rng;
use emberlog_engine::{Ack, Config, Event, Lookup, Namespace, Room, Shard, Ticket, UnixMillis};

const NS: Namespace = Namespace(0);
const SEGMENT_BYTES: u32 = 256 << 10;
const BEGINNING_MS: u64 = 1_790_000_000_000;
/// Completions and ticks within which a waiting writer must get an answer.
const PATIENCE: u32 = 200_000;

/// What a store is put through.
#[derive(Clone, Copy)]
struct Load {
    segments: u64,
    ack: Ack,
    /// Bytes of the shortest and of the longest value; each power of two takes as many bytes.
    values: (u64, u64),
    /// Share of the disk limit that is alive, in percent.
    live: u64,
    /// Deletes among a hundred writes.
    deletes: u64,
    /// The process is killed after about so many writes, if it is.
    kill_after: Option<u64>,
    /// Writes between two completions.
    speed: u64,
    /// How often a writer asks for room before something else happens.
    asked: u32,
    /// Writes in all.
    writes: u64,
}

/// One store, its disk, and what is alive in it.
struct World {
    disk: SimDisk,
    shard: Shard,
    config: Config,
    rng: Rng,
    load: Load,
    /// Bytes of each key's record.
    live: Vec<u64>,
    /// A key is on its way into RAM.
    loading: bool,
    waits: u64,
    longest_wait: u32,
}

impl World {
    fn new(seed: u64, load: Load) -> World {
        let config = Config {
            segment_bytes: SEGMENT_BYTES,
            disk_bytes_max: load.segments * u64::from(SEGMENT_BYTES),
            memory_bytes_max: 1 << 30,
            ack: load.ack,
            batch_bytes_max: 16 << 10,
            pending_bytes_max: SEGMENT_BYTES as usize,
            checkpoint_bytes: 4 << 20,
            ..Config::default()
        };
        let calm = FaultPlan { shuffled: seed.is_multiple_of(2), ..FaultPlan::default() };
        let mut disk = SimDisk::new(4096, u64::MAX, calm, Rng::named(seed, "disk"));
        let shard = Shard::open(&mut disk, &config, UnixMillis(BEGINNING_MS), &mut |_| {}).unwrap();
        let rng = Rng::named(seed, "writer");
        World {
            disk,
            shard,
            config,
            rng,
            load,
            live: Vec::new(),
            loading: false,
            waits: 0,
            longest_wait: 0,
        }
    }

    fn now(&self) -> UnixMillis {
        UnixMillis(BEGINNING_MS + self.disk.clock_us() / 1000)
    }

    /// Hands on what the shard wants of the disk.
    fn pump(&mut self) {
        while let Some((id, request)) = self.shard.poll_io() {
            self.disk.start(id, request);
        }
        self.disk.submit();
        let mut loaded = false;
        while let Some(event) = self.shard.poll_event() {
            loaded |= matches!(event, Event::Loaded { .. });
        }
        self.loading &= !loaded;
    }

    /// Completes what is due first, or lets the time pass until the shard wants to be woken.
    fn go_on(&mut self) {
        self.pump();
        let now = self.now();
        let wakeup = self.shard.next_wakeup(now).map_or(1000, |at| at.since(now).max(1)) * 1000;
        let tick_at = self.disk.clock_us() + wakeup;
        if self.disk.next_due_us().is_some_and(|due| due <= tick_at) {
            self.complete();
        } else {
            self.disk.advance_to(tick_at);
            self.shard.tick(self.now());
        }
        self.pump();
    }

    fn complete(&mut self) {
        self.disk.complete_next();
        while let Some((id, result)) = self.disk.finished() {
            self.shard.complete(id, result, self.now());
        }
    }

    /// Asks whether there is room: a server may ask any number of times before anything has changed,
    /// and that must not change the answer.
    fn ask(&mut self, bytes: usize, delete: bool) -> Room {
        let mut room = Room::Wait;
        for _ in 0..self.load.asked {
            room = if delete { self.shard.room_for_delete(bytes) } else { self.shard.room(bytes) };
            if room != Room::Wait {
                break;
            }
        }
        room
    }

    /// Waits for room, as a client's command does.
    fn wait_for_room(&mut self, bytes: usize, delete: bool) {
        for waited in 0..PATIENCE {
            let room = self.ask(bytes, delete);
            match room {
                Room::Yes => {
                    self.longest_wait = self.longest_wait.max(waited);
                    return;
                }
                Room::Wait => {
                    self.waits += u64::from(waited == 0);
                    self.go_on();
                }
                room => {
                    let limit = self.config.disk_bytes_max;
                    let stats = self.shard.stats();
                    let live: u64 = self.live.iter().sum();
                    let share = live * 100 / limit;
                    panic!("{bytes} bytes refused, {share} % alive: {room:?}; {stats:?}");
                }
            }
        }
        panic!("a writer waits for ever: {:?}", self.shard.stats());
    }

    fn value_bytes(&mut self) -> usize {
        let (shortest, longest) = self.load.values;
        let (low, high) = (shortest.ilog2(), longest.ilog2());
        if low == high {
            return shortest as usize;
        }
        // Half as often as the size before.
        let mut exponent = low;
        while exponent + 1 < high && self.rng.chance(1, 2) {
            exponent += 1;
        }
        self.rng.range(1 << exponent, (2 << exponent) - 1) as usize
    }

    fn put(&mut self, number: usize) {
        let name = format!("key:{number}").into_bytes();
        let mut value = vec![0; self.value_bytes()];
        self.rng.fill(&mut value);
        let bytes = name.len() + value.len() + 128;
        self.wait_for_room(bytes, false);
        let (key, now) = (self.shard.key(NS, &name), self.now());
        self.look(number);
        self.shard.put(&key, 0, &value, None, now).unwrap();
        self.live[number] = value.len() as u64 + 100;
    }

    fn delete(&mut self, number: usize) {
        let name = format!("key:{number}").into_bytes();
        self.wait_for_room(name.len() + 128, true);
        let (key, now) = (self.shard.key(NS, &name), self.now());
        self.look(number);
        self.shard.delete(&key, now).unwrap();
        self.live[number] = 0;
    }

    /// Brings a key into RAM.
    fn look(&mut self, number: usize) {
        let name = format!("key:{number}").into_bytes();
        let key = self.shard.key(NS, &name);
        for _ in 0..PATIENCE {
            let now = self.now();
            if !matches!(self.shard.lookup(&key, now), Lookup::Cold) {
                return;
            }
            if !self.loading {
                self.shard.release(Ticket(1));
                self.shard.load(Ticket(1), &key);
                self.loading = true;
            }
            self.go_on();
        }
        panic!("a key is never loaded");
    }

    fn kill(self) -> World {
        let World { mut disk, shard, config, .. } = self;
        let now = UnixMillis(BEGINNING_MS + disk.clock_us() / 1000);
        drop(shard);
        disk.crash(emberlog_engine::sim::disk::Crash::Kill);
        let shard = Shard::open(&mut disk, &config, now, &mut |_| {}).unwrap();
        World { disk, shard, config, loading: false, ..self }
    }

    fn run(mut self) {
        let target = self.config.disk_bytes_max * self.load.live / 100;
        let mut alive = 0;
        while alive < target {
            self.live.push(0);
            let number = self.live.len() - 1;
            self.put(number);
            alive += self.live[number];
        }
        let keys = self.live.len() as u64;
        for _ in 0..self.load.writes {
            let number = self.rng.below(keys) as usize;
            if self.rng.below(100) < self.load.deletes {
                self.delete(number);
            } else {
                let others = self.live.iter().sum::<u64>() - self.live[number];
                if others < target {
                    self.put(number);
                } else {
                    self.delete(number);
                }
            }
            self.pump();
            if self.rng.chance(1, self.load.speed) {
                self.go_on();
            }
            if self.load.kill_after.is_some_and(|every| self.rng.chance(1, every)) {
                self = self.kill();
            }
        }
        let stats = self.shard.stats();
        println!(
            "{} waits, longest {}, {} keys, {} compactions, {} checkpoints, amplification {:.2}",
            self.waits,
            self.longest_wait,
            keys,
            stats.compactions,
            stats.checkpoints,
            stats.write_amplification,
        );
    }
}

fn seeds(base: u64) -> Vec<u64> {
    let seed = std::env::var("EMBERLOG_SEED").ok().and_then(|seed| seed.parse().ok());
    seed.map_or_else(|| (base..base + 4).collect(), |seed| vec![seed])
}

fn run(base: u64, load: Load) {
    for seed in seeds(base) {
        println!("replay: EMBERLOG_SEED={seed} cargo test -p emberlog-engine --test disk_limit");
        World::new(seed, load).run();
    }
}

const OVERWRITES: Load = Load {
    segments: 48,
    ack: Ack::Memory,
    values: (128, 8192),
    live: 45,
    deletes: 0,
    kill_after: None,
    speed: 4,
    asked: 100,
    writes: 30_000,
};

#[test]
fn values_of_all_sizes_written_over_at_random() {
    run(1, Load { speed: 16, ..OVERWRITES });
    run(11, Load { speed: 64, ..OVERWRITES });
    run(21, Load { speed: 100_000, ..OVERWRITES });
}

#[test]
fn long_values_of_few_keys_so_that_whole_segments_die() {
    run(61, Load { values: (8 << 10, 32 << 10), live: 30, speed: 100_000, ..OVERWRITES });
    run(71, Load { values: (8 << 10, 32 << 10), live: 10, speed: 8, ..OVERWRITES });
}

#[test]
fn two_thirds_are_alive() {
    run(11, Load { live: 66, speed: 100_000, ..OVERWRITES });
}

#[test]
fn durably() {
    run(21, Load { ack: Ack::Durable, speed: 100_000, ..OVERWRITES });
}

#[test]
fn many_segments_four_fifths_alive() {
    run(31, Load { segments: 192, live: 80, values: (1024, 16384), speed: 100_000, ..OVERWRITES });
}

#[test]
fn deletes_among_short_values() {
    run(
        41,
        Load {
            values: (64, 64),
            live: 20,
            deletes: 50,
            writes: 60_000,
            speed: 100_000,
            ..OVERWRITES
        },
    );
}

#[test]
fn deletes_and_kills() {
    run(51, Load { deletes: 40, live: 30, kill_after: Some(700), speed: 100_000, ..OVERWRITES });
}
