//! How time passes in a world, and how it comes to rest.

use super::{PATIENCE, World};
use crate::sim::program::Action;

impl World {
    pub(super) fn tick_if_due(&mut self) -> Result<(), String> {
        let now = self.wall_clock();
        if self.shard().next_wakeup(now).is_some_and(|at| at <= now) || self.rng.chance(1, 16) {
            let now = self.wall();
            self.shard().tick(now);
            self.pump()?;
            self.retry_waiting()?;
        }
        Ok(())
    }

    /// Lets time pass: completes what falls due, ticks when the shard wants it.
    pub(super) fn pass(&mut self, ms: u64) -> Result<(), String> {
        let end_us = self.disk.clock_us() + ms * 1000;
        // A shard that wants a tick every 100 ms would make long times slow to simulate.
        let step_us = (ms * 1000 / 64).max(1000);
        loop {
            self.pump()?;
            let now = self.wall_clock();
            let clock = self.disk.clock_us();
            let wakeup = self.shard().next_wakeup(now).map_or(u64::MAX, |at| at.since(now) * 1000);
            let tick_at = (clock + wakeup.max(step_us)).min(end_us);
            match self.disk.next_due_us() {
                Some(due) if due <= tick_at => {
                    self.complete_one()?;
                }
                _ => {
                    self.disk.advance_to(tick_at);
                    let now = self.wall();
                    self.shard().tick(now);
                    self.pump()?;
                    self.retry_waiting()?;
                    if tick_at >= end_us {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Completes everything; no command, scan or write may be left waiting.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        self.shard().flush();
        for _ in 0..PATIENCE {
            if self.at_rest()? {
                return self.check_alarms();
            }
            if !self.complete_one()? {
                let now = self.wall_clock();
                let wakeup = self.shard().next_wakeup(now).map_or(100, |at| at.since(now));
                let clock = self.disk.clock_us();
                self.disk.advance_to(clock + wakeup.max(1) * 1000);
                let now = self.wall();
                self.shard().flush();
                self.shard().tick(now);
                self.pump()?;
                self.retry_waiting()?;
            }
        }
        let waiting: Vec<&Action> = self.parked.iter().map(|parked| &parked.action).collect();
        let message = format!("never comes to rest; waiting: {waiting:?}");
        let stats = self.shard().stats();
        Err(format!("{message}, {} scans; {stats:?}", self.scans.len()))
    }

    pub(super) fn at_rest(&mut self) -> Result<bool, String> {
        self.pump()?;
        if !self.parked.is_empty() || !self.scans.is_empty() || !self.large.at_rest() {
            return Ok(false);
        }
        let shard = self.shard();
        let durable = shard.poisoned() || shard.durable_lsn() == shard.appended_lsn();
        // A full file system is asked for room again and again.
        let full = self.plan.no_space > 0 || self.disk.is_full();
        Ok(durable && (full || self.disk.in_flight() == 0))
    }
}
