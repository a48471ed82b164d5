//! Opening a shard: recovery, then the structures around what it found.

use std::collections::VecDeque;

use super::stats::Counters;
use super::{Shard, checkpointing, compaction, supply};
use crate::config::Config;
use crate::error::OpenError;
use crate::expiry::{Sweep, Wheel};
use crate::format::record::{Head, Kind};
use crate::hot::Hot;
use crate::io::{BufferPool, Disk, IoError};
use crate::log::{Append, Log, NO_KEY_MARK, USER_STREAM};
use crate::recover::{Progress, Recovered, recover};
use crate::units::{Namespace, UnixMillis};

/// Buffers of records and other small reads.
pub(super) const SMALL_BUFFER_BYTES: usize = 16 << 10;
/// Small buffers kept.
const SMALL_BUFFERS: usize = 256;
/// Large buffers kept: batches, windows of compaction, slices of checkpoints.
const LARGE_BUFFERS: usize = 16;
/// How far ahead expiries are put on the wheel.
const WHEEL_WINDOW_MS: u64 = 30_000;

impl Shard {
    /// Opens the store on `disk`, or creates one. Blocks until it can tell every live key from a
    /// missing one; `progress` is called now and then.
    ///
    /// # Errors
    /// [`OpenError`]; its message says what to do.
    pub fn open(
        disk: &mut dyn Disk,
        config: &Config,
        now: UnixMillis,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Shard, OpenError> {
        config.validate()?;
        let recovered = recover(disk, config, now, progress)?;
        let void_group = recovered.void_group;
        let mut shard = Shard::around(recovered, config);
        shard.load_dictionaries(disk);
        if void_group && !planted!(LeaveGroupOpen) {
            shard.void_unfinished_group(disk)?;
        }
        Ok(shard)
    }

    /// Gives the shard buffers that the driver has registered with the kernel.
    pub fn adopt_buffers(&mut self, buffers: Vec<crate::io::Buffer>) {
        for buffer in buffers {
            self.pool.give(buffer);
        }
    }

    fn around(recovered: Recovered, config: &Config) -> Shard {
        let Recovered { root, spaces, segments, now, .. } = recovered;
        let batch_bytes_max = config.batch_bytes_max.min(root.segment_bytes as usize / 2);
        let large = batch_bytes_max.next_multiple_of(4096).max(SMALL_BUFFER_BYTES * 2);
        let pool =
            BufferPool::new(SMALL_BUFFER_BYTES, SMALL_BUFFERS, large, LARGE_BUFFERS, Vec::new());
        let log = Log::new(
            root.store_id,
            root.block_bytes as usize,
            large,
            segments,
            recovered.appended_lsn,
            recovered.next_seq,
        );
        let entries: u64 =
            spaces.iter().skip(Namespace::OWN).map(crate::space::Space::entries).sum();
        let counters = Counters {
            corrupt_records: recovered.corrupt,
            recovery_records: recovered.records,
            recovery_entries: entries,
            orphan_chunks: recovered.orphan_chunks,
            ..Counters::default()
        };
        let wheel = Wheel::new(WHEEL_WINDOW_MS);
        let sweep = Sweep::new(&wheel, UnixMillis(0));
        let checkpointing =
            checkpointing::Job::new(recovered.checkpoint_bytes, recovered.replayed_bytes);
        let mut shard = Shard {
            config: config.clone(),
            root,
            now,
            pool,
            spaces,
            hot: Hot::new(),
            memory: super::memory::Memory::new(config.memory_bytes_max),
            wheel,
            sweep,
            ahead: super::ahead::Ahead::default(),
            far: super::far::Far::default(),
            expired_at: UnixMillis(0),
            untold: super::untold::Untold::default(),
            log,
            undurable: super::undurable::Undurable::default(),
            touches: super::touch::Touches::default(),
            group: None,
            in_flight: super::drive::InFlight::default(),
            outbox: VecDeque::new(),
            loads: super::load::Loads::default(),
            scans: super::scan::Scans::default(),
            footers: super::listing::Footers::default(),
            events: VecDeque::new(),
            supply: supply::Supply::default(),
            compaction: compaction::Job::default(),
            leaving: VecDeque::new(),
            pace: compaction::Pace::default(),
            checkpointing,
            compression: super::compression::State::new(config.compression, root.segment_bytes),
            large: super::large::Large::default(),
            told: (UnixMillis(0), None),
            confirmed: (recovered.appended_lsn, now),
            flush_wanted: false,
            poisoned: false,
            closing: false,
            counters,
        };
        // A first pass over the whole index finds what falls due within the window.
        shard.sweep_all();
        shard.maintain();
        shard
    }

    /// The log ends in a group without a commit. A durable record says that it is void, so that no
    /// later record can be taken for its continuation.
    fn void_unfinished_group(&mut self, disk: &mut dyn Disk) -> Result<(), OpenError> {
        let head = Head::new(Kind::Open, self.log.next_lsn());
        let record = Append { head: &head, name: &[], value: &[], identity: NO_KEY_MARK };
        loop {
            self.maintain();
            let appended = self.log.append(USER_STREAM, &record, &mut self.pool, self.now);
            if appended.is_ok() {
                break;
            }
            self.drive_once(disk)?;
        }
        self.flush_wanted = true;
        while self.log.durable_lsn() < head.lsn {
            self.drive_once(disk)?;
        }
        self.drive_until_idle(disk);
        Ok(())
    }

    /// From here on the shard's caller drives the disk; nothing may be in flight unknown to it.
    pub(super) fn drive_until_idle(&mut self, disk: &mut dyn Disk) {
        while self.in_flight.len() > 0 {
            self.take_one(disk);
        }
    }

    fn submit_all(&mut self, disk: &mut dyn Disk) {
        while let Some((id, request)) = self.poll_io() {
            disk.start(id, request);
        }
        disk.submit();
    }

    /// Starts what is to be started and takes one completion, of which there must be one.
    pub(super) fn take_one(&mut self, disk: &mut dyn Disk) {
        self.submit_all(disk);
        loop {
            if let Some((id, result)) = disk.finished() {
                self.complete(id, result, self.now);
                return;
            }
            disk.wait(None);
        }
    }

    /// The same, unless that would be in vain.
    fn drive_once(&mut self, disk: &mut dyn Disk) -> Result<(), OpenError> {
        self.submit_all(disk);
        let failed = |what: &'static str| OpenError::Io {
            operation: what,
            file: None,
            source: IoError { kind: crate::io::IoErrorKind::Failed, errno: 0 },
        };
        if self.poisoned {
            return Err(failed("write the first record of"));
        }
        if self.in_flight.len() == 0 {
            return Err(failed("find room for the first record of"));
        }
        self.take_one(disk);
        Ok(())
    }
}
