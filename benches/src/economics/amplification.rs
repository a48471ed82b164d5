//! Write amplification when the disk is 85 % full, over days of simulated time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use anyhow::{Result, ensure};
use emberlog_engine::{Ack, Compression, Config, Namespace, UnixMillis};

use super::ramdisk::World;
use super::{Bar, Plot, Section, Series, Settings, Table};

/// Bytes of a value.
const VALUE_BYTES: usize = 400;
/// Simulated time starts here.
const START: UnixMillis = UnixMillis(1_800_000_000_000);
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// Segments of the store, and what one takes.
struct Shape {
    segments: u64,
    segment_bytes: u32,
}

impl Shape {
    fn disk_bytes(&self) -> u64 {
        self.segments * u64::from(self.segment_bytes)
    }

    fn world(&self) -> Result<World> {
        let config = Config {
            segment_bytes: self.segment_bytes,
            disk_bytes_max: self.disk_bytes(),
            // A tenth of the data in RAM, beside the index and what is set aside.
            memory_bytes_max: self.disk_bytes() / 10 + self.disk_bytes() / 20 + (24 << 20),
            // Batches are full, as those of a site with enough traffic for a disk of ordinary size.
            ack: Ack::Interval { ms: 10_000 },
            batch_bytes_max: 32 << 10,
            // Bytes are counted, and the values are all alike.
            compression: Compression { enabled: false, ..Compression::default() },
            ..Config::default()
        };
        World::new(&config, START)
    }

    /// Records that fit when the disk is written full once, measured.
    fn capacity(&self) -> Result<u64> {
        let mut world = self.world()?;
        let mut count = 0;
        // The reserve is left alone: a writer is told that the disk is full above it.
        let full = self.segments - 8;
        loop {
            let stats = world.shard.stats();
            if stats.segments_total - stats.segments_free > full {
                break;
            }
            for _ in 0..1000 {
                world.set(&name(count), &value(count, 0), None)?;
                count += 1;
            }
            world.run_disk();
        }
        Ok(count * self.segments / full)
    }
}

fn name(number: u64) -> Vec<u8> {
    format!("session:{number:016x}").into_bytes()
}

/// A value that no other version has.
fn value(number: u64, version: u64) -> [u8; VALUE_BYTES] {
    let mut value = [0x5A; VALUE_BYTES];
    value[..8].copy_from_slice(&number.to_le_bytes());
    value[8..16].copy_from_slice(&version.to_le_bytes());
    value
}

/// What was written so far.
#[derive(Clone, Copy)]
struct Written {
    user: u64,
    moved: u64,
    device: u64,
}

impl Written {
    fn of(world: &World) -> Written {
        let stats = world.shard.stats();
        let (user, moved) = (stats.user_bytes_written, stats.compaction_bytes_written);
        Written { user, moved, device: world.disk.written }
    }

    /// Bytes written to the log, and to the device, for each byte of a user's record since `earlier`.
    fn since(&self, earlier: &Written) -> (f64, f64) {
        let user = (self.user - earlier.user) as f64;
        let moved = (self.moved - earlier.moved) as f64;
        (1.0 + moved / user, (self.device - earlier.device) as f64 / user)
    }
}

/// How a run went.
struct Outcome {
    /// Amplification of the log over the last capacity written, after three.
    log: f64,
    /// The same of all that was written to the device.
    device: f64,
    /// Live share of the records that fit, at the end.
    full: f64,
    /// Live bytes of records over the disk limit, at the end.
    live: f64,
    /// Capacities written, and the log's amplification over the quarter before.
    course: Vec<(f64, f64)>,
}

/// Notes what is written, by quarters of a capacity; says when five have been.
struct Meter {
    quarter: u64,
    marks: Vec<Written>,
}

impl Meter {
    fn start(world: &World, capacity: u64) -> Meter {
        let record = (32 + 24 + VALUE_BYTES).next_multiple_of(16) as u64;
        Meter { quarter: capacity * record / 4, marks: vec![Written::of(world)] }
    }

    /// Whether four capacities have been written.
    fn over(&mut self, world: &World) -> bool {
        let now = Written::of(world);
        let due = self.marks[0].user + self.quarter * self.marks.len() as u64;
        if now.user >= due {
            self.marks.push(now);
        }
        self.marks.len() > 16
    }

