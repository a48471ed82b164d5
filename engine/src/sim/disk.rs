//! A disk in memory that is as unkind as the fault model allows, on a clock of its own.
//!
//! Owns: [`SimDisk`]: the files, the requests in flight, the simulated time.
//! Never knows: what the bytes mean, which engine drives it.
//! Invariant: everything follows from the seed and the calls made; no threads, no real time.

mod carry;
mod crash;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::faults::{Fault, FaultCounts, FaultPlan};
use super::image::{Image, SECTOR_BYTES};
use super::rng::Rng;
use super::trace::Trace;
use crate::io::{Disk, FileId, IoId, IoRequest, IoResult};

/// Unwinds out of a blocking recovery when the power is cut in the middle of it.
#[derive(Clone, Copy, Debug)]
pub struct PowerCut;

/// How the machine or the process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// The power goes: only stable storage is certain.
    Power,
    /// The process dies: what it had completed stays readable.
    Kill,
}

/// A request that the device is working on.
#[derive(Debug)]
struct Flight {
    id: IoId,
    request: IoRequest,
    started_us: u64,
    /// For a sync: covers writes that completed before it was submitted.
    order: u64,
}

/// The simulated disk.
#[derive(Debug)]
pub struct SimDisk {
    files: BTreeMap<FileId, Image>,
    started: Vec<(IoId, IoRequest)>,
    /// By time of completion and a serial number.
    flying: BTreeMap<(u64, u64), Flight>,
    ready: VecDeque<(IoId, IoResult)>,
    bad_sectors: BTreeSet<(FileId, u64)>,
    clock_us: u64,
    serial: u64,
    block_bytes: usize,
    capacity_bytes: u64,
    plan: FaultPlan,
    rng: Rng,
    /// Completions left before the power is cut, if that is arranged.
    cut_after: Option<u64>,
    /// What has struck so far.
    pub counts: FaultCounts,
    /// Everything that has happened.
    pub trace: Trace,
}

/// A number that identifies a file in traces.
fn file_number(file: FileId) -> u64 {
    match file {
        FileId::Superblock => 1,
        FileId::Checkpoint(slot) => 16 + u64::from(slot),
        FileId::Segment(id) => 1024 + u64::from(id.0),
    }
}

impl SimDisk {
    /// An empty disk of `capacity_bytes` whose faults follow `plan` and `rng`.
    pub fn new(block_bytes: usize, capacity_bytes: u64, plan: FaultPlan, rng: Rng) -> SimDisk {
        assert!(block_bytes == 512 || block_bytes == 4096, "the blocks that disks have");
        SimDisk {
            files: BTreeMap::new(),
            started: Vec::new(),
            flying: BTreeMap::new(),
            ready: VecDeque::new(),
            bad_sectors: BTreeSet::new(),
            clock_us: 0,
            serial: 0,
            block_bytes,
            capacity_bytes,
            plan,
            rng,
            cut_after: None,
            counts: FaultCounts::default(),
            trace: Trace::default(),
        }
    }

    /// Simulated microseconds since the world began.
    pub fn clock_us(&self) -> u64 {
        self.clock_us
    }

    /// When the next request completes, if one is in flight.
    pub fn next_due_us(&self) -> Option<u64> {
        self.flying.keys().next().map(|(due, _)| *due)
    }

    /// Requests submitted and not completed.
    pub fn in_flight(&self) -> usize {
        self.flying.len()
    }

    /// Lets time pass without completing anything; completions that fall due are late.
    pub fn advance_to(&mut self, clock_us: u64) {
        self.clock_us = self.clock_us.max(clock_us);
    }

    /// Changes how much fits on the disk. Nothing that exists is taken away.
    pub fn set_capacity(&mut self, bytes: u64) {
        self.capacity_bytes = bytes;
    }

    /// Whether [`SimDisk::set_capacity`] leaves no room for anything.
    pub fn is_full(&self) -> bool {
        self.used_bytes() >= self.capacity_bytes
    }

    /// Bytes of all files.
    pub fn used_bytes(&self) -> u64 {
        self.files.values().map(Image::bytes).sum()
    }

    /// Changes what goes wrong from now on.
    pub fn set_plan(&mut self, plan: FaultPlan) {
        self.plan = plan;
    }

