//! A disk in memory that is as unkind as the fault model allows, on a clock of its own.
//!
//! Owns: [`SimDisk`]: the files, the requests in flight, the simulated time.
//! Never knows: what the bytes mean, which engine drives it.
//! Invariant: everything follows from the seed and the calls made; no threads, no real time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::faults::{Fault, FaultCounts, FaultPlan};
use super::image::{Fate, Image, SECTOR_BYTES, Sector, scramble};
use super::rng::Rng;
use super::trace::Trace;
use crate::io::{Disk, FileId, IoDone, IoError, IoErrorKind, IoId, IoRequest, IoResult};

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

fn failed(kind: IoErrorKind) -> IoError {
    let errno = match kind {
        IoErrorKind::NoSpace => 28,
        IoErrorKind::NotFound => 2,
        IoErrorKind::PastEnd => 0,
        IoErrorKind::Failed => 5,
    };
    IoError { kind, errno }
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
        self.trace.note("done", &[id.0, ok, self.clock_us]);
        self.ready.push_back((id, result));
        true
    }

    /// Ends the process or the machine: requests in flight are finished, half finished or never
    /// begun, and nothing more comes of them.
    pub fn crash(&mut self, crash: Crash) {
        self.trace.note("crash", &[crash as u64, self.clock_us]);
        self.counts.note(match crash {
            Crash::Power => Fault::PowerCut,
            Crash::Kill => Fault::ProcessDeath,
        });
        self.started.clear();
        self.ready.clear();
        self.cut_after = None;
        for flight in std::mem::take(&mut self.flying).into_values() {
            self.crash_flight(flight, crash);
        }
        let mut files = std::mem::take(&mut self.files);
        for image in files.values_mut() {
            image.process_died();
            if crash == Crash::Power {
                let mut deck = Deck::draw(&mut self.rng);
                let mut chance = Rng::named(self.rng.next_u64(), "rubbish");
                let (rng, counts) = (&mut self.rng, &mut self.counts);
                image.power_cut(|| deck.fate(rng, counts), &mut chance);
            }
        }
        self.files = files;
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
        self.counts.note(Fault::BitRot);
        self.trace.note("rot", &[file_number(file), sector]);
        true
    }

    fn strikes(&mut self, rate: u64, fault: Fault) -> bool {
        let strikes = rate > 0 && self.rng.chance(rate, 100_000);
        if strikes {
            self.counts.note(fault);
            self.trace.note("fault", &[fault as u64]);
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
            IoRequest::Allocate { .. } => (500, 20_000),
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

    fn carry_out(&mut self, flight: Flight) -> IoResult {
        let done = |outcome: Result<IoDone, IoError>| IoResult { buffer: None, outcome, micros: 0 };
        match flight.request {
            IoRequest::List => {
                let files = self.files.iter().map(|(file, image)| (*file, image.bytes()));
                done(Ok(IoDone::Files(files.collect())))
            }
            IoRequest::Allocate { file, bytes } => done(self.allocate(file, bytes)),
            IoRequest::Remove { file } => {
                self.files.remove(&file);
                done(Ok(IoDone::Done))
            }
            IoRequest::Sync { file } => done(self.sync(file, flight.order)),
            IoRequest::Read { file, offset, mut buffer, bytes } => {
                let outcome = self.read(file, offset, &mut buffer[..bytes]);
                IoResult { buffer: Some(buffer), outcome, micros: 0 }
            }
            IoRequest::Write { file, offset, buffer, bytes, durable } => {
                let outcome = self.write(file, offset, &buffer[..bytes], durable);
                IoResult { buffer: Some(buffer), outcome, micros: 0 }
            }
        }
    }

    fn allocate(&mut self, file: FileId, bytes: u64) -> Result<IoDone, IoError> {
        let old = self.files.get(&file).map_or(0, Image::bytes);
        let full = self.used_bytes() - old + bytes > self.capacity_bytes;
        if full {
            self.counts.note(Fault::NoSpace);
        }
        if full || self.strikes(self.plan.no_space, Fault::NoSpace) {
            return Err(failed(IoErrorKind::NoSpace));
        }
        self.files.entry(file).or_default().resize(bytes);
        Ok(IoDone::Done)
    }

    fn sync(&mut self, file: FileId, order: u64) -> Result<IoDone, IoError> {
        let fails = self.strikes(self.plan.sync_error, Fault::SyncError);
        let image = self.files.get_mut(&file).ok_or_else(|| failed(IoErrorKind::NotFound))?;
        if fails {
            image.sync_failed(order, &mut self.rng);
            return Err(failed(IoErrorKind::Failed));
        }
        image.sync(order);
        Ok(IoDone::Done)
    }

    fn read(&mut self, file: FileId, offset: u64, out: &mut [u8]) -> Result<IoDone, IoError> {
        let transient = self.strikes(self.plan.read_error, Fault::ReadError);
        let dies = self.strikes(self.plan.bad_sector, Fault::BadSector);
        let image = self.files.get(&file).ok_or_else(|| failed(IoErrorKind::NotFound))?;
        if offset + out.len() as u64 > image.bytes() {
            return Err(failed(IoErrorKind::PastEnd));
        }
        let first = offset / SECTOR_BYTES as u64;
        let sectors = (out.len() / SECTOR_BYTES) as u64;
        if dies {
            self.bad_sectors.insert((file, first + self.rng.below(sectors)));
        }
        let bad = self.bad_sectors.range((file, first)..(file, first + sectors)).next();
        if transient || bad.is_some() {
            // A failed read may have filled any part of the buffer.
            self.rng.fill(out);
            return Err(failed(IoErrorKind::Failed));
        }
        image.read(offset, out);
        Ok(IoDone::Done)
    }

    fn write(
        &mut self,
        file: FileId,
        offset: u64,
        bytes: &[u8],
        durable: bool,
    ) -> Result<IoDone, IoError> {
        let fails = self.strikes(self.plan.write_error, Fault::WriteError);
        let size = self.files.get(&file).ok_or_else(|| failed(IoErrorKind::NotFound))?.bytes();
        if offset + bytes.len() as u64 > size {
            return Err(failed(IoErrorKind::PastEnd));
        }
        if fails {
            self.write_badly(file, offset, bytes);
            return Err(failed(IoErrorKind::Failed));
        }
        if self.strikes(self.plan.phantom, Fault::Phantom) {
            return Ok(IoDone::Done);
        }
        let (mut file, mut offset) = (file, offset);
        if self.strikes(self.plan.misdirected, Fault::Misdirected) {
            (file, offset) = self.elsewhere(file, offset, bytes.len() as u64);
        }
        let order = self.serial;
        let Some(image) = self.files.get_mut(&file) else { return Ok(IoDone::Done) };
        for (sector, content) in sectors(offset, bytes) {
            self.bad_sectors.remove(&(file, sector));
            if durable {
                image.write_durable(sector, &content);
            } else {
                image.write_volatile(sector, &content, order, self.rng.chance(1, 2));
            }
        }
        Ok(IoDone::Done)
    }

    /// A write that reports failure: any subset has landed, and some of the rest looks so.
    fn write_badly(&mut self, file: FileId, offset: u64, bytes: &[u8]) {
        let order = self.serial;
        let Some(image) = self.files.get_mut(&file) else { return };
        for (sector, content) in sectors(offset, bytes) {
            match self.rng.below(3) {
                0 => image.write_durable(sector, &content),
                1 => image.write_ghost(sector, &content, order),
                _ => {}
            }
        }
    }

    /// Another place of the same kind where this many bytes fit.
    fn elsewhere(&mut self, file: FileId, offset: u64, bytes: u64) -> (FileId, u64) {
        let fits: Vec<FileId> = self
            .files
            .iter()
            .filter(|(other, image)| **other != file && offset + bytes <= image.bytes())
            .map(|(other, _)| *other)
            .collect();
        if !fits.is_empty() && self.rng.chance(1, 2) {
            return (self.rng.pick(&fits), offset);
        }
        let size = self.files.get(&file).map_or(bytes, Image::bytes);
        let block = self.block_bytes as u64;
        (file, self.rng.below((size - bytes) / block + 1) * block)
    }

    fn crash_flight(&mut self, flight: Flight, crash: Crash) {
        match flight.request {
            IoRequest::Write { file, offset, buffer, bytes, .. } => {
                let mut deck = Deck::draw(&mut self.rng);
                let order = self.serial;
                let Some(image) = self.files.get_mut(&file) else { return };
                if offset + bytes as u64 > image.bytes() {
                    return;
                }
                for (sector, mut content) in sectors(offset, &buffer[..bytes]) {
                    match deck.fate(&mut self.rng, &mut self.counts) {
                        Fate::Old => continue,
                        Fate::New => {}
                        Fate::Garbage => scramble(&mut content, &mut self.rng),
                    }
                    self.bad_sectors.remove(&(file, sector));
                    match crash {
                        Crash::Power => image.write_durable(sector, &content),
                        Crash::Kill => image.write_volatile(sector, &content, order, false),
                    }
                }
            }
            IoRequest::Sync { file } => {
                if let Some(image) = self.files.get_mut(&file)
                    && self.rng.chance(1, 2)
                {
                    image.sync(flight.order);
                }
            }
            IoRequest::Allocate { file, bytes } => {
                let old = self.files.get(&file).map_or(0, Image::bytes);
                let bytes = match self.rng.below(3) {
                    0 => old,
                    1 => self.rng.range(old.min(bytes), bytes.max(old)),
                    _ => bytes,
                };
                if bytes > 0 || self.rng.chance(1, 2) {
                    self.files.entry(file).or_default().resize(bytes);
                }
            }
            IoRequest::Remove { file } => {
                if self.rng.chance(1, 2) {
                    self.files.remove(&file);
                }
            }
            IoRequest::List | IoRequest::Read { .. } => {}
        }
    }
}

/// The sectors of a write with their numbers.
fn sectors(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, Sector)> {
    let first = offset / SECTOR_BYTES as u64;
    (first..).zip(bytes.chunks_exact(SECTOR_BYTES)).map(|(sector, chunk)| {
        let mut content = [0; SECTOR_BYTES];
        content.copy_from_slice(chunk);
        (sector, content)
    })
}

/// How the sectors of one write fare at a crash: together more often than each by itself, because
/// that is what real crashes look like and what finds bugs at the level of whole writes.
#[derive(Clone, Copy, Debug)]
enum Deck {
    Nothing,
    Everything,
    Front(u64),
    Back(u64),
    Any { garbage: bool },
}

impl Deck {
    fn draw(rng: &mut Rng) -> Deck {
        match rng.below(8) {
            0 | 1 => Deck::Nothing,
            2 | 3 => Deck::Everything,
            4 => Deck::Front(rng.below(16)),
            5 => Deck::Back(rng.below(16)),
            6 => Deck::Any { garbage: false },
            _ => Deck::Any { garbage: true },
        }
    }

    fn fate(&mut self, rng: &mut Rng, counts: &mut FaultCounts) -> Fate {
        let fate = self.next(rng);
        match fate {
            Fate::Old => counts.note(Fault::LostSector),
            Fate::Garbage => counts.note(Fault::GarbageSector),
            Fate::New => {}
        }
        fate
    }

    fn next(&mut self, rng: &mut Rng) -> Fate {
        let keep = |keep| if keep { Fate::New } else { Fate::Old };
        match self {
            Deck::Nothing => Fate::Old,
            Deck::Everything => Fate::New,
            Deck::Front(left) => {
                let inside = *left > 0;
                *left = left.saturating_sub(1);
                keep(inside)
            }
            Deck::Back(left) => {
                let outside = *left > 0;
                *left = left.saturating_sub(1);
                keep(!outside)
            }
            Deck::Any { garbage } if *garbage && rng.chance(1, 3) => Fate::Garbage,
            Deck::Any { .. } => keep(rng.chance(1, 2)),
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
        }
    }
}

#[cfg(test)]
mod tests;
