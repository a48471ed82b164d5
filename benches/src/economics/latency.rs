//! Latency while compaction runs beside latency while it does not; and how soon expired data gives its
//! disk back.

use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use super::server::{Client, Reply, Server, push};
use super::{Bar, Section, Settings, Table};

/// Keys that are read and written while measuring.
const KEYS: u64 = 20_000;
/// Bytes of a value.
const VALUE_BYTES: usize = 400;

/// Latencies of one kind of command, in microseconds.
struct Latencies {
    get: Histogram<u64>,
    set: Histogram<u64>,
}

fn key(number: u64) -> String {
    format!("hot:{number:08}")
}

/// Bytes that do not compress, or the disk would not be as full as it is meant to be.
fn value(version: u64) -> Vec<u8> {
    let mut value = vec![0; VALUE_BYTES];
    fastrand::Rng::with_seed(version).fill(&mut value);
    value
}

/// GETs and SETs of keys in RAM, one after the other.
fn probe(client: &mut Client, seconds: u64, seed: u64) -> Result<Latencies> {
    let mut random = fastrand::Rng::with_seed(seed);
    let histogram = || Histogram::new_with_bounds(1, 60_000_000, 3);
    let mut seen = Latencies { get: histogram()?, set: histogram()? };
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        let name = key(random.u64(..KEYS));
        let (histogram, start) = if random.bool() {
            let start = Instant::now();
            client.ask(&[b"GET", name.as_bytes()])?;
            (&mut seen.get, start)
        } else {
            let value = value(random.u64(..));
            let start = Instant::now();
            client.ask(&[b"SET", name.as_bytes(), &value])?;
            (&mut seen.set, start)
        };
        let micros = u64::try_from(start.elapsed().as_micros())?;
        histogram.record(micros.max(1))?;
    }
    Ok(seen)
}

/// Overwrites cold keys at a steady rate until told to stop; returns how many.
fn overwrite(
    port: u16,
    keys: u64,
    per_second: u64,
    stop: &std::sync::atomic::AtomicBool,
) -> Result<u64> {
    let mut client = Client::connect(port)?;
    let mut random = fastrand::Rng::with_seed(7);
    let start = Instant::now();
    let mut sent = 0;
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        let due = (start.elapsed().as_secs_f64() * per_second as f64) as u64;
        if sent >= due {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        let count = (due - sent).min(32);
        let set = |out: &mut Vec<u8>, number: u64| {
            let name = format!("cold:{:08}", random.u64(..keys));
            push(out, &[b"SET", name.as_bytes(), &value(sent + number)]);
        };
        client.pipeline(count, count, set, |_, _| Ok(()))?;
        sent += count;
    }
    Ok(sent)
}

/// Probes while another client overwrites cold keys.
fn probe_beside(
    server: &Server,
    keys: u64,
    per_second: u64,
    seconds: u64,
) -> Result<(Latencies, u64)> {
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| overwrite(server.port, keys, per_second, &stop));
        let seen = server.client().and_then(|mut client| probe(&mut client, seconds, 1));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let sent = writer.join().map_err(|_| anyhow::anyhow!("the writer has panicked"))??;
        Ok((seen?, sent))
    })
}

fn row(table: &mut Table, name: &str, histogram: &Histogram<u64>) {
    let quantile = |q| histogram.value_at_quantile(q).to_string();
    table.row([
        name.to_owned(),
        histogram.len().to_string(),
        quantile(0.5),
        quantile(0.99),
        quantile(0.999),
        histogram.max().to_string(),
    ]);
}

/// A server with the keys that are probed and so many others, most of whose values are on the disk only.
struct Subject {
    server: Server,
    client: Client,
    arguments: String,
    _folder: tempfile::TempDir,
}

impl Subject {
    fn start(settings: &Settings, disk: &str, keys: u64) -> Result<Subject> {
        let folder = settings.folder()?;
        // As many segments as a store of 8 GiB has, if the limit is 1 GiB.
        let segment = settings.pick("4mb", "1mb");
        let arguments = ["--maxmemory", "128mb", "--disk-limit", disk, "--segment-size", segment];
        let arguments = [&arguments[..], &["--ack", "memory"]].concat();
        let dir = folder.path().join("data");
        let server = Server::start(&settings.emberlog, settings.port, &dir, &arguments)?;
        let mut client = server.client()?;
        let hot = |out: &mut Vec<u8>, number: u64| {
            push(out, &[b"SET", key(number).as_bytes(), &value(number)]);
        };
        client.pipeline(KEYS, 64, hot, |_, _| Ok(()))?;
        let cold = |out: &mut Vec<u8>, number: u64| {
            push(out, &[b"SET", format!("cold:{number:08}").as_bytes(), &value(number)]);
        };
        client.pipeline(keys, 64, cold, |_, _| Ok(()))?;
        Ok(Subject { server, client, arguments: arguments.join(" "), _folder: folder })
    }
}