    /// Cuts the power, by unwinding with [`PowerCut`], instead of the completion after `completions`
    /// more; `None` takes the arrangement back.
    pub fn cut_power_after(&mut self, completions: Option<u64>) {
        self.cut_after = completions;
    }

    /// Completes the request that is due first, advancing the clock to it; false if none is in
    /// flight. Its result waits in [`Disk::finished`].
    ///
    /// # Panics
    /// Unwinds with [`PowerCut`] if the power was to be cut here.
    pub fn complete_next(&mut self) -> bool {
        if self.cut_after == Some(0) && !self.flying.is_empty() {
            std::panic::resume_unwind(Box::new(PowerCut));
        }
        let Some(((due, _), flight)) = self.flying.pop_first() else { return false };
        if let Some(left) = &mut self.cut_after {
            *left -= 1;
        }
        self.clock_us = self.clock_us.max(due);
        let (id, started_us) = (flight.id, flight.started_us);
        let mut result = self.carry_out(flight);
        result.micros = u32::try_from(self.clock_us - started_us).unwrap_or(u32::MAX);
        let ok = u64::from(result.outcome.is_ok());
        tracing::debug!(at_us = self.clock_us, id = id.0, ok, "done");
        self.trace.note("done", &[id.0, ok, self.clock_us]);
        self.ready.push_back((id, result));
        true
    }

    /// Whether a read of this part of what was written at `offset` would find just that.
    pub fn holds(
        &self,
        file: FileId,
        offset: u64,
        written: &[u8],
        part: std::ops::Range<usize>,
    ) -> bool {
        let Some(image) = self.files.get(&file) else { return false };
        let sector_bytes = SECTOR_BYTES as u64;
        let first = (offset + part.start as u64) / sector_bytes;
        let last = (offset + part.end as u64).div_ceil(sector_bytes);
        // Reads are of whole blocks, and one bad sector fails all of it.
        let per_block = self.block_bytes as u64 / sector_bytes;
        let blocks = first / per_block * per_block..last.next_multiple_of(per_block);
        if last * sector_bytes > image.bytes()
            || self.bad_sectors.range((file, blocks.start)..(file, blocks.end)).next().is_some()
        {
            return false;
        }
        (first..last).all(|sector| {
            let content = image.sector(sector);
            let start = (sector * sector_bytes).max(offset + part.start as u64);
            let end = ((sector + 1) * sector_bytes).min(offset + part.end as u64);
            let inside = (start % sector_bytes) as usize..(end - sector * sector_bytes) as usize;
            let wanted = (start - offset) as usize..(end - offset) as usize;
            content.get(inside) == written.get(wanted)
        })
    }

    /// Bytes of a file, as a read would find them.
    pub fn peek(&self, file: FileId, offset: u64, bytes: usize) -> Option<Vec<u8>> {
        let image = self.files.get(&file)?;
        let sectors = offset / SECTOR_BYTES as u64..(offset + bytes as u64) / SECTOR_BYTES as u64;
        let unreadable =
            self.bad_sectors.range((file, sectors.start)..(file, sectors.end)).next().is_some();
        if unreadable || offset + bytes as u64 > image.bytes() {
            return None;
        }
        let mut out = vec![0; bytes];
        image.read(offset, &mut out);
        Some(out)
    }

    /// Flips a bit of some durable sector that is not zero; false if there is none.
    pub fn rot(&mut self) -> bool {
        let all: Vec<(FileId, u64)> = self
            .files
            .iter()
            .flat_map(|(file, image)| image.written_sectors().into_iter().map(|s| (*file, s)))
            .collect();
        if all.is_empty() {
            return false;
        }
        let (file, sector) = self.rng.pick(&all);
        let Some(image) = self.files.get_mut(&file) else { return false };
        let mut bytes = image.durable_sector(sector);
        bytes[self.rng.below(SECTOR_BYTES as u64) as usize] ^= 1 << self.rng.below(8);
        image.write_durable(sector, &bytes);
        tracing::info!(?file, sector, "a bit flips");
        self.counts.note(Fault::BitRot);
        self.trace.note("rot", &[file_number(file), sector]);
        true
    }

    fn strikes(&mut self, rate: u64, fault: Fault) -> bool {
        let strikes = rate > 0 && self.rng.chance(rate, 100_000);
        if strikes {
            self.counts.note(fault);
            self.trace.note("fault", &[fault as u64]);
            tracing::info!(?fault, "strikes");
        }
        strikes
    }

