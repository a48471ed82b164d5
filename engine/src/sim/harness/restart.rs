//! Ends and beginnings: crashes, recoveries, crashes inside recoveries, orderly restarts.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::{PATIENCE, World};
use crate::error::OpenError;
use crate::io::IoErrorKind;
use crate::shard::Shard;
use crate::sim::disk::{Crash, PowerCut};
use crate::sim::faults::{FaultPlan, Profile};
use crate::sim::program::Setup;
use crate::units::UnixMillis;

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
    }

    /// Opens the store, crashing inside as often as `cuts` has it, and judges what it shows.
    fn open_again(&mut self, cuts: &[u8]) -> Result<(), String> {
        let calm = FaultPlan { shuffled: self.plan.shuffled, ..FaultPlan::default() };
        self.disk.set_plan(calm);
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
                Err(OpenError::Io { source, .. })
                    if source.kind == IoErrorKind::Failed && self.profile != Profile::Calm =>
                {
                    self.counts.open_refused += 1;
                    self.disk.crash(Crash::Kill);
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

    fn open_once(&mut self) -> Result<Shard, OpenError> {
        let config = self.config();
        // A new process knows only the wall clock, and what its predecessor has left on disk.
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
            Ok(Err(error)) => Err(format!("cannot be opened: {error}")),
            Err(payload) if payload.is::<PowerCut>() => Ok(true),
            Err(payload) => resume_unwind(payload),
        }
    }

    fn judge_recovery(&mut self) -> Result<(), String> {
        let seen = self.read_all()?;
        let floor = self.model.floor();
        let appended = self.shard().appended_lsn();
        let reached = self.model.recovered(&seen, appended)?;
        if self.clock.earliest >= self.clock.latest {
            self.model.stays_gone(&seen)?;
        }
        if reached > floor {
            self.counts.unacked_kept += 1;
        } else {
            self.counts.unacked_dropped += 1;
        }
        self.check_owners()?;
        self.check_alarms()?;
        self.note_watermarks()
    }

    fn config(&self) -> crate::config::Config {
        let mut config = self.setup.config(self.segment_bytes);
        config.sim.hot_bytes = Some(self.setup.hot_bytes);
        config.sim.eager_checkpoints = true;
        config
    }

    pub(super) fn set_hot(&mut self, bytes: usize) {
        self.setup.hot_bytes = bytes;
        let setup = self.setup.hot_bytes;
        self.shard().set_hot_bytes(setup);
    }
}
