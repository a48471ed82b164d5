//! Counters and gauges, as a plain struct that the server prints.

use super::Shard;
use crate::log::SegmentState;
use crate::units::Namespace;

/// Sizes of things and counts since the store was opened. Names are those of INFO's `# Ember`.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the names are the documentation; README and INFO list them")]
pub struct Stats {
    pub index_entries: u64,
    pub index_bytes: u64,
    pub hot_entries: u64,
    pub hot_bytes: u64,
    pub appended_lsn: u64,
    pub durable_lsn: u64,
    pub segments_total: u64,
    pub segments_free: u64,
    pub segment_bytes: u64,
    pub live_bytes: u64,
    pub device_reads: u64,
    pub device_bytes_read: u64,
    pub device_bytes_written: u64,
    pub user_bytes_written: u64,
    pub compaction_bytes_written: u64,
    pub compactions: u64,
    pub write_amplification: f64,
    pub lookups: u64,
    pub hot_hits: u64,
    pub cold_gets: u64,
    pub puts: u64,
    pub deletes: u64,
    pub touches: u64,
    pub touch_bytes_written: u64,
    pub touches_waiting: u64,
    pub expired_keys: u64,
    pub expiry_reads: u64,
    pub expiry_items: u64,
    pub expiry_lag_ms_p50: u64,
    pub expiry_lag_ms_p999: u64,
    pub batches: u64,
    pub sync_us_p50: u64,
    pub sync_us_p999: u64,
    pub corrupt_records: u64,
    pub checkpoints: u64,
    pub recovery_ms: u64,
    pub recovery_records: u64,
    pub recovery_entries: u64,
    pub io_in_flight: u64,
    pub compression_ratio: f64,
    pub compressed_puts: u64,
    pub compression_bytes_saved: u64,
    pub dictionaries: u64,
    pub dictionaries_trained: u64,
    pub large_values: u64,
    pub large_value_bytes: u64,
    pub chunks: u64,
    pub uploads: u64,
    pub orphan_chunks: u64,
}

/// What the shard counts as it goes.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) lookups: u64,
    pub(super) hot_hits: u64,
    pub(super) cold_gets: u64,
    pub(super) puts: u64,
    pub(super) deletes: u64,
    pub(super) touches: u64,
    pub(super) touch_bytes: u64,
    pub(super) expired_keys: u64,
    pub(super) expiry_reads: u64,
    pub(super) expiry_lag_ms: Histogram,
    pub(super) batches: u64,
    pub(super) sync_us: Histogram,
    pub(super) device_reads: u64,
    pub(super) device_bytes_read: u64,
    pub(super) device_bytes_written: u64,
    pub(super) compaction_bytes_written: u64,
    pub(super) compactions: u64,
    pub(super) corrupt_records: u64,
    pub(super) checkpoints: u64,
    pub(super) recovery_ms: u64,
    pub(super) recovery_records: u64,
    pub(super) recovery_entries: u64,
    /// Values put, as they came and as they were stored.
    pub(super) value_bytes: u64,
    pub(super) stored_bytes: u64,
    pub(super) packed_puts: u64,
    pub(super) dictionaries_trained: u64,
    /// Chunks without a manifest that recovery has removed.
    pub(super) orphan_chunks: u64,
}

/// Counts by eighths of powers of two: any quantile to within 13 %, in 4 KiB.
pub(super) struct Histogram {
    counts: Box<[u64; 512]>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: Box::new([0; 512]), total: 0 }
    }
}

impl Histogram {
    pub(super) fn record(&mut self, value: u64) {
        self.counts[Self::bucket(value)] += 1;
        self.total += 1;
    }

    fn bucket(value: u64) -> usize {
        if value < 8 {
            return value as usize;
        }
        let exponent = 63 - value.leading_zeros() as usize;
        let eighth = (value >> (exponent - 3)) as usize & 7;
        (exponent - 2) * 8 + eighth
    }

    /// Upper end of a bucket.
    fn upper(bucket: usize) -> u64 {
        if bucket < 8 {
            return bucket as u64;
        }
        let (exponent, eighth) = (bucket / 8 + 2, (bucket % 8) as u128);
        let end = ((8 + eighth + 1) << (exponent - 3)) - 1;
        u64::try_from(end).unwrap_or(u64::MAX)
    }