    fn outcome(&self, world: &World, capacity: u64, shape: &Shape) -> Outcome {
        let (last, three) = (self.marks[self.marks.len() - 1], self.marks[self.marks.len() - 5]);
        let (log, device) = last.since(&three);
        let pairs = self.marks.windows(2).zip(1..);
        let course = pairs.map(|(w, n)| (f64::from(n) / 4.0, w[1].since(&w[0]).0)).collect();
        let live = world.shard.stats().live_bytes as f64 / shape.disk_bytes() as f64;
        let full = world.shard.len(Namespace(0)) as f64 / capacity as f64;
        Outcome { log, device, full, live, course }
    }
}

/// Overwrites of uniformly chosen keys, `share` of what fits.
fn uniform(shape: &Shape, capacity: u64, share: f64) -> Result<Outcome> {
    let mut world = shape.world()?;
    let keys = (capacity as f64 * share) as u64;
    for number in 0..keys {
        world.set(&name(number), &value(number, 0), None)?;
    }
    let mut random = fastrand::Rng::with_seed(4);
    let mut meter = Meter::start(&world, capacity);
    let mut version = 0;
    while !meter.over(&world) {
        for _ in 0..100 {
            version += 1;
            let number = random.u64(..keys);
            world.set(&name(number), &value(number, version), None)?;
        }
        let now = UnixMillis(world.now.0 + 100);
        world.advance_to(now);
    }
    Ok(meter.outcome(&world, capacity, shape))
}

/// A session's next event.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Next {
    at: u64,
    number: u64,
    ttl_ms: u64,
    writes_left: u32,
    touches_left: u32,
}

/// A site whose sessions have these times to live, in equal shares of the live sessions' arrivals.
struct Site {
    ttls_ms: Vec<u64>,
    /// Views behind the last write of a session, two minutes apart, that only touch it.
    touches: u32,
}

/// Mean number of writes of a session, two minutes apart: about a quarter of an hour.
const WRITES: f64 = 8.5;

impl Site {
    /// Time from a session's first write to its end.
    fn life_ms(&self, ttl_ms: u64) -> f64 {
        ttl_ms as f64 + (WRITES - 1.0 + f64::from(self.touches)) * 2.0 * MINUTE_MS as f64
    }

    fn new_session(&self, at: u64, number: u64, random: &mut fastrand::Rng) -> Next {
        let ttl_ms = self.ttls_ms[random.usize(..self.ttls_ms.len())];
        let writes_left = if random.bool() { 8 } else { 9 };
        Next { at, number, ttl_ms, writes_left, touches_left: self.touches }
    }
}

/// Exponentially distributed with this mean.
fn exponential(mean: f64, random: &mut fastrand::Rng) -> u64 {
    (-mean * (1.0 - random.f64()).ln()) as u64
}

/// Sessions that come, are written and touched, fall idle and expire; as many live as `share` of what fits.
fn sessions(shape: &Shape, capacity: u64, share: f64, site: &Site) -> Result<Outcome> {
    let mut world = shape.world()?;
    let mut random = fastrand::Rng::with_seed(5);
    let live = capacity as f64 * share;
    let mean_life_ms =
        site.ttls_ms.iter().map(|ttl| site.life_ms(*ttl)).sum::<f64>() / site.ttls_ms.len() as f64;
    let every_ms = mean_life_ms / live;
    // The population of a site that has been up for long: idle sessions of all ages, in the order
    // of their last writes.
    let mut idle = Vec::new();
    let mut numbers = 0;
    for ttl in &site.ttls_ms {
        let count = (*ttl as f64 / every_ms / site.ttls_ms.len() as f64) as u64;
        for _ in 0..count {
            idle.push((random.u64(..*ttl), *ttl, numbers));
            numbers += 1;
        }
    }
    idle.sort_unstable_by_key(|(age, ..)| Reverse(*age));
    for (age, ttl, number) in idle {
        let expires_at = UnixMillis(world.now.0 + ttl - age);
        world.set(&name(number), &value(number, 0), Some(expires_at))?;
    }
    let mut queue = BinaryHeap::new();
    let mut next_arrival = world.now.0 as f64;
    let mut meter = Meter::start(&world, capacity);
    let mut steps = 0u32;
    while !steps.is_multiple_of(256) || !meter.over(&world) {
        steps += 1;
        if queue.peek().is_none_or(|Reverse(next): &Reverse<Next>| next.at as f64 > next_arrival) {
            numbers += 1;
            queue.push(Reverse(site.new_session(next_arrival as u64, numbers, &mut random)));
            next_arrival += exponential(every_ms, &mut random) as f64;
        }
        let Some(Reverse(mut next)) = queue.pop() else { continue };
        world.advance_to(UnixMillis(next.at));
        let expires_at = UnixMillis(world.now.0 + next.ttl_ms);
        if next.writes_left > 0 {
            next.writes_left -= 1;
            let version = u64::from(next.writes_left) + 1;
            world.set(&name(next.number), &value(next.number, version), Some(expires_at))?;
        } else {
            touch(&mut world, next.number, expires_at)?;
            next.touches_left -= 1;
        }
        if next.writes_left + next.touches_left > 0 {
            next.at += exponential(2.0 * MINUTE_MS as f64, &mut random);
            queue.push(Reverse(next));
        }
    }
    let outcome = meter.outcome(&world, capacity, shape);
    ensure!(world.shard.stats().expired_keys > 0, "sessions have expired");
    Ok(outcome)
}

