//! `capacity`: far more data than memory. Writes distinct values, reads every one back, then overwrites
//! several times the disk limit, and watches memory, device reads and disk space throughout.
//!
//! ```text
//! cargo run --release -p emberlog-tests --bin capacity -- --gigabytes 2
//! ```

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use emberlog_tests::process::{self, RssWatch};
use emberlog_tests::resp::{Client, Reply};
use emberlog_tests::server::{Server, ServerCommand};
use emberlog_tests::value;
use std::time::Instant;

/// Bytes of a value, label included.
const VALUE_BYTES: usize = 4096;
/// Commands sent before their replies are read.
const WINDOW: u64 = 64;
const MB: u64 = 1 << 20;

/// More data than memory, and more writes than disk.
#[derive(Parser)]
struct Args {
    /// Gigabytes of distinct values.
    #[arg(long, default_value_t = 2.0)]
    gigabytes: f64,
    /// Memory budget of the server, in megabytes.
    #[arg(long, default_value_t = 256)]
    memory_mb: u64,
    /// Disk limit of the overwrites, in megabytes.
    #[arg(long, default_value_t = 1024)]
    disk_mb: u64,
    /// How many times the disk limit is written in overwrites.
    #[arg(long, default_value_t = 5)]
    rounds: u64,
}

fn key(number: u64) -> Vec<u8> {
    format!("capacity:{number:010}").into_bytes()
}

/// Sends `count` commands, a window at a time, and hands every reply to `check`.
fn pipelined(
    client: &mut Client,
    count: u64,
    mut command: impl FnMut(u64) -> Vec<Vec<u8>>,
    mut check: impl FnMut(u64, Reply) -> Result<()>,
) -> Result<()> {
    let mut next = 0;
    while next < count {
        let end = (next + WINDOW).min(count);
        for number in next..end {
            let words = command(number);
            client.queue(&words.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
        client.flush()?;
        for number in next..end {
            check(number, client.reply()?)?;
        }
        next = end;
    }
    Ok(())
}

fn written(number: u64, reply: &Reply) -> Result<()> {
    ensure!(reply.is_ok(), "SET {number}: {reply:?}");
    Ok(())
}

fn field(client: &mut Client, name: &str) -> Result<u64> {
    client.info(name)?.with_context(|| format!("INFO has no {name}"))
}

/// Writes and reads back more than fits in memory.
fn larger_than_memory(args: &Args, command: &ServerCommand) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let memory = format!("{}mb", args.memory_mb);
    let flags = ["--maxmemory", &memory, "--disk-limit", "8gb"];
    let server = Server::start(&command.with(&flags), &folder.path().join("data"))?;
    let watch = RssWatch::start(server.pid());
    let mut client = server.client()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few gigabytes in values of 4 KiB"
    )]
    let count = (args.gigabytes * 1e9) as u64 / VALUE_BYTES as u64;
    let begin = Instant::now();
    let set = |number| {
        let key = key(number);
        let bytes = value::make(&key, 1, VALUE_BYTES);
        vec![b"SET".to_vec(), key, bytes]
    };
    pipelined(&mut client, count, set, |number, reply| written(number, &reply))?;
    println!(
        "written       {count} values of {VALUE_BYTES} B in {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    let (reads, cold) = (field(&mut client, "device_reads")?, field(&mut client, "cold_gets")?);
    let begin = Instant::now();
    let get = |number| vec![b"GET".to_vec(), key(number)];
    pipelined(&mut client, count, get, |number, reply| {
        let key = key(number);
        ensure!(
            matches!(&reply, Reply::Bulk(bytes) if *bytes == value::make(&key, 1, VALUE_BYTES)),
            "GET {number} does not return what was written"
        );
        Ok(())
    })?;
    let reads = field(&mut client, "device_reads")? - reads;
    let cold = field(&mut client, "cold_gets")? - cold;
    let peak = watch.peak_bytes();
    println!("read back     all, verified, in {:.1} s", begin.elapsed().as_secs_f64());
    println!("cold GETs     {cold}, device reads {reads}");
    println!("peak RSS      {} MB of {} MB", peak / MB, args.memory_mb);
    ensure!(cold > count / 2, "most values must have been cold");
    ensure!(reads == cold, "a cold GET takes exactly one device read");
    ensure!(peak <= args.memory_mb * MB * 11 / 10, "memory exceeds its budget by more than 10 %");
    server.kill()
}

/// Overwrites several times the disk limit.
fn overwrites(args: &Args, command: &ServerCommand) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let (memory, disk) = (format!("{}mb", args.memory_mb), format!("{}mb", args.disk_mb));
    let flags = ["--maxmemory", &memory, "--disk-limit", &disk];
    let server = Server::start(&command.with(&flags), &data)?;
    let watch = RssWatch::start(server.pid());
    let mut client = server.client()?;
    // Half of the disk is alive.
    let keys = args.disk_mb * MB / 2 / VALUE_BYTES as u64;
    let writes = args.disk_mb * MB * args.rounds / VALUE_BYTES as u64;
    let mut random = fastrand::Rng::with_seed(1);
    let mut newest = vec![0_u64; usize::try_from(keys)?];
    let (begin, mut peak_disk, mut version) = (Instant::now(), 0, 0);
    let mut done = 0;
    while done < writes {
        let part = (writes - done).min(20_000);
        let set = |_| {
            let number = random.u64(..keys);
            version += 1;
            newest[usize::try_from(number).unwrap_or(0)] = version;
            let key = key(number);
            let bytes = value::make(&key, version, VALUE_BYTES);
            vec![b"SET".to_vec(), key, bytes]
        };
        pipelined(&mut client, part, set, |number, reply| written(number, &reply))?;
        done += part;
        peak_disk = peak_disk.max(process::disk_bytes(&data)?);
    }
    println!("overwritten   {writes} values in {:.1} s", begin.elapsed().as_secs_f64());
    let get = |number| vec![b"GET".to_vec(), key(number)];
    pipelined(&mut client, keys, get, |number, reply| {
        let version = newest[usize::try_from(number)?];
        let expected = (version > 0).then(|| value::make(&key(number), version, VALUE_BYTES));
        match (reply, expected) {
            (Reply::Nil, None) => Ok(()),
            (Reply::Bulk(bytes), Some(expected)) if bytes == expected => Ok(()),
            (reply, _) => bail!("GET {number}: not version {version}: {reply:.80?}"),
        }
    })?;
    println!("read back     all at their newest version");
    println!("peak disk     {} MB of {} MB (checkpoints included)", peak_disk / MB, args.disk_mb);
    println!("peak RSS      {} MB of {} MB", watch.peak_bytes() / MB, args.memory_mb);
    for name in ["write_amplification", "compactions", "checkpoints"] {
        println!("{name:<20} {}", client.info(name)?.map_or("?".to_owned(), |n| n.to_string()));
    }
    // Index snapshots and the superblock stand beside the segments.
    ensure!(peak_disk <= (args.disk_mb + 64) * MB, "the folder outgrew the disk limit");
    ensure!(watch.peak_bytes() <= args.memory_mb * MB * 11 / 10, "memory exceeds its budget");
    server.kill()
}

fn main() -> Result<()> {
    let args = Args::parse();
    let command = ServerCommand::under_test()?;
    larger_than_memory(&args, &command)?;
    overwrites(&args, &command)?;
    println!("PASS");
    Ok(())
}
