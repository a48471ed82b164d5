//! The engine's counters by the names that INFO's section `Ember` shows.
//!
//! Owns: the names. They are documented and never change their meaning.
//! Never knows: how the engine counts.
//! Invariant: one name, one counter.

use std::fmt::Display;

use emberlog_engine::Stats;

/// Shows every counter of `stats` with its name.
pub fn fields(stats: &Stats, mut show: impl FnMut(&str, &dyn Display)) {
    macro_rules! show {
        ($($name:ident)*) => { $( show(stringify!($name), &stats.$name); )* };
    }
    show! {
        index_entries index_bytes hot_entries hot_bytes appended_lsn durable_lsn segments_total
        segments_free segment_bytes live_bytes device_reads device_bytes_read device_bytes_written
        user_bytes_written compaction_bytes_written compactions
    }
    show("write_amplification", &format_args!("{:.3}", stats.write_amplification));
    show! {
        lookups hot_hits cold_gets puts deletes touches touch_bytes_written touches_waiting expired_keys
        expiry_reads expiry_items expiry_lag_ms_p50 expiry_lag_ms_p999 batches sync_us_p50 sync_us_p999 corrupt_records
        checkpoints recovery_ms recovery_records recovery_entries io_in_flight
    }
    show("compression_ratio", &format_args!("{:.3}", stats.compression_ratio));
    show! { large_values large_value_bytes chunks uploads orphan_chunks }
    show! { compressed_puts compression_bytes_saved dictionaries dictionaries_trained }
}
