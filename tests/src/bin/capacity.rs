//! `capacity`: data many times larger than RAM, verified byte by byte, with memory and disk watched all the time.
//!
//! Exit code 0 only if every value was right, RSS stayed within the budget + 10 %, the segment files stayed inside the
//! disk limit, and every cold GET cost exactly one read of the device.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use emberlog_tests::capacity::{Load, Phase, Watch};
use emberlog_tests::server::{Server, ServerCommand};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Writes more than RAM holds, reads it back, overwrites it several times, and judges.
#[derive(Parser)]
struct Args {
    /// Bytes of distinct values, in MiB.
    #[arg(long, default_value_t = 2048)]
    data_mib: u64,
    /// The server's memory budget, in MiB.
    #[arg(long, default_value_t = 256)]
    memory_mib: u64,
    /// The server's disk limit, in MiB.
    #[arg(long, default_value_t = 3072)]
    disk_mib: u64,
    /// How many times the disk limit is written in overwrites.
    #[arg(long, default_value_t = 5)]
    overwrites: u64,
    /// Connections.
    #[arg(long, default_value_t = 8)]
    connections: u64,
    /// Seed of sizes and order.
    #[arg(long)]
    seed: Option<u64>,
    /// Folder that holds the data, on the disk to be tested. Default: the system's temporary folder.
    #[arg(long)]
    dir: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let (memory, disk) = (format!("{}mb", args.memory_mib), format!("{}mb", args.disk_mib));
    let flags = ["--ack", "durable", "--maxmemory", &memory, "--disk-limit", &disk];
    let command = ServerCommand::under_test()?.with(&flags);
    let parent = match &args.dir {
        Some(parent) => tempfile::tempdir_in(parent)?,
        None => tempfile::tempdir()?,
    };
    let folder = parent.path().join("data");
    println!("server {}", command.line());
    println!(
        "replay capacity --seed {seed} --data-mib {} --disk-mib {}",
        args.data_mib, args.disk_mib
    );

    let server = Server::start(&command, &folder)?;
    let mut watch = Watch::start(server.pid(), &folder);
    let mut load = Load::new(server.address(), seed, args.data_mib << 20, args.connections);
    println!(
        "{} values, {} MiB, by {} connections\n",
        load.count(),
        args.data_mib,
        args.connections
    );
    println!("{}", Phase::HEADER);
    let mut failures = Vec::new();

    run(&mut watch, &server, "write", || load.write_all())?;
    settle(&server)?;
    check_cold_reads(&mut watch, &server, &load, &mut failures)?;
    run(&mut watch, &server, "overwrite", || {
        load.overwrite((args.disk_mib * args.overwrites) << 20)
    })?;
    settle(&server)?;
    check_cold_reads(&mut watch, &server, &load, &mut failures)?;
    let (rss, segments) = (watch.rss_peak(), watch.segments_peak());
    server.kill()?;

    let server = Server::start(&command, &folder).context("after kill -9")?;
    watch = Watch::start(server.pid(), &folder);
    load.reconnect(server.address());
    let recovery_ms = server.client()?.info("recovery_ms")?.unwrap_or(0);
    println!("restart after kill -9 took {recovery_ms} ms");
    run(&mut watch, &server, "read again", || load.read_all())?;
    let rss = rss.max(watch.rss_peak());

    judge(&mut failures, "RSS peak", rss, (args.memory_mib << 20) / 10 * 11);
    judge(&mut failures, "segment files", segments.max(watch.segments_peak()), args.disk_mib << 20);
    judge(&mut failures, "other files", watch.others_peak(), 64 << 20);
    server.terminate()?;
    for failure in &failures {
        println!("FAIL {failure}");
    }
    println!("{}, seed {seed}", if failures.is_empty() { "PASS" } else { "FAIL" });
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn judge(failures: &mut Vec<String>, what: &str, found: u64, limit: u64) {
    let text = format!("{what}: {} KiB, allowed {} KiB", found >> 10, limit >> 10);
    println!("{text}");
    if found > limit {
        failures.push(text);
    }
}

/// Runs a phase and prints its line.
fn run(
    watch: &mut Watch,
    server: &Server,
    name: &'static str,
    body: impl FnOnce() -> Result<(u64, u64)>,
) -> Result<()> {
    let mut phase = Phase::begin(name, watch, server)?;
    let (operations, bytes) = body().with_context(|| format!("phase {name}"))?;
    println!("{}", phase.end(watch, server, operations, bytes)?);
    Ok(())
}

/// Waits until the background work has come to rest, so that counters move only for the reads that follow.
fn settle(server: &Server) -> Result<()> {
    let mut client = server.client()?;
    let mut last = None;
    for _ in 0..240 {
        let now = (client.info("device_bytes_written")?, client.info("device_reads")?);
        if last.replace(now) == Some(now) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1500));
    }
    anyhow::bail!("background work does not come to rest in 6 minutes")
}

/// Reads everything and compares the device's reads with the GETs that found nothing in RAM.
fn check_cold_reads(
    watch: &mut Watch,
    server: &Server,
    load: &Load,
    failures: &mut Vec<String>,
) -> Result<()> {
    let mut client = server.client()?;
    let mut counters = || -> Result<(u64, u64)> {
        let reads = client.info("device_reads")?.context("no device_reads in INFO")?;
        Ok((reads, client.info("cold_gets")?.context("no cold_gets in INFO")?))
    };
    let before = counters()?;
    run(watch, server, "read", || load.read_all())?;
    let after = counters()?;
    let (reads, cold) = (after.0 - before.0, after.1 - before.1);
    println!("  {cold} cold GETs, {reads} device reads");
    ensure!(cold > 0, "nothing was cold: the data fits into RAM, which proves nothing");
    if reads != cold {
        failures.push(format!("{reads} device reads for {cold} cold GETs"));
    }
    Ok(())
}
