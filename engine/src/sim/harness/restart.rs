//! Ends and beginnings: crashes, recoveries, crashes inside recoveries, orderly restarts.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::{PATIENCE, World};
use crate::checkpoint::FILES;
use crate::error::OpenError;
use crate::format::checkpoint::{PAGE_BYTES, decode_page};
use crate::format::superblock::{CheckpointRef, SLOT_BYTES, Superblock};
use crate::io::{FileId, IoErrorKind};
use crate::shard::Shard;
use crate::sim::disk::{Crash, PowerCut};
use crate::sim::faults::Profile;
use crate::sim::model::ModelKey;
use crate::sim::program::Setup;
use crate::units::{Namespace, UnixMillis};

/// Openings that may fail for a fault of the disk, one after the other.
const OPEN_TRIES: u32 = 100;

impl World {
    /// Opens the store for the first time.
    ///
    /// # Errors
    /// When that fails, or shows anything.
    pub fn open(&mut self) -> Result<(), String> {
        self.open_again(&[])
    }

    pub(super) fn crash(
        &mut self,
        crash: Crash,
        after: u8,
        cuts: &[u8],
        setup: &Setup,
    ) -> Result<(), String> {
        for _ in 0..after {
            if !self.complete_one()? {
                break;
            }
        }
        self.counts.crashes += 1;
        self.end_shard();
        self.disk.crash(crash);
        self.setup = setup.clone();
        self.open_again(cuts)
    }

    pub(super) fn reopen(&mut self, setup: &Setup) -> Result<(), String> {
        self.settle()?;
        let now = self.wall();
        self.shard().close(now);
        for _ in 0..PATIENCE {
            self.pump()?;
            if self.shard().closed() {
                return self.reopen_closed(setup);
            }
            if !self.complete_one()? {
                let clock = self.disk.clock_us();
                self.disk.advance_to(clock + 100_000);
                let now = self.wall();
                self.shard().tick(now);
            }
        }
        Err(format!("never closes; {:?}", self.shard().stats()))
    }

    fn reopen_closed(&mut self, setup: &Setup) -> Result<(), String> {
        let shard = self.shard();
        if !shard.poisoned() && shard.durable_lsn() != shard.appended_lsn() {
            return Err("closed before everything was durable".to_owned());
        }
        self.counts.clean_restarts += 1;
        self.end_shard();
        self.disk.crash(Crash::Kill);
        self.setup = setup.clone();
        self.open_again(&[])
    }

    fn end_shard(&mut self) {
        self.note_stats();
        if let Some(shard) = self.shard.take() {
            self.counts.poisoned += u64::from(shard.poisoned());
        }
        self.parked.clear();
        self.told.clear();
        self.scans.clear();
        self.large.crashed();
        self.ledger.crashed();
    }

    /// Opens the store, crashing inside as often as `cuts` has it, and judges what it shows.
    fn open_again(&mut self, cuts: &[u8]) -> Result<(), String> {
        self.disk.set_plan(self.plan.while_opening());
        for cut in cuts {
            if self.open_cut(u64::from(*cut))? {
                self.counts.recoveries_cut += 1;
            }
            // A recovery that was through before the cut is crashed right after it.
            self.shard = None;
            let crash = if self.rng.chance(1, 2) { Crash::Power } else { Crash::Kill };
            self.disk.crash(crash);
        }
        for _ in 0..OPEN_TRIES {
            match self.open_once() {
                Ok(shard) => {
                    self.shard = Some(shard);
                    self.counts.recoveries += 1;
                    self.judge_recovery()?;
                    self.start_listening();
                    self.disk.set_plan(self.plan);
                    return Ok(());
                }
                Err(OpenError::Io { source, .. }) if self.may_refuse(source.kind) => {
                    self.counts.open_refused += 1;
                    self.disk.crash(Crash::Kill);
                }
                Err(error) if self.profile == Profile::Beyond && self.is_damaged_for(&error) => {
                    self.counts.closed_for_good += 1;
                    self.closed = true;
                    return Ok(());
                }
                Err(error) if self.profile == Profile::Beyond => {
                    return Err(format!("refuses to open beyond the model: {error}"));
                }
                Err(error) => return Err(format!("cannot be opened: {error}")),
            }
        }
        Err("cannot be opened, however often it is tried".to_owned())
    }

    /// Most worlds have somebody who listens for expired keys, from the beginning of most lives.
    fn start_listening(&mut self) {
        let on = self.listen.chance(3, 4);
        let unreadable = self.plan.read_error + self.plan.bad_sector > 0;
        let now = self.now();
        self.shard().report_expired(on);
        self.model.listen(on && !unreadable, now);
    }

