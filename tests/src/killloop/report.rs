//! What a run of the loop did and found.

use super::judge::{Sin, Violation};
use super::worker::Tally;
use std::collections::BTreeMap;
use std::fmt;

/// Violations printed in full; the rest is counted.
const SHOWN: usize = 12;

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// SIGKILLs under load.
    pub kills: u32,
    /// SIGTERMs under load.
    pub stops: u32,
    /// SIGKILLs during recovery.
    pub recovery_kills: u32,
    /// Write operations acknowledged.
    pub writes: u64,
    /// Reads judged while the load was on.
    pub reads: u64,
    /// Write operations without an answer when the server died.
    pub in_flight: u64,
    /// How many of those survived.
    pub in_flight_kept: u64,
    /// Keys looked at after restarts.
    pub keys_verified: u64,
    /// Time from start to the first answer, per restart, in milliseconds.
    pub restarts_ms: Vec<u64>,
    /// Broken promises.
    pub violations: Vec<Violation>,
    /// End of the server's log, if a promise was broken.
    pub log_tail: String,
    pub(super) last_was_orderly: bool,
}

impl Report {
    pub(super) fn add(&mut self, tally: Tally) {
        self.writes += tally.writes;
        self.reads += tally.reads;
        self.in_flight += tally.in_flight;
    }

    pub(super) fn restart_ms_max(&self) -> u64 {
        self.restarts_ms.iter().copied().max().unwrap_or(0)
    }

    /// Number of violations of each kind.
    pub fn sins(&self) -> BTreeMap<Sin, usize> {
        let mut sins = BTreeMap::new();
        for violation in &self.violations {
            *sins.entry(violation.sin).or_insert(0) += 1;
        }
        sins
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, stops, recovery_kills, writes, reads, .. } = self;
        writeln!(
            f,
            "ends      {kills} kill -9 under load, {recovery_kills} during recovery, {stops} SIGTERM"
        )?;
        writeln!(f, "load      {writes} writes acknowledged, {reads} reads judged")?;
        writeln!(
            f,
            "in flight {} at the ends, {} of them survived",
            self.in_flight, self.in_flight_kept
        )?;
        writeln!(f, "verified  {} keys after restarts", self.keys_verified)?;
        let mut sorted = self.restarts_ms.clone();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
        writeln!(f, "restart   median {median} ms, longest {} ms", self.restart_ms_max())?;
        for violation in self.violations.iter().take(SHOWN) {
            writeln!(f, "BROKEN    {violation}")?;
        }
        if !self.log_tail.is_empty() {
            writeln!(f, "--- the server's log ends\n{}", self.log_tail)?;
        }
        match self.violations.len() {
            0 => write!(f, "PASS      nothing lost, older, wrong, torn, back, or taken back"),
            count => write!(f, "FAIL      {count} violations: {:?}", self.sins()),
        }
    }
}
