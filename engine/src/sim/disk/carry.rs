//! Carrying out requests, with the faults that strike them.

use super::{Flight, SimDisk};
use crate::io::{FileId, IoDone, IoError, IoErrorKind, IoRequest, IoResult};
use crate::sim::faults::Fault;
use crate::sim::image::{Image, SECTOR_BYTES, Sector};

fn failed(kind: IoErrorKind) -> IoError {
    let errno = match kind {
        IoErrorKind::NoSpace => 28,
        IoErrorKind::NotFound => 2,
        IoErrorKind::PastEnd => 0,
        IoErrorKind::Failed => 5,
    };
    IoError { kind, errno }
}

impl SimDisk {
    pub(super) fn carry_out(&mut self, flight: Flight) -> IoResult {
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
            IoRequest::Train(training) => done(Ok(IoDone::Trained(training.carry_out()))),
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
            image.sync_failed(order, self.plan.reverts, &mut self.rng);
            return Err(failed(IoErrorKind::Failed));
        }
        image.sync(order);
        Ok(IoDone::Done)
    }

    fn read(&mut self, file: FileId, offset: u64, out: &mut [u8]) -> Result<IoDone, IoError> {
        let transient = self.strikes(self.plan.read_error, Fault::ReadError);
        let dies = self.strikes(self.plan.bad_sector, Fault::BadSector);
        let stale = self.strikes(self.plan.stale_read, Fault::StaleRead);
        let image = self.files.get_mut(&file).ok_or_else(|| failed(IoErrorKind::NotFound))?;
        if image.has_ghosts() && self.rng.chance(1, 8) {
            // The cache is short of memory: what only looked written is read from the disk again.
            image.process_died();
            self.counts.note(Fault::GhostGone);
        }
        if offset + out.len() as u64 > image.bytes() {
            return Err(failed(IoErrorKind::PastEnd));
        }
        let first = offset / SECTOR_BYTES as u64;
        let sectors = (out.len() / SECTOR_BYTES) as u64;
        if dies {
            let sector = first + self.rng.below(sectors);
            tracing::info!(?file, sector, "a sector goes bad");
            self.bad_sectors.insert((file, sector));
        }
        let bad = self.bad_sectors.range((file, first)..(file, first + sectors)).next();
        if transient || bad.is_some() {
            // A failed read may have filled any part of the buffer.
            self.rng.fill(out);
            return Err(failed(IoErrorKind::Failed));
        }
        if stale {
            image.read_former(offset, out);
        } else {
            image.read(offset, out);
        }
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
            tracing::info!(?file, offset, bytes = bytes.len(), "a phantom write");
            return Ok(IoDone::Done);
        }
        let (mut file, mut offset) = (file, offset);
        if self.strikes(self.plan.misdirected, Fault::Misdirected) {
            let meant = (file, offset);
            (file, offset) = self.elsewhere(file, offset, bytes.len() as u64);
            tracing::info!(?meant, ?file, offset, bytes = bytes.len(), "a misdirected write");
        }
        let order = self.serial;
        let Some(image) = self.files.get_mut(&file) else { return Ok(IoDone::Done) };
        for (sector, content) in sectors(offset, bytes) {
            self.bad_sectors.remove(&(file, sector));
            if self.plan.stale_read > 0 {
                image.keep_former(sector);
            }
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
}

/// The sectors of a write with their numbers.
pub(super) fn sectors(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, Sector)> {
    let first = offset / SECTOR_BYTES as u64;
    (first..).zip(bytes.chunks_exact(SECTOR_BYTES)).map(|(sector, chunk)| {
        let mut content = [0; SECTOR_BYTES];
        content.copy_from_slice(chunk);
        (sector, content)
    })
}
