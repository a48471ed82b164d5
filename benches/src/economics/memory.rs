//! Resident memory under `--maxmemory`, whatever the server is doing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;

use super::server::{Client, Reply, Server, push};
use super::{Bar, Plot, Section, Series, Settings, Table};

/// The budget of the server under test.
const MIB: u64 = 256;

/// Watches a process's resident memory in the background.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<u64>>,
}

impl Watch {
    fn start(pid: u32) -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = Vec::new();
            while !told.load(Ordering::Relaxed) {
                let statm = std::fs::read_to_string(format!("/proc/{pid}/statm"));
                let pages = statm.ok().and_then(|s| s.split(' ').nth(1)?.parse::<u64>().ok());
                seen.push(pages.unwrap_or(0) * 4096);
                std::thread::sleep(Duration::from_millis(20));
            }
            seen
        });
        Watch { stop, thread }
    }

    fn stop(self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

/// A value of a length from 100 bytes to 1 MiB, most of them small: every power of two as many bytes.
fn mixed_bytes(random: &mut fastrand::Rng) -> usize {
    let exponent = random.f64() * 13.3;
    let length = 100.0 * 2f64.powf(exponent);
    // Short ones are drawn more often, so that each size takes about as much of the memory.
    if random.f64() < 100.0 / length * 64.0 { length as usize } else { 100 + random.usize(..900) }
}

fn churn(client: &mut Client, keys: u64, count: u64, seed: u64) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(seed);
    // Bytes that do not compress, or the disk would not fill.
    let mut bytes = vec![0; 4 << 20];
    random.fill(&mut bytes);
    let mut command = |out: &mut Vec<u8>, number: u64| {
        let key = format!("mixed:{}", random.u64(..keys));
        let (length, from) = (mixed_bytes(&mut random), random.usize(..2 << 20));
        // Different bytes each time: the same ones would only touch the key.
        let value = [&number.to_le_bytes(), &bytes[from..from + length]].concat();
        push(out, &[b"SET", key.as_bytes(), &value]);
    };
    client.pipeline(count, 32, &mut command, |_, _| Ok(()))
}

fn read_back(client: &mut Client, keys: u64, count: u64) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(9);
    let get = |out: &mut Vec<u8>, _| {
        let key = format!("mixed:{}", random.u64(..keys));
        push(out, &[b"GET", key.as_bytes()]);
    };
    client.pipeline(count, 32, get, |_, _| Ok(()))
}

/// Values of a megabyte and of four, written over and read by several clients at once.
fn big_values(server: &Server, rounds: u64) -> Result<()> {
    const CLIENTS: u64 = 16;
    const KEYS: u64 = 64;
    let work = |number: u64| -> Result<()> {
        let mut client = server.client()?;
        let mut random = fastrand::Rng::with_seed(number);
        let mut bytes = vec![0; 8 << 20];
        random.fill(&mut bytes);
        for _ in 0..rounds {
            let key = format!("big:{}", random.u64(..KEYS));
            let length = if random.u8(..8) == 0 { 4 << 20 } else { 1 << 20 };
            let from = random.usize(..bytes.len() - length);
            let set = client.ask(&[b"SET", key.as_bytes(), &bytes[from..from + length]])?;
            anyhow::ensure!(!matches!(set, Reply::Error(_)), "{key}: {set:?}");
            for _ in 0..4 {
                client.ask(&[b"GET", format!("big:{}", random.u64(..KEYS)).as_bytes()])?;
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|number| scope.spawn(move || work(number))).collect();
        clients.into_iter().try_for_each(|client| {
            client.join().unwrap_or_else(|_| anyhow::bail!("a client panicked"))
        })
    })
}

/// What was seen of the resident set, phase by phase.
struct Seen {
    table: Table,
    series: Vec<Series>,
    worst: f64,
}

impl Seen {
    fn note(&mut self, what: &str, seen: &[u64], more: &str) {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let peak = seen.iter().copied().max().unwrap_or(0);
        let end = seen.last().copied().unwrap_or(0);
        let share = peak as f64 / (MIB << 20) as f64;
        self.worst = self.worst.max(share);
        let (peak, end) = (format!("{:.0}", mib(peak)), format!("{:.0}", mib(end)));
        self.table.row([what.to_owned(), peak, format!("{share:.3}"), end, more.to_owned()]);
        let points = seen.iter().enumerate();
        let points = points.map(|(number, bytes)| (number as f64 / 50.0, mib(*bytes))).collect();
        self.series.push(Series { name: what.to_owned(), points });
    }
}

