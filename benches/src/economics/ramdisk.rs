//! A disk in RAM under the real engine, and a clock that the benchmark moves: for runs over days of
//! simulated time. The engine is the same code as in the server; only the driver is this one.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Result, bail};
use emberlog_engine::io::{Disk, FileId, IoDone, IoError, IoErrorKind, IoId, IoRequest, IoResult};
use emberlog_engine::{Config, Event, Key, Lookup, Room, Shard, Ticket, UnixMillis};

/// Files in RAM. Requests are carried out when they are started and completed in order.
#[derive(Default)]
pub(crate) struct RamDisk {
    files: HashMap<FileId, Vec<u8>>,
    finished: VecDeque<(IoId, IoResult)>,
    /// Bytes written, by anybody, prewriting apart.
    pub(crate) written: u64,
}

impl Disk for RamDisk {
    fn start(&mut self, id: IoId, request: IoRequest) {
        let failed = |kind| Err(IoError { kind, errno: 0 });
        let mut buffer = None;
        let outcome = match request {
            IoRequest::List => {
                let files = self.files.iter().map(|(id, bytes)| (*id, bytes.len() as u64));
                Ok(IoDone::Files(files.collect()))
            }
            IoRequest::Allocate { file, bytes } => {
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                self.files.entry(file).or_default().resize(bytes, 0);
                Ok(IoDone::Done)
            }
            IoRequest::Read { file, offset, buffer: mut into, bytes } => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                let found = self.files.get(&file).and_then(|file| file.get(from..from + bytes));
                let outcome = if let Some(found) = found {
                    into[..bytes].copy_from_slice(found);
                    Ok(IoDone::Done)
                } else {
                    failed(IoErrorKind::PastEnd)
                };
                buffer = Some(into);
                outcome
            }
            IoRequest::Write { file, offset, buffer: from, bytes, .. } => {
                let at = usize::try_from(offset).unwrap_or(usize::MAX);
                let place = self.files.get_mut(&file).and_then(|file| file.get_mut(at..at + bytes));
                let outcome = if let Some(place) = place {
                    place.copy_from_slice(&from[..bytes]);
                    self.written += bytes as u64;
                    Ok(IoDone::Done)
                } else {
                    failed(IoErrorKind::PastEnd)
                };
                buffer = Some(from);
                outcome
            }
            // No dictionary then: values are not compressed.
            IoRequest::Train(_) => failed(IoErrorKind::Failed),
            IoRequest::Sync { .. } => Ok(IoDone::Done),
            IoRequest::Remove { file } => {
                self.files.remove(&file);
                Ok(IoDone::Done)
            }
        };
        self.finished.push_back((id, IoResult { buffer, outcome, micros: 0 }));
    }

    fn submit(&mut self) {}

    fn finished(&mut self) -> Option<(IoId, IoResult)> {
        self.finished.pop_front()
    }

    fn wait(&mut self, _timeout: Option<Duration>) {}

    fn block_bytes(&self) -> usize {
        4096
    }
}

/// A shard, its disk in RAM, and its time.
pub(crate) struct World {
    /// The engine.
    pub(crate) shard: Shard,
    /// Its disk.
    pub(crate) disk: RamDisk,
    /// The time, moved by the benchmark.
    pub(crate) now: UnixMillis,
    tickets: u64,
    /// Turns given to jobs in a row.
    slices: u32,
}

impl World {
    /// A new store.
    pub(crate) fn new(config: &Config, now: UnixMillis) -> Result<World> {
        let mut disk = RamDisk::default();
        let shard = Shard::open(&mut disk, config, now, &mut |_| {})?;
        Ok(World { shard, disk, now, tickets: 0, slices: 0 })
    }

    /// Does what the disk has to do, until it is quiet.
    pub(crate) fn run_disk(&mut self) {
        loop {
            while let Some((id, request)) = self.shard.poll_io() {
                self.disk.start(id, request);
            }
            if let Some((id, result)) = self.disk.finished() {
                self.shard.complete(id, result, self.now);
            } else if self.slices < 1000
                && self.shard.next_wakeup(self.now).is_some_and(|at| at.0 <= self.now.0 + 1)
            {
                // A job has more to do: its next turn, a millisecond later.
                self.slices += 1;
                self.now = UnixMillis(self.now.0 + 1);
                self.shard.tick(self.now);
            } else {
                self.slices = 0;
                break;
            }
        }
    }

    /// Moves the time, a second at a step.
    pub(crate) fn advance_to(&mut self, time: UnixMillis) {
        while self.now < time {
            self.now = time.min(UnixMillis(self.now.0 + 1000));
            self.shard.tick(self.now);
            self.run_disk();
        }
    }

    /// Brings a key into RAM if it is cold, and says whether it is there.
    pub(crate) fn load(&mut self, key: &Key<'_>) -> Result<bool> {
        match self.shard.lookup(key, self.now) {
            Lookup::Found(_) => return Ok(true),
            Lookup::Absent { .. } => return Ok(false),
            Lookup::Lost => bail!("a key is lost"),
            Lookup::Cold => {}
        }
        self.tickets += 1;
        self.shard.load(Ticket(self.tickets), key);
        loop {
            while let Some((id, request)) = self.shard.poll_io() {
                self.disk.start(id, request);
            }
            while let Some(event) = self.shard.poll_event() {
                if let Event::Loaded { outcome, .. } = event {
                    outcome?;
                    return Ok(matches!(self.shard.lookup(key, self.now), Lookup::Found(_)));
                }
            }
            let Some((id, result)) = self.disk.finished() else { bail!("a load does not end") };
            self.shard.complete(id, result, self.now);
        }
    }

    /// Lets go of the last key that was loaded.
    pub(crate) fn release(&mut self) {
        self.shard.release(Ticket(self.tickets));
    }

    /// Sets a key, as a server would: loaded before it is written, when there is room.
    pub(crate) fn set(
        &mut self,
        name: &[u8],
        value: &[u8],
        expires_at: Option<UnixMillis>,
    ) -> Result<()> {
        let key = self.shard.key(emberlog_engine::Namespace(0), name);
        self.load(&key)?;
        let bytes = name.len() + value.len() + 128;
        let mut waits = 0;
        while self.shard.room(bytes) != Room::Yes {
            waits += 1;
            if waits > 10_000 {
                bail!("no room: {:?}", self.shard.room(bytes));
            }
            self.run_disk();
            self.now = UnixMillis(self.now.0 + 1);
            self.shard.tick(self.now);
        }
        // Waiting may have driven it out of RAM again.
        self.load(&key)?;
        self.shard.put(&key, 0, value, expires_at, self.now)?;
        self.release();
        Ok(())
    }
}
