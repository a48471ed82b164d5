//! Opening the store on a thread of its own, so that clients hear -LOADING meanwhile.
//!
//! Owns: that thread; the engine's configuration, derived from the server's.
//! Never knows: clients.
//! Invariant: the outcome is sent exactly once, and then the event loop is woken.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use emberlog_engine::driver::{self, SystemDisk};
use emberlog_engine::{Config as StoreConfig, Progress, Shard};
use mio::unix::SourceFd;
use mio::{Interest, Waker};

use super::DISK;
use super::event_loop::EventLoop;
use super::store::StoreSide;
use crate::config::{Config, format_bytes};

/// A store that has been opened.
pub struct Opened {
    /// The shard.
    pub shard: Shard,
    /// Its disk.
    pub disk: Box<dyn SystemDisk>,
    /// How long it took, in microseconds.
    pub micros: u64,
}

/// A store that is being opened.
pub struct Opening {
    outcome: Receiver<Result<Opened, String>>,
    /// Closing it would take its unread wake-up along.
    _waker: Arc<Waker>,
}

/// Microseconds between two lines about progress.
const PROGRESS_EVERY_US: u64 = 1_000_000;
/// Share of the free space that the store may take when there is no limit, in percent.
const FREE_SHARE_PERCENT: u64 = 80;
/// Most bytes that a shard addresses.
const DISK_MAX: u64 = 1 << 40;

impl Opening {
    /// Starts to open the store of `config`, with `memory_bytes` of RAM.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(config: &Config, memory_bytes: u64, waker: Waker) -> io::Result<Opening> {
        let (sender, outcome) = channel();
        let config = config.clone();
        let waker = Arc::new(waker);
        let theirs = Arc::clone(&waker);
        std::thread::Builder::new()
            .name("recovery".to_owned())
            .spawn(move || run(&config, memory_bytes, &sender, &theirs))?;
        Ok(Opening { outcome, _waker: waker })
    }

    /// The outcome, once there is one.
    pub(super) fn poll(&self) -> Option<Result<Opened, String>> {
        self.outcome.try_recv().ok()
    }
}

fn run(config: &Config, memory_bytes: u64, sender: &Sender<Result<Opened, String>>, waker: &Waker) {
    // The receiver is gone only when the process is stopping.
    let _ = sender.send(open(config, memory_bytes));
    let _ = waker.wake();
}

fn open(config: &Config, memory_bytes: u64) -> Result<Opened, String> {
    let started = driver::monotonic_us();
    let mut disk =
        driver::open_store(&config.dir, config.io_driver).map_err(|error| error.to_string())?;
    let store = store_config(config, memory_bytes, &*disk)?;
    let mut told = started;
    let mut progress = |progress: Progress| {
        let now = driver::monotonic_us();
        if now - told >= PROGRESS_EVERY_US {
            told = now;
            let Progress { phase, done, total } = progress;
            tracing::info!(phase, done, total, "recovering");
        }
    };
    // The engine's names for what operators set.
    let named = |error: emberlog_engine::OpenError| {
        let text = error.to_string();
        text.replace("disk_bytes_max", "disk-limit").replace("memory_bytes_max", "maxmemory")
    };
    let mut shard = Shard::open(&mut *disk, &store, driver::now(), &mut progress).map_err(named)?;
    shard.adopt_buffers(disk.registered_buffers());
    let micros = driver::monotonic_us() - started;
    shard.note_recovery_ms(micros / 1000);
    Ok(Opened { shard, disk, micros })
}

/// The engine's configuration.
fn store_config(
    config: &Config,
    memory_bytes: u64,
    disk: &dyn SystemDisk,
) -> Result<StoreConfig, String> {
    let disk_bytes_max = match config.disk_limit {
        0 => {
            let free = disk.free_bytes().map_err(|error| format!("disk-limit: {error}"))?;
            // What the store has already taken counts as its own.
            let limit = free / 100 * FREE_SHARE_PERCENT + folder_bytes(&config.dir);
            let limit = (limit >> 20 << 20).min(DISK_MAX);
            tracing::info!(
                "disk-limit is not set: segments may take {} (80 % of what is free)",
                format_bytes(limit)
            );
            limit
        }
        bytes => bytes,
    };
    let seed = crate::process::random_bytes().map_err(|error| error.to_string())?;
    let lot = crate::process::random_bytes().map_err(|error| error.to_string())?;
    let defaults = StoreConfig::default();
    let store = StoreConfig {
        // They are in RAM twice, in their batch and in the hot set, until they are durable.
        pending_bytes_max: usize::try_from(memory_bytes / 16)
            .map_or(defaults.pending_bytes_max, |share| share.min(defaults.pending_bytes_max)),
        segment_bytes: segment_bytes(config.segment_size, disk_bytes_max),
        disk_bytes_max,
        memory_bytes_max: memory_bytes,
        compression: emberlog_engine::Compression {
            enabled: config.compression,
            ..emberlog_engine::Compression::default()
        },
        ack: config.ack,
        hash_seed: seed,
        lot: u16::from_le_bytes(lot),
        rebuild_may_resurrect: config.rebuild_may_resurrect,
        ..defaults
    };
    let batch_bytes_max = store.batch_bytes_max.min(store.segment_bytes as usize / 2);
    Ok(StoreConfig { batch_bytes_max, ..store })
}

/// Bytes of the files in a folder and its sub-folders.
fn folder_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// The configured size of segments; if it is 0, the default, or less on a small disk so that there
/// are enough segments to work with.
fn segment_bytes(configured: u32, disk_bytes_max: u64) -> u32 {
    const LEAST: u32 = 1 << 20;
    if configured > 0 {
        return configured;
    }
    let mut bytes = StoreConfig::default().segment_bytes;
    while bytes > LEAST && u64::from(bytes) * 2 * StoreConfig::SEGMENTS_MIN > disk_bytes_max {
        bytes /= 2;
    }
    bytes
}

impl EventLoop {
    /// Takes the store over that has been opened.
    pub(super) fn on_opened(&mut self) -> Result<(), String> {
        let Some(outcome) = self.opening.as_ref().and_then(Opening::poll) else { return Ok(()) };
        self.opening = None;
        let Opened { shard, disk, micros } = outcome?;
        let fd = disk.wake_fd();
        self.poll
            .registry()
            .register(&mut SourceFd(&fd), DISK, Interest::READABLE)
            .map_err(|error| format!("cannot watch the disk: {error}"))?;
        self.server.state.identity.io_driver = disk.name();
        let stats = shard.stats();
        self.server.open(shard);
        self.store = Some(StoreSide::new(disk, self.server.now()));
        tracing::info!(
            "Ready to accept connections on {} (folder {}, {} entries recovered, {} ms)",
            self.listeners.addresses(),
            self.server.state.config.dir.display(),
            stats.index_entries,
            micros / 1000,
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_disks_get_small_segments() {
        let default = StoreConfig::default().segment_bytes;
        assert_eq!(segment_bytes(0, 100 << 30), default);
        assert_eq!(segment_bytes(4 << 20, 100 << 30), 4 << 20);
        let small = segment_bytes(0, 256 << 20);
        assert!(u64::from(small) * 2 * StoreConfig::SEGMENTS_MIN <= 256 << 20, "{small}");
        assert_eq!(segment_bytes(0, 0), 1 << 20);
    }
}
