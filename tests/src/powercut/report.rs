//! What a run of the power-cut test did and found.

use super::check::{Case, Place, Verdict};
use super::hub::Counts;
use super::illness::Illness;
use super::image::{Fates, Style, Under};
use crate::killloop::judge::Violation;
use crate::killloop::worker::Tally;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Violations printed in full; the rest is counted.
const SHOWN: usize = 12;

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Worlds played.
    pub worlds: u64,
    /// Worlds by the driver that their server reported.
    pub drivers: BTreeMap<String, u64>,
    /// Victims that the servers under load compacted.
    pub compactions: u64,
    /// Checkpoints that they took.
    pub checkpoints: u64,
    /// Reads of the disk that they made.
    pub device_reads: u64,
    /// Images opened and judged.
    pub images: u64,
    /// Images by where the power was cut.
    pub places: BTreeMap<Place, u64>,
    /// Images of which something that was not durable was lost or torn.
    pub lossy: u64,
    /// What the drawing of images did.
    pub fates: Fates,
    /// What arrived at the file system.
    pub counts: Counts,
    /// Requests that an ill disk failed.
    pub struck: BTreeMap<Illness, u64>,
    /// Connections whose write was refused because of it, and reads that were answered by an error.
    pub refused: (u64, u64),
    /// Writes acknowledged under load.
    pub writes: u64,
    /// Reads judged under load.
    pub reads: u64,
    /// Acknowledged writes that had to be in an image, summed over the images.
    pub acknowledged: u64,
    /// Writes without an answer at a moment, and those that images showed, summed over the images.
    pub in_flight: (u64, u64),
    /// Keys looked at.
    pub keys: u64,
    /// Broken promises.
    pub violations: Vec<Violation>,
    /// Images kept because of them.
    pub kept: Vec<PathBuf>,
}

impl Report {
    pub(super) fn add(&mut self, case: &Case, verdict: &Verdict) {
        self.images += 1;
        *self.places.entry(case.place).or_default() += 1;
        let fates = &verdict.fates;
        let lossy = fates.lost + fates.torn + fates.names_lost > 0;
        self.lossy += u64::from(lossy && verdict.style != Style::Everything);
        self.fates.add(verdict.fates);
        self.acknowledged += verdict.acknowledged;
        self.in_flight.0 += verdict.in_flight.0;
        self.in_flight.1 += verdict.in_flight.1;
        self.keys += verdict.keys;
        self.violations.extend(verdict.violations.iter().cloned());
    }

    pub(super) fn add_load(&mut self, tally: Tally) {
        self.writes += tally.writes;
        self.reads += tally.reads;
        self.refused.0 += tally.refused;
        self.refused.1 += tally.unread;
    }

    /// What a run of some length must have seen, else it proves nothing: names what is missing.
    pub fn blind(&self, under: Under, ill: bool) -> Option<&'static str> {
        let struck = |illness| self.struck.get(&illness).copied().unwrap_or(0) + u64::from(!ill);
        let seen = [
            (struck(Illness::Full), "the disk was never full"),
            (struck(Illness::Writes), "no write failed"),
            (struck(Illness::Syncs), "no sync failed"),
            (struck(Illness::Reads), "no read failed"),
            (self.counts.durable_writes + self.counts.file_syncs, "no sync of data arrived"),
            // A file system turns the store's syncs of folders into flushes of its device.
            (
                self.counts.folder_syncs + u64::from(under != Under::Store),
                "no sync of a folder arrived",
            ),
            (self.fates.lost, "no write was lost"),
            (self.fates.torn, "no write was torn"),
            (self.acknowledged, "no acknowledged write was looked for"),
        ];
        seen.into_iter().find(|(count, _)| *count == 0).map(|(_, missing)| missing)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { worlds, images, lossy, fates, .. } = self;
        writeln!(f, "worlds    {worlds}, by driver {:?}", self.drivers)?;
        writeln!(f, "arrived   {}: {} syncs in all", self.counts, self.counts.syncs())?;
        writeln!(f, "load      {} writes acknowledged, {} reads judged", self.writes, self.reads)?;
        writeln!(
            f,
            "meanwhile {} compactions, {} checkpoints, {} reads of the disk",
            self.compactions, self.checkpoints, self.device_reads
        )?;
        if !self.struck.is_empty() {
            writeln!(
                f,
                "ill       requests failed {:?}; {} connections had a write refused, {} reads were not answered",
                self.struck, self.refused.0, self.refused.1
            )?;
        }
        writeln!(f, "images    {images}, {lossy} of them lack something: {:?}", self.places)?;
        writeln!(
            f,
            "not yet durable in them: {} writes kept, {} lost, {} torn, {} sectors of rubbish; names {} kept, {} lost",
            fates.whole, fates.lost, fates.torn, fates.rubbish, fates.names_kept, fates.names_lost
        )?;
        writeln!(
            f,
            "checked   {} acknowledged writes, {} keys; {} writes in flight, {} of them survived",
            self.acknowledged, self.keys, self.in_flight.0, self.in_flight.1
        )?;
        for violation in self.violations.iter().take(SHOWN) {
            writeln!(f, "BROKEN    {violation}")?;
        }
        for kept in &self.kept {
            writeln!(f, "kept      {}", kept.display())?;
        }
        match self.violations.len() {
            0 => write!(f, "PASS      nothing acknowledged was lost, older, wrong, torn or back"),
            count => write!(f, "FAIL      {count} violations"),
        }
    }
}
