//! Device bytes of a touch: moving the expiry of a live session, beside the peer's append-only file.
//!
//! The engine itself, in this process, on a real disk, with a clock that the benchmark moves: an hour
//! of touches at a given rate would otherwise take an hour. Everything that it writes counts:
//! batches with their padding, footers, checkpoints, headers of segments, compaction, and the
//! allocation of new segments.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use emberlog_engine::driver::{self, DriverChoice, SystemDisk};
use emberlog_engine::{Config, Lookup, Namespace, Shard, Stats, UnixMillis};

use super::server::{Client, Reply, Server, push};
use super::{Bar, Section, Settings, Table};

/// Bytes of a session.
const VALUE_BYTES: usize = 400;
/// A session's time to live.
const TTL_MS: u64 = 30 * 60 * 1000;
/// Steps of the clock.
const STEP_MS: u64 = 10;

fn name(number: u64) -> String {
    format!("session:{number:016x}")
}

/// An engine with a clock of its own.
struct World {
    shard: Shard,
    disk: Box<dyn SystemDisk>,
    now: UnixMillis,
    wake_at: UnixMillis,
    /// Checkpoints taken, and bytes of touch records written before the newest.
    checkpoints: (u64, u64),
}

impl World {
    fn open(folder: &Path, now: UnixMillis) -> Result<World> {
        let mut disk = driver::open_store(folder, DriverChoice::Auto)?;
        let config =
            Config { disk_bytes_max: 1 << 30, memory_bytes_max: 2 << 30, ..Config::default() };
        let shard = Shard::open(&mut *disk, &config, now, &mut |_| {})?;
        Ok(World { shard, disk, now, wake_at: now, checkpoints: (0, 0) })
    }

    /// Ends as by a kill, and opens the store again. Returns how long that took, and about how many
    /// touches had been journaled since the last checkpoint.
    fn killed(self, folder: &Path) -> Result<(Duration, u64)> {
        let (now, entries) = (self.now, self.shard.stats().index_entries);
        let rows = (self.shard.stats().touch_bytes_written - self.checkpoints.1) / 7;
        drop(self);
        let start = Instant::now();
        let world = World::open(folder, now)?;
        let took = start.elapsed();
        let found = world.shard.stats().index_entries;
        ensure!(found >= entries, "{found} of {entries} sessions are there after a kill");
        Ok((took, rows))
    }

    /// One turn of an event loop.
    fn turn(&mut self) {
        while let Some((id, result)) = self.disk.finished() {
            self.shard.complete(id, result, self.now);
        }
        if self.now >= self.wake_at {
            self.shard.tick(self.now);
        }
        while let Some((id, request)) = self.shard.poll_io() {
            self.disk.start(id, request);
        }
        self.disk.submit();
        self.wake_at = self.shard.next_wakeup(self.now).unwrap_or(self.now.plus(1000));
        while self.shard.poll_event().is_some() {}
    }

    /// Writes all sessions.
    fn fill(&mut self, sessions: u64) -> Result<()> {
        let mut value = [0; VALUE_BYTES];
        let mut random = fastrand::Rng::with_seed(1);
        for number in 0..sessions {
            random.fill(&mut value);
            let name = name(number);
            while self.shard.room(VALUE_BYTES + 256) != emberlog_engine::Room::Yes {
                self.disk.wait(Some(Duration::from_millis(1)));
                self.turn();
            }
            let key = self.shard.key(Namespace(0), name.as_bytes());
            self.shard.put(&key, 1, &value, Some(self.now.plus(TTL_MS)), self.now)?;
            if number.is_multiple_of(100) {
                self.turn();
            }
        }
        Ok(())
    }

    /// Touches sessions chosen at random, `per_step` in each step of the clock, for `seconds`.
    fn touch(&mut self, sessions: u64, per_step: u64, seconds: u64) -> Result<u64> {
        let mut random = fastrand::Rng::with_seed(seconds);
        let mut waited = 0;
        for _ in 0..seconds * 1000 / STEP_MS {
            self.now = self.now.plus(STEP_MS);
            for _ in 0..per_step {
                let name = name(random.u64(0..sessions));
                let key = self.shard.key(Namespace(0), name.as_bytes());
                if !matches!(self.shard.lookup(&key, self.now), Lookup::Found(_)) {
                    // Nobody touched it for its whole time to live.
                    continue;
                }
                let at = self.now.plus(TTL_MS);
                let barrier = self.shard.expire(&key, Some(at), self.now)?;
                waited += u64::from(barrier > self.shard.durable_lsn());
            }
            self.turn();
            let stats = self.shard.stats();
            if stats.checkpoints > self.checkpoints.0 {
                self.checkpoints = (stats.checkpoints, stats.touch_bytes_written);
            }
        }
        Ok(waited)
    }
}

