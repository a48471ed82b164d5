//! What compression wins in bytes and costs in CPU time: on against off, in one run.

use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use emberlog_engine::driver::{DriverChoice, SystemDisk, drive, now, open_store};
use emberlog_engine::{
    Ack, Compression, Config, Event, Lookup, Namespace, Room, Shard, Stats, Ticket,
};
use fastrand::Rng;
use rustix::time::{ClockId, clock_gettime};

use super::{Bar, Section, Settings, Table, sessions};

/// Puts between two looks at the clock.
const STRIDE: usize = 64;

/// Values of one kind.
struct Kind {
    name: &'static str,
    make: fn(&mut Rng) -> Vec<u8>,
}

const KINDS: [Kind; 3] = [
    Kind { name: "JSON sessions", make: sessions::json },
    Kind { name: "MessagePack sessions", make: sessions::msgpack },
    Kind { name: "random bytes", make: sessions::noise },
];

/// What one store came to.
struct Measured {
    raw_bytes: u64,
    stored_bytes: u64,
    log_bytes: u64,
    put_us: f64,
    hit_us: f64,
    cold_us: f64,
    dictionaries: u64,
}

/// Runs the part.
pub(super) fn run(settings: &Settings) -> Result<Section> {
    let count = settings.pick(60_000, 9_000);
    let mut section = Section::new(
        "Compression",
        format!(
            "For each kind of values {count} puts of different keys into a store without and one with \
             compression, after as many as it takes to train a dictionary; `memory` acknowledgement, \
             32 MiB of RAM. *Stored*: values as they are in the log. *Log*: whole records, with header, key and \
             padding. CPU time is the thread's, user and system: *put* without the disk, *hot GET* a lookup that \
             RAM answers, *cold GET* one that reads the disk, the driver's system calls included"
        ),
    );
    let mut table = Table::new(
        "Bytes and CPU time per value",
        &[
            "",
            "raw B",
            "stored B",
            "ratio",
            "log B off",
            "log B on",
            "ratio",
            "put us off",
            "put us on",
            "hot GET us off",
            "hot GET us on",
            "cold GET us off",
            "cold GET us on",
        ],
    );
    for Kind { name, make } in KINDS {
        let off = measure(settings, make, count, false)?;
        let on = measure(settings, make, count, true)?;
        let per = |bytes: u64| bytes as f64 / count as f64;
        let ratio = on.raw_bytes as f64 / on.stored_bytes as f64;
        let log_ratio = off.log_bytes as f64 / on.log_bytes as f64;
        let mut row = vec![
            name.to_owned(),
            format!("{:.0}", per(on.raw_bytes)),
            format!("{:.0}", per(on.stored_bytes)),
            format!("{ratio:.2}"),
            format!("{:.0}", per(off.log_bytes)),
            format!("{:.0}", per(on.log_bytes)),
            format!("{log_ratio:.2}"),
        ];
        for (off, on) in
            [(off.put_us, on.put_us), (off.hit_us, on.hit_us), (off.cold_us, on.cold_us)]
        {
            row.extend([format!("{off:.2}"), format!("{on:.2}")]);
        }
        table.row(row);
        section.bars.push(if name == "random bytes" {
            let loss = (on.log_bytes as f64 / off.log_bytes as f64 - 1.0) * 100.0;
            Bar::at_most(format!("loss on {name}, log"), loss, 1.5, "%")
        } else {
            ensure!(settings.quick || on.dictionaries > 0, "a dictionary pays for {name}");
            Bar::at_least(format!("ratio of {name}, values"), ratio, 2.5, "x")
        });
    }
    section.tables.push(table);
    Ok(section)
}

fn measure(
    settings: &Settings,
    make: fn(&mut Rng) -> Vec<u8>,
    count: usize,
    enabled: bool,
) -> Result<Measured> {
    let folder = settings.folder()?;
    let mut store = Store::open(&folder.path().join("data"), enabled)?;
    let mut rng = Rng::with_seed(7);
    // As many as are sampled, then until the training is over.
    store.put_all(&mut rng, make, 0..8_192)?;
    drive(&mut store.shard, &mut *store.disk, |shard| shard.stats().io_in_flight == 0);
    let before = store.shard.stats();
    let (raw_bytes, put_us) = store.put_all(&mut rng, make, 10_000..10_000 + count)?;
    let after = store.shard.stats();
    let saved = |stats: &Stats| stats.compression_bytes_saved;
    let reads = count / 6;
    let cold_us = store.get_all(10_000..10_000 + reads)?;
    let hit_us = store.hit(10_000 + reads - 1)?;
    Ok(Measured {
        raw_bytes,
        stored_bytes: raw_bytes - (saved(&after) - saved(&before)),
        log_bytes: after.user_bytes_written - before.user_bytes_written,
        put_us,
        hit_us,
        cold_us,
        dictionaries: after.dictionaries,
    })
}