fn touch(world: &mut World, number: u64, expires_at: UnixMillis) -> Result<()> {
    let name = name(number);
    let key = world.shard.key(Namespace(0), &name);
    if world.load(&key)? {
        world.shard.expire(&key, Some(expires_at), world.now)?;
    }
    world.release();
    Ok(())
}

/// Whether a row is measured: all are, unless `AMPLIFICATION_ROW` names one, for whoever looks for causes.
fn wanted(row: &str) -> bool {
    std::env::var("AMPLIFICATION_ROW").map_or(true, |only| only == row)
}

/// Runs the part.
pub(super) fn run(settings: &Settings) -> Result<Section> {
    let shape = Shape {
        segments: settings.pick(512, 128),
        segment_bytes: settings.pick(512 << 10, 256 << 10),
    };
    let capacity = shape.capacity()?;
    let day = Site { ttls_ms: vec![24 * HOUR_MS], touches: 0 };
    let mixed =
        Site { ttls_ms: vec![HOUR_MS / 2, 4 * HOUR_MS, 24 * HOUR_MS, 72 * HOUR_MS], touches: 15 };
    let mut section = Section::new(
        "Write amplification",
        format!(
            "The engine of the server (`Shard`) over a disk in RAM, with a clock that the benchmark moves: a \
             day passes in seconds. {} segments of {} KiB, records of {VALUE_BYTES}-byte values, full batches \
             of 32 KiB, uncompressed; {capacity} such records fill the disk when they are written once, and *full* is the \
             share of them that is alive (expired ones are dead). Sessions live through about {WRITES} writes two \
             minutes apart, then fall idle until they expire; in the mix of times to live, in equal shares of \
             arrivals, they are also touched 15 times after their last write. Amplification over the fourth \
             capacity's worth of user records written: *log* counts what users and compaction append, as INFO's \
             `write_amplification`; *device* all that is written: padding, headers, footers, checkpoints.",
            shape.segments,
            shape.segment_bytes / 1024,
        ),
    );
    let head = ["", "full", "live bytes / disk limit", "log", "device"];
    let mut table = Table::new("Amplification", &head);
    let mut courses = Vec::new();
    let mut measure = |what: &str, most: Option<f64>, outcome: Outcome| {
        let Outcome { log, device, full, live, course } = outcome;
        table.row([
            what.to_owned(),
            format!("{:.1} %", full * 100.0),
            format!("{:.1} %", live * 100.0),
            format!("{log:.3}"),
            format!("{device:.3}"),
        ]);
        eprintln!("{what}: log {log:.3}, device {device:.3}, full {full:.3}");
        if let Some(most) = most {
            section.bars.push(Bar::at_most(format!("{what}, 85 % full"), log, most, "x"));
        }
        courses.push(Series { name: what.to_owned(), points: course });
    };
    if wanted("day") {
        measure("sessions, 24 h", Some(1.35), sessions(&shape, capacity, 0.85, &day)?);
    }
    if wanted("mixed") {
        let outcome = sessions(&shape, capacity, 0.85, &mixed)?;
        measure("sessions, 30 min/4 h/24 h/3 d", Some(1.35), outcome);
    }
    if wanted("uniform") {
        measure("uniform overwrite", Some(4.2), uniform(&shape, capacity, 0.85)?);
        measure("uniform overwrite, 75 %", None, uniform(&shape, capacity, 0.75)?);
    }
    section.tables.push(table);
    section.plots.push(Plot {
        file: "amplification",
        title: "Write amplification of the log, by quarters of a capacity".to_owned(),
        axes: ("capacities written", "bytes / user byte"),
        log: (false, false),
        series: courses,
    });
    Ok(section)
}