    /// Whether faults of this plan may keep the store closed for now.
    fn may_refuse(&self, kind: IoErrorKind) -> bool {
        let plan = &self.plan;
        match kind {
            IoErrorKind::Failed => {
                plan.read_error + plan.write_error + plan.sync_error + plan.bad_sector > 0
            }
            IoErrorKind::NoSpace => plan.no_space > 0,
            _ => false,
        }
    }

    fn open_once(&mut self) -> Result<Shard, OpenError> {
        let config = self.config();
        // A new process knows only the wall clock, and what its predecessor has left on disk: in
        // acknowledged batches, unless they are damaged.
        self.clock.earliest = UnixMillis(0);
        let now = self.wall();
        Shard::open(&mut self.disk, &config, now, &mut |_| {})
    }

    /// Opens the store, with the power cut after some completions; whether it came to that.
    fn open_cut(&mut self, after: u64) -> Result<bool, String> {
        self.disk.cut_power_after(Some(after));
        let opened = catch_unwind(AssertUnwindSafe(|| self.open_once()));
        self.disk.cut_power_after(None);
        match opened {
            Ok(Ok(_)) => Ok(false),
            Ok(Err(OpenError::Io { source, .. })) if self.may_refuse(source.kind) => Ok(false),
            Ok(Err(error)) if self.is_damaged_for(&error) => Ok(false),
            Ok(Err(error)) => Err(format!("cannot be opened: {error}")),
            Err(payload) if payload.is::<PowerCut>() => Ok(true),
            Err(payload) => resume_unwind(payload),
        }
    }

    fn judge_recovery(&mut self) -> Result<(), String> {
        let shaken = self.shaken();
        self.counts.shaken += shaken.len() as u64;
        let seen = self.read_all()?;
        let floor = self.model.floor();
        let appended = self.shard().appended_lsn();
        let reached = self.model.recovered(&seen, appended, &shaken)?;
        if self.clock.earliest >= self.clock.latest {
            self.model.stays_gone(&seen)?;
        }
        if reached > floor {
            self.counts.unacked_kept += 1;
        } else {
            self.counts.unacked_dropped += 1;
        }
        self.check_owners()?;
        self.check_chunks()?;
        self.check_alarms()?;
        self.note_watermarks()
    }

    /// Keys that damage may have taken without a trace of their names.
    fn shaken(&mut self) -> BTreeSet<ModelKey> {
        if self.profile != Profile::Beyond {
            return BTreeSet::new();
        }
        if self.words.is_empty() {
            let keys = self.keys.clone();
            let shard = self.shard();
            let word = |name: &ModelKey| shard.key(Namespace(name.0), &name.1).packed();
            self.words = keys.into_iter().map(|name| (word(&name), name)).collect();
        }
        let shaken = self.ledger.shaken(&self.disk);
        let named = self
            .words
            .iter()
            .filter(|(word, name)| shaken.keys.contains(*word) || shaken.cleared.contains(&name.0));
        let chunks = self.large.words.iter().filter(|(word, _)| shaken.keys.contains(*word));
        named.chain(chunks).map(|(_, name)| name.clone()).collect()
    }

    /// Whether the disk is really so damaged that the engine may refuse to open the store.
    fn is_damaged_for(&self, error: &OpenError) -> bool {
        let slot = |number| {
            let offset = number * SLOT_BYTES as u64;
            let bytes = self.disk.peek(FileId::Superblock, offset, SLOT_BYTES)?;
            Superblock::decode(&bytes).ok()
        };
        let (first, second) = (slot(0), slot(1));
        match error {
            OpenError::Superblock => first.is_none() && second.is_none(),
            OpenError::Checkpoints => {
                let newest = [first, second].into_iter().flatten().max_by_key(|r| r.generation);
                newest.is_some_and(|root| {
                    [root.newest, root.older].iter().all(|one| !self.is_whole(one))
                })
            }
            _ => false,
        }
    }

    /// Whether every page of a checkpoint reads.
    fn is_whole(&self, reference: &CheckpointRef) -> bool {
        let file = FileId::Checkpoint((reference.number % FILES) as u8);
        (0..reference.pages).all(|page| {
            let bytes = self.disk.peek(file, page * PAGE_BYTES as u64, PAGE_BYTES);
            bytes.is_some_and(|b| decode_page(&b, reference.number, page as u32).is_ok())
        })
    }

    fn config(&self) -> crate::config::Config {
        let mut config = self.setup.config(self.segment_bytes);
        config.chunk_bytes = self.chunk_bytes;
        config.sim.hot_bytes = Some(self.setup.hot_bytes);
        config.sim.eager_checkpoints = true;
        // Apart, so that they differ also after the file has been chosen.
        config.lot = (self.counts.recoveries * 8) as u16;
        config
    }

    pub(super) fn set_hot(&mut self, bytes: usize) {
        self.setup.hot_bytes = bytes;
        let setup = self.setup.hot_bytes;
        self.shard().set_hot_bytes(setup);
    }
}
