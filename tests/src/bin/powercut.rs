//! `powercut`: cuts the power below a real server on a real file system, and opens what may be left.
//!
//! Exit code 0 only if nothing was broken; 77 if no FUSE file system can be mounted here.

use anyhow::{Context, Result, bail};
use clap::Parser;
use emberlog_tests::powercut::hub::Hub;
use emberlog_tests::powercut::image::Under;
use emberlog_tests::powercut::mount::Mount;
use emberlog_tests::powercut::volume::Lie;
use emberlog_tests::powercut::{self, Options};
use emberlog_tests::server::ServerCommand;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

/// A server under load on a file system that logs writes and syncs; then every disk that a power cut may leave.
#[derive(Parser)]
struct Args {
    /// Seed; a fresh one is drawn and printed when it is absent.
    #[arg(long)]
    seed: Option<u64>,
    /// Images to open and judge.
    #[arg(long, default_value_t = 1000)]
    images: u64,
    /// Connections.
    #[arg(long, default_value_t = 6)]
    connections: usize,
    /// Servers that judge at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Drivers that the worlds take turns with.
    #[arg(long, default_value = "uring,threads", value_delimiter = ',')]
    drivers: Vec<String>,
    /// Command that starts the server, without --port and --dir.
    #[arg(long)]
    server: Option<String>,
    /// Put a file system on a loop device between the server and the disk whose power is cut: ext4, xfs or btrfs.
    #[arg(long)]
    fs: Option<String>,
    /// The disk falls ill while the power is on: full for a while, or failing writes, syncs or reads, also those of
    /// recovery.
    #[arg(long)]
    ill: bool,
    /// Proves the test instead: file systems that lie about each kind of sync, and a server that answers early, must all
    /// be found.
    #[arg(long)]
    prove: bool,
    /// Prints every operation that arrives at the file system.
    #[arg(long)]
    trace: bool,
    /// Folder for the mount point and the images.
    #[arg(long)]
    dir: Option<PathBuf>,
}

const FLAGS: [&str; 6] = ["--maxmemory", "64mb", "--disk-limit", "40mb", "--segment-size", "2mb"];

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let under = match args.fs.as_deref() {
        None => Under::Store,
        Some("ext4") => Under::Ext4,
        Some("xfs") => Under::Xfs,
        Some("btrfs") => Under::Btrfs,
        Some(other) => bail!("--fs {other} is none of ext4, xfs and btrfs"),
    };
    if args.ill && args.fs.is_some() {
        bail!("--ill with --fs would try the file system, not the store");
    }
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let memory = Path::new("/dev/shm");
    let parent = match &args.dir {
        Some(parent) => parent.clone(),
        None if memory.is_dir() => memory.to_owned(),
        None => std::env::temp_dir(),
    };
    let folder = tempfile::Builder::new().prefix("powercut-").tempdir_in(&parent)?;
    if let Err(error) = try_mount(folder.path(), args.fs.as_deref()) {
        println!("SKIPPED: {error:#}; this needs /dev/fuse and root, and --fs loop devices");
        return Ok(ExitCode::from(77));
    }
    let base = match &args.server {
        Some(line) => ServerCommand::new(line),
        None => ServerCommand::under_test()?.with(&FLAGS),
    };
    println!("server    {}", base.line());
    println!("folder    {}", folder.path().display());
    let commands =
        args.drivers.iter().map(|driver| base.with(&["--io-driver", driver, "--ack", "durable"]));
    let options = Options {
        commands: commands.collect(),
        seed,
        images: args.images,
        connections: args.connections,
        jobs: args.jobs,
        lie: Lie::None,
        ill: args.ill,
        under,
        trace: args.trace,
        folder: folder.path().to_owned(),
    };
    if args.prove {
        return prove(&options, &base);
    }
    println!(
        "replay    powercut --seed {seed} --images {} --connections {} --drivers {}{}{}",
        args.images,
        args.connections,
        args.drivers.join(","),
        if args.ill { " --ill" } else { "" },
        args.fs.map(|fs| format!(" --fs {fs}")).unwrap_or_default()
    );
    let begin = Instant::now();
    let report = powercut::run(&options)?;
    println!("{report}");
    println!("took      {:.1} s, seed {seed}", begin.elapsed().as_secs_f64());
    if !report.violations.is_empty() {
        println!("data      {}", folder.keep().display());
        return Ok(ExitCode::FAILURE);
    }
    if let Some(missing) = report.blind(options.under, options.ill) {
        println!("FAIL      the run proves nothing: {missing}");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Mounts what the test will mount, and with `--fs` looks for what it needs beside.
fn try_mount(folder: &Path, fs: Option<&str>) -> Result<()> {
    if let Some(fs) = fs {
        let tools = [(format!("mkfs.{fs}"), "-V"), ("losetup".to_owned(), "--find")];
        for (tool, argument) in tools {
            let asked = Command::new(&tool).arg(argument).output();
            if !asked.with_context(|| format!("there is no {tool}"))?.status.success() {
                bail!("{tool} {argument} fails");
            }
        }
    }
    let point = folder.join("probe");
    std::fs::create_dir(&point)?;
    drop(Mount::new(Hub::new(0, Lie::None), &point)?);
    Ok(std::fs::remove_dir(&point)?)
}

/// Each lie must be found within `options.images` images.
fn prove(options: &Options, base: &ServerCommand) -> Result<ExitCode> {
    let early = vec![base.with(&["--ack", "memory"])];
    let lies = [
        ("the file system lies about every sync", Lie::Everything, &options.commands),
        ("it lies about durable writes", Lie::DurableWrites, &options.commands),
        ("it lies about syncs of files", Lie::FileSyncs, &options.commands),
        ("it lies about syncs of folders", Lie::FolderSyncs, &options.commands),
        ("the server answers before writing (--ack memory)", Lie::None, &early),
    ];
    let mut missed = 0;
    for (what, lie, commands) in lies {
        // A block device knows neither durable writes nor folders.
        let absent = matches!(lie, Lie::DurableWrites | Lie::FolderSyncs);
        if options.under != Under::Store && absent {
            continue;
        }
        let folder = tempfile::tempdir_in(&options.folder)?;
        let folder = folder.path().to_owned();
        let options =
            Options { commands: commands.clone(), lie, ill: false, folder, ..options.clone() };
        let report = powercut::run(&options)?;
        let found = !report.violations.is_empty();
        missed += u32::from(!found);
        let word = if found { "found" } else { "MISSED" };
        println!("{word:9} within {} images: {what}", report.images);
        if let Some(first) = report.violations.first() {
            println!("          {first}");
        }
    }
    println!("seed      {}", options.seed);
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