/// Segments that compaction has emptied so far.
fn compactions(client: &mut Client) -> Result<u64> {
    Ok(client.info("compactions")? as u64)
}

/// The phases up to the kill.
fn before_the_kill(settings: &Settings, server: &Server, seen: &mut Seen) -> Result<()> {
    let scale = settings.pick(1, 20);
    let mut client = server.client()?;
    let watch = Watch::start(server.pid());
    let load = |out: &mut Vec<u8>, number: u64| {
        let mut value = [0; 300];
        fastrand::Rng::with_seed(number).fill(&mut value);
        push(out, &[b"SET", format!("load:{number:08}").as_bytes(), &value]);
    };
    client.pipeline(1_500_000 / scale, 128, load, |_, _| Ok(()))?;
    let before = compactions(&mut client)?;
    seen.note("loading", &watch.stop(), &before.to_string());
    let (keys, count) = (40_000 / scale, 500_000 / scale);
    let watch = Watch::start(server.pid());
    churn(&mut client, keys, count, 1)?;
    let after = compactions(&mut client)?;
    seen.note("mixed sizes, overwriting", &watch.stop(), &(after - before).to_string());
    if !settings.quick {
        anyhow::ensure!(after > before, "nothing was compacted, which was to be measured");
    }
    let watch = Watch::start(server.pid());
    read_back(&mut client, keys, count / 8)?;
    let before = compactions(&mut client)?;
    seen.note("mixed sizes, reading", &watch.stop(), &(before - after).to_string());
    let watch = Watch::start(server.pid());
    big_values(server, 100 / scale)?;
    let after = compactions(&mut client)?;
    seen.note("values of 1 and 4 MiB, 16 clients", &watch.stop(), &(after - before).to_string());
    Ok(())
}

/// Runs the part.
pub(super) fn run(settings: &Settings) -> Result<Section> {
    let scale = settings.pick(1, 20);
    let folder = settings.folder()?;
    let dir = folder.path().join("data");
    let maxmemory = format!("{MIB}mb");
    let arguments = ["--maxmemory", &maxmemory, "--disk-limit", "1536mb", "--ack", "memory"];
    let mut section = Section::new(
        "Memory",
        format!(
            "`{}`; resident memory read every 20 ms. *Loading*: 1.5 M keys of 300 bytes. *Mixed*: overwrites of \
             40,000 keys with values from 100 bytes to 1 MiB that do not compress, so that blocks of all sizes come \
             and go and the disk fills: compaction runs; and then reads of them. *Values of 1 and 4 MiB*: 64 keys, a \
             SET and four GETs in turn by each of 16 clients. *Recovering*: after kill -9. *Compacted*: segments \
             that compaction emptied in the phase.",
            arguments.join(" ")
        ),
    );
    let head = ["", "peak MiB", "peak / budget", "at the end, MiB", "compacted"];
    let table = Table::new("Resident memory", &head);
    let mut seen = Seen { table, series: Vec::new(), worst: 0.0 };
    let server = Server::start(&settings.emberlog, settings.port, &dir, &arguments)?;
    before_the_kill(settings, &server, &mut seen)?;
    server.kill()?;
    let mut server = Server::spawn(&settings.emberlog, settings.port, &dir, &arguments)?;
    let watch = Watch::start(server.pid());
    server.wait_for(Duration::from_secs(300), |client| client.line("DBSIZE").is_ok())?;
    let mut client = server.client()?;
    read_back(&mut client, 40_000 / scale, 40_000 / scale)?;
    seen.note("recovering, then reading", &watch.stop(), &compactions(&mut client)?.to_string());
    let bar = Bar::at_most("peak resident memory / maxmemory", seen.worst, 1.05, "x");
    section.bars.push(bar);
    section.tables.push(seen.table);
    section.plots.push(Plot {
        file: "memory",
        title: format!("Resident memory under --maxmemory {maxmemory}"),
        axes: ("seconds", "MiB"),
        log: (false, false),
        series: seen.series,
    });
    Ok(section)
}