    fn latency_us(&mut self, request: &IoRequest) -> u64 {
        if self.strikes(self.plan.stuck, Fault::Stuck) {
            return self.rng.range(1_000_000, 30_000_000);
        }
        if self.plan.shuffled {
            return self.rng.range(1, 5_000);
        }
        let (low, high) = match request {
            IoRequest::Read { .. } => (30, 150),
            IoRequest::Write { .. } => (50, 300),
            IoRequest::Sync { .. } => (100, 2_000),
            IoRequest::Allocate { .. } | IoRequest::Train(_) => (500, 20_000),
            IoRequest::List | IoRequest::Remove { .. } => (50, 1_000),
        };
        self.rng.range(low, high)
    }

    fn check_alignment(&self, request: &IoRequest) {
        let block = self.block_bytes;
        if let IoRequest::Read { offset, bytes, buffer, .. }
        | IoRequest::Write { offset, bytes, buffer, .. } = request
        {
            assert!(offset.is_multiple_of(block as u64), "offset {offset} is not aligned");
            assert!(*bytes > 0 && bytes.is_multiple_of(block), "length {bytes} is not aligned");
            assert!(buffer.len() >= *bytes, "the buffer is shorter than the request");
        }
    }

    /// Two writes of the same bytes in flight end in either order, so no caller may ask for it.
    fn check_overlap(&self, request: &IoRequest) {
        let IoRequest::Write { file, offset, bytes, .. } = request else { return };
        for flight in self.flying.values() {
            if let IoRequest::Write { file: other, offset: at, bytes: length, .. } = &flight.request
                && other == file
            {
                let apart = *at + *length as u64 <= *offset || *offset + *bytes as u64 <= *at;
                assert!(apart, "two writes of {file:?} at {offset} are in flight");
            }
        }
    }
}

impl Disk for SimDisk {
    fn start(&mut self, id: IoId, request: IoRequest) {
        self.check_alignment(&request);
        self.started.push((id, request));
    }

    fn submit(&mut self) {
        for (id, request) in std::mem::take(&mut self.started) {
            self.check_overlap(&request);
            let due = self.clock_us + self.latency_us(&request);
            self.serial += 1;
            self.trace_start(id, &request);
            let started_us = self.clock_us;
            let flight = Flight { id, request, started_us, order: self.serial };
            self.flying.insert((due, self.serial), flight);
        }
    }

    fn finished(&mut self) -> Option<(IoId, IoResult)> {
        self.ready.pop_front()
    }

    fn wait(&mut self, timeout: Option<Duration>) {
        self.submit();
        if !self.ready.is_empty() {
            return;
        }
        if !self.complete_next() {
            let timeout = timeout.unwrap_or(Duration::from_millis(1));
            self.clock_us += u64::try_from(timeout.as_micros()).unwrap_or(0);
        }
    }

    fn block_bytes(&self) -> usize {
        self.block_bytes
    }
}

impl SimDisk {
    fn trace_start(&mut self, id: IoId, request: &IoRequest) {
        tracing::debug!(at_us = self.clock_us, id = id.0, ?request, "starts");
        match request {
            IoRequest::List => self.trace.note("list", &[id.0]),
            IoRequest::Allocate { file, bytes } => {
                self.trace.note("allocate", &[id.0, file_number(*file), *bytes]);
            }
            IoRequest::Read { file, offset, bytes, .. } => {
                self.trace.note("read", &[id.0, file_number(*file), *offset, *bytes as u64]);
            }
            IoRequest::Write { file, offset, bytes, buffer, durable } => {
                let crc = u64::from(crc32fast::hash(&buffer[..*bytes]));
                let numbers = [id.0, file_number(*file), *offset, crc, u64::from(*durable)];
                self.trace.note("write", &numbers);
            }
            IoRequest::Sync { file } => self.trace.note("sync", &[id.0, file_number(*file)]),
            IoRequest::Remove { file } => self.trace.note("remove", &[id.0, file_number(*file)]),
            IoRequest::Train(training) => {
                self.trace.note("train", &[id.0, training.samples.len() as u64]);
            }
        }
    }
}

#[cfg(test)]
mod tests;
