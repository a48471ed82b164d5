//! `killloop`: proves or disproves that acknowledged writes survive kill -9. Exit code 0 only if nothing was broken.

use anyhow::{Result, bail};
use clap::Parser;
use emberlog_tests::killloop::{self, Options};
use emberlog_tests::server::ServerCommand;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// kill -9 under load, restart, verify everything; again and again.
#[derive(Parser)]
struct Args {
    /// Seed; a fresh one is drawn and printed when it is absent.
    #[arg(long)]
    seed: Option<u64>,
    /// Ends under load (kill -9, and now and then a SIGTERM).
    #[arg(long, default_value_t = 300)]
    kills: u32,
    /// Connections.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Multiplies the number of keys (268 per connection).
    #[arg(long, default_value_t = 1)]
    scale: usize,
    /// Longest time under load before each end, in milliseconds.
    #[arg(long, default_value_t = 700)]
    load_ms: u64,
    /// Command that starts the server, without --port and --dir. Default: the server of this workspace with a small
    /// budget, so that values are evicted and segments reused.
    #[arg(long)]
    server: Option<String>,
    /// Data folder, empty or absent; kept afterwards. Default: a temporary one, kept only after a failure.
    #[arg(long)]
    dir: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let command = match &args.server {
        Some(line) => ServerCommand::new(line),
        None => ServerCommand::under_test()?.with(&[
            "--ack",
            "durable",
            "--maxmemory",
            "64mb",
            "--disk-limit",
            "512mb",
        ]),
    };
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let mut temporary = None;
    let folder = match &args.dir {
        Some(folder) if folder.exists() && folder.read_dir()?.next().is_some() => {
            bail!("{} is not empty", folder.display())
        }
        Some(folder) => folder.clone(),
        None => temporary.insert(tempfile::tempdir()?).path().join("data"),
    };
    println!("server    {}", command.line());
    println!(
        "replay    killloop --seed {seed} --kills {} --connections {} --scale {} --load-ms {}",
        args.kills, args.connections, args.scale, args.load_ms
    );
    let begin = Instant::now();
    let options = Options {
        command,
        folder: folder.clone(),
        seed,
        kills: args.kills,
        connections: args.connections,
        scale: args.scale,
        load_ms: args.load_ms,
        variety: true,
        scripts: true,
    };
    let report = killloop::run(&options)?;
    println!("{report}");
    println!("took      {:.1} s, seed {seed}", begin.elapsed().as_secs_f64());
    if report.violations.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(kept) = temporary {
        println!("data      {}", kept.keep().join("data").display());
    } else {
        println!("data      {}", folder.display());
    }
    Ok(ExitCode::FAILURE)
}