/// CPU time of this thread in seconds.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

struct Store {
    disk: Box<dyn SystemDisk>,
    shard: Shard,
}

impl Store {
    fn open(dir: &Path, enabled: bool) -> Result<Store> {
        let mut disk = open_store(dir, DriverChoice::Auto)?;
        let config = Config {
            ack: Ack::Memory,
            segment_bytes: 8 << 20,
            disk_bytes_max: 512 << 20,
            memory_bytes_max: 32 << 20,
            compression: Compression { enabled, ..Compression::default() },
            ..Config::default()
        };
        let shard = Shard::open(&mut *disk, &config, now(), &mut |_| {})?;
        Ok(Store { disk, shard })
    }

    /// Puts values; their bytes in all, and CPU microseconds per put.
    fn put_all(
        &mut self,
        rng: &mut Rng,
        make: fn(&mut Rng) -> Vec<u8>,
        keys: std::ops::Range<usize>,
    ) -> Result<(u64, f64)> {
        let (mut bytes, mut seconds, count) = (0, 0.0, keys.len());
        for start in keys.clone().step_by(STRIDE) {
            let values: Vec<(String, Vec<u8>)> = (start..keys.end.min(start + STRIDE))
                .map(|number| (format!("sess:{number:012}"), make(rng)))
                .collect();
            let room = |shard: &mut Shard| shard.room(STRIDE * 4096) == Room::Yes;
            drive(&mut self.shard, &mut *self.disk, room);
            let time = now();
            let begin = cpu_seconds();
            for (name, value) in &values {
                let key = self.shard.key(Namespace(0), name.as_bytes());
                self.shard.put(&key, 0, value, Some(time.plus(86_400_000)), time)?;
            }
            seconds += cpu_seconds() - begin;
            bytes += values.iter().map(|(_, value)| value.len() as u64).sum::<u64>();
        }
        Ok((bytes, seconds * 1e6 / count as f64))
    }

    /// Gets values from the disk; CPU microseconds per get.
    fn get_all(&mut self, keys: std::ops::Range<usize>) -> Result<f64> {
        let appended = self.shard.appended_lsn();
        self.shard.flush();
        drive(&mut self.shard, &mut *self.disk, |shard| shard.durable_lsn() >= appended);
        let (mut cold, mut seconds) = (0, 0.0);
        for number in keys {
            let name = format!("sess:{number:012}");
            let begin = cpu_seconds();
            let key = self.shard.key(Namespace(0), name.as_bytes());
            if matches!(self.shard.lookup(&key, now()), Lookup::Cold) {
                self.shard.load(Ticket(1), &key);
                let mut outcome = None;
                drive(&mut self.shard, &mut *self.disk, |shard| {
                    if let Some(Event::Loaded { outcome: loaded, .. }) = shard.poll_event() {
                        outcome = Some(loaded);
                    }
                    outcome.is_some()
                });
                outcome.ok_or_else(|| anyhow!("no answer"))??;
                let key = self.shard.key(Namespace(0), name.as_bytes());
                ensure!(
                    matches!(self.shard.lookup(&key, now()), Lookup::Found(_)),
                    "{name} is lost"
                );
                self.shard.release(Ticket(1));
                seconds += cpu_seconds() - begin;
                cold += 1;
            }
        }
        ensure!(cold > 0, "values are cold");
        Ok(seconds * 1e6 / f64::from(cold))
    }

    /// Gets one value from RAM again and again; CPU microseconds per get.
    fn hit(&mut self, number: usize) -> Result<f64> {
        const GETS: u32 = 100_000;
        let name = format!("sess:{number:012}");
        let time = now();
        let begin = cpu_seconds();
        for _ in 0..GETS {
            let key = self.shard.key(Namespace(0), name.as_bytes());
            ensure!(matches!(self.shard.lookup(&key, time), Lookup::Found(_)), "{name} is hot");
        }
        Ok((cpu_seconds() - begin) * 1e6 / f64::from(GETS))
    }
}
