//! Resident memory under `--maxmemory`, whatever the server is doing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;

use super::server::{Client, Server, push};
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

/// Runs the part.
pub(super) fn run(settings: &Settings) -> Result<Section> {
    let scale = settings.pick(1, 20);
    let folder = settings.folder()?;
    let dir = folder.path().join("data");
    let maxmemory = format!("{MIB}mb");
    let arguments = ["--maxmemory", &maxmemory, "--disk-limit", "3gb", "--ack", "memory"];
    let mut section = Section::new(
        "Memory",
        format!(
            "`{}`; resident memory read every 20 ms. *Loading*: 1.5 M keys of 300 bytes. *Mixed*: overwrites of \
             40,000 keys with values from 100 bytes to 1 MiB, so that blocks of all sizes come and go, and then \
             reads of them; the disk fills meanwhile, so compaction runs. *Recovering*: after kill -9.",
            arguments.join(" ")
        ),
    );
    let head = ["", "peak MiB", "peak / budget"];
    let mut table = Table::new("Resident memory", &head);
    let mut series = Vec::new();
    let mut worst = 0f64;
    let mut note = |what: &str, seen: &[u64]| {
        let peak = seen.iter().copied().max().unwrap_or(0);
        let share = peak as f64 / (MIB << 20) as f64;
        worst = worst.max(share);
        let peak = format!("{:.0}", peak as f64 / f64::from(1 << 20));
        table.row([what.to_owned(), peak, format!("{share:.3}")]);
        let points = seen.iter().enumerate();
        let points = points.map(|(n, b)| (n as f64 / 50.0, *b as f64 / f64::from(1 << 20)));
        series.push(Series { name: what.to_owned(), points: points.collect() });
    };
    let server = Server::start(&settings.emberlog, settings.port, &dir, &arguments)?;
    let mut client = server.client()?;
    let watch = Watch::start(server.pid());
    let load = |out: &mut Vec<u8>, number: u64| {
        let mut value = [0; 300];
        fastrand::Rng::with_seed(number).fill(&mut value);
        push(out, &[b"SET", format!("load:{number:08}").as_bytes(), &value]);
    };
    client.pipeline(1_500_000 / scale, 128, load, |_, _| Ok(()))?;
    note("loading", &watch.stop());
    let (keys, count) = (40_000 / scale, 250_000 / scale);
    let watch = Watch::start(server.pid());
    churn(&mut client, keys, count, 1)?;
    note("mixed sizes, overwriting", &watch.stop());
    let compactions = client.info("compactions")?;
    let watch = Watch::start(server.pid());
    read_back(&mut client, keys, count / 4)?;
    note("mixed sizes, reading", &watch.stop());
    drop(client);
    server.kill()?;
    let mut server = Server::spawn(&settings.emberlog, settings.port, &dir, &arguments)?;
    let watch = Watch::start(server.pid());
    server.wait_for(Duration::from_secs(300), |client| client.line("DBSIZE").is_ok())?;
    read_back(&mut server.client()?, keys, count / 16)?;
    note("recovering, then reading", &watch.stop());
    section.bars.push(Bar::at_most("peak resident memory / maxmemory", worst, 1.05, "x"));
    section.tables.push(table);
    section.notes.push(format!("Compaction emptied {compactions:.0} segments meanwhile."));
    section.plots.push(Plot {
        file: "memory",
        title: format!("Resident memory under --maxmemory {maxmemory}"),
        axes: ("seconds", "MiB"),
        log: (false, false),
        series,
    });
    Ok(section)
}