/// Bytes written and touches between two moments.
fn bytes_per_touch(before: &Stats, after: &Stats) -> f64 {
    let bytes = after.device_bytes_written - before.device_bytes_written;
    bytes as f64 / (after.touches - before.touches) as f64
}

/// Bytes that the peer's append-only file takes for an EXPIRE.
fn peer_bytes(settings: &Settings) -> Result<f64> {
    let folder = settings.folder()?;
    let arguments = ["--appendonly", "yes", "--save", "", "--auto-aof-rewrite-percentage", "0"];
    let server = Server::start(&settings.peer, settings.port, folder.path(), &arguments)?;
    let mut client = server.client()?;
    let count = settings.pick(200_000, 2_000);
    let set = |out: &mut Vec<u8>, number| {
        push(out, &[b"SET", name(number).as_bytes(), b"x", b"EX", b"1800"]);
    };
    client.pipeline(count, 256, set, |_, _| Ok(()))?;
    let size = |client: &mut Client| client.info("aof_current_size");
    let before = size(&mut client)?;
    let expire = |out: &mut Vec<u8>, number| {
        push(out, &[b"EXPIRE", name(number).as_bytes(), b"1800"]);
    };
    client.pipeline(count, 256, expire, |_, reply| match reply {
        Reply::Number(1) => Ok(()),
        other => bail!("{other:?}"),
    })?;
    Ok((size(&mut client)? - before) / count as f64)
}

/// Runs the part.
pub(super) fn run(settings: &Settings) -> Result<Section> {
    let sessions = settings.pick(1_000_000, 20_000);
    let (warm_s, seconds) = settings.pick((120, 300), (130, 120));
    let mut section = Section::new(
        "Touches",
        format!(
            "{sessions} live sessions of {VALUE_BYTES} bytes with a time to live of 30 minutes, touched at \
             random. The engine in this process, on a real disk, level `durable`, with a clock moved by the \
             benchmark: {warm_s} s of touches at each rate to reach the steady state, then {seconds} s that \
             count. Device bytes are everything that the engine writes: padding, footers, checkpoints, \
             compaction and the allocation of segments; before, the sessions were written three times, so that a disk limit of 1 GiB was reached and segments are recycled as in any old store. The peer: growth of its append-only file"
        ),
    );
    let folder = settings.folder()?;
    let store = folder.path().join("store");
    let mut world = World::open(&store, UnixMillis(1_790_000_000_000))?;
    // Until every segment has been used before.
    for _ in 0..settings.pick(3, 1) {
        world.fill(sessions)?;
    }
    let mut table = Table::new(
        "Device bytes per touch.",
        &[
            "touches a second",
            "bytes per touch",
            "journaled bytes",
            "waited for the disk, of a million",
        ],
    );
    let mut steady = f64::INFINITY;
    for per_second in settings.pick([100_000, 30_000], [2_000, 600]) {
        let per_step = per_second * STEP_MS / 1000;
        world.touch(sessions, per_step, warm_s)?;
        let before = world.shard.stats();
        let waited = world.touch(sessions, per_step, seconds)?;
        let after = world.shard.stats();
        let touches = after.touches - before.touches;
        ensure!(touches > 0, "nothing was touched");
        let bytes = bytes_per_touch(&before, &after);
        if steady.is_infinite() {
            steady = bytes;
        }
        let journaled = after.touch_bytes_written - before.touch_bytes_written;
        table.row([
            per_second.to_string(),
            format!("{bytes:.2}"),
            format!("{:.2}", journaled as f64 / touches as f64),
            format!("{:.1}", waited as f64 * 1e6 / touches as f64),
        ]);
        eprintln!("   {per_second}/s: {bytes:.2} bytes per touch");
    }
    let (took, rows) = world.killed(&store)?;
    section.notes.push(format!(
        "Killed then, the store opens in {:.2} s; {rows} touches were journaled since its last checkpoint.",
        took.as_secs_f64()
    ));
    let peer = peer_bytes(settings)?;
    table.row(["peer, EXPIRE".to_owned(), format!("{peer:.1}"), String::new(), String::new()]);
    section.tables.push(table);
    let rate = settings.pick(100_000, 2_000);
    section.bars.push(Bar::at_most(
        format!("device bytes per touch at {rate} touches a second"),
        steady,
        2.0,
        "bytes",
    ));
    section.notes.push(
        "The bytes follow the number of sessions, not of touches: each session that is touched at all is \
         journaled about once in a cell of 56 s. So at a third of the rate a touch costs up to three times as much."
            .to_owned(),
    );
    Ok(section)
}
