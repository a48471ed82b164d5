//! `differential`: random programs on a real Redis and on the server under test, in both protocols.
//!
//! Exit code 0 only if nothing differs beyond the list in docs/COMPATIBILITY.md; 77 if there is no Redis to compare with.

use anyhow::{Result, ensure};
use clap::Parser;
use emberlog_tests::differential::Runner;
use emberlog_tests::server::{Server, ServerCommand};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// Runs random programs on both servers and reports every difference.
#[derive(Parser)]
struct Args {
    /// Seed of the first program; the next ones count up.
    #[arg(long)]
    seed: Option<u64>,
    /// Number of programs; without it, as many as fit in `--seconds`.
    #[arg(long)]
    programs: Option<u64>,
    /// How long to go on.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only commands whose names begin like this.
    #[arg(long)]
    only: Option<String>,
    /// What Redis 7.0 does not have (fields that expire, SET IFEQ, ...), against a newer reference.
    #[arg(long)]
    newer: bool,
    /// Shows every command with both replies.
    #[arg(long)]
    log: bool,
    /// The reference.
    #[arg(long, default_value = "redis-server")]
    redis: String,
    /// Stop at so many different differences.
    #[arg(long, default_value_t = 1)]
    most: usize,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let Ok(version) = Command::new(&args.redis).arg("--version").output() else {
        println!("SKIPPED: there is no {} to compare with", args.redis);
        return Ok(ExitCode::from(77));
    };
    println!("reference {}", String::from_utf8_lossy(&version.stdout).trim());
    let parent = tempfile::tempdir()?;
    let flags = ["--ack", "memory", "--disk-limit", "1gb"];
    let ours = ServerCommand::under_test()?.with(&flags);
    let reference = ServerCommand::new(&args.redis).with(&["--save", "", "--appendonly", "no"]);
    println!("server    {}", ours.line());
    let reference = Server::start(&reference, &parent.path().join("redis"))?;
    let ours = Server::start(&ours, &parent.path().join("ours"))?;
    let first = args.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    println!("seed      {first}");

    let mut runner = Runner::new(reference.address(), ours.address());
    if args.newer {
        println!("unknown   {:?}", runner.newer()?);
    }
    if let Some(only) = args.only.map(|only| only.to_uppercase()) {
        runner.lines.retain(|line| line.starts_with(&only));
        ensure!(!runner.lines.is_empty(), "no command begins with {only}");
    }
    runner.log = args.log;
    let begin = Instant::now();
    let mut programs = 0;
    let more = |programs| match args.programs {
        Some(most) => programs < most,
        None => begin.elapsed() < Duration::from_secs(args.seconds),
    };
    while more(programs) && runner.found.len() < args.most {
        let seed = first + programs;
        if let Err(error) = runner.run(seed) {
            println!("replay: differential --seed {seed} --programs 1");
            println!("{}", ours.log_tail());
            return Err(error.into());
        }
        programs += 1;
    }
    for difference in runner.found.values() {
        println!("\nDIFFERENCE {}: {}", difference.kind, difference.what);
        println!("  replay: differential --seed {} --programs 1", difference.seed);
    }
    println!(
        "\n{} programs, {} replies compared, {} unexplained kinds of difference",
        programs,
        runner.compared,
        runner.found.len()
    );
    for (reason, count) in &runner.meant {
        println!("  {count:6} x {reason}");
    }
    Ok(if runner.found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
