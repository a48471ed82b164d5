//! Durable writes one after the other, as a log with group commit makes them: by size, by what
//! the space was before, by alignment, and through the drivers.

use std::fs::{self, File};
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use emberlog_engine::driver::{DriverChoice, SystemDisk, open_store};
use emberlog_engine::io::{Buffer, FileId, IoRequest};
use emberlog_engine::units::SegmentId;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{ReadWriteFlags, pwritev2};

use super::meter::{Pace, median, percentile};
use super::{Failure, allocate, open_direct, run_one};

/// Space that a case writes through before it starts again.
const SPACE_BYTES: u64 = 256 << 20;
const FILE: FileId = FileId::Segment(SegmentId(1));

/// What the space is before it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Space {
    Prewritten,
    Fallocated,
    Extending,
}

enum Target {
    /// pwritev2 with `RWF_DSYNC`.
    Raw { path: PathBuf, file: File, space: Space },
    /// One of our drivers, on prewritten space.
    Driver(Box<dyn SystemDisk>),
}

struct Case {
    name: String,
    target: Target,
    buffer: Option<Buffer>,
    bytes: usize,
    /// Where it writes next, and how far apart writes are.
    at: u64,
    from: u64,
    step: u64,
    rounds: Vec<(f64, f64, f64)>,
}

/// Measures and prints.
pub(crate) fn measure(scratch: &Path, only: &str, pace: &Pace) -> Result<(), Failure> {
    let mut cases = Vec::new();
    for bytes in [512, 4096, 65536] {
        for space in [Space::Prewritten, Space::Fallocated, Space::Extending] {
            let name = format!("{bytes} B, {space:?}");
            cases.push(raw(scratch, &name, space, bytes, (0, bytes as u64))?);
        }
    }
    let prewritten = Space::Prewritten;
    for (name, bytes, from, step) in [
        ("512 B, a 4 KiB block each", 512, 0, 4096),
        ("512 B, each inside a 4 KiB block", 512, 1536, 4096),
        ("4096 B, 512 beyond a 4 KiB block", 4096, 512, 4096),
        ("1536 B, back to back", 1536, 0, 1536),
        ("65536 B, 512 beyond a 4 KiB block", 65536, 512, 65536),
    ] {
        cases.push(raw(scratch, name, prewritten, bytes, (from, step))?);
    }
    for (choice, name) in [(DriverChoice::Uring, "io_uring"), (DriverChoice::Threads, "threads")] {
        cases.push(driver(scratch, name, choice)?);
    }
    cases.retain(|case| case.name.contains(only));
    for _ in 0..pace.rounds {
        for case in &mut cases {
            pace.wait_for_calm();
            let round = case.round(pace.limit)?;
            case.rounds.push(round);
        }
    }
    println!("| durable write, depth 1 | p50 µs (best) | p99 µs (best) | mean µs (best) |");
    println!("|---|---|---|---|");
    for case in &cases {
        let cell = |value: fn(&(f64, f64, f64)) -> f64| {
            let (middle, best) = median(&case.rounds, value);
            format!("{middle:.0} ({best:.0})")
        };
        println!(
            "| {} | {} | {} | {} |",
            case.name,
            cell(|round| round.0),
            cell(|round| round.1),
            cell(|round| round.2)
        );
    }
    println!();
    Ok(())
}

fn raw(
    scratch: &Path,
    name: &str,
    space: Space,
    bytes: usize,
    (from, step): (u64, u64),
) -> Result<Case, Failure> {
    let path = scratch.join(name.replace(' ', "-"));
    let file = open_direct(&path)?;
    if space == Space::Prewritten {
        let zeros = Buffer::new(1 << 20);
        for mib in 0..SPACE_BYTES >> 20 {
            pwritev2(&file, &[IoSlice::new(&zeros)], mib << 20, ReadWriteFlags::empty())?;
        }
        file.sync_all()?;
    }
    let target = Target::Raw { path, file, space };
    let mut case = Case::new(format!("pwritev2 {name}"), target, bytes, from, step);
    case.renew()?;
    Ok(case)
}

fn driver(scratch: &Path, name: &str, choice: DriverChoice) -> Result<Case, Failure> {
    let mut disk = open_store(&scratch.join(name), choice)?;
    allocate(&mut *disk, FILE, SPACE_BYTES)?;
    let registered = disk.registered_buffers().into_iter().next();
    let name = format!("{name} driver 4096 B, Prewritten");
    let mut case = Case::new(name, Target::Driver(disk), 4096, 0, 4096);
    case.buffer = registered.or(case.buffer);
    Ok(case)
}

impl Case {
    fn new(name: String, target: Target, bytes: usize, from: u64, step: u64) -> Case {
        let mut buffer = Buffer::new(bytes);
        for (byte, value) in buffer.iter_mut().zip((0..=250).cycle()) {
            *byte = value;
        }
        Case { name, target, buffer: Some(buffer), bytes, at: from, from, step, rounds: Vec::new() }
    }

    /// Back to the start of the space, in its first state.
    fn renew(&mut self) -> Result<(), Failure> {
        self.at = self.from;
        if let Target::Raw { path, file, space } = &mut self.target
            && *space != Space::Prewritten
        {
            fs::remove_file(&*path)?;
            *file = open_direct(path)?;
            if *space == Space::Fallocated {
                fallocate(&*file, FallocateFlags::empty(), 0, SPACE_BYTES)?;
            }
            file.sync_all()?;
        }
        Ok(())
    }

    /// p50, p99 and mean of the microseconds of as many writes as the time allows.
    fn round(&mut self, limit: Duration) -> Result<(f64, f64, f64), Failure> {
        let mut micros = Vec::new();
        let start = Instant::now();
        while start.elapsed() < limit {
            if self.at + self.bytes as u64 > SPACE_BYTES {
                self.renew()?;
            }
            let before = Instant::now();
            self.write()?;
            micros.push(before.elapsed().as_secs_f64() * 1e6);
            self.at += self.step;
        }
        let count = f64::from(u32::try_from(micros.len())?);
        let mean = micros.iter().sum::<f64>() / count;
        Ok((percentile(&mut micros, 50), percentile(&mut micros, 99), mean))
    }

    fn write(&mut self) -> Result<(), Failure> {
        let (bytes, offset) = (self.bytes, self.at);
        let buffer = self.buffer.take().ok_or("the buffer is away")?;
        self.buffer = match &mut self.target {
            Target::Raw { file, .. } => {
                let content = [IoSlice::new(&buffer[..bytes])];
                let written = pwritev2(&*file, &content, offset, ReadWriteFlags::DSYNC)?;
                if written != bytes {
                    return Err(format!("{}: a short write", self.name).into());
                }
                Some(buffer)
            }
            Target::Driver(disk) => {
                let write = IoRequest::Write { file: FILE, offset, buffer, bytes, durable: true };
                run_one(&mut **disk, write)?.buffer
            }
        };
        Ok(())
    }
}