    /// The value that the share `per_mille` of all recorded ones does not exceed; 0 if none.
    pub(super) fn quantile(&self, per_mille: u64) -> u64 {
        let rank = (self.total * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Self::upper(bucket);
            }
        }
        0
    }
}

impl Shard {
    /// Notes how long [`Shard::open`] took, in milliseconds: the shard has no clock of its own.
    pub fn note_recovery_ms(&mut self, millis: u64) {
        self.counters.recovery_ms = millis;
    }

    /// A snapshot of all counters and gauges.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub fn stats(&self) -> Stats {
        let segments = &self.log.segments;
        let c = &self.counters;
        let user = self.log.user_bytes;
        let total = user + c.compaction_bytes_written;
        Stats {
            index_entries: self.user_spaces().map(crate::space::Space::len).sum(),
            index_bytes: self.index_bytes() as u64,
            hot_entries: self.hot.len() as u64,
            hot_bytes: self.hot.bytes() as u64,
            appended_lsn: self.log.appended_lsn().0,
            durable_lsn: self.log.durable_lsn().0,
            segments_total: segments.files() as u64,
            segments_free: (segments.ready()
                + segments.count(SegmentState::Free)
                + segments.count(SegmentState::Preparing)) as u64,
            segment_bytes: u64::from(self.root.segment_bytes),
            live_bytes: segments.live_bytes(),
            device_reads: c.device_reads,
            device_bytes_read: c.device_bytes_read,
            device_bytes_written: c.device_bytes_written,
            user_bytes_written: user,
            compaction_bytes_written: c.compaction_bytes_written,
            compactions: c.compactions,
            write_amplification: if user == 0 { 1.0 } else { total as f64 / user as f64 },
            lookups: c.lookups,
            hot_hits: c.hot_hits,
            cold_gets: c.cold_gets,
            puts: c.puts,
            deletes: c.deletes,
            touches: c.touches,
            touch_bytes_written: c.touch_bytes,
            touches_waiting: self.touches.len() as u64,
            expired_keys: c.expired_keys,
            expiry_reads: c.expiry_reads,
            expiry_items: self.wheel.len() as u64,
            expiry_lag_ms_p50: c.expiry_lag_ms.quantile(500),
            expiry_lag_ms_p999: c.expiry_lag_ms.quantile(999),
            batches: c.batches,
            sync_us_p50: c.sync_us.quantile(500),
            sync_us_p999: c.sync_us.quantile(999),
            corrupt_records: c.corrupt_records,
            checkpoints: c.checkpoints,
            recovery_ms: c.recovery_ms,
            recovery_records: c.recovery_records,
            recovery_entries: c.recovery_entries,
            io_in_flight: self.in_flight.len() as u64,
            compression_ratio: if c.stored_bytes == 0 {
                1.0
            } else {
                c.value_bytes as f64 / c.stored_bytes as f64
            },
            compressed_puts: c.packed_puts,
            compression_bytes_saved: c.value_bytes - c.stored_bytes,
            dictionaries: self.compression.dictionaries() as u64,
            dictionaries_trained: c.dictionaries_trained,
            large_values: self.user_spaces().map(|space| space.labels.large_len() as u64).sum(),
            large_value_bytes: self.user_spaces().map(|space| space.labels.large_bytes()).sum(),
            chunks: self.space(Namespace::CHUNKS).map_or(0, crate::space::Space::entries),
            uploads: self.uploads() as u64,
            orphan_chunks: c.orphan_chunks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Histogram;

    #[test]
    fn quantiles_are_upper_bounds_within_an_eighth() {
        let mut histogram = Histogram::default();
        for value in 1..=1000 {
            histogram.record(value);
        }
        for (per_mille, exact) in [(500, 500), (990, 990), (999, 999)] {
            let found = histogram.quantile(per_mille);
            assert!(found >= exact && found <= exact * 9 / 8 + 1, "{per_mille}: {found}");
        }
        let mut extreme = Histogram::default();
        extreme.record(u64::MAX);
        assert_eq!(extreme.quantile(500), u64::MAX);
        assert_eq!(Histogram::default().quantile(999), 0);
    }
}
