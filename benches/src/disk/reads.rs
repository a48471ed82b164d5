//! Random 4 KiB reads past the page cache: throughput and processor time by driver and depth.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use emberlog_engine::driver::{DriverChoice, SystemDisk, open_store};
use emberlog_engine::io::{Buffer, FileId, IoId, IoRequest};
use emberlog_engine::units::SegmentId;

use super::meter::{Meter, Pace, Places, Sample, median};
use super::{Failure, allocate, open_direct, run_one};

const FILE: FileId = FileId::Segment(SegmentId(1));
const BYTES: usize = 4096;

/// Who reads.
enum Reader {
    Driver {
        disk: Box<dyn SystemDisk>,
        buffers: Vec<Buffer>,
    },
    Pread,
    #[cfg(feature = "tokio-uring")]
    TokioUring {
        registered: bool,
    },
}

struct Case {
    name: &'static str,
    reader: Reader,
    depth: usize,
    rounds: Vec<Sample>,
}

/// Measures and prints.
pub(crate) fn measure(scratch: &Path, pace: &Pace, file_bytes: u64) -> Result<(), Failure> {
    // One file for all: a store has a lock, so each driver's store has a hard link to it.
    let first = scratch.join("reads");
    let mut disk = open_store(&first, DriverChoice::Threads)?;
    allocate(&mut *disk, FILE, file_bytes)?;
    scribble(&mut *disk, file_bytes)?;
    drop(disk);
    let file = first.join("segments/000001.seg");
    let mut cases = cases(scratch, &file)?;
    for round in 0..pace.rounds {
        for case in &mut cases {
            let mut places = Places::new(round as u64, file_bytes);
            pace.wait_for_calm();
            let sample = case.round(&file, &mut places, pace.limit)?;
            case.rounds.push(sample);
        }
    }
    println!("| random 4 KiB reads | depth | reads/s (best) | CPU µs per read (best) |");
    println!("|---|---|---|---|");
    for case in &cases {
        // The most is the least of the opposites.
        let (per_second, most) = median(&case.rounds, |sample| -sample.per_second);
        let (cpu_us, least) = median(&case.rounds, |sample| sample.cpu_us);
        println!(
            "| {} | {} | {:.0} ({:.0}) | {cpu_us:.1} ({least:.1}) |",
            case.name, case.depth, -per_second, -most
        );
    }
    println!();
    Ok(())
}

/// Fills the file with bytes that are not all alike, as disks may know zeros.
fn scribble(disk: &mut dyn SystemDisk, file_bytes: u64) -> Result<(), Failure> {
    let mut buffer = Buffer::new(1 << 20);
    let mut places = Places::new(7, u64::MAX);
    for chunk in buffer.chunks_exact_mut(8) {
        chunk.copy_from_slice(&(places.next_offset() / 4096).to_le_bytes());
    }
    for offset in (0..file_bytes).step_by(1 << 20) {
        let bytes = buffer.len();
        let write = IoRequest::Write { file: FILE, offset, buffer, bytes, durable: false };
        buffer = run_one(disk, write)?.buffer.ok_or("a write keeps its buffer")?;
    }
    run_one(disk, IoRequest::Sync { file: FILE }).map(drop)
}

fn cases(scratch: &Path, file: &Path) -> Result<Vec<Case>, Failure> {
    let mut cases = Vec::new();
    for depth in [1, 32] {
        for (name, choice, registered) in [
            ("io_uring driver, registered buffers", DriverChoice::Uring, true),
            ("io_uring driver, other buffers", DriverChoice::Uring, false),
            ("threads driver", DriverChoice::Threads, false),
        ] {
            let folder = scratch.join(format!("{}-{depth}", name.replace(' ', "-")));
            let mut disk = open_store(&folder, choice)?;
            std::fs::hard_link(file, folder.join("segments/000001.seg"))?;
            let mut buffers = disk.registered_buffers();
            if !registered || buffers.is_empty() {
                buffers = (0..depth).map(|_| Buffer::new(BYTES)).collect();
            }
            buffers.truncate(depth);
            let reader = Reader::Driver { disk, buffers };
            cases.push(Case { name, reader, depth, rounds: Vec::new() });
        }
        #[cfg(feature = "tokio-uring")]
        for (name, registered) in
            [("tokio-uring, registered buffers", true), ("tokio-uring, other buffers", false)]
        {
            let reader = Reader::TokioUring { registered };
            cases.push(Case { name, reader, depth, rounds: Vec::new() });
        }
    }
    cases.push(Case { name: "pread", reader: Reader::Pread, depth: 1, rounds: Vec::new() });
    Ok(cases)
}

impl Case {
    fn round(
        &mut self,
        file: &Path,
        places: &mut Places,
        limit: Duration,
    ) -> Result<Sample, Failure> {
        match &mut self.reader {
            Reader::Driver { disk, buffers } => drive(&mut **disk, buffers, places, limit),
            Reader::Pread => {
                let file = open_direct(file)?;
                let mut buffer = Buffer::new(BYTES);
                let mut meter = Meter::start(limit);
                while !meter.over() {
                    file.read_exact_at(&mut buffer[..BYTES], places.next_offset())?;
                    meter.operations += 1;
                }
                Ok(meter.sample())
            }
            #[cfg(feature = "tokio-uring")]
            Reader::TokioUring { registered } => {
                let file = open_direct(file)?;
                super::tokio_reads::round(file, *registered, self.depth, places, limit)
            }
        }
    }
}

/// Keeps one read under way per buffer.
fn drive(
    disk: &mut dyn SystemDisk,
    buffers: &mut Vec<Buffer>,
    places: &mut Places,
    limit: Duration,
) -> Result<Sample, Failure> {
    let depth = buffers.len();
    let mut meter = Meter::start(limit);
    loop {
        if !meter.over() {
            for buffer in buffers.drain(..) {
                let offset = places.next_offset();
                disk.start(IoId(0), IoRequest::Read { file: FILE, offset, buffer, bytes: BYTES });
            }
        } else if buffers.len() == depth {
            return Ok(meter.sample());
        }
        disk.wait(None);
        while let Some((_, result)) = disk.finished() {
            result.outcome?;
            buffers.extend(result.buffer);
            meter.operations += 1;
        }
    }
}
