//! What happened how often, over one world or many: a simulation that never saw a compaction has
//! proved nothing about it.

use super::faults::{Fault, FaultCounts};
use crate::shard::Stats;

/// Counts of everything that a run is judged by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "the names are the documentation; `simulate` prints them")]
pub struct Counts {
    pub seeds: u64,
    pub ops: u64,
    pub completions: u64,
    pub simulated_ms: u64,
    pub crashes: u64,
    pub recoveries: u64,
    pub recoveries_cut: u64,
    pub clean_restarts: u64,
    pub unacked_kept: u64,
    pub unacked_dropped: u64,
    pub gets: u64,
    pub scans: u64,
    pub groups: u64,
    pub owner_checks: u64,
    pub owned: u64,
    pub refused_full: u64,
    pub waits: u64,
    pub poisoned: u64,
    pub lost_named: u64,
    pub open_refused: u64,
    pub compactions: u64,
    pub checkpoints: u64,
    pub puts: u64,
    pub deletes: u64,
    pub touches: u64,
    pub expired: u64,
    pub expired_told: u64,
    pub expiry_reads: u64,
    pub cold_loads: u64,
    pub replayed_records: u64,
    pub corrupt: u64,
    pub compressed_puts: u64,
    pub dictionaries: u64,
    pub uploads: u64,
    pub uploads_dropped: u64,
    pub fetches: u64,
    pub patches: u64,
    pub orphan_chunks: u64,
    pub shaken: u64,
    pub closed_for_good: u64,
    /// A bit for each mark that was passed.
    pub marks: u64,
    pub faults: FaultCounts,
}

impl Counts {
    /// Everything but the faults, by name.
    pub fn named(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("seeds", self.seeds),
            ("ops", self.ops),
            ("completions", self.completions),
            ("simulated_ms", self.simulated_ms),
            ("crashes", self.crashes),
            ("recoveries", self.recoveries),
            ("recoveries_cut", self.recoveries_cut),
            ("clean_restarts", self.clean_restarts),
            ("unacked_kept", self.unacked_kept),
            ("unacked_dropped", self.unacked_dropped),
            ("gets", self.gets),
            ("scans", self.scans),
            ("groups", self.groups),
            ("owner_checks", self.owner_checks),
            ("owned", self.owned),
            ("refused_full", self.refused_full),
            ("waits", self.waits),
            ("poisoned", self.poisoned),
            ("lost_named", self.lost_named),
            ("open_refused", self.open_refused),
            ("compactions", self.compactions),
            ("checkpoints", self.checkpoints),
            ("puts", self.puts),
            ("deletes", self.deletes),
            ("touches", self.touches),
            ("expired", self.expired),
            ("expired_told", self.expired_told),
            ("expiry_reads", self.expiry_reads),
            ("cold_loads", self.cold_loads),
            ("replayed_records", self.replayed_records),
            ("corrupt", self.corrupt),
            ("compressed_puts", self.compressed_puts),
            ("dictionaries", self.dictionaries),
            ("uploads", self.uploads),
            ("uploads_dropped", self.uploads_dropped),
            ("fetches", self.fetches),
            ("patches", self.patches),
            ("orphan_chunks", self.orphan_chunks),
            ("shaken", self.shaken),
            ("closed_for_good", self.closed_for_good),
        ]
    }

    /// Faults by name.
    pub fn faults_named(&self) -> Vec<(String, u64)> {
        Fault::ALL.iter().map(|fault| (format!("{fault:?}"), self.faults.get(*fault))).collect()
    }

    /// Adds another world's counts.
    pub fn add(&mut self, other: &Counts) {
        self.seeds += other.seeds;
        self.ops += other.ops;
        self.completions += other.completions;
        self.simulated_ms += other.simulated_ms;
        self.crashes += other.crashes;
        self.recoveries += other.recoveries;
        self.recoveries_cut += other.recoveries_cut;
        self.clean_restarts += other.clean_restarts;
        self.unacked_kept += other.unacked_kept;
        self.unacked_dropped += other.unacked_dropped;
        self.gets += other.gets;
        self.scans += other.scans;
        self.groups += other.groups;
        self.owner_checks += other.owner_checks;
        self.owned += other.owned;
        self.refused_full += other.refused_full;
        self.waits += other.waits;
        self.poisoned += other.poisoned;
        self.lost_named += other.lost_named;
        self.open_refused += other.open_refused;
        self.compactions += other.compactions;
        self.checkpoints += other.checkpoints;
        self.puts += other.puts;
        self.deletes += other.deletes;
        self.touches += other.touches;
        self.expired += other.expired;
        self.expired_told += other.expired_told;
        self.expiry_reads += other.expiry_reads;
        self.cold_loads += other.cold_loads;
        self.replayed_records += other.replayed_records;
        self.corrupt += other.corrupt;
        self.compressed_puts += other.compressed_puts;
        self.dictionaries += other.dictionaries;
        self.uploads += other.uploads;
        self.uploads_dropped += other.uploads_dropped;
        self.fetches += other.fetches;
        self.patches += other.patches;
        self.orphan_chunks += other.orphan_chunks;
        self.shaken += other.shaken;
        self.closed_for_good += other.closed_for_good;
        self.marks |= other.marks;
        self.faults.add(&other.faults);
    }

    /// Adds what a shard has counted in its life.
    pub fn note_shard(&mut self, stats: &Stats) {
        self.compactions += stats.compactions;
        self.checkpoints += stats.checkpoints;
        self.puts += stats.puts;
        self.deletes += stats.deletes;
        self.touches += stats.touches;
        self.expired += stats.expired_keys;
        self.expiry_reads += stats.expiry_reads;
        self.cold_loads += stats.cold_gets;
        self.replayed_records += stats.recovery_records;
        self.corrupt += stats.corrupt_records;
        self.compressed_puts += stats.compressed_puts;
        self.dictionaries += stats.dictionaries_trained;
        self.orphan_chunks += stats.orphan_chunks;
    }
}