/// Runs the part.
pub(super) fn run(settings: &Settings) -> Result<Section> {
    let seconds = settings.pick(20, 2);
    let per_second = 5000;
    // As many cold keys as make the disk 75 % full of live records and their rows.
    let limit: u64 = settings.pick(1 << 30, 256 << 20);
    let keys = limit * 75 / 100 / 540;
    // Idle: the same keys, readers and writer, and a disk on which there is nothing to compact.
    let idle_subject = Subject::start(settings, "8gb", keys)?;
    let (idle, _) = probe_beside(&idle_subject.server, keys, per_second, seconds)?;
    drop(idle_subject);
    let mut subject = Subject::start(settings, settings.pick("1gb", "256mb"), keys)?;
    let (server, client) = (&subject.server, &mut subject.client);
    // To the steady state first: segments have been through compaction's hands.
    probe_beside(server, keys, 10 * per_second, 2 * seconds)?;
    let before = client.info("compactions")?;
    client.line("CONFIG RESETSTAT")?;
    let (busy, sent) = probe_beside(server, keys, per_second, seconds)?;
    let compactions = client.info("compactions")? - before;
    let turn_ms = client.info("turn_us_max")? / 1e3;
    let mut section = Section::new(
        "Latency while compacting",
        format!(
            "`{}`. One client GETs and SETs {KEYS} keys in RAM, one at a time, for {seconds} s, while another overwrites \
             {per_second} of {keys} cold keys a second. *Idle*: with `--disk-limit 8gb`, nothing to compact. \
             *Compacting*: the keys are 75 % of the disk with their rows, after {} s of overwriting as fast \
             as it goes ({before:.0} segments compacted); {compactions:.0} segments were compacted for \
             {sent} cold writes.",
            subject.arguments,
            2 * seconds
        ),
    );
    let head = ["us", "commands", "p50", "p99", "p99.9", "max"];
    let mut table = Table::new("Latency", &head);
    row(&mut table, "GET, idle", &idle.get);
    row(&mut table, "GET, compacting", &busy.get);
    row(&mut table, "SET, idle", &idle.set);
    row(&mut table, "SET, compacting", &busy.set);
    for (name, idle, busy) in [("GET", &idle.get, &busy.get), ("SET", &idle.set, &busy.set)] {
        let [idle, busy] = [idle, busy].map(|h| h.value_at_quantile(0.99) as f64);
        let what = format!("p99 of {name} while compacting / idle");
        section.bars.push(Bar::at_most(what, busy / idle.max(1.0), 3.0, "x"));
    }
    section.tables.push(table);
    section
        .notes
        .push(format!("Longest turn of the event loop while compacting: {turn_ms:.1} ms."));
    let back = reclaimed(settings)?;
    section.bars.push(Bar::at_most("expired data gives its disk back after", back, 60.0, "s"));
    Ok(section)
}

/// Seconds from the moment in which all of a server's data expires to the one in which nine tenths of its
/// segments can be used again, with nothing else going on.
fn reclaimed(settings: &Settings) -> Result<f64> {
    let folder = settings.folder()?;
    let dir = folder.path().join("data");
    let arguments =
        ["--maxmemory", "128mb", "--disk-limit", "1gb", "--segment-size", "4mb", "--ack", "memory"];
    let server = Server::start(&settings.emberlog, settings.port + 1, &dir, &arguments)?;
    let mut client = server.client()?;
    let count = settings.pick(800_000, 40_000);
    // All expire at the same moment, some time after they are written.
    let Reply::Array(time) = client.line("TIME")? else { anyhow::bail!("TIME") };
    let Some(Reply::Bulk(Some(seconds))) = time.into_iter().next() else { anyhow::bail!("TIME") };
    let at = String::from_utf8(seconds)?.parse::<u64>()? + settings.pick(20, 3);
    let at = at.to_string();
    let set = |out: &mut Vec<u8>, number: u64| {
        let name = format!("short:{number:08}");
        push(out, &[b"SET", name.as_bytes(), &value(number), b"EXAT", at.as_bytes()]);
    };
    client.pipeline(count, 128, set, |_, _| Ok(()))?;
    while client.line("DBSIZE")? != Reply::Number(0) {
        std::thread::sleep(Duration::from_millis(100));
    }
    let start = Instant::now();
    let used = |client: &mut Client| -> Result<f64> {
        Ok(client.info("segments_total")? - client.info("segments_free")?)
    };
    let all = used(&mut client)?;
    while used(&mut client)? > (all / 10.0).max(2.0) && start.elapsed().as_secs() < 180 {
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(start.elapsed().as_secs_f64())
}
