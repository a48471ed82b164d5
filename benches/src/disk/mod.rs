//! What the disk drivers cost and what the disk under them does: the numbers of
//! `docs/decisions/0003` and `0004`.
//!
//! `cargo run --release -p emberlog-benches --features tokio-uring -- disk --dir FOLDER`
//!
//! Cases are measured in turns, several rounds of each, so that what else the machine does hits
//! all of them alike; the tables give the median of the rounds, and the best round: what the disk
//! does when nothing else disturbs.

mod meter;
mod reads;
#[cfg(feature = "tokio-uring")]
mod tokio_reads;
mod writes;

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use emberlog_engine::driver::SystemDisk;
use emberlog_engine::io::{FileId, IoId, IoRequest, IoResult};
use meter::Pace;

/// Anything that ends the benchmark.
pub(crate) type Failure = Box<dyn Error>;

/// `O_DIRECT` of `x86_64` and most others; the kernel refuses what it does not know.
pub(crate) const O_DIRECT: i32 = if cfg!(target_arch = "aarch64") { 0o200_000 } else { 0o40_000 };

/// Measures durable writes and cold reads.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Folder on the disk to measure; scratch files are made in it and removed again.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Rounds of every case.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Milliseconds of every case in every round.
    #[arg(long, default_value_t = 400)]
    millis: u64,
    /// Size of the file that cold reads pick from, in MiB.
    #[arg(long, default_value_t = 1024)]
    file_mib: u64,
    /// Before every case, wait up to this long for a moment when nothing else runs.
    #[arg(long, default_value_t = 0)]
    calm_millis: u64,
    /// Only `writes` or only `reads`.
    #[arg(long)]
    only: Option<String>,
    /// Only the cases whose name contains this.
    #[arg(long, default_value = "")]
    case: String,
}

/// Measures what the arguments ask for, and prints it.
pub(crate) fn run(args: &Arguments) -> Result<(), Failure> {
    let scratch = args.dir.join(format!("disk-bench-{}", std::process::id()));
    fs::create_dir(&scratch)?;
    let outcome = measure(args, &scratch);
    fs::remove_dir_all(&scratch)?;
    outcome
}

fn measure(args: &Arguments, scratch: &Path) -> Result<(), Failure> {
    describe(args)?;
    let pace = Pace {
        rounds: args.rounds,
        limit: Duration::from_millis(args.millis),
        calm: Duration::from_millis(args.calm_millis),
    };
    if args.only.as_deref() != Some("reads") {
        writes::measure(scratch, &args.case, &pace)?;
    }
    if args.only.as_deref() != Some("writes") {
        reads::measure(scratch, &pace, args.file_mib << 20)?;
    }
    Ok(())
}

/// Machine, kernel and settings: numbers without them mean nothing.
fn describe(args: &Arguments) -> Result<(), Failure> {
    let line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cpu = line("/proc/cpuinfo");
    let model = cpu.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or("unknown");
    let cores = std::thread::available_parallelism()?;
    println!("* machine: {cores} x {}", model.trim_start_matches(['\t', ' ', ':']));
    println!("* kernel: {}", line("/proc/sys/kernel/osrelease"));
    println!("* load before: {}", line("/proc/loadavg"));
    for entry in fs::read_dir("/sys/block")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if ["loop", "ram", "zram"].iter().any(|kind| name.starts_with(kind)) {
            continue;
        }
        let queue = |what| line(&format!("/sys/block/{name}/queue/{what}"));
        println!(
            "* disk {name}: logical block {}, physical block {}, cache {}, fua {}, scheduler {}",
            queue("logical_block_size"),
            queue("physical_block_size"),
            queue("write_cache"),
            queue("fua"),
            queue("scheduler")
        );
    }
    println!("* {} rounds of {} ms, file of {} MiB\n", args.rounds, args.millis, args.file_mib);
    Ok(())
}

/// A new or existing file for direct I/O.
pub(crate) fn open_direct(path: &Path) -> std::io::Result<fs::File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).custom_flags(O_DIRECT).open(path)
}

/// Carries out one request and waits for it.
pub(crate) fn run_one(disk: &mut dyn SystemDisk, request: IoRequest) -> Result<IoResult, Failure> {
    disk.start(IoId(0), request);
    loop {
        disk.wait(None);
        if let Some((_, result)) = disk.finished() {
            result.outcome.as_ref().map_err(Clone::clone)?;
            return Ok(result);
        }
    }
}

/// Makes `file` exist with `bytes` bytes of zeros, written.
pub(crate) fn allocate(disk: &mut dyn SystemDisk, file: FileId, bytes: u64) -> Result<(), Failure> {
    run_one(disk, IoRequest::Allocate { file, bytes }).map(drop)
}
